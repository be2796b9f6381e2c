"""The tabletop tasks as Gymnasium has them: spaces, seeds, the end of episodes, wrappers, registration."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import rpd_jax.envs.gym
from rpd_jax.config import ConfigError
from rpd_jax.envs.tabletop.tasks import TASKS

STEPS, B = 3, 2


@pytest.fixture(scope="module")
def envs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Gymnasium warns of whatever it misses
        made = gymnasium.make_vec(
            "rpd_jax/PickCube-v1",
            num_envs=B,
            observation="state+ee",
            max_episode_steps=STEPS,
            render_mode="rgb_array",
            render_size=20,
            seed=5,
            physics="c",
        )
    yield made
    made.close()


@pytest.fixture(scope="module")
def plain():
    return rpd_jax.envs.gym.make_vec("tabletop:PickCube-v1", B, max_episode_steps=STEPS, seed=5, physics="c")


def still() -> np.ndarray:
    return np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (B, 1))  # fingers stay open


def test_every_task_is_registered():
    for task in TASKS:
        assert gymnasium.spec(f"rpd_jax/{task}").kwargs == {"task": task}
    assert gymnasium.spec("rpd_jax/PickCube-v1").max_episode_steps == 50  # ManiSkill's


def test_spaces_hold_what_comes(envs):
    assert isinstance(envs, rpd_jax.envs.gym.TabletopVectorEnv) and envs.num_envs == B
    assert envs.spec.id == "rpd_jax/PickCube-v1" and envs.render_mode == "rgb_array"
    assert envs.single_observation_space == Dict(
        {"state": Box(-2e10, 2e10, (40,), np.float32), "ee": Box(-2e10, 2e10, (28,), np.float32)}
    )
    assert envs.single_action_space == Box(-1.0, 1.0, (7,), np.float32)
    assert envs.action_space.shape == (B, 7)
    observation, infos = envs.reset(seed=0)
    assert envs.observation_space.contains(observation) and infos == {}
    observation, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(observation)
    assert [x.shape for x in (reward, terminated, truncated)] == [(B,)] * 3
    assert terminated.dtype == truncated.dtype == bool
    np.testing.assert_array_equal(infos["_success"], [True] * B)
    assert envs.env_spec.instruction == "pick up the cube"
    assert envs.env_spec.layout["state"]["obj_pose"] == (27, 34)  # 2 x 8, is_grasped, tcp_pose, goal_pos


def test_one_entry_is_an_array(plain):
    assert plain.single_observation_space == Box(-2e10, 2e10, (40,), np.float32)
    observation, _ = plain.reset()
    assert plain.observation_space.contains(observation)
    observation[:] = 0.0  # the caller's own copy
    assert not np.allclose(plain.step(still())[0], 0.0)


def test_seeds_decide_the_episodes(plain):
    first, second = plain.reset(seed=7)[0], plain.reset()[0]
    assert not np.allclose(first, second) and not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(plain.reset(seed=7)[0], first)
    np.testing.assert_array_equal(plain.reset()[0], second)
    assert not np.allclose(plain.reset(seed=8)[0], first)
    assert plain.np_random_seed == 8


def test_the_seed_given_at_first_is_that_of_the_first_reset(plain):
    other = rpd_jax.envs.gym.make_vec("PickCube-v1", 1, max_episode_steps=STEPS, seed=5, physics="c")
    # the episodes of an environment do not depend on how many there are
    np.testing.assert_allclose(other.reset()[0][0], plain.reset(seed=5)[0][0], atol=1e-6)
    assert other.np_random_seed == 5


def test_an_episode_that_ends_begins_anew_in_the_same_step(envs):
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    first, _ = envs.reset(seed=1)
    envs.reset(options={"reset_mask": np.array([False, True])})  # the second one is an episode ahead
    envs.step(still())
    envs.reset(options={"reset_mask": np.array([False, True])})
    for _ in range(STEPS - 2):
        *_, infos = envs.step(still())
        assert "final_obs" not in infos
    observation, _, terminated, truncated, infos = envs.step(still())
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, [True, False])
    # a cube at rest, a hand told to stay: the end is near the beginning, the new episode is elsewhere
    final = infos["final_obs"]
    assert final[1] is None and final[0].keys() == {"state", "ee"}
    np.testing.assert_allclose(final[0]["ee"], first["ee"][0], atol=0.02)
    assert np.abs(observation["ee"][0] - first["ee"][0]).max() > 0.02
    for name in ("final_obs", "final_info"):
        np.testing.assert_array_equal(infos[f"_{name}"], [True, False])
    np.testing.assert_array_equal(infos["final_info"]["_success"], [True, False])
    np.testing.assert_array_equal(infos["_success"], [False, True])


def test_pictures_come_one_for_each_environment(envs, plain):
    envs.reset(seed=1)
    pictures = envs.render()
    assert isinstance(pictures, tuple) and [p.shape for p in pictures] == [(20, 20, 3)] * B
    assert pictures[0].dtype == np.uint8
    assert plain.render() is None
    assert envs.metadata["render_fps"] == 20  # a control step is 0.05 s


def test_gymnasiums_wrappers_understand_it(plain):
    wrapped = RecordEpisodeStatistics(plain)
    wrapped.reset(seed=2)
    rewards = np.zeros(B)
    for _ in range(STEPS):
        _, reward, _, _, infos = wrapped.step(still())
        rewards += reward
    np.testing.assert_array_equal(infos["episode"]["l"], [STEPS] * B)
    np.testing.assert_allclose(infos["episode"]["r"], rewards, rtol=1e-6)
    listed = DictInfoToList(plain)
    listed.reset(seed=2)
    for _ in range(STEPS):
        *_, infos = listed.step(still())
    assert len(infos) == B and infos[0]["final_info"] == {"success": False}
    assert infos[1]["final_obs"].shape == (40,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation": "state+rgbd"}, "did you mean 'rgb'"),
        ({"render_mode": "human"}, "choose from rgb_array"),
        ({"reward": "dens"}, "did you mean 'dense'"),
        ({"physics": "warp"}, "env.physics='warp' is unknown"),
        ({"rewrad": "dense"}, "setting='rewrad' is unknown.*did you mean 'reward'"),
        ({"render_size": 0}, "render_size=0 cannot work: it must be at least 1 pixel"),
    ],
)
def test_what_cannot_be_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        rpd_jax.envs.gym.make_vec("PickCube-v1", **settings)


def test_wrong_arguments_are_refused(plain):
    with pytest.raises(ValueError, match=r"shape must be \(2, 7\), got \(7,\)"):
        plain.step(np.zeros(7))
    with pytest.raises(ValueError, match="a seed is for all environments"):
        plain.reset(seed=1, options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="reset_mask: need 2 booleans"):
        plain.reset(options={"reset_mask": np.array([1, 0])})
