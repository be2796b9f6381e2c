"""Losses of one token: numbers by hand, and what their gradients are in expectation, by enumeration of the bins.

A policy of five bins is small enough to sum over every token. Claims are checked against finite differences of the
objective itself, in double precision.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.losses import tokens

BINS = 5
rng = np.random.default_rng(3)
STUDENT, TEACHER, OUTCOME = (rng.normal(size=BINS) for _ in range(3))
CLIPS = (0.2, 0.28)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def p(logits):
    return np.exp(logits - np.max(logits)) / np.exp(logits - np.max(logits)).sum()


def reverse_kl(logits):
    return float(np.sum(p(logits) * np.log(p(logits) / p(TEACHER))))


def forward_kl(logits):
    return float(np.sum(p(TEACHER) * np.log(p(TEACHER) / p(logits))))


def slope(objective):
    """Central differences of a function of the student's logits."""
    steps = 1e-6 * np.eye(BINS)
    return np.array([(objective(STUDENT + h) - objective(STUDENT - h)) / 2e-6 for h in steps])


def gradient(loss):
    """Of a loss of (log-probabilities [bins], the teacher's)."""
    q = tokens.log_probs(jnp.array(TEACHER))
    return jax.grad(lambda logits: loss(tokens.log_probs(logits), q))(jnp.array(STUDENT))


def expected_gradient(loss, chooses=STUDENT):
    """Of a loss of (log p(a), log p_old(a), log q(a), a) of the chosen token a, over a ~ softmax(chooses)."""
    old, q = tokens.log_probs(jnp.array(STUDENT)), tokens.log_probs(jnp.array(TEACHER))

    def of(logits, a):
        return loss(tokens.log_probs(logits)[a], old[a], q[a], a)

    each = jax.vmap(jax.grad(of), (None, 0))(jnp.array(STUDENT), jnp.arange(BINS))
    return p(chooses) @ each


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_numbers_by_hand():
    half, skewed = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    close(tokens.token_reverse_kl(half, skewed), 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3))
    close(tokens.token_forward_kl(half, skewed), 0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    close(tokens.hard_ce(half, skewed), np.log(2.0))
    close(tokens.entropy(skewed), 0.25 * np.log(4.0) + 0.75 * np.log(4 / 3))
    close(tokens.imitation(jnp.log(0.25)), np.log(4.0))
    # the chosen token: p = 0.5, p_old = 0.25, the teacher's 0.75: r = 2, reward log 3
    p, old, q = jnp.log(0.5), jnp.log(0.25), jnp.log(0.75)
    close(tokens.reverse_kl_sampled(p, old, q), np.log(2.0) * np.log(3.0))
    close(tokens.reverse_kl_clipped(p, old, q, *CLIPS), -1.28 * np.log(3.0))  # r is above 1.28
    close(tokens.reverse_kl_clipped(old, p, q, *CLIPS), -0.5 * np.log(1.5))  # r = 1/2: a gain given away
    close(tokens.grpo(p, old, jnp.asarray(2.0), *CLIPS), -2.56)
    close(tokens.grpo(p, old, jnp.asarray(-2.0), *CLIPS), 4.0)
    close(tokens.grpo(old, p, jnp.asarray(-2.0), *CLIPS), 1.6)  # r = 1/2, clipped at 0.8


def test_exact_losses_have_the_gradients_of_what_they_are():
    close(gradient(tokens.token_reverse_kl), slope(reverse_kl))
    close(gradient(tokens.token_forward_kl), slope(forward_kl))
    best = np.eye(BINS)[np.argmax(TEACHER)]
    close(gradient(tokens.hard_ce), p(STUDENT) - best)
    close(slope(lambda logits: -np.log(p(logits) @ best)), p(STUDENT) - best)


@pytest.mark.parametrize(
    "loss",
    [
        lambda own, old, q, a: tokens.reverse_kl_sampled(own, old, q),
        lambda own, old, q, a: tokens.reverse_kl_clipped(own, old, q, *CLIPS),
    ],
)
def test_the_sampled_reverse_kl_is_the_exact_one_in_expectation(loss):
    """At p_old = p_S, where the ratio is 1."""
    close(expected_gradient(loss), slope(reverse_kl))


def test_grpo_is_the_policy_gradient():
    found = expected_gradient(lambda own, old, q, a: tokens.grpo(own, old, jnp.array(OUTCOME)[a], *CLIPS))
    close(found, slope(lambda logits: -float(p(logits) @ OUTCOME)))


def test_imitation_of_the_teachers_tokens_is_the_forward_kl():
    close(expected_gradient(lambda own, old, q, a: tokens.imitation(own), chooses=TEACHER), slope(forward_kl))


def test_no_gradient_beyond_the_clip():
    """Where a token has gone as far as it was meant to; on the other side it is called back."""
    old = jnp.log(0.4)
    slope_of = jax.grad(tokens.reverse_kl_clipped)
    good, bad = jnp.log(0.9), jnp.log(0.1)
    for share, q, still in ((0.6, good, True), (0.2, bad, True), (0.2, good, False), (0.6, bad, False)):
        assert (slope_of(jnp.log(share), old, q, *CLIPS) == 0.0) == still


def test_why_estimators_of_the_kl_are_not_back_propagated():
    """k1 = log p - log q has none in expectation, k3 = exp(d) - 1 - d of d = log q - log p that of the *forward* KL."""
    close(expected_gradient(lambda own, old, q, a: own - q), np.zeros(BINS))
    k3 = expected_gradient(lambda own, old, q, a: jnp.expm1(q - own) - (q - own))
    close(k3, slope(forward_kl))
    assert not np.allclose(k3, slope(reverse_kl), atol=0.05)


def test_temperature_divides_logits_before_the_softmax():
    logits = jnp.log(jnp.array([1.0, 9.0]))
    close(jnp.exp(tokens.log_probs(logits, 2.0)), [0.25, 0.75])  # of (1, 3)
    close(jnp.exp(tokens.log_probs(logits)), [0.1, 0.9])
    assert not np.isclose(jnp.exp(tokens.log_probs(logits) / 2.0).sum(), 1.0)  # afterwards it gives no probabilities


def test_probabilities_are_of_the_bins_alone():
    """Of a vocabulary whose other words have some of the mass, the loss would be off by its logarithm."""
    vocabulary = np.concatenate([[1.0, -0.5, 2.0], TEACHER])
    own, q = tokens.log_probs(jnp.array(STUDENT)), tokens.log_probs(jnp.array(TEACHER))
    whole = jnp.array(TEACHER) - jax.nn.logsumexp(jnp.array(vocabulary))
    mass = p(vocabulary)[3:].sum()
    close(jnp.exp(q).sum(), 1.0)
    close(jnp.exp(whole).sum(), mass)
    close(tokens.token_reverse_kl(own, whole) - tokens.token_reverse_kl(own, q), -np.log(mass))


def test_a_frozen_reward_diverges_over_many_steps_and_a_clip_holds_it():
    """Gradient descent on the expected surrogate of one set of tokens: enumerated, so that no noise is to blame."""
    old, q = tokens.log_probs(jnp.array(STUDENT)), tokens.log_probs(jnp.array(TEACHER))

    def descend(loss, steps):
        """The reverse KL and the entropy after so many steps."""

        def surrogate(logits):
            return jnp.sum(jnp.exp(old) * jax.vmap(loss)(tokens.log_probs(logits), old, q))

        def step(_, logits):
            return logits - 0.5 * jax.grad(surrogate)(logits)

        own = tokens.log_probs(jax.lax.fori_loop(0, steps, step, jnp.array(STUDENT)))
        return tokens.token_reverse_kl(own, q), tokens.entropy(own)

    start = reverse_kl(STUDENT)
    assert descend(tokens.reverse_kl_sampled, 1)[0] < start  # one step of it is as good as any
    kl, entropy = descend(tokens.reverse_kl_sampled, 100)
    assert kl > 1.2 * start and entropy < 1e-3  # all on one token, whatever the teacher says
    kl, entropy = descend(lambda own, old, q: tokens.reverse_kl_clipped(own, old, q, *CLIPS), 100)
    assert kl < 0.7 * start and entropy > 0.3
