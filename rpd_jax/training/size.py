"""How large a run is, said before anything is started, and what of it looks impossible on this machine."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
from absl import logging

from rpd_jax import runtime
from rpd_jax.config import Config
from rpd_jax.config.env import is_frames
from rpd_jax.envs.registry import suite_of
from rpd_jax.envs.suite import Suite, SuiteCost
from rpd_jax.runs.progress import ProgressBar, duration

LONG = 48 * 3600.0  # seconds from which on a run is warned of
ENOUGH = 3  # calls after which a pace is believed


class RunSize(NamedTuple):
    """What follows from a config alone."""

    members: int
    steps: int  # of each member
    iterations: int
    train_envs: int  # 0 where nothing is played
    eval_envs: int
    memory: float  # bytes, at least: simulators, and the frames of a rollout
    seconds: float  # of stepping the simulators on all cores, about; 0 where that is not known


def run_size(config: Config, suite: Suite | None = None) -> RunSize:
    """The size of a run; `suite` as in `registry.make_env`."""
    members = len(config.variants) * len(config.seeds)
    length = getattr(config.algorithm, "rollout_length", 0)  # 0: nothing is played
    train_envs = members * config.env.num_envs if length else 0
    eval_envs = members * config.eval.num_envs
    frames = sum(map(is_frames, config.env.entries)) * 3 * config.env.image_size**2
    cost: SuiteCost = getattr(suite or suite_of(config.env), "cost", SuiteCost())
    steps, rate = config.algorithm.total_steps, cost.steps_per_second * runtime.available_cores()
    on_gpu = getattr(config.env, "simulator", "cpu") == "gpu"
    return RunSize(
        members,
        steps,
        config.iterations,
        train_envs,
        eval_envs,
        memory=cost.memory * (train_envs + eval_envs)
        + frames * train_envs * getattr(config.algorithm, "rollout_length", 0),
        seconds=members * steps / rate if length and rate and not on_gpu else 0.0,
    )


def announce(config: Config, suite: Suite | None = None) -> RunSize:
    """Logs the size of a run, and warnings where memory or hours look impossible."""
    size = run_size(config, suite)
    available = runtime.available_memory()
    parts = [f"{size.members} members x {size.steps:,} steps in {size.iterations:,} iterations"]
    parts += [f"{size.train_envs:,} environments to train in"] if size.train_envs else []
    parts += [f"{size.eval_envs:,} to evaluate in"]
    parts += [f"at least {_gib(size.memory)} of memory"] if size.memory > 2**30 else []
    logging.info("%s, on %s", ", ".join(parts), _machine(available))
    if size.memory > available:
        logging.warning(
            "at least %s of memory are needed and %s are available: fewer env.num_envs, eval.num_envs, seeds or "
            "variants, or a smaller env.image_size, take less",
            _gib(size.memory), _gib(available),
        )  # fmt: skip
    if size.seconds > LONG:
        logging.warning(
            "the simulators alone will take about %s here for %s steps in all: lower algorithm.total_steps, or take "
            "fewer seeds and variants",
            duration(size.seconds), f"{size.members * size.steps:,}",
        )  # fmt: skip
    return size


class PaceWarning:
    """Says once, after the first few calls of a run, that it would take days."""

    def __init__(self) -> None:
        self._calls = 0

    def look(self, progress: ProgressBar) -> None:
        """To be called after every update."""
        self._calls += 1
        if self._calls == ENOUGH and progress.left is not None and progress.left > LONG:
            logging.warning(
                "an iteration takes %.2g s, compilation not counted: %s are left. Lower algorithm.total_steps, or take "
                "fewer seeds and variants; what is done is kept when you stop",
                progress.pace, duration(progress.left),
            )  # fmt: skip


def _machine(available: float) -> str:
    devices = jax.devices()
    kind = "" if devices[0].platform == "cpu" else f", {len(devices)} x {devices[0].device_kind}"
    memory = f", {_gib(available)} of memory available" if math.isfinite(available) else ""
    return f"{runtime.available_cores()} cores{memory}{kind}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
