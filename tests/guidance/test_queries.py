"""Which steps ask: budgets, where the queries lie, and the same decisions step by step as in one go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.guidance import queries
from rpd_jax.guidance.settings import QUERIES, GuidanceSpec, to_guidance

T, N = 24, 16
KEY = jax.random.key(3)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    begins = rng.random((T, N)) < 0.1
    return jnp.asarray(begins), jnp.asarray(rng.normal(size=(T, N)), jnp.float32), jnp.zeros(N, jnp.int32)


def planned(strategy, calls, key=KEY, window=5, **changes):
    begins, values, age = changes.get("inputs", inputs())
    guidance = to_guidance(GuidanceSpec(queries=strategy, window=window), T)
    return np.asarray(queries.plan(key, guidance, jnp.int32(calls), begins, values, age))


@pytest.mark.parametrize("calls", [0, 1, 3, 7])
@pytest.mark.parametrize("strategy", ["even", "random"])
def test_every_environment_spends_its_budget(strategy, calls):
    np.testing.assert_array_equal(planned(strategy, calls).sum(0), calls)


@pytest.mark.parametrize("calls", [0, 1, 3, 7])
def test_by_value_the_environments_share_the_budget(calls):
    assert planned("value", calls).sum() == calls * N


@pytest.mark.parametrize("calls", [1, 3, 7])
def test_at_starts_nobody_exceeds_the_budget(calls):
    assert (planned("starts", calls).sum(0) <= calls).all()


def test_every_strategy_is_silent_without_calls():
    for strategy in QUERIES:
        assert not planned(strategy, 0).any()


def test_even_distances():
    """Three calls in 24 steps are 8 steps apart; the phases differ."""
    where = planned("even", 3)
    first = set()
    for column in where.T:
        steps = np.flatnonzero(column)
        assert (np.diff(steps) == 8).all()
        first.add(steps[0])
    assert len(first) > 1


def test_random_steps_are_equally_likely():
    """Over 300 rollouts of 16 environments each step is a query in 3 / 24 of them: 600 times with a standard
    deviation of sqrt(4800 x .125 x .875) = 23; six of these are allowed."""
    begins, values, age = inputs()
    guidance = to_guidance(GuidanceSpec(queries="random"), T)
    plan = jax.jit(lambda key: queries.plan(key, guidance, jnp.int32(3), begins, values, age))
    total = sum(np.asarray(plan(jax.random.key(i))).sum(1) for i in range(300))
    assert np.abs(total - 600).max() < 6 * 23


def test_starts_by_hand():
    """An episode that begins at step 4, windows of 3, two calls: steps 4 and 7. One under way for 2 steps before the
    rollout is 2, 3, ... steps old: it asks at 1 (age 3) and 4 (age 6)."""
    begins = jnp.zeros((T, 2), bool).at[4, 0].set(True)
    age = jnp.array([1, 2])  # the first would ask at steps 2 (age 3) and, had no other begun, 5
    where = planned("starts", 2, window=3, inputs=(begins, jnp.zeros((T, 2)), age))
    assert np.flatnonzero(where[:, 0]).tolist() == [2, 4]
    assert np.flatnonzero(where[:, 1]).tolist() == [1, 4]


def test_value_asks_where_least_is_expected():
    """Twelve calls of each of 16 environments in 24 steps: 8 at every step, those of the lowest values."""
    values = inputs()[1]
    where = planned("value", 12)
    for t in range(T):
        assert set(np.flatnonzero(where[t])) == set(np.argsort(values[t])[:8].tolist())


@pytest.mark.parametrize("strategy", QUERIES)
def test_step_by_step_is_the_same_as_in_one_go(strategy):
    begins, values, age = inputs(1)
    guidance = to_guidance(GuidanceSpec(queries=strategy), T)
    state = queries.begin(KEY, age, T)
    rows = []
    for t in range(T):
        state, row = queries.ask(state, guidance, jnp.int32(3), jnp.int32(t), begins[t], values[t], length=T)
        rows.append(np.asarray(row))
    np.testing.assert_array_equal(np.stack(rows), planned(strategy, 3, inputs=(begins, values, age)))


def test_strategies_that_are_left_out_change_nothing_for_the_others():
    begins, values, age = inputs(1)
    guidance = to_guidance(GuidanceSpec(queries="starts"), T)
    alone = queries.plan(KEY, guidance, jnp.int32(3), begins, values, age, ("starts",))
    np.testing.assert_array_equal(alone, planned("starts", 3, inputs=(begins, values, age)))
