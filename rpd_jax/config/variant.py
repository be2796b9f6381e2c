"""What an algorithm is told: PPO's settings, and variants of it as data. Needs no jax."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import math

from rpd_jax.config.validation import ConfigError, Settings, bounds, check, choice, field_value, require, setting

ADVANTAGES = ("gae", "finite_horizon")
KL_STOPS = ("update", "surrogate")
ANNEALING = ("constant", "linear", "cosine", "exponential")
AVERAGES = ("valid", "all")
QUERIES = ("all", "even", "random", "starts", "value")
"""Which steps of a rollout ask: every one ("all", as RPD does), or see `guidance.queries.STRATEGIES`."""
REDUCTIONS = {
    "mse": "mean",
    "l1": "mean",
    "nll": "sum",
    "kl": "sum",
    "reverse_kl": "sum",
    "ppd": "sum",
    "ppd_reverse": "sum",
    "direction": "fixed",
    "gripper": "fixed",
}
"""Distillation term (see `losses.distill`) -> how it is reduced over action dimensions unless a variant says otherwise:
"mean", "sum", or "fixed", a sum over components that are no action dimensions."""


@dataclasses.dataclass
class PPOConfig(Settings):
    """PPO's settings; the floats marked [v] can be overridden by each variant."""

    total_steps: int = setting(  # environment steps per member
        1_000_000, low=1, high=2**53, right="a whole number, at least 1 and at most 2**53"
    )
    rollout_length: int = setting(50, low=1)  # T
    epochs: int = setting(8, low=1)
    minibatches: int = setting(32, low=1)  # of equal size; a remainder is left out, another one each epoch
    learning_rate: float = setting(
        3e-4, above=0, high=1e38, right="a positive number"
    )  # [v] one too large is seen to diverge
    learning_rate_end: float = setting(1.0, low=0, high=1)  # [v] fraction of learning_rate at the end (linear)
    adam_eps: float = setting(1e-5, above=0)
    max_grad_norm: float = setting(0.5, above=0)
    gamma: float = setting(0.8, low=0, high=1)  # [v]
    gae_lambda: float = setting(0.9, low=0, high=1)  # [v]
    advantage: str = setting("gae", choices=ADVANTAGES)
    bootstrap_terminated: bool = True  # also bootstrap a success with V(final observation), as ManiSkill's recipe
    normalize_advantage: bool = True  # per minibatch
    clip_ratio: float = setting(0.2, above=0)  # [v]
    value_clip: float | None = setting(None, above=0, infinity="none")  # None: no clipping of the value loss
    value_coef: float = setting(0.5, low=0)  # [v]
    entropy_coef: float = setting(0.0, low=0)  # [v]
    entropy_coef_end: float = setting(1.0, low=0, high=1)  # [v] fraction of entropy_coef at the end (linear)
    # [v] how far a member's approximate KL may go in an update; None: as far as it will
    target_kl: float | None = setting(0.1, above=0, infinity="none")
    # What a member whose KL exceeds target_kl leaves out until the next rollout. update: everything. surrogate: PPO's
    # terms of the policy alone; value function and distillation go on, however far the teacher's pull moves the mean.
    kl_stop: str = setting("update", choices=KL_STOPS)

    def batch_size(self, num_envs: int) -> int:
        """Transitions per member and iteration."""
        return self.rollout_length * num_envs


FLOATS = (
    "learning_rate",
    "learning_rate_end",
    "gamma",
    "gae_lambda",
    "clip_ratio",
    "value_coef",
    "entropy_coef",
    "entropy_coef_end",
    "target_kl",
)
"""Fields of PPOConfig that a variant may override."""


@dataclasses.dataclass(frozen=True)
class GuidanceSpec:
    """Guidance as a person writes it; the defaults are RPD's, an answer for every step, for good.

    Raises:
      ConfigError: a setting that cannot work.
    """

    queries: str = setting("all", choices=QUERIES)
    # Most calls of an environment in a rollout, as a share of the rollout's steps.
    query_fraction: float = setting(0.2, above=0, high=1)
    min_calls: int = setting(1, low=1)  # fewest while guidance lasts
    window: int = setting(5, low=1)  # control steps over which an answer is spread, D
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
        """Whether only some steps ask."""
        return self.queries != "all"

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
                f"query_fraction={self.query_fraction} of ppo.rollout_length={rollout_length} steps are "
                f"{calls} calls: at least min_calls={self.min_calls} are needed"
            )
        return calls


@dataclasses.dataclass(frozen=True)
class VariantSpec:
    """A loss variant as a person writes it.

    The distillation weight at training progress p in [0, 1] is coefficient * w(min(p / anneal_until, 1)) with w
    going from 1 to `anneal_end`: linearly, along half a cosine, or exponentially (anneal_end > 0).

    Raises:
      ConfigError: a setting that cannot work.
    """

    name: str = setting(dataclasses.MISSING, required=True)
    # Distillation term -> coefficient.
    terms: dict[str, float] = dataclasses.field(default_factory=dict, metadata=bounds(low=0))
    reduction: str | None = setting(None, choices=("mean", "sum"))  # over action dimensions; None: each term's own
    anneal: str = setting("constant", choices=ANNEALING)
    anneal_end: float = setting(1.0, low=0)
    anneal_until: float = setting(1.0, above=0, high=1)
    # Of PPOConfig, see FLOATS; what can work is declared there.
    overrides: dict[str, float | None] = dataclasses.field(default_factory=dict, metadata=bounds(high=1e38))
    guidance: GuidanceSpec = dataclasses.field(default_factory=GuidanceSpec)  # when the teacher is asked

    def __post_init__(self) -> None:
        where = f"variant {self.name!r}: "
        check(self, where)
        for term in self.terms:
            choice(f"{where}term", term, REDUCTIONS)
            fixed = self.reduction is not None and REDUCTIONS[term] == "fixed"
            require(not fixed, f"{where}reduction", self.reduction, f"None: {term} is not per dimension")
        for field in self.overrides:
            choice(f"{where}override", field, FLOATS)
        overrides = {field: field_value(PPOConfig, field, value, where) for field, value in self.overrides.items()}
        object.__setattr__(self, "overrides", overrides)
        if self.anneal == "exponential":
            require(self.anneal_end >= 1e-12, f"{where}anneal_end", self.anneal_end, "at least 1e-12")

    @property
    def guided(self) -> bool:
        """Whether it ever asks the teacher."""
        return any(coefficient > 0 for coefficient in self.terms.values())
