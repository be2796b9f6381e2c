"""Supervised fine-tuning: a token policy imitates recorded demonstrations; the first phase of VLA-OPD and of OpenVLA.

    loss  <- mean over dimensions and transitions of -log pi(demonstrated token | observation)

Nothing is played: `training.loop_offline` draws the transitions.
"""

from __future__ import annotations

import functools
from typing import ClassVar, NamedTuple, Self

import chex
import jax
import jax.numpy as jnp
import optax

from rpd_jax.algorithms.base import (
    MemberState,
    Metrics,
    Setup,
    apply,
    freeze,
    is_finite,
    iteration_keys,
    make_optimizer,
)
from rpd_jax.algorithms.schedules import learning_rate
from rpd_jax.algorithms.variants import Variant
from rpd_jax.config import SFTConfig
from rpd_jax.losses.tokens import cross_entropy
from rpd_jax.policies.base import Params, Policy, make_policy
from rpd_jax.types import Observation, TeacherLabels


class Demonstrated(NamedTuple):
    """Transitions of demonstrations."""

    observation: Observation  # [..., *D], normalised by nobody yet
    action: chex.Array  # [..., A]


class SFT(NamedTuple):
    """The family; see `base.Algorithm`."""

    policy: Policy
    config: SFTConfig

    plays: ClassVar[bool] = False
    ahead: ClassVar[tuple[str, ...]] = ()
    terms: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """Set up for a run; raises ConfigError where its policy cannot be built."""
        policy = make_policy(setup.config.env, setup.config.network, setup.spec, head="tokens")
        return cls(policy, setup.config.algorithm)

    def init_optimizer(self, params: Params) -> optax.OptState:
        return make_optimizer(self.config).init(params)

    def act(
        self, member: MemberState, observation: Observation, keys: chex.Array
    ) -> tuple[chex.Array, dict[str, chex.Array]]:
        policy, _ = apply(self.policy, member, observation)
        action = jax.vmap(lambda p, key: p.sample(key))(policy, keys)
        return action, {"log_prob": jax.vmap(lambda p, a: p.log_prob(a))(policy, action)}

    def look_ahead(self, member: MemberState, observation: Observation) -> dict[str, chex.Array]:
        return {}

    def update(
        self,
        members: MemberState,
        variants: Variant,
        batch: Demonstrated,
        labels: TeacherLabels | None,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        """Gradient steps on transitions [steps, P, B, ...]; metrics are means over the steps."""
        before = members
        key = jax.vmap(lambda key: iteration_keys(key)[0])(members.key)
        one = self.policy.over_members(functools.partial(step, self, progress))

        def learn(members: MemberState, batch: Demonstrated) -> tuple[MemberState, Metrics]:
            return one(members, variants, batch)

        members, metrics = jax.lax.scan(learn, members, batch)
        diverged = members.diverged | ~is_finite((members.params, jnp.moveaxis(metrics["grad_norm"], 1, 0)))
        metrics = {name: jnp.mean(x, axis=0) for name, x in metrics.items()} | {
            "diverged": diverged.astype(jnp.float32)
        }
        return freeze(diverged, members._replace(key=key), before), metrics


def loss(params: Params, sft: SFT, member: MemberState, batch: Demonstrated) -> tuple[chex.Array, Metrics]:
    """The mean negative log-likelihood, in nats a token, of demonstrated actions [B, A] after observations [B, ...]."""
    policy, _ = apply(sft.policy, member._replace(params=params), batch.observation)
    tokens = jax.vmap(lambda p, a: p.encode(a))(policy, batch.action)
    nats = jax.vmap(jax.vmap(cross_entropy))(policy.logits, tokens)
    right = jnp.argmax(policy.logits, axis=-1) == tokens
    entropy = jnp.mean(jax.vmap(lambda p: p.entropy())(policy))
    return jnp.mean(nats), {"loss": jnp.mean(nats), "accuracy": jnp.mean(right.astype(jnp.float32)), "entropy": entropy}


def step(
    sft: SFT, progress: chex.Numeric, member: MemberState, variant: Variant, batch: Demonstrated
) -> tuple[MemberState, Metrics]:
    """One member's gradient step; a member that has diverged stays as it is."""
    grads, metrics = jax.grad(loss, has_aux=True)(member.params, sft, member, batch)
    metrics["grad_norm"] = optax.tree.norm(grads)
    direction, opt_state = make_optimizer(sft.config).update(grads, member.opt_state)
    rate = learning_rate(variant, progress)
    params = sft.policy.project(jax.tree.map(lambda p, d: p - rate * d, member.params, direction))
    return member._replace(params=params, opt_state=opt_state), metrics
