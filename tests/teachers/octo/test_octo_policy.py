"""Octo as a token student: what it sees, what it is told, how it learns, what it is as a teacher and when exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config import EnvConfig, NetworkConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.policies.base import make_policy, student_keys

BINS = 16
PUSH, PULL = "push the cube away from the robot base", "pull the cube towards the robot base"
ENTRIES = {
    "rgb": ArraySpec((64, 64, 3), "uint8"),
    "state": ArraySpec((4,), "float32"),
    "instruction": ArraySpec((), "int32"),
}
ONE = EnvSpec("toy:x", PUSH, 10, 7, (-1.0,) * 7, (1.0,) * 7, ENTRIES, {})
BOTH = dataclasses.replace(ONE, instructions=(PUSH, PULL))
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def build(spec=ONE, observation="rgb", head="tokens", **network):
    return make_policy(EnvConfig(observation=observation), NetworkConfig(name="octo", bins=BINS, **network), spec, head)


def logits(policy, params, **observation):
    return np.asarray(policy.apply(params, observation)[0].logits)


def test_it_begins_as_a_trained_transformer_under_a_fresh_head():
    policy = build()
    params = policy.init(jax.random.key(0))
    tokens, value = policy.apply(params, {"rgb": FRAMES})
    assert tokens.logits.shape == (4, 7, BINS) and value is None and policy.tokens.bins == BINS
    np.testing.assert_allclose(np.exp(tokens.entropy() / 7), BINS, rtol=0.01)  # all tokens are about as likely
    other = policy.init(jax.random.key(1))
    np.testing.assert_equal(other["octo_transformer"], params["octo_transformer"])
    assert not np.array_equal(*(x["heads_action"]["vocab_proj"]["kernel"] for x in (params, other)))
    assert not any("task_tokenizers" in name for name in params["octo_transformer"])  # the text encoder stays as it is
    large = np.repeat(np.repeat(FRAMES, 2, axis=1), 2, axis=2)
    assert logits(policy, params, rgb=large).shape == (4, 7, BINS)


def test_every_row_heeds_its_own_instruction():
    policy, push, pull = build(BOTH), build(ONE), build(dataclasses.replace(ONE, instruction=PULL))
    assert student_keys(EnvConfig(observation="rgb"), policy) == ("rgb", "instruction")
    assert student_keys(EnvConfig(observation="rgb"), push) == ("rgb",)
    params = policy.init(jax.random.key(0))  # the same for all three: what it is told is no parameter
    found = logits(policy, params, rgb=FRAMES, instruction=jnp.array([0, 1, 1, 0]))
    told = [logits(each, params, rgb=FRAMES) for each in (push, pull)]
    assert (
        np.abs(told[0] - told[1]).max() > 10 * np.abs(found - np.where([[[0]], [[1]], [[1]], [[0]]], *told[::-1])).max()
    )
    np.testing.assert_allclose(found[[0, 3]], told[0][[0, 3]], atol=1e-5)
    np.testing.assert_allclose(found[[1, 2]], told[1][[1, 2]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "gaussian"}, "network.name='octo' cannot work: it must be 'standard' in this family"),
        ({"observation": "state"}, "env.observation='state' cannot work: it must be 'rgb' with network.name='octo'"),
        ({"path": "nowhere"}, "'nowhere' is not a directory"),
    ],
)
def test_what_it_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(Exception, match=message) as error:
        build(**change)
    assert "\n" not in str(error.value)
