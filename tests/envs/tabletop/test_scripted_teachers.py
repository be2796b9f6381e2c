"""Every uncorrupted scripted teacher solves its task on the C engine."""

import jax
import jax.numpy as jnp
import pytest

from rpd_jax.envs.functional import vector_reset, vector_step
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop.tasks import TASKS
from teachers import scripted

QUICK = ("PickCube-v1", "PokeCube-v1", "PegInsertionSide-v1")  # the others: slow


@pytest.mark.parametrize(
    "task", [task if task in QUICK else pytest.param(task, marks=pytest.mark.slow) for task in sorted(TASKS)]
)
def test_solves_its_task(task):
    env = TabletopEnv(task, engine="c", end_on_success=False)
    teacher = scripted.make(env.spec)

    def step(state, _):
        action = teacher.label(state.observation, "", jax.random.key(0)).action
        state, result = vector_step(env, state, action)
        return state, result.success

    def episodes(seeds):
        state = vector_reset(env, seeds, jnp.zeros_like(seeds, jnp.int32))
        return jax.lax.scan(step, state, None, length=env.spec.max_episode_steps)[1]

    success = jax.jit(episodes)(jnp.arange(64, dtype=jnp.uint32))
    # at 90 % or more in the long run, fewer than 85 % of 64 have a chance of at most 11 %; the seeds are fixed
    assert float(success.any(axis=0).mean()) >= 0.85
