"""Arrays stay where they lie: those of a simulator on an accelerator are kept there, others in numpy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from rpd_jax.types import Array

Tree = TypeVar("Tree")


def on_accelerator(x: Array) -> bool:
    """Whether an array lies in the memory of an accelerator."""
    return isinstance(x, jax.Array) and all(device.platform != "cpu" for device in x.devices())


def first_gpu() -> str | None:
    """JAX's first device, "cuda:N" with its number in this process; None where that is no GPU."""
    first = jax.local_devices()[0]
    return f"cuda:{first.local_hardware_id}" if first.platform == "gpu" else None


ENVS = "environments"
"""The axis of a program's mesh along which environments are split, where it has one: see `training.mesh`."""


def spread(tree: Tree) -> Tree:
    """Arrays [B, ...] split over the devices that share a member's environments, in a program that has several.

    Without effect elsewhere, and on arrays that do not divide evenly. The compiler splits what is made of such an array
    as well, and adds up the devices' sums; so nothing depends on it but time.
    """
    count = jax.sharding.get_abstract_mesh().shape.get(ENVS, 1)
    if count == 1:
        return tree

    def split(x: Array) -> Array:
        if x.ndim == 0 or len(x) % count:
            return x
        return jax.lax.with_sharding_constraint(x, PartitionSpec(ENVS))

    return jax.tree.map(split, tree)


def host_view(x: Array) -> Array:
    """An array of the host as numpy's, without a copy; one of an accelerator as it is."""
    return x if on_accelerator(x) else np.asarray(x)


def rows(x: Array, indices: np.ndarray) -> Array:
    """`x[indices]`, where the number of indices changes from call to call: JAX compiles for powers of two of them."""
    if not isinstance(x, jax.Array):
        return x[indices]
    return _gather(x, padded(indices))[: len(indices)]


def padded(indices: np.ndarray) -> np.ndarray:
    """Indices int32 with zeros behind them, a power of two in all, so that few programs are compiled."""
    whole = np.zeros(1 << max(len(indices) - 1, 0).bit_length(), np.int32)
    whole[: len(indices)] = indices
    return whole


def stack(arrays: Sequence[Array]) -> Array:
    """numpy's `stack`, or JAX's where the arrays are JAX's."""
    return jnp.stack(arrays) if isinstance(arrays[0], jax.Array) else np.stack(arrays)


def concatenate(arrays: Sequence[Array]) -> Array:
    """numpy's `concatenate`, or JAX's where the arrays are JAX's."""
    return jnp.concatenate(arrays) if isinstance(arrays[0], jax.Array) else np.concatenate(arrays)


class StepBuffer:
    """A pytree with leaves [T, ...] that is filled step by step; numpy's leaves in numpy, JAX's on their device.

    Unlike stacking at the end it never holds the steps twice.
    """

    def __init__(self, length: int) -> None:
        """`length` is T."""
        self._length = length
        self._structure: Any = None
        self._buffers: list[Array] = []

    def write(self, step: int, tree: Any) -> None:
        """Copies a step's leaves [...] to index `step`; the first call decides on shapes, dtypes and places."""
        leaves, structure = jax.tree.flatten(tree)
        if self._structure is None:
            self._structure = structure
            self._buffers = [_empty(self._length, leaf) for leaf in leaves]
        elif structure != self._structure:
            raise ValueError(f"step {step}: need {self._structure}, got {structure}")
        for i, leaf in enumerate(leaves):
            buffer = self._buffers[i]
            if np.shape(leaf) != buffer.shape[1:] or leaf.dtype != buffer.dtype:
                found = f"{leaf.dtype} of shape {np.shape(leaf)}"
                raise ValueError(f"step {step}: need {buffer.dtype} of shape {buffer.shape[1:]}, got {found}")
            if isinstance(buffer, jax.Array):
                self._buffers[i] = _put(buffer, leaf, np.int32(step))
            else:
                buffer[step] = leaf

    def tree(self) -> Any:
        """The buffers themselves: nothing is to be written after this."""
        return jax.tree.unflatten(self._structure, self._buffers)


def _empty(length: int, leaf: Array) -> Array:
    if isinstance(leaf, jax.Array):
        return jnp.zeros((length, *leaf.shape), leaf.dtype, device=leaf.sharding)
    leaf = np.asarray(leaf)
    return np.empty((length, *leaf.shape), leaf.dtype)


@jax.jit
def _gather(x: Array, indices: Array) -> Array:
    return x[indices]


@functools.partial(jax.jit, donate_argnums=0)
def _put(buffer: Array, leaf: Array, step: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(buffer, leaf, step, 0)
