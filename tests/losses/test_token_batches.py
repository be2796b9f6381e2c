"""What the losses of tokens are taken over: groups, masks, weights, advantages, and scores that cannot be used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.advantages import group_advantages
from rpd_jax.algorithms.opd import OPD, check_variant
from rpd_jax.algorithms.opd_loss import Rollout, before_end, loss, make_batch, token_weights
from rpd_jax.algorithms.variants import VARIANTS, parse_variant, to_variant
from rpd_jax.config import ConfigError
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.config.variant import PhaseSpec, VariantSpec
from rpd_jax.losses import tokens as token_losses
from rpd_jax.policies.base import Policy
from rpd_jax.policies.tokens import Tokens
from rpd_jax.types import TokenScores


@pytest.mark.parametrize(
    ("tasks", "size", "expected"),
    [
        (1, 4, [0, 0, 0, 0, 1, 1, 1, 1]),
        (1, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (2, 2, [0, 1, 0, 1, 2, 3, 2, 3]),  # environment n has task n % 2, and so has its group
        (2, 4, [0, 1, 0, 1, 0, 1, 0, 1]),
        (4, 2, [0, 1, 2, 3, 0, 1, 2, 3]),
    ],
)
def test_groups_share_the_task(tasks, size, expected):
    family = OPD(policy=None, config=OPDConfig(), tasks=tasks)
    groups = family.groups(8, size)
    np.testing.assert_array_equal(groups, expected)
    assert (np.bincount(groups) == size).all()
    for group in range(groups.max() + 1):
        assert len(set(np.flatnonzero(groups == group) % tasks)) == 1
    traced = jax.jit(lambda size: family.groups(8, size))(jnp.float32(size))  # as a variant's float
    np.testing.assert_array_equal(traced, expected)


@pytest.mark.parametrize(
    ("success", "terminated", "truncated", "expected"),
    [
        ([0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 0, 0]),  # the step of success counts
        ([0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]),
        ([0, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]),  # a failure that ends the episode
        ([0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0]),  # success of the next episode is none
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]),
        ([1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]),
    ],
)
def test_steps_after_success_or_end_do_not_count(success, terminated, truncated, expected):
    flags = (jnp.array(each, bool) for each in (success, terminated, truncated))
    np.testing.assert_array_equal(before_end(*flags), np.array(expected, bool))


def test_weights_of_the_three_normalisations():
    """Two trajectories of 1 and 3 steps of 2 tokens, whose losses are 10 and 1: the mean over all weighted tokens."""
    mask = jnp.array([[1, 1], [0, 1], [0, 1]], bool)
    losses = jnp.broadcast_to(jnp.array([[[10.0], [1.0]]]), (3, 2, 2))
    for normalize, expected in (
        ("token", (2 * 10 + 6 * 1) / 8),
        ("trajectory", (10 + 1) / 2),
        ("sum", (20 + 6) / 2),
    ):
        mean = jnp.mean(token_weights(mask, normalize, 2)[..., None] * losses)
        np.testing.assert_allclose(mean, expected, rtol=1e-6, err_msg=normalize)


def test_advantages_within_groups():
    outcome = jnp.array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    advantage, kept = jax.jit(group_advantages)(outcome, jnp.repeat(jnp.arange(3), 4))
    # mean 1/4, unbiased variance (0.75^2 + 3 * 0.25^2) / 3 = 1/4
    np.testing.assert_allclose(advantage[:4], [1.5, -0.5, -0.5, -0.5], rtol=1e-5)
    np.testing.assert_array_equal(advantage[4:], np.zeros(8))  # all alike say nothing
    np.testing.assert_array_equal(kept, [True] * 4 + [False] * 8)
    # a group of 12 with 5 successes, and bounds that leave it out
    together, kept = group_advantages(outcome, jnp.zeros(12, jnp.int32))
    np.testing.assert_allclose(together[0], (1 - 5 / 12) / np.std(outcome, ddof=1), rtol=1e-5)
    assert kept.all() and not group_advantages(outcome, jnp.zeros(12, jnp.int32), 0.5, 0.9)[1].any()
    rare = jnp.eye(20)[0]  # 1 of 20: below 0.1
    assert not group_advantages(rare, jnp.zeros(20, jnp.int32))[1].any()
    assert group_advantages(jnp.eye(10)[0], jnp.zeros(10, jnp.int32))[1].all()  # 1 of 10 is still inside


def test_advantages_of_a_traced_group_size():
    outcome = jnp.array([1.0, 0.0, 1.0, 1.0])
    family = OPD(policy=None, config=OPDConfig())
    found = jax.jit(lambda size: group_advantages(outcome, family.groups(4, size))[0])
    root = np.sqrt(0.5)
    np.testing.assert_allclose(found(jnp.float32(2)), [root, -root, 0.0, 0.0], rtol=1e-5)
    np.testing.assert_allclose(found(jnp.float32(4)), [0.5, -1.5, 0.5, 0.5], rtol=1e-5)


T, N, A, BINS = 3, 4, 2, 5
CONFIG = OPDConfig(temperature=1.6, rollout_length=T, group_size=2)
rng = np.random.default_rng(0)
LOGITS, THEIRS = (jnp.asarray(rng.normal(size=(T, N, A, BINS)), jnp.float32) for _ in range(2))
CHOSEN = jnp.asarray(rng.integers(0, BINS, (T, N, A)))


def played(scores):
    """A batch of decisions whose observations are the student's logits, its policy, and the variant "reverse-kl"."""
    success = jnp.zeros((T, N), bool).at[0, 0].set(True)
    no_end, old = jnp.zeros((T, N), bool), jnp.full((T, N, A), -1.0)
    rollout = Rollout({"logits": LOGITS}, {"tokens": CHOSEN, "log_prob": old}, success, no_end, no_end)
    variant = to_variant(VARIANTS["reverse-kl"], CONFIG, ("token_reverse_kl",), A)
    policy = Policy(lambda key: {}, lambda params, seen: (Tokens.of(seen["logits"], (-1.0,) * A, (1.0,) * A), None))
    batch, summary = make_batch(CONFIG, variant, rollout, scores, jnp.array([0, 0, 1, 1]))
    return policy, variant, batch, summary


def test_scores_that_are_no_numbers_are_left_out():
    broken = THEIRS.at[1, 2, 0, 3].set(jnp.nan).at[0, 0].set(jnp.inf)
    policy, variant, batch, summary = played(TokenScores(broken, jnp.zeros((T, N, A))))
    assert summary["success"] == 0.25 and summary["mixed_groups"] == 0.5
    np.testing.assert_allclose(summary["steps"], (1 + 3 + 3 + 3) / 4)
    total, metrics = loss({}, policy, CONFIG, ("token_reverse_kl",), variant, jnp.float32(1.0), batch, None)

    def expected(mask, divide_by):
        own, theirs = (token_losses.log_probs(x, 1.6) for x in (LOGITS, THEIRS))
        each = jnp.sum(jnp.exp(own) * (own - theirs), axis=-1)
        return jnp.sum(each * mask[..., None]) / (A * divide_by)

    seen = np.ones((T, N))
    seen[1:, 0] = 0.0
    usable = seen.copy()
    usable[1, 2] = usable[0, 0] = 0.0
    np.testing.assert_allclose(total, expected(usable, seen.sum()), rtol=1e-5)
    np.testing.assert_allclose(metrics["reverse_kl"], expected(usable, usable.sum()), rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(metrics["kl_of_tokens"]), metrics["reverse_kl"], rtol=1e-6)


def test_of_a_teacher_that_was_not_asked_nothing_is_known():
    """Its scores are those of no teacher: the variant's guidance is over, or it has none."""
    policy, variant, batch, _ = played(TokenScores(jnp.zeros_like(THEIRS), jnp.zeros((T, N, A))))
    for given, weight in ((variant, 0.0), (variant._replace(asks=jnp.float32(0.0)), 1.0)):
        _, metrics = loss({}, policy, CONFIG, ("token_reverse_kl",), given, jnp.float32(weight), batch, None)
        assert all(np.isnan(metrics[name]) for name in ("reverse_kl", "forward_kl", "teacher_entropy"))
        assert np.isfinite(metrics["loss"]) and np.isfinite(metrics["entropy"])


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("reverse-kl-sampled", "accumulate with reverse_kl_sampled=1 cannot work: it must be 16: its reward is frozen"),
        ("reverse-kl-sampled:accumulate=4", "accumulate with reverse_kl_sampled=4 cannot work"),
        ("reverse-kl:accumulate=3", "accumulate=3 cannot work: it must be a divisor of .* = 16"),
        ("reverse-kl:group_size=3", "group_size=3 cannot work: it must be a divisor of env.num_envs=16"),
        ("reverse-kl:queries=even", "queries='even' cannot work: it must be 'all'"),
        ("grpo:group_size=1", "group_size with grpo=1 cannot work: it must be at least 2"),
        ("reverse-kl:token_reverse_kl=0", "it has no objective"),
    ],
)
def test_variants_that_cannot_work(variant, message):
    with pytest.raises(ConfigError, match=message):
        check_variant(parse_variant(variant), OPDConfig(), 16, 1)


def test_group_sizes_of_tasks_and_phases():
    check_variant(parse_variant("reverse-kl-sampled:accumulate=16"), OPDConfig(), 16, 1)
    check_variant(parse_variant("reverse-kl:group_size=4"), OPDConfig(), 16, 4)
    with pytest.raises(ConfigError, match=r"group_size=8 cannot work: .*=16 / 4 tasks"):
        check_variant(parse_variant("reverse-kl"), OPDConfig(), 16, 4)
    later = (PhaseSpec(0.5, {"grpo": 1.0}, {"group_size": 4.0}),)
    spec = VariantSpec("mine", {"token_reverse_kl": 1.0}, algorithm="opd", phases=later)
    with pytest.raises(ConfigError, match=r"group_size=\[4, 8\] cannot work: it must be the same in all phases"):
        check_variant(spec, OPDConfig(), 16, 1)


def test_a_rollout_is_a_whole_episode():
    config = rpd_jax.get_preset("debug")
    config.variants, config.algorithm = ("grpo",), OPDConfig(rollout_length=10, group_size=2)
    with pytest.raises(ConfigError, match=r"algorithm.rollout_length=10 cannot work: it must be 20"):
        rpd_jax.train(config, directory=None)
    config.algorithm.rollout_length, config.env.random_ages = 20, True
    with pytest.raises(ConfigError, match=r"env.random_ages=True cannot work"):
        rpd_jax.train(config, directory=None)
