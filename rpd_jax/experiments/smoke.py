"""Seconds on one core: what the machinery is tested with. Its result says nothing about any method."""

from __future__ import annotations

from rpd_jax.comparison import Case, Claim, Experiment, better, grid
from rpd_jax.presets import debug


def smoke() -> Experiment:
    """The toy reaching task with a toy teacher, dense and sparse."""
    config = debug()
    config.eval.every, config.run.checkpoint_every = 4, 1
    return Experiment(
        name="smoke",
        title="Does the comparison run? (a toy task, no evidence)",
        config=config,
        cases=(Case("near"), Case("long", {"algorithm.gamma": 0.95})),
        arms=(grid("ppo", learning_rate=(3e-4, 3e-3)), grid("rpd-mse", mse=(1, 20), learning_rate=(3e-3,))),
        budgets=(16 * 8 * 20, 32 * 8 * 20),
        tuning_seeds=(100, 101),
        seeds=(0, 1, 2),
        claims=(Claim("RPD-MSE ends above PPO", better("rpd-mse", "ppo")),),
        minutes=1,
    )
