"""The papers' experiments as fair comparisons, by name and scale; `get_experiment` makes one.

"laptop" is for two CPU cores: tabletop tasks, small networks, scripted teachers, labelled as such, or octo-nano.
"paper" is as published, for GPUs.
"""

from __future__ import annotations

from collections.abc import Callable

from rpd_jax.comparison.experiment import Experiment
from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.experiments import opd, rpd, smoke, vlajs

EXPERIMENTS: dict[tuple[str, str], Callable[[], Experiment]] = {
    ("rpd-losses", "laptop"): rpd.losses,
    ("rpd-losses", "paper"): rpd.losses_paper,
    ("rpd-tasks", "laptop"): rpd.tasks,
    ("rpd-tasks", "paper"): rpd.tasks_paper,
    ("rpd-holdouts", "laptop"): rpd.holdouts,
    ("rpd-holdouts", "paper"): rpd.holdouts_paper,
    ("rpd-camera", "laptop"): rpd.camera,
    ("rpd-camera", "paper"): rpd.camera_paper,
    ("vlajs-horizon", "laptop"): vlajs.horizon,
    ("vlajs-horizon", "paper"): vlajs.horizon_paper,
    ("vlajs-rewards", "laptop"): vlajs.rewards,
    ("vlajs-rewards", "paper"): vlajs.rewards_paper,
    ("opd-objectives", "laptop"): opd.objectives,
    ("opd-objectives", "paper"): opd.objectives_paper,
    ("opd-groups", "laptop"): opd.groups,
    ("opd-groups", "paper"): opd.groups_paper,
    ("smoke", "laptop"): smoke.smoke,
}


def register_experiment(name: str, make: Callable[[], Experiment], scale: str = "laptop") -> None:
    """Makes an experiment of your own available to `launch.compare`; raises ConfigError where its name is taken."""
    if EXPERIMENTS.setdefault((name, scale), make) is not make:
        raise ConfigError(f"experiment {name!r} at scale {scale!r} is already registered: choose another name")


def get_experiment(name: str, scale: str = "laptop") -> Experiment:
    """Raises ConfigError, which lists what there is, for a name or a scale that it does not have."""
    choice("experiment", name, dict.fromkeys(known for known, _ in EXPERIMENTS))
    choice(f"scale of {name}", scale, [known for other, known in EXPERIMENTS if other == name])
    return EXPERIMENTS[name, scale]()
