"""Schedule, loss and sampling of the diffusion head by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo import diffusion
from teachers.octo.diffusion import Noise, Schedule


def test_the_cosine_schedule_of_twenty_steps():
    """beta_0 = 1 - f(1/20) / f(0) with f(u) = cos^2((u + .008) / 1.008 * pi / 2): f(0) = .9998446, f(.05) = .9918532,
    so beta_0 = .007993. The last level f(1) = 0 would give beta = 1, which is clipped to .999."""
    schedule = diffusion.cosine_schedule(20)
    np.testing.assert_allclose(schedule.betas[[0, 18, 19]], [0.007993, 0.748476, 0.999], atol=1e-6)
    np.testing.assert_allclose(schedule.alpha_hats[-1], np.prod(1.0 - schedule.betas.astype(np.float64)), rtol=1e-4)


def test_one_reverse_step_by_hand():
    """alpha_hat = alpha = .64, beta = .36, eps = .5 everywhere, x = 1:
    (1 - .36 / .6 * .5) / .8 = .7 / .8 = .875. At t = 0 no noise is added. 6 is clipped to 5."""
    schedule = Schedule(*(np.array([v], np.float32) for v in (0.36, 0.64, 0.64)))
    noise = Noise(jnp.array([[1.0, 60.0]]), jnp.ones((1, 1, 2)))
    chunk = diffusion.reverse(lambda x, t: jnp.full_like(x, 0.5), noise, schedule, 5.0)
    np.testing.assert_allclose(chunk, [[0.875, 5.0]], rtol=1e-6)


def test_noise_is_added_before_the_last_step_only_with_the_steps_beta():
    """Two equal steps as above with eps = 0: x = 0 -> sqrt(.36) * 2 = 1.2 at t = 1; then 1.2 / .8 = 1.5 at t = 0."""
    schedule = Schedule(np.float32([0.36, 0.36]), np.float32([0.64, 0.64]), np.float32([0.64, 0.4096]))
    noise = Noise(jnp.zeros((1, 1)), jnp.array([[[2.0]], [[100.0]]]))
    every = diffusion.reverse(lambda x, t: jnp.zeros_like(x), noise, schedule, 5.0, trajectory=True)
    np.testing.assert_allclose(every[:, 0, 0], [1.2, 1.5], rtol=1e-6)


def test_steps_count_downwards():
    seen = []

    def eps(x, t):
        jax.debug.callback(lambda t: seen.append(int(t)), t[0, 0], ordered=True)
        return jnp.zeros_like(x)

    noise = Noise(jnp.zeros((1, 1)), jnp.zeros((3, 1, 1)))
    jax.block_until_ready(diffusion.reverse(eps, noise, diffusion.cosine_schedule(3), 5.0))
    jax.effects_barrier()
    assert seen == [2, 1, 0]


def test_entries_that_are_not_used_are_noise():
    """sqrt(1 - .64) * z = .6 z, also at the last step."""
    schedule = Schedule(*(np.array([v], np.float32) for v in (0.36, 0.64, 0.64)))
    noise = Noise(jnp.ones((1, 2)), jnp.array([[[7.0, 7.0]]]))
    used = jnp.array([[True, False]])
    chunk = diffusion.reverse(lambda x, t: jnp.full_like(x, 0.5), noise, schedule, 5.0, used)
    np.testing.assert_allclose(chunk, [[0.875, 4.2]], rtol=1e-6)


def test_noised_by_hand():
    """alpha_hat = .64: .8 * 2 + .6 * 1 = 2.2."""
    schedule = Schedule(*(np.array([v], np.float32) for v in (0.36, 0.64, 0.64)))
    x = diffusion.noised(jnp.array([[2.0]]), jnp.array([[0]]), jnp.array([[1.0]]), schedule)
    np.testing.assert_allclose(x, [[2.2]], rtol=1e-6)


def test_the_masked_loss_by_hand():
    """Errors 1, 2, 3, 4 of which the first two count: 7 * (3 / 4) / (2 / 4) = 10.5. Nothing counts: 0 / 1e-5 = 0."""
    error = jnp.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(diffusion.masked_loss(error, jnp.array([True, True, False, False]), 7), 10.5, rtol=1e-6)
    assert float(diffusion.masked_loss(error, jnp.zeros(4, bool), 7)) == 0.0


@pytest.mark.parametrize("shape", [(2, 3), (1,)])
def test_noise_has_the_shape_asked_for(shape):
    noise = diffusion.draw_noise(jax.random.key(0), 4, shape)
    assert noise.start.shape == shape and noise.steps.shape == (4, *shape)
    assert len(np.unique(np.asarray(noise.steps))) == noise.steps.size


def test_samples_of_a_known_distribution_have_its_moments():
    """Data are normal with mean 1 and std .5 in one dimension; the true score is known:
    eps(x, t) = sqrt(1 - ah) (x - sqrt(ah)) / (.25 ah + 1 - ah). 4000 samples; standard errors .008 and .006."""
    schedule = diffusion.cosine_schedule(50)

    def eps(x, t):
        ah = jnp.asarray(schedule.alpha_hats)[t]
        return jnp.sqrt(1.0 - ah) * (x - jnp.sqrt(ah)) / (0.25 * ah + 1.0 - ah)

    noise = diffusion.draw_noise(jax.random.key(0), 50, (4000, 1))
    samples = np.asarray(diffusion.reverse(eps, noise, schedule, 5.0))
    np.testing.assert_allclose(samples.mean(), 1.0, atol=0.04)
    np.testing.assert_allclose(samples.std(), 0.5, atol=0.04)  # a few hundredths are the discretisation's
