"""Alarms: each rule at numbers on both sides of its bound; said once, noted and marked, also after a resume."""

import copy
import functools
import json
import logging
import math

import numpy as np
import pytest
from test_update import SPEC, make_config

import rpd_jax
from rpd_jax.config import AlarmConfig, ConfigError
from rpd_jax.training import reevaluation
from rpd_jax.training.alarm_rules import RULES, Rule, register_alarm, teacher_remark
from rpd_jax.training.alarms import Alarms
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherError
from teachers.policy.teacher import own_success
from teachers.settings import teacher_factory

# Alarm, the metric's values one iteration after the other, and the iteration at which it rings; None: it does not.
CASES = [
    ("widened", [0.7, 1.2, 1.3], 3),  # begins at exp(-0.5) = 0.607: twice is 1.213
    ("widened", [1.21, 1.21], None),
    ("narrowed", [0.3, 0.0607, 0.0606], 3),  # a tenth is 0.06065
    ("kl", [0.6, 0.6, 0.6], 3),  # with a patience of 3
    ("kl", [0.6, 0.6, 0.5, 0.6], None),
    ("kl", [0.6, 0.6, 0.4, 0.6, 0.6, 9.0], 6),
    ("clip_fraction", [0.74, 0.76, 0.76, 0.76], 4),
    ("value_loss", [0.01, 999.0, 1001.0], 3),  # the first is less than 1, so that the bound is 1000
    ("value_loss", [5.0, 4999.0, 5001.0], 3),
    ("value_loss", [math.nan, 5.0, 4999.0], None),
    ("value_loss", [2.0, math.inf], 2),
    ("diverged", [0.0, 0.0, 1.0], 3),
]


@functools.cache
def population() -> Population:
    return Population(make_config(["ppo", "rpd-mse"], seeds=(0, 3)), SPEC)


def alarms(**changed) -> Alarms:
    """Of ppo and rpd-mse with seeds 0 and 3, and other settings of the network, the algorithm or of alarms."""
    made = copy.copy(population())  # of which alarms read names and settings
    made.config = copy.deepcopy(made.config)
    for name, value in ({"patience": 3} | changed).items():
        parts = made.config.network, made.config.algorithm, made.config.alarms
        setattr(next(part for part in parts if hasattr(part, name)), name, value)
    return Alarms(made, "bad")


def looked(found: Alarms, metric: str, values, member: str = "rpd-mse/3", begin: int = 1) -> list[dict[str, float]]:
    rows = [{f"update/{metric}/{member}": value} for value in values]
    for i, row in enumerate(rows):
        found.look(begin + i, row)
    return rows


@pytest.mark.parametrize(("alarm", "values", "when"), CASES)
def test_each_rule_rings_beyond_its_bound_and_once(alarm, values, when, caplog):
    found = alarms()
    with caplog.at_level(logging.WARNING):
        rows = looked(found, RULES[alarm].metric, [*values, values[-1]])
    column = [row[f"alarm/{alarm}/rpd-mse/3"] for row in rows]
    assert column == [float(when is not None and i >= when) for i in range(1, len(values) + 2)]
    said = [line for line in caplog.messages if line.startswith("rpd-mse/3: ")]
    assert len(said) == (when is not None)
    for line in said:
        assert f"at iteration {when}: " in line and line.endswith(RULES[alarm].advice)
    json.dumps(found.state_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("setting", "metric"), [("std_growth", "std"), ("kl", "approx_kl"), ("clip_fraction", "clip_fraction")]
)
def test_none_is_an_alarm_that_is_off(setting, metric):
    for value, rings in ((None, 0), (getattr(AlarmConfig(), setting), 1)):
        rows = looked(alarms(**{setting: value}), metric, [20.0] * 3)
        assert sum(row[name] for row in rows[-1:] for name in row if name.startswith("alarm/")) == rings


@pytest.mark.parametrize(("field", "value"), [("std_growth", 1.0), ("std_shrink", 1.0), ("patience", 0), ("kl", 0.0)])
def test_thresholds_that_would_always_ring_are_refused(field, value):
    config = make_config()
    setattr(config.alarms, field, value)
    with pytest.raises(ConfigError, match=rf"alarms\.{field}={value:g}"):
        config.validate()


def test_a_patient_alarm_and_its_first_values_survive_a_resume(caplog):
    whole, first = alarms(), alarms()
    looked(first, "approx_kl", [0.6, 0.6])
    looked(first, "value_loss", [5.0])
    again = alarms()
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    looked(again, "approx_kl", [0.6], begin=3)
    looked(again, "value_loss", [4999.0], begin=3)
    looked(whole, "approx_kl", [0.6, 0.6, 0.6])
    assert again.notes() == whole.notes() == {
        "rpd-mse": "KL of an update up to 0.6 nats, alarm at iteration 3 (1 of 2 seeds)"
    }  # fmt: skip
    caplog.clear()
    third = alarms()
    third.load_state_dict(json.loads(json.dumps(again.state_dict())))
    looked(third, "approx_kl", [7.0], begin=4)
    assert not caplog.messages and "up to 7 nats, alarm at iteration 3" in third.notes()["rpd-mse"]


def test_notes_count_seeds_and_tell_the_worst():
    found = alarms(log_std_init=-1.5)  # 0.22
    looked(found, "std", [0.3, 0.6, 0.9, 0.5, 0.3])
    looked(found, "std", [0.3, 0.3, 0.7], member="rpd-mse/0")
    looked(found, "std", [0.25], member="ppo/0")
    assert found.notes() == {"rpd-mse": "std grew from 0.22 to 0.90, alarm at iteration 2 to 3 (2 of 2 seeds)"}
    marks = found.marks(lambda iterations: 100 * iterations)
    assert marks == {"ppo": [], "rpd-mse": [(200, "widened"), (300, "widened")]}
    assert found.marks(float, "std")["rpd-mse"] and not found.marks(float, "approx_kl")["rpd-mse"]


def test_of_a_member_that_diverged_nothing_else_is_said():
    found = alarms()
    found.look(1, {})
    found.look(2, {"update/diverged/ppo/3": 1.0, "update/value_loss/ppo/3": math.inf})
    found.look(5, {"update/diverged/ppo/3": 1.0, "update/diverged/ppo/0": 1.0, "update/std/ppo/3": 9.0})
    assert found.diverged == {"ppo/3": 2, "ppo/0": 5} and not found.everyone_diverged
    assert found.notes() == {"ppo": "diverged at iteration 2 to 5 (2 of 2 seeds)"}
    earlier = alarms()
    earlier.load_state_dict({"diverged": {"ppo/3": 2, "ppo/0": 5}, "widened": {}, "labels": 3.0})
    assert earlier.diverged == found.diverged and earlier.notes() == found.notes()


def test_labels_that_are_all_refused_end_a_run():
    found = alarms()
    found.look(1, {"teacher/labels": 10.0, "teacher/refused": 4.0})
    found.look(2, {"teacher/labels": 10.0, "teacher/refused": 4.0})  # nobody asked
    with pytest.raises(TeacherError, match="none of the 5 labels of iteration 3"):
        found.look(3, {"teacher/labels": 15.0, "teacher/refused": 9.0})


def test_labels_cut_short_are_noted_with_the_guided_variants_and_said_once(caplog):
    found = alarms()
    found.look(1, {"teacher/labels": 200.0, "teacher/clipped": 4.0})  # 2 % are borne in silence
    found.look(2, {"teacher/labels": 400.0, "teacher/clipped": 64.0})  # 60 of 200
    assert found.notes() == {
        "rpd-mse": "30% of its labels clipped in their conversion, alarm at iteration 2 (2 of 2 seeds)"
    }
    again = alarms()
    again.load_state_dict(json.loads(json.dumps(found.state_dict())))
    again.look(3, {"teacher/labels": 600.0, "teacher/clipped": 264.0})
    assert len(caplog.messages) == 1 and again.notes() == found.notes()


def test_a_teacher_far_from_its_own_evaluation():
    limits = AlarmConfig()
    # Wilson's interval of 40 of 100 is [0.309, 0.498]
    assert teacher_remark(40, 100, 0.61, limits) == "success 0.40, but 0.61 in its own evaluation"
    assert teacher_remark(61, 100, 0.40, limits)  # also where it is better
    assert not teacher_remark(40, 100, 0.59, limits)  # 0.19 apart
    assert not teacher_remark(4, 10, 0.65, limits)  # of 4 of 10: [0.168, 0.687]
    assert not teacher_remark(40, 100, None, limits)
    assert not teacher_remark(0, 100, 1.0, AlarmConfig(teacher_gap=None))


def test_what_the_config_states_of_the_teacher_counts_more(caplog):
    found = alarms(teacher_success=0.9)
    found.look_at_teacher(np.arange(100) < 40, stated=0.4)
    assert found.notes() == {"teacher:bad": "success 0.40, but 0.90 in its own evaluation"}
    assert "teacher bad: success 0.40, but 0.90" in caplog.text
    quiet = alarms()
    quiet.look_at_teacher(np.arange(100) < 40, stated=0.4)
    assert not quiet.notes()


def test_an_alarm_of_your_own_is_one_entry():
    rule = Rule(
        "grad_norm", lambda value, first, limits: value > 3, "gradient of {worst:g} at iteration {when}", "why?"
    )
    register_alarm("steep", rule)
    try:
        with pytest.raises(ValueError, match="'steep' is already registered"):
            register_alarm("steep", rule._replace(metric="loss"))
        found = alarms()
        looked(found, "grad_norm", [1.0, 4.0])
        assert found.notes() == {"rpd-mse": "gradient of 4 at iteration 2 (1 of 2 seeds)"}
    finally:
        del RULES["steep"]


def test_the_std_of_students_that_begin_from_others_is_held_against_its_first():
    started = alarms(start="runs/elsewhere")
    looked(started, "std", [0.1, 0.15, 0.21], member="ppo/0")
    assert "std grew from 0.10 to 0.21, alarm at iteration 3" in started.notes()["ppo"]


def test_a_run_shows_its_alarms_and_a_resumed_one_says_them_once(tmp_path, caplog):
    """One that stops after three of four iterations: the alarm rings at the second, and the teacher's at the end."""
    config = rpd_jax.get_preset("debug")
    config.seeds, config.variants, config.run.tensorboard = (0,), ("ppo",), False
    config.run.directory = str(tmp_path / "run")
    config.alarms = AlarmConfig(kl=1e-12, patience=2, teacher_success=0.2)
    factory = teacher_factory(config.teacher)

    def stop(snapshot):
        if snapshot.iteration == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rpd_jax.train(config, factory, callbacks=[stop])
    result = rpd_jax.train(config, factory, resume=True)
    assert [row["alarm/kl/ppo/0"] for row in result.history] == [0, 1, 1, 1]
    assert len([line for line in caplog.messages if line.startswith("ppo/0: KL of an update")]) == 1
    toy, ppo = result.table
    assert toy.note == "success 1.00, but 0.20 in its own evaluation"
    assert "alarm at iteration 2 (1 of 1 seeds)" in ppo.note
    assert (tmp_path / "run" / "diagnostics.png").stat().st_size > 0
    # What is known of the teacher's own evaluation, and of the student's, should it become a teacher.
    assert reevaluation._previous(tmp_path / "run", "toy:Reach-v0", "toy:Reach-v0") == 1.0
    assert reevaluation._previous(tmp_path / "run", "toy:Reach-v1", "toy:Reach-v0") is None
    assert reevaluation._previous(tmp_path, "toy:Reach-v0", "toy:Reach-v0") is None
    assert own_success(tmp_path / "run", "ppo/0") == ppo.success_once
    assert own_success(tmp_path / "run", "ppo/1") is None and own_success(tmp_path, "ppo/0") is None
