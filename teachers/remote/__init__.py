"""Policies that somebody serves over the network, as teachers.

`teacher.py` asks them; an adapter (`openpi.py`, `vlagents.py`) speaks the language of one kind of server. Another kind
is a file like these and a line in `ADAPTERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rpd_jax.config.validation import choice
from rpd_jax.envs.base import EnvSpec

if TYPE_CHECKING:
    from teachers.remote.teacher import RemoteTeacher

ADAPTERS: Mapping[str, str] = {
    "openpi": "teachers.remote.openpi:OPENPI",
    "vlagents": "teachers.remote.vlagents:VLAGENTS",
}
"""Protocol -> "module:name" of its Adapter."""


def make(env_spec: EnvSpec, settings: Mapping[str, Any]) -> RemoteTeacher:
    """The factory that `teachers.base` knows.

    Args:
      env_spec: of the environment whose transitions it labels.
      settings: "address" ("ws://127.0.0.1:8000") and "contract" (a name of `conventions.CONTRACTS`), and if wanted
        "protocol" (a name of `ADAPTERS`), "request" (pairs "server's name=source", see `request.Request`),
        "frame_size", "connections", "ready_seconds", "deadline_seconds", "samples", "std" and "min_std".
    Raises:
      ValueError: a setting is missing, unknown or impossible.
      TeacherError: nobody answers there, the server refuses what it is sent, or its actions do not fit.
    """
    from rpd_jax.config.teacher import TeacherConfig
    from rpd_jax.ipc.limits import Limits
    from teachers.conventions import CONTRACTS
    from teachers.remote.adapters import Address
    from teachers.remote.request import Request
    from teachers.remote.teacher import RemoteTeacher
    from teachers.sampling import Sampling

    settings = dict(settings)
    protocol, contract = settings.pop("protocol", "openpi"), settings.pop("contract", "")
    choice("teacher.protocol", protocol, ADAPTERS)
    if contract not in CONTRACTS:
        raise ValueError(
            f"teacher.contract={contract!r} is unknown: a policy server does not say what its actions mean; "
            f"choose from {sorted(CONTRACTS)}"
        )
    module, _, name = ADAPTERS[protocol].partition(":")
    adapter = getattr(importlib.import_module(module), name)
    address = Address.parse(settings.pop("address", ""), adapter.schemes)
    request = Request(settings.pop("request", ()) or adapter.request, env_spec, settings.pop("frame_size", 224))
    limits = Limits(
        deadline_s=settings.pop("deadline_seconds", TeacherConfig.deadline_seconds),
        start_deadline_s=settings.pop("ready_seconds", TeacherConfig.ready_seconds),
        max_restarts=8,
    )
    sampling = Sampling(**{key: settings.pop(key) for key in ("samples", "std", "min_std") if key in settings})
    connections = settings.pop("connections", 1)
    if settings:
        raise ValueError(f"remote has no setting {sorted(settings)[0]!r}")
    return RemoteTeacher(
        env_spec, adapter, address, request, CONTRACTS[contract], sampling, connections=connections, limits=limits
    )
