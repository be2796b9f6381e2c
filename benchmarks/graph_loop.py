"""Steps per second of whole training iterations on one device: environments x members x networks, in one program.

    python -m benchmarks.graph_loop --seconds=150 --json=FILE              # on a GPU: PickCube in MJX, scripted teacher
    python -m benchmarks.graph_loop --teacher=octo-nano --seconds=100      # the same with octo-nano, which sees frames
    python -m benchmarks.graph_loop --tiny                                 # two small points

The iteration of `GraphLoop` as `benchmarks.tabletop` times it: rollouts of 50 steps, labels, advantages, 8 epochs of 8
minibatches. Points are named NETWORK_MEMBERSxENVIRONMENTS (of each member), most telling first, and the file is written
after every one; compilation takes most of the time, so that how far the sweep comes depends on `--seconds`.

train_steps_per_s_POINT  environment steps of all members, median; spread_POINT
compile_s_POINT          the first iteration, compilation included
ratio_POINT              over the baseline: the first point, one member with 64 environments
ratio_teacher_POINT      octo-nano: the same point with the scripted teacher / with octo-nano (the price of its labels)
best_train_steps_per_s   of all points
Aim on an H100 or H200: 200,000.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax

from benchmarks import common, tabletop
from rpd_jax import get_preset
from rpd_jax.config import TeacherConfig

MOST, LONG = 5, 10.0  # timed iterations of a point, seconds after which no further one is begun
WIDTHS = {"2x128": (128, 128), "3x256": (256, 256, 256)}


class Point(NamedTuple):
    """What is trained."""

    network: str
    members: int
    num_envs: int  # of each member

    def __str__(self) -> str:
        return f"{self.network}_{self.members}x{self.num_envs}"


TINY = (Point("2x128", 1, 4), Point("3x256", 2, 4))
POINTS = (
    Point("2x128", 1, 64),
    Point("2x128", 1, 4096),
    Point("2x128", 8, 512),
    Point("2x128", 64, 64),
    Point("2x128", 1, 8192),
    Point("3x256", 8, 512),
    Point("2x128", 64, 512),
    Point("3x256", 64, 64),
    Point("3x256", 1, 8192),
    Point("2x128", 1, 1024),
    Point("3x256", 64, 512),
    Point("2x128", 8, 8192),
)
# The second is one whose program with the scripted teacher the sweep above has compiled before, and kept.
VLA_POINTS = (Point("2x128", 1, 64), Point("2x128", 8, 512), Point("2x128", 1, 4096), Point("3x256", 64, 64))


def measure(point: Point, teacher: TeacherConfig | None) -> tuple[float, list[float]]:
    """Seconds of the first iteration, and steps per second of later ones."""
    config = tabletop.config_for(
        "mjx", "state", point.num_envs, members=point.members, hidden=WIDTHS[point.network], teacher=teacher
    )
    if teacher is not None:  # octo-nano's camera
        near = get_preset("quickstart-vla").env
        for name in ("camera_eye", "camera_target", "camera_fov"):
            setattr(config.env, name, getattr(near, name))
    started = time.perf_counter()
    run = tabletop.iterations(config)
    run()
    compiled = time.perf_counter()
    rates: list[float] = []
    while len(rates) < MOST and (len(rates) < 2 or time.perf_counter() - compiled < LONG):
        rates.append(run())
    return compiled - started, rates


def failure(error: Exception) -> str:
    """In one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def main() -> None:
    parser = common.make_parser("graph_loop")
    parser.add_argument("--teacher", choices=("scripted", "octo-nano"), default="scripted")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no point after so many")
    parser.add_argument("--tiny", action="store_true", help="a few environments")
    arguments = parser.parse_args()
    if arguments.tiny and not common.gpus():  # compiling is what takes time there, see tests/conftest.py
        if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones do not know the flag
            os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
        jax.config.update("jax_disable_most_optimizations", True)
    started = time.perf_counter()
    vla = TeacherConfig(name="octo", path="octo-nano") if arguments.teacher == "octo-nano" else None
    points: Sequence[Point] = TINY if arguments.tiny else VLA_POINTS if vla else POINTS
    figures: dict[str, float] = {}
    failed: list[str] = []
    rates: dict[Point, float] = {}
    longest = 0.0
    for point in points:
        if rates and time.perf_counter() - started + longest > arguments.seconds:
            failed.append(f"{point}: out of time")
            print(failed[-1])
            continue
        began = time.perf_counter()
        try:
            figures[f"compile_s_{point}"], each = measure(point, vla)
            rates[point] = figures[f"train_steps_per_s_{point}"] = common.median(each)
            figures[f"spread_{point}"] = common.spread(each)
            figures[f"ratio_{point}"] = rates[point] / next(iter(rates.values()))
            if vla is not None and len(rates) == 2:
                common.save("graph_loop", figures, arguments.json, {"failed": failed})
                figures[f"ratio_teacher_{point}"] = common.median(measure(point, None)[1]) / rates[point]
        except (RuntimeError, ValueError, MemoryError) as error:  # out of memory, above all: others may still fit
            failed.append(f"{point}: {failure(error)}")
        longest = max(longest, time.perf_counter() - began)
        gc.collect()  # what the loop has on the device
        jax.clear_caches()
        common.save("graph_loop", figures, arguments.json, {"failed": failed})
        print(f"{point}: {rates[point]:.6g} steps/s" if point in rates else failed[-1], flush=True)
    if not rates:
        raise SystemExit(f"no point could be measured: {failed[0]}")
    figures["best_train_steps_per_s"] = max(rates.values())
    common.write("graph_loop", figures, arguments.json, {"failed": failed})


if __name__ == "__main__":
    main()
