"""One tabletop task as `gymnasium.make` gives it: Gymnasium's own check, the usual wrappers, pictures for people."""

import warnings

import gymnasium
import jax
import numpy as np
import pytest
from children import run
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env

import rpd_jax.envs.gym
from rpd_jax.envs.gym_settings import closer
from rpd_jax.envs.tabletop.tasks import TASKS, load

STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)  # fingers stay open
SIZE = 24


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make("rpd_jax/PickCube-v1", observation="ee", render_mode="rgb_array", render_size=SIZE)
    yield made
    made.close()


def test_gymnasiums_check_finds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns of what it finds unusual
        settings = {"observation": "ee+rgb", "render_size": SIZE, "image_size": 16}
        check_env(gymnasium.make("rpd_jax/PickCube-v1", **settings).unwrapped)


def test_no_import_is_needed_before_the_name():
    done = run(
        "-c",
        "import gymnasium\n"
        "env = gymnasium.make('rpd_jax.envs.gym:rpd_jax/PushCube-v1')\n"
        "print(env.unwrapped.env_spec.instruction, '/', env.spec.max_episode_steps, env.reset(seed=0)[0].shape)",
    )
    assert done.stdout == "push the cube away from the robot base / 50 (33,)\n", done.stderr


def test_an_episode_ends_by_the_time_limit(env):
    assert env.spec.max_episode_steps == 50 and env.unwrapped.env_spec.max_episode_steps == 50
    short = gymnasium.make("rpd_jax/PickCube-v1", max_episode_steps=3)
    for _ in range(2):
        short.reset(seed=0)
        ends = [short.step(STILL)[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (False, True)]


def test_episodes_are_those_of_a_vector(env):
    vector = rpd_jax.envs.gym.make_vec("PickCube-v1", 1, observation="ee", seed=5)
    for seed in (5, None, None):
        alone, _ = env.reset(seed=seed)
        np.testing.assert_allclose(alone, vector.reset()[0][0], atol=1e-6)
    action = np.full(7, 0.3, np.float32)
    observation, reward, *_, info = env.step(action)
    seen, rewards, *_ = vector.step(action[None])
    np.testing.assert_allclose(observation, seen[0], atol=1e-5)
    assert reward == pytest.approx(float(rewards[0]), abs=1e-5) and info == {"success": False}


def test_without_a_seed_episodes_differ():
    first, second = (rpd_jax.envs.gym.TabletopSingleEnv("PickCube-v1", observation="ee") for _ in range(2))
    assert not np.allclose(first.reset()[0], second.reset()[0])


def test_misuse_is_refused():
    env = rpd_jax.envs.gym.TabletopSingleEnv("PickCube-v1", observation="ee", render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded, match="step was called before reset"):
        env.step(STILL)
    with pytest.raises(gymnasium.error.ResetNeeded, match="render was called before reset"):
        env.render()
    with pytest.raises(ValueError, match=r"action: shape must be \(7,\), got \(6,\)"):
        env.step(STILL[:6])
    assert rpd_jax.envs.gym.TabletopSingleEnv("PickCube-v1", observation="ee").render() is None


def test_an_action_that_is_no_number_ends_the_episode(env):
    env.reset(seed=0)
    observation, reward, terminated, truncated, _ = env.step(np.full(7, np.nan, np.float32))
    assert truncated and not terminated and reward == 0.0 and np.isfinite(observation).all()


def test_the_wrappers_of_cleanrl_and_sb3():
    """In the order of CleanRL's ppo_continuous_action."""

    def make():
        env = gymnasium.make("rpd_jax/PickCube-v1", observation="ee+proprio", max_episode_steps=4)
        env = wrappers.FlattenObservation(env)
        env = wrappers.RecordEpisodeStatistics(env)
        env = wrappers.ClipAction(env)
        env = wrappers.NormalizeObservation(env)
        env = wrappers.TransformObservation(env, lambda x: np.clip(x, -10, 10), env.observation_space)
        env = wrappers.NormalizeReward(env, gamma=0.99)
        return wrappers.TransformReward(env, lambda x: np.clip(x, -10, 10))

    envs = gymnasium.vector.SyncVectorEnv([make, make])
    observation, _ = envs.reset(seed=[0, 1])
    assert observation.shape == (2, 28 + 23) and not np.allclose(observation[0], observation[1])
    for _ in range(4):
        observation, reward, _, truncated, infos = envs.step(7.0 * np.ones((2, 7), np.float32))
        assert np.abs(observation).max() <= 10.0 and np.isfinite(reward).all()
    assert truncated.all()
    np.testing.assert_array_equal(infos["episode"]["l"], [4, 4])


def test_it_is_recorded(env, tmp_path):
    recorded = wrappers.RenderCollection(env)
    recorded.reset(seed=0)
    recorded.step(STILL)
    frames = recorded.render()
    assert [x.shape for x in frames] == [(SIZE, SIZE, 3)] * 2 and frames[0].dtype == np.uint8


def test_stable_baselines3_learns_on_it():
    sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    from stable_baselines3.common.env_checker import check_env as sb3_check

    env = gymnasium.make("rpd_jax/PickCube-v1", observation="ee")
    sb3_check(env)
    model = sb3.PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(64)
    assert model.num_timesteps == 64


@pytest.mark.parametrize("task", TASKS)
def test_hand_objects_and_goal_are_in_the_picture(task):
    """Of 64 beginnings: everything that is placed is projected onto the camera of `render()`."""
    scene = load(task).scene
    camera = closer(scene.camera)
    placement = jax.vmap(load(task).place)(jax.random.split(jax.random.key(0), 64))
    points = [np.array([scene.home]), *(np.asarray(pose)[:, :3] for pose in placement.pose.values())]
    points += [np.asarray(placement.goal[marker.goal])[:, :3] for marker in scene.markers]
    forward = np.subtract(camera.target, camera.eye) / np.linalg.norm(np.subtract(camera.target, camera.eye))
    right = np.cross(forward, (0, 0, 1)) / np.linalg.norm(np.cross(forward, (0, 0, 1)))
    away = np.concatenate(points) - np.array(camera.eye)
    depth = away @ forward
    assert (depth > 0).all()
    at = np.stack([away @ right, away @ np.cross(right, forward)], -1) / depth[:, None] / np.tan(camera.fov / 2)
    assert np.abs(at).max() < 0.95  # the picture's edge is at 1
