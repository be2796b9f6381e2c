"""Autoregressive students of tokens, by enumeration: two dimensions of three bins are nine sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.algorithms.opd_loss import Batch, loss
from rpd_jax.algorithms.variants import to_variant
from rpd_jax.config import ConfigError, EnvConfig, NetworkConfig
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.config.variant import VariantSpec
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.registry import make_functional
from rpd_jax.policies.base import make_policy
from rpd_jax.types import TeacherLabels, TeacherSpec, TokenScores
from teachers.policy.teacher import PolicyTeacher

SPEC = EnvSpec("some:task", "", 1, 2, (-1.0,) * 2, (1.0,) * 2, {"state": ArraySpec((3,), "float32")}, {})
SEQUENCES = jnp.array([[a, b] for a in range(3) for b in range(3)])
STATE = jnp.array([0.3, -0.8, 0.5])
TEMPERATURE = 1.6
ENV = make_functional(EnvConfig(name="toy:Reach-v0"), rgb=False, end_on_success=False).spec


def make(name="autoregressive"):
    return make_policy(EnvConfig(name="toy:Reach-v0"), NetworkConfig(name, hidden=(5, 4), bins=3), SPEC, "tokens")


POLICY = make()


@jax.jit
def params(seed, scale=1.0):
    """Parameters of which all matter."""
    made = POLICY.init(jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 100), len(jax.tree.leaves(made))))
    return jax.tree.map(lambda x: x + scale * jax.random.normal(next(keys), x.shape, x.dtype), made)


def seen(rows):
    return {"state": jnp.broadcast_to(STATE, (rows, 3))}


@jax.jit
def conditionals(params, temperature=1.0):
    """log p of each token given the one before, of every sequence, [9, 2]."""
    policy = POLICY.given(params, seen(9), SEQUENCES).tempered(temperature)
    return jax.vmap(lambda p, tokens: p.token_log_probs(tokens))(policy, SEQUENCES)


def test_probabilities_are_those_of_a_chain():
    logs = conditionals(params(0))
    np.testing.assert_allclose(jnp.sum(jnp.exp(jnp.sum(logs, axis=1))), 1.0, rtol=1e-6)
    first, second = jnp.exp(logs).T.reshape(2, 3, 3)
    np.testing.assert_array_equal(first, jnp.broadcast_to(first[:, :1], (3, 3)))  # knows nothing of what comes after
    np.testing.assert_allclose(jnp.sum(second, axis=1), 1.0, rtol=1e-6)
    assert np.ptp(second, axis=0).min() > 0.01  # and the second depends on the first


def test_samples_are_as_frequent_as_they_are_likely():
    mine, count = params(1), 20_000
    keys = jax.random.split(jax.random.key(5), count)
    policy, tokens = POLICY.draw(mine, seen(count), keys, TEMPERATURE)
    found = np.bincount(np.asarray(3 * tokens[:, 0] + tokens[:, 1]), minlength=9) / count
    expected = np.exp(conditionals(mine, TEMPERATURE).sum(axis=1))
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / count))
    along = POLICY.given(mine, seen(count), tokens).tempered(TEMPERATURE)
    np.testing.assert_allclose(policy.logits, along.logits, rtol=1e-6)
    actions = POLICY.sample(mine, seen(50), keys[:50])
    _, tokens = POLICY.draw(mine, seen(50), keys[:50])
    np.testing.assert_allclose(actions, (2.0 * tokens - 2) / 3, atol=1e-6)


def test_the_mode_is_greedy_and_demonstrations_are_followed():
    mine = params(2)
    logs = conditionals(mine).reshape(3, 3, 2)
    first = int(jnp.argmax(logs[:, 0, 0]))
    tokens = jnp.array([first, int(jnp.argmax(logs[first, :, 1]))])
    policy = POLICY.apply(mine, seen(1))[0]
    np.testing.assert_allclose(policy.mode()[0], (2 * tokens - 2) / 3, atol=1e-6)
    shown, encoded = POLICY.shown(mine, seen(9), (2.0 * SEQUENCES - 2) / 3 + 0.1)
    np.testing.assert_array_equal(encoded, SEQUENCES)
    np.testing.assert_array_equal(shown.logits, POLICY.given(mine, seen(9), SEQUENCES).logits)


def test_a_fresh_student_draws_what_one_of_independent_tokens_does():
    fresh = POLICY.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 40)
    policy, tokens = POLICY.draw(fresh, seen(40), keys)
    np.testing.assert_array_equal(tokens, jax.vmap(lambda p, key: p.draw(key))(policy, keys))


@pytest.mark.parametrize("objective", ["token_reverse_kl", "reverse_kl_sampled", "grpo"])
def test_gradients_in_expectation(objective):
    """Of the loss over all sequences, as often as they are drawn, against finite differences of what it is to lower.

    That of a KL is the sum over tokens of KL(student || teacher), each given the tokens before, which come as often as
    in the rollout; that of GRPO the expected outcome.
    """
    with jax.enable_x64(True):
        start, teacher = (jax.tree.map(lambda x: x.astype(jnp.float64), params(seed, 0.5)) for seed in (3, 4))
        outcome = jnp.asarray(np.random.default_rng(0).normal(size=9))
        old = conditionals(start, TEMPERATURE)
        drawn = jnp.exp(jnp.sum(old, axis=1))  # how often
        flat, unflatten = jax.flatten_util.ravel_pytree(start)
        logits = POLICY.given(teacher, seen(9), SEQUENCES).logits
        theirs = jax.nn.log_softmax(logits / TEMPERATURE)

        @jax.jit
        @jax.vmap
        def lowered(flat):
            now = unflatten(flat)
            if objective == "grpo":
                return -jnp.exp(jnp.sum(conditionals(now, TEMPERATURE), axis=1)) @ outcome
            own = jax.nn.log_softmax(POLICY.given(now, seen(9), SEQUENCES).logits / TEMPERATURE)
            return drawn @ jnp.sum(jnp.exp(own) * (own - theirs), axis=(1, 2))

        steps = 1e-5 * jnp.eye(len(flat))
        expected = (lowered(flat[None] + steps) - lowered(flat[None] - steps)) / 2e-5
        config = OPDConfig(temperature=TEMPERATURE)
        ones = jnp.ones(9)
        batch = Batch(seen(9), SEQUENCES, old, outcome, 9 * 2 * drawn, ones, ones, theirs)
        variant = to_variant(VariantSpec("some", {objective: 1.0}, algorithm="opd"), config, (objective,), 2)
        grads = jax.jit(jax.grad(lambda p: loss(p, POLICY, config, (objective,), variant, 1.0, batch, None)[0]))(start)
        np.testing.assert_allclose(jax.flatten_util.ravel_pytree(grads)[0], expected, atol=1e-7)
        assert np.abs(expected).max() > 1e-3


class Teaching:
    """An autoregressive student of the toy environment, as a teacher."""

    def __init__(self, made):
        self._policy = make_policy(made.env, made.network, ENV, "tokens")
        self._params = self._policy.init(jax.random.key(7))
        self.spec = TeacherSpec("teaching", ("state",), None, token_bins=5, tokens=self._policy.tokens, in_graph=True)

    def label(self, observation, instructions, key):
        action = self._policy.apply(self._params, observation)[0].mode()
        return TeacherLabels(action, jnp.ones(len(action), bool), jnp.ones_like(action))

    def score(self, observation, instructions, tokens):
        logits = self._policy.given(self._params, observation, tokens).logits
        return TokenScores(logits, jax.nn.logsumexp(logits, axis=-1))


def test_one_is_trained_and_teaches(tmp_path):
    made = rpd_jax.get_preset("debug")
    made.variants, made.seeds = ("reverse-kl",), (0,)
    made.env = EnvConfig(name="toy:Reach-v0", num_envs=4, max_episode_steps=5)
    made.network = NetworkConfig("autoregressive", hidden=(8,), bins=5)
    made.algorithm = OPDConfig(total_steps=40, rollout_length=5, group_size=2, minibatches=2, learning_rate=1e-2)
    made.eval.every, made.eval.episodes, made.eval.videos = 0, 4, 0
    result = rpd_jax.train(made, Teaching(made), directory=tmp_path / "run")
    first, second = (row["update/reverse_kl/reverse-kl/0"] for row in result.history)
    assert 0 < second < first
    student = result.student()
    teacher = PolicyTeacher(student.spec, result.directory)
    state = jnp.linspace(-0.2, 0.2, 12).reshape(2, 6)
    told = teacher.label_tokens({"state": state}, "", jax.random.key(0))
    np.testing.assert_array_equal(teacher.score({"state": state}, "", told.tokens).logits, told.scores.logits)
    np.testing.assert_allclose(told.labels.action, student.act({"state": np.asarray(state)}), atol=1e-6)
    with pytest.raises(ConfigError, match=r"teacher\.samples=2 .* 1: tokens that depend on each other have no mean"):
        PolicyTeacher(student.spec, result.directory, samples=2)


def test_families_without_tokens_are_refused():
    with pytest.raises(ConfigError, match=r"network\.name='autoregressive' .* 'standard' in this family"):
        make_policy(EnvConfig(name="toy:Reach-v0"), NetworkConfig("autoregressive"), SPEC, "gaussian")
