"""Variants of an algorithm as a person writes them: loss terms, floats of their own, and when the teacher is queried.

Needs no jax; whether a family knows the terms is checked by `algorithms.variants`.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import math

from rpd_jax.config.algorithm import AlgorithmConfig, variant_floats
from rpd_jax.config.validation import ConfigError, bounds, check, choice, field_value, require, setting

ANNEALING = ("constant", "linear", "cosine", "exponential")
AVERAGES = ("valid", "all")
TARGETS = ("parts", "chunk")
QUERIES = ("all", "even", "random", "starts", "value")
"""Which steps of a rollout query the teacher: every one ("all", as RPD does), or see `guidance.queries.STRATEGIES`."""


@dataclasses.dataclass(frozen=True)
class GuidanceSpec:
    """Guidance as a person writes it; the defaults are RPD's, a label for every step until training ends.

    Raises:
      ConfigError: a setting that cannot work.
    """

    queries: str = setting("all", choices=QUERIES)
    # Most calls of an environment in a rollout, as a share of the rollout's steps.
    query_fraction: float = setting(0.2, above=0, high=1)
    min_calls: int = setting(1, low=1)  # fewest while guidance lasts
    window: int = setting(5, low=1)  # control steps over which a label is spread, D
    # What the steps of a window are taught: "parts", each an equal part of the answered delta; "chunk", one after the
    # other the actions of the answer's chunk, of at least so many.
    targets: str = setting("parts", choices=TARGETS)
    kappa: float = setting(0.0, low=0)  # how fast calls fall as the reward rises; 0: they stay
    # Share of the attainable reward from which guidance may end; inf: never.
    shut_off: float = setting(math.inf, above=0, infinity="allowed")
    # Denominator of the distillation loss: "valid", its mean over supervised steps; "all", over all steps, so that the
    # pull fades with the share of steps that are supervised (as in VLAJS's paper). Any kind of queries may have either.
    average: str = setting("valid", choices=AVERAGES)

    def __post_init__(self) -> None:
        check(self)
        sparse_only = [field for field in dataclasses.fields(self) if field.name not in ("queries", "average")]
        idle = [field.name for field in sparse_only if getattr(self, field.name) != field.default]
        if idle and not self.sparse:
            raise ConfigError(
                f"{', '.join(idle)} cannot work with queries=all: set queries=even, or another of {QUERIES}"
            )

    @property
    def sparse(self) -> bool:
        """Whether only some steps query the teacher."""
        return self.queries != "all"

    @property
    def actions(self) -> int:
        """How many actions of an answer become targets."""
        return self.window if self.targets == "chunk" else 1

    @property
    def is_transient(self) -> bool:
        """Whether it can end before training does."""
        return math.isfinite(self.shut_off)

    def max_calls(self, rollout_length: int) -> int:
        """Most calls of an environment in a rollout; ConfigError where that is none."""
        if not self.sparse:
            return rollout_length
        calls = math.floor(self.query_fraction * rollout_length + 1e-9)
        if calls < self.min_calls:
            raise ConfigError(
                f"query_fraction={self.query_fraction} of algorithm.rollout_length={rollout_length} steps are "
                f"{calls} calls: at least min_calls={self.min_calls} are needed"
            )
        return calls


@dataclasses.dataclass(frozen=True)
class PhaseSpec:
    """From when on a variant has other loss terms; what it does not override stays as in the first phase."""

    begin: float = setting(dataclasses.MISSING, above=0, below=1)  # training progress
    terms: dict[str, float] = dataclasses.field(default_factory=dict, metadata=bounds(low=0))
    overrides: dict[str, float | None] = dataclasses.field(default_factory=dict, metadata=bounds(high=1e38))


@dataclasses.dataclass(frozen=True)
class VariantSpec:
    """A loss variant as a person writes it.

    The distillation weight at training progress p in [0, 1] is coefficient * w(min(p / anneal_until, 1)) with w
    going from 1 to `anneal_end`: linearly, along half a cosine, or exponentially (anneal_end > 0).

    Raises:
      ConfigError: a setting that cannot work.
    """

    name: str = setting(dataclasses.MISSING, required=True)
    # Loss term -> coefficient.
    terms: dict[str, float] = dataclasses.field(default_factory=dict, metadata=bounds(low=0))
    reduction: str | None = setting(None, choices=("mean", "sum"))  # over action dimensions; None: each term's own
    anneal: str = setting("constant", choices=ANNEALING)
    anneal_end: float = setting(1.0, low=0)
    anneal_until: float = setting(1.0, above=0, high=1)
    # Of the algorithm's settings, those that are marked `per_variant`; what can work is declared there.
    overrides: dict[str, float | None] = dataclasses.field(default_factory=dict, metadata=bounds(high=1e38))
    guidance: GuidanceSpec = dataclasses.field(default_factory=GuidanceSpec)  # when the teacher is queried
    algorithm: str = "ppo"  # the family that it is a variant of
    phases: tuple[PhaseSpec, ...] = ()  # later ones, in their order: "distill, then reinforce"

    def __post_init__(self) -> None:
        where = f"variant {self.name!r}: "
        check(self, where)
        settings = AlgorithmConfig.kind_of(self.algorithm)
        for each in (self, *self.phases):
            given: dict[str, float | None] = each.overrides  # type: ignore[attr-defined]
            for field in given:
                choice(f"{where}override", field, variant_floats(settings))
            overrides = {field: field_value(settings, field, value, where) for field, value in given.items()}
            object.__setattr__(each, "overrides", overrides)
        begins = [phase.begin for phase in self.phases]
        require(begins == sorted(set(begins)), f"{where}phases: begin", begins, "rising")
        if self.anneal == "exponential":
            require(self.anneal_end >= 1e-12, f"{where}anneal_end", self.anneal_end, "at least 1e-12")

    @property
    def every_phase(self) -> tuple[PhaseSpec, ...]:
        """All phases, each with all of its overrides; the first begins at 0."""
        first = PhaseSpec(0.0, self.terms, self.overrides)
        later = (dataclasses.replace(phase, overrides=self.overrides | phase.overrides) for phase in self.phases)
        return first, *later
