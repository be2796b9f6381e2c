"""Members that begin from an earlier run's students; token students that imitate, are distilled and reinforced."""

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError, NetworkConfig, OPDConfig, SFTConfig
from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from teachers.settings import teacher_factory

T = 20  # steps of a debug episode


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    config = rpd_jax.get_preset("debug")
    config.teacher.noise = 0.0
    output = tmp_path_factory.mktemp("demonstrations") / "reach"
    collect(config, teacher_factory(config.teacher), Settings(episodes=6, images=False), output)
    return output


def make_config(**algorithm):
    config = rpd_jax.get_preset("debug")
    config.seeds, config.env.num_envs, config.env.random_ages = (0, 1), 8, None
    config.network = NetworkConfig(hidden=(16,), bins=8, normalize_observations=True)
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 4, 4, 0
    config.algorithm = OPDConfig(rollout_length=T, total_steps=2 * 8 * T, minibatches=2, batch_size=32, **algorithm)
    return config


@pytest.fixture(scope="module")
def imitators(demonstrations, tmp_path_factory):
    """A run of two variants and two seeds."""
    config = make_config()
    config.variants = ("sft:episodes=1:name=one", "sft:name=all")
    config.algorithm = SFTConfig(
        demonstrations=str(demonstrations), total_steps=640, batch_size=32, steps_per_iteration=10
    )
    return rpd_jax.train(config, directory=tmp_path_factory.mktemp("imitators") / "run")


def test_members_begin_from_the_student_of_their_seed(imitators, demonstrations):
    config = make_config(start=str(imitators.directory), start_variant="all", demonstrations=str(demonstrations))
    config.variants = ("imitation:learning_rate=1e-30:name=still", "imitation")
    result = rpd_jax.train(config, directory=None)
    for seed in (0, 1):
        given, still = imitators.student("all", seed).member, result.student("still", seed).member
        for before, after in ((given.params, still.params), (given.normalizer, still.normalizer)):
            jax.tree.map(np.testing.assert_array_equal, before, after)
        assert result.history[-1][f"update/kl_to_start/still/{seed}"] == pytest.approx(0, abs=1e-6)
        first, last = result.history[0], result.history[-1]
        name = f"update/objective_imitation/imitation/{seed}"
        assert last[name] < first[name] and last[f"update/kl_to_start/imitation/{seed}"] > 0


def test_few_demonstrations_are_learnt_by_heart_sooner(imitators):
    last = imitators.history[-1]
    assert last["update/loss/one/0"] < last["update/loss/all/0"]


def test_a_saved_student_teaches_and_the_run_is_pictured(demonstrations, tmp_path):
    """A member that learns ends nearer to its teacher than one that stands still on the same episodes."""
    config = make_config()
    config.variants = ("sft:episodes=1:name=one", "sft:name=all")
    config.algorithm = SFTConfig(
        demonstrations=str(demonstrations), total_steps=6400, batch_size=32, steps_per_iteration=100
    )
    start = rpd_jax.train(config, directory=tmp_path / "start").directory
    config = make_config(start=str(start), start_variant="one")
    config.algorithm.total_steps *= 5
    config.variants = ("reverse-kl:learning_rate=1e-30:name=still", "reverse-kl:learning_rate=1e-2:name=moving")
    config.teacher = rpd_jax.config.TeacherConfig(name="policy", path=str(start), member="all/1")
    rows = rpd_jax.train(config, teacher_factory(config.teacher), directory=tmp_path / "run").history[-5:]
    for seed in (0, 1):
        still, learning = (sum(row[f"update/reverse_kl/{name}/{seed}"] for row in rows) for name in ("still", "moving"))
        assert learning < still / 2
        positions = [rows[-1][f"update/kl_{name}/moving/{seed}"] for name in ("x", "y", "z", "rotation", "gripper")]
        assert np.isfinite(positions).all()
    assert (tmp_path / "run" / "diagnostics.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_variant": ""}, "algorithm.start_variant"),
        ({"start_variant": "none"}, "algorithm.start_variant.*none"),
        ({"start": "nowhere"}, "nowhere"),
        ({"seeds": (0, 7)}, r"cannot work for seeds=\[7\]: it has students of \[0, 1\]"),
        ({"network": NetworkConfig(hidden=(8,), bins=8, normalize_observations=True)}, "another network"),
    ],
)
def test_mistakes_about_the_start(imitators, demonstrations, change, message):
    config = make_config(start=str(imitators.directory), start_variant="all", demonstrations=str(demonstrations))
    config.variants = ("imitation",)
    for name, value in change.items():
        setattr(config.algorithm if name.startswith("start") else config, name, value)
    with pytest.raises((ConfigError, rpd_jax.runs.checkpoint.CheckpointError), match=message):
        rpd_jax.train(config, directory=None)


def test_demonstrations_that_are_not_there(tmp_path):
    config = make_config(demonstrations=str(tmp_path / "nowhere"))
    config.variants = ("imitation",)
    with pytest.raises(ConfigError, match=r"nowhere.* cannot work: nothing is there; rpd-jax collect records"):
        rpd_jax.train(config, directory=None)


def test_environments_whose_episodes_cannot_be_chosen():
    class Unchosen(FunctionalVectorEnv):
        begin_episode = None

    def made(seeds, *, rgb, end_on_success, random_ages):
        return Unchosen(Reach(T, end_on_success), len(seeds), seeds, random_ages=random_ages)

    config = make_config(group_size=4)
    config.variants, config.env.max_episode_steps = ("grpo",), None
    with pytest.raises(ConfigError, match=r"algorithm.name=.opd. cannot work in .*: .* has no begin_episode"):
        rpd_jax.train(config, env=made, directory=None)
