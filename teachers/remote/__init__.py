"""Policy servers as teachers.

`teacher.py` queries them; an adapter (`openpi.py`, `vlagents.py`) speaks the protocol of one kind of server. Another
kind is a file like these and a line in `ADAPTERS`. What a server is sent is data: `request.py` reads entries in the
language of `expression.py`, and `mappings.py` has those of published servers by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rpd_jax.envs.base import EnvSpec

if TYPE_CHECKING:
    from teachers.remote.settings import RemoteSettings
    from teachers.remote.teacher import RemoteTeacher

ADAPTERS: Mapping[str, str] = {
    "openpi": "teachers.remote.openpi:OPENPI",
    "vlagents": "teachers.remote.vlagents:VLAGENTS",
}
"""Protocol -> "module:name" of its Adapter."""


def checked_contract(settings: RemoteSettings) -> str:
    """What the server's actions mean, as the settings or a ready mapping say. Raises ValueError where nobody does."""
    from teachers.conventions import CONTRACTS
    from teachers.remote.mappings import ready

    named = ready(settings.request, settings.protocol)
    contract = settings.contract or (named.contract if named else "")
    if contract not in CONTRACTS:
        raise ValueError(
            f"teacher.contract={contract!r} is unknown: a policy server does not say what its actions mean; "
            f"choose from {sorted(CONTRACTS)}"
        )
    return contract


def make(env_spec: EnvSpec, settings: RemoteSettings) -> RemoteTeacher:
    """The factory of `RemoteSettings`.

    Raises:
      ValueError: a setting is missing or impossible.
      TeacherError: nobody answers there, the server refuses what it is sent, or its actions do not fit.
    """
    from rpd_jax.ipc.limits import Limits
    from teachers.conventions import CONTRACTS
    from teachers.remote.adapters import Address
    from teachers.remote.mappings import ready
    from teachers.remote.request import Request
    from teachers.remote.teacher import RemoteTeacher

    named, contract = ready(settings.request, settings.protocol), checked_contract(settings)
    module, _, name = ADAPTERS[settings.protocol].partition(":")
    adapter = getattr(importlib.import_module(module), name)
    entries = named.entries if named else settings.request or adapter.request
    return RemoteTeacher(
        env_spec,
        adapter,
        Address.parse(settings.address, adapter.schemes),
        Request(entries, env_spec, settings.frame_size),
        CONTRACTS[contract],
        settings,
        connections=settings.connections,
        limits=Limits(deadline_s=settings.deadline_seconds, start_deadline_s=settings.ready_seconds, max_restarts=8),
    )
