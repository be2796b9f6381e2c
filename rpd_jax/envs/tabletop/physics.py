"""One control step of physics, as a function of one environment that JAX can `vmap`, whichever engine does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax

from rpd_jax.config import choice
from rpd_jax.envs.tabletop.config import PHYSICS
from rpd_jax.envs.tabletop.model import Model
from rpd_jax.types import Array


class Physics(NamedTuple):
    """The state of one environment's physics; nothing else is carried from step to step."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    force: Array  # [G, 2, 3]: newtons, world axes, of the left and right finger on each graspable body


Step = Callable[[Physics, Array], Physics]
"""(physics, servo targets [8]) -> physics one control step (0.05 s) later. Pure; batched by `vmap`."""


def make_step(model: Model, engine: str) -> Step:
    """The step of an engine: "c" is C MuJoCo on the host's threads, "mjx" MuJoCo in JAX for accelerators.

    "auto" takes MJX where JAX runs on an accelerator. Raises ConfigError for another name or where MJX is missing.
    """
    choice("env.physics", engine, PHYSICS)
    if engine == "auto":
        engine = "c" if jax.default_backend() == "cpu" else "mjx"
    if engine == "c":
        from rpd_jax.envs.tabletop import engine_c

        return engine_c.make_step(model)
    from rpd_jax.envs.tabletop import engine_mjx

    return engine_mjx.make_step(model)
