"""Settings of a policy server as teacher."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.extras import EXTRAS, need
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from teachers.remote import ADAPTERS, checked_contract
from teachers.remote.mappings import refuse
from teachers.sampling import Sampling


@dataclasses.dataclass
class RemoteSettings(Sampling, TeacherConfig):
    """Where the server is, what it is sent, and what its actions mean.

    `request` is the name of a ready mapping for a published server, `("openpi-libero",)`, or an entry
    "SERVER'S NAME=EXPRESSION" for each thing that it is sent:

        observation/image=rgb|rotate180|pad:224
        observation/state=proprio.eef_pos+(proprio.eef_quat|axis_angle:xyzw)+proprio.gripper_qpos|float64
        observation/unused=zeros:8
        prompt=instruction

    `docs/policy_servers.md` has the sources and steps. Mistakes are found before anything connects.
    """

    factory: ClassVar[str] = "teachers.remote:make"
    uses_jax: ClassVar[bool] = False

    name: str = setting("remote", required=True)
    address: str = ""  # e.g. ws://127.0.0.1:8000
    protocol: str = setting("openpi", choices=tuple(ADAPTERS))  # the server's
    # What the server's actions mean, see teachers/conventions.py; empty: as the ready mapping says, if it does.
    contract: str = ""
    # What it is sent: a ready mapping's name, or entries; empty: what is usual with the protocol.
    request: tuple[str, ...] = ()
    # Pixels of the square that frames are fitted into whose entry sets no size; 0: sent as they are.
    frame_size: int = setting(224, low=0)
    connections: int = setting(1, low=1)  # requests under way at the same time
    ready_seconds: float = setting(900.0, above=0)  # for it to load a model
    deadline_seconds: float = setting(60.0, above=0)  # for an answer; a later one counts as a failure

    def check_kind(self) -> None:
        """Also says why a server that cannot be a teacher is no protocol's: a list of choices would not."""
        super().check_kind()
        refuse("teacher.protocol", self.protocol)

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        checked_contract(self)
        if self.protocol in EXTRAS:
            need(self.protocol, f"teacher.protocol={self.protocol!r}")

    def starts(self) -> str:
        """See `TeacherConfig.starts`."""
        return f"connects to {self.address}"
