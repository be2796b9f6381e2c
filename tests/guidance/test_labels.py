"""Labels: once per transition, in batches, charged, and independent of who else is there."""

import jax
import jax.numpy as jnp
import numpy as np
from labelled import label_rollout

from rpd_jax.guidance.labels import Ledger, history_windows, ledger_metrics, no_labels
from rpd_jax.types import TeacherLabels, TeacherSpec

T, G, N, D = 5, 2, 3, 2


class CountingTeacher:
    """Answers with what it saw, and noise."""

    def __init__(self, history: int = 1) -> None:
        self.spec = TeacherSpec("counting", ("state",), None, history=history)
        self.batches: list[int] = []

    def label(self, observation, instruction, key):
        state = jnp.asarray(observation["state"])
        assert instruction == "do it"
        self.batches.append(len(state))
        flat = state.reshape(len(state), -1)
        noise = jax.random.normal(key, flat.shape)
        return TeacherLabels(flat + noise, jnp.ones(len(flat), bool), jnp.ones_like(flat))


def ask(teacher, observation, starts, seeds, ledgers=None, batch_size=1000):
    ledgers = ledgers or [Ledger() for _ in seeds]
    return label_rollout(teacher, "do it", {"state": observation}, starts, seeds, 7, batch_size, ledgers)


OBSERVATION = np.random.default_rng(0).normal(size=(T, G, N, D)).astype(np.float32)
STARTS = np.zeros((T, G, N), bool)


def test_each_transition_is_labelled_once_in_batches_and_charged():
    teacher, ledgers = CountingTeacher(), [Ledger(), Ledger()]
    labels = ask(teacher, OBSERVATION, STARTS, [0, 1], ledgers, batch_size=10)
    assert labels.action.shape == (T, G, N, D)
    assert teacher.batches == [10, 5, 10, 5]
    assert [(ledger.calls, ledger.labels) for ledger in ledgers] == [(2, T * N)] * 2
    assert min(ledger.seconds for ledger in ledgers) > 0
    assert ledger_metrics(ledgers)["teacher/labels"] == T * G * N


def test_labels_belong_to_their_transitions():
    labels = ask(CountingTeacher(), OBSERVATION, STARTS, [0, 1])
    # noise is at most a few units; shifting one observation by 50 must shift its own label only
    moved = OBSERVATION.copy()
    moved[2, 1, 0] += 50.0
    difference = ask(CountingTeacher(), moved, STARTS, [0, 1]).action - labels.action
    assert np.argwhere(np.abs(difference).max(-1) > 25).tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(np.delete(difference.reshape(-1, D), 2 * G * N + N, axis=0), 0.0)


def test_a_members_labels_do_not_depend_on_the_others():
    together = ask(CountingTeacher(), OBSERVATION, STARTS, [4, 9]).action[:, 1]
    alone = ask(CountingTeacher(), OBSERVATION[:, 1:], STARTS[:, 1:], [9]).action[:, 0]
    np.testing.assert_array_equal(together, alone)


def test_history_by_hand():
    # one environment, observations 0..4, an episode begins at step 2
    observation = np.arange(5.0)[:, None]
    starts = np.array([False, False, True, False, False])[:, None]
    windows = history_windows(observation, starts, 3)[:, 0]
    # before the rollout and before the episode the first observation stands in
    assert windows.tolist() == [[0, 0, 0], [0, 0, 1], [2, 2, 2], [2, 2, 3], [2, 3, 4]]


def test_history_reaches_the_teacher():
    class Oldest(CountingTeacher):
        def label(self, observation, instruction, key):
            oldest = jnp.asarray(observation["state"])[:, 0]
            return TeacherLabels(oldest, jnp.ones(len(oldest), bool), jnp.ones_like(oldest))

    labels = ask(Oldest(history=2), OBSERVATION, STARTS, [0, 1])
    np.testing.assert_array_equal(labels.action[1:], OBSERVATION[:-1])
    np.testing.assert_array_equal(labels.action[0], OBSERVATION[0])


def test_no_labels_are_invalid_but_harmless():
    labels = no_labels((T, 4, N), D)
    assert labels.valid.shape == (T, 4, N) and not labels.valid.any()
    assert (labels.std > 0).all() and np.isfinite(labels.action).all()
