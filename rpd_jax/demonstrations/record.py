"""Recording episodes of a policy in environments that run side by side."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from rpd_jax.demonstrations.episode import Episode
from rpd_jax.envs.base import SIMULATOR, EnvSpec, StepResult, VectorEnv, episode_seed, tell_simulator_state
from rpd_jax.envs.registry import env_seeds
from rpd_jax.training.evaluation import Policy, executable
from rpd_jax.types import Observation

TRIES = 3  # of a round during which a simulator process had to be replaced


def record(
    env: VectorEnv,
    make_policy: Callable[[int], Policy],
    seed: int,
    *,
    perturb: float = 0.0,
    hold_steps: int = 0,
    first_round: int = 0,
    cameras: Collection[str] | None = None,
) -> Iterator[list[Episode]]:
    """Plays rounds of one episode per environment, without end, and yields each round's, in the environments' order.

    Environment i plays its episode number r in round r, so a round is a function of its number and of the arguments,
    whatever was played before. An episode ends as the environment says, or `hold_steps` steps after its first
    success, where it is marked as truncated unless the environment terminated it.

    Args:
      env: made with `env_seeds(seed, num_envs)`; with `hold_steps` it must not end episodes at success.
      make_policy: gives the policy for a round; what it remembers should begin anew.
      seed: of the episodes and of the perturbation.
      perturb: standard deviation of Gaussian noise on the executed actions but for the gripper, in action units; the
        recorded ones are free of it.
      hold_steps: steps to record after the first success.
      first_round: where to begin.
      cameras: entries of frames to keep; None: all that observations hold.

    Raises:
      ValueError: impossible arguments, or an environment whose sequence of episodes cannot be set.
      RuntimeError: simulator processes died in all of several tries at a round.
    """
    if not perturb >= 0:
        raise ValueError(f"perturb={perturb!r} cannot work: it must be at least 0")
    if hold_steps < 0:
        raise ValueError(f"hold_steps={hold_steps!r} cannot work: it must be at least 0")
    left_out = set() if cameras is None else set(frame_entries(env.spec)) - set(cameras)
    kept = [key for key in env.spec.observation if key not in left_out]
    states = tell_simulator_state(env)
    tracks = functools.partial(_Track, [*kept, SIMULATOR] if states else kept, states)
    for number in itertools.count(first_round):
        yield _play_round(env, make_policy, seed, number, perturb, hold_steps, tracks)


def frame_entries(spec: EnvSpec) -> list[str]:
    """The entries of observations that hold frames: "rgb", and further cameras'."""
    return [key for key, array in spec.observation.items() if array.dtype == "uint8" and len(array.shape) == 3]


def _play_round(
    env: VectorEnv,
    make_policy: Callable[[int], Policy],
    seed: int,
    number: int,
    perturb: float,
    hold_steps: int,
    tracks: Callable[[], _Track],
) -> list[Episode]:
    for _ in range(TRIES):
        before = _restarts(env)
        seeds = _begin(env, seed, number)
        noise = _Noise(env.spec, env.num_envs, perturb, np.random.default_rng([seed, number]))
        episodes = _play(env, make_policy(number), seeds, noise, hold_steps, tracks)
        if _restarts(env) == before:
            return episodes
    raise RuntimeError(f"simulator processes died in all {TRIES} tries at round {number}: see the log")


def _restarts(env: VectorEnv) -> float:
    """Simulator processes replaced so far: an episode that lost its process is reported as truncated."""
    return env.metrics().get("env/worker_restarts", 0.0)


def _begin(env: VectorEnv, seed: int, number: int) -> list[int]:
    """Makes the next `reset` begin the episodes of a round; returns their seeds."""
    bases = env_seeds(seed, env.num_envs)
    seeds = [episode_seed(base, number) for base in bases]
    reseed = getattr(env, "reseed", None)
    if reseed is not None:
        reseed(seeds)
    elif set(env.state_dict()) == {"episode"}:  # a simulator, which resets with episode_seed(base, number) itself
        env.load_state_dict({"episode": np.full(env.num_envs, number, np.int64)})
        seeds = getattr(env, "next_seeds", seeds)  # a suite may choose among initial states otherwise
    else:
        raise ValueError(
            f"{env.spec.name}: its episodes cannot be chosen; it must have `reseed` or the state 'episode' alone"
        )
    return seeds


class _Noise:
    """What is added to executed actions [B, A]; the gripper, the last number of a contract's seven, is left alone."""

    def __init__(self, spec: EnvSpec, num_envs: int, std: float, generator: np.random.Generator) -> None:
        self._std, self._generator = std, generator
        self._shape = (num_envs, spec.action_dim)
        self._perturbed = np.ones(spec.action_dim, np.float32)
        if spec.contract is not None:
            self._perturbed[-1] = 0.0

    def __call__(self) -> np.ndarray:
        if self._std == 0:
            return np.zeros(self._shape, np.float32)
        draw = self._generator.standard_normal(self._shape, np.float32)
        return np.float32(self._std) * draw * self._perturbed


class _Track:
    """An episode under way, of which the observations' entries `keys` are kept; `states` names the simulator's."""

    def __init__(self, keys: Sequence[str], states: Mapping[str, tuple[int, int]]) -> None:
        self._keys, self._states = keys, states
        self.observation: list[dict[str, np.ndarray]] = []
        self.action: list[np.ndarray] = []
        self.reward: list[float] = []
        self.flags: list[tuple[bool, bool, bool]] = []  # terminated, truncated, success
        self.held: int | None = None  # steps since the first success

    def see(self, observation: Observation, index: int) -> None:
        """Takes note of environment `index`'s part of an observation."""
        self.observation.append({key: np.array(observation[key][index]) for key in self._keys})

    def add(self, index: int, action: np.ndarray, result: StepResult, hold_steps: int) -> bool:
        """Accounts for environment `index`'s part of a step; returns whether the episode is over."""
        terminated, truncated = bool(result.terminated[index]), bool(result.truncated[index])
        success = bool(result.success[index])
        if self.held is not None:
            self.held += 1
        elif success:
            self.held = 0
        enough = self.held is not None and self.held >= hold_steps
        self.action.append(action[index])
        self.reward.append(float(result.reward[index]))
        self.flags.append((terminated, truncated or (enough and not terminated), success))
        return terminated or truncated or enough

    def finish(self, seed: int, spec: EnvSpec) -> Episode:
        terminated, truncated, success = (np.array(x, bool) for x in zip(*self.flags, strict=True))
        seen = {key: np.stack([x[key] for x in self.observation]) for key in self._keys}
        states = seen.pop(SIMULATOR, None)
        return Episode(
            observation=seen,
            action=np.stack(self.action),
            reward=np.array(self.reward, np.float32),
            terminated=terminated,
            truncated=truncated,
            success=success,
            seed=seed,
            instruction=spec.instruction,
            env_name=spec.name,
            env_states=None if states is None else {path: states[:, slice(*at)] for path, at in self._states.items()},
        )


def _play(
    env: VectorEnv,
    policy: Policy,
    seeds: Sequence[int],
    noise: _Noise,
    hold_steps: int,
    tracks: Callable[[], _Track],
) -> list[Episode]:
    low, high = (np.asarray(x, np.float32)[None] for x in (env.spec.action_low, env.spec.action_high))
    running = {index: tracks() for index in range(env.num_envs)}
    done: dict[int, Episode] = {}
    observation = _to_numpy(env.reset())
    starts = np.ones(env.num_envs, bool)
    while running:
        for index, track in running.items():
            track.see(observation, index)
        action = np.clip(np.asarray(policy(observation, starts), np.float32), low, high)
        result = env.step(executable(np.clip(action + noise(), low, high)))
        result = StepResult._make([*map(_to_numpy, result[:2]), *map(np.asarray, result[2:])])
        for index in list(running):
            if running[index].add(index, action, result, hold_steps):
                track = running.pop(index)
                track.see(result.final_observation, index)
                done[index] = track.finish(seeds[index], env.spec)
        observation, starts = result.observation, np.asarray(result.terminated | result.truncated)
    return [done[index] for index in range(env.num_envs)]


def _to_numpy(observation: Observation) -> Observation:
    return {name: np.asarray(x) for name, x in observation.items()}
