"""Losses of tokens, to be minimised, batched over leading axes [...]; `rpd_jax.losses.tokens` has them of one token.

Log-probabilities are over the action bins alone, of logits divided by the temperature first: a softmax over the whole
vocabulary, or a division after it, would be another number. `teacher_log_prob` and `old_log_prob` are of the token that
was drawn, from the teacher and from the student as it acted; nothing is differentiated through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-6


def reverse_kl(log_probs: Tensor, teacher_log_probs: Tensor) -> Tensor:
    """KL(student || teacher) in closed form, [...] of [..., bins]: the sampled one's mean without its variance."""
    return (log_probs.exp() * (log_probs - teacher_log_probs)).sum(-1)


def reverse_kl_sampled(log_prob: Tensor, old_log_prob: Tensor, teacher_log_prob: Tensor) -> Tensor:
    """-log_prob times the reward log q - log p_old of the drawn token, [...] (VLA-OPD's, REINFORCE without a baseline).

    Right for one optimizer step: on a frozen reward further ones diverge.
    """
    return -log_prob * (teacher_log_prob - old_log_prob).detach()


def reverse_kl_clipped(
    log_prob: Tensor, old_log_prob: Tensor, teacher_log_prob: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """As `reverse_kl_sampled`, behind the clip of the ratio: for several optimizer steps, [...]."""
    return grpo(log_prob, old_log_prob, teacher_log_prob - old_log_prob, clip_low, clip_high)


def forward_kl(log_probs: Tensor, teacher_log_probs: Tensor) -> Tensor:
    """KL(teacher || student), [...] of [..., bins]."""
    return (teacher_log_probs.exp() * (teacher_log_probs - log_probs)).sum(-1)


def hard_ce(log_probs: Tensor, teacher_log_probs: Tensor) -> Tensor:
    """-log_probs of the teacher's most likely bin, [...] of [..., bins] (DAgger)."""
    best = teacher_log_probs.argmax(-1, keepdim=True)
    return -log_probs.gather(-1, best)[..., 0]


def grpo(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = exp(log_prob - old_log_prob), [...] (PPO)."""
    advantage = advantage.detach()
    r = (log_prob - old_log_prob.detach()).exp()
    return -torch.minimum(r * advantage, r.clamp(1 - clip_low, 1 + clip_high) * advantage)


def cross_entropy(logits: Tensor, token: Tensor) -> Tensor:
    """-log softmax(logits)[token], [...] of [..., bins] and int64 [...] (supervised fine-tuning)."""
    return -logits.log_softmax(-1).gather(-1, token[..., None])[..., 0]


def token_weights(mask: Tensor, normalize: str) -> Tensor:
    """What the losses of tokens are multiplied by before they are added up, float32 [T, N].

    Args:
      mask: [T, N] bool, which of a trajectory's T tokens (steps times dimensions) count, of N trajectories.
      normalize: "sum" over time and mean over trajectories; mean over every "token" that counts; mean over each
        "trajectory"'s own, then over trajectories.
    Raises:
      ValueError: another `normalize`.
    """
    valid = mask.float()
    if normalize == "sum":
        return valid / mask.shape[1]
    if normalize == "token":
        return valid / valid.sum().clamp(min=1)
    if normalize == "trajectory":
        return valid / valid.sum(0).clamp(min=1) / mask.shape[1]
    raise ValueError(f"normalize={normalize!r} is unknown: choose from sum, token, trajectory")


def group_advantages(returns: Tensor, low: float, high: float) -> Tensor:
    """(R - mean) / (std + 1e-6) over each group, [B, G]; the std is the unbiased one.

    Args:
      returns: [B, G] in {0, 1}: success of G trajectories from each of B initial states.
      low, high: a group whose success rate is outside [low, high] has nothing to compare, and gets 0.
    """
    mean = returns.mean(1, keepdim=True)
    if returns.shape[1] < 2:
        return torch.zeros_like(returns)
    advantage = (returns - mean) / (returns.std(1, keepdim=True) + _EPSILON)
    return torch.where(mixed(returns, low, high)[:, None], advantage, torch.zeros_like(advantage))


def mixed(returns: Tensor, low: float, high: float) -> Tensor:
    """Which groups [B] have a success rate in [low, high]; `returns` as in `group_advantages`."""
    mean = returns.mean(1)
    return (mean >= low) & (mean <= high)
