"""All that is to be measured on a GPU, as one command with a time limit, on a machine that needs no internet.

    python -m benchmarks.gpu --minutes=8 --json=gpu.json
    python -m benchmarks.gpu --tiny                        # tiny sizes, on a CPU too: what can run is tried out

Each part is a benchmark (or the `gpu` tests) in a process of its own with a time limit of its own: its share of the
minutes that are left, so that what a part does not need goes to those behind it. The most valuable come first. The file
is written after every part, and holds what a part measured even where it was stopped or failed afterwards. A part that
cannot run is named with the reason: a package that is missing, no GPU, out of time, or the last line of its error.
Every part measures its baseline beside it (the figures named "ratio"). Without a GPU that JAX can use, sizes are tiny.

Its JSON: name, date, machine, figures ("PART/FIGURE": number) and series: `parts`, a list of objects with name, state
("done", "failed", "out of time" or "skipped"), reason, seconds and limit_s; and `tiny`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import common

ROOT = Path(__file__).parents[1]
LEAST = 5.0  # seconds: with less, a part is not begun
PROBES = {
    "jax": "import jax; print(jax.default_backend() == 'gpu')",
    "torch": "import torch; print(torch.cuda.is_available())",
}
"""Programs that say whether a package can use a GPU: in processes of their own, since JAX takes most of its memory."""


class Part(NamedTuple):
    """A part, `python -m MODULE ARGUMENTS`.

    Of its arguments, "{json}" is the file to write figures to, "{seconds}" the time that it may plan with.
    """

    name: str
    share: float  # of the time, in proportion to the others'
    arguments: tuple[str, ...]  # the module and what it is given
    tiny: tuple[str, ...] = ()  # given besides where sizes are to be tiny
    packages: tuple[str, ...] = ()  # modules that must be there
    gpu: tuple[str, ...] = ()  # packages that must be able to use a GPU; none: the part also runs, tiny, on a CPU


JSON, SECONDS = "--json={json}", "--seconds={seconds}"
PARTS = (
    Part(
        "tests",
        90,
        ("pytest", "-m", "gpu", "-q", "-x", "tests/test_gpu.py"),
        packages=("pytest", "mujoco.mjx"),
        gpu=("jax",),
    ),
    Part("loop", 140, ("benchmarks.graph_loop", SECONDS, JSON), ("--tiny",), ("mujoco.mjx",)),
    Part(
        "loop_octo_nano",
        80,
        ("benchmarks.graph_loop", "--teacher=octo-nano", SECONDS, JSON),
        ("--tiny",),
        ("mujoco.mjx",),
    ),
    Part("octo", 60, ("benchmarks.octo", "--bfloat16", "--quick", JSON), ("--tiny",)),
    Part("openvla", 90, ("benchmarks.openvla", "--quick", JSON), ("--size=tiny",), ("torch", "transformers")),
    Part("bridge", 20, ("benchmarks.bridge_gpu", JSON), ("--quick",), ("torch",), ("jax", "torch")),
)


@dataclasses.dataclass
class Outcome:
    """What became of a part."""

    name: str
    state: str  # "done", "failed", "out of time" or "skipped"
    reason: str = ""  # why it is not "done"; of one that is, what it left out
    seconds: float = 0.0
    limit_s: float = 0.0
    figures: dict[str, float] = dataclasses.field(default_factory=dict)


def run_parts(
    parts: Sequence[Part],
    seconds: float,
    tiny: bool,
    usable: Collection[str],
    after_each: Callable[[list[Outcome]], None],
    least: float = LEAST,
) -> list[Outcome]:
    """Runs parts one after the other within `seconds`; `usable` are the packages that can use a GPU.

    `after_each` is called with the outcomes so far; a part with less than `least` seconds is not begun.
    """
    deadline = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    reasons = [why_not(part, usable) for part in parts]
    for index, (part, reason) in enumerate(zip(parts, reasons, strict=True)):
        left = deadline - time.monotonic()
        # Those behind it that cannot run need no time.
        shares = [part.share for part, none in zip(parts[index:], reasons[index:], strict=True) if not none]
        limit = left * part.share / sum(shares) if shares else 0.0
        if reason:
            outcome = Outcome(part.name, "skipped", reason)
        elif limit < least:
            outcome = Outcome(part.name, "skipped", f"out of time: {left:.0f} s are left of all parts'")
        else:
            print(f"{part.name}: at most {limit:.0f} s", flush=True)
            outcome = run_part(part, limit, tiny)
        outcomes.append(outcome)
        after_each(outcomes)
    return outcomes


def why_not(part: Part, usable: Collection[str]) -> str:
    """Why a part cannot run here; empty: it can."""
    missing = [name for name in part.packages if not is_installed(name)]
    if missing:
        return f"missing package: {', '.join(missing)}"
    without = [name for name in part.gpu if name not in usable]
    return f"no GPU that {' and '.join(without)} can use" if without else ""


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it (its parents are)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def run_part(part: Part, limit: float, tiny: bool) -> Outcome:
    """Runs one part for at most `limit` seconds, after which it and all that it has started are killed."""
    with tempfile.TemporaryDirectory(prefix="rpd_jax_gpu_") as directory:
        file, log = Path(directory) / "figures.json", Path(directory) / "log"
        arguments = (*part.arguments, *(part.tiny if tiny else ()))
        # A program that plans its time keeps a tenth of it for its start and its end.
        filled = [argument.format(json=file, seconds=round(0.9 * limit, 1)) for argument in arguments]
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *filled],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of processes, to be killed as one
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError):  # what a part leaves behind would keep the GPU's memory
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        outcome = Outcome(part.name, "done", "", time.monotonic() - started, limit)
        record = json.loads(file.read_text()) if file.exists() else {}
        outcome.figures = record.get("figures", {})
        last = last_line(log.read_text(errors="replace"))
        if code is None:
            outcome.state, outcome.reason = "out of time", f"stopped after {limit:.0f} s; its last line: {last}"
        elif code:
            outcome.state, outcome.reason = "failed", f"status {code}: {last}"
        else:
            outcome.reason = "; ".join(record.get("series", {}).get("failed", ()))
            if not outcome.figures:
                outcome.reason = last  # of the tests: how many passed
        return outcome


def last_line(text: str) -> str:
    """The last that is not empty, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for every part, each with its figures below."""
    lines = [f"{'part':16}{'state':13}{'seconds':>8}  figures, or why not"]
    for outcome in outcomes:
        lines.append(f"{outcome.name:16}{outcome.state:13}{outcome.seconds:8.1f}  {outcome.reason}".rstrip())
        lines += [f"{'':39}{name:44}{value:.6g}" for name, value in outcome.figures.items()]
    return "\n".join(lines)


def probe() -> set[str]:
    """Which of JAX and torch can use a GPU; asked both at once."""
    if not common.gpus():
        return set()
    asked = {
        name: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for name, code in PROBES.items()
    }
    found = set()
    for name, process in asked.items():
        try:
            if process.communicate(timeout=120)[0].strip() == b"True":
                found.add(name)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return found


def main() -> None:
    started = time.monotonic()
    parser = common.make_parser("gpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything together")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try it out")
    names = [part.name for part in PARTS]
    parser.add_argument("--parts", default=",".join(names), help=f"only these, of {','.join(names)}")
    arguments = parser.parse_args()
    if unknown := {*arguments.parts.split(",")} - {*names}:
        parser.error(f"--parts={arguments.parts}: {', '.join(sorted(unknown))} is none of {', '.join(names)}")
    parts = [part for part in PARTS if part.name in arguments.parts.split(",")]
    usable = probe()
    tiny = arguments.tiny or arguments.quick or "jax" not in usable
    if "jax" not in usable:
        print("JAX sees no GPU: tiny sizes on the CPU, whose figures mean nothing beyond that it runs")

    def save(outcomes: list[Outcome]) -> None:
        figures = {f"{each.name}/{name}": value for each in outcomes for name, value in each.figures.items()}
        states = [{k: v for k, v in dataclasses.asdict(each).items() if k != "figures"} for each in outcomes]
        common.save("gpu", figures, arguments.json, {"parts": states, "tiny": [tiny]})

    left = 60.0 * arguments.minutes - (time.monotonic() - started)
    outcomes = run_parts(parts, left, tiny, usable, save)
    print(f"\n{common.machine()}\n{table(outcomes)}")
    if any(outcome.state == "failed" for outcome in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
