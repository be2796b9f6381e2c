"""Teachers by name, and a user's own."""

import dataclasses
import subprocess
import sys
from dataclasses import MISSING, fields

import jax.numpy as jnp
import pytest
from kinematic_arm import pick_cube_spec

import teachers
from rpd_jax.config import Config, ConfigError, TeacherConfig, setting
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.settings import teacher_factory


@dataclasses.dataclass
class MineSettings(TeacherConfig):
    name: str = "mine"
    strength: float = setting(1.0, above=0)


class MineTeacher:
    def __init__(self, env_spec, settings):
        self.settings, self.spec = settings, TeacherSpec("mine", ("state",), contract=None)

    def label(self, observation, instructions, key):
        action = jnp.full((len(observation["state"]), 7), self.settings.strength)
        return TeacherLabels(action, jnp.ones(len(action), bool), jnp.ones(action.shape))


@pytest.fixture
def mine():
    teachers.register_teacher("mine", MineSettings, MineTeacher)
    yield
    del TeacherConfig.kinds["mine"]


def test_makes_what_is_named():
    teacher = teachers.load("scripted", pick_cube_spec(), noise=0.2)
    assert teacher.spec.name == "scripted:PickCube-v1"
    assert teacher.spec.is_scripted and teacher.spec.samples_actions and teacher.spec.contract is None


def test_mistakes_get_the_choices_and_the_nearest():
    with pytest.raises(ConfigError, match=r"teacher.name='scriptd' is unknown: .*did you mean 'scripted'"):
        teachers.load("scriptd", pick_cube_spec())
    with pytest.raises(ConfigError, match=r"'nois' .*did you mean 'noise'"):
        teachers.load("scripted", pick_cube_spec(), nois=0.2)
    with pytest.raises(ConfigError, match=r"teacher.rows cannot work with .*'scripted': only openvla have"):
        teachers.load("scripted", pick_cube_spec(), rows=2)
    with pytest.raises(ConfigError, match=r"teacher.name='toy' cannot work without an environment"):
        teachers.load("toy")


def test_a_teacher_keeps_its_settings():
    config = TeacherConfig(noise=0.1)
    teacher = teachers.base.make(pick_cube_spec(), config)
    config.noise = 0.0
    assert teacher.settings.noise == 0.1


def test_configs_of_earlier_versions_list_the_settings_of_all_kinds():
    kinds = map(TeacherConfig.kind_of, TeacherConfig.kinds)
    every = {f.name: f.default for kind in kinds for f in fields(kind) if f.default is not MISSING}  # no sections
    old = {**every, "name": "octo", "path": "octo-nano", "noise": 0.15}  # quickstart's, with another teacher
    assert Config.from_dict({"teacher": old}).teacher == TeacherConfig(name="octo", path="octo-nano")
    refused = r"teacher.noise cannot work with teacher.name='octo': only scripted, expert, toy"
    with pytest.raises(ConfigError, match=refused):
        Config.from_dict({"teacher": {"name": "octo", "noise": 0.15}})


def test_a_users_own_is_one_of_them(mine):
    config = Config.from_dict({"teacher": {"name": "mine", "strength": 2}})
    assert config.validate().teacher == TeacherConfig(name="mine", strength=2.0) == MineSettings(strength=2.0)
    assert Config.from_dict(config.to_dict()) == config
    env = FunctionalVectorEnv(Reach(), 2, [0, 1])
    assert float(teacher_factory(config.teacher)(env).label(env.reset(), "", None).action[1, 6]) == 2.0
    config.teacher.strength = 0.0
    with pytest.raises(ConfigError, match=r"teacher.strength=0.0 cannot work: it must be a positive number"):
        config.validate()
    with pytest.raises(ConfigError, match="without an environment"):
        teachers.load("mine")


def test_what_cannot_be_registered():
    with pytest.raises(ConfigError, match="teacher name='octo' cannot work: it must be none of the library's own"):
        teachers.register_teacher("octo", MineSettings, MineTeacher)
    with pytest.raises(ConfigError, match=r"MineSettings.name='mine' cannot work: it must be 'yours' by default"):
        teachers.register_teacher("yours", MineSettings, MineTeacher)
    with pytest.raises(ConfigError, match=r"a subclass of rpd_jax.config.TeacherConfig"):
        teachers.register_teacher("mine", dict, MineTeacher)


def test_the_registry_itself_needs_no_jax():
    code = "import sys, teachers.base; sys.exit('jax' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
