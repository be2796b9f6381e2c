"""What may go wrong in a run without ending it: members that diverge, policies that widen, labels that are refused
or cut short.

Read off the metrics of every iteration; said once in the log, and again beside the results. `alarm_rules.py` has the
rules of members.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from rpd_jax.config import NetworkConfig
from rpd_jax.report.plots import Mark
from rpd_jax.report.results import TEACHER_PREFIX
from rpd_jax.training.alarm_rules import DIVERGED, LABELS_CLIPPED, RULES, Rule, teacher_remark
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherError


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
        self.warned = False

    def add(self, asked: float, clipped: float) -> float:
        """So many more answers, and so many of them cut short; returns the share of which it warns now, else 0."""
        self._asked, self._clipped = self._asked + asked, self._clipped + clipped
        if self.warned or self._asked < self.LEAST:
            return 0.0
        share = self._clipped / self._asked
        if share > self._share:
            self.warned = True
            logging.warning(
                "teacher %s: %d of %d actions (%.0f %%) lie outside of the environment's box after their conversion, "
                "and are clipped: 50 then looks like 1. Check teacher.contract and the statistics of its actions; "
                "teacher.clipped_share=%g is borne in silence",
                self._teacher, self._clipped, self._asked, 100 * share, self._share,
            )  # fmt: skip
        self._asked = self._clipped = 0.0  # so that what begins late is seen, too
        return share if self.warned else 0.0


class Raised(NamedTuple):
    """An alarm of a member."""

    iteration: int
    first: float  # of the metric's values
    worst: float  # so far


class Alarms:
    """The alarms of a run.

    Args:
      population: of the run.
      teacher: its name, for messages.
    """

    def __init__(self, population: Population, teacher: str = "") -> None:
        config = population.config
        self._population, self._teacher, self._limits = population, teacher, config.alarms
        self._names = [f"{member.variant.name}/{member.seed}" for member in population.members]
        self._rules = {alarm: rule for alarm, rule in RULES.items() if rule.applies(population.algorithm)}
        self._raised: dict[str, dict[str, Raised]] = {alarm: {} for alarm in RULES}  # alarm -> member
        self._first: dict[str, float] = {}  # "metric/member" -> its first value
        if config.network.name == "standard" and not config.algorithm.start:  # known before the first update
            self._first = dict.fromkeys((f"std/{name}" for name in self._names), first_std(config.network))
        self._streaks: dict[str, int] = {}  # "alarm/member" -> iterations in a row, of patient rules
        self._labels = self._refused = self._clipped = 0.0
        self._cut_short = CutShort(teacher, config.teacher.clipped_share)
        self._remark = ""  # on the teacher

    def look(self, iteration: int, row: dict[str, float]) -> None:
        """Reads the metrics of an iteration, counted from 1; adds `alarm/ALARM/VARIANT/SEED`, 1 from when it rang on.

        Raises:
          TeacherError: none of the iteration's labels could be used.
        """
        for name in self._names:
            for alarm, rule in self._rules.items():
                value = row.get(f"update/{rule.metric}/{name}")
                if value is None:
                    continue
                if name not in self.diverged:  # nor is anything else said of a member that learns no more
                    self._judge(iteration, alarm, rule, name, value)
                row[f"alarm/{alarm}/{name}"] = float(name in self._raised[alarm])
        self._look_at_labels(iteration, row)

    def _judge(self, iteration: int, alarm: str, rule: Rule, name: str, value: float) -> None:
        if math.isnan(value):
            return
        value = min(value, sys.float_info.max)  # JSON has no infinity
        first = self._first.setdefault(f"{rule.metric}/{name}", value)
        beyond = rule.rings(value, first, self._limits)
        streak = self._streaks.get(f"{alarm}/{name}", 0) + 1 if beyond else 0
        if rule.patient:
            self._streaks[f"{alarm}/{name}"] = streak
        raised = self._raised[alarm].get(name)
        if raised is not None and beyond:
            self._raised[alarm][name] = raised._replace(worst=rule.worst(value, raised.worst))
        elif raised is None and streak >= (self._limits.patience if rule.patient else 1):
            self._raised[alarm][name] = Raised(iteration, first, value)
            logging.warning("%s: %s: %s", name, rule.note.format(first=first, worst=value, when=iteration), rule.advice)

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
        if share := self._cut_short.add(asked, clipped - self._clipped):
            guided = np.flatnonzero(self._population.askers.guided)
            self._raised[LABELS_CLIPPED] = {self._names[member]: Raised(iteration, 0.0, share) for member in guided}
        self._labels, self._refused, self._clipped = labels, refused, clipped
        if asked > 0 and bad == asked:
            raise TeacherError(
                f"teacher {self._teacher!r}: none of the {asked:.0f} labels of iteration {iteration} can be used: "
                "actions must be finite and their standard deviations positive"
            )

    def look_at_teacher(self, success: np.ndarray, stated: float | None) -> None:
        """Compares the teacher's episodes in this run, bool [E], with the success rate of its own evaluation.

        `stated` is what is known of that unless `alarms.teacher_success` says it; None: nothing.
        """
        said = self._limits.teacher_success
        stated = stated if said is None else said
        self._remark = teacher_remark(int(success.sum()), len(success), stated, self._limits)
        if self._remark:
            logging.warning(
                "teacher %s: %s. Check that it has the cameras, the instruction, the action contract and the way of "
                "acting (teacher.replan_every, teacher.ensemble) that it had there: its labels are as far off",
                self._teacher, self._remark,
            )  # fmt: skip

    @property
    def diverged(self) -> dict[str, int]:
        """Member -> iteration."""
        return {name: raised.iteration for name, raised in self._raised[DIVERGED].items()}

    @property
    def everyone_diverged(self) -> bool:
        return len(self._raised[DIVERGED]) == len(self._names)

    def notes(self) -> dict[str, str]:
        """A remark for each row of the table that needs one: "diverged at iteration 7 (1 of 3 seeds)"."""
        seeds = self._population.config.seeds
        found = {TEACHER_PREFIX + self._teacher: self._remark} if self._remark else {}
        for spec in self._population.specs:
            remarks = []
            for alarm, rule in RULES.items():
                raised = [mine for seed in seeds if (mine := self._raised[alarm].get(f"{spec.name}/{seed}"))]
                if not raised:
                    continue
                iterations = sorted({each.iteration for each in raised})
                when = " to ".join(str(each) for each in dict.fromkeys((iterations[0], iterations[-1])))
                worst = functools.reduce(rule.worst, (each.worst for each in raised))
                first = next(each.first for each in raised if each.worst == worst)
                note = rule.note.format(first=first, worst=worst, when=when)
                remarks.append(f"{note} ({len(raised)} of {len(seeds)} seeds)")
            if remarks:
                found[spec.name] = "; ".join(remarks)
        return found

    def marks(self, steps_after: Callable[[int], int], metric: str = "") -> dict[str, list[Mark]]:
        """Where the alarms of each variant's members rang, for pictures over environment steps.

        Args:
          steps_after: environment steps per member after so many iterations.
          metric: of which a picture is; empty: all alarms.
        """
        found: dict[str, list[Mark]] = {spec.name: [] for spec in self._population.specs}
        for alarm, rule in RULES.items():
            for name, raised in self._raised[alarm].items():
                if metric in ("", rule.metric):
                    label = alarm.replace("_", " ")
                    found[name.rpartition("/")[0]].append(Mark(steps_after(raised.iteration), label))
        return found

    def state_dict(self) -> dict[str, Any]:
        """JSON for `load_state_dict`."""
        return {
            "raised": self._raised,
            "first": self._first,
            "streaks": self._streaks,
            "labels": self._labels,
            "refused": self._refused,
            "clipped": self._clipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # Earlier versions remembered when members diverged, and no more of others' stds than how large they were.
        earlier = {DIVERGED: {name: (when, 0.0, 1.0) for name, when in state.get("diverged", {}).items()}}
        for alarm, raised in state.get("raised", earlier).items():
            self._raised[alarm] = {name: Raised(*each) for name, each in raised.items()}
        self._first |= state.get("first", {})
        self._streaks = dict(state.get("streaks", {}))
        self._labels, self._refused = state.get("labels", 0.0), state.get("refused", 0.0)
        self._clipped = state.get("clipped", 0.0)
        self._cut_short.warned = bool(self._raised[LABELS_CLIPPED])


def first_std(network: NetworkConfig) -> float:
    """The mean over action dimensions of the std that students begin with."""
    each = network.log_std_init_each or (network.log_std_init,)
    return float(np.mean([math.exp(x) for x in each]))
