"""No random key serves two purposes: everything that is drawn for a member has keys of its own."""

import itertools

import jax
import numpy as np

from rpd_jax.algorithms.base import iteration_keys
from rpd_jax.guidance.labels import member_key
from rpd_jax.guidance.queries import begin, query_key
from rpd_jax.keys import stream

ITERATIONS, STEPS, ENVS, EPOCHS, BATCHES = 4, 5, 3, 4, 3


def drawn(seed: int) -> dict[str, jax.Array]:
    """Every key that a member's first iterations draw numbers with, by what for."""
    found = {"parameters": stream(seed, "parameters"), "teacher in evaluation": stream(seed, "teacher")}
    key = stream(seed, "learning")
    for i in range(ITERATIONS):
        key, act, shuffle = iteration_keys(key)
        for step, env in itertools.product(range(STEPS), range(ENVS)):
            found[f"action {i} {step} {env}"] = jax.random.split(jax.random.fold_in(act, step), ENVS)[env]
        for epoch in range(EPOCHS):
            found[f"shuffle {i} {epoch}"] = jax.random.split(shuffle, EPOCHS)[epoch]
        for batch in range(BATCHES):
            found[f"labels {i} {batch}"] = jax.random.fold_in(member_key(seed, i), batch)
        asking = begin(query_key(seed, i), np.zeros(ENVS, np.int32), STEPS)
        for step in range(STEPS):
            found[f"query {i} {step}"] = jax.random.fold_in(asking.key, step)
    return found


def bits(key: jax.Array) -> tuple[int, ...]:
    return tuple(jax.random.key_data(key).tolist())


def test_no_two_draws_have_the_same_key():
    keys = [key for seed in (0, 1) for key in drawn(seed).values()]
    assert len({bits(key) for key in keys}) == len(keys)


def test_folding_and_splitting_one_key_would_coincide():
    key = jax.random.key(0)  # why `iteration_keys` exist
    assert bits(jax.random.fold_in(key, 1)) == bits(jax.random.split(key)[1])
