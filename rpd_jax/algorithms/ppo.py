"""Proximal policy optimisation with distillation terms: one update of a whole population, as one program.

    batch  <- advantages and value targets of each member's rollout          ppo_loss.make_batch
    repeat, for each epoch's minibatches (a loop of each member, see `policies.base.in_turn`):
        loss  <- L_clip - c_e H + c_v L_value + w sum_k c_k term_k            ppo_loss.loss
        step  <- Adam on its gradient, unless the member has halted           step

A member whose approximate KL passes its target halts without touching the others. One whose loss or gradient stops
being finite has diverged: it goes back to where it was before the update, and stays there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self, cast

import chex
import jax
import jax.numpy as jnp
import optax

from rpd_jax.algorithms.base import (
    Algorithm,
    MemberState,
    Metrics,
    Setup,
    apply,
    descend,
    freeze,
    guidance_weight,
    is_finite,
    iteration_keys,
)
from rpd_jax.algorithms.minibatches import shuffle
from rpd_jax.algorithms.ppo_loss import INPUTS, Batch, loss, make_batch, metric_names
from rpd_jax.algorithms.variants import Variant
from rpd_jax.config import ConfigError, GuidanceConfig, NetworkConfig, VariantSpec, require
from rpd_jax.config.algorithm import PPOConfig
from rpd_jax.guidance import schedule
from rpd_jax.losses.direction import direction_fit
from rpd_jax.losses.terms import check_inputs, guided
from rpd_jax.placement import spread
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Params, Policy, has_critic, in_turn
from rpd_jax.types import Observation, TeacherLabels, Transition


class Halt(NamedTuple):
    """Whether a member goes on learning from the minibatches of an update; leaves may carry a member axis [P]."""

    policy: chex.Array  # bool: its policy moved as far as `target_kl` allows
    all: chex.Array  # bool: it learns from no further minibatch
    diverged: chex.Array  # bool: its loss or its gradient is not finite
    kl_max: chex.Array  # largest approximate KL seen, that of the minibatch which halts it included

    def after(self, metrics: Metrics, variant: Variant, whole: bool) -> Halt:
        """After the forward and backward pass of one minibatch; `whole`: the KL ends more than the policy's part."""
        policy = self.policy | (metrics["approx_kl"] > variant.floats["target_kl"])
        diverged = self.diverged | ~jnp.isfinite(metrics["loss"]) | ~jnp.isfinite(metrics["grad_norm"])
        seen = jnp.where(self.all, self.kl_max, jnp.maximum(self.kl_max, metrics["approx_kl"]))
        return Halt(policy, self.all | diverged | (policy & whole), diverged, seen)


def step(
    ppo: PPO, progress: chex.Numeric, member: MemberState, halt: Halt, variant: Variant, batch: Batch
) -> tuple[MemberState, Halt, Metrics]:
    """One member's gradient step on one minibatch; where it has halted everything stays as it is."""
    weight = guidance_weight(member, variant, progress)
    grads, metrics = jax.grad(loss, has_aux=True)(
        member.params, ppo.policy, ppo.config, ppo.terms, variant, weight, batch, progress, halt.policy
    )
    metrics["grad_norm"] = optax.tree.norm(grads)
    halt = halt.after(metrics, variant, whole=ppo.config.kl_stop == "update")
    return descend(ppo, member, grads, variant, progress, moves=~halt.all), halt, metrics


def epochs(
    ppo: PPO,
    all_terms: tuple[str, ...],
    progress: chex.Numeric,
    member: MemberState,
    variant: Variant,
    batch: Batch,
    order: chex.Array,
) -> tuple[MemberState, Halt, Metrics, chex.Array]:
    """One member's minibatches, until it halts; returns (member, why it halted, sums of metrics, minibatches used).

    `ppo.terms` are those computed, `all_terms` those in the metrics; `order` [minibatches, B] are indices into `batch`.
    """

    def learn(carry: tuple) -> tuple:
        index, member, halt, totals, applied = carry
        rows = spread(jax.tree.map(lambda x: x[order[index]], batch))
        member, halt, metrics = step(ppo, progress, member, halt, variant, rows)
        totals |= {name: totals[name] + jnp.where(halt.all, 0.0, m) for name, m in metrics.items()}
        return index + 1, member, halt, totals, applied + 1.0 - halt.all.astype(jnp.float32)

    def goes_on(carry: tuple) -> chex.Array:
        """A loop with an end of its own: what a member that has halted leaves out costs nothing."""
        index, _, halt, *_ = carry
        return (index < len(order)) & ~halt.all

    zero = jnp.zeros(())
    halt = Halt(policy=zero > 0, all=member.diverged, diverged=member.diverged, kl_max=zero)
    carry = (jnp.int32(0), member, halt, dict.fromkeys(metric_names(all_terms), zero), zero)
    _, member, halt, totals, applied = jax.lax.while_loop(goes_on, learn, carry)
    fine = _can_go_on(ppo.policy, member.params, jax.tree.map(lambda x: x[:1], batch.observation))
    return member, halt._replace(diverged=halt.diverged | ~fine), totals, applied


@dataclasses.dataclass(frozen=True, eq=False)
class PPO(Algorithm):
    """The family; see `base.Algorithm`."""

    config: PPOConfig
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)
    may_end: bool = False  # all guidance can end before training does: then its terms cost nothing any more

    ahead = ("value",)
    pictured: ClassVar[Mapping[str, str]] = {
        "std": "std of the policy (action units)",
        "approx_kl": "approximate KL of an update (nats)",
        "clip_fraction": "share of ratios beyond the clip",
        "value_loss": "value loss",
        "explained_variance": "explained variance of returns",
        "updates_applied": "share of minibatches before the KL stop",
        "distill_weight": "weight of distillation",
    }

    @classmethod
    def of(cls, setup: Setup) -> Self:
        check_inputs(setup.terms, INPUTS)
        asking = [spec for spec in setup.specs if guided(spec)]
        may_end = bool(asking) and all(spec.guidance.is_transient for spec in asking)
        for spec in setup.specs:
            check_std_bounds(spec, cast(PPOConfig, setup.config.algorithm), setup.config.network)
        made = super().of(setup)
        env, network = setup.config.env, setup.config.network
        if not has_critic(made.policy, setup.spec, env.entries):
            raise ConfigError(f"network.name={network.name!r} cannot work with algorithm.name='ppo': it has no critic")
        return dataclasses.replace(made, guidance=setup.config.guidance, may_end=may_end)

    def look_ahead(self, member: MemberState, observation: Observation) -> dict[str, chex.Array]:
        value = apply(self.policy, member, observation)[1]
        assert value is not None, "`of` refuses policies without a critic"
        return {"value": value}

    def update(
        self,
        members: MemberState,
        variants: Variant,
        rollout: Transition,
        labels: TeacherLabels | None,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        before = members
        # Members are the rollout's second axis; from here on they come first.
        batch = jax.vmap(functools.partial(make_batch, self.config), in_axes=(0, 1, 1))(variants, rollout, labels)
        renewed = jax.vmap(normalization.update)(members.normalizer, batch.observation)
        batch = batch._replace(observation=jax.vmap(normalization.normalize)(members.normalizer, batch.observation))
        key, _, shuffle_key = jnp.moveaxis(jax.vmap(iteration_keys)(members.key), 1, 0)
        size, config = batch.advantage.shape[1], self.config
        order = jax.vmap(lambda key: shuffle(key, config.epochs, size, config.minibatches))(shuffle_key)

        weights = jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, variants, progress)
        over_members = in_turn(self.policy)
        learn = over_members(functools.partial(epochs, self, self.terms, progress))
        if self.may_end:  # then the terms cost nothing, either
            taught = jnp.any((weights > 0) & jnp.any(variants.coefficients > 0, axis=1))
            alone = functools.partial(epochs, dataclasses.replace(self, terms=()), self.terms, progress)
            learn = functools.partial(jax.lax.cond, taught, learn, over_members(alone))
        members, halt, totals, applied = learn(members, variants, batch, order)

        metrics = {name: total / jnp.maximum(applied, 1.0) for name, total in totals.items()}
        metrics["kl_max"] = halt.kl_max
        metrics["updates_applied"] = applied / order.shape[1]
        metrics["distill_weight"] = weights
        if labels is not None:
            fits = over_members(functools.partial(_fits, self.policy, "direction" in self.terms))
            metrics |= fits(members.params, batch, order[:, 0])
        metrics["rollout_reward"] = jnp.mean(rollout.reward, axis=(0, 2))
        metrics["explained_variance"] = jax.vmap(_explained_variance)(batch.value, batch.target)
        advance = functools.partial(
            schedule.advance, windows=self.guidance.windows, attainable=self.guidance.attainable_reward or 1.0
        )
        assert members.schedule is not None, "members that learn have one"
        scheduled = jax.vmap(advance)(members.schedule, variants.guidance, metrics["rollout_reward"])
        members = members._replace(normalizer=renewed, schedule=scheduled, key=key)
        diverged = halt.diverged | ~is_finite((members.params, members.normalizer, members.schedule))
        return freeze(diverged, members, before), metrics | {"diverged": diverged.astype(jnp.float32)}


def check_std_bounds(spec: VariantSpec, config: PPOConfig, network: NetworkConfig) -> None:
    """Raises ConfigError for bounds of a variant's log-std that contradict each other, or where it begins."""
    begin = network.log_std_init_each or (network.log_std_init,)
    for phase in spec.every_phase:
        low, high = (phase.overrides.get(name, getattr(config, name)) for name in ("log_std_min", "log_std_max"))
        where = f"variant {spec.name!r}: log_std"
        if low is not None and high is not None:
            require(low < high, f"{where}_max", high, f"above log_std_min={low:g}")
        if config.start or phase.begin > 0:  # it does not begin there
            continue
        if high is not None:
            require(max(begin) <= high, f"{where}_max", high, f"at least {max(begin):g}, where log-std begins")
        if low is not None:
            require(low <= min(begin), f"{where}_min", low, f"at most {min(begin):g}, where log-std begins")


def _can_go_on(policy: Policy, params: Params, observation: Observation) -> chex.Array:
    """Whether a loss would be finite after the last step, whose outcome nobody has seen yet."""
    gaussian, value = policy.apply(params, observation)
    assert value is not None, "PPO's policies have a critic"
    numbers = jnp.concatenate([gaussian.mean, gaussian.std, 1.0 / gaussian.std, value[:, None]], axis=1)
    return jnp.all(jnp.isfinite(jnp.square(numbers)))


def _fits(policy: Policy, directions: bool, params: Params, batch: Batch, rows: chex.Array) -> Metrics:
    """How well the student's means follow the labels over some `rows` of its batch; NaN without labels.

    label_fit: the share of the labels' variance that they explain, 1 - sum |mu - a|^2 / sum |a - mean a|^2 over
    supervised steps and action dimensions: 0 for the best constant action. direction_fit: the same of `directions`.
    """
    assert batch.teacher is not None and batch.valid is not None, "a fit needs labels"
    action, valid = batch.teacher.mean[rows], batch.valid[rows]
    mean = policy.apply(params, jax.tree.map(lambda x: x[rows], batch.observation))[0].mean
    supervised = valid[:, None]
    middle = jnp.sum(jnp.where(supervised, action, 0.0), axis=0, keepdims=True) / jnp.sum(supervised)
    error, spread = (jnp.sum(jnp.where(supervised, jnp.square(action - x), 0.0)) for x in (mean, middle))
    return {"label_fit": 1.0 - error / spread} | (
        {"direction_fit": direction_fit(mean, action, valid)} if directions else {}
    )


def _explained_variance(value: chex.Array, target: chex.Array) -> chex.Array:
    """1 - Var(R - V) / Var(R) over a batch [B]; 0 where the targets do not vary."""
    variance = jnp.var(target)
    return jnp.where(variance > 1e-12, 1.0 - jnp.var(target - value) / jnp.maximum(variance, 1e-12), 0.0)
