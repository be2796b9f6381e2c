"""Teacher calls per iteration: one label per transition and rollout, against asking in every minibatch of every epoch.

  python -m benchmarks.labels [--quick] [--json=FILE]

Both schemes really run, with a counting teacher and batches of the same size; the second is what RPD's public code
does (methods of arXiv 2503.05833, its code): each minibatch of each epoch asks the teacher again.

ratio_calls   calls of the per-minibatch scheme / ours (higher is better)
ratio_labels  the same for labelled transitions
"""

from __future__ import annotations

import jax
import numpy as np

from benchmarks.common import parse_args, write
from rpd_jax.guidance.labels import label_member
from rpd_jax.types import Array, Observation, TeacherLabels, TeacherSpec

LENGTH, NUM_ENVS, EPOCHS, MINIBATCHES = 50, 128, 8, 50


class CountingTeacher:
    """Counts what it is asked; its answers are zeros."""

    spec = TeacherSpec(name="counting", observation_keys=("state",), contract=None)

    def __init__(self) -> None:
        self.calls = self.labels = 0

    def label(self, observation: Observation, instruction: str, key: Array) -> TeacherLabels:
        size = len(observation["state"])
        self.calls += 1
        self.labels += size
        return TeacherLabels(np.zeros((size, 7)), np.ones(size, bool), np.ones((size, 7)))


def once_per_rollout(states: np.ndarray, batch_size: int) -> CountingTeacher:
    """The library's own labelling of one iteration."""
    teacher = CountingTeacher()
    starts = np.zeros((states.shape[0], states.shape[2]), bool)
    label_member(teacher, "", {"state": states[:, 0]}, starts, 0, 0, batch_size)
    return teacher


def every_minibatch(states: np.ndarray, batch_size: int) -> CountingTeacher:
    """One iteration of the per-minibatch scheme."""
    teacher, rng = CountingTeacher(), np.random.default_rng(0)
    flat = states.reshape(-1, states.shape[-1])
    for _ in range(EPOCHS):
        for minibatch in np.array_split(rng.permutation(len(flat)), MINIBATCHES):
            for begin in range(0, len(minibatch), batch_size):
                chosen = flat[minibatch[begin : begin + batch_size]]
                teacher.label({"state": chosen}, "", jax.random.key(0))
    return teacher


def main() -> None:
    args = parse_args("labels")
    states = np.zeros((LENGTH, 1, NUM_ENVS, 42), np.float32)
    batch_size = LENGTH * NUM_ENVS // MINIBATCHES  # the same for both: the size of a minibatch
    ours, theirs = once_per_rollout(states, batch_size), every_minibatch(states, batch_size)
    figures = {
        "calls_per_iteration": float(ours.calls),
        "calls_per_iteration_every_minibatch": float(theirs.calls),
        "ratio_calls": theirs.calls / ours.calls,
        "ratio_labels": theirs.labels / ours.labels,
    }
    write("labels", figures, args.json)


if __name__ == "__main__":
    main()
