"""Loss functions: arrays in, numbers out, each with its equation and source; the caller vmaps where it says "one".

    from rpd_jax import losses

    loss = losses.rpd_mse(student_mean, teacher_action)               # [..., A], [..., A] -> [...]
    loss = losses.kl(Gaussian(teacher_mean, teacher_log_std), policy)
    loss = losses.clipped_surrogate(ratio, advantage, clip_ratio=0.2)  # of one transition

`distill.py` and `direction.py` hold the terms that variants are made of (a new one: a function with `term`, see
`terms.py`), `ppo.py` PPO's parts, `tokens.py` those of token policies.
"""

# Terms are computed and logged in the order in which they are registered.
# isort: off
from rpd_jax.losses.distill import kl, l1, mse, nll, ppd, ppd_reverse, reverse_kl
from rpd_jax.losses.direction import cosine, direction, gripper

# isort: on
from rpd_jax.losses.ppo import approximate_kl, clipped_surrogate, value_loss
from rpd_jax.losses.terms import TERMS, masked_mean, term, token_term
from rpd_jax.losses.tokens import (
    cross_entropy,
    grpo,
    hard_ce,
    imitation,
    reverse_kl_clipped,
    reverse_kl_sampled,
    token_forward_kl,
    token_reverse_kl,
)

rpd_mse, rpd_l1, rpd_bc = mse, l1, nll  # as RPD's paper calls them

__all__ = [
    "TERMS",
    "approximate_kl",
    "clipped_surrogate",
    "cosine",
    "cross_entropy",
    "direction",
    "gripper",
    "grpo",
    "hard_ce",
    "imitation",
    "kl",
    "l1",
    "masked_mean",
    "mse",
    "nll",
    "ppd",
    "ppd_reverse",
    "reverse_kl",
    "reverse_kl_clipped",
    "reverse_kl_sampled",
    "rpd_bc",
    "rpd_l1",
    "rpd_mse",
    "term",
    "token_forward_kl",
    "token_reverse_kl",
    "token_term",
    "value_loss",
]
