"""A vector environment without physics, in PickCube's layout: the tool goes a share of the way commanded."""

from types import SimpleNamespace

import numpy as np
from arm_spec import arm_spec
from scipy.spatial.transform import Rotation

from rpd_jax.envs.base import ArraySpec, EnvSpec, StepResult
from teachers.conventions import MANISKILL_EE

LAYOUT = {
    "qpos": (0, 9),
    "qvel": (9, 18),
    "is_grasped": (18, 19),
    "tcp_pose": (19, 26),
    "goal_pos": (26, 29),
    "obj_pose": (29, 36),
}
SHARE = 0.4


def pick_cube_spec(**changes) -> EnvSpec:
    """What ManiSkill's PickCube says of itself."""
    plain = {
        "name": "maniskill:PickCube-v1",
        "instruction": "pick up the cube",
        "max_episode_steps": 30,
        "observation": {"state": ArraySpec((36,), "float32")},
        "layout": {"state": LAYOUT},
        "contract": MANISKILL_EE,
    }
    return arm_spec(**(plain | changes))


def pick_cube_state(tcp=(0.0, 0.0, 0.2), cube=(0.0, 0.0, 0.02), goal=(0.0, 0.0, 0.2), grasped=0.0, turn=(1, 0, 0, 0)):
    """One state [36]; the gripper points down, turned further by the quaternion `turn`."""
    state = np.zeros(36, np.float32)
    down = Rotation.from_quat([1, 0, 0, 0])
    x, y, z, w = (Rotation.from_quat([*turn[1:], turn[0]]) * down).as_quat()
    for name, value in {
        "qpos": (0.0,) * 7 + (0.04, 0.04),
        "is_grasped": (grasped,),
        "tcp_pose": (*tcp, w, x, y, z),
        "goal_pos": goal,
        "obj_pose": (*cube, 1.0, 0.0, 0.0, 0.0),
    }.items():
        state[slice(*LAYOUT[name])] = value
    return state


class KinematicArm:
    """Obeys ManiSkill's contract exactly, but for the `order` of its axes and dead ones.

    An episode is a success while the tool is within 2 cm of the cube; it ends with its time, or with success
    where `end_on_success`.
    """

    def __init__(self, num_envs=2, order=range(6), dead=(), base_yaw=0.0, end_on_success=False):
        self.spec, self.num_envs = pick_cube_spec(), num_envs
        self._how = SimpleNamespace(order=list(order), dead=list(dead), end_on_success=end_on_success)
        self._base = Rotation.from_euler("z", base_yaw)
        self.episode = 0

    def reset(self):
        rng = np.random.default_rng(self.episode)
        self.episode += 1
        self._state = np.stack([pick_cube_state(cube=(*rng.uniform(-0.1, 0.1, 2), 0.02)) for _ in range(self.num_envs)])
        self._time = np.zeros(self.num_envs, int)
        return {"state": self._state}

    def step(self, action):
        action = np.clip(np.asarray(action, float), -1.0, 1.0)
        command = action[:, :6][:, self._how.order]
        command[:, self._how.dead] = 0.0
        pose = self._state[:, slice(*LAYOUT["tcp_pose"])]
        pose[:, :3] += SHARE * 0.1 * self._base.apply(command[:, :3])
        for row, angles in zip(pose, -0.1 * SHARE * command[:, 3:], strict=True):
            turn = self._base * Rotation.from_euler("XYZ", angles) * self._base.inv()
            x, y, z, w = (turn * Rotation.from_quat([*row[4:], row[3]])).as_quat()
            row[3:] = w, x, y, z
        self._state[:, 7:9] = (0.015 + 0.025 * action[:, 6:]).clip(0.0)
        self._time += 1
        cube = self._state[:, slice(*LAYOUT["obj_pose"])][:, :3]
        success = np.linalg.norm(pose[:, :3] - cube, axis=1) < 0.02
        terminated = success & self._how.end_on_success
        truncated = self._time >= self.spec.max_episode_steps
        observation = {"state": self._state}
        return StepResult(observation, observation, 1.0 * success, terminated, truncated, success)

    def state_dict(self):
        return {"episode": np.array(self.episode)}

    def load_state_dict(self, state):
        self.episode = int(state["episode"])
