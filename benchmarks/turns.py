"""Programs that are timed in turns, each in a process of its own: a drift of the machine's speed meets them alike.

The thread pools of torch and XLA would get into each other's way in one process. Beside wall time each answers with the
CPU time of all its threads, which says more where others use the machine too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rpd_jax import runtime

Parts = Mapping[str, Callable[[], object]]
"""What a program consists of, in this order: functions that wait for their own results."""


class Seconds(NamedTuple):
    """What one call took."""

    wall: float
    cpu: float


def serving() -> tuple[str, bool] | None:
    """The program's name, and whether to be quick, in a process that `compare` started; else None."""
    runtime.configure()  # before JAX starts
    if len(sys.argv) == 3 and sys.argv[1] in ("quick", "full"):
        return sys.argv[2], sys.argv[1] == "quick"
    return None


def serve(parts: Parts) -> None:
    """Calls all parts once, to warm up, and again for every line that comes in, and answers with their seconds."""
    for part in parts.values():
        part()
    for _ in sys.stdin:
        found = {}
        for name, part in parts.items():
            wall, cpu = time.perf_counter(), time.process_time()
            part()
            found[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        print(json.dumps(found), flush=True)


def compare(
    module: str,
    names: Sequence[str],
    rounds: int,
    quick: bool,
    pythons: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, list[Seconds]]:
    """Seconds of each "program/part" over rounds in which all programs take their turn.

    `module` is run with the two arguments that `serving` reads, by the interpreter that `pythons` has for the name, of
    another virtual environment, with the environment `variables`, or by this one.
    """
    pythons = pythons or {}
    arguments = ["-m", module, "quick" if quick else "full"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = {}
    for name in names:
        python, env = (pythons[name], variables) if name in pythons else (sys.executable, None)
        processes[name] = subprocess.Popen([python, *arguments, name], env=env, **pipes)  # type: ignore[call-overload]
    found: dict[str, list[Seconds]] = {}
    for round_ in range(rounds + 1):
        for name, process in processes.items():
            process.stdin.write("go\n")
            if not (line := process.stdout.readline()):
                raise RuntimeError(f"the program {name} has ended: see what it says above")
            answer = json.loads(line)
            if round_:  # in the first, the others were still warming up
                for part, seconds in answer.items():
                    found.setdefault(f"{name}/{part}", []).append(Seconds(*seconds))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return found
