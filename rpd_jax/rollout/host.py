"""Rollouts in a host vector environment: a loop over steps around the population's jitted `act`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rpd_jax.envs.base import VectorEnv
from rpd_jax.population import Population
from rpd_jax.rollout.episodes import EpisodeTracker
from rpd_jax.types import Observation, Transition
from rpd_jax.update import MemberState

Watch = Callable[[Observation, np.ndarray], None]


class Rollout(NamedTuple):
    """T steps of every member, and what the teacher is to see of them."""

    transition: Transition  # [T, P, N, ...]
    starts: np.ndarray  # [T, P, N] bool: an episode begins with this observation
    teacher_observation: Observation  # [T, G, N, ...] of the guided members
    episodes: list[dict[str, float]]  # per member: count and mean return, length, success of ended episodes


class HostCollector:
    """Steps P x N environments and stores what happened.

    Environment p * N + n belongs to member p. `teacher_keys` are the entries of an observation that the teacher
    reads; frames that the student does not see are drawn only for the members that are guided.
    """

    def __init__(
        self, env: VectorEnv, population: Population, rollout_length: int, teacher_keys: Sequence[str] = ()
    ) -> None:
        self.env, self.population, self.length = env, population, rollout_length
        self.num_members = len(population)
        self.num_envs = env.num_envs // self.num_members
        self.teacher_keys = tuple(teacher_keys)
        self.tracker = EpisodeTracker(env.num_envs)
        self._observation: Observation | None = None
        self._starts = np.ones(env.num_envs, bool)

    def collect(self, members: MemberState, guided: Sequence[int] = (), watch: Watch | None = None) -> Rollout:
        """Runs the members for T steps from where the last rollout ended; parameters stay as they are.

        Args:
          members: who acts.
          guided: indices of the members whose observations are kept for the teacher.
          watch: is shown what the teacher is to see of each step, leaves [G, N, ...], and where episodes begin, [G, N],
            before the step is made.
        """
        if self._observation is None:
            self._observation = _to_numpy(self.env.reset())
        steps: list[Transition] = []
        starts: list[np.ndarray] = []
        seen: list[Observation] = []
        ended: list[dict[str, np.ndarray]] = []
        for step in range(self.length):
            observation = self._members_first(self._observation)
            starts.append(self._starts.reshape(self.num_members, self.num_envs))
            seen.append(self._teacher_sees(observation, guided))
            if watch is not None:
                watch(seen[-1], starts[-1][list(guided)])
            acted = jax.device_get(self.population.act(members, observation, np.int32(step)))
            result = self.env.step(acted.action.reshape(self.env.num_envs, -1))
            terminated, truncated = np.array(result.terminated), np.array(result.truncated)
            self._starts = terminated | truncated
            next_value = np.zeros_like(acted.value)
            if self._starts.any():  # the other entries are filled in below, by the next step's values
                final = self._members_first(_to_numpy(result.final_observation))
                next_value = np.array(self.population.values(members, final))
            ended.append(self.tracker.add(result))
            self._observation = _to_numpy(result.observation)
            steps.append(
                Transition(
                    observation=self.population.student_sees(observation),
                    action=acted.action,
                    log_prob=acted.log_prob,
                    value=acted.value,
                    next_value=next_value,
                    reward=np.array(result.reward, np.float32).reshape(acted.value.shape),
                    terminated=terminated.reshape(acted.value.shape),
                    truncated=truncated.reshape(acted.value.shape),
                )
            )
        transition: Transition = jax.tree.map(lambda *x: np.stack(x), *steps)
        last_value = np.asarray(self.population.values(members, self._members_first(self._observation)))
        following = np.concatenate([transition.value[1:], last_value[None]])
        is_end = transition.terminated | transition.truncated
        transition = transition._replace(next_value=np.where(is_end, transition.next_value, following))
        teacher_observation = {key: np.stack([o[key] for o in seen]) for key in seen[0]}
        return Rollout(transition, np.stack(starts), teacher_observation, self._per_member(ended))

    def _members_first(self, observation: Observation) -> Observation:
        shape = (self.num_members, self.num_envs)
        return {key: np.reshape(x, shape + x.shape[1:]) for key, x in observation.items()}

    def _teacher_sees(self, observation: Observation, guided: Sequence[int]) -> Observation:
        """Leaves [G, N, ...]."""
        if not guided:
            return {}
        members = np.asarray(guided)
        seen = {key: observation[key][members] for key in self.teacher_keys if key in observation}
        if "rgb" in self.teacher_keys and "rgb" not in observation:
            indices = members[:, None] * self.num_envs + np.arange(self.num_envs)
            frames = self.env.frames(indices.ravel().tolist())
            seen["rgb"] = frames.reshape(*indices.shape, *frames.shape[1:])
        return seen

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


def _to_numpy(observation: Observation) -> Observation:
    """Copies, since a simulator may overwrite its arrays in the next step."""
    return {key: np.array(x) for key, x in observation.items()}
