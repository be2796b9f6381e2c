"""Settings of a run as typed dataclasses: the one source of defaults and bounds.

    config = Config()
    config.env.name = "tabletop:PushCube-v1"
    config.ppo.learning_rate = 1e-3
    config.validate()

`experiment.py` holds `Config` and most of its sections, `variant.py` what describes an algorithm, `env.py` and
`teacher.py` what all environments and all teachers have; `validation.py` checks them, whether they come from flags,
from Python or from a file. Needs no jax.
"""

from rpd_jax.config.env import OBSERVATIONS, REWARDS, EnvConfig
from rpd_jax.config.experiment import (
    Config,
    EvalConfig,
    GuidanceConfig,
    NetworkConfig,
    RunConfig,
    check_field,
)
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import ConfigError, choice, require, setting
from rpd_jax.config.variant import GuidanceSpec, PPOConfig, VariantSpec

__all__ = [
    "OBSERVATIONS",
    "REWARDS",
    "Config",
    "ConfigError",
    "EnvConfig",
    "EvalConfig",
    "GuidanceConfig",
    "GuidanceSpec",
    "NetworkConfig",
    "PPOConfig",
    "RunConfig",
    "TeacherConfig",
    "VariantSpec",
    "check_field",
    "choice",
    "require",
    "setting",
]
