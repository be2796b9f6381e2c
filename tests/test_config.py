"""Settings: presets resolve, JSON goes both ways, and every impossible value is named in one line."""

import dataclasses
import typing

import pytest

from rpd_jax.algorithms.variants import resolve_variants
from rpd_jax.config import Config, ConfigError, check_field
from rpd_jax.config.tagged import Tagged
from rpd_jax.envs.registry import check_env
from rpd_jax.presets import PRESETS, get_preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_json(name):
    config = get_preset(name)
    check_env(config.env)
    resolve_variants(config)
    assert Config.from_dict(config.to_dict()) == config
    assert get_preset(name) is not config  # nobody shares a mutable preset


def test_rpd_paper_numbers():
    config = get_preset("rpd-paper")
    assert config.algorithm.iteration_steps(config.env.num_envs) == 6400
    assert config.iterations == 4688  # 30 M / 6,400, the last one begun
    assert (config.algorithm.gamma, config.algorithm.gae_lambda, config.algorithm.target_kl) == (0.8, 0.9, 0.2)
    assert (config.eval.every, config.eval.episodes) == (10, 500)


def test_rpd_code_departs_where_the_methods_say():
    paper, code = get_preset("rpd-paper"), get_preset("rpd-code")
    assert (paper.algorithm.advantage, code.algorithm.advantage) == ("gae", "finite_horizon")
    assert (paper.teacher.gripper, code.teacher.gripper) == ("fixed", "reference")
    assert "ppd" in paper.variants and "ppd-reverse" in code.variants


BAD = [
    ("env.num_envs", 0, "at least 1"),
    ("env.name", "PickCube-v1", "suite:task"),
    ("env.name", "maniskil:PickCube-v1", "did you mean 'maniskill'"),
    ("env.name", "tabletop:PickCub-v1", "did you mean 'PickCube-v1'"),
    ("env.name", "toy:Reach", "did you mean 'Reach-v0'"),
    ("env.control_mode", "pd_ee_delta_poses", "did you mean 'pd_ee_delta_pose'"),
    ("env.reward", "dens", "did you mean 'dense'"),
    ("env.observation", "rgbd", "did you mean 'rgb'"),
    ("env.image_size", 0, "at least 1"),
    ("run.iterations_per_call", 0, "at least 1"),
    ("teacher.gripper", "fix", "did you mean 'fixed'"),
    ("teacher.frame_size", -1, "at least 0"),
    ("teacher.deadline_seconds", 0.0, "a positive number"),
    ("teacher.ready_seconds", -1.0, "a positive number"),
    ("teacher.ready_seconds", float("inf"), "a positive number"),
    ("teacher.prompt", "openvl", "did you mean 'openvla'"),
    ("env.physics", "mujoco", "did you mean 'mjx'"),
    ("env.name", None, "suite:task"),
    ("env.camera_eye", (1.0, 2.0), "three numbers, or empty"),
    ("env.camera_shift", (1.0, 2.0), "three numbers, or empty"),
    ("env.horizon_scale", 0, "at least 1"),
    ("env.reward", "v4", "did you mean"),
    ("env.camera_fov", -0.1, "[0, pi)"),
    ("env.camera_fov", float("nan"), "[0, pi)"),
    ("env.max_episode_steps", 0, "at least 1"),
    ("env.processes", 0, "at least 1"),
    ("env.deadline_seconds", 0.0, "positive"),
    ("algorithm.minibatches", 10_000, "at most the batch of 1600"),
    ("algorithm.minibatches", 0, "at least 1"),
    ("algorithm.total_steps", 0, "at least 1"),
    ("algorithm.rollout_length", -1, "at least 1"),
    ("algorithm.epochs", 0, "at least 1"),
    ("algorithm.learning_rate", -1.0, "positive"),
    ("algorithm.learning_rate", float("nan"), "positive"),
    ("algorithm.gamma", 1.1, "[0, 1]"),
    ("algorithm.gae_lambda", -0.1, "[0, 1]"),
    ("algorithm.advantage", "gea", "did you mean 'gae'"),
    ("algorithm.target_kl", 0.0, "None or a positive number"),
    ("algorithm.value_clip", -1.0, "None or a positive number"),
    ("algorithm.entropy_coef", -0.1, "at least 0"),
    ("network.hidden", (), "at least one width"),
    ("network.hidden", (8, 0), "at least 1"),
    ("teacher.gripper", "fix", "did you mean 'fixed'"),
    ("teacher.samples", 0, "at least 1"),
    ("teacher.noise", -0.1, "at least 0"),
    ("teacher.bias", (0.0, 0.0), "three numbers"),
    ("teacher.aim_error_fraction", 2.0, "[0, 1]"),
    ("teacher.std", 0.0, "None or a positive number"),
    ("eval.episodes", 0, "at least 1"),
    ("eval.every", -1, "at least 0"),
    ("run.checkpoint_every", -1, "at least 0"),
    ("run.directory", "", "a path"),
    ("variants", (), "at least one"),
    ("variants", ("ppo", "ppo"), "no name twice"),
    ("variants", ("ppo", "rdp-mse"), "did you mean 'rpd-mse'"),
    ("seeds", (), "at least one"),
    ("seeds", (1, 1), "no seed twice"),
    ("seeds", (-1,), "at least 0"),
    ("seeds", (2**31,), "2**31"),
]


@pytest.mark.parametrize(("field", "value", "right"), BAD)
def test_bad_values_are_named(field, value, right):
    owner = config = Config()
    *path, name = field.split(".")
    for part in path:
        owner = getattr(owner, part)
    if isinstance(owner, Tagged) and not hasattr(owner, name):
        owner.name = owner.owners(name)[0] + (":PickCube-v1" if path == ["env"] else "")
    setattr(owner, name, value)
    with pytest.raises(ConfigError) as error:
        config.validate()
        check_env(config.env)
        resolve_variants(config)
    message = str(error.value)
    assert field in message and right in message, message
    assert "\n" not in message


def test_mistyped_fields_are_named_with_the_closest_match():
    check_field("algorithm.learning_rate")
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        check_field("algorithm.learning_rat")
    with pytest.raises(ConfigError, match="did you mean 'algorithm'"):
        check_field("algoritm.learning_rate")
    with pytest.raises(ConfigError, match="has no fields of its own"):
        check_field("algorithm.learning_rate.x")
    with pytest.raises(ConfigError, match="did you mean 'algorithm'"):
        Config.from_dict({"algoritm": {}})


def test_toys_have_no_camera():
    config = Config()
    config.env.name, config.env.observation = "toy:Reach-v0", "rgb"
    with pytest.raises(ConfigError, match="state only"):
        check_env(config.env)


def test_lists_can_be_given_with_commas():
    assert Config(variants=("ppo,rpd-mse", "ppd")).validate().variants == ("ppo", "rpd-mse", "ppd")


def test_every_field_has_a_type_that_flags_can_read():
    """Strings as annotations would break the config flags of ml_collections, which others may use."""
    for cls in (Config, *(t for t in typing.get_type_hints(Config).values() if dataclasses.is_dataclass(t))):
        assert all(not isinstance(f.type, str) for f in dataclasses.fields(cls))
