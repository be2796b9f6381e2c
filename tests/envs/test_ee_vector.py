"""The end-effector observation of ManiSkill's tasks: the same parts as of the tabletop tasks of the same names."""

import numpy as np
import pytest

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec, StepResult
from rpd_jax.envs.ee_vector import EEVectorEnv
from rpd_jax.envs.maniskill import tasks as maniskill_tasks
from rpd_jax.envs.registry import make_env
from rpd_jax.envs.tabletop import tasks
from rpd_jax.envs.tabletop.env import TabletopEnv, slices

# What ManiSkill 3.0.1's tasks observe after the robot's qpos [9] and qvel [9], in order: names and lengths.
EXTRAS = {
    "PushCube-v1": {"tcp_pose": 7, "goal_pos": 3, "obj_pose": 7},
    "PullCube-v1": {"tcp_pose": 7, "goal_pos": 3, "obj_pose": 7},
    "PickCube-v1": {
        "is_grasped": 1,
        "tcp_pose": 7,
        "goal_pos": 3,
        "obj_pose": 7,
        "tcp_to_obj_pos": 3,
        "obj_to_goal_pos": 3,
    },
    "StackCube-v1": {
        "tcp_pose": 7,
        "cubeA_pose": 7,
        "cubeB_pose": 7,
        "tcp_to_cubeA_pos": 3,
        "tcp_to_cubeB_pos": 3,
        "cubeA_to_cubeB_pos": 3,
    },
    "LiftPegUpright-v1": {"tcp_pose": 7, "obj_pose": 7},
    "RollBall-v1": {
        "tcp_pose": 7,
        "goal_pos": 3,
        "ball_pose": 7,
        "ball_vel": 3,
        "tcp_to_ball_pos": 3,
        "ball_to_goal_pos": 3,
    },
    "PokeCube-v1": {
        "tcp_pose": 7,
        "cube_pose": 7,
        "peg_pose": 7,
        "goal_pos": 3,
        "tcp_to_peg_pos": 3,
        "peg_to_cube_pos": 3,
        "cube_to_goal_pos": 3,
        "peghead_to_cube_pos": 3,
    },
    "PullCubeTool-v1": {"tcp_pose": 7, "cube_pose": 7, "tool_pose": 7},
    "PegInsertionSide-v1": {
        "tcp_pose": 7,
        "peg_pose": 7,
        "peg_half_size": 3,
        "box_hole_pose": 7,
        "box_hole_radius": 1,
    },
}
BOTH = [task for task in maniskill_tasks.TASKS if task in tasks.TASKS]


class Recorded:
    """A vector environment of two that gives random states in a task's layout, and remembers what it was told."""

    num_envs = 2

    def __init__(self, task="PickCube-v1", **extras):
        layout = slices({"qpos": 9, "qvel": 9, **(extras or EXTRAS[task])})
        self.size = max(stop for _, stop in layout.values())
        self.spec = EnvSpec(
            name=f"maniskill:{task}",
            instruction="",
            max_episode_steps=50,
            action_dim=7,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            observation={"state": ArraySpec((self.size,), "float32")},
            layout={"state": layout},
        )
        self.rng = np.random.default_rng(0)
        self.told = []

    def state(self):
        return {"state": self.rng.normal(size=(2, self.size)).astype(np.float32)}

    def reset(self):
        return self.state()

    def step(self, action):
        self.told.append(action)
        flags = np.array([False, True])
        return StepResult(self.state(), self.state(), np.array([0.5, 1.0]), flags, ~flags, flags)

    def frames(self, indices):
        return np.full((len(indices), 2, 2, 3), 9, np.uint8)

    def state_dict(self):
        return {"episode": np.array([3, 4])}

    def load_state_dict(self, state):
        self.told.append(state)

    def metrics(self):
        return {"env/worker_restarts": 2.0}

    def close(self):
        self.told.append("closed")


def test_every_task_of_both_suites_is_listed():
    assert set(EXTRAS) == set(maniskill_tasks.TASKS)
    assert {"PickCube-v1", "PushCube-v1"} <= set(BOTH)


@pytest.mark.parametrize("task", BOTH)
def test_both_suites_observe_the_same_parts(task):
    facts, ours = tasks.load(task), TabletopEnv(task, engine="c").spec
    theirs = EEVectorEnv(Recorded(task), facts.ee_objects, facts.ee_goals).spec
    assert theirs.layout["ee"] == ours.layout["ee"]
    assert theirs.observation["ee"] == ours.observation["ee"]
    # the names that the observation is made of mean poses and positions in both suites
    for name, length in {**dict.fromkeys(facts.ee_objects, 7), **dict.fromkeys(facts.ee_goals, 3)}.items():
        start, stop = ours.layout["state"][name]
        assert stop - start == length == EXTRAS[task][name]


def test_the_observation_is_made_of_the_named_slices():
    inner = Recorded()
    env = EEVectorEnv(inner, ("obj_pose",), ("goal_pos",))
    observation = env.reset()
    check(observation)
    result = env.step(np.zeros((2, 7)))
    check(result.observation)
    check(result.final_observation)
    assert not np.allclose(result.observation["ee"], result.final_observation["ee"])
    np.testing.assert_array_equal(result.reward, [0.5, 1.0])
    np.testing.assert_array_equal(result.truncated, [True, False])


def check(observation):
    """PickCube by hand: qpos 0-8, qvel 9-17, is_grasped 18, tcp_pose 19-25, goal_pos 26-28, obj_pose 29-35."""
    state, seen = observation["state"], observation["ee"]
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[:, :3], state[:, 19:22], atol=1e-6)
    np.testing.assert_allclose(seen[:, 9], state[:, 7] + state[:, 8], atol=1e-6)
    np.testing.assert_allclose(seen[:, 10:13], state[:, 29:32], atol=1e-6)
    np.testing.assert_allclose(seen[:, 19:22], state[:, 29:32] - state[:, 19:22], atol=1e-6)
    np.testing.assert_allclose(seen[:, 22:25], state[:, 26:29], atol=1e-6)
    np.testing.assert_allclose(seen[:, 25:28], state[:, 26:29] - state[:, 29:32], atol=1e-6)


def test_everything_else_is_the_environments_own():
    inner = Recorded()
    env = EEVectorEnv(inner, ("obj_pose",), ("goal_pos",))
    assert env.num_envs == 2 and env.restores_episodes is False
    assert env.spec.layout["state"] == inner.spec.layout["state"] and "ee" not in inner.spec.layout
    assert env.frames([1]).shape == (1, 2, 2, 3)
    assert env.metrics() == {"env/worker_restarts": 2.0}
    np.testing.assert_array_equal(env.state_dict()["episode"], [3, 4])
    env.load_state_dict({"episode": 5})
    env.close()
    assert inner.told == [{"episode": 5}, "closed"]


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"tcp_pose": 7, "goal_pos": 3}, "maniskill:PickCube-v1 names no 'obj_pose'"),
        ({"tcp_pose": 7, "goal_pos": 3, "obj_pose": 3}, "'obj_pose' of maniskill:PickCube-v1 has 3 numbers, not 7"),
    ],
)
def test_a_state_without_the_parts_is_refused(extras, message):
    with pytest.raises(ConfigError, match=message):
        EEVectorEnv(Recorded(**extras), ("obj_pose",), ("goal_pos",))


def make(task, **settings):
    config = EnvConfig(name=f"maniskill:{task}", observation="ee", processes=1, **settings)
    return make_env(config, [1, 2], rgb=False, end_on_success=False)


@pytest.mark.vulkan
def test_maniskill_gives_it():
    env = make("PickCube-v1")
    try:
        observation = env.reset()
        check(observation)
        # PickCube begins with open fingers (2 x 0.04 m) that point down, the cube on the table
        np.testing.assert_allclose(observation["ee"][:, 9], 0.08, atol=0.005)
        np.testing.assert_allclose(observation["ee"][:, [3, 7]], [[1, -1], [1, -1]], atol=0.02)
        np.testing.assert_allclose(observation["ee"][:, 12], 0.02, atol=1e-3)
        check(env.step(np.zeros((2, 7))).final_observation)
    finally:
        env.close()


@pytest.mark.slow
@pytest.mark.vulkan
@pytest.mark.parametrize("task", EXTRAS)
def test_maniskills_layouts_are_those_listed(task):
    env = make_env(EnvConfig(name=f"maniskill:{task}", processes=1), [1], rgb=False, end_on_success=False)
    env.close()
    assert env.spec.layout["state"] == slices({"qpos": 9, "qvel": 9, **EXTRAS[task]})
