"""Settings of OpenVLA and OpenVLA-OFT as a teacher, whose model runs in processes of its own."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.extras import need
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import ConfigError, require, setting
from teachers.hub import is_address
from teachers.openvla.server.oft.settings import check_samples, oft_settings
from teachers.sampling import Sampling
from teachers.sidecar import ROWS

DTYPES = ("bf16", "f32", "nf4")
FRAMES = ("libero",)
PROMPTS = ("openvla", "v01")
OF_THE_LEARNER = ("name", "gripper", "probe", "batch_size", "socket", "rows", "ready_seconds", "placement", "ray")
"""What the server has no part in, and can be set where it runs already."""


@dataclasses.dataclass
class OpenVLASettings(Sampling, TeacherConfig):
    """Which checkpoint, what its actions mean, and where it runs."""

    factory: ClassVar[str] = "teachers.openvla:make"
    uses_jax: ClassVar[bool] = False

    name: str = setting("openvla", required=True)
    path: str = ""  # of the checkpoint, or of a fine-tuned adapter; a directory, or hf://org/name@revision
    base: str = ""  # likewise the checkpoint that an adapter is added to; empty: the one that the adapter names
    contract: str = ""  # what its actions mean, see teachers/conventions.py; empty: what the fine-tuned model brings
    statistics_key: str = ""  # the data set in whose units its actions are, where it knows several
    python: str = ""  # interpreter of the processes' virtual environment; empty: this one
    devices: tuple[str, ...] = ()  # a process for each: "0", "1" of the GPUs seen here, "cpu"; empty: one, on any
    rows: int = setting(ROWS, low=1)  # observations per sidecar request, for which its process has memory
    cpus: tuple[int, ...] = setting((), low=0)  # cores that the processes may use; empty: all
    log: str = ""  # file that a process's output is appended to; of several processes: with .0, .1 ... at its end
    socket: str = ""  # of a server of rpd-jax serve that runs already: then nothing else is said of the model
    dtype: str = setting("bf16", choices=DTYPES)  # of the served weights
    # Both besides what `oft` or the serving file of a fine-tuned model says:
    center_crop: bool = False  # for checkpoints that were trained with random crops
    # "libero": first made as LIBERO's data were (JPEG, Lanczos), often with center_crop; empty: as is.
    frames: str = setting("", choices=("", *FRAMES))
    prompt: str = setting(
        "", choices=("", *PROMPTS)
    )  # style of its prompts; empty: as its serving file or config.json says
    # What an OpenVLA-OFT checkpoint was trained for, a platform or fields or both, e.g. libero,chunk=16: see
    # server/oft/settings.py; empty: it is OpenVLA's.
    oft: str = ""
    ready_seconds: float = setting(900.0, above=0)  # for a process to load the model

    def check_together(self) -> None:
        """See `TeacherConfig.check_together`."""
        super().check_together()
        if self.placement == "ray":
            right = "at most one: with teacher.placement=ray each of teacher.ray.replicas has a process of its own"
            require(len(self.devices) <= 1, "teacher.devices", self.devices, right)
        if self.oft:
            try:
                check_samples(oft_settings(self.oft), self.samples)
            except ConfigError as error:
                raise ConfigError(f"teacher.{error}") from error

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        from teachers.openvla import check_contract, check_path

        if not self.socket:
            check_path(self.path)
            for field, value in (("path", self.path), ("base", self.base)):
                if is_address(value):
                    need("hub", f"teacher.{field}={value!r}")
                elif value and not Path(value).is_dir():
                    raise ValueError(
                        f"teacher.{field}={value!r} is no directory: name a checkpoint's, or hf://org/name"
                    )
            if not is_address(self.path):
                check_contract(self.contract, Path(self.path))
            if self.python and shutil.which(self.python) is None:
                raise ValueError(f"teacher.python={self.python!r} is no program that can be run")

    def starts(self) -> str:
        """See `TeacherConfig.starts`."""
        if self.socket:
            return f"connects to the socket {self.socket}"
        log = f", whose output goes to {self.log}" if self.log else ""
        fetched = "".join(f"fetches {each}, " for each in (self.path, self.base) if is_address(each))
        return f"{fetched}starts {self.python or 'a process of this interpreter'}{log}"
