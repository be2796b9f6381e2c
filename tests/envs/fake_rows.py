"""Five environments of `fake_maniskill` or `fake_maniskill_gpu`: what to do to them, and what is seen of them."""

import contextlib
from pathlib import Path

import numpy as np

from rpd_jax.envs.base import episode_seed, first_ages

HERE = Path(__file__).parent
SEEDS = [11, 12, 13, 14, 15]
SUCCEED, RAISE, HANG = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]
GIVE_NAN, PAY_INFINITELY = [0.25, 1.0, 0.5], [-0.25, 1.0, 0.5]  # and succeed


@contextlib.contextmanager
def made_with(monkeypatch, module, worker, create, **defaults):
    """Gives a function that makes environments whose workers, named in `module`, run `worker`; all are closed."""
    monkeypatch.setattr(module, "_WORKER", worker)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    defaults = {"max_episode_steps": 4, "image_size": 8, "deadline_s": 30.0, **defaults}
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(create("PickCube-v1", len(SEEDS), SEEDS, **defaults | options))


def column(observation, index):
    return np.asarray(observation["state"])[:, index].astype(int).tolist()


def seeds_in(observation):
    return column(observation, 25)


def steps_in(observation):
    return column(observation, 26)


def seeds_of(episodes):
    """Of each environment's episode of that number, or of one number for all."""
    numbers = np.broadcast_to(episodes, len(SEEDS)).tolist()
    return [episode_seed(seed, k) % 1000 for seed, k in zip(SEEDS, numbers, strict=True)]


def actions(rows=None, values=None):
    array = np.zeros((len(SEEDS), 3))
    if rows is not None:
        array[rows] = values
    return array


def check_random_ages(make):
    """Episodes of at most 4 steps: only those that begin together are cut short, after a checkpoint too."""
    env = make(random_ages=True)
    assert seeds_in(env.reset()) == seeds_of(0)
    ages = first_ages(SEEDS, 4)
    assert len(set(ages.tolist())) > 1
    for step in range(1, 10):
        result = env.step(actions())
        assert np.asarray(result.truncated).tolist() == ((step + ages) % 4 == 0).tolist()
        assert not np.asarray(result.terminated).any()
    episodes = env.state_dict()["episode"]
    other = make(random_ages=True)
    other.load_state_dict(env.state_dict())
    other.reset()
    ages = first_ages(SEEDS, 4, episodes)
    for step in range(1, 6):
        assert np.asarray(other.step(actions()).truncated).tolist() == ((step + ages) % 4 == 0).tolist()


def check_not_finite(make):
    """Rows 1 and 3 break: truncated at the observation before, with reward 0; the others notice nothing."""
    env = make(observations=("rgb",))
    env.reset()
    before = env.step(actions([3], SUCCEED)).observation
    before = {name: np.array(x) for name, x in before.items()}
    result = env.step(actions([0, 1, 3], [[0.0, 0.0, 0.5], GIVE_NAN, PAY_INFINITELY]))
    assert np.asarray(result.reward).tolist() == [0.5, 0.0, 0.0, 0.0, 0.0]
    assert np.asarray(result.truncated).tolist() == [False, True, False, True, False]
    assert not np.asarray(result.terminated).any() and not np.asarray(result.success).any()
    for name, x in before.items():
        np.testing.assert_array_equal(np.asarray(result.final_observation[name])[[1, 3]], x[[1, 3]])
    assert steps_in(result.final_observation) == [2, 1, 2, 0, 2] and steps_in(result.observation) == [2, 0, 2, 0, 2]
    assert env.state_dict()["episode"].tolist() == [1, 2, 1, 3, 1]
    assert env.metrics()["env/not_finite"] == 2.0
    assert not np.asarray(env.step(actions()).truncated).any() and env.metrics()["env/not_finite"] == 2.0
    return env


BAD_CALLS = [
    (lambda env: env.step(np.zeros((5, 4))), r"action: shape must be \(5, 3\), got \(5, 4\)"),
    (lambda env: env.step(np.zeros(3)), r"action: shape must be \(5, 3\), got \(3,\)"),
    (lambda env: env.step(actions([2], np.nan)), r"NaN for environments \[2\]"),
    (lambda env: env.frames([5]), r"indices: must be in \[0, 5\), got 5"),
]
"""What both kinds of environments refuse with a ValueError."""
