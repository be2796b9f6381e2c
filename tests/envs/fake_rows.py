"""Five environments of `fake_maniskill` or `fake_maniskill_gpu`: what to do to them, and what is seen of them."""

import contextlib
from pathlib import Path

import numpy as np

from rpd_jax.envs.base import episode_seed

HERE = Path(__file__).parent
SEEDS = [11, 12, 13, 14, 15]
SUCCEED, RAISE, HANG = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]


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


BAD_CALLS = [
    (lambda env: env.step(np.zeros((5, 4))), r"action: shape must be \(5, 3\), got \(5, 4\)"),
    (lambda env: env.step(np.zeros(3)), r"action: shape must be \(5, 3\), got \(3,\)"),
    (lambda env: env.step(actions([2], np.nan)), r"NaN for environments \[2\]"),
    (lambda env: env.frames([5]), r"indices: must be in \[0, 5\), got 5"),
]
"""What both kinds of environments refuse with a ValueError."""
