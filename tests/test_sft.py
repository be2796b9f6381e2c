"""Supervised fine-tuning of a token policy: the whole program from demonstrations to a resumed and evaluated run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError, NetworkConfig, SFTConfig
from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.export.files import export_student
from rpd_jax.losses.tokens import cross_entropy
from rpd_jax.policies.tokens import Tokens
from teachers.settings import teacher_factory

BINS = 32


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    config = rpd_jax.get_preset("debug")
    config.teacher.noise = 0.0
    output = tmp_path_factory.mktemp("demonstrations") / "reach"
    settings = Settings(episodes=100, images=False, hold_steps=2)
    collect(config, teacher_factory(config.teacher), settings, output)
    return output


def make_config(demonstrations, directory, **algorithm):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("sft", "sft:learning_rate=1e-3:name=slow"), (0, 1)
    settings = dict(total_steps=2 * 20 * 64, batch_size=64, steps_per_iteration=20, learning_rate=1e-2) | algorithm
    config.algorithm = SFTConfig(demonstrations=(str(demonstrations),), **settings)
    config.network = NetworkConfig(hidden=(64, 64), bins=BINS, normalize_observations=True)
    config.eval.every = 1
    config.run.directory = str(directory)
    return config


def test_a_student_imitates_and_is_evaluated(demonstrations, tmp_path):
    config = make_config(demonstrations, tmp_path / "run", total_steps=30 * 20 * 64)
    config.eval.every, config.eval.episodes = 0, 32
    result = rpd_jax.train(config)
    first, last = result.history[0], result.history[-1]
    assert first["update/loss/sft/0"] < np.log(BINS) * 1.1
    assert last["update/loss/sft/0"] < 0.5 * first["update/loss/sft/0"]
    assert last["update/accuracy/sft/0"] > last["update/accuracy/slow/0"]
    student, slow = result.table
    assert student.variant == "sft" and student.success_once > 0.5 > slow.success_once - 0.5
    rows = rpd_jax.evaluate(tmp_path / "run", episodes=16)
    assert [row.variant for row in rows] == ["sft", "slow"]
    # both programs are compared with the student before they are written
    exported = export_student(result.student("sft", seed=0), tmp_path / "export")
    assert {"student.onnx", "student.stablehlo"} <= set(exported.files)


def test_resuming_is_exact(demonstrations, tmp_path):
    whole = rpd_jax.train(make_config(demonstrations, tmp_path / "whole"))
    half = make_config(demonstrations, tmp_path / "half")
    half.algorithm.total_steps //= 2
    rpd_jax.train(half)
    resumed = rpd_jax.train(make_config(demonstrations, tmp_path / "half"), resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    assert [row["update/loss/sft/1"] for row in whole.history] == [row["update/loss/sft/1"] for row in resumed.history]


def test_in_memory_nothing_is_left(demonstrations, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config(demonstrations, "unused")
    config.network.normalize_observations = False  # nor is there anything to normalise then
    result = rpd_jax.train(config, directory=None)
    assert result.directory is None and len(result.history) == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm.demonstrations": ""}, r"algorithm.demonstrations=\(\) cannot work: it must be a path"),
        ({"algorithm.demonstrations": "nowhere"}, "nowhere.* cannot work: nothing is there"),
        ({"env.name": "toy:ActionMatters-v0"}, "cannot work in toy:ActionMatters-v0"),
        ({"variants": ("ppo",)}, "variant 'ppo' is one of algorithm 'ppo': it cannot work with algorithm.name='sft'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(demonstrations, tmp_path, change, message):
    config = make_config(demonstrations, tmp_path / "run")
    for path, value in change.items():
        *owners, field = path.split(".")
        owner = config
        for name in owners:
            owner = getattr(owner, name)
        setattr(owner, field, value)
    with pytest.raises(ConfigError, match=message):
        rpd_jax.train(config)
    assert not (tmp_path / "run").exists()


def test_bins_by_hand():
    """Four bins of [-1, 1] have their middles at -0.75, -0.25, 0.25, 0.75."""
    tokens = Tokens.of(jnp.zeros((2, 4)), (-1.0, 0.0), (1.0, 4.0))
    np.testing.assert_allclose(tokens.decode(jnp.array([0, 3])), [-0.75, 3.5])
    np.testing.assert_array_equal(tokens.encode(jnp.array([0.1, 0.9])), [2, 0])
    np.testing.assert_array_equal(tokens.encode(jnp.array([-5.0, 4.0])), [0, 3])  # beyond the range, and its very end
    np.testing.assert_allclose(tokens.log_prob(jnp.array([0.1, 0.9])), 2 * np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(tokens.entropy(), 2 * np.log(4.0), rtol=1e-6)
    sure = tokens._replace(logits=tokens.logits.at[:, 1].set(50.0))
    np.testing.assert_allclose(sure.mode(), [-0.25, 1.5])
    np.testing.assert_allclose(sure.sample(jax.random.key(0)), [-0.25, 1.5])


def test_cross_entropy_by_hand():
    # softmax((0, log 3)) = (1/4, 3/4)
    logits = jnp.array([0.0, np.log(3.0)])
    np.testing.assert_allclose(cross_entropy(logits, jnp.int32(1)), np.log(4 / 3), rtol=1e-6)
    # d/d logits = softmax - onehot
    np.testing.assert_allclose(jax.grad(cross_entropy)(logits, jnp.int32(0)), [-0.75, 0.75], rtol=1e-6)
