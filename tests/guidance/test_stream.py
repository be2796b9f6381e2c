"""Labels asked for during the rollout: the same as those asked for after it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled import label_rollout

import rpd_jax
from rpd_jax.envs.registry import env_seeds, make_env
from rpd_jax.guidance.labels import Ledger
from rpd_jax.guidance.stream import BackgroundTeacher, LabelStream
from rpd_jax.training.loops import HostLoop
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.conventions import MANISKILL_EE, OXE_METRIC
from teachers.converted import ConvertedTeacher
from teachers.settings import teacher_factory

T, G, N, D = 7, 2, 3, 2
SEEDS = [4, 9]
OBSERVATION = np.random.default_rng(0).normal(size=(T, G, N, D)).astype(np.float32)
STARTS = np.random.default_rng(1).random((T, G, N)) < 0.2


class NoisyTeacher:
    """Answers with what it saw, and noise."""

    def __init__(self, history: int = 1) -> None:
        self.spec = TeacherSpec("noisy", ("state",), None, history=history)

    def label(self, observation, instruction, key):
        flat = jnp.asarray(observation["state"]).reshape(len(observation["state"]), -1)
        return TeacherLabels(flat + jax.random.normal(key, flat.shape), jnp.ones(len(flat), bool), jnp.ones_like(flat))


class Background:
    """Any teacher, asked in the background: records when it is begun, and answers when it is waited for."""

    def __init__(self, teacher):
        self.teacher, self.spec = teacher, teacher.spec
        self.begun, self.polls = [], 0

    def label(self, observation, instruction, key):
        return self.begin(observation, instruction, key)()

    def begin(self, observation, instruction, key):
        self.begun.append(len(next(iter(observation.values()))))
        return lambda: self.teacher.label(observation, instruction, key)

    def poll(self):
        self.polls += 1


def streamed(teacher, batch_size, ledgers, xp=np):
    stream = LabelStream(teacher, "do it", SEEDS, 3, batch_size, ledgers)
    for state, starts in zip(OBSERVATION, STARTS, strict=True):
        stream.add({"state": xp.asarray(state)}, starts)
    return stream


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize(
    ("batch_size", "xp"), [*((size, np) for size in (1, 2, 3, 4, 8, 21, 1000)), (2, jnp), (5, jnp)]
)
def test_labels_are_those_asked_for_after_the_rollout(history, batch_size, xp):
    teacher = NoisyTeacher(history)
    ledgers, expected_ledgers = [Ledger(), Ledger()], [Ledger(), Ledger()]
    expected = label_rollout(teacher, "do it", {"state": OBSERVATION}, STARTS, SEEDS, 3, batch_size, expected_ledgers)
    labels = streamed(Background(teacher), batch_size, ledgers, xp).finish()
    jax.tree.map(np.testing.assert_array_equal, labels, expected)
    for ledger, other in zip(ledgers, expected_ledgers, strict=True):
        assert dataclasses.replace(ledger, seconds=0) == dataclasses.replace(other, seconds=0)


def test_batches_begin_as_soon_as_they_are_full():
    teacher = Background(NoisyTeacher())
    stream = LabelStream(teacher, "do it", SEEDS, 3, 4, [Ledger(), Ledger()])
    begun = []
    for state, starts in zip(OBSERVATION, STARTS, strict=True):
        stream.add({"state": state}, starts)
        begun.append(len(teacher.begun))
    # after 3, 6, ... 21 observations of each of two members: 0, 1, 2, 3, 3, 4, 5 whole batches of 4
    assert begun == [0, 2, 4, 6, 6, 8, 10]
    stream.finish()
    assert teacher.begun == [4] * 10 + [1, 1] and teacher.polls == T


def test_a_converted_teacher_works_in_the_background_if_the_teacher_does():
    teacher = NoisyTeacher()
    teacher.spec = dataclasses.replace(teacher.spec, contract=OXE_METRIC)
    env_spec = dataclasses.replace(
        make_env(rpd_jax.get_preset("debug").env, [0], rgb=False, end_on_success=True).spec, contract=MANISKILL_EE
    )
    plain, background = ConvertedTeacher(teacher, env_spec), ConvertedTeacher(Background(teacher), env_spec)
    assert isinstance(background, BackgroundTeacher) and not isinstance(plain, BackgroundTeacher)
    asked = {"state": np.zeros((4, 7), np.float32)}, "", jax.random.key(0)
    jax.tree.map(np.testing.assert_array_equal, background.begin(*asked)(), plain.label(*asked))
    assert background.metrics() == {}
    background.close()


def test_the_loop_trains_the_same_with_labels_from_the_background():
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.teacher.batch_size = 64
    config.teacher.noise = 0.1
    config.validate()
    seeds = [s for _ in config.variants for s in env_seeds(0, config.env.num_envs)]
    results = []
    for wrap in (lambda teacher: teacher, Background):
        env = make_env(config.env, seeds, rgb=False, end_on_success=True)
        population = Population(config, env.spec)
        teacher = wrap(teacher_factory(config.teacher)(env))
        loop = HostLoop(config, env, population, teacher)
        members, rows = loop.run(population.init(), 0, 2)
        results.append((members.params, {k: v for k, v in rows[-1].items() if "time" not in k and "second" not in k}))
    assert teacher.begun and teacher.polls == 2 * config.algorithm.rollout_length
    jax.tree.map(np.testing.assert_array_equal, *[params for params, _ in results])
    np.testing.assert_equal(results[0][1], results[1][1])  # what is not known is NaN in both


def test_large_batches_do_not_wait_for_the_end_of_the_rollout():
    """8 environments, 20 steps: 160 observations, of which the first 128 are requested after 16 steps."""
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("rpd-mse",), (0,)
    assert config.validate().teacher.batch_size > 160
    env = make_env(config.env, env_seeds(0, config.env.num_envs), rgb=False, end_on_success=True)
    population = Population(config, env.spec)
    teacher = Background(teacher_factory(config.teacher)(env))
    HostLoop(config, env, population, teacher).run(population.init(), 0, 1)
    assert len(teacher.begun) == 2
