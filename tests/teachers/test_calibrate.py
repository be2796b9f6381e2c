"""Bisection on known functions, and episodes counted by hand."""

import jax
import numpy as np
import pytest
from kinematic_arm import KinematicArm

from rpd_jax.config import TeacherConfig
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.base import load
from teachers.calibrate import calibrate, calibrate_scripted, run_teacher, settings_at, wilson_interval

KEY = jax.random.key(0)


def test_finds_the_level_of_an_analytic_function():
    found = calibrate(lambda level: 1.0 - level**2, 0.5, tolerance=0.001, max_trials=20)
    assert found.converged
    assert found.level == pytest.approx(np.sqrt(0.5), abs=0.001)
    assert found.success == pytest.approx(0.5, abs=0.001)
    assert [trial.level for trial in found.trials[:4]] == [0.0, 1.0, 0.5, 0.75]
    assert found.trials[2].success == 0.75


def test_stops_where_it_may():
    assert len(calibrate(lambda level: 0.5, 0.5).trials) == 1
    bounded = calibrate(lambda level: float(level < 1 / 3), 0.5, max_trials=6)
    assert len(bounded.trials) == 6 and not bounded.converged
    found = calibrate(lambda level: 1.0 - level / 8.0, 0.25, low=2.0, high=8.0, tolerance=0.01)
    assert found.level == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wanted": 0.9}, "wanted=0.9: level 0.0 reaches only 0.800"),
        ({"wanted": 0.1}, "wanted=0.1: level 1.0 still reaches 0.300"),
        ({"wanted": 1.1}, "wanted=1.1"),
        ({"wanted": 0.5, "low": 1.0}, "low must be less than high"),
        ({"wanted": 0.5, "tolerance": 0.0}, "tolerance=0.0"),
        ({"wanted": 0.5, "max_trials": 1}, "max_trials=1"),
    ],
)
def test_what_cannot_be_found_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibrate(lambda level: 0.8 - 0.5 * level, **arguments)


def test_a_success_that_is_no_rate_is_refused():
    with pytest.raises(ValueError, match=r"success_of\(0.0\) gave nan"):
        calibrate(lambda level: float("nan"), 0.5)


def test_wilson_interval():
    # 8 of 10: (0.8 + 0.19208 -+ 1.96 sqrt(0.016 + 0.009604)) / 1.38416
    np.testing.assert_allclose(wilson_interval(8, 10), (0.49016, 0.94332), atol=1e-4)
    assert wilson_interval(0, 5)[0] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="successes=6 of trials=5"):
        wilson_interval(6, 5)


class Recorder:
    """Goes to a point that it is told, and remembers what it was shown."""

    def __init__(self, offset, history=1, leave_after=99):
        self.spec = TeacherSpec("recorder", ("state",), None, history=history)
        self.offset, self.leave_after, self.seen = np.asarray(offset), leave_after, []

    def label(self, observation, instruction, key):
        state = observation["state"]
        self.seen.append(state)
        state = state if self.spec.history == 1 else state[:, -1]
        action = np.zeros((len(state), 7), np.float32)
        action[:, :3] = (state[:, 29:32] + self.offset - state[:, 19:22]) / 0.1
        if len(self.seen) > self.leave_after:
            action[:, 2] = 1.0
        return TeacherLabels(action, np.ones(len(state), bool), np.ones_like(action))


def test_success_once_and_at_the_end_are_kept_apart():
    stays = run_teacher(KinematicArm(3), Recorder((0, 0, 0)), 3, KEY)
    assert stays.success_once.tolist() == stays.success_at_end.tolist() == [True] * 3
    misses = run_teacher(KinematicArm(3), Recorder((0, 0, 0.03)), 3, KEY)
    assert not misses.success_once.any() and not misses.success_at_end.any()
    leaves = run_teacher(KinematicArm(3), Recorder((0, 0, 0), leave_after=25), 3, KEY)
    assert leaves.success_once.all() and not leaves.success_at_end.any()


def test_whole_rounds_of_episodes_are_counted():
    assert run_teacher(KinematicArm(3), Recorder((0, 0, 0)), 4, KEY).success_once.shape == (6,)
    with pytest.raises(ValueError, match="episodes=0"):
        run_teacher(KinematicArm(3), Recorder((0, 0, 0)), 0, KEY)


def test_an_episode_that_ends_at_success_counts_once():
    result = run_teacher(KinematicArm(4, end_on_success=True), Recorder((0, 0, 0)), 4, KEY)
    assert result.success_once.all() and result.success_at_end.all()


def test_the_past_is_newest_last_and_begins_with_the_first_observation():
    recorder = Recorder((0, 0, 0), history=3)
    run_teacher(KinematicArm(2), recorder, 2, KEY)
    first, second, third = recorder.seen[:3]
    assert first.shape == (2, 3, 36)
    np.testing.assert_array_equal(first[:, 0], first[:, 2])
    np.testing.assert_array_equal(second[:, 0], second[:, 1])
    assert np.abs(second[:, 2] - second[:, 1]).max() > 0.01
    np.testing.assert_array_equal(third[:, 1], second[:, 2])


def test_calibrates_a_scripted_teacher_on_equal_episodes():
    # without physics a teacher succeeds exactly while its bias along z is below the 2 cm of the task
    env = KinematicArm(2)
    found = calibrate_scripted(
        env, 0.5, "bias", settings={"aim_direction": (0.0, 0.0, 1.0)}, episodes=2, max_trials=7, measure="end"
    )
    assert all(trial.success == (trial.level < 0.02) for trial in found.trials)
    assert not found.converged and len(found.trials) == 7
    assert found.trials[-1].level == pytest.approx(0.02, abs=0.002)
    assert found.settings.bias[:2] == (0.0, 0.0) and found.settings.bias[2] in [t.level for t in found.trials]
    assert found.interval[0] <= found.success <= found.interval[1]
    assert env.episode == 1  # every trial began from the same episode


def test_the_settings_at_a_level():
    assert settings_at("noise", 0.2, {"lag": 1}) == {"lag": 1, "noise": 0.2}
    assert settings_at("aim_error_fraction", 0.5) == {"aim_error": 0.045, "aim_error_fraction": 0.5}
    assert settings_at("bias", 0.02, {"aim_direction": (0, 2, 0)})["bias"] == (0.0, 0.02, 0.0)
    for knob in ("noise", "bias", "aim_error", "aim_error_fraction", "gripper_shift"):
        assert load("scripted", KinematicArm().spec, **settings_at(knob, 0.01)).settings != TeacherConfig()


def test_unknown_knobs_are_refused():
    with pytest.raises(ValueError, match="knob='lag': choose from"):
        calibrate_scripted(KinematicArm(), 0.5, "lag")
    with pytest.raises(ValueError, match="measure='ever'"):
        calibrate_scripted(KinematicArm(), 0.5, measure="ever")
