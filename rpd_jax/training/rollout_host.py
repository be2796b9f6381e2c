"""Rollouts in a vector environment: a loop over steps around the population's jitted `act`.

What a simulator keeps on an accelerator stays there: observations, frames, actions and rewards. Rewards and flags are
copied to the host besides, for the statistics of episodes, and so are values where they decide about queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.algorithms.update import MemberState
from rpd_jax.envs.base import VectorEnv
from rpd_jax.guidance.sparse import Asked
from rpd_jax.training.episodes import EpisodeTracker, check_finite
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation, Transition

Watch = Callable[[Observation, np.ndarray], None]


class Questions(Protocol):
    """Decides, as a rollout goes on, which environments ask the teacher."""

    members: Sequence[int]  # S of them, whose environments it decides about

    def begin(self, age: np.ndarray) -> None:
        """Before the first step; `age` [S, N]: steps that the episodes under way have lasted."""
        ...

    def ask(self, step: int, begins: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Whether they ask at this step, bool [S, N].

        Args:
          step: of the rollout.
          begins: bool [S, N], an episode begins with this observation.
          values: [S, N] of the students.
        """
        ...


class Rollout(NamedTuple):
    """T steps of every member, and what the teacher is to see of them."""

    transition: Transition  # [T, P, N, ...]
    starts: np.ndarray  # [T, P, N] bool: an episode begins with this observation
    teacher_observation: Observation  # [T, G, N, ...] of the guided members; empty where a `Watch` was shown it
    asked: list[Asked]  # what the S members of `Questions` ask
    episodes: list[dict[str, float]]  # per member: count and mean return, length, success of ended episodes


class HostCollector:
    """Steps P x N environments and stores what happened.

    Environment p * N + n belongs to member p. `teacher_keys` are the entries of an observation that the teacher
    reads; frames that the student does not see are drawn only for the members that are guided. With `keep_jax`, for
    tests, JAX's arrays stay JAX's on the CPU too, as they do on an accelerator: the result is the same.
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
        self.tracker = EpisodeTracker(env.num_envs)
        self._keep_jax = keep_jax
        self._observation: Observation | None = None
        self._starts = np.ones(env.num_envs, bool)

    def collect(
        self,
        members: MemberState,
        guided: Sequence[int] = (),
        watch: Watch | None = None,
        questions: Questions | None = None,
    ) -> Rollout:
        """Runs the members for T steps from where the last rollout ended; parameters stay as they are.

        Args:
          members: who acts.
          guided: indices of the members whose observations are all kept for the teacher.
          watch: is shown what the teacher is to see of each step, leaves [G, N, ...], and where episodes begin, [G, N],
            before the step is made.
          questions: decides which observations of other members are kept for the teacher.
        """
        if self._observation is None:
            self._observation = self._keep(self.env.reset())
            check_finite(self._observation)
        on_device = any(isinstance(x, jax.Array) for x in self._observation.values())
        xp = jnp if on_device else np
        steps, seen = placement.StepBuffer(self.length), placement.StepBuffer(self.length)
        starts: list[np.ndarray] = []
        ended: list[dict[str, np.ndarray]] = []
        asking = _Asking(self, questions) if questions is not None and questions.members else None
        for step in range(self.length):
            observation = self._members_first(self._observation)
            starts.append(self._starts.reshape(self.num_members, self.num_envs))
            shown = self._teacher_sees(guided)
            if watch is not None:
                watch(shown, starts[-1][list(guided)])
            else:
                seen.write(step, shown)
            acted = self.population.act(members, observation, np.int32(step))
            if not on_device:
                acted = jax.device_get(acted)
            if asking is not None:
                asking.step(step, starts[-1], np.asarray(acted.value))
            result = self.env.step(acted.action.reshape(self.env.num_envs, -1))
            terminated, truncated = np.array(result.terminated), np.array(result.truncated)
            self._starts = terminated | truncated
            next_value = xp.zeros_like(acted.value)
            if self._starts.any():  # the other entries are filled in below, by the next step's values
                final = self._members_first(self._keep(result.final_observation))
                next_value = xp.asarray(self.population.values(members, final))
            ended.append(self.tracker.add(result))
            self._observation = self._keep(result.observation)
            transition = Transition(
                observation=self.population.student_sees(observation),
                action=acted.action,
                log_prob=acted.log_prob,
                value=acted.value,
                next_value=next_value,
                reward=xp.asarray(result.reward, xp.float32).reshape(acted.value.shape),
                terminated=terminated.reshape(acted.value.shape),
                truncated=truncated.reshape(acted.value.shape),
            )
            steps.write(step, transition)
        transition = steps.tree()
        last_value = xp.asarray(self.population.values(members, self._members_first(self._observation)))
        following = xp.concatenate([transition.value[1:], last_value[None]])
        is_end = transition.terminated | transition.truncated
        transition = transition._replace(next_value=xp.where(is_end, transition.next_value, following))
        teacher_observation = seen.tree() if watch is None else {}
        asked = asking.asked() if asking is not None else []
        return Rollout(transition, np.stack(starts), teacher_observation, asked, self._per_member(ended))

    def _keep(self, observation: Observation) -> Observation:
        """Copies arrays of the host, which a simulator may overwrite in its next step; JAX's are constant."""

        def keep(x: Array) -> Array:
            stays = placement.on_accelerator(x) or (self._keep_jax and isinstance(x, jax.Array))
            return x if stays else np.array(x)

        return {key: keep(x) for key, x in observation.items()}

    def _members_first(self, observation: Observation) -> Observation:
        shape = (self.num_members, self.num_envs)
        return {key: x.reshape(shape + x.shape[1:]) for key, x in observation.items()}

    def _teacher_sees(self, guided: Sequence[int]) -> Observation:
        """Leaves [G, N, ...]."""
        if not guided:
            return {}
        members = np.asarray(guided)
        indices = members[:, None] * self.num_envs + np.arange(self.num_envs)
        return {key: x.reshape(*indices.shape, *x.shape[1:]) for key, x in self.seen(indices.ravel()).items()}

    def seen(self, indices: np.ndarray) -> Observation:
        """What the teacher reads of environments [K] now, leaves [K, ...]; frames are drawn for them alone."""
        assert self._observation is not None
        seen = {key: placement.rows(x, indices) for key, x in self._observation.items() if key in self.teacher_keys}
        if "rgb" in self.teacher_keys and "rgb" not in seen:
            seen["rgb"] = self.env.frames(indices.tolist())
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


class _Asking:
    """The queries of a rollout under way."""

    def __init__(self, collector: HostCollector, questions: Questions) -> None:
        self._collector, self._questions = collector, questions
        self._where: list[np.ndarray] = []  # of each step, [S, N]
        self._seen: list[tuple[np.ndarray, Observation]] = []  # (which of the S members, leaves [K, ...])
        shape = (collector.num_members, collector.num_envs)
        questions.begin(collector.tracker.lengths.reshape(shape)[list(questions.members)])

    def step(self, step: int, begins: np.ndarray, values: np.ndarray) -> None:
        """One step of all members, arrays [P, N]."""
        members = np.asarray(self._questions.members)
        where = self._questions.ask(step, begins[members], values[members])
        self._where.append(where)
        mine, envs = np.nonzero(where)
        if len(mine):
            self._seen.append((mine, self._collector.seen(members[mine] * self._collector.num_envs + envs)))

    def asked(self) -> list[Asked]:
        """Of each of the S members."""
        where = np.stack(self._where)
        found = []
        for member in range(where.shape[1]):
            mine = [
                {key: placement.rows(x, np.flatnonzero(who == member)) for key, x in seen.items()}
                for who, seen in self._seen
            ]
            observation = {key: placement.concatenate([each[key] for each in mine]) for key in mine[0]} if mine else {}
            found.append(Asked(where[:, member], observation))
        return found


def restores_episodes(env: VectorEnv) -> bool:
    """Whether `load_state_dict` brings back episodes under way, rather than only the sequence of seeds."""
    return bool(getattr(env, "restores_episodes", False))
