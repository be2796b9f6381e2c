"""C MuJoCo and MJX: one model, one trajectory without contacts, one outcome of a grasp."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.envs.functional import play, vector_reset, vector_step
from rpd_jax.envs.tabletop import engine_c, hand
from rpd_jax.envs.tabletop.env import TabletopEnv
from teachers.base import acting, load
from teachers.scripted import TASKS

ENGINES = ("c", "mjx")


@pytest.fixture(scope="module")
def envs():
    pytest.importorskip("mujoco.mjx", reason="pip install 'rpd_jax[mjx]'")
    return {engine: TabletopEnv("PickCube-v1", engine=engine, end_on_success=False) for engine in ENGINES}


def begin(env, count):
    seeds = jnp.arange(count, dtype=jnp.uint32)
    return jax.jit(functools.partial(vector_reset, env))(seeds, jnp.zeros(count, jnp.int32))


@pytest.fixture(scope="module")
def trajectories(envs):
    """qpos, qvel and forces [T, 6, ...]: four environments wave the hand high above the table, two grasp."""
    actions = 0.5 * jax.random.normal(jax.random.key(0), (45, 4, 7))
    actions = actions.at[:8, :, 2].set(0.7)  # up and away first
    teacher = load("scripted", envs["c"].spec)
    found = {}
    for engine, env in envs.items():

        def step(state, action, env=env):
            grasping = teacher.label({"state": state.observation["state"][4:]}, "", jax.random.key(0)).action
            state, result = vector_step(env, state, jnp.concatenate([action, grasping]))
            return state, (state.env_state.physics, result.success)

        _, found[engine] = jax.jit(lambda state, step=step: jax.lax.scan(step, state, actions))(begin(env, 6))
    return found


@pytest.mark.slow
def test_free_motion_is_the_same_in_both(trajectories):
    (c, _), (mjx, _) = trajectories["c"], trajectories["mjx"]
    # 225 substeps in double precision against single: micrometres and microradians times a few hundred
    np.testing.assert_allclose(c.qpos[:, :4, :8], mjx.qpos[:, :4, :8], atol=2e-4)
    np.testing.assert_allclose(c.qvel[:, :4, :8], mjx.qvel[:, :4, :8], atol=2e-3)
    assert float(jnp.abs(jnp.diff(c.qpos[:, :4, :3], axis=0)).max()) > 0.02  # they did move


def test_a_grasp_ends_the_same_in_both(trajectories):
    for physics, success in trajectories.values():
        assert bool(success[:, 4:].any(axis=0).all())
        force = physics.force[-1, 4:, 0]  # of the left and the right finger on the cube
        # each finger presses with about its 3 N across, and on both together hangs the cube: 0.064 kg x 9.81 = 0.628 N
        across = jnp.linalg.norm(force[..., :2], axis=-1)
        assert jnp.all((across > 2.0) & (across < 4.5))
        np.testing.assert_allclose(force[..., 2].sum(axis=-1), 0.628, atol=0.1)
    end_c, end_mjx = (trajectories[engine][0].qpos[-1, 4:, 8:11] for engine in ENGINES)
    np.testing.assert_allclose(end_c, end_mjx, atol=5e-3)


def test_threads_do_not_change_results():
    env = TabletopEnv("StackCube-v1")
    state, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 33))
    physics = jax.tree.map(np.asarray, state.physics)
    ctrl = jax.jit(jax.vmap(lambda q: hand.targets(q[:8], jnp.full(7, -0.7), 0.0)))(physics.qpos)
    arrays = [np.asarray(x) for x in (physics.qpos, physics.qvel, ctrl)]

    def stepped(threads, rows):
        results = [np.full_like(x[rows], np.nan) for x in physics]
        engine_c.BatchedRollout(env._model.mujoco, threads)([x[rows] for x in arrays], results)
        return results

    many = stepped(3, slice(None))
    assert np.isfinite(many[0]).all()
    for i in (0, 16, 32):
        for several, one in zip(many, stepped(1, i), strict=True):
            np.testing.assert_array_equal(several[i], one)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_scripted_teachers_solve_every_task_in_mjx(task):
    """16 episodes a task; a minute or two each on a CPU, most of it compilation."""
    pytest.importorskip("mujoco.mjx", reason="pip install 'rpd_jax[mjx]'")
    env = TabletopEnv(task, engine="mjx", end_on_success=False)
    teacher = load("scripted", env.spec)

    steps = env.spec.max_episode_steps
    run = jax.jit(lambda seeds: play(env, acting(teacher), seeds, steps, jax.random.key(0)).success)
    success = run(jnp.arange(16, dtype=jnp.uint32))
    assert int(success.any(axis=0).sum()) >= 14
