"""Distils vision-language-action teachers into small reinforcement-learning students, in JAX.

The public names below are imported when first used, so that `import rpd_jax` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rpd_jax import runtime

if TYPE_CHECKING:
    from rpd_jax.algorithms.variants import VariantSpec, register_variant
    from rpd_jax.config import Config
    from rpd_jax.envs.registry import register_suite
    from rpd_jax.presets import PRESETS, get_preset
    from rpd_jax.runs.checkpoint import load_checkpoint
    from rpd_jax.training.reevaluation import evaluate, evaluate_teacher
    from rpd_jax.training.trainer import Result, train

runtime.configure()

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Config",
    "Result",
    "VariantSpec",
    "evaluate",
    "evaluate_teacher",
    "get_preset",
    "load_checkpoint",
    "register_suite",
    "register_variant",
    "train",
]

_MODULES = {
    "PRESETS": "rpd_jax.presets",
    "Config": "rpd_jax.config",
    "Result": "rpd_jax.training.trainer",
    "VariantSpec": "rpd_jax.algorithms.variants",
    "evaluate": "rpd_jax.training.reevaluation",
    "evaluate_teacher": "rpd_jax.training.reevaluation",
    "get_preset": "rpd_jax.presets",
    "load_checkpoint": "rpd_jax.runs.checkpoint",
    "register_suite": "rpd_jax.envs.registry",
    "register_variant": "rpd_jax.algorithms.variants",
    "train": "rpd_jax.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
