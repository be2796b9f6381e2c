"""From a TeacherConfig to a teacher in the environment's contract."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinematic_arm import pick_cube_spec

from rpd_jax.config import ConfigError, TeacherConfig
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers import conventions
from teachers.converted import ConvertedTeacher
from teachers.settings import teacher_factory
from teachers.trained_on import TRAINED_ON_FILE


class ForeignTeacher:
    """Speaks the RPD authors' contract: gripper in [0, 1]."""

    spec = TeacherSpec("foreign", ("state",), conventions.JUELG_OCTO, checkpoint="0123")

    def label(self, observation, instruction, key):
        action = jnp.array([[0.5, 0.0, -0.5, 0.1, 0.0, 0.0, 0.25]])
        return TeacherLabels(action, jnp.ones(1, bool), jnp.full((1, 7), 0.1))


def test_labels_are_translated():
    teacher = ConvertedTeacher(ForeignTeacher(), pick_cube_spec())
    labels = teacher.label({}, "", jax.random.key(0))
    # the gripper's 0.25 of the way from closed to open is -0.5 in [-1, 1]; its std doubles; the rest is the same
    np.testing.assert_allclose(labels.action[0], [0.5, 0, -0.5, 0.1, 0, 0, -0.5], atol=1e-6)
    np.testing.assert_allclose(labels.std[0], [0.1] * 6 + [0.2], rtol=1e-6)
    assert teacher.spec.contract is None and teacher.spec.checkpoint == "0123"
    reference = ConvertedTeacher(ForeignTeacher(), pick_cube_spec(), gripper="reference")
    np.testing.assert_allclose(reference.label({}, "", jax.random.key(0)).action[0, 6], 0.25, atol=1e-6)


def test_a_contract_that_cannot_be_converted_is_refused():
    spec = dataclasses.replace(pick_cube_spec(), contract=None)
    with pytest.raises(ValueError, match="contract is None"):
        ConvertedTeacher(ForeignTeacher(), spec)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "octopus", "teacher.name='octopus' is unknown"),
        ("name", "scripted", "has no scripted teacher"),
        ("name", "policy", "not a run directory"),
    ],
)
def test_what_cannot_work_is_one_config_error(field, value, message, tmp_path):
    config = TeacherConfig(name="policy", path=str(tmp_path))
    setattr(config, field, value)
    env = FunctionalVectorEnv(Reach(), 2, [0, 1])
    with pytest.raises(ConfigError, match=message) as error:
        teacher_factory(config)(env)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": ("cuda:1",)}, "teacher.devices='cuda:1' is unknown: for each process need"),
        ({"cpus": (-1,)}, r"teacher.cpus\[0\]=-1 cannot work: it must be at least 0"),
        ({"socket": "nowhere"}, "teacher.path='somewhere' cannot be given with teacher.socket"),
    ],
)
def test_where_an_openvla_teacher_runs_is_checked_before_anything_is_started(values, message):
    config = TeacherConfig(name="openvla", path="somewhere", contract="maniskill", **values)
    env = FunctionalVectorEnv(Reach(), 2, [0, 1])
    with pytest.raises(ConfigError, match=message) as error:
        teacher_factory(config)(env)
    assert "\n" not in str(error.value)


def test_an_openvla_teacher_is_compared_with_what_it_was_trained_on(tmp_path, caplog):
    """Before its process is started, which this device prevents."""
    known = {"environments": ["tabletop:PickCube-v1"], "control_modes": [], "cameras": []}
    (tmp_path / TRAINED_ON_FILE).write_text(json.dumps(known | {"image_sizes": [], "instructions": []}))
    config = TeacherConfig(name="openvla", path=str(tmp_path), contract="maniskill", devices=("cuda:x",))
    with pytest.raises(ConfigError, match=r"teacher\.devices"):
        teacher_factory(config)(FunctionalVectorEnv(Reach(), 2, [0, 1]))
    assert (
        f"openvla:{tmp_path.name} was trained in tabletop:PickCube-v1; this environment is toy:Reach-v0" in caplog.text
    )
