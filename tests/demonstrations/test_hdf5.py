"""ManiSkill's trajectory files: ours are read by ManiSkill's own loader, and published ones by us."""

import json
import shutil

import h5py
import numpy as np
import pytest
from example_episodes import make_episode, make_info

from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.hdf5 import merge_shards, metadata, write_shard
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.types import ActionContract, ActionStatistics

EPISODES = [make_episode(4, 11), make_episode(2, 12, success=False), make_episode(3, 13)]


@pytest.fixture
def path(tmp_path):
    """Three episodes of two shards, of which the second holds one too many."""
    write_shard(tmp_path / "0.h5", EPISODES[:2], 3, 1)
    write_shard(tmp_path / "1.h5", [EPISODES[2], make_episode(5, 14)], 2, 2)
    shards = [tmp_path / "0.h5", tmp_path / "1.h5"]
    merge_shards(shards, tmp_path / "demos.h5", 3, make_info(), {"attempted": 5, "succeeded": 3})
    return tmp_path / "demos.h5"


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        if isinstance(x, dict):
            assert x.keys() == y.keys()
            x, y = list(x.values()), [y[key] for key in x]
            for one, other in zip(x, y, strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(x, y)


def test_what_was_written_is_read(path):
    with Demonstrations(path) as demonstrations:
        assert len(demonstrations) == 3
        for written, read in zip(EPISODES, demonstrations, strict=True):
            assert_equal(written, read)
        assert_equal(EPISODES[2], demonstrations[-1])
        assert (
            demonstrations.info.to_dict() == make_info().to_dict() and demonstrations.control_mode == "pd_ee_delta_pose"
        )
        assert list(demonstrations.episode(0, keys=("state",)).observation) == ["state"]
        statistics = demonstrations.statistics
        everything = np.concatenate([episode.action for episode in EPISODES]).astype(np.float64)
        np.testing.assert_allclose(statistics["action"]["mean"], everything.mean(axis=0))
        assert statistics["action"]["mask"] == [True] * 6 + [False]
        # of the observations that were acted in, not of the last ones
        acted = np.concatenate([episode.observation["proprio"][:-1] for episode in EPISODES]).astype(np.float64)
        np.testing.assert_allclose(statistics["proprio"]["std"], acted.std(axis=0))
        assert statistics["num_transitions"] == 9 and statistics["num_trajectories"] == 3
        with pytest.raises(IndexError, match="index 3 is out of range"):
            demonstrations[3]


def test_the_files_have_maniskills_layout(path):
    with h5py.File(path) as file:
        assert sorted(file) == ["traj_0", "traj_1", "traj_2"]
        group = file["traj_0"]
        assert sorted(group) == ["actions", "obs", "rewards", "success", "terminated", "truncated"]
        assert group["obs/sensor_data/base_camera/rgb"].shape == (5, 8, 8, 3)
        assert group["obs/sensor_data/base_camera/rgb"].compression == "gzip"
        assert group["actions"].dtype == np.float32 and group["success"].dtype == bool
    described = json.loads(path.with_suffix(".json").read_text())
    assert described["env_info"] == {"env_id": "rpd_jax/Reach-v0", "env_kwargs": {}, "max_episode_steps": 20}
    assert described["episodes"][1] == {
        "episode_id": 1,
        "episode_seed": 12,
        "control_mode": "pd_ee_delta_pose",
        "elapsed_steps": 2,
        "reset_kwargs": {"options": {}, "seed": 12},
        "success": False,
    }
    assert described["source_type"] == "scripted" and "scripted teacher toy:Reach-v0" in described["source_desc"]
    assert (described["rpd_jax"]["attempted"], described["rpd_jax"]["succeeded"]) == (5, 3)


def test_maniskills_own_loader_reads_our_files(path):
    dataset = pytest.importorskip("mani_skill.trajectory.dataset")
    loaded = dataset.ManiSkillTrajectoryDataset(str(path))
    assert len(loaded) == 9
    item = loaded[5]  # the second step of the second episode
    np.testing.assert_array_equal(item["action"], EPISODES[1].action[1])
    np.testing.assert_array_equal(item["obs"]["state"], EPISODES[1].observation["state"][1])
    np.testing.assert_array_equal(item["obs"]["sensor_data"]["base_camera"]["rgb"], EPISODES[1].observation["rgb"][1])
    assert item["truncated"] and not item["success"] and item["reward"] == EPISODES[1].reward[1]
    assert len(dataset.ManiSkillTrajectoryDataset(str(path), success_only=True)) == 7


def test_info_survives_json():
    statistics = ActionStatistics("normal", (0.1, 0.2), (1.0, 2.0), (True, False))
    contract = ActionContract(0.1, 0.1, "euler_xyz", -1, "base", -1.0, 1.0, statistics, None, None)
    info = DatasetInfo(**{**vars(make_info()), "contract": contract})
    again = DatasetInfo.from_dict(json.loads(json.dumps(info.to_dict())))
    assert again.contract == contract and again.to_dict() == info.to_dict()
    with pytest.raises(ValueError, match="'seed'"):
        DatasetInfo.from_dict({name: value for name, value in info.to_dict().items() if name != "seed"})


def test_maniskill_gets_what_makes_the_same_environment():
    values = {**vars(make_info()), "env_name": "maniskill:PickCube-v1", "image_size": 256, "max_episode_steps": 50}
    described = metadata(DatasetInfo(**values), [], {})
    assert described["env_info"]["env_id"] == "PickCube-v1" and described["env_info"]["max_episode_steps"] == 50
    kwargs = described["env_info"]["env_kwargs"]
    assert kwargs["control_mode"] == "pd_ee_delta_pose" and kwargs["sim_backend"] == "physx_cpu"
    assert kwargs["human_render_camera_configs"] == {"width": 256, "height": 256}


@pytest.fixture
def published(tmp_path):
    """As ManiSkill's motion planner leaves it: no observations, no rewards; episodes 3 and 7."""
    generator = np.random.default_rng(0)
    with h5py.File(tmp_path / "trajectory.h5", "w") as file:
        for number, length in ((3, 5), (7, 2)):
            group = file.create_group(f"traj_{number}")
            group.create_group("obs")
            group["actions"] = generator.standard_normal((length, 8), np.float32)
            group["terminated"] = np.zeros(length, bool)
            group["truncated"] = np.zeros(length, bool)
            group["env_states/actors/cube"] = generator.standard_normal((length + 1, 13), np.float32)
            if number == 3:
                group["success"] = np.arange(length) == length - 1
            else:
                del group["obs"]
    episodes = [
        {"episode_id": 3, "episode_seed": 5, "reset_kwargs": {}, "control_mode": "pd_joint_pos", "elapsed_steps": 5},
        {"episode_id": 7, "reset_kwargs": {"seed": [9]}, "control_mode": "pd_joint_pos", "elapsed_steps": 2},
    ]
    env_info = {"env_id": "PickCube-v1", "env_kwargs": {"control_mode": "pd_joint_pos"}, "max_episode_steps": 50}
    values = {"env_info": env_info, "commit_info": None, "episodes": episodes, "source_type": "motionplanning"}
    (tmp_path / "trajectory.json").write_text(json.dumps(values))
    return tmp_path


def test_published_files_are_read(published):
    with Demonstrations(published) as demonstrations, h5py.File(published / "trajectory.h5") as file:
        assert demonstrations.info is None and demonstrations.env_name == "maniskill:PickCube-v1"
        first, second = demonstrations
        np.testing.assert_array_equal(first.action, file["traj_3/actions"])
        assert first.observation == {} and first.reward is None and first.succeeded and first.seed == 5
        assert second.success is None and not second.succeeded and second.seed == 9 and second.length == 2
        assert first.instruction == "pick up the cube"
        states = demonstrations.env_states(1)
        np.testing.assert_array_equal(states["actors/cube"], file["traj_7/env_states/actors/cube"])
        assert demonstrations.statistics["action"]["mask"] == [True] * 7 + [False]
        assert "proprio" not in demonstrations.statistics


def test_published_observations_go_by_their_names(published):
    with h5py.File(published / "trajectory.h5", "a") as file:
        del file["traj_3/obs"]
        file["traj_3/obs/agent/qpos"] = np.zeros((6, 9), np.float32)
        file["traj_3/obs/sensor_data/hand_camera/rgb"] = np.zeros((6, 4, 4, 3), np.uint8)
        file["traj_7/obs"] = np.zeros((3, 42), np.float32)  # observation mode "state"
    with Demonstrations(published / "trajectory.h5") as demonstrations:
        assert sorted(demonstrations[0].observation) == ["agent/qpos", "rgb"]
        assert demonstrations[1].observation["state"].shape == (3, 42)


def spoil_json(path):
    path.with_suffix(".json").write_text(path.with_suffix(".json").read_text()[:-30])


def spoil_hdf5(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(name):
    def spoil(path):
        with h5py.File(path, "a") as file:
            del file[name]

    return spoil


def shorten(path):
    without("traj_1/truncated")(path)
    with h5py.File(path, "a") as file:
        file["traj_1/truncated"] = np.zeros(1, bool)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.with_suffix(".json").unlink(), r"demos.json is missing: a trajectory file is a .h5 and"),
        (spoil_json, "demos.json cannot be read: it is cut off or not JSON"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "must have env_info.env_id and episodes"),
        (lambda path: path.unlink(), "demos.h5 is missing"),
        (spoil_hdf5, "demos.h5 cannot be read: it is cut off or not HDF5"),
        (without("traj_1"), "traj_1 is missing, which demos.json lists"),
        (without("traj_1/actions"), "traj_1/actions is missing"),
        (shorten, "traj_1 has 2 actions and truncated for 1 steps"),
    ],
)
def test_damage_is_named(path, spoil, message):
    spoil(path)
    with pytest.raises(ValueError, match=message) as error, Demonstrations(path) as demonstrations:
        list(demonstrations)
    assert "\n" not in str(error.value)


def test_nothing_half_written_is_left(tmp_path):
    shard = tmp_path / "0.h5"
    broken = EPISODES[0]._replace(action=np.array(["no number"]))
    with pytest.raises(ValueError):
        write_shard(shard, [EPISODES[1], broken], 2, 1)
    assert list(tmp_path.iterdir()) == []
    write_shard(shard, [EPISODES[1]], 1, 0)
    shutil.copy(shard, tmp_path / "copy.h5")
    with pytest.raises(ValueError):
        write_shard(shard, [broken], 1, 1)
    assert shard.read_bytes() == (tmp_path / "copy.h5").read_bytes()
