"""Distils vision-language-action teachers into small reinforcement-learning students, in JAX.

    import rpd_jax as rj

    result = rj.train(rj.get_preset("debug"), teacher=my_teacher)    # the program: log, tables, resuming
    action = result.student("rpd-mse", seed=0).act({"state": state})

    loss = rj.losses.rpd_mse(student_mean, teacher_action)           # its parts: arrays in, numbers out
    advantage = rj.gae(reward, value, next_value, terminated, truncated, gamma, lam)
    members, metrics = jax.jit(jax.vmap(rj.make_train(config, env, my_teacher)))(keys)

What is public is imported when first used, so that `import rpd_jax` is light; it sets and starts nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rpd_jax import actions, algorithms, envs, losses, policies
    from rpd_jax.advantages import finite_horizon_gae, gae
    from rpd_jax.algorithms.base import Algorithm, register_algorithm
    from rpd_jax.algorithms.variants import PhaseSpec, VariantSpec, register_variant
    from rpd_jax.config import Config
    from rpd_jax.envs.registry import make_env, register_suite
    from rpd_jax.policies.base import register_policy
    from rpd_jax.presets import PRESETS, get_preset
    from rpd_jax.runs.checkpoint import load_checkpoint
    from rpd_jax.training.pure import make_train
    from rpd_jax.training.reevaluation import evaluate, evaluate_teacher
    from rpd_jax.training.result import Result
    from rpd_jax.training.student import Student, load_student
    from rpd_jax.training.suite_evaluation import evaluate_suite
    from rpd_jax.training.trainer import train
    from rpd_jax.types import Teacher, TeacherLabels, TeacherSpec

__version__ = "0.1.0"

_FOLDERS = ("actions", "algorithms", "envs", "losses", "policies")
_MODULES = {
    "PRESETS": "rpd_jax.presets",
    "Algorithm": "rpd_jax.algorithms.base",
    "Config": "rpd_jax.config",
    "Result": "rpd_jax.training.result",
    "Student": "rpd_jax.training.student",
    "Teacher": "rpd_jax.types",
    "TeacherLabels": "rpd_jax.types",
    "TeacherSpec": "rpd_jax.types",
    "PhaseSpec": "rpd_jax.algorithms.variants",
    "VariantSpec": "rpd_jax.algorithms.variants",
    "evaluate": "rpd_jax.training.reevaluation",
    "evaluate_suite": "rpd_jax.training.suite_evaluation",
    "evaluate_teacher": "rpd_jax.training.reevaluation",
    "finite_horizon_gae": "rpd_jax.advantages",
    "gae": "rpd_jax.advantages",
    "get_preset": "rpd_jax.presets",
    "load_checkpoint": "rpd_jax.runs.checkpoint",
    "load_student": "rpd_jax.training.student",
    "make_env": "rpd_jax.envs.registry",
    "make_train": "rpd_jax.training.pure",
    "register_algorithm": "rpd_jax.algorithms.base",
    "register_policy": "rpd_jax.policies.base",
    "register_suite": "rpd_jax.envs.registry",
    "register_teacher": "teachers.base",  # a string: the library itself needs no teacher
    "register_variant": "rpd_jax.algorithms.variants",
    "train": "rpd_jax.training.trainer",
}

__all__ = [
    "PRESETS",
    "Algorithm",
    "Config",
    "PhaseSpec",
    "Result",
    "Student",
    "Teacher",
    "TeacherLabels",
    "TeacherSpec",
    "VariantSpec",
    "actions",
    "algorithms",
    "envs",
    "evaluate",
    "evaluate_suite",
    "evaluate_teacher",
    "finite_horizon_gae",
    "gae",
    "get_preset",
    "load_checkpoint",
    "load_student",
    "losses",
    "make_env",
    "make_train",
    "policies",
    "register_algorithm",
    "register_policy",
    "register_suite",
    "register_teacher",
    "register_variant",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return importlib.import_module(f"rpd_jax.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
