"""Instructions as a pytree: jit compiles for the texts, and which row has which is an array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array, Instructions

__all__ = ["Instructions", "as_instructions", "taken"]

jax.tree_util.register_dataclass(Instructions, data_fields=["index"], meta_fields=["texts"])


def taken(instructions: Instructions | str, rows: Array) -> Instructions | str:
    """The instructions of some rows [B] of a batch; one text stays one text."""
    if isinstance(instructions, str):
        return instructions
    return Instructions(instructions.texts, jnp.asarray(instructions.index)[rows])


def as_instructions(instructions: Instructions | str, batch_size: int) -> Instructions:
    """The instructions of a batch's rows; of one text, all have it. Raises ValueError for those of another batch."""
    if isinstance(instructions, str):
        return Instructions((instructions,), np.zeros(batch_size, np.int32))
    if tuple(np.shape(instructions.index)) != (batch_size,):
        raise ValueError(
            f"instructions.index has shape {np.shape(instructions.index)}: need ({batch_size},), one for each row"
        )
    return instructions
