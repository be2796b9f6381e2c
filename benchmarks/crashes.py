"""Kills a training run again and again, resumes it each time, and compares its end with that of an undisturbed run.

  python -m benchmarks.crashes                    # tabletop, 20 kills
  python -m benchmarks.crashes --suite=maniskill  # needs the extra maniskill and a Vulkan device
  python -m benchmarks.crashes --kills=3 --readers=0

Each kill is a SIGKILL of the learner at a random moment between its start and a few iterations of training. All the
while `launch.evaluate` reads the newest checkpoint, over and over; it must neither disturb the run nor fail. Then
parameters, optimizer, log, curve and table are compared; every difference counts. Exit status 1 if there is one.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import make_parser, write
from rpd_jax.runs.checkpoint import load_checkpoint

TABLETOP = ("--preset=quickstart", "--config.env.num_envs=4", "--config.eval.num_envs=4")
MANISKILL = ("--preset=maniskill-quickstart", "--config.env.num_envs=2", "--config.eval.num_envs=2")
COMMON = (
    "--config.variants=ppo,rpd-mse",
    "--config.seeds=0,",
    "--config.network.hidden=(32,32)",
    "--config.algorithm.minibatches=4",
    "--config.algorithm.epochs=2",
    # episodes end with rollouts: a simulator that cannot save its state begins new ones after a restart anyway
    "--config.env.end_on_success=False",
    "--config.run.checkpoint_every=1",
    "--config.run.tensorboard=False",
    "--config.eval.every=5",
    "--config.eval.curve_episodes=4",
    "--config.eval.episodes=8",
    "--config.eval.videos=0",
)
SUITES = {
    "tabletop": (*TABLETOP, "--config.algorithm.total_steps=12000", *COMMON),
    "maniskill": (*MANISKILL, "--config.algorithm.total_steps=2000", *COMMON),
}


class Outcome(NamedTuple):
    """What became of a disturbed run."""

    kills: int  # that found the learner alive
    sessions: int
    readings: int  # evaluations that read a checkpoint beside the run
    failures: list[str]  # of readers, or of resumed sessions
    differences: list[str]  # between its end and the undisturbed run's


def main() -> int:
    parser = make_parser("crashes")
    parser.add_argument("--suite", choices=SUITES, default="tabletop")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--readers", type=int, default=1, help="evaluations that read beside the run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    kills = 3 if options.quick else options.kills
    with tempfile.TemporaryDirectory() as scratch:
        found = disturb(Path(scratch), options.suite, kills, options.readers, random.Random(options.seed))
    for line in (*found.failures, *found.differences):
        print(line, file=sys.stderr)
    counts = {name: value if isinstance(value, int) else len(value) for name, value in found._asdict().items()}
    write(f"crashes_{options.suite}", counts, options.json)
    return 1 if found.failures or found.differences else 0


def disturb(scratch: Path, suite: str, kills: int, readers: int, moments: random.Random) -> Outcome:
    """Runs `suite`'s settings once undisturbed and once through `kills` kills."""
    started = time.monotonic()
    whole = train(scratch / "whole", suite)
    log = scratch / "whole" / "metrics.jsonl"
    while whole.poll() is None and not (log.exists() and log.read_bytes()):
        time.sleep(0.05)
    first = time.monotonic() - started
    assert whole.wait() == 0, words(scratch / "whole")
    # so soon that the run does not end before the last kill, even if it is faster than the undisturbed one
    latest = first + 0.5 * (time.monotonic() - started - first) / kills

    disturbed, failures, done = scratch / "disturbed", [], threading.Event()
    readings = [0] * readers
    threads = [
        threading.Thread(target=read, args=(disturbed, scratch / f"reader{i}", i, readings, failures, done))
        for i in range(readers)
    ]
    for thread in threads:
        thread.start()
    sessions = alive = 0
    try:
        while alive < kills:
            session = train(disturbed, suite)
            sessions += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                session.wait(moments.uniform(0.0, latest))
            if session.poll() is not None:  # it came to its end, by itself or by a fault
                break
            session.kill()
            session.wait()
            alive += 1
            print(f"kill {alive} of {kills}", file=sys.stderr, flush=True)
        last = train(disturbed, suite)
        if last.wait() != 0:
            failures.append(f"the last session ended with status {last.returncode}: {words(disturbed)}")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    differences = [] if failures else compare(scratch / "whole", disturbed)
    return Outcome(alive, sessions + 1, sum(readings), failures, differences)


def train(directory: Path, suite: str) -> subprocess.Popen[bytes]:
    """Starts, or goes on with, a run; its words are added to a file beside the directory."""
    command = [sys.executable, "-m", "launch.train", *SUITES[suite], f"--config.run.directory={directory}", "--resume"]
    with words_of(directory).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def read(run: Path, output: Path, index: int, readings: list[int], failures: list[str], done: threading.Event) -> None:
    """Evaluates the newest checkpoint until told otherwise."""
    command = [sys.executable, "-m", "launch.evaluate", f"--run={run}", f"--output={output}", "--overwrite"]
    while not done.is_set():
        if not list(run.glob("checkpoints/[0-9]*")):
            done.wait(0.2)
            continue
        found = subprocess.run([*command, "--videos=0", "--episodes=4"], capture_output=True, text=True)
        readings[index] += found.returncode == 0
        if found.returncode != 0:
            failures.append(f"a reader failed with status {found.returncode}: {found.stderr.strip()[-400:]}")


def compare(whole: Path, disturbed: Path) -> list[str]:
    """Where two finished runs differ, but for the time that they took."""
    found = []
    (_, a), (_, b) = load_checkpoint(whole), load_checkpoint(disturbed)
    for part in ("params", "train_state"):
        left, right = getattr(a, part), getattr(b, part)
        for name in sorted({*left, *right}):
            if name not in left or name not in right or not np.array_equal(left[name], right[name]):
                found.append(f"{part}: {name} differs")
    for file, read_file in (("metrics.jsonl", _log), ("curves.json", _json), ("results.json", _table)):
        if read_file(whole / file) != read_file(disturbed / file):
            found.append(f"{file} differs")
    return found


def words_of(directory: Path) -> Path:
    return directory.with_suffix(".log")


def words(directory: Path) -> str:
    """The last words of a run's processes."""
    return words_of(directory).read_text(errors="replace").strip()[-400:]


def _json(path: Path) -> object:
    return json.loads(path.read_text())


def _log(path: Path) -> list[dict[str, float]]:
    """The rows of a log; what depends on the machine and the moment is left out."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    skipped = ("time/", "teacher/seconds", "env/")
    return [{name: value for name, value in row.items() if not name.startswith(skipped)} for row in rows]


def _table(path: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in _json(path)["rows"]]


if __name__ == "__main__":
    sys.exit(main())
