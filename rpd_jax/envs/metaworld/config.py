"""Settings that only Meta-World's tasks have."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.validation import setting
from rpd_jax.envs.venv import VenvConfig


@dataclasses.dataclass
class MetaWorldConfig(VenvConfig):
    """Beside the fields of `VenvConfig`; a simulator process takes half a gigabyte."""

    # dense: Meta-World's own, at most 10 a step; normalized_dense: a tenth of it; sparse: 1 at success
    reward: str = setting("normalized_dense", choices=("normalized_dense", "dense", "sparse"))
