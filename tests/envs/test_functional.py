"""Vectors of functional environments: seeds, partial resets, pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.envs.functional import DRAWN_AT_ONCE, FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach


class Drawn(Reach):
    """Its picture [1, 1, 3] is 0, 1, 2 plus ten times the step."""

    def __init__(self):
        super().__init__(max_episode_steps=5)
        self.spec = dataclasses.replace(self.spec, frame_shape=(1, 1, 3))
        self.traced = 0

    def render(self, state):
        self.traced += 1
        _, steps = state
        return (jnp.arange(3) + 10 * steps).astype(jnp.uint8).reshape(1, 1, 3)


def states(env):
    return np.asarray(env.reset()["state"])


def test_frames_are_those_of_the_environments_named():
    env = FunctionalVectorEnv(Drawn(), 3, [1, 2, 3])
    env.reset()
    env.step(np.zeros((3, 7)))
    env.reset(np.array([False, True, False]))
    frames = env.frames([2, 1])
    assert frames.shape == (2, 1, 1, 3) and frames.dtype == np.uint8
    # environment 2 has made one step, environment 1 begins anew
    np.testing.assert_array_equal(frames[:, 0, 0], [[10, 11, 12], [0, 1, 2]])
    assert env.frames([]).shape == (0, 1, 1, 3)


def test_few_programs_draw_any_number_of_environments():
    inner = Drawn()
    env = FunctionalVectorEnv(inner, DRAWN_AT_ONCE + 4, range(DRAWN_AT_ONCE + 4))
    env.reset()
    for count in (5, 6, 7, 8):  # all of them are drawn as 8
        assert len(env.frames(range(count))) == count
    assert inner.traced == 1
    assert len(env.frames(range(DRAWN_AT_ONCE + 4))) == DRAWN_AT_ONCE + 4


def test_what_cannot_be_drawn_says_so():
    with pytest.raises(ValueError, match="toy:Reach-v0 cannot be drawn"):
        FunctionalVectorEnv(Reach(), 1, [0]).frames([0])
    with pytest.raises(ValueError, match=r"indices=\[0, 2\]: must be in \[0, 2\)"):
        FunctionalVectorEnv(Drawn(), 2, [0, 1]).frames([0, 2])


def test_a_partial_reset_begins_the_next_episode_there_only():
    env, whole = (FunctionalVectorEnv(Reach(), 3, [1, 2, 3]) for _ in range(2))
    first, second = states(whole), states(whole)
    env.reset()
    env.step(np.ones((3, 7)))
    after = np.asarray(env.reset(np.array([True, False, True]))["state"])
    np.testing.assert_array_equal(after[[0, 2]], second[[0, 2]])
    # the one that goes on has moved by one action of 0.05 m
    np.testing.assert_allclose(after[1, :3], first[1, :3] + 0.05, atol=1e-6)


def test_other_seeds_give_their_own_first_episodes():
    env = FunctionalVectorEnv(Reach(), 2, [1, 2])
    first = states(env)
    env.step(np.zeros((2, 7)))
    env.reseed([3, 1])
    with pytest.raises(RuntimeError, match="before reset"):
        env.step(np.zeros((2, 7)))
    other = states(env)
    np.testing.assert_array_equal(other[1], first[0])
    assert not np.allclose(other[0], first[0])
    fresh = FunctionalVectorEnv(Reach(), 1, [3])
    np.testing.assert_array_equal(other[:1], states(fresh))


def test_an_ended_episode_gives_way_to_the_next_of_its_seed():
    env, whole = (FunctionalVectorEnv(Reach(max_episode_steps=2), 2, [1, 2]) for _ in range(2))
    first, second = states(whole), states(whole)
    env.reset()
    env.step(np.zeros((2, 7)))
    result = jax.device_get(env.step(np.zeros((2, 7))))
    assert result.truncated.all()
    np.testing.assert_array_equal(result.final_observation["state"], first)  # nothing moved
    np.testing.assert_array_equal(result.observation["state"], second)
