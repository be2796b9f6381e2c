"""A tabletop task as a functional environment: reset, step, observe, draw; pure functions of one environment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.config import REWARDS, choice
from rpd_jax.envs import ee, rewards
from rpd_jax.envs.base import ArraySpec, EnvSpec, divided, slices
from rpd_jax.envs.tabletop import hand, physics
from rpd_jax.envs.tabletop.model import build
from rpd_jax.envs.tabletop.physics import Physics
from rpd_jax.envs.tabletop.picture import make_picture
from rpd_jax.envs.tabletop.scene import Camera
from rpd_jax.envs.tabletop.task import View, pose_at
from rpd_jax.envs.tabletop.tasks import load
from rpd_jax.types import Array, Observation

POSITION_NOISE = (0.009, 0.016, 0.013)  # metres, of the hand at the beginning, in the base's axes: what ManiSkill's
HINGE_NOISE = (0.031, 0.015, 0.036)  # joint noise of 0.02 rad makes of its tool's pose, measured; radians
RENDER = "render"  # the name of the camera that people look through
HUGE = 1e10  # metres, radians, or those a second: MuJoCo's own limit of what is a simulation
GRASP_FORCE, GRASP_ANGLE = 0.5, 85.0  # newtons at least, degrees at most from the direction in which fingers close


class State(NamedTuple):
    """One environment between two steps."""

    physics: Physics
    goal: Mapping[str, Array]
    steps: Array  # int32, of this episode


class TabletopEnv:
    """One task; see `base.FunctionalEnv`, which this implements. The caller vmaps.

    Observations: "state" (the hand's qpos [8] and qvel [8], then what the task names, as in ManiSkill), "proprio"
    [23], "ee" (what both suites can give, see `envs/ee.py`), and "rgb" if asked for.

    As in Gymnasium, an episode that succeeds in its last possible step is both terminated and truncated.
    """

    def __init__(
        self,
        task: str,
        *,
        engine: str = "auto",
        reward: str = "normalized_dense",
        rgb: bool = False,
        image_size: int = 128,
        camera: Camera | None = None,
        max_episode_steps: int | None = None,
        end_on_success: bool = True,
        horizon_scale: int = 1,
        instruction: str = "",
        shown: Camera | None = None,
        shown_size: int = 256,
    ) -> None:
        """Compiles the model.

        Args:
          task: a name of `tasks.TASKS`.
          engine: "c", "mjx" or "auto", see `physics.make_step`.
          reward: "normalized_dense" (at most about 1 a step), "dense", "sparse" (1 at success), or "v2" or "v3", see
            `envs/rewards.py`.
          rgb: whether observations hold a picture.
          image_size: pixels, square.
          camera: None: the task's own.
          max_episode_steps: at a `horizon_scale` of 1; None: the task's own.
          end_on_success: whether success terminates an episode.
          horizon_scale: k gives episodes k times the steps, each of which moves and turns the hand by a k-th.
          instruction: the task in words; empty: the task's own.
          shown: the camera `RENDER`, for people; None: `camera`.
          shown_size: pixels of its pictures, square.

        Raises:
          ConfigError: an unknown task, engine or reward, a task without that reward, or MJX is missing.
        """
        self.task = load(task)
        choice("env.reward", reward, REWARDS)
        rewards.check(task, reward)
        self._simplified = rewards.simplified(task, reward) if reward in rewards.KINDS else None
        self._reward, self._rgb, self._end_on_success = reward, rgb, end_on_success
        contract = divided(hand.CONTRACT, horizon_scale)
        assert contract is not None, "the hand has one"
        self._contract = contract
        self._model = build(self.task.scene)
        self._physics_step = physics.make_step(self._model, engine)
        camera = camera or self.task.scene.camera
        self._cameras = {"rgb": (camera, image_size), RENDER: (shown or camera, shown_size)}
        self._pictures: dict[str, Callable[[View], Array]] = {}
        steps = horizon_scale * (max_episode_steps or self.task.max_episode_steps)
        spec = self._make_spec(task, steps, image_size)
        self.spec = dataclasses.replace(
            spec,
            horizon_scale=horizon_scale,
            instruction=instruction or self.task.instruction,
            camera=camera,
            film_camera=RENDER,
        )

    def reset(self, key: Array) -> tuple[State, Observation]:
        """Begins an episode: objects where the task places them, the hand near its home, at rest."""
        state = self._begin(key)
        return state, self.observe(state)

    def _begin(self, key: Array) -> State:
        place_key, position_key, hinge_key = jax.random.split(key, 3)
        placement, scene = self.task.place(place_key), self.task.scene
        shift = jnp.array(POSITION_NOISE) * jax.random.normal(position_key, (3,))
        hinges = jnp.array(HINGE_NOISE) * jax.random.normal(hinge_key, (3,))
        position = jnp.array(scene.home) + rotations.turn_about_z(shift, scene.base_yaw)
        hinges = hinges + jnp.array([0.0, 0.0, scene.home_yaw])
        parts: list[Array] = [position, hinges, jnp.full(2, hand.FINGER_OPEN)]
        for body in scene.bodies:
            pose = placement.pose[body.name]
            yaw = rotations.yaw_from_quaternion(pose[3:])
            parts.append(pose if body.free else jnp.append(pose[:2], yaw))
        qpos = jnp.concatenate(parts).astype(jnp.float32)
        force = jnp.zeros((len(scene.grasped_names), 2, 3))
        velocity = jnp.zeros(self._model.mujoco.nv)
        return State(Physics(qpos, velocity, force), placement.goal, jnp.zeros((), jnp.int32))

    def step(self, state: State, action: Array) -> tuple[State, Observation, Array, Array, Array, Array]:
        """One control step (0.05 s). Returns (state, observation, reward, terminated, truncated, success)."""
        target = hand.targets(state.physics.qpos[: hand.JOINTS], action, self.task.scene.base_yaw, self._contract)
        moved = self._physics_step(state.physics, target)
        # what blew up is no number, so that whoever steps this ends the episode (`functional.vector_step` does)
        calm = jnp.all(jnp.abs(moved.qpos) < HUGE) & jnp.all(jnp.abs(moved.qvel) < HUGE)
        moved = moved._replace(qpos=jnp.where(calm, moved.qpos, jnp.nan))
        state = State(moved, state.goal, state.steps + 1)
        view = self.view(state)
        success = self.task.success(view)
        terminated = jnp.logical_and(success, self._end_on_success)
        return state, self.observe(state), self._reward_of(view, success), terminated, self._is_over(state), success

    def view(self, state: State) -> View:
        """What the task sees of a state."""
        qpos, qvel = state.physics.qpos, state.physics.qvel
        tcp = hand.tcp_pose(qpos[: hand.JOINTS])
        pose: dict[str, Array] = {}
        velocity: dict[str, Array] = {}
        for body in self.task.scene.bodies:
            (start, stop), (first, last) = self._model.qpos[body.name], self._model.qvel[body.name]
            where = qpos[start:stop]
            if body.free:
                quaternion = where[3:] / jnp.maximum(jnp.linalg.norm(where[3:]), 1e-6)
                pose[body.name] = jnp.concatenate([where[:3], quaternion])
                velocity[body.name] = qvel[first:last]
            else:
                pose[body.name] = pose_at(jnp.append(where[:2], body.height), where[2])
                velocity[body.name] = jnp.zeros(6)
        names = self.task.scene.grasped_names
        grasped = {name: _is_grasped(state.physics.force[i], tcp) for i, name in enumerate(names)}
        fingers = qpos[hand.JOINTS - 2 : hand.JOINTS]
        speed = hand.joint_speeds(qvel[: hand.JOINTS])
        return View(tcp, speed, fingers, pose, velocity, grasped, state.goal)

    def observe(self, state: State) -> Observation:
        """The observation of a state."""
        view = self.view(state)
        joints = jnp.concatenate([state.physics.qpos[: hand.JOINTS], state.physics.qvel[: hand.JOINTS]])
        extras = {name: jnp.atleast_1d(x).astype(jnp.float32) for name, x in self.task.observe(view).items()}
        observation = {
            "state": jnp.concatenate([joints, *extras.values()]),
            "proprio": jnp.concatenate([joints, view.tcp]),
            "ee": ee.observe(extras, jnp.sum(view.fingers), self.task.ee_objects, self.task.ee_goals),
        }
        if self._rgb:
            observation["rgb"] = self.render(state)
        return observation

    def render(self, state: State, camera: str = "rgb") -> Array:
        """A picture uint8 [H, W, 3] of a state, by the camera of observations or by `RENDER`."""
        if camera not in self._pictures:  # a third of a second, which environments that are never drawn need not pay
            with jax.ensure_compile_time_eval():
                self._pictures[camera] = make_picture(self.task.scene, *self._cameras[camera])
        return self._pictures[camera](self.view(state))

    def _reward_of(self, view: View, success: Array) -> Array:
        if self._reward == "sparse":
            return success.astype(jnp.float32)
        if self._simplified is not None:
            return jnp.asarray(self._simplified(self.task.observe(view), success), jnp.float32)
        scale = self.task.reward_scale if self._reward == "normalized_dense" else 1.0
        return jnp.asarray(self.task.dense(view, success) / scale, jnp.float32)

    def _is_over(self, state: State) -> Array:
        return state.steps >= self.spec.max_episode_steps

    def _make_spec(self, name: str, length: int, image_size: int) -> EnvSpec:
        image = (image_size, image_size, 3)
        blank = jax.eval_shape(self._begin, jax.random.key(0))
        shapes = jax.eval_shape(self.observe, blank)
        sizes = {"qpos": hand.JOINTS, "qvel": hand.JOINTS}

        def note_order(state: State) -> None:  # what leaves a traced function comes back sorted by name
            sizes.update({k: x.size for k, x in self.task.observe(self.view(state)).items()})

        jax.eval_shape(note_order, blank)
        objects, goals = self.task.ee_objects, self.task.ee_goals
        layout = {
            "state": slices(sizes),
            "proprio": slices({"qpos": hand.JOINTS, "qvel": hand.JOINTS, "tcp_pose": 7}),
            "ee": slices(ee.sizes(objects, goals)),
        }
        return EnvSpec(
            name=f"tabletop:{name}",
            instruction=self.task.instruction,
            max_episode_steps=length,
            action_dim=7,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            observation={k: ArraySpec(x.shape, "uint8" if k == "rgb" else "float32") for k, x in shapes.items()},
            layout=layout,
            contract=self._contract,
            frame_shape=image,
        )


def _is_grasped(force: Array, tcp: Array) -> Array:
    """Whether both fingers press on a body (forces [2, 3]), about in the direction in which they close."""
    closing = rotations.quaternion_apply(tcp[3:], jnp.array([0.0, -1.0, 0.0]))  # of the left finger, at +y of the hand
    along = force @ closing * jnp.array([1.0, -1.0])
    strength = jnp.linalg.norm(force, axis=-1)
    return jnp.all((strength >= GRASP_FORCE) & (along >= strength * math.cos(math.radians(GRASP_ANGLE))))
