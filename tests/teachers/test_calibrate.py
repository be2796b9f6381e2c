"""Bisection for a wanted success, where the success at a level is known, and in an environment without physics."""

from types import SimpleNamespace

import numpy as np
import pytest
from kinematic_arm import KinematicArm

from rpd_jax.report.intervals import wilson
from rpd_jax.training.evaluation import Episodes
from teachers import calibrate as module
from teachers.calibrate import calibrate


@pytest.fixture
def known(monkeypatch):
    """Makes the success of a teacher a given function of its level, in 1,000 episodes."""

    def set_success(success_of):
        def played(env, teacher, protocol):
            success = np.arange(1000) < round(1000 * success_of(teacher))
            return Episodes(success, success, np.zeros(1000)), []

        monkeypatch.setattr(module, "teacher_episodes", played)
        monkeypatch.setattr(module, "load", lambda kind, spec, level: level)
        env = SimpleNamespace(spec=None, num_envs=1, state_dict=dict, load_state_dict=lambda state: None)
        return lambda wanted, **options: calibrate(env, lambda level: {"level": level}, wanted, **options)

    return set_success


def test_finds_the_level_of_an_analytic_function(known):
    tried = []
    found = known(lambda level: tried.append(level) or 1.0 - level**2)(0.5, tolerance=0.001, max_trials=20)
    assert found[0].level == pytest.approx(np.sqrt(0.5), abs=0.002)
    assert found[0].success == pytest.approx(0.5, abs=0.001)
    assert found[0].interval == wilson(round(1000 * found[0].success), 1000)
    assert tried[:4] == [0.0, 1.0, 0.5, 0.75] and len(found) == len(tried)


def test_stops_where_it_may(known):
    assert len(known(lambda level: 0.5)(0.5)) == 1
    assert len(known(lambda level: float(level < 1 / 3))(0.5, max_trials=6)) == 6
    assert known(lambda level: 1.0 - level / 8.0)(0.25, high=8.0, tolerance=0.01)[0].level == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(0.9, "wanted=0.9 .*at most 0.800"), (1.1, "wanted=1.1 .*at most 0.800"), (0.1, "wanted=0.1 .*at least 0.300")],
)
def test_what_cannot_be_found_is_refused(known, wanted, message):
    with pytest.raises(ValueError, match=message):
        known(lambda level: 0.8 - 0.5 * level)(wanted)


def test_calibrates_a_scripted_teacher_on_equal_episodes():
    # without physics a teacher succeeds exactly while its bias along z is below the 2 cm of the task
    env = KinematicArm(2)
    found = calibrate(env, lambda z: {"bias": (0.0, 0.0, z)}, 0.5, high=0.06, episodes=2, max_trials=7)
    assert all(trial.success == (trial.level < 0.02) for trial in found) and len(found) == 7
    assert min(abs(trial.level - 0.02) for trial in found) < 0.002
    assert env.episode == 1  # every trial began from the same episode
