"""The teacher that wraps a scripted task: corruption, sampling, batches."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.actions.contracts import clip
from rpd_jax.config.validation import require
from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Array, Instructions, Observation, TeacherLabels, TeacherSpec
from teachers.scripted.geometry import Error, Fields, Task, action_of
from teachers.scripted.settings import ScriptedSettings


class ScriptedTeacher:
    """A geometric, memoryless teacher: a pure function of one flat state observation.

    Args:
      name: the task, for the spec.
      task: its script.
      env_spec: of the environment to act in; its layout names the slices of "state".
      settings: what the teacher gets wrong, and draws per label.
    Raises:
      ValueError: where the environment lacks a slice that the script needs, or a contract; an `aim_direction` of zero.
    """

    def __init__(self, name: str, task: Task, env_spec: EnvSpec, settings: ScriptedSettings) -> None:
        direction = settings.aim_direction
        require(math.hypot(*direction) >= 1e-6, "teacher.aim_direction", direction, "a direction: not zero")
        fraction = settings.aim_error_fraction
        if task.place is None and settings.aim_error > 0 and fraction not in (0.0, 1.0):
            raise ValueError(
                f"teacher.aim_error_fraction={fraction} cannot work in {env_spec.name}: it must be 0 or 1, since all "
                "episodes begin with the object at nearly the same place"
            )
        if env_spec.contract is None or env_spec.contract.statistics is not None:
            raise ValueError(
                f"env_spec.contract={env_spec.contract!r} of {env_spec.name}: a scripted teacher acts in an "
                'end-effector delta contract without statistics, as control mode "pd_ee_delta_pose" has'
            )
        self._slices = _slices(task, env_spec)
        self._size = env_spec.observation["state"].shape[-1]
        contract = env_spec.undivided_contract
        assert contract is not None, "where there is a contract, there is this one"
        self._task, self._contract = task, contract
        self.settings = settings
        self.spec = TeacherSpec(
            name=f"scripted:{name}",
            observation_keys=("state",),
            contract=None,
            history=settings.lag + 1,
            samples_actions=settings.noise > 0,
            in_graph=True,
            is_scripted=True,
        )
        self._label = jax.jit(self._label_batch)

    def mean_action(self, state: Array) -> Array:
        """The action [7] without noise for one state [D], everything systematic included."""
        fields = {name: state[low:high] for name, (low, high) in self._slices.items()}
        aim = self._task.aim(fields, self._error(fields))
        return action_of(aim, fields["tcp_pose"], self._contract, self._task.base_yaw, self._task.gain)

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels states [B, D], or [B, lag + 1, D] (newest last) where the settings have a lag.

        Every label is valid. Raises ValueError for another shape.
        """
        del instructions  # a script knows its task
        state = observation["state"]
        wanted = (self.spec.history, self._size) if self.spec.history > 1 else (self._size,)
        if tuple(state.shape[1:]) != wanted:
            raise ValueError(
                f'observation["state"] of shape {tuple(state.shape)}: {self.spec.name} takes [B, '
                f"{', '.join(map(str, wanted))}]"
            )
        return self._label(state, key)

    def _error(self, fields: Fields) -> Error:
        c = self.settings
        approach = carry = jnp.asarray(c.bias)
        if c.aim_error > 0 and c.aim_error_fraction > 0:
            direction = jnp.asarray(c.aim_direction)
            inside = self._task.place is None or self._task.place(fields) >= 1.0 - c.aim_error_fraction
            share = jnp.where(inside, 1.0 - self._task.held(fields), 0.0)
            approach = approach + c.aim_error * direction / jnp.linalg.norm(direction) * share
        return Error(approach, carry, jnp.asarray(c.gripper_shift))

    def _label_batch(self, state: Array, key: Array) -> TeacherLabels:
        if self.spec.history > 1:
            state = state[:, 0]
        mean = jax.vmap(self.mean_action)(state)
        noise = self.settings.noise
        draws = jnp.broadcast_to(mean[None], (self.settings.samples, *mean.shape))
        if noise > 0.0:
            draws = draws + noise * jax.random.normal(key, draws.shape, mean.dtype)
        return self.settings.labels(clip(draws, self._contract), noise)


def _slices(task: Task, env_spec: EnvSpec) -> Mapping[str, tuple[int, int]]:
    layout, found = env_spec.layout.get("state", {}), {}
    for name, length in task.fields.items():
        if name not in layout:
            raise ValueError(f'env_spec.layout["state"] of {env_spec.name} has no {name!r}: it names {sorted(layout)}')
        low, high = layout[name]
        if length is not None and high - low != length:
            raise ValueError(
                f'env_spec.layout["state"][{name!r}]={(low, high)} of {env_spec.name}: {length} numbers are needed'
            )
        found[name] = (low, high)
    return found
