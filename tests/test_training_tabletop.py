"""Training on the tabletop suite: the whole loop as one program, resumed to the bit."""

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.training.loops import GraphLoop
from teachers.settings import teacher_factory


def tiny(directory, *, films=False):
    config = rpd_jax.get_preset("quickstart")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.env.num_envs, config.env.image_size = 4, 48
    config.env.max_episode_steps = 12
    config.network.hidden = (32,)
    config.algorithm.total_steps, config.algorithm.rollout_length = 4 * 4 * 10, 10
    config.algorithm.epochs, config.algorithm.minibatches = 2, 2
    config.eval.every, config.eval.curve_episodes, config.eval.episodes, config.eval.num_envs = 2, 4, 4, 4
    config.eval.videos = 1 if films else 0
    config.teacher.probe = False  # it takes 24 steps
    config.run.directory, config.run.tensorboard = str(directory), False
    config.run.checkpoint_every, config.run.iterations_per_call = 2, 3
    return config


def test_a_run_is_one_program(tmp_path, monkeypatch):
    calls = []
    run = GraphLoop.run
    monkeypatch.setattr(
        GraphLoop, "run", lambda self, members, first, count: calls.append(count) or run(self, members, first, count)
    )
    config = tiny(tmp_path / "whole", films=True)
    factory = teacher_factory(config.teacher)
    whole = rpd_jax.train(config, factory)
    # at most three iterations a call, and never past an evaluation or checkpoint, due every second
    assert calls == [2, 2]
    assert [row.variant for row in whole.table] == ["teacher:scripted:PickCube-v1", "ppo", "rpd-mse"]
    # 10 steps x 4 environments x 4 iterations, once each
    assert [row.teacher_calls for row in whole.table] == [0, 0, 160]
    assert len(whole.history) == 4
    for name in ("curves.png", "episodes.mp4", "results.json"):
        assert (whole.directory / name).stat().st_size > 0


@pytest.mark.slow
def test_a_run_resumes_to_the_bit(tmp_path):
    factory = teacher_factory(tiny(tmp_path).teacher)
    whole = rpd_jax.train(tiny(tmp_path / "whole"), factory)

    class StopHere(Exception):
        pass

    def stop(snapshot):
        assert snapshot.iteration == 2
        raise StopHere

    with pytest.raises(StopHere):
        rpd_jax.train(tiny(tmp_path / "resumed"), factory, callbacks=[stop])
    resumed = rpd_jax.train(tiny(tmp_path / "resumed"), factory, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    assert [row.success_once for row in whole.table] == [row.success_once for row in resumed.table]


@pytest.mark.slow  # the notebook trains with the first of them, too
@pytest.mark.parametrize(("preset", "calls"), [("quickstart-vla", 16), ("quickstart-vla-rgb", 80)])
def test_octo_nano_teaches_in_the_loop(tmp_path, preset, calls):
    """Camera, model, labels and student in one program; too short to learn anything."""
    config = rpd_jax.get_preset(preset)
    small = tiny(tmp_path / "run")
    config.seeds, config.algorithm, config.eval, config.run = (0,), small.algorithm, small.eval, small.run
    config.algorithm.total_steps = 2 * 4 * 10
    config.env.num_envs, config.env.max_episode_steps = 4, 12
    config.teacher.probe = False
    result = rpd_jax.train(config, teacher_factory(config.teacher))
    assert [row.variant for row in result.table] == ["teacher:octo:nano", "ppo", "rpd-mse"]
    assert [row.teacher_calls for row in result.table] == [0, 0, calls]
    assert np.isfinite(result.history[-1]["update/distill_mse/rpd-mse/0"])
