"""The diffusion of action chunks: cosine schedule, training loss, ancestral sampling; pure functions.

Ho et al., "Denoising Diffusion Probabilistic Models" (2020), with the schedule of Nichol and Dhariwal (2021).
F = action horizon * action dimensions, flattened with the horizon first. T is the number of diffusion steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array

COSINE_OFFSET, MAX_BETA = 0.008, 0.999


class Schedule(NamedTuple):
    """Noise levels by step, each float32 [T]."""

    betas: np.ndarray
    alphas: np.ndarray
    alpha_hats: np.ndarray


class Noise(NamedTuple):
    """All that chance decides in one sampling."""

    start: Array  # [..., F]: the chunk of pure noise that it begins with
    steps: Array  # [T, ..., F], in the order in which steps are taken, so for t = T-1 first


def cosine_schedule(steps: int) -> Schedule:
    """beta_k = clip(1 - f(k+1) / f(k), 0, 0.999) with f(k) = cos^2((k/T + s) / (1 + s) * pi/2), s = 0.008."""
    share = np.arange(steps + 1) / steps
    level = np.cos((share + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * np.pi / 2.0) ** 2
    betas = np.clip(1.0 - level[1:] / level[:-1], 0.0, MAX_BETA).astype(np.float32)
    alphas = np.float32(1.0) - betas
    return Schedule(betas, alphas, np.cumprod(alphas, dtype=np.float32))


def noised(action: Array, time: Array, noise: Array, schedule: Schedule) -> Array:
    """sqrt(alpha_hat_t) a + sqrt(1 - alpha_hat_t) noise, all [..., F] but for time int [..., 1]."""
    alpha_hat = jnp.broadcast_to(jnp.asarray(schedule.alpha_hats)[time], noise.shape)
    return jnp.sqrt(alpha_hat) * jnp.broadcast_to(action, noise.shape) + jnp.sqrt(1.0 - alpha_hat) * noise


def masked_loss(error: Array, mask: Array, action_dim: int) -> Array:
    """action_dim * mean(error * mask) / max(mean(mask), 1e-5): errors and masks of one shape; a scalar."""
    chex.assert_equal_shape([error, mask])
    mask = mask.astype(error.dtype)
    return action_dim * jnp.mean(error * mask) / jnp.maximum(jnp.mean(mask), 1e-5)


def draw_noise(key: Array, steps: int, shape: tuple[int, ...]) -> Noise:
    """Standard normal noise for one sampling of chunks of `shape` [..., F].

    The stream is the official one: the key is split once for the start and once for each step.
    """
    key, start_key = jax.random.split(key)

    def step(key: Array, _: None) -> tuple[Array, Array]:
        key, step_key = jax.random.split(key)
        return key, jax.random.normal(step_key, shape)

    return Noise(jax.random.normal(start_key, shape), jax.lax.scan(step, key, None, length=steps)[1])


def reverse(
    eps: Callable[[Array, Array], Array],
    noise: Noise,
    schedule: Schedule,
    max_action: float,
    used: Array | None = None,
    *,
    trajectory: bool = False,
) -> Array:
    """Ancestral sampling: from noise to action chunks.

    Args:
      eps: the score network, (x [..., F], t int32 [..., 1]) -> predicted noise [..., F].
      noise: what chance decides.
      schedule: of T steps.
      max_action: chunks are clipped to [-max_action, max_action] after every step.
      used: bool [F], False for entries beyond the embodiment's action dimensions: they stay noise. None: all.
      trajectory: return every x instead, [T, ..., F].
    Returns:
      chunks [..., F].
    """
    shape = noise.start.shape
    steps = len(schedule.betas)
    chex.assert_shape(noise.steps, (steps, *shape))
    kept = jnp.ones(shape, bool) if used is None else jnp.broadcast_to(used, shape)

    def step(x: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array | None]:
        t, beta, alpha, alpha_hat, z = inputs
        predicted = eps(x, jnp.full((*shape[:-1], 1), t, jnp.int32))
        x = (x - (1.0 - alpha) / jnp.sqrt(1.0 - alpha_hat) * predicted) / jnp.sqrt(alpha)
        x = jnp.clip(x + (t > 0) * jnp.sqrt(beta) * z, -max_action, max_action)
        x = jnp.where(kept, x, jnp.sqrt(1.0 - alpha_hat) * z)
        return x, x if trajectory else None

    backwards = (np.arange(steps), *schedule)
    inputs = (*(jnp.asarray(x[::-1]) for x in backwards), noise.steps)
    last, every = jax.lax.scan(step, noise.start, inputs)
    if not trajectory:
        return last
    assert every is not None, "`step` gave every x"
    return every
