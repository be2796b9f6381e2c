"""VLA-OPD in LIBERO, end to end, around a stand-in of its simulator: trained, resumed, and a teacher itself."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import EnvConfig, NetworkConfig
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.envs.libero import pool, tasks
from rpd_jax.envs.venv import Venv
from rpd_jax.types import TeacherLabels, TeacherSpec, TokenContract, TokenScores
from teachers.policy.teacher import PolicyTeacher

STAND_IN = str(Path(__file__).parent / "envs")
BINS, T, N = 4, 3, 8
MEMBER = "distill-grpo/0"


class Stop(Exception):
    pass


class Teaching:
    """Another process's, as it were: on the host. The second number of its actions is what the stand-in rewards."""

    spec = TeacherSpec(
        "teaching", ("state",), tasks.CONTRACT, token_bins=BINS, tokens=TokenContract(BINS, (-1.0,) * 7, (1.0,) * 7)
    )

    def label(self, observation, instructions, key):
        wanted = jnp.zeros((len(observation["state"]), 7)).at[:, 1].set(1.0)
        return TeacherLabels(wanted, jnp.ones(len(wanted), bool), jnp.ones_like(wanted))

    def score(self, observation, instructions, tokens):
        assert instructions == "do libero_spatial 3" or set(instructions.texts) == {"do libero_spatial 3"}
        assert observation["state"].shape == (len(tokens), 50)
        logits = jnp.zeros((len(tokens), 7, BINS)).at[:, 1, -1].set(4.0)
        return TokenScores(logits, jax.nn.logsumexp(logits, axis=-1))


def config():
    made = rpd_jax.get_preset("debug")
    made.variants, made.seeds = ("distill-grpo",), (0,)
    made.env = EnvConfig(name="libero:Spatial/3", num_envs=N, max_episode_steps=T, image_size=8, processes=1)
    made.network = NetworkConfig(hidden=(16,), bins=BINS)
    made.algorithm = OPDConfig(
        total_steps=4 * N * T, rollout_length=T, learning_rate=3e-2, group_size=4, minibatches=2, epochs=4
    )
    made.eval.every, made.eval.episodes, made.eval.num_envs, made.eval.videos = 0, 4, 4, 0
    return made


@pytest.fixture(scope="module")
def stand_in():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_WORKER", "fake_libero")
        patch.setattr(Venv, "found", lambda self: None)
        patch.setenv("PYTHONPATH", STAND_IN)
        yield


@pytest.fixture(scope="module")
def whole(stand_in, tmp_path_factory):
    return rpd_jax.train(config(), Teaching(), directory=tmp_path_factory.mktemp("opd") / "whole")


def test_a_student_learns_what_the_teacher_shows(whole):
    assert len(whole.history) == 4
    for name in ("loss", "grad_norm", "entropy", "success", "kl_to_start", "diverged"):
        assert all(np.isfinite(row[f"update/{name}/{MEMBER}"]) for row in whole.history), name
    distilled = [row[f"update/reverse_kl/{MEMBER}"] for row in whole.history[:2]]
    assert distilled[1] < distilled[0]
    success = [row[f"update/success/{MEMBER}"] for row in whole.history]
    assert success[0] < success[2] == 1.0  # without the teacher, from the third on
    assert [row["teacher/labels"] for row in whole.history] == [24.0, 48.0, 48.0, 48.0]
    assert [row.success_once for row in whole.table] == [1.0, 1.0]


def test_resuming_is_exact(whole, tmp_path):
    def interrupt(snapshot):
        if snapshot.iteration == 1:
            raise Stop

    with pytest.raises(Stop):
        rpd_jax.train(config(), Teaching(), directory=tmp_path / "half", callbacks=(interrupt,))
    resumed = rpd_jax.train(config(), Teaching(), directory=tmp_path / "half", resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    name = f"update/loss/{MEMBER}"
    assert [row[name] for row in whole.history] == [row[name] for row in resumed.history]


def test_the_student_can_teach_the_next(whole):
    teacher = PolicyTeacher(whole.student().spec, whole.directory)
    assert teacher.spec.tokens == Teaching.spec.tokens
    scores = teacher.score({"state": jnp.zeros((2, 50))}, "do libero_spatial 3", jnp.zeros((2, 7), jnp.int32))
    np.testing.assert_array_equal(jnp.argmax(scores.logits[:, 1], axis=-1), BINS - 1)
