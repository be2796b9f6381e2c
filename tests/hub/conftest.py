"""A hub on loopback, and a run to push."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hub_stand_in import TOKEN, Hub, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two variants and two seeds, whose config names paths of this machine."""
    import rpd_jax
    from teachers.settings import teacher_factory

    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0, 1)
    config.algorithm.total_steps = 2 * config.algorithm.iteration_steps(config.env.num_envs)
    config.network.normalize_observations = True
    config.eval.every, config.eval.videos, config.eval.episodes, config.eval.num_envs = 1, 0, 4, 2
    config.run.checkpoint_every = 1
    config.run.directory, config.run.tensorboard = str(tmp_path_factory.mktemp("hub") / "run"), False
    return rpd_jax.train(config, teacher_factory(config.teacher))
