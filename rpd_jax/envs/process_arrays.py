"""The arrays that an environment shares with its processes: which rows are whose, what there is, what it means."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence

import numpy as np

from rpd_jax.envs.base import ArraySpec, EnvSpec, StepResult
from rpd_jax.types import Array, Observation


def shares(num_envs: int, processes: int) -> list[slice]:
    """Which environments each worker has: consecutive ones, as evenly as can be."""
    bounds = [worker * num_envs // processes for worker in range(processes + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(bounds)]


def array_specs(spec: EnvSpec, num_envs: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """The arrays that workers share with this process; `process_worker` says what they are for."""
    state = spec.observation["state"].shape
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "seed": ((), "int64"),
        "age": ((), "int32"),
        "action": ((spec.action_dim,), "float32"),
        "state": (state, "float32"),
        "final_state": (state, "float32"),
        "reward": ((), "float32"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "success": ((), "bool"),
        "broken": ((), "bool"),
    }
    # Frames take memory only where something was drawn.
    frames = {camera: ArraySpec(image, "uint8") for camera, image in spec.cameras.items()}
    for name, (shape, dtype) in (frames | told(spec)).items():
        shapes |= {name: (shape, dtype), f"final_{name}": (shape, dtype)}
    return {name: ((num_envs, *shape), dtype) for name, (shape, dtype) in shapes.items()}


def told(spec: EnvSpec) -> dict[str, ArraySpec]:
    """The entries of an observation that workers write beside "state" and frames."""
    return {name: x for name, x in spec.observation.items() if name not in {"state", "proprio", *spec.cameras}}


def with_lost(result: StepResult, previous: Observation, lost: np.ndarray) -> StepResult:
    """The result where the episodes of `lost` [B] broke off after `previous`; numpy's or JAX's arrays."""
    xp = result.reward.__array_namespace__()

    def chosen(old: Array, new: Array) -> Array:
        return xp.where(lost.reshape(-1, *[1] * (new.ndim - 1)), old, new)

    return result._replace(
        final_observation={name: chosen(previous[name], value) for name, value in result.final_observation.items()},
        reward=xp.where(lost, xp.zeros_like(result.reward), result.reward),
        terminated=result.terminated & ~lost,
        truncated=result.truncated | lost,
        success=result.success & ~lost,
    )


def layout(leaves: Sequence[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """Names of the slices of the flat state: the last component of a path, or all of it where ambiguous.

    `leaves` are the paths and lengths of its parts, in order.
    """
    names = collections.Counter(path.rsplit("/", 1)[-1] for path, _ in leaves)
    found: dict[str, tuple[int, int]] = {}
    end = 0
    for path, length in leaves:
        name = path.rsplit("/", 1)[-1]
        found[name if names[name] == 1 else path] = (end, end := end + length)
    return found
