"""The population's update: members do not influence each other, and a member that drifts too far stops alone."""

import dataclasses

import jax
import numpy as np
import pytest

from rpd_jax.config import Config, EnvConfig, NetworkConfig, PPOConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, Transition

T, N, D, A = 6, 5, 4, 3
SPEC = EnvSpec("toy:x", "", T, A, (-1.0,) * A, (1.0,) * A, {"state": ArraySpec((D,), "float32")}, {})
ALL = ("ppo", "rpd-mse", "rpd-l1", "rpd-bc", "ppd", "ppd-reverse", "kickstart", "rpd-mse:gamma=0.5:name=mine")


def make_config(variants=ALL, seeds=(0, 3), **ppo) -> Config:
    settings = dict(rollout_length=T, minibatches=3, epochs=2, target_kl=None) | ppo
    return Config(
        variants=tuple(variants),
        seeds=tuple(seeds),
        env=EnvConfig(num_envs=N),
        network=NetworkConfig(hidden=(8, 8)),
        algorithm=PPOConfig(**settings),
    ).validate()


def member_data(seed: int) -> tuple[Transition, TeacherLabels]:
    """A rollout and labels [T, N, ...] that depend on the seed alone."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=(T, N, *shape)).astype(np.float32)

    ends = rng.random((T, N)) < 0.2
    transition = Transition(
        observation={"state": normal(D)},
        action=normal(A),
        reward=normal(),
        terminated=ends & (rng.random((T, N)) < 0.5),
        truncated=ends & (rng.random((T, N)) < 0.5),
        extras={"log_prob": normal() - 3.0, "value": normal(), "next_value": normal()},
    )
    return transition, TeacherLabels(normal(A), rng.random((T, N)) < 0.8, np.exp(0.3 * normal(A)))


def data(population: Population) -> tuple[Transition, TeacherLabels]:
    return jax.tree.map(lambda *x: np.stack(x, 1), *[member_data(m.seed) for m in population.members])


def run(config: Config, updates: int = 2):
    population = Population(config, SPEC)
    rollout, labels = data(population)
    members = population.init()
    for _ in range(updates):
        members, metrics = population.update(members, rollout, labels if population.terms else None, 0.25)
    return population, members, metrics


@pytest.fixture(scope="module")
def everyone():
    return run(make_config())


@pytest.mark.parametrize("name", ALL)
def test_a_member_is_the_same_alone(everyone, name):
    population, members, metrics = everyone
    alone_population, alone, alone_metrics = run(make_config(variants=[name], seeds=(3,)))
    variant = alone_population.specs[0].name
    index = [(m.variant.name, m.seed) for m in population.members].index((variant, 3))
    mine = jax.tree.map(lambda x: x[index], members.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[0], rtol=2e-4, atol=2e-5), mine, alone.params)
    for key, value in alone_metrics.items():
        np.testing.assert_allclose(metrics[key][index], value[0], rtol=2e-3, atol=1e-4, err_msg=key)


def test_seeds_share_initial_parameters_across_variants():
    population = Population(make_config(), SPEC)
    kernel = population.init().params["actor_0"]["kernel"]
    seeds = np.array(population.seeds)
    for seed in (0, 3):
        same = kernel[seeds == seed]
        np.testing.assert_array_equal(same, np.broadcast_to(same[:1], same.shape))
    assert not np.allclose(kernel[0], kernel[1])


def test_target_kl_stops_only_the_member_that_drifts():
    # One member's learning rate is so large that its second minibatch is past any target.
    calm, wild = "ppo:name=calm:learning_rate=1e-6", "ppo:name=wild:learning_rate=1.0"
    # old log-probabilities that are the policy's own, so that the first KL is 0
    config = make_config([calm, wild], seeds=(3,), target_kl=0.05)
    population = Population(config, SPEC)
    rollout, _ = data(population)
    members = population.init()
    state = {"state": np.moveaxis(rollout.observation["state"], 1, 0).reshape(2, T * N, D)}
    acted = population.act(members, state, 0)
    rollout = rollout._replace(
        action=np.moveaxis(np.asarray(acted.action).reshape(2, T, N, A), 0, 1),
        extras=rollout.extras | {"log_prob": np.moveaxis(np.asarray(acted.extras["log_prob"]).reshape(2, T, N), 0, 1)},
    )
    members, metrics = population.update(members, rollout, None, 0.0)
    minibatches = config.algorithm.epochs * config.algorithm.minibatches
    np.testing.assert_allclose(metrics["updates_applied"], [1.0, 1 / minibatches], rtol=1e-6)

    # the calm member is where it would be alone; Adam counted the wild one's single step
    alone_config = make_config([calm], seeds=(3,), target_kl=0.05)
    alone = Population(alone_config, SPEC)
    single, _ = alone.update(alone.init(), jax.tree.map(lambda x: x[:, :1], rollout), None, 0.0)
    np.testing.assert_allclose(
        members.params["actor_out"]["kernel"][0], single.params["actor_out"]["kernel"][0], rtol=1e-5
    )
    np.testing.assert_array_equal(members.opt_state[1].count, [minibatches, 1])


def test_stopping_ignores_what_the_skipped_minibatches_would_have_done():
    """With everyone stopped from the first minibatch, parameters and optimizer stay as they were."""
    population = Population(make_config(["ppo"], target_kl=1e-9), SPEC)
    rollout, _ = data(population)
    members = population.init()
    before = jax.device_get((members.params, members.opt_state))
    members, metrics = population.update(members, rollout, None, 0.0)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get((members.params, members.opt_state)))
    np.testing.assert_array_equal(metrics["updates_applied"], 0.0)


def test_first_step_is_adam_on_the_clipped_gradient():
    """One minibatch, one epoch: |parameter change| is the learning rate wherever the gradient is well above eps."""
    config = make_config(["ppo"], seeds=(0,), epochs=1, minibatches=1, learning_rate=1e-3, adam_eps=1e-12)
    population = Population(config, SPEC)
    rollout, _ = data(population)
    members = population.init()
    before = np.asarray(members.params["critic_out"]["bias"])
    members, _ = population.update(members, rollout, None, 0.0)
    change = np.asarray(members.params["critic_out"]["bias"]) - before
    np.testing.assert_allclose(np.abs(change), 1e-3, rtol=1e-3)


def test_invalid_labels_change_nothing():
    population = Population(make_config(["rpd-mse"], seeds=(0,)), SPEC)
    rollout, labels = data(population)
    poisoned = labels._replace(action=np.where(labels.valid[..., None], labels.action, 1e6).astype(np.float32))
    results = [population.update(population.init(), rollout, given, 0.0)[0].params for given in (labels, poisoned)]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_remainder_of_the_batch_is_left_out():
    config = make_config(["ppo"], minibatches=4)  # 30 transitions: 4 minibatches of 7
    assert T * N % 4 == 2
    _, members, metrics = run(config)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(members.params))
    np.testing.assert_allclose(metrics["updates_applied"], 1.0)


def test_finite_horizon_and_value_clip_change_the_update():
    base = run(make_config(["ppo"], seeds=(0,)))[1].params["critic_out"]["kernel"]
    for change in ({"advantage": "finite_horizon"}, {"value_clip": 0.01}, {"bootstrap_terminated": False}):
        other = run(make_config(["ppo"], seeds=(0,), **change))[1].params["critic_out"]["kernel"]
        assert not np.allclose(base, other), change


def test_every_structural_setting_reaches_the_program():
    """A field of PPOConfig that nothing reads would be a lie to its user."""
    import pathlib

    import rpd_jax

    root = pathlib.Path(rpd_jax.__file__).parent
    files = [p for p in root.rglob("*.py") if p.parent.name not in ("config", "presets")]
    source = "".join(path.read_text() for path in files)
    read = {f.name for f in dataclasses.fields(PPOConfig) if f".{f.name}" in source or f'floats["{f.name}"]' in source}
    # total_steps is read by Config.iterations
    assert {f.name for f in dataclasses.fields(PPOConfig)} - read <= {"total_steps"}
