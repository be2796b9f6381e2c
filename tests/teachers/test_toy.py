"""The toy teacher by hand."""

import jax
import numpy as np
import pytest
from kinematic_arm import pick_cube_spec

from rpd_jax.envs.toy.reach import Reach
from teachers.base import load

SPEC = Reach().spec
STATE = {"state": np.array([[0.0, 0.0, 0.0, 0.02, -0.2, 0.0]], np.float32)}


def test_it_walks_to_the_goal():
    # 0.02 m of 0.05 m per unit is 0.4; 0.2 m is more than one step, clipped
    labels = load("toy", SPEC).label(STATE, "", jax.random.key(0))
    np.testing.assert_allclose(labels.action[0], [0.4, -1.0, 0, 0, 0, 0, 0], atol=1e-6)
    assert labels.valid.all()


def test_bias_and_noise():
    labels = load("toy", SPEC, bias=(0.01, 0.0, 0.0)).label(STATE, "", jax.random.key(0))
    np.testing.assert_allclose(labels.action[0, 0], 0.6, atol=1e-6)
    noisy = load("toy", SPEC, noise=0.2)
    first, again, other = (noisy.label(STATE, "", jax.random.key(k)).action for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_it_knows_one_task():
    with pytest.raises(ValueError, match="only toy:Reach-v0"):
        load("toy", pick_cube_spec())
