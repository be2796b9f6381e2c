"""Where members and environments lie. One device is the mesh of size one."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

Tree = TypeVar("Tree")


class Mesh(NamedTuple):
    """Devices along one axis, over which whole members are shared out.

    Members are independent, so that a program of arrays whose leading axis is theirs needs no communication.
    """

    devices: jax.sharding.Mesh

    @classmethod
    def of_one(cls) -> Mesh:
        """JAX's default device."""
        return cls(jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("members",)))

    def place(self, tree: Tree) -> Tree:
        """Puts arrays [P, ...] where their members belong."""
        if self.devices.size == 1:  # nothing to share out, and arrays without a sharding compile to the same program
            return tree
        return jax.device_put(tree, NamedSharding(self.devices, PartitionSpec("members")))
