"""What a comparison is made of: arms with grids of the same size, cases that they are compared in, a budget for each.

    Experiment("losses", "Which loss?", config=quickstart(), budgets=(96_000,),
               cases=(Case("pick"), Case("push", {"env.name": "tabletop:PushCube-v1"})),
               arms=(grid("ppo", learning_rate=(3e-4, 6e-4, 1e-3, 2e-3)),
                     grid("rpd-mse", mse=(2, 20), learning_rate=(3e-4, 6e-4))))

An *arm* is a variant with everything that tuning may choose for it. Every setting of every arm is a member of one
population in tuning, so that none gets more steps, seeds or tries than another.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any

from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.comparison.claims import Claim
from rpd_jax.config import Config, ConfigError
from rpd_jax.config.validation import choice, field_value, require
from rpd_jax.config.variant import VariantSpec

TUNING_EPISODES, FINAL_EPISODES = 3_000_017, 5_000_011
"""Seeds of the evaluation episodes that settings are chosen by, and of those that the figures come from."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """A variant and the settings that tuning chooses from, each as a person writes it ("rpd-mse:mse=5")."""

    name: str
    settings: tuple[str, ...]

    def spec(self, index: int, name: str = "") -> VariantSpec:
        """The setting of that number, called `name` or as `label` says."""
        return dataclasses.replace(parse_variant(self.settings[index]), name=name or self.label(index))

    def label(self, index: int) -> str:
        """What a setting is called in the tuning run."""
        return f"{self.name}#{index}"


def grid(variant: str, name: str = "", **choices: tuple[Any, ...]) -> Arm:
    """An arm whose settings are all combinations of the choices; the first choice varies slowest.

    `grid("rpd-mse", mse=(2, 20), anneal=("constant", "exponential:anneal_end=0.1"))` has four.
    """
    keys = list(choices)
    combined = itertools.product(*choices.values())
    settings = tuple(":".join([variant, *(f"{k}={v}" for k, v in zip(keys, vs, strict=True))]) for vs in combined)
    return Arm(name or variant.split(":")[0], settings)


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that arms are compared in, e.g. a task with a kind of reward."""

    name: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the config, "env.reward": "sparse"
    published: str = ""  # what the paper reports there


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A fair comparison.

    Attributes:
      name: of its directory.
      title: the question that it answers.
      config: everything that cases leave as it is; its variants and seeds are not read.
      cases, arms: what is compared in what.
      baseline: the arm that the others are held against.
      claims: what it is to decide, see `claims.py`.
      source: paper and figure or table.
      deviations: what differs from the published experiment, a sentence each.
      tuning_seeds, tuning_steps: of every setting in tuning.
      seeds: fresh ones, of the figures.
      budgets: steps of the final runs. The first is always run; each further one only where a curve still rises at the
        end of the one before, with all arms.
      minutes: about how long it takes on what it is meant for, and
      machine: what that is.

    Raises:
      ConfigError: arms with grids of different sizes, seeds that overlap, or names that occur twice.
    """

    name: str
    title: str
    config: Config
    cases: tuple[Case, ...]
    arms: tuple[Arm, ...]
    budgets: tuple[int, ...]
    baseline: str = "ppo"
    claims: tuple[Claim, ...] = ()
    source: str = ""
    deviations: tuple[str, ...] = ()
    tuning_seeds: tuple[int, ...] = (100, 101)
    tuning_steps: int = 0  # 0: the first budget
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    minutes: int = 0
    machine: str = "two CPU cores"

    def __post_init__(self) -> None:
        sizes = {arm.name: len(arm.settings) for arm in self.arms}
        right = "one size: a fair comparison gives every arm as many settings to choose from"
        require(len(set(sizes.values())) == 1, f"{self.name}.arms", sizes, right)
        for what, names in (("arms", [a.name for a in self.arms]), ("cases", [c.name for c in self.cases])):
            require(len(set(names)) == len(names) > 0, f"{self.name}.{what}", names, "different names, at least one")
        choice(f"{self.name}.baseline", self.baseline, sizes)
        overlap = sorted(set(self.tuning_seeds) & set(self.seeds))
        require(not overlap, f"{self.name}.seeds", self.seeds, f"fresh: {overlap} are seeds of the tuning")
        require(list(self.budgets) == sorted(set(self.budgets)) != [], f"{self.name}.budgets", self.budgets, "rising")

    @property
    def tuned(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.arms[0].settings) > 1

    def case(self, name: str) -> Case:
        """Raises ConfigError for a case that it does not have."""
        choice(f"cases of {self.name}", name, [case.name for case in self.cases])
        return next(case for case in self.cases if case.name == name)

    def tuning(self, case: Case, directory: str) -> Config:
        """The run in which settings are chosen: all of them, with the tuning's seeds and episodes."""
        specs = [arm.spec(i) for arm in self.arms for i in range(len(arm.settings))]
        steps = self.tuning_steps or self.budgets[0]
        return self._run(case, specs, self.tuning_seeds, steps, TUNING_EPISODES, directory)

    def final(self, case: Case, chosen: Mapping[str, int], steps: int, directory: str) -> Config:
        """The run that figures come from: each arm with the setting that was chosen for it."""
        specs = [arm.spec(chosen[arm.name], arm.name) for arm in self.arms]
        return self._run(case, specs, self.seeds, steps, FINAL_EPISODES, directory)

    def _run(
        self, case: Case, specs: list[VariantSpec], seeds: tuple[int, ...], steps: int, episodes: int, directory: str
    ) -> Config:
        config = copy.deepcopy(self.config)
        for path, value in case.changes.items():
            *sections, field = path.split(".")
            owner = functools.reduce(getattr, sections, config)
            if not hasattr(owner, field):
                raise ConfigError(f"case {case.name!r} of {self.name}: config has no field {path}")
            setattr(owner, field, field_value(type(owner), field, value, path.removesuffix(field)))
        config.preset, config.variants, config.seeds = "", tuple(specs), seeds
        config.algorithm.total_steps = steps
        config.eval.seed = episodes
        config.run.directory, config.run.tensorboard = directory, False
        return config.validate()
