"""Evaluation: whole episodes, the same ones every time, teachers and students under one protocol."""

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import Config, EnvConfig, EvalConfig, NetworkConfig
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.evaluation import Evaluator, TeacherPolicy, evaluation_seeds, run_episodes
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.base import load

STEPS, N = 12, 4
SETTINGS = EvalConfig(episodes=16, num_envs=N, seed=9)


def make(variants=("ppo",), seeds=(0, 1)):
    config = Config(
        variants=variants,
        seeds=seeds,
        env=EnvConfig(name="toy:Reach-v0"),
        network=NetworkConfig(hidden=(8,)),
    ).validate()
    num_members = len(variants) * len(seeds)
    env = FunctionalVectorEnv(
        Reach(STEPS, end_on_success=False), num_members * N, evaluation_seeds(SETTINGS, num_members)
    )
    population = Population(config, env.spec)
    return env, population, Evaluator(env, population)


def test_a_perfect_teacher_succeeds_and_a_biased_one_does_not():
    env, _, evaluator = make()
    good, _ = evaluator.teacher(load("toy", env.spec), SETTINGS)
    bad, _ = evaluator.teacher(load("toy", env.spec, bias=(0.1, 0.0, 0.0)), SETTINGS)
    assert good.success_once.all() and good.success_at_end.all() and len(good.returns) == 16
    # the biased one may cross the goal on its way, but it rests 0.1 m beside it
    assert not bad.success_at_end.any() and bad.returns.mean() < good.returns.mean()


def test_evaluations_repeat():
    _, population, evaluator = make()
    members = population.init()
    first, _ = evaluator.students(members, 2 * N)
    second, _ = evaluator.students(members, 2 * N)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.returns, b.returns)
    assert len(first) == 2 and len(first[0].returns) == 2 * N
    assert not np.allclose(first[0].returns, first[1].returns)


def test_a_member_plays_the_same_episodes_alone_and_in_company():
    _, company, among_others = make(("ppo", "rpd-mse"), seeds=(0, 1))
    _, single, alone = make(("ppo",), seeds=(1,))
    together, _ = among_others.students(company.init(), 2 * N)
    by_itself, _ = alone.students(single.init(), 2 * N)
    # members 1 and 3 have the seed of the one that is alone, and so far its parameters
    for index in (1, 3):
        for a, b in zip(together[index], by_itself[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_teacher_plays_the_members_episodes_whoever_they_are():
    played = []
    for variants, seeds in ((("ppo",), (0,)), (("ppo", "rpd-mse"), (0, 1, 2))):
        env, _, evaluator = make(variants, seeds)
        played.append(evaluator.teacher(load("toy", env.spec, noise=0.3), SETTINGS)[0])
        firsts = np.asarray(env.reset()["state"]).reshape(-1, N, 6)
        np.testing.assert_array_equal(firsts, np.broadcast_to(firsts[:1], firsts.shape))
    assert len(played[0].returns) == 16
    np.testing.assert_allclose(played[0].returns, played[1].returns, rtol=1e-5)


def test_episodes_asked_for_are_rounded_up_to_whole_rounds():
    _, population, evaluator = make()
    results, _ = evaluator.students(population.init(), N + 1)
    assert len(results[0].returns) == 2 * N


def test_films_show_the_first_episode():
    env, _, _ = make()
    env.frames = lambda indices: np.stack([np.full((2, 2, 3), i, np.uint8) for i in indices])
    policy = TeacherPolicy(load("toy", env.spec), env, jax.random.key(0))
    _, films = run_episodes(env, policy, 2, film=[1, 3])
    assert [film.frames.shape for film in films] == [(STEPS, 2, 2, 3)] * 2
    assert [int(film.frames[0, 0, 0, 0]) for film in films] == [1, 3]
    assert all(film.success for film in films)


def test_a_teacher_with_history_sees_the_past_of_its_own_episode():
    env, _, _ = make()
    seen = []

    class Recorder:
        spec = TeacherSpec("recorder", ("state",), None, history=3)

        def label(self, observation, instruction, key):
            seen.append(np.array(observation["state"]))
            action = jnp.full((len(seen[-1]), 7), 0.1)
            return TeacherLabels(action, jnp.ones(len(action), bool), jnp.ones_like(action))

    run_episodes(env, TeacherPolicy(Recorder(), env, jax.random.key(0)), 2)
    assert seen[0].shape == (2 * N, 3, 6)
    for step, windows in enumerate(seen):
        age = step % STEPS
        newest = windows[:, 2]
        for back in (1, 2):
            expected = seen[step - min(back, age)][:, 2]
            np.testing.assert_array_equal(windows[:, 2 - back], expected)
        # 0.1 of 0.05 m each step
        np.testing.assert_allclose(newest[:, 0] - seen[step - age][:, 2, 0], 0.005 * age, atol=1e-5)
