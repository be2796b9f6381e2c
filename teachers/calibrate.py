"""Finding the corruption at which a scripted teacher has a wanted success rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from rpd_jax.envs.base import VectorEnv
from rpd_jax.types import Array, Teacher
from teachers.base import load
from teachers.scripted.settings import ScriptedSettings
from teachers.scripted.teacher import ScriptedTeacher

KNOBS: Mapping[str, float] = {
    "noise": 1.0,
    "bias": 0.06,
    "aim_error": 0.1,
    "aim_error_fraction": 1.0,
    "gripper_shift": 0.04,
}
"""The corruptions that can be calibrated, and the level that is taken for the worst."""
_AIM_ERROR = 0.045  # metres, for the knob "aim_error_fraction" where the settings name none


class Trial(NamedTuple):
    """One evaluation."""

    level: float
    success: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a bisection found.

    Attributes:
      level: the level tried whose success was nearest to the wanted one.
      success: what was measured there.
      converged: whether that is within the tolerance.
      trials: all evaluations, in order.
    """

    level: float
    success: float
    converged: bool
    trials: tuple[Trial, ...]


class Episodes(NamedTuple):
    """How a teacher's episodes ended, each [episodes] bool."""

    success_once: np.ndarray
    success_at_end: np.ndarray


@dataclasses.dataclass(frozen=True)
class ScriptedCalibration:
    """A corruption of about the wanted success, with the 95 % Wilson interval of the success measured."""

    settings: ScriptedSettings
    success: float
    interval: tuple[float, float]
    converged: bool
    trials: tuple[Trial, ...]


def calibrate(
    success_of: Callable[[float], float],
    wanted: float,
    *,
    low: float = 0.0,
    high: float = 1.0,
    tolerance: float = 0.03,
    max_trials: int = 10,
) -> Calibration:
    """Bisects for the level at which a success that falls with the level is the wanted one.

    Args:
      success_of: measures the success, in [0, 1], at a level; may be noisy, then the answer is too.
      wanted: the success wanted, in [0, 1].
      low: the level of the highest success.
      high: the level of the lowest success.
      tolerance: stop once the success measured is this near.
      max_trials: how often `success_of` may be called, at least 2.
    Raises:
      ValueError: for arguments out of range, a success that is not in [0, 1], or a `wanted` that the levels
        `low` and `high` do not enclose.
    """
    if not 0.0 <= wanted <= 1.0:
        raise ValueError(f"wanted={wanted!r}: must be a success between 0 and 1")
    if not low < high:
        raise ValueError(f"low={low!r}, high={high!r}: low must be less than high")
    if not tolerance > 0 or max_trials < 2:
        raise ValueError(f"tolerance={tolerance!r}, max_trials={max_trials!r}: must be positive, at least 2")
    trials: list[Trial] = []

    def measure(level: float) -> float:
        success = float(success_of(level))
        if not 0.0 <= success <= 1.0:
            raise ValueError(f"success_of({level!r}) gave {success!r}: must be between 0 and 1")
        trials.append(Trial(level, success))
        return success

    best_possible = measure(low)
    if best_possible < wanted - tolerance:
        raise ValueError(f"wanted={wanted!r}: level {low!r} reaches only {best_possible:.3f}")
    worst = best_possible
    if abs(best_possible - wanted) > tolerance:
        worst = measure(high)
        if worst > wanted + tolerance:
            raise ValueError(f"wanted={wanted!r}: level {high!r} still reaches {worst:.3f}")
    while min(abs(trial.success - wanted) for trial in trials) > tolerance and len(trials) < max_trials:
        middle = (low + high) / 2.0
        if measure(middle) > wanted:
            low = middle
        else:
            high = middle
    nearest = min(trials, key=lambda trial: abs(trial.success - wanted))
    return Calibration(nearest.level, nearest.success, abs(nearest.success - wanted) <= tolerance, tuple(trials))


def calibrate_scripted(
    env: VectorEnv,
    wanted: float,
    knob: str = "aim_error_fraction",
    *,
    settings: Mapping[str, Any] | None = None,
    episodes: int = 100,
    measure: str = "once",
    high: float | None = None,
    tolerance: float = 0.05,
    max_trials: int = 8,
    key: Array | None = None,
) -> ScriptedCalibration:
    """Calibrates one corruption of the scripted teacher of an environment by acting in it.

    Every trial begins from the environment's present sequence of episodes, so all see the same ones.

    Args:
      env: runs episodes to their time limit (`end_on_success=False`).
      wanted: the success wanted, in [0, 1].
      knob: a key of `KNOBS`; "bias" is a bias along the setting `aim_direction`.
      settings: of the scripted teacher, for everything but the knob.
      episodes: per trial, rounded up to a multiple of the number of environments.
      measure: "once" counts success at any step, "end" at the last one.
      high: the worst level to consider; None: as in `KNOBS`.
      tolerance: of the success, as in `calibrate`; with n episodes the standard error is about 0.5 / sqrt(n).
      max_trials: as in `calibrate`.
      key: a jax random key; None: `jax.random.key(0)`.
    Raises:
      ValueError: as in `calibrate` and `teachers.load`; for another knob or measure.
    """
    if knob not in KNOBS:
        raise ValueError(f"knob={knob!r}: choose from {sorted(KNOBS)}")
    if measure not in ("once", "end"):
        raise ValueError(f"measure={measure!r}: choose from ('once', 'end')")
    key = jax.random.key(0) if key is None else key
    start, counts = env.state_dict(), {}

    def teacher_at(level: float) -> ScriptedTeacher:
        return load("scripted", env.spec, **settings_at(knob, level, settings))

    def success_of(level: float) -> float:
        env.load_state_dict(start)
        result = run_teacher(env, teacher_at(level), episodes, key)
        success = result.success_once if measure == "once" else result.success_at_end
        counts[level] = (int(success.sum()), len(success))
        return success.mean()

    high = KNOBS[knob] if high is None else high
    found = calibrate(success_of, wanted, high=high, tolerance=tolerance, max_trials=max_trials)
    return ScriptedCalibration(
        teacher_at(found.level).settings,
        found.success,
        wilson_interval(*counts[found.level]),
        found.converged,
        found.trials,
    )


def settings_at(knob: str, level: float, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a scripted teacher with one corruption of `KNOBS` at a level."""
    changed = dict(settings or {})
    if knob == "bias":
        direction = np.asarray(changed.get("aim_direction", (1.0, 0.0, 0.0)), float)
        changed["bias"] = tuple(float(v) for v in level * direction / np.linalg.norm(direction))
        return changed
    if knob == "aim_error_fraction":
        changed.setdefault("aim_error", _AIM_ERROR)
    if knob == "aim_error":
        changed.setdefault("aim_error_fraction", 1.0)
    changed[knob] = float(level)
    return changed


def run_teacher(env: VectorEnv, teacher: Teacher, episodes: int, key: Array) -> Episodes:
    """Lets a teacher act for at least `episodes` new episodes, whole rounds of all environments.

    An environment whose episode ends early waits, unobserved, for the others. The action of each step is the
    label's, without further noise. Before an episode's first observation the teacher is shown copies of it.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes!r}: at least one is needed")
    once, at_end = [], []
    for round_ in range(math.ceil(episodes / env.num_envs)):
        observation = env.reset()
        past = [_copied(teacher, observation)] * teacher.spec.history
        active = np.ones(env.num_envs, bool)
        ever, last = np.zeros(env.num_envs, bool), np.zeros(env.num_envs, bool)
        step = 0
        while active.any():
            now = past[-1] if len(past) == 1 else {k: np.stack([o[k] for o in past], axis=1) for k in past[0]}
            step_key = jax.random.fold_in(jax.random.fold_in(key, round_), step)
            action = np.asarray(teacher.label(now, env.spec.instruction, step_key).action)
            result = env.step(action)
            success = np.asarray(result.success)
            ever |= active & success
            last = np.where(active, success, last)
            active &= ~(np.asarray(result.terminated) | np.asarray(result.truncated))
            past = [*past[1:], _copied(teacher, result.observation)]
            step += 1
        once.append(ever)
        at_end.append(last)
    return Episodes(np.concatenate(once), np.concatenate(at_end))


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a success rate, 95 % by default."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes={successes!r} of trials={trials!r}: must be between 0 and trials")
    rate, weight = successes / trials, z * z / trials
    centre = (rate + weight / 2.0) / (1.0 + weight)
    half = z * math.sqrt(rate * (1.0 - rate) / trials + weight / (4.0 * trials)) / (1.0 + weight)
    return centre - half, centre + half


def _copied(teacher: Teacher, observation: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """What the teacher reads, copied: an environment may reuse its arrays in the next step."""
    return {name: np.array(observation[name]) for name in teacher.spec.observation_keys}
