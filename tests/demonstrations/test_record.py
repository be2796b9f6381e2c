"""Recorded episodes: what belongs together, where they end, and that rounds depend on nothing but their number."""

import itertools

import jax
import numpy as np
import pytest

from rpd_jax.demonstrations.record import record
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.toy.reach import TOY_CONTRACT, Reach
from rpd_jax.training.evaluation import TeacherPolicy
from teachers.base import load

SEED, NUM_ENVS = 3, 4


def make(steps=20, end_on_success=True, noise=0.3, cls=FunctionalVectorEnv):
    env = cls(Reach(steps, end_on_success), NUM_ENVS, env_seeds(SEED, NUM_ENVS))
    teacher = load("toy", env.spec, noise=noise)
    return env, lambda number: TeacherPolicy(teacher, env, jax.random.fold_in(jax.random.key(SEED), number))


def rounds(count, env, make_policy, **settings):
    return list(itertools.islice(record(env, make_policy, SEED, **settings), count))


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_actions_lead_from_each_observation_to_the_next():
    for episode in itertools.chain(*rounds(3, *make())):
        state = episode.observation["state"]
        assert state.shape == (episode.length + 1, 6) and episode.action.dtype == np.float32
        assert np.abs(episode.action).max() <= 1.0
        moved = np.diff(state[:, :3], axis=0)
        # the toy task moves by 0.05 m per unit of action, so the last state is not that of another episode
        np.testing.assert_allclose(moved, TOY_CONTRACT.translation_scale * episode.action[:, :3], atol=1e-6)
        assert np.all(state[:, 3:] == state[:1, 3:])
        distance = np.linalg.norm(state[1:, :3] - state[1:, 3:], axis=1)
        np.testing.assert_array_equal(episode.success, distance < 0.02)
        np.testing.assert_allclose(episode.reward, 1.0 - np.tanh(5.0 * distance), atol=1e-6)
        over = episode.terminated | episode.truncated
        assert over[-1] and not over[:-1].any()
        assert (episode.env_name, episode.instruction) == ("toy:Reach-v0", "move to the goal")


def test_an_episode_ends_at_success_or_at_the_time_limit():
    # at most 0.4 m an axis and 0.05 m a step: all succeed within 9 steps but for the noise; none succeeds in 1
    for episode in itertools.chain(*rounds(2, *make(noise=0.0))):
        assert episode.succeeded and episode.terminated[-1] and not episode.truncated.any() and episode.length <= 9
    for episode in itertools.chain(*rounds(2, *make(steps=1, noise=0.0))):
        assert not episode.succeeded and episode.truncated[-1] and not episode.terminated.any() and episode.length == 1


def test_holding_records_the_steps_after_success():
    plain = rounds(2, *make(noise=0.0))
    held = rounds(2, *make(end_on_success=False, noise=0.0), hold_steps=4)
    for short, long in zip(itertools.chain(*plain), itertools.chain(*held), strict=True):
        assert long.length == short.length + 4
        np.testing.assert_array_equal(long.success, [False] * (short.length - 1) + [True] * 5)
        assert long.truncated[-1] and not long.terminated.any()
        np.testing.assert_array_equal(long.action[: short.length], short.action)
    # where time runs out first, it does
    limited = rounds(2, *make(steps=6, end_on_success=False, noise=0.0), hold_steps=4)
    assert max(episode.length for episode in itertools.chain(*limited)) == 6


def test_perturbed_actions_are_executed_and_clean_ones_recorded():
    std = 0.2
    episodes = list(itertools.chain(*rounds(12, *make(noise=0.0), perturb=std)))
    executed, clean = [], []
    for episode in episodes:
        state, action = episode.observation["state"], episode.action
        aim = (state[:-1, 3:] - state[:-1, :3]) / TOY_CONTRACT.translation_scale
        np.testing.assert_allclose(action[:, :3], np.clip(aim, -1, 1), atol=1e-5)  # what the teacher says there
        executed.append(np.diff(state[:, :3], axis=0) / TOY_CONTRACT.translation_scale)
        clean.append(action[:, :3])
    executed, clean = np.concatenate(executed), np.concatenate(clean)
    inside = np.abs(clean) < 0.3  # where only noise beyond 3.5 standard deviations meets the box
    noise = (executed - clean)[inside]
    assert len(noise) > 150 and abs(noise.std() - std) < 4 * std / np.sqrt(2 * len(noise))
    assert np.abs(executed).max() <= 1.0 + 1e-5
    assert_equal(episodes, list(itertools.chain(*rounds(12, *make(noise=0.0), perturb=std))))


def test_the_gripper_is_not_perturbed():
    env, make_policy = make(noise=0.0)
    given, step = [], env.step
    env.step = lambda action: given.append(np.array(action)) or step(action)
    rounds(1, env, make_policy, perturb=0.5)
    actions = np.concatenate(given)
    assert np.all(actions[:, 6] == 0.0) and np.all(actions[:, 3:6].std(axis=0) > 0.2)  # the teacher's are 0


def test_a_round_depends_on_its_number_only():
    first = rounds(4, *make(), perturb=0.1)
    assert len({episode.seed for episode in itertools.chain(*first)}) == 4 * NUM_ENVS
    later = rounds(1, *make(), perturb=0.1, first_round=3)
    assert_equal(first[3], later[0])


class Crashing(FunctionalVectorEnv):
    """Loses a simulator process in the second step of the first `crashes` rounds."""

    crashes, restarts, steps = 1, 0, 0

    def reset(self, which=None):
        self.steps = 0
        return super().reset(which)

    def step(self, action):
        result = super().step(action)
        self.steps += 1
        if self.steps == 2 and self.restarts < self.crashes:
            self.restarts += 1
            result = result._replace(truncated=np.ones(self.num_envs, bool))
        return result

    def metrics(self):
        return {"env/worker_restarts": float(self.restarts)}


def test_a_round_that_lost_a_simulator_is_played_again():
    env, make_policy = make(cls=Crashing)
    assert_equal(rounds(2, env, make_policy), rounds(2, *make()))
    assert env.restarts == 1
    env, make_policy = make(cls=Crashing)
    env.crashes = 100
    with pytest.raises(RuntimeError, match="died in all 3 tries at round 0"):
        rounds(1, env, make_policy)


@pytest.mark.parametrize(("setting", "message"), [("perturb", "at least 0"), ("hold_steps", "at least 0")])
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=f"{setting}=-1 cannot work: it must be {message}"):
        rounds(1, *make(), **{setting: -1})
