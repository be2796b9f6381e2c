"""Settings of a saved student as teacher."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting


@dataclasses.dataclass
class PolicySettings(TeacherConfig):
    """Which student."""

    factory: ClassVar[str] = "teachers.policy.teacher:make"

    name: str = setting("policy", required=True)
    path: str = ""  # directory of its run
    member: str = ""  # "variant/seed", e.g. "rpd-mse/0"; empty: the run's last
    samples: int = setting(1, low=1)  # 1: the mean action; more: the mean of so many draws (the std stays exact)

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        from rpd_jax.runs.checkpoint import load_config  # here: settings need no jax

        load_config(self.path)
