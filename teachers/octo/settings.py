"""Settings of Octo as a teacher."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.extras import need
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from teachers.hub import is_address
from teachers.sampling import Sampling


@dataclasses.dataclass
class OctoSettings(Sampling, TeacherConfig):
    """Which checkpoint, and what its actions mean."""

    factory: ClassVar[str] = "teachers.octo.teacher:make"
    needs_environment: ClassVar[bool] = False

    name: str = setting("octo", required=True)
    path: str = ""  # of the checkpoint, or hf://org/name@revision
    contract: str = ""  # what the actions of its data mean, see teachers/conventions.py; empty: as the checkpoint says
    statistics_key: str = ""  # the data set in whose units its actions are, where it knows several

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        from teachers.octo.look import look  # here: settings need no jax

        if is_address(self.path):
            need("hub", f"teacher.path={self.path!r}")
        else:
            look(self.path, self.statistics_key)

    def starts(self) -> str:
        """See `TeacherConfig.starts`."""
        return f"fetches {self.path}" if is_address(self.path) else ""
