"""Teachers by name."""

import subprocess
import sys

import pytest
from kinematic_arm import pick_cube_spec

from teachers import base


def test_makes_what_is_named():
    teacher = base.make("scripted", pick_cube_spec(), {"noise": 0.2})
    assert teacher.spec.name == "scripted:PickCube-v1"
    assert teacher.spec.is_scripted and teacher.spec.samples_actions and teacher.spec.contract is None


def test_unknown_names_get_the_choices_and_the_nearest():
    with pytest.raises(ValueError, match=r"teacher 'scriptd' is unknown: choose from \[.*'scripted'.*did you mean"):
        base.make("scriptd", pick_cube_spec())


def test_settings_reach_the_factory():
    with pytest.raises(ValueError, match=r"'nois' .*did you mean 'noise'"):
        base.make("scripted", pick_cube_spec(), {"nois": 0.2})


def test_the_registry_itself_needs_no_jax():
    code = "import sys, teachers.base; sys.exit('jax' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
