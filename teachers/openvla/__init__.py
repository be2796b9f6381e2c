"""OpenVLA and OpenVLA-OFT as teachers.

`server/` is the model and `finetune/` its training, in torch, with their own requirements file; neither imports jax.
`golden.py` compares it with reference arrays. Here is the learner's side: processes that serve the model, see
`teachers.sidecar`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rpd_jax.envs.base import EnvSpec

if TYPE_CHECKING:
    from teachers.openvla.settings import OpenVLASettings
    from teachers.sidecar.launching import Listening, Replica
    from teachers.sidecar.teacher import SidecarTeacher


def make(env_spec: EnvSpec, settings: OpenVLASettings) -> SidecarTeacher:
    """The factory of `OpenVLASettings`.

    Raises:
      ValueError: a setting is missing or impossible, or model and environment do not fit.
      SidecarFailed: the model cannot be loaded; with the process's last output.
    """
    from rpd_jax.ipc.limits import Limits
    from teachers.sidecar.teacher import SidecarTeacher

    servers = _listening(settings) if settings.socket else _processes(env_spec, settings)
    # Several requests under way, so that a rollout's step seldom waits.
    limits = Limits(start_deadline_s=settings.ready_seconds, deadline_s=300.0, queue_size=4)
    return SidecarTeacher(env_spec, servers, rows=settings.rows, limits=limits)


def _listening(settings: OpenVLASettings) -> list[Listening]:
    """The server that somebody started; it has its model and settings already."""
    from teachers.openvla.settings import OF_THE_LEARNER
    from teachers.sidecar.launching import Listening

    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in OF_THE_LEARNER and value != field.default:
            raise ValueError(
                f"teacher.{field.name}={value!r} cannot be given with teacher.socket: the server has its model and "
                "settings already, see rpd-jax serve --argument"
            )
    return [Listening(Path(settings.socket))]


def check_path(path: str) -> None:
    """Raises ValueError where no checkpoint is named."""
    if not path:
        raise ValueError("teacher.path is empty: name a checkpoint directory, or hf://org/name")


def check_contract(contract: str, path: Path) -> None:
    """Raises ValueError unless it is known what the actions of the checkpoint in directory `path` mean."""
    from teachers.conventions import CONTRACT_FILE, CONTRACTS, ENVIRONMENT

    if contract not in (*CONTRACTS, ENVIRONMENT) and (contract or not (path / CONTRACT_FILE).is_file()):
        raise ValueError(
            f"teacher.contract={contract!r} is unknown: an OpenVLA checkpoint does not say what its actions mean; "
            f"choose from {sorted([*CONTRACTS, ENVIRONMENT])}"
        )


def _processes(env_spec: EnvSpec, settings: OpenVLASettings) -> list[Replica]:
    """Processes to start."""
    from teachers.hub import local
    from teachers.openvla.fitting import check_environment
    from teachers.openvla.processes import replicas
    from teachers.openvla.server.files import is_complete
    from teachers.openvla.server.look import look
    from teachers.openvla.server.oft.settings import oft_settings
    from teachers.serving import read_serving
    from teachers.trained_on import say_differences

    contract, oft = settings.contract, settings.oft
    check_path(settings.path)
    path, base = (str(local(each, is_complete)) if each else "" for each in (settings.path, settings.base))
    check_contract(contract, Path(path))
    say_differences(f"openvla:{Path(path).name}", Path(path), env_spec)
    if oft:
        check_environment(oft_settings(oft), oft, env_spec)
    given = {"checkpoint": path, "base": base, "contract": contract, "oft": oft}
    names = ("statistics_key", "dtype", "frames", "prompt", "samples", "std", "min_std")
    given |= {name.replace("_", "-"): getattr(settings, name) for name in names} | {"max-batch": settings.rows}
    arguments = [f"--{name}={value}" for name, value in given.items() if value not in (None, "")]
    if settings.center_crop:
        arguments.append("--center-crop")
    python = settings.python or None
    found = replicas(arguments, settings.devices, python=python, cpus=settings.cpus, log=settings.log)
    serving = read_serving(Path(path))
    key = settings.statistics_key or (serving.statistics_key if serving else "")
    look(Path(path), base=base, oft=oft_settings(oft) if oft else None, key=key, dtype=settings.dtype)
    return found
