"""Quaternions of Euler angles against SciPy; the other rotations are tested with the conversions that use them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from rpd_jax.actions import rotations


@pytest.mark.parametrize("seed", range(5))
def test_quaternions_of_intrinsic_xyz_angles(seed):
    angles = np.random.default_rng(seed).uniform(-3.0, 3.0, (4, 3))
    x, y, z, w = Rotation.from_euler("XYZ", angles).as_quat().T
    expected = np.stack([w, x, y, z], axis=-1)
    found = np.asarray(rotations.quaternion_from_euler(jnp.asarray(angles, jnp.float32)))
    found = found * np.sign(np.sum(found * expected, axis=-1, keepdims=True))  # q and -q are one rotation
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_turn_about_z_goes_from_x_to_y():
    """A quarter turn takes x to y and y to -x; z stays: (1, 2, 3) -> (-2, 1, 3)."""
    v = jnp.array([[1.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    turned = rotations.turn_about_z(v, np.pi / 2)
    np.testing.assert_allclose(turned, [[0.0, 1.0, 0.0], [-2.0, 1.0, 3.0]], atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_slerp_is_scipys(seed, share):
    rng = np.random.default_rng(seed)
    ends = Rotation.random(2, random_state=rng)
    x, y, z, w = ends.as_quat().T
    a, b = jnp.asarray(np.stack([w, x, y, z], axis=-1), jnp.float32)
    expected = Slerp([0.0, 1.0], ends)([share]).as_quat()[0][[3, 0, 1, 2]]
    found = np.asarray(rotations.slerp(a, b, share))
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=2e-6)
