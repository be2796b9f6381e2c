"""OpenVLA and OpenVLA-OFT as teachers.

`server/` is the model and `finetune/` its training, in torch, with their own requirements file; neither imports jax.
`golden.py` compares it with reference arrays. Here is the learner's side: processes that serve the model, see
`teachers.sidecar`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpd_jax.envs.base import EnvSpec

if TYPE_CHECKING:
    from teachers.sidecar.teacher import SidecarTeacher

MODULE = "teachers.openvla.server.main"


def make(env_spec: EnvSpec, settings: Mapping[str, Any]) -> SidecarTeacher:
    """The factory that `teachers.base` knows.

    Args:
      env_spec: of the environment whose transitions it labels.
      settings: "path" of the checkpoint or of a fine-tuned adapter, "contract" (a name of `conventions.CONTRACTS`;
        empty: what the fine-tuned model brings), and if wanted
        "statistics_key", "dtype", "center_crop", "samples", "std", "min_std", "python" (the interpreter of another
        virtual environment), "devices" (for each a process: "0", "1" for GPUs, "cpu"), "rows" (frames a request) and
        "oft" (what an OpenVLA-OFT checkpoint was trained for, a name of `server.oft.settings.PLATFORMS`; where it reads
        proprio, only the number of values is checked, not what they mean).
    Raises:
      ValueError: a setting is missing or unknown, or model and environment do not fit.
      SidecarFailed: the model cannot be loaded; with the process's last output.
    """
    from rpd_jax.ipc.limits import Limits
    from teachers.conventions import CONTRACT_FILE, CONTRACTS
    from teachers.openvla.server.oft.settings import platform
    from teachers.sidecar.launching import Replica
    from teachers.sidecar.teacher import SidecarTeacher

    settings = dict(settings)
    path, contract = settings.pop("path", ""), settings.pop("contract", "")
    if not path:
        raise ValueError("teacher.path is empty: name a checkpoint directory")
    if contract not in CONTRACTS and (contract or not (Path(path) / CONTRACT_FILE).is_file()):
        raise ValueError(
            f"teacher.contract={contract!r} is unknown: an OpenVLA checkpoint does not say what its actions mean; "
            f"choose from {sorted(CONTRACTS)}"
        )
    arguments = [f"--checkpoint={path}", *([f"--contract={contract}"] if contract else [])]
    if oft := settings.pop("oft", ""):
        proprio = env_spec.observation.get("proprio")
        platform(oft, samples=settings.get("samples", 1), proprio=proprio.shape[0] if proprio else 0)
        arguments.append(f"--oft={oft}")
    for name in ("statistics_key", "dtype", "samples", "std", "min_std"):
        value = settings.pop(name, None)
        if value not in (None, ""):
            arguments.append(f"--{name.replace('_', '-')}={value}")
    if settings.pop("center_crop", False):
        arguments.append("--center-crop")
    python, rows = settings.pop("python", "") or None, settings.pop("rows", 32)
    devices = settings.pop("devices", ()) or ("",)
    if settings:
        raise ValueError(f"openvla has no setting {sorted(settings)[0]!r}")
    replicas = [Replica(MODULE, (*arguments, *_device(device)), python, _visible(device)) for device in devices]
    return SidecarTeacher(env_spec, replicas, rows=rows, limits=Limits(start_deadline_s=900.0, deadline_s=300.0))


def _device(device: str) -> tuple[str, ...]:
    return ("--device=cpu",) if device == "cpu" else ()


def _visible(device: str) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": device} if device.isdigit() else {}
