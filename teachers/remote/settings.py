"""Settings of a policy server as teacher."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from teachers.remote import ADAPTERS
from teachers.sampling import Sampling


@dataclasses.dataclass
class RemoteSettings(Sampling, TeacherConfig):
    """Where the server is, what it is sent, and what its actions mean."""

    factory: ClassVar[str] = "teachers.remote:make"

    name: str = setting("remote", required=True)
    address: str = ""  # e.g. ws://127.0.0.1:8000
    protocol: str = setting("openpi", choices=tuple(ADAPTERS))
    contract: str = ""  # what the server's actions mean, see teachers/conventions.py
    # What it is sent, "its name=source", see `request.Request`; empty: what is usual with the protocol.
    request: tuple[str, ...] = ()
    frame_size: int = setting(224, low=0)  # pixels of the square that frames are fitted into; 0: sent as they are
    connections: int = setting(1, low=1)  # requests under way at the same time
    ready_seconds: float = setting(900.0, above=0)  # for it to load a model
    deadline_seconds: float = setting(60.0, above=0)  # for an answer; a later one counts as a failure

    def starts(self) -> str:
        """See `TeacherConfig.starts`."""
        return f"connects to {self.address}"
