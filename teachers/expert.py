"""A simulator's own script as teacher: its answer comes with every observation, as the entry "expert"."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from rpd_jax.envs.base import EXPERT, EnvSpec
from rpd_jax.types import Array, Instructions, Observation, TeacherLabels, TeacherSpec
from teachers.sampling import Sampling


@dataclasses.dataclass
class ExpertSettings(Sampling, TeacherConfig):
    """How far the script is off."""

    factory: ClassVar[str] = "teachers.expert:ExpertTeacher"

    name: str = setting("expert", required=True)
    noise: float = setting(0.0, low=0)  # standard deviation on all dimensions, in action units; clipped to the box


class ExpertTeacher:
    """Answers with the action that the environment's own script chose for the observation.

    Raises ValueError for an environment whose observations have none.
    """

    def __init__(self, env_spec: EnvSpec, settings: ExpertSettings) -> None:
        if EXPERT not in env_spec.observation:
            raise ValueError(
                f"env.name={env_spec.name!r} brings no script: metaworld's tasks do, as {EXPERT!r} in each observation"
            )
        self._low, self._high, self._settings = env_spec.action_low, env_spec.action_high, settings
        self.spec = TeacherSpec(
            name=f"expert:{env_spec.name}",
            observation_keys=(EXPERT,),
            contract=None,
            samples_actions=settings.noise > 0,
            in_graph=True,
            is_scripted=True,
        )

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels answers [B, A]."""
        import jax  # here: settings need no jax
        import jax.numpy as jnp

        del instructions  # the script knows its task
        answer, noise = jnp.asarray(observation[EXPERT]), self._settings.noise
        draws = jnp.broadcast_to(answer, (self._settings.samples, *answer.shape))
        if noise > 0:
            draws = draws + noise * jax.random.normal(key, draws.shape)
        low, high = (jnp.asarray(bound, answer.dtype)[None, None] for bound in (self._low, self._high))
        return self._settings.labels(jnp.clip(draws, low, high), noise)
