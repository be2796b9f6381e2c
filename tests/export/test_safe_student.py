"""The guards around a student, one fault each, with a clock that the test sets."""

import re

import numpy as np
import pytest

from rpd_jax.envs.registry import make_env
from rpd_jax.export import runner
from rpd_jax.export.safe_student import SafeStudent

ACTION = np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.1, -1.0], np.float32)
GOOD = np.zeros(3, np.float32)


def field(start, stop, scale, kind, rest=None, max_rate=None):
    return {"start": start, "stop": stop, "scale": scale, "kind": kind, "rest": rest, "max_rate": max_rate}


class Stub(runner.Student):
    """Answers what it is told; sees 'ee' [3], whose last number has no bounds."""

    def __init__(self, control_hz=10.0):
        layout = {"tcp_pos": {"start": 0, "stop": 2}, "width": {"start": 2, "stop": 3}}
        entry = {
            "shape": [3],
            "dtype": "float32",
            "layout": layout,
            "low": [-1.0, -1.0, None],
            "high": [1.0, 1.0, None],
        }
        parts = {
            "translation": field(0, 3, 0.1, "delta"),
            "rotation": field(3, 6, 0.1, "delta"),
            "gripper": field(6, 7, 1.0, "absolute", rest=1.0),
        }
        self.manifest = {
            "observation": {"ee": entry},
            "action": {"shape": [7], "low": [-1.0] * 7, "high": [1.0] * 7, "fields": parts},
            "guards": {"fallback": "hold", "max_age_s": 0.25},
            "control_hz": control_hz,
        }
        self.answer, self.seen = ACTION, []

    def act(self, observation):
        self.seen.append(observation["ee"])
        return self.answer


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make(clock, **settings):
    return SafeStudent(Stub(), clock=clock, **settings)


def test_a_sound_message_is_acted_on(clock):
    safe = make(clock)
    assert safe.observe({"ee": GOOD, "rgb": None})
    command = safe.command()
    np.testing.assert_array_equal(command.action, ACTION)
    assert command.action.dtype == np.float32 and command[1:] == (None, None, ())
    assert safe.counts == {"accepted": 1, "commands": 1}


@pytest.mark.parametrize(
    ("message", "count", "details"),
    [
        ([0, np.nan, 0], "not finite: ee.tcp_pos", "number 1 is nan"),
        ([0, 0, -np.inf], "not finite: ee.width", "number 2 is -inf"),
        ([0, 1.01, 99], "out of range: ee.tcp_pos", r"number 1 is 1.01: must be in \[-1, 1\]"),
        ([0, 0], "malformed: ee", r"shape \(2,\)"),
        ([[0, 0, 0]], "malformed: ee", "batch axis"),
        (["a", "b", "c"], "malformed: ee", "it must be float32"),
    ],
)
def test_an_unsound_message_is_refused_and_the_hand_holds(clock, message, count, details):
    safe = make(clock)
    safe.observe({"ee": GOOD})
    safe.command()
    clock.now += 0.1
    assert not safe.observe({"ee": np.array(message)})
    command = safe.command()
    assert command.fallback == "hold" and command.reason.startswith(count) and re.search(details, command.reason)
    np.testing.assert_array_equal(command.action, [0, 0, 0, 0, 0, 0, -1])  # stays, and goes on holding
    assert safe.counts[f"refused: {count}"] == 1 and safe.counts[f"hold: {count}"] == 1
    assert safe.observe({"ee": GOOD})
    assert safe.command().fallback is None
    np.testing.assert_array_equal(safe.student.seen, [GOOD, GOOD])  # nothing else reached it


def test_the_watchdog(clock):
    safe = make(clock)
    safe.observe({"ee": GOOD})
    clock.now += 0.25
    assert safe.command().fallback is None
    clock.now += 0.01
    command = safe.command()
    assert command.fallback == "hold" and command.reason == "too old: ee (0.26 s, at most 0.25 s)"
    safe.observe({"ee": GOOD}, stamp=clock.now - 0.3)  # late, but newer than nothing that is there
    assert safe.command().reason == "too old: ee (0.26 s, at most 0.25 s)"
    assert safe.counts["hold: too old: ee"] == 2 and safe.counts["refused: out of order: ee"] == 1
    safe.observe({"ee": GOOD}, stamp=clock.now - 0.2)
    assert safe.command().fallback is None


def test_a_student_that_thinks_for_too_long_is_not_followed(clock):
    safe = make(clock)
    safe.observe({"ee": GOOD})

    def slow(_):
        clock.now += 0.3
        return ACTION

    safe.student.act = slow
    assert safe.command().reason == "too old: ee (0.3 s, at most 0.25 s)"


def test_before_the_first_message_the_gripper_rests(clock):
    command = make(clock).command()
    assert command.reason.startswith("no observation yet: ee")
    np.testing.assert_array_equal(command.action, [0, 0, 0, 0, 0, 0, 1])


def test_an_older_message_does_not_replace_a_newer_one(clock):
    safe = make(clock)
    safe.observe({"ee": GOOD}, stamp=99.95)
    assert not safe.observe({"ee": np.full(3, np.nan)}, stamp=99.9)
    assert safe.command().fallback is None
    assert safe.counts["refused: out of order: ee"] == 1


def test_stamps_of_another_clock_are_refused(clock):
    safe = make(clock)
    assert safe.observe({"ee": GOOD}, stamp=clock.now + 0.01)  # clocks differ a little
    for stamp in (clock.now + 1e9, np.nan):
        assert not safe.observe({"ee": GOOD}, stamp=stamp)
        assert safe.command().reason.startswith("stamp of another clock")


def test_what_is_no_number_is_not_commanded(clock):
    safe = make(clock, fallback="zero")
    safe.observe({"ee": GOOD})
    safe.student.answer = np.full(7, np.nan, np.float32)
    command = safe.command()
    np.testing.assert_array_equal(command.action, np.zeros(7))
    assert command.fallback == "zero" and command.reason.startswith("the student's answer is not finite")


def test_a_stop_lasts_until_reset(clock):
    safe = make(clock, fallback="stop")
    safe.observe({"ee": GOOD})
    safe.command()
    clock.now += 1.0
    command = safe.command()
    assert command.fallback == "stop" and command.action[6] == -1.0 and safe.stopped.startswith("too old: ee")
    safe.observe({"ee": GOOD})
    assert safe.command().reason.startswith("stopped (too old: ee")
    assert safe.command().reason.count("stopped") == 1
    safe.reset()
    safe.observe({"ee": GOOD})
    assert safe.command().fallback is None and safe.stopped is None


def test_speed_is_limited_and_keeps_its_direction(clock):
    safe = make(clock, max_rate={"translation": 0.3})  # m/s; a period is 0.1 s, an action of 1 is 0.1 m
    safe.student.answer = np.array([0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 1.0], np.float32)  # 1 m/s
    safe.observe({"ee": GOOD})
    command = safe.command()
    np.testing.assert_allclose(command.action[:3], [0.18, 0.24, 0.0], atol=1e-6)
    assert command.limited == ("rate of translation",) and safe.counts["limited: rate of translation"] == 1
    clock.now += 0.05  # twice as often: half as far
    np.testing.assert_allclose(safe.command().action[:3], [0.09, 0.12, 0.0], atol=1e-6)
    safe.observe({"ee": GOOD})
    clock.now += 0.2  # what was missed is not made up for
    np.testing.assert_allclose(safe.command().action[:3], [0.18, 0.24, 0.0], atol=1e-6)


def test_a_target_moves_at_its_rate(clock):
    safe = make(clock, max_rate={"gripper": 5.0})
    safe.observe({"ee": GOOD})
    safe.student.answer = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)
    assert safe.command().action[6] == 1.0  # there is nothing to be limited from yet
    safe.student.answer = ACTION
    clock.now += 0.1
    assert safe.command().action[6] == pytest.approx(0.5)
    clock.now += 0.1
    assert safe.command().action[6] == pytest.approx(0.0)


def test_limits_are_in_units(clock):
    safe = make(clock, limits={"translation": 0.02, "gripper": (-0.5, 1.0)})
    safe.observe({"ee": GOOD})
    command = safe.command()
    np.testing.assert_allclose(command.action, [0.2, 0, 0, 0, 0, 0.1, -0.5], atol=1e-6)
    assert command.limited == ("limits of translation", "limits of gripper")
    safe.student.answer = 20.0 * ACTION
    np.testing.assert_allclose(safe.command().action, [0.2, 0, 0, 0, 0, 1.0, -0.5], atol=1e-6)  # the box holds too


def test_entries_may_come_apart(clock):
    student = Stub()
    other = {"shape": [1], "dtype": "float32", "layout": {}, "low": [], "high": []}
    student.manifest["observation"]["state"] = other
    safe = SafeStudent(student, clock=clock)
    safe.observe({"ee": GOOD})
    assert safe.command().reason.startswith("no observation yet: state")
    safe.observe({"state": [1.0]})
    assert safe.command().fallback is None
    clock.now += 0.2
    safe.observe({"ee": GOOD})
    clock.now += 0.1
    assert safe.command().reason.startswith("too old: state")
    safe.observe({"state": [np.nan]})
    assert safe.command().reason == "not finite: state.0 (number 0 is nan)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fallback": "pray"}, "fallback='pray': choose from hold, zero, stop"),
        ({"max_age_s": 0.0}, "max_age_s=0.0: say how many seconds"),
        ({"max_rate": {"wrist": 1.0}}, "max_rate: the action has no field 'wrist', only"),
        ({"max_rate": {"gripper": -1.0}}, "must be at least 0"),
        ({"limits": {"translation": (0.01, 0.02)}}, "of a delta one with 0 in it"),
        ({"kinds": {"gripper": "relative"}}, "say 'delta' or 'absolute'"),
        ({"rest": {"gripper": None}}, "rest={'gripper': ...} is missing"),
    ],
)
def test_what_cannot_be_is_said_at_once(clock, settings, message):
    with pytest.raises(ValueError, match=message):
        make(clock, **settings)


def test_a_message_for_somebody_else_is_refused(clock):
    with pytest.raises(ValueError, match=r"the message has \['proprio'\]: the student sees \['ee'\]"):
        make(clock).observe({"proprio": GOOD})


def test_what_the_manifest_does_not_know_must_be_said(clock):
    student = Stub(control_hz=None)
    student.manifest["guards"]["max_age_s"] = None
    student.manifest["action"]["fields"] = {"action": field(0, 7, 1.0, None)}
    with pytest.raises(ValueError, match="max_age_s=None"):
        SafeStudent(student, clock=clock)
    with pytest.raises(ValueError, match=r"kinds=\{'action': None\}"):
        SafeStudent(student, clock=clock, max_age_s=0.5)
    safe = SafeStudent(student, clock=clock, max_age_s=0.5, kinds={"action": "absolute"}, rest={"action": 0.25})
    np.testing.assert_array_equal(safe.command().action, [0.25] * 7)
    assert SafeStudent(student, clock=clock, max_age_s=0.5, fallback="zero").command().fallback == "zero"


def test_whole_episodes_of_training_pass(exports):
    """What the environment gives is never refused, and what the student says is never changed."""
    student, directory = exports["state"]
    bare = runner.Student(directory)
    clock, env = Clock(), make_env(student.config.env, [3], rgb=False, end_on_success=False)
    safe = SafeStudent(bare, clock=clock, max_age_s=1.0)
    observation = env.reset()
    for _ in range(24):
        state = np.asarray(observation["state"])[0]
        assert safe.observe({"state": state})
        action = safe.command().action
        np.testing.assert_allclose(action, bare.act({"state": state}), atol=1e-6)
        observation = env.step(action[None]).observation
        clock.now += 0.1
    assert safe.counts == {"accepted": 24, "commands": 24}
