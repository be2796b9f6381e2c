"""Labels of a chunk's later steps, and labels cut short: the same on the host as in one program; what a run says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError, GuidanceSpec
from rpd_jax.envs.registry import env_seeds, make_env, make_functional
from rpd_jax.envs.toy.reach import TOY_CONTRACT
from rpd_jax.guidance import sparse
from rpd_jax.guidance.labeler_traced import Seen
from rpd_jax.training.alarms import CutShort
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.converted import ConvertedTeacher

C = 4
VARIANTS = (
    "rpd-mse",
    "chunk-rpd:window=3",
    "chunk-rpd:window=4:name=longer",
    "vlajs-persistent:targets=chunk:window=2:name=direction",
    "sparse-rpd",
)


class Walking:
    """Half-way to the goal, in the toy's units: action c is 0.5 ** c of the first one, which is `factor` times as large
    as it should be."""

    def __init__(self, factor=1.0, noise=0.01):
        self.spec = TeacherSpec("walking", ("state",), dataclasses.replace(TOY_CONTRACT), chunk=C, in_graph=True)
        self._factor, self._noise = factor, noise

    def label(self, observation, instructions, key):
        return self.label_chunk(observation, instructions, key).first()

    def label_chunk(self, observation, instructions, key):
        state = jnp.asarray(observation["state"])
        aim = 0.5 * self._factor * (state[:, 3:] - state[:, :3])
        noise = self._noise * jax.random.normal(key, (len(state), 1, 7))
        action = jnp.concatenate([aim, jnp.zeros((len(state), 4))], axis=-1)
        action = action[:, None] * 0.5 ** jnp.arange(C)[None, :, None] + noise
        return TeacherLabels(action, jnp.ones(action.shape[:2], bool), jnp.full(action.shape, 0.1))


def config_for(variants=VARIANTS):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = variants, (0,)
    config.env.max_episode_steps = 7  # episodes end in the middle of rollouts
    config.algorithm.total_steps = 2 * 8 * 20
    config.teacher.batch_size = 64
    return config.validate()


def loops(config, teacher):
    seeds = [s for _ in config.variants for s in env_seeds(0, config.env.num_envs)]
    host_env = make_env(config.env, seeds, rgb=False, end_on_success=True)
    population = Population(config, host_env.spec)
    teacher = ConvertedTeacher(teacher, host_env.spec)
    env = make_functional(config.env, rgb=False, end_on_success=True)
    host, graph = HostLoop(config, host_env, population, teacher), GraphLoop(config, env, seeds, population, teacher)
    return population, host, graph


def test_both_backends_learn_the_same_from_chunks_and_count_alike():
    """An episode of 7 steps has queries at 0, 3 and 6, or at 0 and 4; of 160 transitions those at the rollout's first
    steps, before the first query, have no target only where an episode goes on from the last rollout."""
    population, host, graph = loops(config_for(), Walking(30.0))
    (a, rows_a), (b, rows_b) = (loop.run(population.init(), 0, 1) for loop in (host, graph))
    for one, other in zip(rows_a, rows_b, strict=True):
        names = [name for name in one if name.startswith(("update/distill", "teacher/")) and "seconds" not in name]
        assert "teacher/clipped" in names
        np.testing.assert_allclose([one[name] for name in names], [other[name] for name in names], rtol=1e-3, atol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=5e-4), a.params, b.params)
    spent = [dataclasses.astuple(dataclasses.replace(ledger, seconds=0.0)) for ledger in host.ledgers]
    assert spent == [dataclasses.astuple(ledger) for ledger in graph.ledgers]
    dense, three, four, direction, parts = host.ledgers
    assert dense.labels == dense.covered == three.covered == four.covered == 160  # every episode began in this rollout
    assert 160 / 3 < three.labels < 100 and 160 / 4 < four.labels < 80 and four.labels < three.labels
    assert direction.labels == parts.labels == 32 < direction.covered <= 64
    assert all(0 < ledger.clipped <= ledger.labels for ledger in host.ledgers) and dense.clipped < dense.labels


def test_the_first_step_of_every_chunk_is_a_dense_label():
    """The targets of `chunk-rpd:window=1` are those of `rpd-mse`, whose teacher draws nothing."""
    config = config_for(("rpd-mse", "chunk-rpd:window=1:name=first"))
    _, _, graph = loops(config, Walking(noise=0.0))
    rng = np.random.default_rng(0)
    starts = np.zeros((20, 2, 8), bool)
    starts[0] = True
    state = np.repeat(rng.normal(size=(20, 1, 8, 6)), 2, axis=1).astype(np.float32)
    seen = Seen(starts, np.zeros((2, 8), np.int32), None, {"state": state}, None)
    askers = graph._labeler.askers
    found = graph._labeler.label(seen, np.ones(2), np.full(2, 20), 0, askers).labels
    assert found.valid.all()
    np.testing.assert_allclose(found.action[:, 0], found.action[:, 1], atol=1e-6)


def test_windows_longer_than_a_chunk_are_refused():
    message = r"variant 'chunk-rpd:window=5': window \(with targets=chunk\)=5 cannot work: .* at most 4, the actions in"
    with pytest.raises(ConfigError, match=message):
        loops(config_for(("chunk-rpd:window=5",)), Walking())
    with pytest.raises(ConfigError, match="targets cannot work with queries=all"):
        GuidanceSpec(targets="chunk")


def test_a_query_counts_once_whatever_is_cut_short_in_its_chunk():
    where = jnp.array([[True], [True], [False]])
    valid = jnp.array([[[False, False]], [[True, False]], [[False, False]]])
    clipped = jnp.array([[[False, False]], [[True, True]], [[True, True]]])
    answers = TeacherLabels(jnp.zeros((3, 1, 2, 7)), valid, jnp.ones((3, 1, 2, 7)), clipped)
    assert [int(x) for x in sparse.cost(answers, where)] == [1, 1]


def test_a_share_that_is_cut_short_is_said_once(caplog):
    alarm = CutShort("large", 0.05)
    for asked, clipped in ((99, 99), (1, 0)):  # nothing is said of less than a hundred
        assert not caplog.messages
        alarm.add(asked, clipped)
    alarm.add(1000, 1000)
    (said,) = caplog.messages
    assert "teacher large: 99 of 100 actions (99 %) lie outside" in said
    modest = CutShort("modest", 0.05)
    modest.add(1000, 50)
    assert len(caplog.messages) == 1
    modest.add(100, 6)  # begins late
    assert "modest: 6 of 100" in caplog.messages[1]


@pytest.mark.parametrize(("factor", "says"), [(0.2, False), (30.0, True)])
def test_a_run_and_its_teachers_evaluation_say_what_was_cut_short(factor, says, caplog, tmp_path):
    config = config_for(("rpd-mse",))
    config.run.directory, config.teacher.clipped_share = str(tmp_path / "run"), 0.02
    config.run.tensorboard = False
    result = rpd_jax.train(config, lambda env: ConvertedTeacher(Walking(factor), env.spec))
    warned = [text for text in caplog.messages if "are clipped: 50 then looks like 1" in text]
    assert len(warned) == (2 if says else 0)  # of the labels, and of the teacher that acts at the end
    assert (result.history[-1].get("teacher/clipped", 0.0) > 0) == says
