"""The library's own iteration: `GraphLoop`, as `rpd_jax.train` runs it, metrics included."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.peers.work import CLIP, DECAY, GAMMA, GRAD_NORM, LAMBDA, LOG_STD, PUSH, RATE, Work
from rpd_jax.config import Config, EnvConfig, NetworkConfig, PPOConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.training.loops import GraphLoop
from rpd_jax.training.population import Population
from rpd_jax.training.setup import env_base_seeds
from rpd_jax.types import Array, Observation


class Env:
    """As `FunctionalEnv`."""

    def __init__(self, work: Work) -> None:
        self.spec = EnvSpec(
            name="benchmark:null",
            instruction="",
            max_episode_steps=work.episode,
            action_dim=work.action,
            action_low=(-1.0,) * work.action,
            action_high=(1.0,) * work.action,
            observation={"state": ArraySpec((work.observation,), "float32")},
            layout={},
        )

    def reset(self, key: Array) -> tuple[Array, Observation]:
        state = jax.random.normal(key, self.spec.observation["state"].shape)
        return state, {"state": state}

    def step(self, state: Array, action: Array) -> tuple[Array, Observation, Array, Array, Array, Array]:
        state = (DECAY * state).at[: self.spec.action_dim].add(PUSH * action)
        never = jnp.zeros((), bool)
        return state, {"state": state}, -jnp.mean(jnp.square(state)), never, never, never


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    config = Config(
        variants=("ppo",),
        seeds=(0,),
        env=EnvConfig(num_envs=work.envs),
        network=NetworkConfig(hidden=work.hidden, log_std_init=LOG_STD, normalize_observations=False),
        algorithm=PPOConfig(
            total_steps=10**9,
            rollout_length=work.steps,
            epochs=work.epochs,
            minibatches=work.minibatches,
            gamma=GAMMA,
            gae_lambda=LAMBDA,
            clip_ratio=CLIP,
            learning_rate=RATE,
            max_grad_norm=GRAD_NORM,
            target_kl=None,
        ),
    ).validate()
    config.run.iterations_per_call = work.iterations
    env = Env(work)
    population = Population(config, env.spec)
    loop = GraphLoop(config, env, env_base_seeds(population, work.envs), population, None)
    state: dict[str, Any] = {"members": population.init(), "next": 0}

    def iterations() -> None:
        state["members"], _ = loop.run(state["members"], state["next"], work.iterations)
        state["next"] += work.iterations

    return {"iterations": iterations}
