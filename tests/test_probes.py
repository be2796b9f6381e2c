"""PPO on probe environments, each of which isolates one ability; the right answers are known exactly.

Three seeds train side by side; every one of them must get there, well inside the tolerance.
"""

import jax
import numpy as np
import pytest

from rpd_jax.config import Config, EnvConfig, NetworkConfig, PPOConfig
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.toy.probes import PROBES
from rpd_jax.training.population import Population
from rpd_jax.training.rollout_host import HostCollector

N, SEEDS, GAMMA = 16, (0, 1, 2), 0.5


def solve(task: str, iterations: int):
    config = Config(
        variants=("ppo",),
        seeds=SEEDS,
        env=EnvConfig(name=f"toy:{task}", num_envs=N),
        network=NetworkConfig(hidden=(16,)),
        algorithm=PPOConfig(
            rollout_length=8,
            epochs=4,
            minibatches=4,
            learning_rate=1e-2,
            gamma=GAMMA,
            target_kl=None,
            bootstrap_terminated=False,  # the probes' values are those of episodes that really end
        ),
    ).validate()
    seeds = [s for seed in SEEDS for s in env_seeds(seed, N)]
    env = FunctionalVectorEnv(PROBES[task](), len(seeds), seeds)
    population = Population(config, env.spec)
    collector = HostCollector(env, population, config.algorithm.rollout_length)
    members = population.init()
    for _ in range(iterations):
        rollout = collector.collect(members)
        members, _ = population.update(members, rollout.transition, None, 0.0)

    def ask(x: float):
        """Value and mean action of every seed for the observation x."""
        observation = {"state": np.full((len(SEEDS), 1, 1), x, np.float32)}
        value = population.look_ahead(members, observation)["value"]
        return jax.device_get((value[:, 0], population.mean_action(members, observation)[:, 0, 0]))

    return ask


def test_constant_reward():
    value, _ = solve("ConstantReward-v0", 25)(0.0)
    np.testing.assert_allclose(value, 1.0, atol=0.1)


def test_reward_is_the_observation():
    ask = solve("ObservedReward-v0", 25)
    np.testing.assert_allclose(ask(1.0)[0], 1.0, atol=0.15)
    np.testing.assert_allclose(ask(-1.0)[0], -1.0, atol=0.15)


def test_two_step_credit():
    ask = solve("TwoStepCredit-v0", 40)
    np.testing.assert_allclose(ask(1.0)[0], 1.0, atol=0.1)
    np.testing.assert_allclose(ask(0.0)[0], GAMMA, atol=0.1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_action_matters(action_matters, sign):
    _, action = action_matters(sign)
    np.testing.assert_allclose(action, 0.5 * sign, atol=0.2)


@pytest.fixture(scope="module")
def action_matters():
    return solve("ActionMatters-v0", 60)
