"""The interfaces of an environment: a host vector environment, and a functional one written in JAX.

Numpy only, so that simulator processes can import it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from rpd_jax.types import ActionContract, Array, Instructions, Observation

INSTRUCTION = "instruction"
"""The entry of an observation that says, of several tasks, which a row has: a position in `EnvSpec.instructions`."""


SIMULATOR = "simulator"
"""The entry of an observation that holds the simulator's whole state, see `TellsSimulatorState`."""
EXPERT = "expert"
"""The entry of an observation that holds what the simulator's own script would do [A], for `teacher.name=expert`."""


class SimulatorFailed(RuntimeError):
    """A simulator that cannot go on; the message ends with its last output."""


class ArraySpec(NamedTuple):
    """Shape (without batch axes) and dtype name of an array."""

    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks from `eye` at `target`, world axes, z up in the picture."""

    eye: tuple[float, float, float] = (0.6, 0.7, 0.6)
    target: tuple[float, float, float] = (0.0, 0.0, 0.35)
    fov: float = 1.0  # radians, vertical


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """What an environment takes and gives; equal for all environments of a vector."""

    name: str  # "suite:task", e.g. "maniskill:PickCube-v1"
    instruction: str  # the task in words, for language-conditioned teachers
    max_episode_steps: int
    action_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    observation: Mapping[str, ArraySpec]  # always "state"; others where there are, e.g. "proprio", "rgb"
    layout: Mapping[str, Mapping[str, tuple[int, int]]]  # {"state": {"tcp_pose": (19, 26)}}: names of slices
    contract: ActionContract | None = None  # None for control modes that are not end-effector deltas
    frame_shape: tuple[int, int, int] | None = None  # of `frames`, None where nothing can be drawn
    horizon_scale: int = 1  # how many steps make the movement of one step at 1; `contract` is that of one of them
    camera: Camera | None = None  # of `frames`; None where it is not known
    # Of further cameras, by the name of the entry that their frames are in an observation, e.g. "rgb_wrist".
    further_cameras: Mapping[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    film_camera: str = "rgb"  # that `frames` draws films by, for people; perhaps one that no observation has
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the simulator's parts, where known
    robot: str = ""  # as data sets name it, e.g. "panda"; empty where it is not known
    instructions: tuple[str, ...] = ()  # of several tasks: row n of a vector has number n % K; empty: `instruction`

    def instructions_of(self, rows: Sequence[int] | np.ndarray) -> Instructions | str:
        """The task in words of each of these rows [B] of a vector environment; one text where all have the same."""
        if not self.instructions:
            return self.instruction
        return Instructions(self.instructions, np.asarray(rows, np.int32) % len(self.instructions))

    @property
    def cameras(self) -> dict[str, tuple[int, int, int]]:
        """What can be drawn: the name of each camera's entry in an observation, "rgb" first, and its frames' shape."""
        first = {} if self.frame_shape is None else {"rgb": self.frame_shape}
        return first | dict(self.further_cameras)

    @property
    def suite(self) -> str:
        return self.name.split(":", 1)[0]

    @property
    def task(self) -> str:
        return self.name.split(":", 1)[1]

    @property
    def undivided_contract(self) -> ActionContract | None:
        """The contract at a horizon_scale of 1, in which teachers answer.

        Their action moves the tool by as much as `horizon_scale` steps of the same seven numbers under `contract`.
        """
        return undivided(self.contract, self.horizon_scale)


def divided(contract: ActionContract | None, parts: int) -> ActionContract | None:
    """The contract of one of the `parts` steps into which an action is divided: translation and rotation shrink."""
    if contract is None or parts == 1:
        return contract
    translation, rotation = contract.translation_scale / parts, contract.rotation_scale / parts
    return dataclasses.replace(contract, translation_scale=translation, rotation_scale=rotation)


def undivided(contract: ActionContract | None, parts: int) -> ActionContract | None:
    """Inverse of `divided`."""
    if contract is None or parts == 1:
        return contract
    # rounded, so that dividing and multiplying again gives the same number
    translation, rotation = (float(f"{x * parts:.12g}") for x in (contract.translation_scale, contract.rotation_scale))
    return dataclasses.replace(contract, translation_scale=translation, rotation_scale=rotation)


def slices(sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Names of consecutive slices: {"a": 2, "b": 1} -> {"a": (0, 2), "b": (2, 3)}."""
    ends = list(itertools.accumulate(sizes.values()))
    return {name: (end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


class StepResult(NamedTuple):
    """What one step of B environments gives. Environments whose episode ended are already reset.

    Leaves may be any array type (numpy here; device arrays for simulators on an accelerator). Observations and rewards
    are finite: where a simulation is not, its episode is truncated with reward 0 and the observation before as the
    final one.
    """

    observation: Observation  # of the state to act in next: the first of a new episode after an end
    final_observation: Observation  # the true next observation, also where the episode ended
    reward: Array  # [B] float32
    terminated: Array  # [B] bool
    truncated: Array  # [B] bool
    success: Array  # [B] bool: the true next state counts as success


class VectorEnv(Protocol):
    """B environments that step together, on the host."""

    spec: EnvSpec
    num_envs: int

    def reset(self) -> Observation:
        """Begins the next episode of every environment (the next seed of its sequence)."""
        ...

    def step(self, action: Array) -> StepResult:
        """Steps every environment with actions [B, A]; clips them to the box itself.

        The arrays returned stay as they are: later calls write others.
        """
        ...

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> Array:
        """Draws only the environments named, as uint8 [len(indices), H, W, 3]; they stay where they were drawn.

        `camera` is one of `spec.cameras`; an environment that has the first only may leave the argument out.
        """
        ...

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs for `load_state_dict` to continue the sequence of reset seeds."""
        ...

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """The next `reset` goes on from there: with the next seeds, or, where the class attribute
        `restores_episodes` is True, in the middle of the episodes that were under way."""
        ...

    def metrics(self) -> dict[str, float]:
        """Counters for the log, e.g. worker restarts."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class BeginsEpisodes(Protocol):
    """A vector environment whose episodes can be chosen, for algorithms that play whole ones from shared beginnings."""

    def begin_episode(self, number: int) -> Observation:
        """Begins episode `number`, counted from 0, of every environment: of the same seed always the same."""
        ...


@runtime_checkable
class TellsSimulatorState(Protocol):
    """A vector environment that can tell the simulator's whole state, for recordings that are replayed from it."""

    def tell_simulator_state(self) -> Mapping[str, tuple[int, int]]:
        """From the next reset on, observations have the entry "simulator" [B, D]; returns the names of its slices."""
        ...


class FunctionalEnv(Protocol):
    """One environment as pure functions of JAX arrays; the caller vmaps and resets."""

    spec: EnvSpec

    def reset(self, key: Array) -> tuple[Any, Observation]:
        """Returns (state, observation) of a new episode."""
        ...

    def step(self, state: Any, action: Array) -> tuple[Any, Observation, Array, Array, Array, Array]:
        """Returns (state, observation, reward, terminated, truncated, success), scalars but for the first two."""
        ...


def begin_episode(env: VectorEnv, number: int) -> Observation:
    """Begins episode `number` of every environment, see `BeginsEpisodes`; TypeError where it cannot be chosen."""
    if not isinstance(env, BeginsEpisodes):
        raise TypeError(f"{env.spec.name} has no begin_episode: whole episodes from shared beginnings need it")
    return env.begin_episode(number)


def tell_simulator_state(env: VectorEnv) -> Mapping[str, tuple[int, int]]:
    """See `TellsSimulatorState`; empty where the environment cannot."""
    return env.tell_simulator_state() if isinstance(env, TellsSimulatorState) else {}


def draw_missing(env: VectorEnv, keys: Sequence[str], seen: Observation, indices: Sequence[int]) -> Observation:
    """`seen` [K, ...] with the frames that `keys` name and it lacks, drawn for the environments [K] alone."""
    drawn = {}
    for name in keys:
        if name not in seen and name in env.spec.cameras:
            drawn[name] = env.frames(indices) if name == "rgb" else env.frames(indices, name)
    return {**seen, **drawn}


def film_frames(env: VectorEnv, indices: Sequence[int]) -> Array:
    """What people are shown of the environments named, uint8 [K, H, W, 3]."""
    camera = env.spec.film_camera
    return env.frames(indices) if camera == "rgb" else env.frames(indices, camera)


def first_ages(
    base_seeds: Sequence[int], max_episode_steps: int, episodes: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """Ages int32 [B] in [0, max_episode_steps) at which episodes begin, so that environments are not in lockstep.

    Each is a fixed function of its environment's base seed and of the number of the episode (by default the first's).
    Such an episode is truncated that many steps early.
    """
    numbers = episodes if episodes is not None else [0] * len(base_seeds)
    # a spawn key keeps these numbers apart from `episode_seed`'s
    drawn = [
        np.random.SeedSequence(int(seed), spawn_key=(int(number),)).generate_state(1, np.uint64)[0]
        for seed, number in zip(base_seeds, numbers, strict=True)
    ]
    return (np.array(drawn, np.uint64) % np.uint64(max_episode_steps)).astype(np.int32)


def episode_seed(base_seed: int, episode: int) -> int:
    """The reset seed of an environment's `episode`-th episode: a fixed function of both, in [0, 2**31)."""
    return int(np.random.SeedSequence([int(base_seed), int(episode)]).generate_state(1)[0] >> 1)
