"""Loss terms by name. A term's argument names say which inputs it needs; the caller supplies them by name.

@term("huber", reduction="mean")
def huber(student_mean, teacher_action):
    "Quadratic near the teacher's action, linear far from it."
    return optax.losses.huber_loss(student_mean, teacher_action)

register_variant(VariantSpec("rpd-huber", {"huber": 1.0}))     # trains with it
huber(student_mean, teacher_action)                            # the loss of one transition, or of a batch

An argument whose name begins with "teacher" makes the variants that use the term query the teacher. The terms of token
policies are registered by `token_term`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.config.variant import VariantSpec

REDUCTIONS = ("mean", "sum", "fixed")
"""How a term's components become one number: their mean or sum over action dimensions, unless a variant says otherwise;
"fixed": a sum over components that are no action dimensions, which a variant cannot change."""


class Term(NamedTuple):
    """A registered loss term."""

    elements: Callable[..., chex.Array]  # of one transition: a number for each action dimension [A], or its components
    inputs: tuple[str, ...]  # the names of what it looks at
    reduction: str

    @property
    def asks_teacher(self) -> bool:
        """Whether it looks at the teacher's answers."""
        return any(name.startswith("teacher") for name in self.inputs)


TERMS: dict[str, Term] = {}


def asks_teacher(terms: Mapping[str, float]) -> bool:
    """Whether a sum of these terms, by their coefficients, needs a teacher."""
    return any(coefficient > 0 and TERMS[name].asks_teacher for name, coefficient in terms.items())


def check_inputs(terms: Sequence[str], inputs: Sequence[str]) -> None:
    """Raises ConfigError for a term that looks at something else than a family gives, `inputs`."""
    for name in terms:
        for each in TERMS[name].inputs:
            choice(f"loss term {name!r}: argument", each, inputs)


def guided(spec: VariantSpec) -> bool:
    """Whether a variant ever queries the teacher."""
    return any(asks_teacher(phase.terms) for phase in spec.every_phase)


def term(name: str, reduction: str = "mean") -> Callable[[Callable[..., chex.Array]], Callable[..., chex.Array]]:
    """Registers a function of one transition that gives a number for each action dimension; decorates it.

    What is decorated becomes the loss: the components [..., A] reduced over their last axis, [...].

    Raises:
      ConfigError: the name is taken, or the reduction is unknown.
    """
    choice("reduction", reduction, REDUCTIONS)

    def register(elements: Callable[..., chex.Array]) -> Callable[..., chex.Array]:
        _add(name, elements, elements, reduction)
        reduce = jnp.mean if reduction == "mean" else jnp.sum

        @functools.wraps(elements)
        def loss(*arguments: chex.ArrayTree, **named: chex.ArrayTree) -> chex.Array:
            return reduce(elements(*arguments, **named), axis=-1)

        return loss

    return register


def token_term(name: str) -> Callable[[Callable[..., chex.Array]], Callable[..., chex.Array]]:
    """Registers a function of one token that gives a scalar; decorates it, and leaves it as it is.

    Raises:
      ConfigError: the name is taken.
    """

    def register(loss: Callable[..., chex.Array]) -> Callable[..., chex.Array]:
        _add(name, loss, jax.vmap(loss), "fixed")
        return loss

    return register


def _add(name: str, function: Callable[..., chex.Array], elements: Callable[..., chex.Array], reduction: str) -> None:
    if name in TERMS and TERMS[name].elements.__qualname__ != function.__qualname__:
        raise ConfigError(f"loss term {name!r} is already registered: choose another name")
    TERMS[name] = Term(elements, tuple(inspect.signature(function).parameters), reduction)


def masked_mean(loss: chex.Array, valid: chex.Array, over_all: chex.Numeric = 0.0) -> chex.Array:
    """Sum of loss [B] where valid [B] holds, over the number of such entries, or of all where `over_all` is 1.

    Over all entries a loss fades with the share of steps that are supervised (VLAJS, arXiv 2604.13733). 0 if none is.
    """
    chex.assert_rank([loss, valid], 1)
    supervised = jnp.maximum(jnp.sum(valid.astype(loss.dtype)), 1.0)
    return jnp.sum(jnp.where(valid, loss, 0.0)) / jnp.where(over_all > 0, len(loss), supervised)
