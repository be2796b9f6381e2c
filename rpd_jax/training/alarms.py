"""What may go wrong in a run without ending it: members that diverge, policies that widen, labels that are refused
or cut short.

Read off the metrics of every iteration; said once in the log, and again beside the results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from rpd_jax.config import NetworkConfig
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherError

WIDENED = 2.5  # times the std that a member began with: exploration then grows instead of shrinking


class CutShort:
    """Warns, once, of a teacher whose answers are cut short in their conversion (`TeacherLabels.clipped`).

    Args:
      teacher: its name.
      share: of answers from which on it warns.
    """

    LEAST = 100  # answers, before anything is said of their share

    def __init__(self, teacher: str, share: float) -> None:
        self._teacher, self._share = teacher, share
        self._asked = self._clipped = 0.0
        self._warned = False

    def add(self, asked: float, clipped: float) -> None:
        """So many more answers, and so many of them cut short."""
        self._asked, self._clipped = self._asked + asked, self._clipped + clipped
        if self._warned or self._asked < self.LEAST:
            return
        if self._clipped > self._share * self._asked:
            self._warned = True
            logging.warning(
                "teacher %s: %d of %d actions (%.0f %%) lie outside of the environment's box after their conversion, "
                "and are clipped: 50 then looks like 1. Check teacher.contract and the statistics of its actions; "
                "teacher.clipped_share=%g is borne in silence",
                self._teacher, self._clipped, self._asked, 100 * self._clipped / self._asked, self._share,
            )  # fmt: skip
        self._asked = self._clipped = 0.0  # so that what begins late is seen, too


class Alarms:
    """The alarms of a run.

    Args:
      population: of the run.
      teacher: its name, for messages.
    """

    def __init__(self, population: Population, teacher: str = "") -> None:
        self._population, self._teacher = population, teacher
        self._names = [f"{member.variant.name}/{member.seed}" for member in population.members]
        self._std = first_std(population.config.network)
        self.diverged: dict[str, int] = {}  # member -> iteration
        self.widened: dict[str, float] = {}  # member -> its largest std
        self._labels = self._refused = self._clipped = 0.0
        self._cut_short = CutShort(teacher, population.config.teacher.clipped_share)

    def look(self, iteration: int, row: dict[str, float]) -> None:
        """Reads the metrics of an iteration, counted from 1, and adds its own: `alarm/widened/VARIANT/SEED`.

        Raises:
          TeacherError: none of the iteration's labels could be used.
        """
        for name in self._names:
            if row.get(f"update/diverged/{name}", 0.0) > 0 and name not in self.diverged:
                self.diverged[name] = iteration
                logging.warning(
                    "%s diverged at iteration %d: its loss or parameters stopped being finite. It keeps those of "
                    "before this update, and learns no more; the others go on",
                    name, iteration,
                )  # fmt: skip
            std = row.get(f"update/std/{name}", 0.0)
            if std > WIDENED * self._std:
                if name not in self.widened:
                    logging.warning(
                        "%s: the policy's std has grown from %.2f to %.2f: a strong pull beside PPO may push it. "
                        "Bound it with network.log_std_max, or set algorithm.target_kl (with kl_stop='surrogate')",
                        name, self._std, std,
                    )  # fmt: skip
                self.widened[name] = max(std, self.widened.get(name, 0.0))
            row[f"alarm/widened/{name}"] = float(name in self.widened)
        self._look_at_labels(iteration, row)

    def _look_at_labels(self, iteration: int, row: Mapping[str, float]) -> None:
        labels, refused = row.get("teacher/labels", 0.0), row.get("teacher/refused", 0.0)
        asked, bad = labels - self._labels, refused - self._refused
        if bad > 0 and self._refused == 0:
            logging.warning(
                "teacher %s: %d of %d labels of iteration %d cannot be used (not finite, out of all bounds, or not "
                "valid): they are left out, and counted as teacher/refused",
                self._teacher, bad, asked, iteration,
            )  # fmt: skip
        clipped = row.get("teacher/clipped", 0.0)
        self._cut_short.add(asked, clipped - self._clipped)
        self._labels, self._refused, self._clipped = labels, refused, clipped
        if asked > 0 and bad == asked:
            raise TeacherError(
                f"teacher {self._teacher!r}: none of the {asked:.0f} labels of iteration {iteration} can be used: "
                "actions must be finite and their standard deviations positive"
            )

    @property
    def everyone_diverged(self) -> bool:
        return len(self.diverged) == len(self._names)

    def notes(self) -> dict[str, str]:
        """A remark for each variant that needs one: "diverged at iteration 7 (1 of 3 seeds)"."""
        seeds = self._population.config.seeds
        found = {}
        for spec in self._population.specs:
            mine = [f"{spec.name}/{seed}" for seed in seeds]
            remarks = []
            if gone := [self.diverged[name] for name in mine if name in self.diverged]:
                when = str(gone[0]) if len(set(gone)) == 1 else f"{min(gone)} to {max(gone)}"
                remarks.append(f"diverged at iteration {when} ({len(gone)} of {len(seeds)} seeds)")
            if wide := [self.widened[name] for name in mine if name in self.widened]:
                remarks.append(f"std grew from {self._std:.2f} to {max(wide):.2f}")
            if remarks:
                found[spec.name] = "; ".join(remarks)
        return found

    def state_dict(self) -> dict[str, Any]:
        """JSON for `load_state_dict`."""
        counts = {"labels": self._labels, "refused": self._refused, "clipped": self._clipped}
        return {"diverged": self.diverged, "widened": self.widened} | counts

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.diverged, self.widened = dict(state.get("diverged", {})), dict(state.get("widened", {}))
        self._labels, self._refused = state.get("labels", 0.0), state.get("refused", 0.0)
        self._clipped = state.get("clipped", 0.0)


def first_std(network: NetworkConfig) -> float:
    """The mean over action dimensions of the std that students begin with."""
    each = network.log_std_init_each or (network.log_std_init,)
    return float(np.mean([math.exp(x) for x in each]))
