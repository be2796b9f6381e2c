"""Suites of others: registered by name, or made of one environment; and what each of ours says of its tasks."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest

import rpd_jax
from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.config import Config, ConfigError, EnvConfig, choice, setting
from rpd_jax.envs import registry
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.maniskill.tasks import TASKS
from rpd_jax.envs.own import own_suite
from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, task_of
from rpd_jax.envs.tabletop.tasks import load
from rpd_jax.envs.toy.reach import TOY_CONTRACT, Reach
from rpd_jax.training.guidance_check import check_guidance
from rpd_jax.training.student import load_student


@dataclasses.dataclass
class LabConfig(EnvConfig):
    limit: int = setting(5, low=1)


class Lab(FunctionalSuite):
    def tasks(self):
        return ("Go-v0",)

    def info(self, task, config):
        return TaskInfo(("go",), config.limit, contract=TOY_CONTRACT)

    def check(self, config):
        choice("env.name: task", task_of(config), self.tasks())

    def functional(self, config, *, rgb, end_on_success):
        env = Reach(config.limit, end_on_success)
        env.spec = dataclasses.replace(env.spec, name=config.name)
        return env


@pytest.fixture
def lab(monkeypatch):
    """The suite "lab", told as a module is: imported when one of its tasks is asked for."""
    module = types.ModuleType("lab_suite")
    module.SUITE, module.LabConfig = Lab(), LabConfig
    monkeypatch.setitem(sys.modules, "lab_suite", module)
    monkeypatch.setattr(registry, "SUITES", dict(registry.SUITES))
    monkeypatch.setattr(EnvConfig, "kinds", dict(EnvConfig.kinds))
    registry.register_suite("lab", "lab_suite:SUITE", "lab_suite:LabConfig")


def test_a_registered_suite_is_known_everywhere(lab, tmp_path):
    config = rpd_jax.get_preset("debug")
    config.env.name, config.env.num_envs = "lab:Go-v0", 4
    config.env.limit = 3
    config.variants, config.seeds, config.eval.videos = ("ppo",), (0,), 0
    config.algorithm.rollout_length, config.algorithm.minibatches = 4, 2
    config.algorithm.total_steps, config.run.directory, config.run.tensorboard = 32, str(tmp_path / "run"), False
    (trained,) = rpd_jax.train(config).table
    (again,) = rpd_jax.evaluate(tmp_path / "run")
    assert trained.env == again.env == "lab:Go-v0"
    assert dataclasses.replace(again, seconds=trained.seconds) == trained
    student = load_student(tmp_path / "run")
    assert student.spec.max_episode_steps == 3
    assert Config.from_dict(json.loads(config.to_json())).env == LabConfig(name="lab:Go-v0", limit=3, num_envs=4)


def test_its_settings_are_checked_as_ours(lab):
    with pytest.raises(ConfigError, match=r"env.limit=0 cannot work: it must be at least 1"):
        Config(env=EnvConfig(name="lab:Go-v0", limit=0)).validate()
    with pytest.raises(ConfigError, match="only lab have such a setting"):
        EnvConfig(name="toy:Reach-v0", limit=3)
    with pytest.raises(ConfigError, match="did you mean 'Go-v0'"):
        registry.check_env(EnvConfig(name="lab:Go-v1"))


@pytest.mark.parametrize("name", ["toy", "a:b", ""])
def test_names_of_suites_are_new_and_have_no_colon(lab, name):
    with pytest.raises(ConfigError, match=f"suite name={name!r} cannot work"):
        registry.register_suite(name, Lab())


def made(seeds, *, rgb, end_on_success, random_ages):
    return FunctionalVectorEnv(Reach(7, end_on_success), len(seeds), seeds, random_ages=random_ages)


@pytest.mark.parametrize("env", [Reach(7), made], ids=["functional", "factory"])
def test_an_environment_of_ones_own_is_a_suite(env):
    suite = own_suite(env)
    assert suite.name == "own:Reach-v0"
    config = EnvConfig(name=suite.name)
    registry.check_env(config, suite)
    info = registry.task_info(config, suite)
    assert (info.contract, info.max_episode_steps, info.instructions) == (TOY_CONTRACT, 7, ("move to the goal",))
    vector = registry.make_env(config, [1, 2], rgb=False, end_on_success=False, suite=suite)
    assert vector.reset()["state"].shape == (2, 6)
    functional = registry.make_functional(config, rgb=False, end_on_success=True, suite=suite)
    assert functional is (env if isinstance(env, Reach) else None)
    for change, message in (
        ({"reward": "sparse"}, "env.reward='sparse'"),
        ({"observation": "ee"}, "gives state, not ee"),
    ):
        with pytest.raises(ConfigError, match=message):
            registry.check_env(dataclasses.replace(config, **change), suite)


def test_what_is_no_environment_is_refused():
    for wrong in (3, made([0], rgb=False, end_on_success=True, random_ages=False)):
        with pytest.raises(ConfigError, match="it must be a FunctionalEnv, or a function"):
            own_suite(wrong)


def test_both_suites_say_the_same_of_a_task():
    """Each has its own table; cameras and parts of "ee" must agree, so that students and pictures carry over."""
    for task in TASKS:
        ours, theirs = (registry.task_info(EnvConfig(name=f"{suite}:{task}")) for suite in ("tabletop", "maniskill"))
        for field in ("cameras", "ee_objects", "ee_goals", "max_episode_steps"):
            assert getattr(ours, field) == getattr(theirs, field), (task, field)
        assert set(theirs.ee_objects) and load(task).ee_objects == theirs.ee_objects


def test_of_other_maniskill_tasks_less_is_known():
    config = EnvConfig(name="maniskill:PlaceSphere-v1", horizon_scale=2)
    info = registry.task_info(config)
    assert info.instructions == ("place sphere",) and info.max_episode_steps is None and not info.cameras
    assert info.contract is not None and not info.ee_objects
    told = registry.task_info(dataclasses.replace(config, instruction="put it there", max_episode_steps=30))
    assert told.instructions == ("put it there",) and told.max_episode_steps == 60
    registry.check_env(config)
    run = Config(env=dataclasses.replace(config, end_on_success=False, horizon_scale=1))
    run.algorithm.total_steps = 10**6
    with pytest.raises(ConfigError, match=r"env.max_episode_steps=None cannot work for .*PlaceSphere-v1"):
        check_guidance(parse_variant("vlajs"), run)
    run.env.max_episode_steps = run.algorithm.rollout_length
    check_guidance(parse_variant("vlajs"), run)


@pytest.mark.vulkan
def test_another_maniskill_task_runs_and_an_unknown_one_is_named():
    config = EnvConfig(name="maniskill:PlaceSphere-v1", processes=1, image_size=36)
    env = registry.make_env(config, [1], rgb=False, end_on_success=False)
    try:
        assert env.spec.max_episode_steps == 50 and env.spec.contract == registry.task_info(config).contract
        env.reset()
        assert np.isfinite(env.step(np.zeros((1, 7))).reward).all()
    finally:
        env.close()
    for change, message in (
        ({"name": "maniskill:PlaceSpher-v1"}, "ManiSkill has no such task; did you mean 'PlaceSphere-v1'"),
        ({"control_mode": "pd_ee"}, "env.control_mode='pd_ee' cannot work in PlaceSphere-v1"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            registry.make_env(dataclasses.replace(config, **change), [1], rgb=False, end_on_success=False)
        assert "\n" not in str(error.value)


OLD = {
    **{"name": "toy:Reach-v0", "control_mode": "pd_ee_delta_pose", "reward": "normalized_dense"},
    **{"observation": "state", "image_size": 256, "num_envs": 8, "max_episode_steps": None, "horizon_scale": 1},
    **{"instruction": "", "end_on_success": True, "random_ages": None, "simulator": "cpu", "processes": None},
    **{"deadline_seconds": 60.0, "camera_eye": [], "camera_target": [], "camera_fov": 0.0, "camera_shift": []},
    "physics": "auto",
}


@pytest.mark.parametrize("name", ["toy:Reach-v0", "tabletop:PickCube-v1", "maniskill:PickCube-v1"])
def test_configs_of_old_runs_list_the_fields_of_all_suites(name):
    assert Config.from_dict({"env": OLD | {"name": name}}).env == EnvConfig(name=name, num_envs=8)
