"""Settings of a run as typed dataclasses: the one source of defaults and bounds.

    config = Config()
    config.env.name = "tabletop:PushCube-v1"
    config.algorithm.learning_rate = 1e-3
    config.validate()

`experiment.py` holds `Config` and most of its sections, `algorithm.py` and `variant.py` what members learn by, `env.py`
and `teacher.py` what all environments and all teachers have; `validation.py` checks them, whether they come from flags,
from Python or from a file. Needs no jax.
"""

from rpd_jax.config.alarms import AlarmConfig
from rpd_jax.config.algorithm import AlgorithmConfig, OPDConfig, PPOConfig, RolloutConfig, SFTConfig
from rpd_jax.config.env import REWARDS, EnvConfig
from rpd_jax.config.experiment import (
    Config,
    EvalConfig,
    GuidanceConfig,
    NetworkConfig,
    RunConfig,
    check_field,
)
from rpd_jax.config.teacher import RayPlacement, TeacherConfig
from rpd_jax.config.validation import ConfigError, choice, require, setting
from rpd_jax.config.variant import GuidanceSpec, PhaseSpec, VariantSpec

__all__ = [
    "REWARDS",
    "AlarmConfig",
    "AlgorithmConfig",
    "Config",
    "ConfigError",
    "EnvConfig",
    "EvalConfig",
    "GuidanceConfig",
    "GuidanceSpec",
    "NetworkConfig",
    "OPDConfig",
    "PPOConfig",
    "PhaseSpec",
    "RayPlacement",
    "RolloutConfig",
    "RunConfig",
    "SFTConfig",
    "TeacherConfig",
    "VariantSpec",
    "check_field",
    "choice",
    "require",
    "setting",
]
