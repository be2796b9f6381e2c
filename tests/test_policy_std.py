"""What keeps a policy's std where it should be, and what limits PPO without limiting the teacher's pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_networks import build
from test_update import SPEC, A, N, T, data, make_config

from rpd_jax.algorithms.base import descend
from rpd_jax.algorithms.schedules import entropy_coef
from rpd_jax.algorithms.variants import at, parse_variant, to_variant
from rpd_jax.config import Config, ConfigError, NetworkConfig, PPOConfig
from rpd_jax.losses import masked_mean
from rpd_jax.training.alarms import first_std
from rpd_jax.training.population import Population


def update(population, members=None, labels=None, rollout=None):
    """One update of fresh members; (members, metrics)."""
    given, taught = data(population)
    labels = taught if labels is None else labels
    return population.update(members or population.init(), rollout or given, labels if population.terms else None, 0.0)


def test_std_and_mean_begin_where_each_dimension_is_told_to():
    each, mean = (-1.0, -1.0, -1.0, -2.0, -2.0, -2.0, -0.5), (0.0,) * 6 + (1.0,)
    network = build(log_std_init_each=each, mean_init=mean)
    policy, _ = network.apply(network.init(jax.random.key(0)), {"state": jnp.zeros((2, 42))})
    np.testing.assert_allclose(policy.log_std[0], each)
    np.testing.assert_allclose(policy.mean[0], mean, atol=1e-6)
    assert first_std(NetworkConfig(log_std_init_each=(0.0, np.log(3.0)))) == pytest.approx(2.0)


@pytest.mark.parametrize("field", ["log_std_init_each", "mean_init"])
def test_one_number_for_each_dimension_or_none(field):
    with pytest.raises(ConfigError, match=rf"network.{field}=\(0.0, 0.0\) cannot work: it must be empty, or 7 numbers"):
        build(**{field: (0.0, 0.0)})


def test_log_std_stays_within_its_bounds_and_can_leave_them():
    network = build()
    params = network.init(jax.random.key(0))
    bounds = {"log_std_min": jnp.float32(-2.0), "log_std_max": jnp.float32(-0.4)}
    pushed = network.project(params | {"log_std": jnp.linspace(-3.0, 1.0, 7)}, bounds)
    assert float(pushed["log_std"].min()) == -2.0 and float(pushed["log_std"].max()) == pytest.approx(-0.4)
    gradient = jax.grad(lambda p: network.apply(p, {"state": jnp.ones((1, 42))})[0].log_std.sum())(pushed)
    np.testing.assert_array_equal(gradient["log_std"], 1.0)


def test_bounds_hold_in_training():
    """Each variant has bounds of its own; it begins at -0.5, and the entropy bonus wants more."""
    wide = "ppo:entropy_coef=100:learning_rate=0.5"
    variants = [f"{wide}:log_std_max=-0.4:name=bounded", f"{wide}:name=as-told", f"{wide}:log_std_max=None:name=free"]
    members, _ = update(Population(make_config(variants, seeds=(0,), log_std_max=-0.25), SPEC))
    bounded, told, free = members.params["log_std"]
    np.testing.assert_allclose(bounded, -0.4)
    np.testing.assert_array_equal(told, -0.25)
    # six steps of Adam, each of the learning rate: -0.5 + 6 x 0.5
    np.testing.assert_allclose(free, 2.5, atol=1e-3)


def test_a_bound_is_met_step_by_step_and_left_as_quickly():
    """A first step of Adam is of the learning rate: from -0.5 to -0.3, and back to -0.4.

    The second gradient is as large (both are clipped to the same norm) and points the other way. With moments
    m = 0.1 g (1 - 0.9) and v = g² (0.001 + 0.000999), corrected by 1 - 0.81 and 1 - 0.998001, the step is
    0.2 x 0.01 / 0.19 = 0.010526, and begins at the bound, not where the first one would have ended.
    """
    population = Population(make_config(["ppo:learning_rate=0.2:log_std_max=-0.4"], seeds=(0,)), SPEC)
    variant = jax.tree.map(lambda x: x[0], at(population.variants, 0.0))
    member = jax.tree.map(lambda x: x[0], population.init())
    found = []
    for slope in (-1.0, 30.0):
        grads = jax.tree.map(jnp.zeros_like, member.params) | {"log_std": jnp.full(A, slope)}
        member = descend(population.algorithm, member, grads, variant, 0.0)
        found.append(float(member.params["log_std"][0]))
    np.testing.assert_allclose(found, [-0.4, -0.4 - 0.2 * 0.01 / 0.19], rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (
            "ppo:log_std_max=-0.6",
            r"variant '.*': log_std_max=-0.6 cannot work: it must be at least -0.5, where log-std",
        ),
        ("ppo:log_std_min=0", r"log_std_min=0.0 cannot work: it must be at most -0.5, where log-std begins"),
        ("ppo:log_std_min=1:log_std_max=1", r"log_std_max=1.0 cannot work: it must be above log_std_min=1"),
    ],
)
def test_bounds_that_contradict_each_other_or_the_start(variant, message):
    with pytest.raises(ConfigError, match=message):
        Population(make_config([variant], seeds=(0,)), SPEC)


def test_configs_of_earlier_versions_had_the_bounds_elsewhere():
    old = Config().to_dict()
    assert "log_std_max" not in old["network"]
    old["network"] |= {"log_std_min": None, "log_std_max": -0.4}
    found = Config.from_dict(old).algorithm
    assert isinstance(found, PPOConfig) and (found.log_std_min, found.log_std_max) == (None, -0.4)
    assert Config.from_dict({"network": {"log_std_max": None}}) == Config.from_dict({}) == Config()


def test_entropy_coefficient_falls_linearly():
    variant = to_variant(parse_variant("ppo:entropy_coef=0.01:entropy_coef_end=0.2"), make_config().algorithm, (), A)
    # 0.01 (1 - 0.8 p)
    np.testing.assert_allclose([entropy_coef(variant, p) for p in (0.0, 0.5, 1.0)], [0.01, 0.006, 0.002], rtol=1e-6)


def test_the_kl_that_stops_a_member_is_logged():
    _, metrics = update(Population(make_config(["ppo"], seeds=(0,), target_kl=1e-9), SPEC))
    assert metrics["updates_applied"][0] == 0 and metrics["approx_kl"][0] == 0
    assert metrics["kl_max"][0] > 1e-9  # of the first minibatch already


def test_with_surrogate_the_kl_stops_ppo_and_not_the_teacher():
    """Beyond the target only value function and distillation learn: the std stays, the mean goes to the labels."""
    variants = ["ppo", "rpd-mse:mse=10"]
    results = {}
    for stop in ("update", "surrogate"):
        population = Population(make_config(variants, seeds=(0,), target_kl=1e-9, kl_stop=stop), SPEC)
        before = jax.tree.map(np.array, population.init().params)
        members, metrics = update(population)
        results[stop] = jax.tree.map(
            lambda a, b: np.abs(np.asarray(a) - b).max(tuple(range(1, b.ndim))), members.params, before
        )
        np.testing.assert_allclose(metrics["updates_applied"], 0.0 if stop == "update" else 1.0)
    assert max(x.max() for x in jax.tree.leaves(results["update"])) == 0
    moved = results["surrogate"]
    np.testing.assert_array_equal(moved["log_std"], 0.0)
    assert moved["actor_out"]["kernel"].tolist()[0] == 0 and moved["actor_out"]["kernel"][1] > 0
    assert (moved["critic_out"]["kernel"] > 0).all()


def test_below_its_target_the_kl_changes_nothing():
    runs = [
        update(Population(make_config(["rpd-mse"], seeds=(0,), target_kl=1e9, kl_stop=stop), SPEC))[0].params
        for stop in ("update", "surrogate")
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), *runs)


def test_mean_over_supervised_steps_or_over_all():
    loss, valid = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([True, False, True, False])
    assert masked_mean(loss, valid) == 2.5  # (1 + 4) / 2
    assert masked_mean(loss, valid, 1.0) == 1.25  # (1 + 4) / 4: it fades with coverage
    assert masked_mean(loss, jnp.zeros(4, bool), 1.0) == 0.0


def test_logged_distances_are_means_of_one_dimension():
    config = make_config(["rpd-mse:l1=1:nll=1"], seeds=(0,), epochs=1, minibatches=1, learning_rate=1e-9)
    population = Population(config, SPEC)
    _, labels = data(population)
    labels = labels._replace(action=np.full((T, 1, N, A), 2.0, np.float32), valid=np.ones((T, 1, N), bool))
    _, metrics = update(population, labels=labels)
    # an untrained student's mean is about 0, its std exp(-0.5)
    assert metrics["distill_mse"][0] == pytest.approx(4.0, rel=0.1)
    assert metrics["distill_l1"][0] == pytest.approx(2.0, rel=0.1)
    by_hand = 3 * (0.5 * 4.0 * np.exp(1.0) - 0.5 + 0.5 * np.log(2 * np.pi))  # nats of the whole action
    assert metrics["distill_nll"][0] == pytest.approx(by_hand, rel=0.1)
