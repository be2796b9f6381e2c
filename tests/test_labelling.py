"""Sparse guidance in a population: the same on the host as in one program, and each member ends by itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.envs.registry import env_seeds, make_env, make_functional
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.settings import teacher_factory

ENDS = "vlajs:query_fraction=0.1:kappa=0:shut_off=1e-6:name=ends"  # off as soon as the reward rises twice
VARIANTS = (
    "ppo",
    "rpd-mse",
    "vlajs",
    ENDS,
    "sparse-rpd:queries=random:window=3:name=random",
    "sparse-rpd:queries=starts:name=starts",
    "vlajs-persistent:queries=value:name=value",
)
ITERATIONS = 6


def config_for(variants=VARIANTS):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = variants, (0,)
    config.env.max_episode_steps = 7  # episodes end in the middle of rollouts
    config.algorithm.total_steps = ITERATIONS * 8 * 20
    config.teacher.noise = 0.2  # drawn: labels must be asked with the same keys
    config.teacher.batch_size = 64
    config.run.iterations_per_call = 4
    config.guidance.window_iterations, config.guidance.attainable_reward = 1, 1.0
    return config.validate()


def loops(config, teacher=None):
    seeds = [s for _ in config.variants for seed in config.seeds for s in env_seeds(seed, config.env.num_envs)]
    host_env = make_env(config.env, seeds, rgb=False, end_on_success=True)
    population = Population(config, host_env.spec)
    teacher = teacher or teacher_factory(config.teacher)(host_env)
    env = make_functional(config.env, rgb=False, end_on_success=True)
    assert env is not None
    return (
        population,
        HostLoop(config, host_env, population, teacher),
        GraphLoop(config, env, seeds, population, teacher),
    )


@pytest.fixture(scope="module")
def both():
    config = config_for()
    population, host, graph = loops(config)
    host_members, host_rows = host.run(population.init(), 0, ITERATIONS)
    members, rows = graph.run(population.init(), 0, 4)
    members, last = graph.run(members, 4, 2)
    return (host_members, host_rows, host.ledgers), (members, rows + last, graph.ledgers)


def test_parameters_agree(both):
    (host, _, _), (graph, _, _) = both
    # another order of floating-point sums, amplified by six iterations of Adam
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-4), host.params, graph.params)


def test_costs_agree(both):
    (_, _, host), (_, _, graph) = both
    assert [dataclasses.astuple(a)[:2] for a in host] == [dataclasses.astuple(b)[:2] for b in graph]
    assert [a.covered for a in host] == [b.covered for b in graph]


def test_schedules_agree(both):
    (host, _, _), (graph, _, _) = both
    np.testing.assert_array_equal(host.schedule.off, graph.schedule.off)
    np.testing.assert_array_equal(host.schedule.calls, graph.schedule.calls)
    np.testing.assert_allclose(host.schedule.rewards, graph.schedule.rewards, atol=1e-5)


def test_queries_by_hand(both):
    """Rollouts of 20 steps in 8 environments: 160 labels of rpd-mse; a fifth of the steps is 4 calls, 32 queries in 4
    batches of 8. By starts: at most that. All stay within the budget in every iteration."""
    _, (_, rows, ledgers) = both
    by_name = dict(zip([text.rsplit("name=", 1)[-1] for text in VARIANTS], ledgers, strict=True))
    assert by_name["ppo"].labels == 0
    assert by_name["rpd-mse"].labels == by_name["rpd-mse"].covered == 160 * ITERATIONS
    for name in ("random", "value"):
        assert by_name[name].labels == 32 * ITERATIONS and by_name[name].calls == 4 * ITERATIONS
    assert 0 < by_name["starts"].labels <= 32 * ITERATIONS
    for name in (
        "random",
        "value",
        "starts",
    ):  # windows reach further than the calls, but no further than they are long
        assert by_name[name].labels < by_name[name].covered <= 5 * by_name[name].labels
    assert rows[-1]["teacher/labels/rpd-mse/0"] == 160 * ITERATIONS


def test_a_member_that_ends_asks_nothing_more_and_the_others_go_on(both):
    _, (members, rows, _) = both
    position = VARIANTS.index(ENDS)
    asked = [row["teacher/labels/ends/0"] for row in rows]
    weights = [row["update/distill_weight/ends/0"] for row in rows]
    assert bool(members.schedule.off[position]) and weights[0] > 0 and weights[-1] == 0, (
        "the test needs a rising reward"
    )
    first = weights.index(0.0)
    assert first >= 3  # not before three rewards are known
    assert asked[first - 1] == asked[-1] == 16 * first  # a tenth of 20 steps is 2 calls in 8 environments
    np.testing.assert_array_equal(rows[-1]["update/distill_weight/random/0"] > 0, True)
    assert members.schedule.off.sum() < len(VARIANTS)


class Counting:
    """A teacher that notes on the host how many observations it really saw."""

    def __init__(self):
        self.seen = 0
        self.spec = TeacherSpec("counting", ("state",), contract=None, in_graph=True)

    def label(self, observation, instruction, key):
        n = len(observation["state"])
        jax.debug.callback(self._count, observation["state"])
        return TeacherLabels(jnp.full((n, 7), 0.1), jnp.ones(n, bool), jnp.full((n, 7), 0.1))

    def _count(self, state):
        self.seen += len(state)


def test_the_program_asks_no_more_than_is_charged():
    """The teacher is not run for steps without a query, nor for members that have ended."""
    config = config_for((ENDS, "vlajs:query_fraction=0.05"))
    teacher = Counting()
    population, _, graph = loops(config, teacher)
    members = population.init()
    members = members._replace(
        schedule=members.schedule._replace(calls=jnp.array([0, 1]), off=jnp.array([True, False]))
    )
    graph.run(members, 0, 1)
    jax.effects_barrier()
    assert teacher.seen == 8 == sum(ledger.labels for ledger in graph.ledgers)


@pytest.mark.slow
def test_a_variant_is_the_same_alone_and_in_a_population(both):
    _, (together, _, _) = both
    config = config_for(("sparse-rpd:queries=random:window=3:name=random",))
    population, _, graph = loops(config)
    alone, _ = graph.run(population.init(), 0, 1)
    for iteration in range(1, ITERATIONS):
        alone, _ = graph.run(alone, iteration, 1)
    position = [text.rsplit("name=", 1)[-1] for text in VARIANTS].index("random")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[position], atol=5e-4), alone.params, together.params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ("vlajs",), "env.name": "toy:ActionMatters-v0"}, "windows and directions are of end-effector"),
        ({"variants": ("vlajs:query_fraction=0.01",)}, "are 0 calls"),
        (
            {
                "variants": ("vlajs",),
                "env.name": "tabletop:PickCube-v1",
                "env.reward": "dense",
                "algorithm.total_steps": 6400,
            },
            "env.reward='dense'",
        ),
        ({"variants": ("vlajs",)}, "env.end_on_success=True: no mean reward comes near 1"),
        ({"variants": ("vlajs",), "guidance.window_iterations": 2}, "the run has 4 iterations, fewer than 6"),
        (
            {"variants": ("sparse-rpd:window=4",), "env.name": "tabletop:PickCube-v1", "env.horizon_scale": 5},
            "window=4",
        ),
        ({"variants": ("rpd-mse:window=3",)}, "window cannot work with queries=all"),
        ({"variants": ("ppo:queries=even",)}, "queries cannot work without a distillation term"),
        ({"variants": ("vlajs:window=inf",)}, "variants 'vlajs:window=inf': window=inf"),
        ({"variants": ("vlajs:reduction=mean",)}, "direction is not per dimension"),
        ({"guidance.windows": 1}, "guidance.windows=1"),
        ({"guidance.attainable_reward": -1.0}, "attainable_reward=-1.0"),
    ],
)
def test_impossible_settings(changes, message, tmp_path):
    config = rpd_jax.get_preset("debug")
    config.run.directory = str(tmp_path / "run")
    config.guidance.window_iterations = 1
    for path, value in changes.items():
        *owners, field = path.split(".")
        owner = config
        for name in owners:
            owner = getattr(owner, name)
        setattr(owner, field, value)
    with pytest.raises(ConfigError, match=message):
        rpd_jax.train(config, teacher=lambda env: None)
    assert not (tmp_path / "run").exists()


def test_after_the_end_a_member_learns_like_ppo():
    """All guidance over: the program leaves the terms out, and the parameters are those of PPO, bit for bit."""
    config = config_for((ENDS, "ppo"))
    population, _, graph = loops(config, Counting())
    members = population.init()
    over = members.schedule._replace(calls=jnp.zeros(2, jnp.int32), off=jnp.ones(2, bool))
    members, rows = graph.run(members._replace(schedule=over), 0, 1)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), members.params)
    assert rows[0]["update/distill_direction/ends/0"] == 0.0


class Pixels:
    """A teacher that answers with what it sees: the mean of some rows of the frame."""

    spec = TeacherSpec("pixels", ("rgb",), contract=None, in_graph=True)

    def label(self, observation, instruction, key):
        rows = jnp.asarray(observation["rgb"], jnp.float32)[:, 4:32:4].mean(axis=(2, 3)) / 255
        return TeacherLabels(2 * rows - 1, jnp.ones(len(rows), bool), jnp.full(rows.shape, 0.1))


@pytest.mark.slow
def test_frames_are_those_of_the_steps_that_ask():
    """Drawn afterwards from the states in the program, and at once on the host; tabletop, ten times the horizon."""
    config = config_for(("rpd-mse", "sparse-rpd:queries=random:query_fraction=0.25:window=10"))
    config.env = dataclasses.replace(
        config.env, name="tabletop:PushCube-v1", image_size=36, horizon_scale=10, num_envs=2, max_episode_steps=1
    )
    config.algorithm.rollout_length, config.algorithm.minibatches = 20, 2
    population, host, graph = loops(config.validate(), Pixels())
    a, rows_a = host.run(population.init(), 0, 1)
    b, rows_b = graph.run(population.init(), 0, 1)
    for name in ("update/distill_mse/rpd-mse/0", f"update/distill_mse/{config.variants[1]}/0"):
        assert rows_a[0][name] == pytest.approx(rows_b[0][name], rel=1e-3) and rows_a[0][name] > 0
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=5e-4), a.params, b.params)
    assert [ledger.labels for ledger in host.ledgers] == [ledger.labels for ledger in graph.ledgers] == [40, 10]
