"""The alarms as data: what each one looks at, when it rings, what it says and what to do about it.

A new one is an entry of `RULES`, and a threshold in `config/alarms.py` if it has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rpd_jax.algorithms.base import Algorithm
from rpd_jax.config.alarms import AlarmConfig
from rpd_jax.report.intervals import wilson

Rings = Callable[[float, float, AlarmConfig], bool]
"""(a metric's value, its first one, thresholds) -> whether it is beyond its bound; False for NaN."""


def beyond(field: str, sign: int = 1, of: Callable[[float], float] = lambda first: 1.0) -> Rings:
    """Rings above the threshold `field`, with sign -1 below it; the threshold counts in units of `of(first value)`."""

    def rings(value: float, first: float, limits: AlarmConfig) -> bool:
        bound = getattr(limits, field)
        return bound is not None and sign * value > sign * bound * of(first)

    return rings


def _first(first: float) -> float:
    return first


class Rule(NamedTuple):
    """An alarm of a member."""

    metric: str  # of updates: "update/METRIC/VARIANT/SEED" of a row
    rings: Rings
    note: str  # for log and table, of the metric's {first} and {worst} value, and {when}: the iteration it rang at
    advice: str  # what it means and what to do
    worst: Callable[[float, float], float] = max  # of two values
    patient: bool = False  # it rings after `AlarmConfig.patience` iterations in a row
    applies: Callable[[Algorithm], bool] = lambda algorithm: True


DIVERGED, LABELS_CLIPPED = "diverged", "labels_clipped"

RULES: dict[str, Rule] = {
    DIVERGED: Rule(
        "diverged",
        lambda value, first, limits: value > 0,
        "diverged at iteration {when}",
        "its loss or parameters stopped being finite. It keeps those of before this update, and learns no more; the "
        "others go on",
    ),
    "widened": Rule(
        "std",
        beyond("std_growth", of=_first),
        "std grew from {first:.2f} to {worst:.2f}, alarm at iteration {when}",
        "a strong pull beside PPO may push it. Bound it with algorithm.log_std_max, or set algorithm.target_kl (with "
        "kl_stop='surrogate' the KL stops PPO and not the teacher's pull)",
    ),
    "narrowed": Rule(
        "std",
        beyond("std_shrink", -1, of=_first),
        "std shrank from {first:.2g} to {worst:.2g}, alarm at iteration {when}",
        "it explores no more. Bound it with algorithm.log_std_min, or raise algorithm.entropy_coef",
        worst=min,
    ),
    "token_entropy": Rule(
        "entropy",
        beyond("token_entropy", -1),
        "entropy fell to {worst:.2g} nats a token, alarm at iteration {when}",
        "all that it draws is alike, and neither groups nor scores tell it anything new. Stop earlier, lower "
        "algorithm.learning_rate, raise algorithm.temperature, or begin from another student",
        worst=min,
        applies=lambda algorithm: algorithm.plays and algorithm.head == "tokens",
    ),
    "kl": Rule(
        "approx_kl",
        beyond("kl"),
        "KL of an update up to {worst:.2g} nats, alarm at iteration {when}",
        "every update makes another policy than the one that played, and ratios mean little. Set "
        "algorithm.target_kl, or lower algorithm.learning_rate, algorithm.epochs or the coefficients of distillation",
        patient=True,
    ),
    "clip_fraction": Rule(
        "clip_fraction",
        beyond("clip_fraction"),
        "clip fraction up to {worst:.2f}, alarm at iteration {when}",
        "PPO learns from hardly any step, its clip lets none through. Set algorithm.target_kl, or lower "
        "algorithm.learning_rate, algorithm.epochs or the coefficients of distillation",
        patient=True,
    ),
    "value_loss": Rule(
        "value_loss",
        beyond("value_loss_growth", of=lambda first: max(first, 1.0)),
        "value loss grew from {first:.2g} to {worst:.2g}, alarm at iteration {when}",
        "the critic runs away, and advantages with it. Lower algorithm.learning_rate or algorithm.gamma, set "
        "algorithm.value_clip, or scale rewards down",
    ),
    LABELS_CLIPPED: Rule(  # of all guided members together: `alarms.CutShort` counts, and says what to do
        "",
        lambda value, first, limits: False,
        "{worst:.0%} of its labels clipped in their conversion, alarm at iteration {when}",
        "",
    ),
}
"""Alarm -> its rule, in the order of notes."""


def register_alarm(name: str, rule: Rule) -> None:
    """Adds an alarm of your own, before a run; raises ValueError if the name is taken by another."""
    if RULES.setdefault(name, rule) is not rule:
        raise ValueError(f"alarm {name!r} is already registered: choose another name")


def teacher_remark(successes: int, episodes: int, stated: float | None, limits: AlarmConfig) -> str:
    """What is to be said of a teacher whose success is far from that of its own evaluation, `stated`; else nothing.

    It must differ by more than `limits.teacher_gap`, and from the 95 % interval (Wilson's) of what was measured.
    """
    if stated is None or limits.teacher_gap is None:
        return ""
    measured = successes / episodes
    low, high = wilson(successes, episodes)
    if abs(measured - stated) <= limits.teacher_gap or low <= stated <= high:
        return ""
    return f"success {measured:.2f}, but {stated:.2f} in its own evaluation"
