"""A served policy of two cameras and proprioception teaches by chunks. The environment is a stand-in for LIBERO."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_server import HORIZON, policy
from served import Server, libero_spec, running

import rpd_jax
from rpd_jax.config import TeacherConfig
from rpd_jax.envs.base import draw_missing
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from teachers.base import load
from teachers.conventions import LIBERO_OSC
from teachers.remote.steps import fitted
from teachers.settings import teacher_factory


class Bowl(Reach):
    """Reach, seen by two cameras of one shade each, the point's x and its y; not LIBERO, but named as its parts are."""

    def __init__(self) -> None:
        super().__init__(max_episode_steps=7)
        self.spec = libero_spec()

    def reset(self, key):
        state, observation = super().reset(key)
        return state, self._seen(observation)

    def step(self, state, action):
        state, observation, *rest = super().step(state, action)
        return state, self._seen(observation), *rest

    def render(self, state, camera="rgb"):
        shade = jnp.clip(128 + 400 * state[0][0 if camera == "rgb" else 1], 0, 255).astype(jnp.uint8)
        return jnp.full(self.spec.cameras[camera], shade)

    def _seen(self, observation):
        return {**observation, "proprio": jnp.concatenate([observation["state"], jnp.array([0.04, -0.04])])}


@pytest.fixture(scope="module")
def server():
    with running("openpi") as server:
        yield server


def test_a_chunk_of_both_cameras_and_the_state(server: Server):
    env = FunctionalVectorEnv(Bowl(), 3, [1, 2, 3])
    observation = env.reset()
    teacher = load("remote", env.spec, address=server.url, request=("openpi-libero",))
    try:
        keys = teacher.spec.observation_keys
        seen = draw_missing(env, keys, observation, range(3))
        found = teacher.label_chunk(seen, "pick up the bowl", jax.random.key(0))
    finally:
        teacher.close()
    assert keys == ("rgb", "rgb_wrist", "proprio")
    assert teacher.spec.contract == LIBERO_OSC and teacher.spec.chunk == HORIZON and np.all(found.valid)
    shades = [np.asarray(seen[key])[:, 0, 0, 0] for key in keys[:2]]
    assert len(np.unique(shades)) == 6  # what follows tells all the frames apart
    for step, key in enumerate(keys[:2]):
        expected = [policy(fitted(np.asarray(frame), 224), "")[0] for frame in seen[key]]
        np.testing.assert_array_equal(found.action[:, step], expected)
    np.testing.assert_array_equal(found.action[:, 2], np.asarray(observation["proprio"])[:, :7])


@pytest.mark.slow
def test_training_with_it(server: Server):
    """The first frame's policy is what students are pulled to, and the teacher itself acts in chunks."""
    config = rpd_jax.get_preset("debug")
    config.env.max_episode_steps = None
    config.variants, config.seeds = ("rpd-mse", "sparse-rpd:window=2"), (0,)
    config.algorithm.total_steps = 160
    config.teacher = TeacherConfig(name="remote", address=server.url, request="openpi-libero", probe=False)
    config.teacher.connections, config.teacher.replan_every = 2, HORIZON
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 4, 4, 0
    result = rpd_jax.train(config, teacher_factory(config.teacher), env=Bowl(), directory=None)
    assert [row.variant for row in result.table] == ["teacher:remote:openpi", "rpd-mse", "sparse-rpd:window=2"]
    dense, sparse = (result.history[-1][f"update/distill_mse/{name}/0"] for name in config.variants)
    assert dense > 0 and sparse > 0 and np.isfinite([dense, sparse]).all()
    assert result.history[-1]["teacher/server_reconnects"] == 0
