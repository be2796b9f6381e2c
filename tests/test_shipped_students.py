"""Students that come with the library."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.launch.evaluate import EVALUATION
from rpd_jax.students import results_directory, shipped


def test_every_one_has_a_card_and_a_size_to_ship() -> None:
    assert "PickCube-v1" in shipped()
    for name in shipped():
        directory = Path(rpd_jax.__file__).parent / "students" / name
        assert f"tabletop:{name}" in (directory / "README.md").read_text()
        assert sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) < 1_000_000


def test_one_does_its_task_on_the_tabletop() -> None:
    student = rpd_jax.load_student("shipped:PushCube-v1")
    env = TabletopEnv("PushCube-v1")
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))
    state, observation = reset(jax.random.split(jax.random.key(0), 16))
    succeeded = np.zeros(16, bool)
    for _ in range(env.spec.max_episode_steps):
        state, observation, *_, success = step(state, student.act(observation))
        succeeded |= np.asarray(success)
    assert succeeded.mean() > 0.7


def test_results_are_not_written_into_the_library() -> None:
    assert results_directory("shipped:PushCube-v1", EVALUATION) == Path("runs/shipped/PushCube-v1") / EVALUATION
    assert results_directory("runs/one", EVALUATION) == Path("runs/one") / EVALUATION


def test_an_unknown_one_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'PushCub-v1' is unknown: choose from .*; did you mean 'PushCube-v1'"):
        rpd_jax.load_student("shipped:PushCub-v1")
