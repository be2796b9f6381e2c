"""Loss variants as data: a name becomes a vector of coefficients and float hyper-parameters.

A variant can be written in three ways: the name of a registered one ("rpd-mse"; `register_variant` adds your own), a
registered one with overrides ("rpd-mse:mse=5:learning_rate=1e-3:name=strong"), or a `VariantSpec`, in JSON a table.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.config import Config
from rpd_jax.config.validation import ConfigError, choice, field_value
from rpd_jax.config.variant import ANNEALING, FLOATS, GuidanceSpec, PPOConfig, VariantSpec
from rpd_jax.guidance.settings import Guidance, to_guidance
from rpd_jax.losses.distill import TERMS

GUIDANCE = tuple(field.name for field in dataclasses.fields(GuidanceSpec))

VARIANTS: dict[str, VariantSpec] = {}


def register_variant(spec: VariantSpec) -> VariantSpec:
    """Makes a variant available to `Config.variants` by its name; raises ConfigError if the name is taken."""
    if spec.name in VARIANTS and VARIANTS[spec.name] != spec:
        raise ConfigError(f"variant {spec.name!r} is already registered: choose another name")
    VARIANTS[spec.name] = spec
    return spec


register_variant(VariantSpec("ppo"))
register_variant(VariantSpec("rpd-mse", {"mse": 1.0}))
register_variant(VariantSpec("rpd-l1", {"l1": 1.0}))
register_variant(VariantSpec("rpd-bc", {"nll": 1.0}))
register_variant(VariantSpec("ppd", {"ppd": 1.0}))
register_variant(VariantSpec("ppd-reverse", {"ppd_reverse": 1.0}))
register_variant(VariantSpec("kickstart", {"kl": 1.0}, anneal="linear", anneal_end=0.0))

# VLAJS: sparse calls, windows, a loss averaged over all steps, and an end. Where its paper names no value (kappa,
# lambda_0, the threshold) it is ours.
_PERSISTENT = GuidanceSpec(queries="even", average="all")
_TRANSIENT = dataclasses.replace(_PERSISTENT, kappa=1.0, shut_off=0.6)
register_variant(VariantSpec("vlajs", {"direction": 0.3}, guidance=_TRANSIENT))
register_variant(VariantSpec("vlajs-gripper", {"direction": 0.3, "gripper": 0.3}, guidance=_TRANSIENT))  # ours
register_variant(VariantSpec("vlajs-persistent", {"direction": 0.3}, guidance=_PERSISTENT))
register_variant(VariantSpec("vlajs-rpd", {"mse": 0.3}, "sum", guidance=_TRANSIENT))
register_variant(VariantSpec("sparse-rpd", {"mse": 0.3}, "sum", guidance=_PERSISTENT))


class Variant(NamedTuple):
    """A variant as the learner sees it; every leaf is a float and may carry a leading member axis [P]."""

    coefficients: chex.Array  # [K], one per active term, for losses summed over action dimensions
    anneal_kind: chex.Array  # index into ANNEALING
    anneal_end: chex.Array
    anneal_until: chex.Array
    learning_rate: chex.Array
    learning_rate_end: chex.Array
    gamma: chex.Array
    gae_lambda: chex.Array
    clip_ratio: chex.Array
    value_coef: chex.Array
    entropy_coef: chex.Array
    entropy_coef_end: chex.Array
    target_kl: chex.Array
    guidance: Guidance


def parse_variant(text: str) -> VariantSpec:
    """Reads "base", or "base:key=value:..." with terms, PPO floats, annealing, reduction or a new name as keys."""
    base, *items = text.split(":")
    choice("variants", base, VARIANTS)
    spec = VARIANTS[base]
    terms, overrides = dict(spec.terms), dict(spec.overrides)
    guidance: dict[str, str | float | None] = {}
    fields: dict[str, str | float | None] = {"name": text}
    for item in items:
        key, separator, value = item.partition("=")
        known = (*TERMS, *FLOATS, *GUIDANCE, *_TEXT_KEYS, "anneal_end", "anneal_until")
        choice(f"variants {text!r}: key", key, known)
        if not separator:
            raise ConfigError(f"variants {text!r}: {item!r} cannot work: write key=value")
        if key in _TEXT_KEYS:
            (guidance if key in GUIDANCE else fields)[key] = value
            continue
        try:
            number = None if value == "None" else float(value)
        except ValueError:
            raise ConfigError(f"variants {text!r}: {key}={value!r} cannot work: it must be a number") from None
        where = terms if key in TERMS else overrides if key in FLOATS else guidance if key in GUIDANCE else fields
        where[key] = number  # type: ignore[index]
    try:
        asking = dataclasses.replace(spec.guidance, **guidance)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"variants {text!r}: {error}") from None
    if guidance and not any(coefficient > 0 for coefficient in terms.values()):
        raise ConfigError(f"variants {text!r}: {', '.join(guidance)} cannot work without a distillation term")
    return dataclasses.replace(spec, terms=terms, overrides=overrides, guidance=asking, **fields)  # type: ignore[arg-type]


_TEXT_KEYS = ("name", "anneal", "reduction", "queries", "average")


def resolve_variants(config: Config) -> list[VariantSpec]:
    """The specs of `config.variants`; ConfigError names what is wrong."""
    variants = field_value(Config, "variants", config.variants)
    specs = [parse_variant(each) if isinstance(each, str) else each for each in variants]
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise ConfigError(f"variants={names!r} cannot work: two have the same name")
    return specs


def is_scheduled(spec: VariantSpec, ppo: PPOConfig) -> bool:
    """Whether anything of the variant depends on how far training is of its whole length."""
    ends = [spec.overrides.get(field, getattr(ppo, field)) for field in ("learning_rate_end", "entropy_coef_end")]
    return spec.anneal != "constant" or any(end != 1.0 for end in ends)


def resolved(config: Config) -> Config:
    """A copy whose variants are all specs: a run that is stored so needs nobody's registered definitions."""
    config = copy.deepcopy(config)
    config.variants = tuple(resolve_variants(config))
    return config


def active_terms(specs: Sequence[VariantSpec]) -> tuple[str, ...]:
    """The terms that any of the variants uses, in the order of TERMS; the program computes no others."""
    return tuple(term for term in TERMS if any(spec.terms.get(term, 0.0) > 0 for spec in specs))


def to_variant(spec: VariantSpec, ppo: PPOConfig, terms: Sequence[str], action_dim: int) -> Variant:
    """Resolves a spec against the run's settings; a "mean" over dimensions becomes a factor 1 / action_dim."""
    coefficients = [
        spec.terms.get(term, 0.0) / (action_dim if _reduction(spec, term) == "mean" else 1) for term in terms
    ]
    floats = {field: spec.overrides.get(field, getattr(ppo, field)) for field in FLOATS}
    return Variant(
        coefficients=jnp.asarray(coefficients, jnp.float32).reshape(len(terms)),
        anneal_kind=jnp.asarray(ANNEALING.index(spec.anneal), jnp.int32),
        anneal_end=jnp.asarray(spec.anneal_end, jnp.float32),
        anneal_until=jnp.asarray(spec.anneal_until, jnp.float32),
        **{field: jnp.asarray(math.inf if v is None else v, jnp.float32) for field, v in floats.items()},
        guidance=to_guidance(spec.guidance, ppo.rollout_length),
    )


def _reduction(spec: VariantSpec, term: str) -> str:
    """How a term's components become one number: "mean", "sum", or "fixed", a sum that a variant cannot change."""
    return spec.reduction or TERMS[term].reduction


def stack_variants(variants: Sequence[Variant]) -> Variant:
    """Stacks members' variants along a new leading axis [P]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *variants)


def distillation_weight(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The annealing factor at training progress in [0, 1], a scalar."""
    p = jnp.clip(progress / variant.anneal_until, 0.0, 1.0)
    end = variant.anneal_end
    factors = jnp.stack(
        [
            jnp.ones_like(p),
            1.0 + (end - 1.0) * p,
            end + (1.0 - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * p)),
            jnp.maximum(end, 1e-12) ** p,
        ]
    )
    return factors[variant.anneal_kind]


def learning_rate(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The linearly annealed learning rate at training progress in [0, 1], a scalar."""
    return variant.learning_rate * (1.0 + (variant.learning_rate_end - 1.0) * progress)


def entropy_coef(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The linearly annealed coefficient of the entropy at training progress in [0, 1], a scalar."""
    return variant.entropy_coef * (1.0 + (variant.entropy_coef_end - 1.0) * progress)
