"""What every benchmark shares: its flags, the machine in words, and the file that it writes."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rpd_jax import runtime
from rpd_jax.report.results import package_versions
from rpd_jax.runs.files import write_json


def parse_args(name: str) -> argparse.Namespace:
    """Reads the flags that every benchmark has."""
    return make_parser(name).parse_args()


def make_parser(name: str) -> argparse.ArgumentParser:
    """Knows `--json FILE` (also write the figures there) and `--quick` (fewer repeats, smaller sizes)."""
    runtime.configure()  # before JAX starts
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller sizes, to try it out")
    return parser


def machine() -> str:
    """Processor, cores, memory and GPU in words, without anything that names this very machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = runtime.available_cores()
    parts = [_processor(), f"{cores} cores", f"{memory:.0f} GiB", platform.system(), *gpus()]
    return ", ".join(parts)


def gpus() -> list[str]:
    """Names of NVIDIA's GPUs, as the driver says them."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def timed(call: Callable[[], object], repeats: int, warmup: int = 1) -> list[float]:
    """Seconds of each of `repeats` calls, after `warmup` more; `call` must wait for its own results."""
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


def cpu_seconds(pid: int) -> float:
    """The processor time of another process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(values: Sequence[float]) -> float:
    """The middle value, which a disturbed repeat does not move."""
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest value as a share of the median: above about 0.2 the machine was disturbed."""
    return (max(values) - min(values)) / median(values)


def write(
    name: str, figures: Mapping[str, float], path: Path | None, series: Mapping[str, Sequence[object]] | None = None
) -> None:
    """Prints the figures, and writes them to `path` if there is one.

    The file is one object: name, date (UTC), machine (with the packages' versions), figures (key -> number), and
    where there are series (key -> list), which are not printed, these.

    Raises:
      ValueError: a figure is not a finite number.
    """
    save(name, figures, path, series)
    for key, value in figures.items():
        print(f"{key:50} {value:.6g}")


def save(
    name: str, figures: Mapping[str, float], path: Path | None, series: Mapping[str, Sequence[object]] | None = None
) -> None:
    """Only the file of `write`: for what may not come to its end. Raises ValueError as it does."""
    for key, value in figures.items():
        if not math.isfinite(value):
            raise ValueError(f"figures[{key!r}]={value!r} cannot be written: it must be a finite number")
    versions = ", ".join(f"{package} {version}" for package, version in package_versions().items())
    record = {
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": f"{machine()}; {versions}",
        "figures": {key: float(value) for key, value in figures.items()},
    } | ({"series": dict(series)} if series else {})
    if path is not None:
        write_json(path, record)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
