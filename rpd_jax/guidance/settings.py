"""How a variant uses its teacher: at which steps it asks, for how long an answer holds, and when it stops asking."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.validation import ConfigError, choice

QUERIES = ("all", "even", "random", "starts", "value")
"""Which steps of a rollout ask: every one ("all", as RPD does), or see `queries.STRATEGIES`."""


@dataclasses.dataclass(frozen=True)
class GuidanceSpec:
    """Guidance as a person writes it; the defaults are RPD's, an answer for every step, for good.

    Raises:
      ConfigError: a setting that cannot work.
    """

    queries: str = "all"  # see QUERIES
    query_fraction: float = 0.2  # most calls of an environment in a rollout, as a share of the rollout's steps
    min_calls: int = 1  # fewest while guidance lasts
    window: int = 5  # control steps over which an answer is spread, D
    kappa: float = 0.0  # how fast calls fall as the reward rises; 0: they stay
    shut_off: float = math.inf  # share of the attainable reward from which guidance may end; inf: never
    average: str = "valid"  # the loss is a mean over supervised steps ("valid"), or over all ("all", as VLAJS's)

    def __post_init__(self) -> None:
        choice("queries", self.queries, QUERIES)
        for field, holds, right in (
            ("query_fraction", 0 < self.query_fraction <= 1, "in (0, 1]"),
            ("min_calls", _is_count(self.min_calls), "a whole number, at least 1"),
            ("window", _is_count(self.window), "a whole number, at least 1"),
            ("kappa", 0 <= self.kappa < math.inf, "at least 0 and finite"),
            ("shut_off", self.shut_off > 0, "positive"),
        ):
            if not holds:
                raise ConfigError(f"{field}={getattr(self, field)!r} cannot work: it must be {right}")
        default = {field.name: field.default for field in dataclasses.fields(self)}
        idle = [name for name, value in default.items() if name != "queries" and getattr(self, name) != value]
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


def _is_count(value: float) -> bool:
    return 1 <= value < 2**31 and float(value).is_integer()


class Guidance(NamedTuple):
    """A `GuidanceSpec` as the learner sees it; every leaf is a scalar and may carry a leading member axis [P]."""

    strategy: chex.Array  # index into QUERIES
    max_calls: chex.Array  # of an environment in a rollout
    min_calls: chex.Array
    window: chex.Array
    kappa: chex.Array
    shut_off: chex.Array
    over_all: chex.Array  # 1 where the loss is averaged over all steps, else 0


def to_guidance(spec: GuidanceSpec, rollout_length: int) -> Guidance:
    """Resolves a spec; raises ConfigError where the fraction allows no call."""
    return Guidance(
        strategy=jnp.int32(QUERIES.index(spec.queries)),
        max_calls=jnp.int32(spec.max_calls(rollout_length)),
        min_calls=jnp.int32(spec.min_calls),
        window=jnp.int32(spec.window),
        kappa=jnp.float32(spec.kappa),
        shut_off=jnp.float32(spec.shut_off),
        over_all=jnp.float32(spec.average == "all"),
    )
