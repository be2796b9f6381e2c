"""Where members lie: shared out over devices, each of which runs the same program for its own.

Members are independent, so that such a program communicates nothing, and a member's result does not depend on how many
devices there are. On a CPU each core is a device (`runtime.configure`): no way of training is quicker there. One device
is the mesh of size one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rpd_jax.config.validation import require

AXIS = "members"

Tree = TypeVar("Tree")


class Mesh(NamedTuple):
    """Devices over which P members are shared out."""

    devices: jax.sharding.Mesh
    members: int

    @classmethod
    def of(cls, members: int, devices: int | None = None) -> Mesh:
        """The first `devices` of JAX's devices; None: as many as have something to do.

        Raises:
          ConfigError: there are not as many.
        """
        found = jax.local_devices()
        if devices is None:
            per_device = -(-members // len(found))
            devices = -(-members // per_device)  # 4 devices and 6 members: 3 devices with 2 each
        require(devices <= len(found), "run.devices", devices, f"at most {len(found)}, as many as JAX has")
        return cls(jax.sharding.Mesh(np.asarray(found[:devices]), (AXIS,)), members)

    @property
    def spare(self) -> int:
        """How many times more the last member is computed, so that all devices have as many."""
        return -self.members % self.devices.size

    def place(self, tree: Tree) -> Tree:
        """Puts arrays [P, ...] where `split` leaves them: a program of arrays elsewhere would be compiled again."""
        if self.devices.size == 1:
            return tree
        return jax.device_put(tree, NamedSharding(self.devices, _spec(None if self.spare else 0)))

    def split(
        self, function: Callable[..., Any], in_axes: Sequence[int | None], out_axes: Any = 0
    ) -> Callable[..., Any]:
        """`function` of all members as one program in which each device computes it for its own.

        The arrays of an argument have the axis of members that `in_axes` says, which may hold several entries a member,
        one member's after the other's; None: all devices get all of it. `out_axes` likewise, or a tree of such numbers.
        Where members do not divide evenly, the last is computed several times.
        """
        if self.devices.size == 1:
            return function
        count, spare = self.members, self.spare
        everywhere = NamedSharding(self.devices, _spec(None))  # where they do not divide

        def pad(axis: int | None, tree: Any) -> Any:
            if axis is None or not spare:
                return tree

            def repeat_last(x: Any) -> Any:
                each = x.shape[axis] // count
                last = jax.lax.slice_in_dim(x, x.shape[axis] - each, x.shape[axis], axis=axis)
                return jnp.concatenate([x, *[last] * spare], axis)

            return jax.tree.map(repeat_last, tree)

        def cut(axis: int, tree: Any) -> Any:
            def leave_out(x: Any) -> Any:
                kept = jax.lax.slice_in_dim(x, 0, x.shape[axis] // (count + spare) * count, axis=axis)
                return jax.lax.with_sharding_constraint(kept, everywhere)

            return jax.tree.map(leave_out, tree) if spare else tree

        def run(*arguments: Any) -> Any:
            padded = [pad(axis, argument) for axis, argument in zip(in_axes, arguments, strict=True)]
            mapped = jax.shard_map(
                function,
                mesh=self.devices,
                in_specs=tuple(_spec(axis) for axis in in_axes),
                out_specs=jax.tree.map(_spec, out_axes),
                check_vma=False,
            )
            return jax.tree.map(cut, out_axes, mapped(*padded))

        return run


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)
