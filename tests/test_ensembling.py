"""Temporal ensembling by hand: chunks of 3 actions of one dimension; and a teacher that acts by it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arm_spec import arm_spec

from rpd_jax.actions.ensembling import ensembled, no_answers, remember
from rpd_jax.config import ConfigError
from rpd_jax.config.teacher import Acting
from rpd_jax.training.evaluation import TeacherPolicy
from rpd_jax.types import TeacherLabels, TeacherSpec

FIRST, SECOND, THIRD = (jnp.array([[1.0], [2.0], [3.0]]) * scale for scale in (1, 10, 100))
HALF = float(np.log(2.0))  # the decay with which an answer counts half as much as the one before it
NO, YES = jnp.array(False), jnp.array(True)


def after(*plans, starts=NO):
    answers = no_answers(3, 1)
    for plan in plans:
        answers = remember(answers, plan, starts)
    return answers


def test_answers_to_the_present_step_are_averaged():
    """At step 2: the newest answer's first action, the second's second, the first's third: (100 + 20 + 3) / 3 = 41.

    With decay log 2 the oldest counts 1, the next 1/2, the newest 1/4: (3 + 10 + 25) / 1.75; with its negative the
    other way round: (3/4 + 10 + 100) / 1.75."""
    for plans, expected in (((FIRST,), 1.0), ((FIRST, SECOND), 6.0), ((FIRST, SECOND, THIRD), 41.0)):
        np.testing.assert_allclose(ensembled(after(*plans), 0.0), [expected], rtol=1e-6)
    np.testing.assert_allclose(ensembled(after(FIRST, SECOND, THIRD), HALF), [38.0 / 1.75], rtol=1e-6)
    np.testing.assert_allclose(ensembled(after(FIRST, SECOND, THIRD), -HALF), [110.75 / 1.75], rtol=1e-6)
    four = after(FIRST, SECOND, THIRD, FIRST)  # the first one is too old by now
    np.testing.assert_allclose(ensembled(four, 0.0), [(1.0 + 200.0 + 30.0) / 3], rtol=1e-6)


def test_an_extreme_decay_leaves_one_answer():
    found = [float(ensembled(after(FIRST, SECOND, THIRD), decay)[0]) for decay in (100.0, -100.0)]
    np.testing.assert_allclose(found, [3.0, 100.0], rtol=1e-6)


def test_an_episode_knows_no_answers_of_the_one_before():
    np.testing.assert_allclose(ensembled(after(FIRST, SECOND, starts=YES), 0.0), [10.0])


def test_actions_that_are_no_numbers_are_left_out():
    """The second answer has no action for the third step; the third one none at all: what is left is the first's."""
    nothing = jnp.full((3, 1), jnp.nan)
    answers = after(FIRST, SECOND.at[1].set(jnp.nan), nothing)
    np.testing.assert_allclose(ensembled(answers, HALF), [3.0])
    assert np.isnan(ensembled(after(nothing), 0.0)).all()


class Rising:
    """Action c answered at step t is 10 t + c, of which the third environment's second one cannot be used."""

    spec = TeacherSpec("rising", ("state",), None, chunk=3)

    def label_chunk(self, observation, instructions, key):
        action = 10.0 * np.asarray(observation["state"])[:, :1, None] + np.arange(3)[:, None] + np.zeros(7)
        valid = np.ones(action.shape[:2], bool)
        valid[2, 1] = False
        return TeacherLabels(action, valid, np.ones_like(action))


def test_a_teacher_acts_by_what_it_said_before():
    """The first environment's steps: 0; (10 + 1) / 2; (20 + 11 + 2) / 3; (30 + 21 + 12) / 3. The second one's episode
    begins anew at step 2; the third's answers never speak of the step after."""
    env = SimpleNamespace(num_envs=3, spec=arm_spec())
    policy = TeacherPolicy(Rising(), env, jax.random.key(0), acting=Acting(ensemble=0.0))
    found = []
    for step in range(4):
        starts = np.array([step == 0, step in (0, 2), step == 0])
        found.append(np.array(policy({"state": np.full((3, 3), step, np.float32)}, starts))[:, [0, 6]])
    by_hand = [[0, 5.5, 11, 21], [0, 5.5, 20, (30 + 21) / 2], [0, 10, (20 + 2) / 2, (30 + 12) / 2]]
    np.testing.assert_allclose(np.transpose(found, (2, 1, 0)), [by_hand] * 2, rtol=1e-6)  # the gripper as all others


@pytest.mark.parametrize(
    ("acting", "chunk", "scale", "message"),
    [
        (
            Acting(2, 0.01),
            3,
            1,
            r"replan_every=2 cannot work: it must be 1 with teacher\.ensemble=0\.01, which",
        ),
        (Acting(1, 0.01), 1, 1, r"ensemble=0\.01 cannot work: it must be None: teacher one answers with one action"),
        (Acting(1, 0.01), 3, 5, r"ensemble=0\.01 cannot work: it must be None with env\.horizon_scale=5"),
    ],
)
def test_impossible_ways_to_act(acting, chunk, scale, message):
    teacher = SimpleNamespace(spec=TeacherSpec("one", ("state",), None, chunk=chunk), label_chunk=None)
    env = SimpleNamespace(num_envs=3, spec=arm_spec(horizon_scale=scale))
    with pytest.raises(ConfigError, match=message):
        TeacherPolicy(teacher, env, jax.random.key(0), acting=acting)
