"""Rollouts in a vector environment: a loop over steps around the population's jitted `act`.

What a simulator keeps on an accelerator stays there: observations, frames, actions and rewards. Rewards and flags are
copied to the host besides, for the statistics of episodes, and so are values where they decide about queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.algorithms.base import MemberState
from rpd_jax.envs.base import VectorEnv, begin_episode, draw_missing
from rpd_jax.guidance.labeler_host import RolloutLabels
from rpd_jax.training.episodes import EpisodeTracker, check_finite
from rpd_jax.training.lookahead import with_next
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation, Transition


class Rollout(NamedTuple):
    """T steps of every member."""

    transition: Transition  # [T, P, N, ...]
    starts: np.ndarray  # [T, P, N] bool: an episode begins with this observation
    episodes: list[dict[str, float]]  # per member: count and mean return, length, success of ended episodes


class HostCollector:
    """Steps P x N environments and stores what happened.

    Environment p * N + n belongs to member p. `teacher_keys` are the entries of an observation that the teacher
    reads; frames that the student does not see are drawn only for the environments that are queried. With
    `keep_jax`, for tests, JAX's arrays stay JAX's on the CPU too, as they do on an accelerator: the result is the same.
    """

    def __init__(
        self,
        env: VectorEnv,
        population: Population,
        rollout_length: int,
        teacher_keys: Sequence[str] = (),
        *,
        keep_jax: bool = False,
    ) -> None:
        self.env, self.population, self.length = env, population, rollout_length
        self.num_members = len(population)
        self.num_envs = env.num_envs // self.num_members
        self.teacher_keys = tuple(teacher_keys)
        self._ahead = population.algorithm.ahead
        self._whole = population.algorithm.whole_episodes
        self.tracker = EpisodeTracker(env.num_envs)
        self._keep_jax = keep_jax
        self._observation: Observation | None = None
        self._starts = np.ones(env.num_envs, bool)

    def begin_episodes(self, number: int) -> None:
        """Episode `number` of every environment begins with the next rollout, whatever was under way."""
        self._observation = self._keep(begin_episode(self.env, number))
        check_finite(self._observation)
        self._starts = np.ones(self.env.num_envs, bool)
        self.tracker = EpisodeTracker(self.env.num_envs)

    def collect(self, members: MemberState, labels: RolloutLabels | None = None) -> Rollout:
        """Runs the members for T steps from where the last rollout ended; parameters stay as they are.

        `labels` are shown each step before it is made: so the teacher can be asked as the rollout goes on.
        """
        if self._observation is None:
            self._observation = self._keep(self.env.reset())
            check_finite(self._observation)
        on_device = any(isinstance(x, jax.Array) for x in self._observation.values())
        xp = jnp if on_device else np
        steps = placement.StepBuffer(self.length)
        starts: list[np.ndarray] = []
        ended: list[dict[str, np.ndarray]] = []
        if labels is not None:
            labels.begin(self.tracker.lengths.reshape(self.num_members, self.num_envs), self.length)
        for step in range(self.length):
            observation = self._members_first(self._observation)
            starts.append(self._starts.reshape(self.num_members, self.num_envs))
            acted = self.population.act(members, observation, np.int32(step))
            if not on_device:
                acted = jax.device_get(acted)
            if labels is not None:
                labels.step(starts[-1], acted.extras.get("value"), self.seen)
            result = self.env.step(acted.action.reshape(self.env.num_envs, -1))
            terminated, truncated = np.array(result.terminated), np.array(result.truncated)
            self._starts = terminated | truncated
            following = {name: xp.zeros_like(acted.extras[name]) for name in self._ahead}
            if self._ahead and self._starts.any():  # the other entries are filled in below, by the next step's
                final = self._members_first(self._keep(result.final_observation))
                following = {name: xp.asarray(x) for name, x in self.population.look_ahead(members, final).items()}
            ended.append(self.tracker.add(result))
            self._observation = self._keep(result.observation)
            shape = starts[-1].shape
            transition = Transition(
                observation=self.population.student_sees(observation),
                action=acted.action,
                reward=xp.asarray(result.reward, xp.float32).reshape(shape),
                terminated=terminated.reshape(shape),
                truncated=truncated.reshape(shape),
                extras=acted.extras | {f"next_{name}": x for name, x in following.items()},
                success=np.array(result.success).reshape(shape) if self._whole else None,
            )
            steps.write(step, transition)
        transition = steps.tree()
        if self._ahead:
            last = self.population.look_ahead(members, self._members_first(self._observation))
            transition = with_next(transition, {name: xp.asarray(x) for name, x in last.items()}, xp)
        return Rollout(transition, np.stack(starts), self._per_member(ended))

    def _keep(self, observation: Observation) -> Observation:
        """The host's arrays as numpy's, which no later step touches (see `VectorEnv.step`); so there is no copy."""

        def keep(x: Array) -> Array:
            return x if self._keep_jax and isinstance(x, jax.Array) else placement.host_view(x)

        return {key: keep(x) for key, x in observation.items()}

    def _members_first(self, observation: Observation) -> Observation:
        shape = (self.num_members, self.num_envs)
        return {key: x.reshape(shape + x.shape[1:]) for key, x in observation.items()}

    def seen(self, indices: np.ndarray) -> Observation:
        """What the teacher reads of environments [K] now, leaves [K, ...]; frames are drawn for them alone."""
        assert self._observation is not None
        seen = {key: placement.rows(x, indices) for key, x in self._observation.items() if key in self.teacher_keys}
        return draw_missing(self.env, self.teacher_keys, seen, indices.tolist())

    def _per_member(self, ended: list[dict[str, np.ndarray]]) -> list[dict[str, float]]:
        episodes = {key: np.concatenate([e[key] for e in ended]) for key in ended[0]}
        owner = episodes.pop("index") // self.num_envs
        rows = []
        for member in range(self.num_members):
            mine = owner == member
            row: dict[str, float] = {"episodes": float(mine.sum())}
            if mine.any():
                row |= {key: float(np.mean(values[mine])) for key, values in episodes.items()}
            rows.append(row)
        return rows

    def state_dict(self) -> dict[str, Any]:
        """What continues collecting after a restart, for `load_state_dict`."""
        return {"env": self.env.state_dict(), "tracker": self.tracker.state_dict(), "starts": self._starts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint: in the middle of episodes where the environment can, else with new ones."""
        self.env.load_state_dict(state["env"])
        self._observation = None
        if restores_episodes(self.env):
            self.tracker.load_state_dict(state["tracker"])
            self._starts = np.array(state["starts"], bool)


def restores_episodes(env: VectorEnv) -> bool:
    """Whether `load_state_dict` brings back episodes under way, rather than only the sequence of seeds."""
    return bool(getattr(env, "restores_episodes", False))
