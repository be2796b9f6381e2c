"""Supervised fine-tuning: a token policy imitates recorded demonstrations; the first phase of VLA-OPD and of OpenVLA.

    loss  <- mean over dimensions and transitions of -log pi(demonstrated token | observation)

Nothing is played: `training.loop_offline` draws the transitions.
"""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import optax

from rpd_jax.algorithms.base import Algorithm, MemberState, Metrics, descend, settle
from rpd_jax.algorithms.variants import Variant
from rpd_jax.demonstrations.transitions import Demonstrated
from rpd_jax.losses.tokens import cross_entropy
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Params, in_turn
from rpd_jax.types import TeacherLabels


class SFT(Algorithm):
    """The family; see `base.Algorithm`."""

    plays = False
    head = "tokens"

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
        batch = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), batch)  # members first
        members, metrics = in_turn(self.policy)(functools.partial(steps, self, progress))(members, variants, batch)
        return settle(members, before, metrics)


def loss(params: Params, sft: SFT, member: MemberState, batch: Demonstrated) -> tuple[chex.Array, Metrics]:
    """The mean negative log-likelihood, in nats a token, of demonstrated actions [B, A] after observations [B, ...]."""
    normalized = normalization.normalize(member.normalizer, batch.observation)
    policy, tokens = sft.policy.shown(params, normalized, batch.action)
    nats = jax.vmap(jax.vmap(cross_entropy))(policy.logits, tokens)
    right = jnp.argmax(policy.logits, axis=-1) == tokens
    entropy = jnp.mean(jax.vmap(lambda p: p.entropy())(policy)) / tokens.shape[-1]  # nats a token
    return jnp.mean(nats), {"loss": jnp.mean(nats), "accuracy": jnp.mean(right.astype(jnp.float32)), "entropy": entropy}


def steps(
    sft: SFT, progress: chex.Numeric, member: MemberState, variant: Variant, batch: Demonstrated
) -> tuple[MemberState, Metrics]:
    """One member's gradient steps, on transitions [steps, B, ...]; metrics are means over them."""
    member, metrics = jax.lax.scan(lambda member, batch: step(sft, progress, member, variant, batch), member, batch)
    return member, jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)


def step(
    sft: SFT, progress: chex.Numeric, member: MemberState, variant: Variant, batch: Demonstrated
) -> tuple[MemberState, Metrics]:
    """One member's gradient step; `settle` takes it back where it diverges."""
    grads, metrics = jax.grad(loss, has_aux=True)(member.params, sft, member, batch)
    metrics["grad_norm"] = optax.tree.norm(grads)
    return descend(sft, member, grads, variant, progress), metrics
