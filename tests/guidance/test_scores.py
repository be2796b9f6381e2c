"""Scores of students' tokens: each row with its own observation, instruction and tokens; in the background too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.guidance.scores import score_member
from rpd_jax.instructions import Instructions, as_instructions
from rpd_jax.types import TeacherError, TeacherSpec, TokenScores

T, N, A, BINS = 4, 3, 2, 5
rng = np.random.default_rng(0)
STATE = rng.normal(size=(T, N, 1)).astype(np.float32)
TOKENS = rng.integers(0, BINS, (T, N, A))
STARTS = np.zeros((T, N), bool)
TOLD = Instructions(("a", "b"), np.array([0, 1, 0], np.int32))


class Scoring:
    """Logits that say what was asked: the observation, the instruction's number, and the token, by column."""

    spec = TeacherSpec("scoring", ("state",), None, token_bins=BINS, in_graph=True)

    def score(self, observation, instructions, tokens):
        index = as_instructions(instructions, len(tokens)).index
        logits = jnp.zeros((*tokens.shape, BINS)).at[..., 0].set(observation["state"])
        logits = logits.at[..., 1].set(jnp.asarray(index, jnp.float32)[:, None]).at[..., 2].set(tokens)
        return TokenScores(logits, jax.nn.logsumexp(logits, axis=-1))


class Background(Scoring):
    def __init__(self):
        self.order = []

    def begin_score(self, observation, instructions, tokens):
        self.order.append("begin")

        def wait():
            self.order.append("wait")
            return self.score(observation, instructions, tokens)

        return wait


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_every_row_has_its_own(batch_size):
    scores = score_member(Scoring(), TOLD, {"state": STATE}, STARTS, TOKENS, batch_size)
    np.testing.assert_allclose(scores.logits[..., 0], np.broadcast_to(STATE, TOKENS.shape))
    np.testing.assert_array_equal(scores.logits[..., 1], np.broadcast_to([[[0.0], [1.0], [0.0]]], TOKENS.shape))
    np.testing.assert_array_equal(scores.logits[..., 2], TOKENS)
    assert scores.logsumexp.shape == (T, N, A)


def test_in_a_program_and_in_the_background_alike():
    expected = score_member(Scoring(), TOLD, {"state": STATE}, STARTS, TOKENS, 5)
    traced = jax.jit(lambda state, tokens: score_member(Scoring(), TOLD, {"state": state}, STARTS, tokens, 5))
    teacher = Background()
    later = score_member(teacher, TOLD, {"state": STATE}, STARTS, TOKENS, 5)
    for other in (traced(STATE, TOKENS), later):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), expected, other)
    assert teacher.order == ["begin"] * 3 + ["wait"] * 3


def test_a_failure_is_the_teachers():
    class Failing(Scoring):
        def score(self, observation, instructions, tokens):
            raise ValueError("out of words")

    with pytest.raises(TeacherError, match="teacher 'scoring' failed: ValueError: out of words"):
        score_member(Failing(), "a", {"state": STATE}, STARTS, TOKENS, 5)
