"""The files of a run while it trains: checkpoints and metrics. Of several processes one keeps them, for all."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpd_jax.algorithms.variants import resolved
from rpd_jax.report.results import CALLS_FILE, CURVES_FILE, DIAGNOSTICS_FILE, GIF_FILE, TABLE_FILE, VIDEO_FILE
from rpd_jax.runs.checkpoint import Checkpoint, CheckpointStore, to_paths
from rpd_jax.runs.metrics import make_writers
from rpd_jax.runs.series import About, Learner, Outcome
from rpd_jax.training.hosts import Hosts
from rpd_jax.training.population import Population

SHOWN = (CURVES_FILE, CALLS_FILE, DIAGNOSTICS_FILE, GIF_FILE, VIDEO_FILE)
"""Files that TensorBoard and W&B get at the end, as far as they can show them."""


class Records:
    """Every process calls `save` and `load`; the other methods do nothing where another process keeps the files.

    Args:
      hosts: the processes of the run.
      everyone: the members of all of them.
      directory: the claimed one, where this process keeps the files; else None.
      stack: closes them.
    """

    def __init__(self, hosts: Hosts, everyone: Population, directory: Path | None, stack: contextlib.ExitStack) -> None:
        self._hosts, self._members, self.directory = hosts, len(everyone), directory
        run = everyone.config.run
        if directory is not None:
            self._store = CheckpointStore(directory, run.keep_checkpoints)
            stack.callback(self._store.close)
            self._writer = make_writers(directory, run.tensorboard, run.wandb_project, about(directory, everyone))
            stack.callback(self._writer.close)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a row of metrics, of all members."""
        if self.directory is not None:
            self._writer.write(step, metrics)

    def write_beside(self, metrics: Mapping[str, float]) -> None:
        """Gives TensorBoard and W&B an evaluation before the first iteration."""
        if self.directory is not None:
            self._writer.write_beside(0, metrics)

    def finish(self, step: int, metrics: Mapping[str, float], episodes: int) -> None:
        """Gives TensorBoard and W&B the last evaluation, of so many episodes, and what was written of it."""
        if self.directory is not None:
            files = tuple(path for name in SHOWN if (path := self.directory / name).is_file())
            table = (self.directory / TABLE_FILE).read_text()
            self._writer.finish(step, Outcome(metrics, episodes, table, files))

    def flush(self) -> None:
        if self.directory is not None:
            self._writer.flush()

    def latest(self) -> int | None:
        """Iteration of the newest complete checkpoint."""
        return self._store.latest() if self.directory is not None else None

    def save(self, iteration: int, params: Any, train_state: Any, host: Mapping[str, Any]) -> None:
        """Writes a checkpoint: pytrees of each process's own members, and what all of them know."""
        trees = [self._hosts.gathered(to_paths(tree)) for tree in (params, train_state)]
        if self.directory is not None:
            self._writer.flush()  # else a kill would lose rows that the resumed run does not write again
            position = {"metrics_position": self._writer.position()}
            self._store.save(iteration, Checkpoint(trees[0], trees[1], {**host, **position}))

    def load(self, iteration: int | None = None) -> Checkpoint | None:
        """What to go on from, with the arrays of this process's members; None, and an empty log, if there is nothing.

        Metrics of later iterations are forgotten by `rewind`. Raises CheckpointError as `CheckpointStore.resume`.
        """
        found = self._hosts.first(self._store.resume(iteration) if self.latest() is not None else None)
        if found is None:
            if self.directory is not None:
                self._writer.truncate(0, 0)
            return None
        params, train_state = (self._hosts.own(tree, self._members) for tree in found[:2])
        return Checkpoint(params, train_state, found[2])

    def rewind(self, stored: Checkpoint, step: int) -> None:
        """Goes back in the log to where a checkpoint was saved, after `step`."""
        if self.directory is not None:
            self._writer.truncate(stored.host["metrics_position"], step)


def about(directory: Path, everyone: Population) -> About:
    """A run as TensorBoard and W&B are to show it."""
    config = everyone.config
    settings = resolved(config).to_dict()
    variants = {spec["name"]: spec for spec in settings["variants"]}
    learners = (Learner(each.variant.name, each.seed, variants[each.variant.name]) for each in everyone.members)
    return About(
        name=directory.absolute().name,
        config=settings,
        learners=tuple(learners),
        tags=tuple(filter(None, (config.env.name, config.preset))),
        episodes=math.ceil(config.eval.curve_episodes / config.eval.num_envs) * config.eval.num_envs,
    )
