"""Several tasks of a suite in one vector environment."""

import dataclasses

import numpy as np
import pytest

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.base import film_frames

BOTH = EnvConfig(name="tabletop:PushCube-v1,PullCube-v1", observation="ee", physics="c", max_episode_steps=3)
SEEDS = [5, 6, 7, 8, 9]


def make(config, seeds=SEEDS):
    return registry.make_env(config, seeds, rgb=False, end_on_success=False)


def test_each_row_is_as_in_its_own_task():
    env = make(BOTH)
    first, rng = {k: np.array(x) for k, x in env.reset().items()}, np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (4, len(SEEDS), 7)).astype(np.float32)
    results = [env.step(action) for action in actions]  # over an end
    assert env.spec.instructions == registry.task_info(BOTH).instructions and len(set(env.spec.instructions)) == 2
    np.testing.assert_array_equal(first["instruction"], [0, 1, 0, 1, 0])
    for number, task in enumerate(("PushCube-v1", "PullCube-v1")):
        alone = make(dataclasses.replace(BOTH, name=f"tabletop:{task}"), SEEDS[number::2])
        np.testing.assert_array_equal(first["ee"][number::2], alone.reset()["ee"])
        for action, result in zip(actions, results, strict=True):
            own = alone.step(action[number::2])
            for name in ("reward", "truncated", "success"):
                np.testing.assert_array_equal(getattr(result, name)[number::2], getattr(own, name))
            np.testing.assert_array_equal(result.final_observation["ee"][number::2], own.final_observation["ee"])
    again = make(BOTH)
    again.load_state_dict(env.state_dict())
    np.testing.assert_array_equal(again.reset()["ee"], results[-1].observation["ee"])


def test_frames_are_of_the_rows_named():
    config = dataclasses.replace(BOTH, image_size=36)
    env, pull = make(config), make(dataclasses.replace(config, name="tabletop:PullCube-v1"), SEEDS[1::2])
    env.reset(), pull.reset()
    frames = env.frames([3, 0, 1])
    np.testing.assert_array_equal(frames[[2, 0]], pull.frames([0, 1]))
    assert film_frames(env, [3, 0]).shape == (2, 256, 256, 3)
    with pytest.raises(ValueError, match=r"must be in \[0, 5\)"):
        env.frames([5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "tabletop:PushCube-v1,StackCube-v1"}, "cannot work: the tasks differ in observation ee"),
        ({"name": "tabletop:PushCube-v1,PushCube-v1"}, "names a task twice"),
        ({"name": "tabletop:PushCube-v1,PullCub-v1"}, "did you mean 'PullCube-v1'"),
    ],
)
def test_what_cannot_be_together(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        make(dataclasses.replace(BOTH, **change))
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="1 environments cannot be of 2 tasks"):
        make(BOTH, [1])
