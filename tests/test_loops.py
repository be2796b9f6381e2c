"""One program or a loop on the host: the same iterations, the same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.envs.registry import env_seeds, make_env, make_functional
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from teachers.settings import teacher_factory


def config_for(**teacher):
    config = rpd_jax.get_preset("debug")
    config.variants = ("ppo", "rpd-mse", "kickstart:anneal_until=0.4")
    config.env.max_episode_steps = 7  # episodes end in the middle of rollouts
    config.teacher.batch_size = 64  # 160 transitions a member: three batches
    config.run.iterations_per_call = 3
    for field, value in teacher.items():
        setattr(config.teacher, field, value)
    return config.validate()


def loops(config):
    seeds = [s for _ in config.variants for seed in config.seeds for s in env_seeds(seed, config.env.num_envs)]
    host_env = make_env(config.env, seeds, rgb=False, end_on_success=True)
    population = Population(config, host_env.spec)
    teacher = teacher_factory(config.teacher)(host_env)
    env = make_functional(config.env, rgb=False, end_on_success=True)
    assert env is not None
    graph = GraphLoop(config, env, seeds, population, teacher)
    return population, HostLoop(config, host_env, population, teacher), graph


@pytest.fixture(scope="module")
def both():
    """Members, metrics and ledgers after all four iterations of both kinds of loop."""
    config = config_for()
    population, host, graph = loops(config)
    host_members, host_rows = host.run(population.init(), 0, 4)
    members, rows = graph.run(population.init(), 0, 3)
    members, last = graph.run(members, 3, 1)
    return (host_members, host_rows, host.ledgers), (members, rows + last, graph.ledgers)


def test_parameters_agree(both):
    (host, _, _), (graph, _, _) = both
    # another order of floating-point sums, amplified by four iterations of Adam
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), host.params, graph.params)
    np.testing.assert_array_equal(jax.random.key_data(host.key), jax.random.key_data(graph.key))


def test_metrics_agree(both):
    (_, host, _), (_, graph, _) = both
    assert len(host) == len(graph) == 4
    for mine, theirs in zip(host, graph, strict=True):
        shared = [name for name in mine if name.startswith(("train/", "update/"))]
        assert shared and set(shared) <= set(theirs)
        for name in shared:
            assert mine[name] == pytest.approx(theirs[name], rel=2e-2, abs=2e-3, nan_ok=True), name
    assert [row["train/episodes/ppo/0"] for row in host] == [row["train/episodes/ppo/0"] for row in graph]
    assert sum(row["train/episodes/ppo/0"] for row in graph) > 0


def test_the_teacher_is_charged_alike(both):
    (_, _, host), (_, _, graph) = both
    count = [(ledger.calls, ledger.labels) for ledger in graph]
    assert count == [(ledger.calls, ledger.labels) for ledger in host]
    # 160 labels in 3 batches an iteration; kickstart's weight is 0 from progress 0.4 on: 2 of 4 iterations
    assert count == [(0, 0)] * 2 + [(12, 640)] * 2 + [(6, 320)] * 2


def test_several_iterations_at_once_change_nothing(both):
    _, (members, _, _) = both
    config = config_for()
    population, _, graph = loops(config)
    one_by_one = population.init()
    for iteration in range(4):
        one_by_one, _ = graph.run(one_by_one, iteration, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), members.params, one_by_one.params)


class Late:
    """A teacher that answers for the observation before."""

    def __init__(self, teacher):
        self._teacher = teacher
        self.spec = dataclasses.replace(teacher.spec, history=2)

    def label(self, observation, instruction, key):
        return self._teacher.label({"state": jnp.asarray(observation["state"])[:, 0]}, instruction, key)


def test_a_teacher_with_a_memory_sees_the_same_history():
    config = config_for()
    config.variants = ("rpd-mse",)
    config.seeds = (0,)
    population, host, graph = loops(config)
    host._teacher = graph._teacher = Late(host._teacher)
    a, rows_a = host.run(population.init(), 0, 1)
    b, rows_b = graph.run(population.init(), 0, 1)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-4), a.params, b.params)
    name = "update/distill_mse/rpd-mse/0"
    assert rows_a[0][name] == pytest.approx(rows_b[0][name], rel=1e-3)
