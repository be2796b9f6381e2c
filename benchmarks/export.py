"""How often an exported student acts on one CPU core, beside the jitted original; one observation at a time.

  python -m benchmarks.export [--quick] [--json=FILE]

Students of PickCube's shapes, untrained (the arithmetic is the same): "state" with quickstart's two layers of 128 and
with the default three of 256, both normalised; "rgb" sees 128 x 128 pixels and proprioception. The process and its
programs stay on one core. Both take and return numpy arrays, and take turns; figures are medians.

steps_per_second_*  of runner.py, which is copied into every export (aim of state: 1,000 or more)
jitted_*            the same of the jitted original
ratio_*             the runner's rate / the original's (higher is better)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import median, parse_args, spread, timed, write
from rpd_jax.config import Config, EnvConfig, NetworkConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.export import runner
from rpd_jax.export.files import export_student, random_observation
from rpd_jax.training.population import Population
from rpd_jax.training.student import Student

STATE, PROPRIO, PIXELS, ACTION = 42, 25, 128, 7
KINDS = {"state_2x128": (128, 128), "state_3x256": (256, 256, 256), "rgb": ()}


def make_student(kind: str) -> Student:
    """An untrained student of one of `KINDS`."""
    spec = EnvSpec(
        name="benchmark:none",
        instruction="",
        max_episode_steps=50,
        action_dim=ACTION,
        action_low=(-1.0,) * ACTION,
        action_high=(1.0,) * ACTION,
        observation={
            "state": ArraySpec((STATE,), "float32"),
            "proprio": ArraySpec((PROPRIO,), "float32"),
            "rgb": ArraySpec((PIXELS, PIXELS, 3), "uint8"),
        },
        layout={},
    )
    observation = "rgb+proprio" if kind == "rgb" else "state"
    network = NetworkConfig(hidden=KINDS[kind] or (256,), normalize_observations=True)
    env = EnvConfig(observation=observation, image_size=PIXELS)
    config = Config(variants=("ppo",), seeds=(0,), env=env, network=network).validate()
    population = Population(config, spec)
    return Student.of(population, population.init(), 0)


def compare(kind: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Steps per second of both programs, round by round."""
    student = make_student(kind)
    observation = {name: x[0] for name, x in random_observation(student, 1).items()}

    def original() -> np.ndarray:
        return np.asarray(student.act(observation))

    with tempfile.TemporaryDirectory() as directory:
        export_student(student, Path(directory) / "export")
        exported = runner.Student(Path(directory) / "export")
        programs: dict[str, Callable[[], object]] = {
            "steps_per_second": lambda: exported.act(observation),
            "jitted": original,
        }
        np.testing.assert_allclose(exported.act(observation), original(), atol=1e-5)
        rates: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                steps = max(1, round(seconds / median(timed(program, repeats=20, warmup=5))))
                rates[name].append(steps / timed(_repeated(program, steps), repeats=1, warmup=0)[0])
    return rates


def main() -> None:
    args = parse_args("export")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX starts its threads
    figures: dict[str, float] = {}
    for kind in KINDS:
        rates = compare(kind, 3 if args.quick else 7, 0.3 if args.quick else 1.0)
        for name, values in rates.items():
            figures |= {f"{name}_{kind}": median(values), f"spread_{name}_{kind}": spread(values)}
        pairs = zip(rates["steps_per_second"], rates["jitted"], strict=True)
        figures[f"ratio_{kind}"] = median([ours / theirs for ours, theirs in pairs])
    write("export", figures, args.json)


def _repeated(program: Callable[[], object], times: int) -> Callable[[], object]:
    def call() -> None:
        for _ in range(times):
            program()

    return call


if __name__ == "__main__":
    main()
