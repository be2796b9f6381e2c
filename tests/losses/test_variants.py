"""Variants as data: parsing, resolution, annealing, and what bad input gets."""

import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.algorithms import schedules, variants
from rpd_jax.algorithms.variants import VariantSpec, active_terms, parse_variant, resolve_variants, to_variant
from rpd_jax.config import Config, ConfigError, PPOConfig
from rpd_jax.losses.terms import guided


def test_every_registered_variant_parses_to_itself():
    for name, spec in variants.VARIANTS.items():
        assert parse_variant(name) == spec


def test_overrides():
    spec = parse_variant("rpd-mse:mse=5:learning_rate=1e-3:gamma=0.99:anneal=linear:anneal_end=0.1:name=strong")
    assert spec == VariantSpec("strong", {"mse": 5.0}, None, "linear", 0.1, 1.0, {"learning_rate": 1e-3, "gamma": 0.99})
    assert parse_variant("ppo:entropy_coef=0.01").name == "ppo:entropy_coef=0.01"


def test_mean_and_sum_over_dimensions():
    ppo, terms = PPOConfig(), ("mse", "nll")
    spec = VariantSpec("both", {"mse": 1.0, "nll": 1.0})
    np.testing.assert_allclose(to_variant(spec, ppo, terms, 4).coefficients, [0.25, 1.0])  # each term's own
    spec = VariantSpec("both", {"mse": 1.0, "nll": 1.0}, reduction="sum")
    np.testing.assert_allclose(to_variant(spec, ppo, terms, 4).coefficients, [1.0, 1.0])
    spec = VariantSpec("both", {"mse": 1.0, "nll": 1.0}, reduction="mean")
    np.testing.assert_allclose(to_variant(spec, ppo, terms, 4).coefficients, [0.25, 0.25])


def test_floats_come_from_the_config_unless_overridden():
    variant = to_variant(parse_variant("ppo:gamma=0.5"), PPOConfig(target_kl=None), (), 7)
    np.testing.assert_allclose([variant.floats["gamma"], variant.floats["gae_lambda"]], [0.5, 0.9], rtol=1e-6)
    assert np.isinf(variant.floats["target_kl"])  # None switches the stop off
    assert variant.coefficients.shape == (0,)


@pytest.mark.parametrize(
    ("anneal", "progress", "expected"),
    [
        ("constant", 0.7, 1.0),
        ("linear", 0.25, 0.5 * (1 + 0.2)),  # half-way to 0.2
        ("linear", 0.9, 0.2),
        ("cosine", 0.25, 0.6),  # half-way, as cos(pi / 2) = 0
        ("exponential", 0.25, np.sqrt(0.2)),
    ],
)
def test_annealing_by_hand(anneal, progress, expected):
    spec = VariantSpec("v", {"mse": 1.0}, anneal=anneal, anneal_end=0.2, anneal_until=0.5)
    weight = schedules.distillation_weight(to_variant(spec, PPOConfig(), ("mse",), 7), jnp.float32(progress))
    np.testing.assert_allclose(weight, expected, rtol=1e-5)


def test_learning_rate_annealing():
    variant = to_variant(parse_variant("ppo:learning_rate=2e-3:learning_rate_end=0.5"), PPOConfig(), (), 7)
    np.testing.assert_allclose(schedules.learning_rate(variant, jnp.float32(0.5)), 1.5e-3, rtol=1e-6)


def test_only_terms_in_use_are_computed():
    specs = resolve_variants(Config(variants=("ppo", "rpd-l1", "rpd-mse:mse=0")))
    assert active_terms(specs) == ("l1",)
    assert [guided(spec) for spec in specs] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("rpd-mes", ("'rpd-mes'", "did you mean 'rpd-mse'")),
        ("rpd-mse:mze=1", ("'mze'", "did you mean 'mse'")),
        ("rpd-mse:mse=much", ("mse='much'", "number")),
        ("rpd-mse:mse", ("'mse'", "key=value")),
        ("rpd-mse:mse=-1", ("mse=-1.0", "at least 0")),
        ("rpd-mse:anneal=liner", ("'liner'", "did you mean 'linear'")),
        ("rpd-mse:anneal_until=0", ("anneal_until=0.0", "(0, 1]")),
        ("rpd-mse:reduction=max", ("'max'", "mean, sum")),
        ("kickstart:anneal=exponential", ("anneal_end=0.0", "at least")),
    ],
)
def test_bad_variants_are_named(text, names):
    with pytest.raises(ConfigError) as error:
        parse_variant(text)
    assert all(name in str(error.value) for name in names), error.value
    assert "\n" not in str(error.value)


def test_names_are_unique():
    with pytest.raises(ConfigError, match="same name"):
        resolve_variants(Config(variants=("ppo", "rpd-mse:name=ppo")))


def test_registering(monkeypatch):
    monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
    spec = variants.register_variant(VariantSpec("mine", {"mse": 1.0, "kl": 0.1}))
    assert resolve_variants(Config(variants=("mine",))) == [spec]
    with pytest.raises(ConfigError, match="already registered"):
        variants.register_variant(VariantSpec("mine", {"l1": 1.0}))
