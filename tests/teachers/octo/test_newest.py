"""The readout that acting needs, computed alone, is that of the whole sequence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo.model import LANGUAGE
from teachers.octo.network import OctoModule
from teachers.octo.transformer import Transformer


def both(octo, config, observation, task, shared):
    """(newest alone, the last of all) from the same random parameters."""
    module = OctoModule(config)
    params = jax.jit(module.init)(jax.random.key(0), observation, task)
    # position embeddings and the like begin as small numbers: larger ones make differences visible
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    whole = jax.jit(lambda o, t: module.apply(params, o, t, method="embed"))(observation, task)
    newest = jax.jit(lambda o, t: module.apply(params, o, t, method="embed_newest"))(observation, shared)
    return newest, whole[:, -1]


def tasks(octo):
    """(for three examples, shared by them)."""
    encoded = octo.encode_task(octo.create_task(["pick up the cube"]))[LANGUAGE]
    return {LANGUAGE: jnp.repeat(encoded, 3, axis=0)}, {LANGUAGE: encoded}


@pytest.mark.slow
@pytest.mark.parametrize(("correct", "repeat"), [(True, False), (True, True), (False, False)])
def test_newest(octo, observation, repeat, correct):
    """With a window of two of which some first frames are padding; the December rules take the long way."""
    task, shared = tasks(octo)
    config = dataclasses.replace(
        octo.module.config,
        repeat_task_tokens=repeat,
        use_correct_attention=correct,
        readouts=(("action", 2), ("other", 3)),
    )
    for each in (task, shared):
        newest, last = both(octo, config, observation, task, each)
        assert float(jnp.std(last)) > 0.1
        np.testing.assert_allclose(newest, last, atol=2e-5)


def test_the_short_way_computes_less(octo, observation):
    """Operations of the compiled programs."""
    task, shared = tasks(octo)
    module, params = octo.module, {"params": octo.params}

    def operations(method, task):
        program = jax.jit(lambda o, t: module.apply(params, o, t, method=method)).lower(observation, task).compile()
        return program.cost_analysis()["flops"]

    assert operations("embed_newest", shared) < operations("embed", task)


@pytest.mark.slow
def test_a_prefix_of_its_own_is_the_beginning_of_the_sequence(octo):
    """Blocks alone: five tokens, of which two come first and see only themselves."""
    transformer = Transformer(octo.module.config.transformer)
    width = octo.module.config.token_embedding_size
    x = jax.random.normal(jax.random.key(1), (3, 5, width))
    x = x.at[:, :2].set(x[:1, :2])  # shared by the batch
    rules = np.tri(5, dtype=bool)
    rules[:2, :2] = True
    mask = jnp.broadcast_to(rules[None, None], (3, 1, 5, 5))
    params = transformer.init(jax.random.key(0), x, mask)
    whole = transformer.apply(params, x, mask)
    own = transformer.apply(
        params, x[:, 2:], mask[:, :, 2:], prefix=x[:1, :2], prefix_mask=mask[:1, :, :2, :2], newest=2
    )
    np.testing.assert_allclose(own, whole[:, 3:], atol=1e-5)
