"""Where members lie: shared out over devices, each of which runs the same program for its own; or their environments.

Members are independent, so that such a program communicates nothing, and a member's result does not depend on how many
devices there are. On a CPU each core is a device (`runtime.configure`): no way of training is quicker there. One device
is the mesh of size one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rpd_jax.config.validation import require
from rpd_jax.placement import ENVS

AXIS = "members"

Tree = TypeVar("Tree")


class Mesh(NamedTuple):
    """Devices over which P members are shared out, or the environments of all of them."""

    devices: jax.sharding.Mesh
    members: int

    @classmethod
    def of(cls, members: int, devices: int | None = None, split_envs: int = 0) -> Mesh:
        """The first `devices` of JAX's devices; None: as many as have something to do.

        With `split_envs`, a member's number of environments, these are shared out instead, those of every member. (Not
        both at once: members may take different branches and numbers of minibatches, and a device that waits for one
        of another member's to exchange something would wait for ever.)

        Raises:
          ConfigError: there are not as many, or they cannot have as many environments each.
        """
        found = jax.local_devices()
        if devices is None and split_envs:
            devices = math.gcd(split_envs, len(found))
        elif devices is None:
            per_device = -(-members // len(found))
            devices = -(-members // per_device)  # 4 devices and 6 members: 3 devices with 2 each
        require(devices <= len(found), "run.devices", devices, f"at most {len(found)}, as many as JAX has")
        places = np.asarray(found[:devices])
        if not split_envs or devices == 1:
            return cls(jax.sharding.Mesh(places, (AXIS,)), members)
        right = f"a divisor of env.num_envs={split_envs} with run.split='environments'"
        require(split_envs % devices == 0, "run.devices", devices, right)
        return cls(jax.sharding.Mesh(places[None], (AXIS, ENVS)), members)

    @property
    def spare(self) -> int:
        """How many times more the last member is computed, so that all devices have as many."""
        return -self.members % self.devices.shape[AXIS]

    def stay(self, *splits: bool | None) -> dict[str, Any]:
        """What `jax.jit` is to be told, so that results stay where arguments lie: see `place`, which `splits` are of.

        One entry for each result, None: wherever it falls. Only where environments are split it is not so by itself.
        """
        if ENVS not in self.devices.axis_names:
            return {}
        return {"out_shardings": tuple(None if each is None else self._where(each) for each in splits)}

    def place(self, tree: Tree, environments: bool = False) -> Tree:
        """Puts arrays [P, ...] where `split` leaves them: a program of arrays elsewhere would be compiled again.

        `environments`: they are [P * N, ...].
        """
        return tree if self.devices.size == 1 else jax.device_put(tree, self._where(environments))

    def _where(self, environments: bool) -> NamedSharding:
        if environments and ENVS in self.devices.axis_names:
            return NamedSharding(self.devices, PartitionSpec((AXIS, ENVS)))
        return NamedSharding(self.devices, _spec(None if self.spare else 0))

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
                axis_names={AXIS},  # how environments are split is left to the compiler: `placement.spread`
                check_vma=False,
            )
            return jax.tree.map(cut, out_axes, mapped(*padded))

        return run


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)
