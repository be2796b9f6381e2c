"""A run with transient guidance: exact resume in the middle of a schedule, and what it leaves behind."""

import json

import jax
import numpy as np
import pytest

import rpd_jax
from teachers.settings import teacher_factory

RISING = "vlajs:kappa=2:shut_off=1e-6:query_fraction=0.2:name=vlajs"  # ends as soon as the reward rises twice


def config_for(directory, variants=("ppo", RISING, "sparse-rpd")):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = variants, (0,)
    config.algorithm.total_steps = 8 * 8 * 20
    config.guidance.window_iterations, config.guidance.attainable_reward = 1, 1.0
    config.run.checkpoint_every = 2
    config.run.directory = str(directory)
    return config


class Interrupt(Exception):
    pass


def stop_at(iteration):
    def callback(snapshot):
        if snapshot.iteration == iteration:
            raise Interrupt

    return callback


def run(config, **options):
    return rpd_jax.train(config, teacher_factory(config.teacher), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(config_for(tmp_path_factory.mktemp("runs") / "whole"))


@pytest.mark.slow
def test_resuming_in_the_middle_of_a_schedule_changes_nothing(whole, tmp_path):
    """Stopped after two iterations (the history of three rewards is incomplete) and after six (guidance is over)."""
    config = config_for(tmp_path / "cut")
    for iteration in (2, 6):
        with pytest.raises(Interrupt):
            run(config, resume=iteration > 2, callbacks=[stop_at(iteration)])
    resumed = run(config, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    for name in ("update/distill_weight/vlajs/0", "teacher/labels/vlajs/0", "update/rollout_reward/vlajs/0"):
        assert [row[name] for row in whole.history] == [row[name] for row in resumed.history]
    weights = [row["update/distill_weight/vlajs/0"] for row in whole.history]
    assert weights[0] == 1.0 and weights[-1] == 0.0, "the run must contain the end of the guidance"


def test_the_curve_against_calls_is_written(whole):
    points = json.loads((whole.directory / "curves.json").read_text())
    last = {point["variant"]: point for point in points}
    assert last["ppo"]["labels"] == 0 < last["vlajs"]["labels"] < last["sparse-rpd"]["labels"] == 8 * 8 * 4
    assert (whole.directory / "calls.png").stat().st_size > 5_000


def test_the_table_says_what_was_asked(whole):
    asked = {row.variant: row.teacher_calls for row in whole.table}
    assert asked["ppo"] == 0 and asked["sparse-rpd"] == 256
