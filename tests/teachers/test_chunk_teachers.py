"""Chunks of actions on their way from other processes, and into the environment's contract."""

from pathlib import Path

import jax
import numpy as np
import pytest
from arm_spec import arm_spec
from chunk_model import CHUNK, DIMS
from policy_server import HORIZON, policy
from served import frames, running, spec_with_frames

from rpd_jax.types import TeacherError
from teachers.base import load
from teachers.conventions import MANISKILL_EE
from teachers.converted import ConvertedTeacher
from teachers.sidecar.launching import Replica
from teachers.sidecar.linear import LinearModel
from teachers.sidecar.teacher import SidecarTeacher

KEY = jax.random.key(0)
ENV = arm_spec(frame_shape=(4, 4, 3), contract=MANISKILL_EE)
FIRST = np.array([0, 1, 0, 9, 1])
FRAMES = np.broadcast_to(FIRST[:, None, None, None], (5, 4, 4, 3)).astype(np.uint8)


def open_teacher(module):
    return SidecarTeacher(ENV, [Replica(module, environment={"PYTHONPATH": str(Path(__file__).parent)})], rows=2)


@pytest.fixture(scope="module")
def teacher():
    with open_teacher("chunk_model") as teacher:
        yield teacher


def test_a_process_answers_with_chunks(teacher, caplog):
    """Five rows in requests of two; an action that is none costs itself, not its chunk."""
    assert teacher.spec.chunk == CHUNK
    found = teacher.label_chunk({"rgb": FRAMES}, "push", KEY)
    expected = np.repeat(FIRST[:, None, None] / 100 + np.arange(CHUNK)[None, :, None] / 10, DIMS, axis=-1)
    valid = np.ones((5, CHUNK), bool)
    valid[3, 1] = False
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_allclose(found.action, np.where(valid[..., None], expected, 0), rtol=1e-6)
    np.testing.assert_allclose(found.std, np.repeat(np.where(valid[..., None], 0.2, 1), DIMS, axis=-1))
    assert "teacher chunks: label 3, 1 is none" in caplog.text and teacher.metrics()["teacher/refused"] == 1
    labels = teacher.label({"rgb": FRAMES}, "push", KEY)
    jax.tree.map(np.testing.assert_array_equal, labels, found.first())
    jax.tree.map(np.testing.assert_array_equal, labels, teacher.begin({"rgb": FRAMES}, "push", KEY)())
    assert teacher.metrics()["teacher/refused"] == 1  # what a label does not use is not counted


def test_a_process_without_chunks_gives_chunks_of_one():
    with open_teacher("teachers.sidecar.linear") as teacher:
        found = teacher.label_chunk({"rgb": FRAMES}, "push", KEY)
    action = LinearModel().label({"rgb": FRAMES}, {"seed": 0})["action"][:, None]
    np.testing.assert_allclose(found.action, action, atol=1e-6)


def test_every_action_of_a_chunk_is_converted(teacher):
    converted = ConvertedTeacher(teacher, ENV)
    found, own = (each.label_chunk({"rgb": FRAMES}, "push", KEY) for each in (converted, teacher))
    jax.tree.map(np.testing.assert_array_equal, converted.label({"rgb": FRAMES}, "push", KEY), found.first())
    # From LIBERO's to ManiSkill's contract: 0.05 of 0.1 m per unit, and the gripper is the other way round.
    np.testing.assert_allclose(found.action[..., :3], own.action[..., :3] / 2, rtol=1e-5)
    np.testing.assert_allclose(found.action[..., 6], -own.action[..., 6], atol=1e-6)
    np.testing.assert_allclose(found.std[..., :3], own.std[..., :3] / 2, rtol=1e-5)
    assert converted.spec.chunk == CHUNK


def test_a_wrapper_of_a_teacher_without_chunks_has_none(teacher):
    class Plain:
        spec, label = teacher.spec, teacher.label

    assert not hasattr(ConvertedTeacher(Plain(), ENV), "label_chunk")


@pytest.mark.parametrize("protocol", ["openpi", "vlagents"])
def test_policy_servers_answer_with_chunks(protocol):
    settings = {"protocol": protocol, "contract": "maniskill", "frame_size": 0}
    with running(protocol) as server:
        teacher = load("remote", spec_with_frames(), address=server.url, **settings)
        try:
            chunks, labels = (ask({"rgb": frames(3)}, "push", KEY) for ask in (teacher.label_chunk, teacher.label))
            with pytest.raises(TeacherError, match=r"need a chunk \(3 or more, 7\) .*, got \((1, )?7,?\)"):
                teacher.label_chunk({"rgb": frames(3)}, "one action", KEY)
        finally:
            teacher.close()
    assert chunks.action.shape == (3, HORIZON, 7) and chunks.valid.shape == (3, HORIZON)
    np.testing.assert_array_equal(chunks.action, [policy(frame, "") for frame in frames(3)])
    jax.tree.map(np.testing.assert_array_equal, labels, chunks.first())
