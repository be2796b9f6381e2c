"""What one may ask of ManiSkill. Nothing is started."""

import dataclasses
import inspect

import pytest

from rpd_jax.envs.maniskill import settings as maniskill_settings
from rpd_jax.envs.maniskill import tasks as maniskill_tasks
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
from rpd_jax.envs.maniskill.settings import Settings
from rpd_jax.envs.process_arrays import shares

GOOD = {
    "task": "RollBall-v1",
    "num_envs": 5,
    "seeds": range(5),
    "control_mode": "pd_ee_delta_pose",
    "reward_mode": "sparse",
    "observations": ("state",),
    "image_size": 256,
    "max_episode_steps": None,
    "end_on_success": True,
    "processes": 2,
    "deadline_s": 60.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, "task=None cannot work"),
        ({"control_mode": "pd_ee_delta_poses"}, "control_mode=.*did you mean 'pd_ee_delta_pose'"),
        (
            {"reward_mode": "none"},
            "reward_mode='none' is unknown: choose from normalized_dense, dense, sparse",
        ),
        ({"observations": ("state", "depth")}, "observations='depth' is unknown"),
        ({"observations": "rgb"}, "observations: need a sequence of names, got the string 'rgb'"),
        ({"num_envs": 0, "seeds": []}, "num_envs: must be a positive integer, got 0"),
        ({"num_envs": 2.0}, "num_envs: must be a positive integer"),
        ({"seeds": [1]}, r"seeds: need one per environment \(5\), got 1"),
        ({"seeds": [1, 2, -3, 4, 5]}, "seeds: must not be negative, got -3"),
        ({"image_size": 0}, "image_size: must be a positive integer, got 0"),
        ({"max_episode_steps": -1}, "max_episode_steps: must be a positive integer, got -1"),
        ({"processes": 0}, "processes: must be a positive integer, got 0"),
        ({"deadline_s": 0.0}, "deadline_s: must be positive, got 0.0"),
        ({"horizon_scale": 0}, "horizon_scale: must be a positive integer, got 0"),
        ({"horizon_scale": 2.5}, "horizon_scale: must be a positive integer, got 2.5"),
        ({"horizon_scale": 2, "control_mode": "pd_joint_pos"}, "horizon_scale: must be 1 in control mode"),
        ({"reward_mode": "v2"}, "env.reward='v2' cannot work in RollBall-v1"),
    ],
)
def test_bad_settings(change, message):
    settings = {**GOOD, **change}
    with pytest.raises(ValueError, match=message) as caught:
        Settings(**settings)
    assert "\n" not in str(caught.value)
    arguments = [settings.pop(name) for name in ("task", "num_envs", "seeds")]
    with pytest.raises(ValueError, match=message):
        ManiSkillVectorEnv(*arguments, **settings)


def test_defaults_are_filled_in():
    settings = Settings(**{**GOOD, "processes": None})
    assert settings.max_episode_steps == 80
    assert 1 <= settings.processes <= 5
    assert Settings(**{**GOOD, "processes": 64}).processes == 5


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_every_environment_has_one_worker(processes):
    rows = shares(5, processes)
    assert [i for r in rows for i in range(r.start, r.stop)] == [0, 1, 2, 3, 4]
    sizes = [r.stop - r.start for r in rows]
    assert len(sizes) == processes
    assert max(sizes) - min(sizes) <= 1


def test_spec_names_the_slices():
    leaves = [
        ["agent/qpos", 9],
        ["agent/qvel", 9],
        ["agent/controller/arm/target", 7],
        ["agent/controller/hand/target", 1],
        ["extra/tcp_pose", 7],
    ]
    made = {"state": leaves, "action_low": [-1.0] * 8, "action_high": [1.0] * 8}
    made |= {"robot": "panda", "max_episode_steps": 80}
    settings = Settings(**{**GOOD, "observations": ("state", "proprio", "rgb"), "image_size": 64})
    spec = maniskill_settings.env_spec(settings, made)
    assert spec.name == "maniskill:RollBall-v1"
    assert spec.instruction == "push the ball"
    assert dict(spec.layout["state"]) == {
        "qpos": (0, 9),
        "qvel": (9, 18),
        "agent/controller/arm/target": (18, 25),
        "agent/controller/hand/target": (25, 26),
        "tcp_pose": (26, 33),
    }
    assert dict(spec.layout["proprio"]) == {"qpos": (0, 9), "qvel": (9, 18), "tcp_pose": (18, 25)}
    assert {name: tuple(entry) for name, entry in spec.observation.items()} == {
        "state": ((33,), "float32"),
        "proprio": ((25,), "float32"),
        "rgb": ((64, 64, 3), "uint8"),
    }
    assert spec.frame_shape == (64, 64, 3)
    assert spec.action_dim == 8
    assert spec.contract == maniskill_tasks.contract("pd_ee_delta_pose")
    # of another robot nobody knows what its actions mean
    assert maniskill_settings.env_spec(settings, made | {"robot": "fetch"}).contract is None
    bare = maniskill_settings.env_spec(settings, made | {"state": leaves[2:4]})
    assert set(bare.layout) == {"state"} and set(bare.observation) == {"state", "rgb"}


def test_only_deltas_of_the_current_pose_have_a_contract():
    with_contract = [mode for mode in maniskill_tasks.CONTROL_MODES if maniskill_tasks.contract(mode)]
    assert with_contract == ["pd_ee_delta_pose"]


def test_the_environment_has_the_defaults_of_its_settings():
    """Which are those of the batched one too."""
    ours = {name: each.default for name, each in inspect.signature(ManiSkillVectorEnv).parameters.items()}
    given = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert ours.keys() == given.keys()
    assert {n: x for n, x in ours.items() if x is not inspect.Parameter.empty} == {
        n: x for n, x in given.items() if x is not dataclasses.MISSING
    }
