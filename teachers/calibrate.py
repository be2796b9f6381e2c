"""Finding the corruption at which a scripted teacher has a wanted success rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rpd_jax.config import EvalConfig
from rpd_jax.config.validation import require
from rpd_jax.envs.base import VectorEnv
from rpd_jax.report.intervals import Interval, wilson
from rpd_jax.training.evaluation import teacher_episodes
from teachers.base import load


class Trial(NamedTuple):
    """One evaluation: a level of corruption, and the share of episodes with a success, with its 95 % interval."""

    level: float
    success: float
    interval: Interval


def calibrate(
    env: VectorEnv,
    settings: Callable[[float], Mapping[str, Any]],
    wanted: float,
    high: float = 1.0,
    tolerance: float = 0.05,
    max_trials: int = 8,
    episodes: int = 100,
) -> list[Trial]:
    """Bisects for the level of corruption at which an environment's scripted teacher has the wanted success.

    All trials play the same episodes. With n of them the standard error of a success is about 0.5 / sqrt(n).

    Args:
      env: runs episodes to their time limit.
      settings: of the teacher at a level, e.g. lambda level: {"aim_error": 0.045, "aim_error_fraction": level}.
      wanted: the success wanted, in [0, 1].
      high: the worst level; the best is 0.
      tolerance, max_trials: it stops once a success measured is this near, or after so many trials.
      episodes: of a trial, rounded up to whole rounds of all environments.

    Returns:
      the trials, those nearest to the wanted success first.

    Raises:
      ConfigError: for a success that neither 0 nor `high` nor what lies between reaches.
    """
    start = env.state_dict()

    def trial(level: float) -> Trial:
        env.load_state_dict(start)
        teacher = load("scripted", env.spec, **settings(level))
        success = teacher_episodes(env, teacher, EvalConfig(episodes=episodes, num_envs=env.num_envs))[0].success_once
        return Trial(level, float(success.mean()), wilson(int(success.sum()), len(success)))

    def error(trial: Trial) -> float:
        return abs(trial.success - wanted)

    low, trials = 0.0, [trial(0.0)]
    best = trials[0].success
    require(best >= wanted - tolerance, "wanted", wanted, f"at most {best:.3f}, the success at level 0")
    if error(trials[0]) > tolerance:
        trials.append(trial(high))
        worst = trials[1].success
        require(worst <= wanted + tolerance, "wanted", wanted, f"at least {worst:.3f}, the success at level {high}")
    while min(map(error, trials)) > tolerance and len(trials) < max_trials:
        trials.append(trial((low + high) / 2))
        low, high = (trials[-1].level, high) if trials[-1].success > wanted else (low, trials[-1].level)
    return sorted(trials, key=error)
