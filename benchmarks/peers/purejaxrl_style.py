"""PPO in the style of PureJaxRL (Lu et al., 2022), which is not on PyPI: written for this comparison.

Everything is one jitted function: a scan over iterations, in it a scan over steps of vmapped environments, one over
steps backwards for the advantages, and scans over epochs and minibatches, with flax's Dense layers, optax and
`jax.random.permutation`. A vmapped environment is reset in every step, and where its episode has ended that is taken,
as gymnax's are. What would only slow it down is left out: wrappers that log and normalise, and clipped value losses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from benchmarks.peers.work import CLIP, DECAY, GAMMA, GRAD_NORM, LAMBDA, LOG_STD, PUSH, RATE, Work


class ActorCritic(nn.Module):
    """Separate tanh networks; a Gaussian whose log standard deviation does not depend on the state."""

    work: Work

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def network(out: int, scale: float) -> jax.Array:
            y = x
            for width in self.work.hidden:
                y = nn.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5))(y))
            return nn.Dense(out, kernel_init=nn.initializers.orthogonal(scale))(y)

        log_std = self.param("log_std", nn.initializers.constant(LOG_STD), (self.work.action,))
        return network(self.work.action, 0.01), log_std, network(1, 1.0)[..., 0]


class Step(NamedTuple):
    """What is remembered of one step of N environments."""

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def reset(key: jax.Array, work: Work) -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(key, (work.observation,)), jnp.int32(0)


def step(key: jax.Array, state: jax.Array, age: jax.Array, action: jax.Array, work: Work) -> tuple:
    state = (DECAY * state).at[: work.action].add(PUSH * jnp.clip(action, -1, 1))
    reward, done = -jnp.mean(jnp.square(state)), age + 1 >= work.episode
    fresh = reset(key, work)
    return *jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, (state, age + 1)), reward, done


def log_density(mean: jax.Array, log_std: jax.Array, action: jax.Array) -> jax.Array:
    return jnp.sum(jax.scipy.stats.norm.logpdf(action, mean, jnp.exp(log_std)), axis=-1)


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    network = ActorCritic(work)
    optimizer = optax.chain(optax.clip_by_global_norm(GRAD_NORM), optax.adam(RATE, eps=1e-5))
    key, init_key, env_key = jax.random.split(jax.random.key(0), 3)
    params = network.init(init_key, jnp.zeros(work.observation))
    train_state = TrainState.create(apply_fn=network.apply, params=params, tx=optimizer)
    envs = jax.vmap(lambda key: reset(key, work))(jax.random.split(env_key, work.envs))

    def act(carry: tuple, _: None) -> tuple:
        train_state, (state, age), key = carry
        key, action_key, env_key = jax.random.split(key, 3)
        mean, log_std, value = train_state.apply_fn(train_state.params, state)
        action = mean + jnp.exp(log_std) * jax.random.normal(action_key, mean.shape)
        keys = jax.random.split(env_key, work.envs)
        following, age, reward, done = jax.vmap(lambda k, s, n, a: step(k, s, n, a, work))(keys, state, age, action)
        seen = Step(state, action, log_density(mean, log_std, action), value, reward, done)
        return (train_state, (following, age), key), seen

    def loss(params: Any, seen: Step, advantage: jax.Array, target: jax.Array) -> jax.Array:
        mean, log_std, value = network.apply(params, seen.observation)
        ratio = jnp.exp(log_density(mean, log_std, seen.action) - seen.log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
        return 0.5 * 0.5 * jnp.mean(jnp.square(value - target)) - surrogate.mean()

    def iteration(carry: tuple, _: None) -> tuple:
        (train_state, envs, key), seen = jax.lax.scan(act, carry, None, work.steps)
        last = train_state.apply_fn(train_state.params, envs[0])[2]

        def backwards(carry: tuple, each: Step) -> tuple:
            advantage, following = carry
            delta = each.reward + GAMMA * following * (1 - each.done) - each.value
            advantage = delta + GAMMA * LAMBDA * (1 - each.done) * advantage
            return (advantage, each.value), advantage

        _, advantage = jax.lax.scan(backwards, (jnp.zeros_like(last), last), seen, reverse=True)
        batch = jax.tree.map(lambda x: x.reshape(work.batch, *x.shape[2:]), (seen, advantage, advantage + seen.value))

        def minibatch(train_state: TrainState, part: tuple) -> tuple:
            value, grads = jax.value_and_grad(loss)(train_state.params, *part)
            return train_state.apply_gradients(grads=grads), value

        def epoch(carry: tuple, _: None) -> tuple:
            train_state, key = carry
            key, shuffle_key = jax.random.split(key)
            order = jax.random.permutation(shuffle_key, work.batch)
            parts = jax.tree.map(lambda x: x[order].reshape(work.minibatches, -1, *x.shape[1:]), batch)
            train_state, losses = jax.lax.scan(minibatch, train_state, parts)
            return (train_state, key), losses

        (train_state, key), losses = jax.lax.scan(epoch, (train_state, key), None, work.epochs)
        return (train_state, envs, key), losses.mean()

    train = jax.jit(lambda carry: jax.lax.scan(iteration, carry, None, work.iterations))
    carry = [(train_state, envs, key)]

    def iterations() -> None:
        carry[0], _ = jax.block_until_ready(train(carry[0]))

    return {"iterations": iterations}
