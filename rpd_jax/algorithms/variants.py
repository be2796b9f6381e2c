"""Variants as data: a name becomes a vector of coefficients and float hyper-parameters.

A variant can be written in three ways: the name of a registered one ("rpd-mse"; `register_variant` adds your own), a
registered one with overrides ("rpd-mse:mse=5:learning_rate=1e-3:name=strong"), or a `VariantSpec`, in JSON a table.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.config import Config
from rpd_jax.config.algorithm import AlgorithmConfig, variant_floats
from rpd_jax.config.validation import ConfigError, choice, field_value, require
from rpd_jax.config.variant import ANNEALING, GuidanceSpec, PhaseSpec, VariantSpec
from rpd_jax.guidance.settings import Guidance, to_guidance
from rpd_jax.losses.terms import TERMS, asks_teacher

GUIDANCE = tuple(field.name for field in dataclasses.fields(GuidanceSpec))

VARIANTS: dict[str, VariantSpec] = {}


def register_variant(spec: VariantSpec) -> VariantSpec:
    """Makes a variant available to `Config.variants` by its name.

    Raises:
      ConfigError: the name is taken, or a loss term is unknown.
    """
    check_terms(spec)
    if spec.name in VARIANTS and VARIANTS[spec.name] != spec:
        raise ConfigError(f"variant {spec.name!r} is already registered: choose another name")
    VARIANTS[spec.name] = spec
    return spec


class Variant(NamedTuple):
    """A variant as the learner sees it; every leaf is a float.

    Leaves of a whole run carry axes [P, F] of members and phases, see `at`; what learns sees [P], or nothing of both.
    """

    begin: chex.Array  # of the phase, training progress; above 1: never
    asks: chex.Array  # 1.0: it queries the teacher
    coefficients: chex.Array  # [K], one per active term, for losses summed over action dimensions
    anneal_kind: chex.Array  # index into ANNEALING
    anneal_end: chex.Array
    anneal_until: chex.Array
    floats: dict[str, chex.Array]  # the algorithm's settings that are marked `per_variant`; None is an infinity
    guidance: Guidance


def check_terms(spec: VariantSpec) -> None:
    """Raises ConfigError for a loss term that is not registered, or cannot be reduced as the variant says."""
    where = f"variant {spec.name!r}: "
    for name in dict.fromkeys(name for phase in spec.every_phase for name in phase.terms):
        choice(f"{where}term", name, TERMS)
        fixed = spec.reduction is not None and TERMS[name].reduction == "fixed"
        require(not fixed, f"{where}reduction", spec.reduction, f"None: {name} is not per dimension")


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

# RPD whose teacher is asked every few steps (`window`) from the beginning of each episode on; the chunks that it
# answers with label the steps between (ours).
_CHUNK = GuidanceSpec(queries="starts", query_fraction=1.0, window=4, targets="chunk")
register_variant(VariantSpec("chunk-rpd", {"mse": 1.0}, guidance=_CHUNK))

register_variant(VariantSpec("sft", algorithm="sft"))

# VLA-OPD. The exact reverse KL is ours, and the default; the paper's is the sampled one, of one step an iteration.
_OPD: dict[str, dict[str, float]] = {
    "reverse-kl": {"token_reverse_kl": 1.0},
    "reverse-kl-sampled": {"reverse_kl_sampled": 1.0},
    "reverse-kl-clipped": {"reverse_kl_clipped": 1.0},
    "forward-kl": {"token_forward_kl": 1.0},
    "hard-ce": {"hard_ce": 1.0},
    "grpo": {"grpo": 1.0},
    "imitation": {"imitation": 1.0},
}
for _name, _terms in _OPD.items():
    register_variant(VariantSpec(_name, _terms, algorithm="opd"))
# Fewer and larger steps suit reinforcement better than distillation.
_REINFORCE = PhaseSpec(0.5, _OPD["grpo"], {"accumulate": 4})
for _name, _first in (("distill-grpo", "reverse-kl"), ("sft-grpo", "imitation")):
    register_variant(VariantSpec(_name, _OPD[_first], algorithm="opd", phases=(_REINFORCE,)))


def parse_variant(text: str) -> VariantSpec:
    """Reads "base", or "base:key=value:..." with terms, floats, annealing, reduction or a new name as keys."""
    base, *items = text.split(":")
    choice("variants", base, VARIANTS)
    spec = VARIANTS[base]
    terms, overrides = dict(spec.terms), dict(spec.overrides)
    floats = variant_floats(AlgorithmConfig.kind_of(spec.algorithm))
    guidance: dict[str, str | float | None] = {}
    fields: dict[str, str | float | None] = {"name": text}
    for item in items:
        key, separator, value = item.partition("=")
        known = (*TERMS, *floats, *GUIDANCE, *_TEXT_KEYS, "anneal_end", "anneal_until")
        choice(f"variants {text!r}: key", key, known)
        if not separator:
            raise ConfigError(f"variants {text!r}: {item!r} cannot work: write key=value")
        if key in _TEXT_KEYS:
            (guidance if key in GUIDANCE else fields)[key] = value
            continue
        try:
            if key in TERMS:
                terms[key] = float(value)
                continue
            number = None if value == "None" else float(value)
        except ValueError:
            raise ConfigError(f"variants {text!r}: {key}={value!r} cannot work: it must be a number") from None
        if key in floats:
            overrides[key] = number
        else:
            (guidance if key in GUIDANCE else fields)[key] = number
    try:
        asking = dataclasses.replace(spec.guidance, **guidance)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"variants {text!r}: {error}") from None
    if guidance and not any(map(asks_teacher, (terms, *(phase.terms for phase in spec.phases)))):
        raise ConfigError(f"variants {text!r}: {', '.join(guidance)} cannot work without a distillation term")
    spec = dataclasses.replace(spec, terms=terms, overrides=overrides, guidance=asking, **fields)  # type: ignore[arg-type]
    check_terms(spec)
    return spec


_TEXT_KEYS = ("name", "anneal", "reduction", "queries", "average", "targets")


def resolve_variants(config: Config) -> list[VariantSpec]:
    """The specs of `config.variants`; ConfigError names what is wrong."""
    variants = field_value(Config, "variants", config.variants)
    specs = [parse_variant(each) if isinstance(each, str) else each for each in variants]
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise ConfigError(f"variants={names!r} cannot work: two have the same name")
    for spec in specs:
        check_terms(spec)
        if spec.algorithm != config.algorithm.name:
            raise ConfigError(
                f"variant {spec.name!r} is one of algorithm {spec.algorithm!r}: it cannot work with "
                f"algorithm.name={config.algorithm.name!r}"
            )
    return specs


def is_scheduled(spec: VariantSpec, algorithm: AlgorithmConfig) -> bool:
    """Whether anything of the variant depends on how far training is of its whole length."""
    fields = [name for name in variant_floats(type(algorithm)) if name.endswith("_end")]
    ends = [spec.overrides.get(name, getattr(algorithm, name)) for name in fields]
    return spec.anneal != "constant" or bool(spec.phases) or any(end != 1.0 for end in ends)


def resolved(config: Config) -> Config:
    """A copy whose variants are all specs: a run that is stored so needs nobody's registered definitions."""
    config = copy.deepcopy(config)
    config.variants = tuple(resolve_variants(config))
    return config


def active_terms(specs: Sequence[VariantSpec]) -> tuple[str, ...]:
    """The terms that any of the variants uses, in the order of TERMS; the program computes no others."""
    used = [phase.terms for spec in specs for phase in spec.every_phase]
    return tuple(term for term in TERMS if any(terms.get(term, 0.0) > 0 for terms in used))


def to_variant(
    spec: VariantSpec,
    algorithm: AlgorithmConfig,
    terms: Sequence[str],
    action_dim: int,
    phase: PhaseSpec | None = None,
) -> Variant:
    """Resolves a phase of a spec, by default the first, against the run's settings.

    A "mean" over dimensions becomes a factor 1 / action_dim.
    """
    phase = phase or spec.every_phase[0]
    coefficients = [
        phase.terms.get(name, 0.0) / (action_dim if (spec.reduction or TERMS[name].reduction) == "mean" else 1)
        for name in terms
    ]
    unset = variant_floats(type(algorithm))
    floats = {name: phase.overrides.get(name, getattr(algorithm, name)) for name in unset}
    return Variant(
        begin=jnp.asarray(phase.begin, jnp.float32),
        asks=jnp.asarray(asks_teacher(phase.terms), jnp.float32),
        coefficients=jnp.asarray(coefficients, jnp.float32).reshape(len(terms)),
        anneal_kind=jnp.asarray(ANNEALING.index(spec.anneal), jnp.int32),
        anneal_end=jnp.asarray(spec.anneal_end, jnp.float32),
        anneal_until=jnp.asarray(spec.anneal_until, jnp.float32),
        floats={name: jnp.asarray(unset[name] if v is None else v, jnp.float32) for name, v in floats.items()},
        guidance=to_guidance(spec.guidance, getattr(algorithm, "rollout_length", 1)),
    )


def to_phases(
    specs: Sequence[VariantSpec], algorithm: AlgorithmConfig, terms: Sequence[str], action_dim: int
) -> Variant:
    """Resolves the specs of members, leaves [P, F, ...]: F phases, of which those that a spec has not never begin."""
    count = max(len(spec.every_phase) for spec in specs)

    def resolve(spec: VariantSpec) -> Variant:
        found = [to_variant(spec, algorithm, terms, action_dim, phase) for phase in spec.every_phase]
        never = found[-1]._replace(begin=jnp.float32(2.0))
        return stack_variants(found + [never] * (count - len(found)))

    return stack_variants([resolve(spec) for spec in specs])


def at(variants: Variant, progress: chex.Numeric) -> Variant:
    """Each member's phase at training progress in [0, 1]: leaves [P, F, ...] -> [P, ...]."""
    if variants.begin.shape[1] == 1:  # most runs have one: nothing to choose
        return jax.tree.map(lambda x: x[:, 0], variants)
    phase = jnp.sum(variants.begin <= progress, axis=1) - 1
    return jax.vmap(lambda variant, i: jax.tree.map(lambda x: x[i], variant))(variants, phase)


def stack_variants(variants: Sequence[Variant]) -> Variant:
    """Stacks variants, of members or of phases, along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *variants)
