"""Losses of tokens in torch: beside JAX expressions of the same, weights and advantages by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from teachers.openvla.opd import losses
from teachers.openvla.opd.scores import drawn, log_probs
from teachers.openvla.opd.settings import OBJECTIVES
from teachers.openvla.opd.update import token_loss

TAU, CLIP = 1.6, (0.2, 0.28)


def in_jax(name, logits, teacher, columns, old, advantage):
    """[B, K] losses, each written out, of logits over the bins."""
    lp, q = (jax.nn.log_softmax(x / TAU) for x in (logits, teacher))
    take = jnp.take_along_axis
    lp_a, q_a = (take(x, columns[..., None], -1)[..., 0] for x in (lp, q))
    r = jnp.exp(lp_a - old)

    def surrogate(reward):
        reward = jax.lax.stop_gradient(reward)
        return -jnp.minimum(r * reward, jnp.clip(r, 1 - CLIP[0], 1 + CLIP[1]) * reward)

    return {
        "reverse_kl": lambda: jnp.sum(jax.nn.softmax(logits / TAU) * (lp - q), -1),
        "reverse_kl_sampled": lambda: -lp_a * jax.lax.stop_gradient(q_a - old),
        "reverse_kl_clipped": lambda: surrogate(q_a - old),
        "forward_kl": lambda: jnp.sum(jax.nn.softmax(teacher / TAU) * (q - lp), -1),
        "hard_ce": lambda: -take(lp, jnp.argmax(teacher, -1)[..., None], -1)[..., 0],
        "grpo": lambda: surrogate(advantage),
        "cross_entropy": lambda: -take(jax.nn.log_softmax(logits), columns[..., None], -1)[..., 0],
    }[name]()


@pytest.fixture(scope="module")
def along(policy, frames):
    """Logits of the tiny model on six frames and of a disturbed one, tokens drawn from it, and what was when."""
    rng = np.random.default_rng(0)
    decoded = policy.decoded(frames, "push the cube", 1, 0, TAU)
    logits = decoded.action_logits[:, 0].numpy()
    columns = decoded.tokens[:, 0].numpy() - policy.parts.tokens.columns.start
    teacher = logits + rng.normal(size=logits.shape).astype(np.float32)
    old = jax.nn.log_softmax((logits + 0.3 * rng.normal(size=logits.shape)) / TAU)
    old = np.take_along_axis(np.asarray(old, np.float32), columns[..., None], -1)[..., 0]
    advantage = rng.normal(size=columns.shape).astype(np.float32)
    return logits, teacher, columns, old, advantage


@pytest.mark.parametrize("name", [*OBJECTIVES, "cross_entropy"])
def test_losses_and_gradients_are_those_of_jax(along, name) -> None:
    logits, teacher, columns, old, advantage = along
    weight = np.random.default_rng(1).uniform(size=columns.shape).astype(np.float32)

    given = torch.tensor(logits, requires_grad=True)
    other, chosen = torch.tensor(teacher), torch.tensor(columns)
    if name == "cross_entropy":
        each = losses.cross_entropy(given, chosen)
    else:
        arguments = log_probs(given, TAU), log_probs(other, TAU), chosen, torch.tensor(old), torch.tensor(advantage)
        each = token_loss(name, *arguments, CLIP)
    (each * torch.tensor(weight)).sum().backward()

    expected = in_jax(name, logits, teacher, columns, old, advantage)
    slope = jax.grad(lambda x: jnp.sum(weight * in_jax(name, x, teacher, columns, old, advantage)))(logits)
    np.testing.assert_allclose(each.detach(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(given.grad, slope, rtol=1e-5, atol=1e-6)
    assert np.abs(slope).max() > 1e-3


def test_clips_act_in_the_fixture(along) -> None:
    """Both of them: else the parity above would not see them."""
    logits, _, columns, old, _ = along
    ratio = (drawn(log_probs(torch.tensor(logits), TAU), torch.tensor(columns)) - torch.tensor(old)).exp()
    assert (ratio < 0.8).any() and (ratio > 1.28).any() and ((ratio > 0.8) & (ratio < 1.28)).any()


def test_log_probabilities_are_over_the_bins_after_the_temperature(policy, frames) -> None:
    found = log_probs(policy.decoded(frames[:1], "push the cube").action_logits, TAU)
    np.testing.assert_allclose(found.exp().sum(-1), 1.0, rtol=1e-6)


def test_three_normalisations_by_hand() -> None:
    """Two trajectories of three tokens, the second ends after one."""
    mask = torch.tensor([[True, True], [True, False], [True, False]])
    expected = {
        "sum": [[1 / 2, 1 / 2], [1 / 2, 0], [1 / 2, 0]],
        "token": [[1 / 4, 1 / 4], [1 / 4, 0], [1 / 4, 0]],
        "trajectory": [[1 / 6, 1 / 2], [1 / 6, 0], [1 / 6, 0]],
    }
    for name, weights in expected.items():
        torch.testing.assert_close(losses.token_weights(mask, name), torch.tensor(weights))
    with pytest.raises(ValueError, match="normalize='mean' is unknown"):
        losses.token_weights(mask, "mean")


def test_advantages_by_hand() -> None:
    """Mean 1/4, unbiased variance 1/4; groups that always or never succeed get nothing, nor do single trajectories."""
    returns = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    found = losses.group_advantages(returns, 0.1, 0.9)
    torch.testing.assert_close(found[0], torch.tensor([0.75, -0.25, -0.25, -0.25]) / (0.5 + 1e-6))
    assert not found[1:].any()
    assert losses.mixed(returns, 0.1, 0.9).tolist() == [True, False, False]
    assert not losses.group_advantages(torch.ones(2, 1), 0.0, 1.0).any()
