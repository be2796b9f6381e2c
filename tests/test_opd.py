"""VLA-OPD from rollouts to resumed and evaluated runs: in one program and on the host, phases, groups, teachers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.algorithms.variants import at
from rpd_jax.config import ConfigError, EnvConfig, NetworkConfig
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.config.variant import PhaseSpec, VariantSpec
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import register_suite
from rpd_jax.envs.toy.reach import TOY_CONTRACT, Reach
from rpd_jax.envs.toy.suite import ToySuite
from rpd_jax.export.files import export_student
from rpd_jax.training import rollout_traced
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from rpd_jax.training.setup import env_base_seeds
from rpd_jax.types import TeacherLabels, TeacherSpec, TokenContract, TokenScores

BINS, T, N, G = 8, 6, 16, 4
VARIANTS = ("reverse-kl", "distill-grpo", "grpo", "reverse-kl-sampled:accumulate=4:name=sampled")


class Near(Reach):
    """Reaching, with success within 0.15 m: some of a fresh student's trajectories have it."""

    def __init__(self):
        super().__init__(max_episode_steps=T)

    def step(self, state, action):
        state, observation, reward, _, truncated, _ = super().step(state, action)
        success = jnp.linalg.norm(observation["state"][:3] - observation["state"][3:]) < 0.15
        return state, observation, reward, success, truncated & ~success, success


class NearSuite(ToySuite):
    def _make(self, task, config, end_on_success):
        return Near()


register_suite("near", NearSuite())


class Teaching:
    """Walks to the goal, in tokens. `broken`: of states on one side its scores are no numbers."""

    def __init__(self, bins=BINS, low=-1.0, tokens=True, in_graph=True, broken=False):
        contract = TokenContract(bins, (low,) * 7, (1.0,) * 7) if tokens else None
        self.spec = TeacherSpec("teaching", ("state",), None, token_bins=bins, tokens=contract, in_graph=in_graph)
        self.broken, self.asked = broken, 0

    def _wanted(self, observation):
        state = jnp.asarray(observation["state"])
        aim = (state[:, 3:] - state[:, :3]) / TOY_CONTRACT.translation_scale
        return jnp.clip(jnp.concatenate([aim, jnp.zeros((len(state), 4))], axis=-1), -1.0, 1.0), state[:, 0]

    def label(self, observation, instructions, key):
        wanted, side = self._wanted(observation)
        return TeacherLabels(wanted, jnp.ones(len(side), bool), jnp.ones_like(wanted))

    def score(self, observation, instructions, tokens):
        self.asked += len(tokens)
        wanted, side = self._wanted(observation)
        middles = 2.0 * (jnp.arange(BINS) + 0.5) / BINS - 1.0
        logits = -8.0 * (middles[None, None, :] - wanted[..., None]) ** 2
        if self.broken:
            logits = jnp.where(side[:, None, None] > 0, jnp.nan, logits)
        return TokenScores(logits, jax.nn.logsumexp(logits, axis=-1))


class Background(Teaching):
    """Another process's, say: it is given batches before their answers are waited for."""

    def begin_label(self, *arguments):
        raise AssertionError("scores are asked for, not labels")

    def begin_score(self, *arguments):
        return lambda: self.score(*arguments)


def make_config(variants=VARIANTS, iterations=4, **algorithm):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = tuple(variants), (0,)
    config.env = EnvConfig(name="near:Reach-v0", num_envs=N)
    config.network = NetworkConfig(hidden=(16,), bins=BINS)
    settings = dict(learning_rate=1e-2, max_grad_norm=1.0, group_size=G, minibatches=4) | algorithm
    config.algorithm = OPDConfig(total_steps=iterations * N * T, rollout_length=T, **settings)
    config.teacher.batch_size = 40  # N * T = 96 decisions: three batches
    config.eval.every, config.eval.episodes, config.run.iterations_per_call = 0, 8, iterations
    return config


def loops(config, teacher):
    env = Near()
    population = Population(config.validate(), env.spec)
    seeds = env_base_seeds(population, N)
    graph = GraphLoop(config, env, seeds, population, teacher)
    return population, graph, HostLoop(config, FunctionalVectorEnv(env, len(seeds), seeds), population, teacher)


@pytest.fixture(scope="module")
def both():
    """Members, rows of metrics and ledgers of both kinds of loop, and the population."""
    population, graph, host = loops(make_config(), Background())
    found = [(*loop.run(population.init(), 0, 4), loop.ledgers) for loop in (graph, host)]
    return population, *found


def test_one_program_and_a_host_loop_are_the_same(both):
    _, (graph, graph_rows, graph_ledgers), (host, rows, ledgers) = both
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), host.params, graph.params)
    np.testing.assert_array_equal(jax.random.key_data(host.key), jax.random.key_data(graph.key))
    for mine, theirs in zip(rows, graph_rows, strict=True):
        shared = [name for name in mine if name.startswith(("train/", "update/"))]
        assert shared and set(shared) <= set(theirs)
        for name in shared:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5, nan_ok=True), name
    counts = [[(each.calls, each.labels, each.covered, each.refused) for each in of] for of in (ledgers, graph_ledgers)]
    # 96 in 3 batches an iteration; the second member distils in the first two of four iterations, the third never
    whole, half = (12, 384, 384, 0), (6, 192, 192, 0)
    assert counts[0] == counts[1] == [whole, half, (0, 0, 0, 0), whole]


def test_phases_change_what_is_learned(both):
    _, _, (_, rows, _) = both
    weights = [row["update/distill_weight/distill-grpo/0"] for row in rows]
    assert weights == [1.0, 1.0, 0.0, 0.0]
    known = [np.isfinite(row.get("update/reverse_kl/distill-grpo/0", np.nan)) for row in rows]
    assert known == [True, True, False, False]
    # up to there it is the other member, and then another
    same = [row["update/loss/distill-grpo/0"] == row["update/loss/reverse-kl/0"] for row in rows]
    assert same == [True, True, False, False]
    assert sum(row["update/mixed_groups/grpo/0"] for row in rows) > 0
    assert any(row["update/grad_norm/grpo/0"] > 0 for row in rows)


def test_a_phase_begins_at_its_iteration():
    phases = (PhaseSpec(0.3, {"grpo": 0.5}), PhaseSpec(0.7, {"hard_ce": 2.0}, {"learning_rate": 1.0}))
    spec = VariantSpec("three", {"token_reverse_kl": 1.0}, algorithm="opd", phases=phases)
    population = Population(make_config((spec, "grpo"), iterations=10).validate(), Near().spec)
    now = [jax.tree.map(lambda x: x[0], at(population.variants, jnp.float32(i) / 10)) for i in range(10)]
    used = [population.terms[int(np.argmax(each.coefficients))] for each in now]
    assert used == ["token_reverse_kl"] * 3 + ["grpo"] * 4 + ["hard_ce"] * 3
    assert [float(each.asks) for each in now] == [1.0] * 3 + [0.0] * 4 + [1.0] * 3
    assert [float(np.sum(each.coefficients)) for each in now] == [1.0] * 3 + [0.5] * 4 + [2.0] * 3
    np.testing.assert_allclose([each.floats["learning_rate"] for each in now], [0.01] * 7 + [1.0] * 3)


def test_a_member_is_the_same_alone(both):
    everyone, (members, _, _), _ = both
    population, graph, _ = loops(make_config(("distill-grpo",)), Teaching())
    alone, _ = graph.run(population.init(), 0, 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[0], atol=2e-5), members.params, alone.params)
    assert everyone.terms == ("token_reverse_kl", "reverse_kl_sampled", "grpo")


def test_groups_begin_alike_and_iterations_anew():
    config = make_config(("reverse-kl", "reverse-kl:group_size=2:name=pairs"))
    population, _, host = loops(config, Teaching())
    members, firsts = population.init(), []
    for number in (0, 1):
        host._collector.begin_episodes(number)
        rollout = host._collector.collect(members)
        state = np.asarray(rollout.transition.observation["state"])
        first, second = state[0], state[1]  # [P, N, 6]
        for member, size in enumerate((G, 2)):
            groups = first[member].reshape(-1, size, 6)
            np.testing.assert_array_equal(groups, np.broadcast_to(groups[:, :1], groups.shape))
            assert len(np.unique(groups[:, 0], axis=0)) == N // size
        assert len(np.unique(second[0], axis=0)) == N  # each goes its own way
        assert rollout.starts[0].all()
        firsts.append(first)
    assert not np.isclose(firsts[0], firsts[1]).any()
    env, seeds = Near(), np.asarray(env_base_seeds(population, N), np.uint32)
    running = rollout_traced.begin(env, seeds, np.zeros(len(seeds), np.int32))
    again = rollout_traced.begin_episodes(env, running, jnp.int32(1))
    np.testing.assert_array_equal(np.asarray(again.env.observation["state"]).reshape(2, N, 6), firsts[1])


class Stop(Exception):
    pass


def run(directory, in_graph=True, stop=None, resume=False):
    """Two iterations that distil and two of GRPO; interrupted after iteration `stop`."""

    def interrupt(snapshot):
        if snapshot.iteration == stop:
            raise Stop

    config, teacher = make_config(("distill-grpo",)), Teaching(in_graph=in_graph)
    config.run.iterations_per_call = 1
    result = rpd_jax.train(config, teacher, directory=directory, resume=resume, callbacks=(interrupt,))
    return result, teacher


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("opd") / "whole")[0]


@pytest.mark.parametrize(("in_graph", "stop"), [(True, 2), (False, 3)])
def test_resuming_is_exact(whole, tmp_path, in_graph, stop):
    """At the iteration with which the second phase begins, and within it; in one program and on the host."""
    if not in_graph:
        whole, teacher = run(tmp_path / "whole", in_graph)
        assert teacher.asked == 2 * T * N  # in the second phase, never
    with pytest.raises(Stop):
        run(tmp_path / "half", in_graph, stop)
    resumed, _ = run(tmp_path / "half", in_graph, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    for name in ("update/loss/distill-grpo/0", "update/kl_to_start/distill-grpo/0", "teacher/labels"):
        assert [row[name] for row in whole.history] == [row[name] for row in resumed.history]
    assert [row["teacher/labels"] for row in whole.history] == [96.0, 192.0, 192.0, 192.0]


def test_a_student_is_evaluated_loaded_and_exported(whole, tmp_path):
    rows = rpd_jax.evaluate(whole.directory, episodes=8, output=tmp_path / "evaluated")
    assert [row.variant for row in rows] == ["distill-grpo"]
    student = rpd_jax.load_student(whole.directory, "distill-grpo", seed=0)
    state = np.linspace(-0.2, 0.2, 6, dtype=np.float32)
    action = np.asarray(student.act({"state": state}))
    np.testing.assert_array_equal(action, whole.student("distill-grpo", seed=0).act({"state": state}))
    assert np.isin(np.round(action, 3), np.round(2 * (np.arange(BINS) + 0.5) / BINS - 1, 3)).all()  # middles of bins
    assert "student.onnx" in export_student(student, tmp_path / "export").files


def test_scores_that_are_no_numbers_are_refused():
    population, *both = loops(make_config(("reverse-kl",)), Teaching(broken=True))
    for loop in both:
        members, (row,) = loop.run(population.init(), 0, 1)
        assert row["teacher/labels"] == T * N and 0 < row["teacher/refused"] < T * N
        assert row["teacher/covered"] == row["teacher/labels"] - row["teacher/refused"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(members.params))
        assert np.isfinite(row["update/reverse_kl/reverse-kl/0"]) and not row["update/diverged/reverse-kl/0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bins": 32}, "its tokens have bins=32, the student's 8: the same token would be another motion"),
        ({"low": -2.0}, "its tokens have low="),
        ({"tokens": False}, "it gives no probabilities of action tokens that are in the environment's units"),
    ],
)
def test_teachers_of_other_tokens(tmp_path, given, message):
    with pytest.raises(ConfigError, match=message) as error:
        rpd_jax.train(make_config(), Teaching(**given), directory=tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


class Coin(Reach):
    """Success in the first step, or never, as the initial state says: all of a group share it."""

    def step(self, state, action):
        heads, (points, steps) = state[0][0] > 0, state
        ended = steps + 1 >= T
        return (points, steps + 1), {"state": points}, jnp.ones(()), jnp.zeros((), bool), ended, heads


def test_training_as_a_pure_function():
    config = make_config(("reverse-kl", "distill-grpo"), iterations=30, epochs=4, learning_rate=2e-2)
    train = jax.jit(rpd_jax.make_train(config, Near(), Teaching()))
    _, metrics = train(jax.random.key(0))
    distilled = metrics["reverse_kl"][:, 0]
    assert distilled[-1] < 0.3 * distilled[0]
    assert metrics["success"][-5:, 0].mean() > metrics["success"][:5, 0].mean() + 0.2
    assert metrics["queries"][:, 1].tolist() == [N * T] * 15 + [0] * 15
    assert metrics["mixed_groups"].max() > 0


def test_groups_share_their_beginnings_in_a_pure_function():
    env = Coin(max_episode_steps=T)
    _, metrics = jax.jit(rpd_jax.make_train(make_config(("grpo",)), env))(jax.random.key(1))
    assert (metrics["mixed_groups"] == 0).all() and 0 < metrics["success"].mean() < 1
