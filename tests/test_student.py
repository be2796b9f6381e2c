"""A student acts as the member of the run that it is, for single observations and batches, and says what it wants."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.envs.base import ArraySpec
from rpd_jax.runs.checkpoint import CheckpointError, load_checkpoint
from rpd_jax.training.student import load_student, restore_members


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four members, and its directory."""
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo", "ppo:gamma=0.9:name=far"), (0, 1)
    config.algorithm.total_steps = 2 * config.algorithm.iteration_steps(config.env.num_envs)
    config.network.normalize_observations = True
    config.eval.every, config.eval.videos, config.eval.episodes, config.eval.num_envs = 0, 0, 1, 1
    config.run.directory, config.run.tensorboard = str(tmp_path_factory.mktemp("student") / "run"), False
    return rpd_jax.train(config)


@pytest.fixture
def observations():
    return np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def test_it_is_the_member_that_was_asked_for(run, observations):
    _, checkpoint = load_checkpoint(run.directory)
    everyone = restore_members(run.population, checkpoint)
    batch = {"state": jnp.broadcast_to(observations, (4, 5, 6))}
    wanted = np.clip(np.asarray(run.population.mean_action(everyone, batch)), -1, 1)
    for index, (variant, seed) in enumerate(run.population.members):
        student = rpd_jax.load_student(run.directory, variant.name, seed)
        assert (student.variant, student.seed, student.iteration) == (variant.name, seed, 2)
        np.testing.assert_allclose(student.act({"state": observations}), wanted[index], atol=1e-6)
    assert len({action.tobytes() for action in wanted}) == 4


def test_single_observations_and_batches_of_numpy_and_jax(run, observations):
    student = load_student(run.directory, "far", 1)
    assert student.observation == {"state": ArraySpec((6,), "float32")}
    assert student.spec.action_dim == 7 and student.spec.contract == run.population.spec.contract
    batch = np.asarray(student.act({"state": observations, "rgb": None}))  # what it does not see is left alone
    assert batch.shape == (5, 7) and batch.dtype == np.float32
    for convert in (np.asarray, jnp.asarray, np.float64, list):
        single = student.act({"state": convert(observations[2])})
        np.testing.assert_allclose(single, batch[2], atol=1e-6)
    grid = student.act({"state": observations[:4].reshape(2, 2, 6)})
    np.testing.assert_allclose(grid, batch[:4].reshape(2, 2, 7), atol=1e-6)
    inside = jax.jit(lambda state: student.act({"state": state}))(observations)
    np.testing.assert_allclose(inside, batch, atol=1e-6)


def test_actions_are_drawn_with_a_key_and_limited_to_the_box(run):
    student = load_student(run.directory, "ppo", 0)
    state = np.zeros((2000, 6), np.float32)
    drawn, again = (np.asarray(student.act({"state": state}, key=jax.random.key(1))) for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    assert np.all(np.abs(drawn) <= 1) and np.any(np.abs(drawn) == 1) and len(np.unique(drawn[:, 0])) > 1000
    inside = np.abs(drawn[:, 0]) < 1  # as many below the mean as above it
    mean = np.asarray(student.act({"state": state[0]}))
    assert 0.4 < np.mean(drawn[inside, 0] < mean[0]) < 0.6
    assert not np.array_equal(drawn, student.act({"state": state}, key=jax.random.key(2)))


def test_what_does_not_fit_is_refused_in_one_line(run):
    student = load_student(run.directory, "ppo", 0)
    for observation, message in (
        ({"ee": np.zeros(6)}, "observation lacks 'state': it has ['ee'], the student sees ['state']"),
        ({"state": np.zeros(7)}, "observation['state'] has shape (7,): it must be (6,), or that with batch axes"),
        ({"state": np.float32(1)}, "observation['state'] has shape (): it must be (6,)"),
        ({"state": np.zeros(6, complex)}, "observation['state'] is complex128: it must be float32"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            student.act(observation)
        assert "\n" not in str(caught.value)


def test_reading_changes_nothing_and_works_in_double_precision_programs(run, observations):
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    plain = np.asarray(load_student(run.directory, "far", 0).act({"state": observations}))
    with jax.enable_x64(True):
        action = load_student(run.directory, "far", 0).act({"state": observations.astype(np.float64)})
        assert action.dtype == np.float32
    np.testing.assert_allclose(action, plain, atol=1e-6)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")} == before


def test_checkpoints_are_chosen_by_iteration(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint 7 in .*: it has \[2\]"):
        load_student(run.directory, "ppo", 0, 7)
    assert load_student(run.directory, "ppo", 0, 2).env_steps == 2 * run.population.config.algorithm.iteration_steps(
        run.population.config.env.num_envs
    )
    with pytest.raises(CheckpointError, match="is not a run directory"):
        load_student(tmp_path)
