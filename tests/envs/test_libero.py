"""LIBERO around its simulator: names, settings, many episodes in one process, initial states, cameras."""

import numpy as np
import pytest
from fake_rows import HERE

from rpd_jax.config import Config, ConfigError, EnvConfig, TeacherConfig
from rpd_jax.demonstrations import open_demonstrations
from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.envs.base import begin_episode, episode_seed
from rpd_jax.envs.libero import pool, simulator, tasks
from rpd_jax.envs.registry import check_env, make_env, task_info, tasks_of
from rpd_jax.envs.venv import Venv
from rpd_jax.types import TeacherLabels, TeacherSpec

EEF = slice(25, 28)


@pytest.fixture
def stand_in(monkeypatch):
    """`fake_libero` in the place of LIBERO."""
    monkeypatch.setattr(pool, "_WORKER", "fake_libero")
    monkeypatch.setattr(Venv, "found", lambda self: None)
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def make(stand_in):
    """Makes environments of `fake_libero`, three rows in two processes."""
    envs = []

    def build(seeds=(11, 12, 13), rgb=False, end_on_success=True, **settings):
        settings = {"name": "libero:Spatial/3", "max_episode_steps": 4, "image_size": 36, "processes": 2} | settings
        envs.append(
            make_env(EnvConfig(**settings), list(seeds), rgb=rgb, end_on_success=end_on_success, random_ages=False)
        )
        return envs[-1]

    yield build
    for env in envs:
        env.close()


def moments(observation):
    return np.asarray(observation["state"])[:, EEF].tolist()


def test_what_is_known_without_starting_anything():
    info = task_info(EnvConfig(name="libero:10/4"))
    assert info.max_episode_steps == 520 and info.instructions == () and info.contract == tasks.CONTRACT
    assert info.success and info.ee_objects == ("target_pose",)
    assert tasks_of(EnvConfig(name="libero:Goal")) == tuple(f"libero:Goal/{n}" for n in range(10))
    assert tasks_of(EnvConfig(name="libero:90/17")) == ("libero:90/17",)
    assert EnvConfig(name="libero:Goal/1").reward == "sparse"
    config = EnvConfig(name="tabletop:PushCube-v1")
    config.name = "libero:Goal/1"
    assert config.reward == "sparse"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "libero:Spatial/10"}, "need libero:Spatial/0 to libero:Spatial/9, or libero:Spatial for all"),
        ({"name": "libero:spatial/1"}, "did you mean 'Spatial'"),
        ({"name": "libero:Spatial/03"}, "need libero:Spatial/0"),
        ({"python": "/no/such/python"}, "no interpreter is there; `make libero-env` makes .venv-libero/bin/python"),
        ({"observation": "rgb+rgb_front"}, "LIBERO's cameras are"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_env(EnvConfig(**{"name": "libero:Spatial/3"} | settings))


def test_the_rows_of_a_process_share_a_simulator_and_notice_nothing(make):
    env, alone = make(), make(processes=3)
    assert moments(env.reset()) == moments(alone.reset()) == [[episode_seed(s, 0) % 50, 0, 0] for s in (11, 12, 13)]
    rng = np.random.default_rng(0)
    for step in range(6):
        action = rng.uniform(-1, 1, (3, 7))
        action[:, 1] = [0.0, 1.0 if step == 1 else 0.0, 0.0]
        results = [each.step(action) for each in (env, alone)]
        for entry in ("observation", "final_observation"):
            a, b = (getattr(result, entry)["state"] for result in results)
            np.testing.assert_array_equal(a, b)
        assert results[0].terminated.tolist() == [False, step == 1, False]
        assert results[0].reward.tolist() == [0.0, float(step == 1), 0.0]
    assert env.spec.instruction == "do libero_spatial 3" and env.spec.versions == {"mujoco": "3.4.0"}


def test_initial_states_are_played_in_order_by_all_environments_together(make):
    env = make(initial_states=(7, 3, 49, 0))
    assert [int(m[0]) for m in moments(env.reset())] == [7, 3, 49]
    assert [int(m[0]) for m in moments(env.reset())] == [0, 7, 3]
    assert [int(m[0]) for m in moments(begin_episode(env, 2))] == [49, 0, 7]
    members = make(seeds=(11, 12, 11, 12), initial_states=(5, 6, 7))
    assert [int(m[0]) for m in moments(members.reset())] == [5, 6, 5, 6]


def test_both_cameras_are_drawn_on_request_and_at_every_step(make):
    env = make(initial_states=(7, 3, 49))
    env.reset()
    env.step(np.zeros((3, 7)))
    assert env.spec.cameras == {"rgb": (36, 36, 3), "rgb_wrist": (36, 36, 3)}
    assert env.frames([2, 0])[:, 0, 0, 0].tolist() == [49, 7]
    assert env.frames([1], "rgb_wrist")[:, 0, 0, 0].tolist() == [1]
    env = make(initial_states=(7, 3, 49), rgb=True, observation="rgb+rgb_wrist+proprio")
    observation = env.reset()
    assert {key: x.shape[1:] for key, x in observation.items()} == {
        "state": (50,),
        "proprio": (8,),
        "rgb": (36, 36, 3),
        "rgb_wrist": (36, 36, 3),
    }
    for _ in range(4):
        result = env.step(np.zeros((3, 7)))
    assert result.final_observation["rgb_wrist"][:, 0, 0, 0].tolist() == [4, 4, 4]
    assert result.observation["rgb_wrist"][:, 0, 0, 0].tolist() == [0, 0, 0]
    assert result.observation["proprio"][:, :2].tolist() == [[7, 0], [3, 0], [49, 0]]


class Succeeds:
    """Its third action is what `fake_libero` takes to be success."""

    spec = TeacherSpec("succeeds", ("proprio",), tasks.CONTRACT)

    def label(self, observation, instructions, key):
        action = np.full((len(observation["proprio"]), 7), 0.25, np.float32)
        action[:, 1] = np.asarray(observation["proprio"])[:, 1] == 2
        return TeacherLabels(action, np.ones(len(action), bool), np.ones_like(action))


@pytest.mark.parametrize("format", ["hdf5", "lerobot"])
def test_a_recording_holds_both_cameras_the_hand_and_what_actions_mean(stand_in, tmp_path, format):
    if format == "lerobot":
        pytest.importorskip("av")
        pytest.importorskip("pyarrow")
    env = EnvConfig(name="libero:Spatial/3", initial_states=(7, 30, 49), image_size=36, processes=1)
    settings = Settings(episodes=4, num_envs=2, cameras=("rgb", "rgb_wrist"), format=format)
    config = Config(env=env, teacher=TeacherConfig(name="toy"))
    assert collect(config, lambda env: Succeeds(), settings, tmp_path / "demos").attempted == 4
    with open_demonstrations(tmp_path / "demos") as demonstrations:
        info, episodes = demonstrations.info, list(demonstrations)
    assert info.contract == tasks.CONTRACT and info.robot == "panda" and info.control_hz == 20
    assert info.instruction == "do libero_spatial 3" and info.cameras == ("rgb", "rgb_wrist")
    assert info.layout["proprio"] == {"eef_pos": [0, 3], "eef_axis_angle": [3, 6], "gripper_qpos": [6, 8]}
    assert [episode.seed for episode in episodes] == [7, 30, 49, 7]
    for episode in episodes:
        assert episode.instruction == info.instruction and episode.succeeded and episode.length == 3
        seen = {key: x[:3] for key, x in episode.observation.items()}  # LeRobot's format has not the last observation
        assert ("state" in seen) == (format == "hdf5")
        np.testing.assert_allclose(seen["proprio"][:, :2], [[episode.seed, step] for step in range(3)])
        for key, grey in (("rgb", [episode.seed] * 3), ("rgb_wrist", range(3))):
            assert seen[key].shape == (3, 36, 36, 3)
            np.testing.assert_allclose(seen[key].mean(axis=(1, 2, 3)), grey, atol=3)


def test_known_faults_of_versions_are_named():
    assert tasks.known_faults("3.3.2") == tasks.known_faults("2.3.7") == []
    assert len(tasks.known_faults("3.3.7")) == 1 and "Spatial/5" in tasks.known_faults("3.17.0")[1]


def test_axis_angle_by_hand():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(simulator.axis_angle(np.array([half, 0, 0, half])), [np.pi / 2, 0, 0])
    np.testing.assert_allclose(simulator.axis_angle(np.array([0, 1.0, 0, 0])), [0, np.pi, 0])
    # the other sign of the same rotation: 3/2 pi about the opposite axis, not pi / 2
    np.testing.assert_allclose(simulator.axis_angle(-np.array([half, 0, 0, half])), [-1.5 * np.pi, 0, 0])
    np.testing.assert_array_equal(simulator.axis_angle(np.array([0, 0, 0, 1.0])), np.zeros(3))
