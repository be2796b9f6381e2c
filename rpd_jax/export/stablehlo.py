"""A student as StableHLO, by `jax.export`: any batch size, on CPU and GPU, without this library."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax import export

from rpd_jax.export.parameters import UNUSED
from rpd_jax.training.student import Student
from rpd_jax.types import Array, Observation

PLATFORMS = ("cpu", "cuda")


def export_stablehlo(student: Student) -> export.Exported:
    """The student's `act` for observations of a symbolic batch size; `mlir_module()` is its text."""
    (batch,) = export.symbolic_shape("batch")
    arguments = {
        name: jax.ShapeDtypeStruct((batch, *array.shape), array.dtype) for name, array in student.observation.items()
    }
    return export.export(jax.jit(_without_critic(student).program), platforms=PLATFORMS)(arguments)


def serialize(exported: export.Exported) -> bytes:
    """The bytes that `load_stablehlo` and `jax.export.deserialize` read."""
    return bytes(exported.serialize())


def load_stablehlo(serialized: bytes) -> Callable[[Observation], Array]:
    """The exported function: entries [B, ...] -> actions [B, A], jitted for each batch size that it meets."""
    return jax.jit(export.deserialize(bytearray(serialized)).call)


def _without_critic(student: Student) -> Student:
    """The same actions; what acting does not need is zero, which takes no room, where not all of it is left out."""
    params = {
        name: jax.tree.map(lambda x: np.zeros(np.shape(x), x.dtype), value) if name.startswith(UNUSED) else value
        for name, value in student.member.params.items()
    }
    return dataclasses.replace(student, member=student.member._replace(params=params))
