"""Success of a run's checkpoints on the task that it was trained on and on held-out ones."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rpd_jax import runtime
from rpd_jax.algorithms.base import MemberState
from rpd_jax.config.validation import require
from rpd_jax.envs.registry import check_env, make_env
from rpd_jax.report.seen_unseen import Counted, draw_seen_unseen
from rpd_jax.runs.checkpoint import load_config, read_checkpoint, saved_iterations
from rpd_jax.runs.files import write_json
from rpd_jax.training.evaluation import Evaluator, evaluation_seeds
from rpd_jax.training.population import Population
from rpd_jax.training.start import from_start
from rpd_jax.training.student import restore_members

POINTS_FILE, PICTURE_FILE = "seen_unseen.json", "seen_unseen.png"


def seen_unseen(
    directory: Path | str, held_out: Sequence[str], output: Path | str, *, episodes: int = 0
) -> list[dict[str, Any]]:
    """Evaluates all checkpoints of a run, and its start, on its own task and on held-out ones, deterministically.

    Writes the points to seen_unseen.json and the picture, VLA-OPD's Figure 3, to seen_unseen.png.

    Args:
      directory: of the run; set `run.checkpoint_every` and `run.keep_checkpoints` so that it keeps them.
      held_out: environments' names, "suite:task"; the students must see there what they see in their own.
      output: directory for the files.
      episodes: per member, checkpoint and environment; 0: as the run's config says of curves.

    Returns:
      points: env, variant, seed, iteration (0: where it started), episodes, success_once.

    Raises:
      CheckpointError: no run or checkpoint there, or it does not fit an environment.
      ConfigError: an unknown environment, or none that is held out.
    """
    runtime.configure()
    own = load_config(directory).env.name
    require(own not in held_out and len(held_out) > 0, "held_out", held_out, f"environments other than {own}")
    points: list[dict[str, Any]] = []
    with jax.enable_x64(False):
        for name in (own, *held_out):
            points += _points(directory, name, episodes)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / POINTS_FILE, points)
    variants = {variant: _counted(points, variant, own) for variant in dict.fromkeys(p["variant"] for p in points)}
    draw_seen_unseen(output / PICTURE_FILE, variants, seen=own, unseen=held_out)
    return points


def _points(directory: Path | str, name: str, episodes: int) -> list[dict[str, Any]]:
    """Of one environment."""
    config = load_config(directory)
    config.env = dataclasses.replace(config.env)
    config.env.name = name
    check_env(config.env)
    seeds = evaluation_seeds(config.eval, len(config.variants) * len(config.seeds))
    rgb = config.env.sees_frames
    with contextlib.closing(make_env(config.env, seeds, rgb=rgb, end_on_success=False)) as env:
        population = Population(config, env.spec)
        evaluator = Evaluator(env, population)

        def measured(members: MemberState, iteration: int) -> list[dict[str, Any]]:
            played, _ = evaluator.students(members, episodes or config.eval.curve_episodes)
            return [
                {
                    "env": name,
                    "variant": member.variant.name,
                    "seed": member.seed,
                    "iteration": iteration,
                    "episodes": len(each.returns),
                    "success_once": float(each.success_once.mean()),
                }
                for member, each in zip(population.members, played, strict=True)
            ]

        fresh = population.init()
        points = measured(from_start(population, fresh) if config.algorithm.start else fresh, 0)
        for iteration in saved_iterations(directory):
            points += measured(restore_members(population, read_checkpoint(directory, iteration)), iteration)
    return points


def _counted(points: Sequence[dict[str, Any]], variant: str, own: str) -> Counted:
    """Successes and episodes of a variant, [S, K]."""
    mine = [point for point in points if point["variant"] == variant]
    seeds, iterations = (sorted({point[field] for point in mine}) for field in ("seed", "iteration"))
    sums = np.zeros((4, len(seeds), len(iterations)))
    for point in mine:
        where = seeds.index(point["seed"]), iterations.index(point["iteration"])
        first = 0 if point["env"] == own else 2
        sums[first, *where] += round(point["success_once"] * point["episodes"])
        sums[first + 1, *where] += point["episodes"]
    return Counted(*sums)
