"""What a comparison refuses to call fair, and the runs that it is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rpd_jax.comparison import Case, Experiment, grid
from rpd_jax.comparison.experiment import FINAL_EPISODES, TUNING_EPISODES
from rpd_jax.config import ConfigError
from rpd_jax.envs.registry import env_seeds
from rpd_jax.experiments import EXPERIMENTS, get_experiment
from rpd_jax.presets import debug


@pytest.fixture
def experiment() -> Experiment:
    return get_experiment("smoke")


def test_a_grid_is_every_combination() -> None:
    arm = grid("rpd-mse", mse=(1, 2), anneal=("constant", "exponential:anneal_end=0.1"))
    assert arm.settings[1] == "rpd-mse:mse=1:anneal=exponential:anneal_end=0.1"
    assert len(arm.settings) == 4
    assert arm.spec(3, "rpd-mse").terms == {"mse": 2.0}
    assert arm.spec(3).name == "rpd-mse#3"


def test_arms_with_other_numbers_of_settings_are_refused(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"'rpd-mse': 3.*one size"):
        dataclasses.replace(experiment, arms=(experiment.arms[0], grid("rpd-mse", mse=(1, 2, 3))))


def test_seeds_of_the_tuning_are_not_those_of_the_figures(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"fresh: \[0\]"):
        dataclasses.replace(experiment, tuning_seeds=(0, 100))


def test_unknown_names_are_refused(experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match="baseline"):
        dataclasses.replace(experiment, baseline="pppo")
    with pytest.raises(ConfigError, match="cases of smoke"):
        experiment.case("nowhere")
    with pytest.raises(ConfigError, match="rpd-losses"):
        get_experiment("rpd-loses")


def test_a_case_changes_fields_that_there_are() -> None:
    case = Case("wrong", {"env.rewards": "sparse"})
    made = Experiment("x", "x", debug(), (case,), (grid("ppo"), grid("rpd-mse")), (640,))
    with pytest.raises(ConfigError, match=r"no field env\.rewards"):
        made.tuning(case, "nowhere")


def test_every_setting_is_a_member_of_the_tuning(experiment: Experiment) -> None:
    tuning = experiment.tuning(experiment.cases[1], "nowhere")
    assert [spec.name for spec in tuning.variants] == ["ppo#0", "ppo#1", "rpd-mse#0", "rpd-mse#1"]
    assert tuning.algorithm.gamma == 0.95
    assert tuning.seeds == experiment.tuning_seeds
    final = experiment.final(experiment.cases[1], {"ppo": 1, "rpd-mse": 0}, 5120, "nowhere")
    assert [spec.name for spec in final.variants] == ["ppo", "rpd-mse"]
    assert final.variants[0].overrides == {"learning_rate": 3e-3}
    assert final.algorithm.total_steps == 5120


def test_episodes_of_tuning_and_figures_do_not_overlap() -> None:
    tuning, final = (set(env_seeds(seed, 512)) for seed in (TUNING_EPISODES, FINAL_EPISODES))
    assert not tuning & final


@pytest.mark.parametrize(("name", "scale"), EXPERIMENTS)
def test_every_registered_experiment_has_runs_that_can_work(name: str, scale: str) -> None:
    made = get_experiment(name, scale)
    chosen = {arm.name: 0 for arm in made.arms}
    for case in made.cases:
        made.tuning(case, "nowhere")
        made.final(case, chosen, made.budgets[-1], "nowhere")
    assert made.minutes > 0
    assert made.claims or name == "smoke"
    scores = {case.name: {arm.name: np.full(len(made.seeds), 0.5) for arm in made.arms} for case in made.cases}
    for claim in made.claims:  # of arms and cases that it has
        assert claim.check(scores).estimate == 0
