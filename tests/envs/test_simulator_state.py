"""The simulator's whole state beside the observations, on request; with toy environments instead of ManiSkill."""

import itertools

import numpy as np
import pytest
from fake_rows import SEEDS, SUCCEED, actions, made_with, seeds_of

from rpd_jax.demonstrations.record import record
from rpd_jax.envs.base import tell_simulator_state
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.maniskill import pool
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.toy.reach import Reach


@pytest.fixture
def make(monkeypatch):
    with made_with(monkeypatch, pool, "fake_maniskill", ManiSkillVectorEnv, processes=2) as build:
        yield build


def test_it_is_told_before_an_episode_is_left(make):
    env = make()
    assert "simulator" not in env.reset()
    assert tell_simulator_state(env) == {"actors/cube": (0, 2), "articulations/a": (2, 3)}
    state = env.reset()["simulator"]
    assert state[:, 0].tolist() == seeds_of(1) and state[:, 1].tolist() == [0] * 5 and (state[:, 2] == 1).all()
    result = env.step(actions([3], SUCCEED))
    assert result.final_observation["simulator"][:, 1].tolist() == [1] * 5
    assert result.observation["simulator"][:, 1].tolist() == [1, 1, 1, 0, 1]
    assert result.observation["simulator"][:, 0].tolist() == seeds_of([1, 1, 1, 2, 1])
    assert env.spec.robot == "panda"


def test_recorded_episodes_hold_it_and_their_seeds(make):
    env = make()
    rounds = record(env, lambda number: lambda observation, starts: actions([1], SUCCEED), seed=0)
    for number, episodes in enumerate(itertools.islice(rounds, 2)):
        assert [episode.length for episode in episodes] == [4, 1, 4, 4, 4]
        for place, episode in enumerate(episodes):
            cube = episode.env_states["actors/cube"]
            assert cube[:, 1].tolist() == list(range(episode.length + 1))
            assert (cube[:, 0] == episode.seed % 1000).all() and "simulator" not in episode.observation
            assert episode.seed % 1000 == seeds_of(number)[place]  # as the environment was made with, `SEEDS`


def test_environments_without_one_record_none():
    env = FunctionalVectorEnv(Reach(3), len(SEEDS), env_seeds(0, len(SEEDS)))
    assert tell_simulator_state(env) == {}
    still = np.zeros((len(SEEDS), 7))
    assert all(e.env_states is None for e in next(record(env, lambda number: lambda o, s: still, seed=0)))
