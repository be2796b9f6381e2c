"""The processes that serve OpenVLA: on which GPUs and cores, and where their output goes."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rpd_jax import runtime
from teachers.sidecar.launching import Replica

MODULE = "teachers.openvla.server.main"


def replicas(
    arguments: Sequence[str],
    devices: Sequence[str | int] = (),
    *,
    python: str | None = None,
    cpus: Iterable[int] = (),
    log: str = "",
) -> list[Replica]:
    """A process for each device.

    Args:
      arguments: of the server's command line.
      devices: for each process "cpu" or the number of a GPU, counted as this process sees them; empty: one process, on
        a GPU if there is one.
      python: the interpreter; None: this one.
      cpus: cores that each of the processes may use; empty: all.
      log: file for the output; of several processes with .0, .1 ... at its end. Empty: none.
    Raises:
      ValueError: a device, core, file or interpreter that cannot be.
    """
    if python is not None and shutil.which(python) is None:
        raise ValueError(f"teacher.python={python!r} cannot work: it must be a program that can be run")
    places = [devices] if isinstance(devices, str) else list(devices)
    where = [_where(str(place)) for place in places] or [((), {})]
    cores = _cores(cpus)
    return [
        Replica(MODULE, (*arguments, *flags), python, variables, cores, file)
        for (flags, variables), file in zip(where, _logs(log, len(where)), strict=True)
    ]


def _where(device: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Flags and variables that put a process on a device."""
    if device == "cpu":
        return ("--device=cpu",), {}
    if not (device.isascii() and device.isdigit()):
        raise ValueError(
            f'teacher.devices={device!r} is unknown: for each process need "cpu" or the number of a GPU, such as "0"'
        )
    return ("--device=cuda",), {"CUDA_VISIBLE_DEVICES": _visible(int(device))}


def _visible(number: int) -> str:
    """What CUDA_VISIBLE_DEVICES calls a GPU that this process knows by its number."""
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is None:
        return str(number)
    # Numbers, UUIDs or their beginnings; the driver ignores what follows an entry that names nothing.
    entries = (name.strip() for name in inherited.split(","))
    names = list(itertools.takewhile(lambda name: name and not name.startswith("-"), entries))
    if number >= len(names):
        there = f"GPUs 0 to {len(names) - 1}" if names else "no GPU"
        raise ValueError(
            f"teacher.devices={str(number)!r} cannot work: CUDA_VISIBLE_DEVICES={inherited!r} leaves {there}"
        )
    return names[number]


def _cores(cpus: Iterable[int]) -> tuple[int, ...] | None:
    cores, allowed = tuple(cpus), runtime.cores()
    wrong = [core for core in cores if core not in allowed]
    if wrong:
        raise ValueError(f"teacher.cpus={cores}: {wrong[0]!r} is no core that may be used, these are {sorted(allowed)}")
    return cores or None


def _logs(log: str, count: int) -> list[Path | None]:
    if not log:
        return [None] * count
    path = Path(log)
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"teacher.log={log!r} cannot work: it must be a file in a directory that exists")
    return [path] if count == 1 else [Path(f"{path}.{number}") for number in range(count)]
