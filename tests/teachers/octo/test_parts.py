"""The parts of the network against numbers derived by hand; whole arrays are compared in test_golden.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo import attention, stems, t5
from teachers.octo.attention import Layout, TokenGroup


def test_the_rules_of_attention_by_hand():
    """One token each of the task, an observation and the readout, two time steps.

    Sequence: task, obs at 0, readout at 0, obs at 1, readout at 1. The task sees itself; an observation the task and
    observations up to its own time; a readout besides these the readouts up to its own time.
    """
    layout = Layout((("task_language", 1),), (("obs_primary", 1), ("readout_action", 1)), 2)
    expected = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 1, 1, 1],
    ]
    np.testing.assert_array_equal(attention.attention_rules(layout), np.array(expected, bool))


def test_readouts_do_not_see_other_readouts():
    layout = Layout((), (("obs_primary", 1), ("readout_action", 1), ("readout_value", 1)), 1)
    np.testing.assert_array_equal(attention.attention_rules(layout), np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], bool))


def test_padding_hides_columns_and_never_rows():
    rules = np.array([[1, 1], [1, 1]], bool)
    mask = attention.attention_mask(rules, jnp.array([[True, False]]))
    np.testing.assert_array_equal(mask, np.array([[[[1, 0], [1, 0]]]], bool))


def test_groups_come_out_of_the_sequence_as_they_went_in():
    rng = np.random.default_rng(0)

    def group(*shape):
        return TokenGroup(jnp.asarray(rng.normal(size=(*shape, 5))), jnp.ones(shape, bool))

    prefix, images, readout = group(2, 3), group(2, 4, 6), group(2, 4, 1)
    sequence = attention.assemble([prefix], [images, readout])
    assert sequence.tokens.shape == (2, 3 + 4 * 7, 5) and sequence.mask.shape == (2, 3 + 4 * 7)
    layout = Layout((("task_language", 3),), (("obs_primary", 6), ("readout_action", 1)), 4)
    parts = attention.split(sequence.tokens, layout)
    for name, each in (("task_language", prefix), ("obs_primary", images), ("readout_action", readout)):
        np.testing.assert_array_equal(parts[name], each.tokens)


def test_standardised_kernels_by_hand():
    """One output channel with the values 1 and 3: mean 2, population std 1; (x - 2) / (1 + 1e-5)."""
    kernel = jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    expected = np.array([-1.0, 1.0]).reshape(1, 2, 1, 1) / (1.0 + 1e-5)
    np.testing.assert_allclose(stems.standardize(kernel), expected, rtol=1e-6)


def test_pixels_by_hand():
    """0 -> -1, 255 -> 1; ImageNet's red of 255: (1 - 0.485) / 0.229."""
    pixels = jnp.array([[0, 255, 51, 255, 0, 0]], jnp.uint8)
    np.testing.assert_allclose(stems.normalize_images(pixels, "default")[0, :3], [-1.0, 1.0, -0.6], atol=1e-6)
    red = stems.normalize_images(pixels, "imagenet")[0, 3]  # the second image's
    np.testing.assert_allclose(red, (1.0 - 0.485) / 0.229, rtol=1e-6)
    with pytest.raises(ValueError, match="img_norm_type='none' is unknown"):
        stems.normalize_images(pixels, "none")


def test_the_stem_makes_one_token_of_16_pixels_in_row_major_order():
    """Strides of two with padding on both sides: token (i, j) is centred at pixel (16 i, 16 j)."""
    stem = stems.Stem(stems.StemConfig(features=(32, 32, 32, 32), num_features=8))
    image = jax.random.randint(jax.random.key(1), (1, 64, 64, 3), 0, 256).astype(jnp.uint8)
    params = stem.init(jax.random.key(0), image)
    other = image.at[:, 44:53, :5].set(255 - image[:, 44:53, :5])
    change = jnp.abs(stem.apply(params, other) - stem.apply(params, image)).mean(axis=-1)
    assert change.shape == (1, 4, 4)
    assert int(change.reshape(-1).argmax()) == 3 * 4 + 0


def test_relative_buckets_by_hand():
    """32 buckets: 16 a sign. Exact below 8; then 8 + trunc(log(d / 8) / log(16) * 8): d = 16 gives 8 + 2 = 10,
    d = 127 gives 8 + trunc(7.98) = 15. Keys after the query get 16 more."""
    buckets = t5.relative_buckets(200, 32, 128)
    found = [int(buckets[199, 199 - d]) for d in (0, 1, 7, 8, 16, 127, 128, 199)]
    assert found == [0, 1, 7, 8, 10, 15, 15, 15]
    assert [int(buckets[0, d]) for d in (1, 7, 16)] == [17, 23, 26]


def test_constants_are_read_off_the_parameters():
    config = t5.T5Config(d_model=12, num_layers=3, num_heads=2, d_kv=5, d_ff=7, vocab_size=11)
    ids = jnp.zeros((1, 4), jnp.int32)
    params = t5.T5Encoder(config).init(jax.random.key(0), ids, jnp.ones_like(ids))["params"]
    assert t5.T5Config.from_params(params) == config


def test_what_padded_words_say_does_not_matter_for_the_others():
    config = t5.T5Config(d_model=12, num_layers=2, num_heads=2, d_kv=5, d_ff=7, vocab_size=11)
    encoder = t5.T5Encoder(config)
    mask = jnp.array([[1, 1, 0]])
    params = encoder.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32), mask)
    one, other = (encoder.apply(params, jnp.array([[3, 4, last]]), mask) for last in (0, 9))
    np.testing.assert_allclose(one[:, :2], other[:, :2], atol=1e-6)
    assert float(jnp.abs(one[:, 2] - other[:, 2]).max()) > 1e-3


def test_t5_configs_that_lack_something_or_are_another_variant():
    with pytest.raises(ValueError, match="lacks num_layers, num_heads"):
        t5.T5Config.from_dict({"d_model": 4, "d_kv": 2, "d_ff": 3})
    with pytest.raises(ValueError, match="feed_forward_proj='gated-gelu'"):
        t5.T5Config.from_dict({"feed_forward_proj": "gated-gelu"})
