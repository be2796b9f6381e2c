"""Deterministic evaluation: whole episodes in environments of their own, for students and teachers alike."""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np
from absl import logging

from rpd_jax import placement
from rpd_jax.actions.ensembling import Answers, ensembled, no_answers, remember
from rpd_jax.algorithms.base import MemberState
from rpd_jax.config import EvalConfig
from rpd_jax.config.teacher import EVERY_STEP, Acting
from rpd_jax.envs.base import VectorEnv, draw_missing, film_frames
from rpd_jax.envs.registry import env_seeds
from rpd_jax.guidance.labels import label_steps
from rpd_jax.keys import stream
from rpd_jax.training.alarms import CutShort
from rpd_jax.training.episodes import EpisodeTracker
from rpd_jax.training.guidance_check import check_acting
from rpd_jax.training.hosts import Hosts
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation, Teacher


class Policy(Protocol):
    """Acts in B environments at once."""

    def __call__(self, observation: Observation, starts: np.ndarray) -> Array:
        """Actions [B, A] for observations [B, ...]; `starts` [B] marks the first step of an episode."""
        ...


class Film(NamedTuple):
    """One recorded episode."""

    frames: np.ndarray  # uint8 [T, H, W, 3]
    success: bool


class Episodes(NamedTuple):
    """Finished episodes of one policy or member, each [E]."""

    success_once: np.ndarray  # bool
    success_at_end: np.ndarray  # bool
    returns: np.ndarray  # float


class StudentPolicy:
    """The members' mean actions; environment p * N + n belongs to member p.

    `convert_action` turns actions [P, N, A] as the members were trained to give them into the environment's.
    """

    def __init__(
        self, population: Population, members: MemberState, convert_action: Callable[[Array], Array] | None = None
    ) -> None:
        self._population, self._members = population, members
        self._convert = convert_action or (lambda action: action)

    def __call__(self, observation: Observation, starts: np.ndarray) -> Array:
        num_members = len(self._population)
        grouped: Observation = {
            key: placement.host_view(x).reshape(num_members, -1, *x.shape[1:]) for key, x in observation.items()
        }
        action = np.asarray(self._convert(self._population.mean_action(self._members, grouped)))
        return action.reshape(-1, action.shape[-1])


class TeacherPolicy:
    """A teacher that acts: it draws what frames it needs and remembers as many observations as it wants.

    It acts in the first `num_envs` environments, by default in all; the others get actions of zero. Answers that cannot
    be used become NaN, which `executable` makes something of.

    Each environment executes `acting.replan_every` actions of a chunk before it takes the next one, without a look at
    what comes of them; an episode begins with a chunk of its own. At a step where one environment needs a chunk all are
    asked for, and the others leave theirs: so what a teacher draws for one does not depend on where the others are.
    With `acting.ensemble` it is asked at every step, and what it said of that step before counts, too (`ensembling`).
    Raises ConfigError where the teacher's chunks are too short, or its actions take several of the environment's steps.
    """

    def __init__(
        self, teacher: Teacher, env: VectorEnv, key: Array, num_envs: int | None = None, acting: Acting = EVERY_STEP
    ) -> None:
        check_acting(teacher, acting, env.spec)
        self._teacher, self._env, self._key, self._acting = teacher, env, key, acting
        self._num_envs = env.num_envs if num_envs is None else num_envs
        self._instructions = env.spec.instructions_of(range(self._num_envs))
        self._warned, self._cut_short = False, CutShort(teacher.spec.name, acting.clipped_share)
        self._memory: collections.deque[dict[str, np.ndarray]] = collections.deque(maxlen=teacher.spec.history)
        self._step = 0
        self._answers: Answers | None = None
        planned, dims = acting.replan_every, env.spec.action_dim
        if acting.ensemble is not None:
            planned = teacher.spec.chunk
            blank = no_answers(planned, dims)
            self._answers = jax.tree.map(lambda x: np.zeros((self._num_envs, *x.shape), x.dtype), blank)
        self._plans = np.zeros((self._num_envs, planned, dims), np.float32)
        self._ages = np.full(self._num_envs, acting.replan_every)  # steps since each plan was made

    def __call__(self, observation: Observation, starts: np.ndarray) -> Array:
        mine = slice(self._num_envs)
        starts = starts[mine]
        due = starts | (self._ages >= self._acting.replan_every)
        if due.any() or self._teacher.spec.history > 1:  # what nobody reads need not be drawn
            seen = self._look(observation, starts)
            if due.any():
                self._plan(seen, due)
        self._step += 1
        action = np.zeros((self._env.num_envs, self._env.spec.action_dim), np.float32)
        if self._answers is None:
            action[mine] = self._plans[np.arange(self._num_envs), self._ages]
        else:
            self._answers, action[mine] = _ensembled(self._answers, self._plans, starts, self._acting.ensemble)
        self._ages += 1
        return action

    def _look(self, observation: Observation, starts: np.ndarray) -> Observation:
        """What the teacher reads at this step, [B, ...] or [B, history, ...]."""
        spec, mine = self._teacher.spec, slice(self._num_envs)
        given = {key: observation[key][mine] for key in spec.observation_keys if key in observation}
        drawn = draw_missing(self._env, spec.observation_keys, given, range(self._num_envs))
        seen = {key: np.array(x) for key, x in drawn.items()}
        for past in self._memory:  # a new episode has no past but its first observation
            for key, x in past.items():
                x[starts] = seen[key][starts]
        while len(self._memory) < spec.history - 1:
            self._memory.append({key: x.copy() for key, x in seen.items()})
        self._memory.append(seen)
        if spec.history == 1:
            return dict(seen)
        return {key: np.stack([o[key] for o in self._memory], axis=1) for key in seen}

    def _plan(self, seen: Observation, due: np.ndarray) -> None:
        """Takes a new plan where it is `due` [B]."""
        own_key = jax.random.fold_in(self._key, self._step)
        answer = label_steps(self._teacher, seen, self._instructions, own_key, self._plans.shape[1])
        valid, action = np.asarray(answer.valid)[due], np.asarray(answer.action)[due]
        self._cut_short.add(len(valid), np.asarray(answer.clipped)[due].any(axis=-1).sum())
        if not valid.all() and not self._warned:
            self._warned = True
            logging.warning(
                "teacher %s: %d of %d answers cannot be used; the arm stands still",
                *(self._teacher.spec.name, np.sum(~valid), valid.size),
            )
        self._plans[due] = np.where(valid[..., None], action, np.nan)
        self._ages[due] = 0


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
def _ensembled(answers: Answers, plan: Array, starts: Array, decay: Array) -> tuple[Answers, Array]:
    """Remembers the answers [B, C, A] to the present step; returns (all that is remembered, actions [B, A])."""
    answers = remember(answers, plan, starts)
    return answers, ensembled(answers, decay)


def executable(action: Array) -> np.ndarray:
    """Actions [B, A] with zeros for what is no number, so that an arm without an action stands still."""
    action = np.asarray(action, np.float32)
    return np.where(np.isfinite(action), action, np.float32(0.0))


def run_episodes(
    env: VectorEnv,
    policy: Policy,
    episodes_per_env: int,
    film: Sequence[int] = (),
    begin: Callable[[], Observation] | None = None,
) -> tuple[list[Episodes], list[Film]]:
    """Runs `episodes_per_env` episodes in each environment, which begin anew.

    Args:
      env: its episodes should run to their time limit.
      policy: acts in all environments.
      episodes_per_env: at least 1.
      film: environments whose first episode is recorded as a video.
      begin: begins the first episodes; None: the environment's `reset`, which begins the next ones of its sequence.

    Returns:
      the episodes of each environment, in their order, and the videos.
    """
    tracker = EpisodeTracker(env.num_envs)
    finished: list[list[tuple[bool, bool, float]]] = [[] for _ in range(env.num_envs)]
    frames: dict[int, list[np.ndarray]] = {index: [] for index in film}
    observation = (begin or env.reset)()
    starts = np.ones(env.num_envs, bool)
    while min(len(episodes) for episodes in finished) < episodes_per_env:
        rolling = [index for index in film if not finished[index]]
        if rolling:
            for index, frame in zip(rolling, np.asarray(film_frames(env, rolling)), strict=True):
                frames[index].append(frame)
        result = env.step(executable(policy(observation, starts)))
        ended = tracker.add(result)
        starts = np.zeros(env.num_envs, bool)
        starts[ended["index"]] = True
        for row, index in enumerate(ended["index"]):
            finished[index].append((ended["success_once"][row], ended["success_at_end"][row], ended["return"][row]))
        observation = result.observation
    episodes = [Episodes(*map(np.array, zip(*rows[:episodes_per_env], strict=True))) for rows in finished]
    films = [Film(np.stack(frames[index]), bool(episodes[index].success_once[0])) for index in film]
    return episodes, films


def concatenate(episodes: Sequence[Episodes]) -> Episodes:
    """Pools the episodes of several environments."""
    return Episodes(*(np.concatenate(x) for x in zip(*episodes, strict=True)))


def teacher_episodes(
    env: VectorEnv, teacher: Teacher, settings: EvalConfig, film: int = 0, acting: Acting = EVERY_STEP
) -> tuple[Episodes, list[Film]]:
    """At least `settings.episodes` episodes of a teacher acting by itself.

    It acts in the first `settings.num_envs` environments; the first `film` of them are recorded as videos.
    `acting`: see `TeacherPolicy`.
    """
    num_envs = settings.num_envs
    policy = TeacherPolicy(teacher, env, stream(settings.seed, "teacher"), num_envs, acting)
    results, films = run_episodes(env, policy, math.ceil(settings.episodes / num_envs), list(range(film)))
    return concatenate(results[:num_envs]), films


def evaluation_seeds(settings: EvalConfig, num_members: int) -> list[int]:
    """Base seeds of P x N environments: every member has the same N, so that its result does not depend on the others.

    Members, the teacher and later evaluations play the same episodes: their results are paired.
    """
    return env_seeds(settings.seed, settings.num_envs) * num_members


class Evaluator:
    """Evaluates a run's students and its teacher, all on the same sequence of episodes (see `evaluation_seeds`).

    Environment p * N + n is member p's; the teacher acts in the first N. `convert_action`: see `StudentPolicy`.
    Each of several processes plays the episodes of its own members, the population's, and gets those of `everyone`.
    """

    def __init__(
        self,
        env: VectorEnv,
        population: Population,
        convert_action: Callable[[Array], Array] | None = None,
        hosts: Hosts | None = None,
        everyone: Population | None = None,
    ) -> None:
        self.env, self.population, self._convert = env, population, convert_action
        self.hosts, self.everyone = hosts or Hosts(), everyone or population
        self.num_envs = env.num_envs // len(population)
        self._first = env.state_dict()

    def students(
        self, members: MemberState, episodes: int, film: Sequence[tuple[int, int]] = ()
    ) -> tuple[list[Episodes], list[Film]]:
        """At least `episodes` episodes of each member; `film` lists (member, environment) pairs, members rising."""
        self.env.load_state_dict(self._first)
        rows = self.hosts.rows(len(self.everyone))
        mine = [(member - rows.start, index) for member, index in film if rows.start <= member < rows.stop]
        filmed = [member * self.num_envs + index for member, index in mine]
        policy = StudentPolicy(self.population, members, self._convert)
        results, films = run_episodes(self.env, policy, math.ceil(episodes / self.num_envs), filmed)
        by_member = [concatenate(results[i : i + self.num_envs]) for i in range(0, len(results), self.num_envs)]
        played = [Episodes(*each) for each in self.hosts.lists(by_member)]
        return played, [Film(*each) for each in self.hosts.lists(films)]

    def teacher(self, teacher: Teacher, settings: EvalConfig, film: int = 0) -> tuple[Episodes, list[Film]]:
        """The teacher's episodes, see `teacher_episodes`; it acts as the population's config says, in one process."""
        played = None
        if self.hosts.reports:
            self.env.load_state_dict(self._first)
            played = teacher_episodes(self.env, teacher, settings, film, self.population.config.teacher.acting)
        episodes, films = self.hosts.first(played)
        return Episodes(*episodes), [Film(*each) for each in films]
