"""OpenVLA and OpenVLA-OFT as teachers.

`server/` is the model and `finetune/` its training, in torch, with their own requirements file; neither imports jax.
`golden.py` compares it with reference arrays. Here is the learner's side: processes that serve the model, see
`teachers.sidecar`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpd_jax.envs.base import EnvSpec

if TYPE_CHECKING:
    from teachers.sidecar.launching import Listening, Replica
    from teachers.sidecar.teacher import SidecarTeacher

_OF_THE_LEARNER = ("socket", "rows", "ready_seconds")
"""Settings that are not the server's, and can be given where it runs already."""


def make(env_spec: EnvSpec, settings: Mapping[str, Any]) -> SidecarTeacher:
    """The factory that `teachers.base` knows.

    Args:
      env_spec: of the environment whose transitions it labels.
      settings: "path" of the checkpoint or of a fine-tuned adapter, "contract" (a name of `conventions.CONTRACTS`;
        empty: what the fine-tuned model brings), and if wanted
        "statistics_key", "dtype", "center_crop", "frames" ("libero": made as that data set's were), "samples", "std",
        "min_std", "rows" (frames a request, and computed at a time) and "oft" (what an OpenVLA-OFT checkpoint was
        trained for, a name of `server.oft.settings.PLATFORMS`; where it reads proprio, only the number of values is
        checked, not what they mean); "python" (the interpreter of another virtual environment), "devices", "cpus" and
        "log" (see `processes.replicas`), "prompt" (a name of `server.prompts.TEMPLATES`; empty: config.json's), and
        "ready_seconds" (for a process to load the model).
        Or "socket" of a server that runs already, `launch.serve_teacher`, "rows" and "ready_seconds".
    Raises:
      ValueError: a setting is missing, unknown or impossible, or model and environment do not fit.
      SidecarFailed: the model cannot be loaded; with the process's last output.
    """
    from rpd_jax.config.teacher import TeacherConfig
    from rpd_jax.ipc.limits import Limits
    from teachers.sidecar.teacher import SidecarTeacher

    settings = dict(settings)
    rows = settings.setdefault("rows", TeacherConfig.rows)
    if rows < 1:
        raise ValueError(f"teacher.rows={rows!r} cannot work: it must be at least 1")
    ready = settings.pop("ready_seconds", TeacherConfig.ready_seconds)
    servers = _listening(settings) if settings.get("socket") else _processes(env_spec, settings)
    limits = Limits(start_deadline_s=ready, deadline_s=300.0, queue_size=4)  # so that a rollout's step seldom waits
    return SidecarTeacher(env_spec, servers, rows=rows, limits=limits)


def _listening(settings: Mapping[str, Any]) -> list[Listening]:
    """The server that somebody started; it has its model and settings already."""
    from rpd_jax.config.teacher import TeacherConfig
    from teachers.sidecar.launching import Listening

    usual = {field.name: field.default for field in dataclasses.fields(TeacherConfig)}
    for name, value in settings.items():
        if name not in _OF_THE_LEARNER and value and value != usual.get(name):
            raise ValueError(
                f"teacher.{name}={value!r} cannot be given with teacher.socket: the server has its model and settings "
                "already, see launch.serve_teacher --argument"
            )
    return [Listening(Path(settings["socket"]))]


def _processes(env_spec: EnvSpec, settings: dict[str, Any]) -> list[Replica]:
    """Processes to start."""
    from teachers.conventions import CONTRACT_FILE, CONTRACTS
    from teachers.openvla.processes import replicas
    from teachers.openvla.server.oft.settings import platform
    from teachers.trained_on import say_differences

    settings.pop("socket", None)
    path, contract = settings.pop("path", ""), settings.pop("contract", "")
    if not path:
        raise ValueError("teacher.path is empty: name a checkpoint directory")
    if contract not in CONTRACTS and (contract or not (Path(path) / CONTRACT_FILE).is_file()):
        raise ValueError(
            f"teacher.contract={contract!r} is unknown: an OpenVLA checkpoint does not say what its actions mean; "
            f"choose from {sorted(CONTRACTS)}"
        )
    say_differences(f"openvla:{Path(path).name}", Path(path), env_spec)
    arguments = [f"--checkpoint={path}", *([f"--contract={contract}"] if contract else [])]
    if oft := settings.pop("oft", ""):
        proprio = env_spec.observation.get("proprio")
        platform(oft, samples=settings.get("samples", 1), proprio=proprio.shape[0] if proprio else 0)
        arguments.append(f"--oft={oft}")
    for name in ("statistics_key", "dtype", "frames", "prompt", "samples", "std", "min_std"):
        value = settings.pop(name, None)
        if value not in (None, ""):
            arguments.append(f"--{name.replace('_', '-')}={value}")
    if settings.pop("center_crop", False):
        arguments.append("--center-crop")
    arguments.append(f"--max-batch={settings.pop('rows')}")
    python, devices = settings.pop("python", "") or None, settings.pop("devices", ())
    cpus, log = settings.pop("cpus", ()), settings.pop("log", "")
    if settings:
        raise ValueError(f"openvla has no setting {sorted(settings)[0]!r}")
    return replicas(arguments, devices, python=python, cpus=cpus, log=log)
