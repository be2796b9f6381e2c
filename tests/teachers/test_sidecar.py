"""Teachers in processes of their own."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from arm_spec import arm_spec

from rpd_jax.guidance.labels import Ledger, charge_dense, label_member
from rpd_jax.guidance.stream import BackgroundTeacher, LabelStream
from rpd_jax.instructions import Instructions
from rpd_jax.ipc.handshake import HandshakeError
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.types import ActionStatistics, TeacherError, TeacherSpec
from teachers.conventions import OXE_METRIC
from teachers.sidecar.launching import Listening, Replica
from teachers.sidecar.linear import LinearModel
from teachers.sidecar.server import describe, teacher_spec
from teachers.sidecar.teacher import SidecarTeacher

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZE = 16
ENV = arm_spec(frame_shape=(SIZE, SIZE, 3))
FRAMES = np.random.default_rng(0).integers(0, 256, (21, SIZE, SIZE, 3), np.uint8)
KEY = jax.random.key(3)
QUICK = Limits(deadline_s=20, start_deadline_s=20, heartbeat_s=10, backoff_s=0.01, queue_size=2)


def replica(*arguments):
    return Replica("faulty_linear", arguments, environment={"PYTHONPATH": str(HERE)}, heartbeat_s=0.05)


def open_teacher(*arguments, replicas=1, env=ENV, rows=8, limits=QUICK):
    return SidecarTeacher(env, [replica(*arguments)] * replicas, rows=rows, limits=limits)


@pytest.fixture(scope="module")
def teacher():
    with open_teacher() as teacher:
        yield teacher


@pytest.fixture(scope="module")
def expected(teacher):
    return teacher.label({"rgb": FRAMES}, "push", KEY)


def test_labels_are_the_models(teacher):
    labels = teacher.label({"rgb": FRAMES, "state": np.zeros((21, 3))}, "push", KEY)
    noiseless = LinearModel().label({"rgb": FRAMES}, {"seed": 0})["action"]
    assert labels.action.shape == labels.std.shape == (21, 7) and labels.valid.all()
    assert 0.1 < np.std(labels.action - noiseless) < 0.25  # of noise 0.2, clipped
    np.testing.assert_allclose(labels.std, 0.2)
    assert isinstance(teacher, BackgroundTeacher)
    assert teacher.spec.samples_actions and not teacher.spec.in_graph and teacher.spec.name == "linear"


def test_labels_are_a_function_of_the_arguments(teacher, expected):
    again = teacher.label({"rgb": jax.numpy.asarray(FRAMES)}, "push", KEY)
    jax.tree.map(np.testing.assert_array_equal, again, expected)
    other = teacher.label({"rgb": FRAMES}, "push", jax.random.key(4))
    assert (other.action != expected.action).any(-1).all()


def test_each_request_has_noise_of_its_own(teacher):
    labels = teacher.label({"rgb": np.repeat(FRAMES[:1], 16, axis=0)}, "push", KEY)
    assert len(np.unique(labels.action, axis=0)) == 16


def test_each_row_has_an_instruction_of_its_own(teacher, expected):
    """21 rows in three requests, with words between the halves of each; the linear model takes them for numbers."""
    index = np.arange(21) % 3
    texts = ("push", "add:0.5", "add:-0.25")
    labels = teacher.label({"rgb": FRAMES}, Instructions(texts, jax.numpy.asarray(index)), KEY)
    added = np.array([0.0, 0.5, -0.25])[index][:, None]
    np.testing.assert_allclose(labels.action, expected.action + added, atol=1e-6)
    with pytest.raises(ValueError, match=r"instructions.index has 0 to 2: there are 2 texts"):
        teacher.label({"rgb": FRAMES}, Instructions(texts[:2], index), KEY)


def test_several_processes_share_the_work_and_change_nothing(expected):
    with open_teacher(replicas=2) as teacher:
        labels = teacher.label({"rgb": FRAMES}, "push", KEY)
        jax.tree.map(np.testing.assert_array_equal, labels, expected)
        started = time.perf_counter()
        teacher.label({"rgb": FRAMES[:16]}, "sleep:0.8", KEY)  # two requests, one for each
        assert time.perf_counter() - started < 1.5


def test_a_process_that_dies_is_replaced_and_changes_nothing(expected, tmp_path):
    with open_teacher(f"--once={tmp_path / 'once'}") as teacher:
        labels = teacher.label({"rgb": FRAMES}, "fault:crash", KEY)
        np.testing.assert_array_equal(labels.action, expected.action)
        metrics = teacher.metrics()
        assert metrics["teacher/process_restarts"] == 1 and metrics["teacher/process_resent"] >= 1


def test_a_process_that_always_dies_is_an_error():
    """One line for the user, with the process's name; what it wrote last is in the cause."""
    with open_teacher() as teacher:
        for how in ("failed twice with the same request, with ConnectionClosed", "is not there: .* failed twice"):
            with pytest.raises(TeacherError, match=f"^teacher linear: teacher process faulty_linear {how}") as caught:
                teacher.label({"rgb": FRAMES}, "fault:crash", KEY)
            assert len(str(caught.value).splitlines()) == 1 and isinstance(caught.value.__cause__, SidecarFailed)


@pytest.mark.parametrize("kind", ["exit", "escape"])
def test_what_the_model_raises_is_one_line_and_ends_nothing(teacher, expected, kind):
    said = {"exit": "SystemExit: 3", "escape": r"RuntimeError: two \x1b[31m lines"}[kind]
    with pytest.raises(TeacherError) as caught:
        teacher.label({"rgb": FRAMES}, f"fault:{kind}", KEY)
    assert str(caught.value) == f"teacher linear: {said}"
    assert "in label" in caught.value.__cause__.remote_traceback and "\x1b" not in caught.value.__cause__.__notes__[0]
    np.testing.assert_array_equal(teacher.label({"rgb": FRAMES}, "push", KEY).action, expected.action)
    assert teacher.metrics()["teacher/process_restarts"] == 0


def test_begun_batches_are_worked_on_meanwhile(teacher, expected):
    waits = [teacher.begin({"rgb": FRAMES}, "push", key) for key in (KEY, jax.random.key(4))]
    second, first = waits[1](), waits[0]()
    np.testing.assert_array_equal(first.action, expected.action)
    assert (second.action != first.action).any()


def test_a_rollout_is_labelled_while_it_is_collected(teacher):
    steps = FRAMES[:20].reshape(5, 1, 4, *FRAMES.shape[1:])  # [T, G, N, ...]
    starts, asked = np.zeros((5, 1, 4), bool), ("sleep:0.2", [0], 0, 4)
    after, during = Ledger(), Ledger()
    began = time.perf_counter()
    expected = label_member(teacher, asked[0], {"rgb": steps[:, 0]}, starts[:, 0], 0, *asked[2:])
    charge_dense(after, expected, asked[3], time.perf_counter() - began)
    stream = LabelStream(teacher, *asked, [during])
    for frames, begin in zip(steps, starts, strict=True):
        stream.add({"rgb": frames}, begin)
        time.sleep(0.25)  # the simulator's step
    labels = stream.finish()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, 0], b), labels, expected)
    assert after.seconds > 5 * 0.2 and during.seconds < 3 * 0.2
    assert (after.calls, after.labels) == (during.calls, during.labels) == (5, 20)


def test_a_wrong_shape_is_raised_here_and_the_next_batch_is_unharmed(teacher, expected):
    with pytest.raises(
        TeacherError, match=r"linear: ValueError: the model's 'action' must be float32 of shape \(8, 7\)"
    ):
        teacher.label({"rgb": FRAMES}, "fault:shape", KEY)
    np.testing.assert_array_equal(teacher.label({"rgb": FRAMES}, "push", KEY).action, expected.action)


@pytest.mark.parametrize("kind", ["nan", "inf", "std"])
def test_labels_that_are_no_numbers_are_left_out(teacher, expected, caplog, kind):
    before = teacher.metrics()["teacher/refused"]
    teacher._refusal.count = 0  # it says so once
    for _ in range(2):
        labels = teacher.label({"rgb": FRAMES[:8]}, f"fault:{kind}", KEY)
        assert labels.valid.tolist() == [True, False] + [True] * 6
        assert not labels.action[1].any() and (labels.std[1] == 1).all()
        np.testing.assert_array_equal(labels.action[2:], expected.action[2:8])
    assert teacher.metrics()["teacher/refused"] == 2
    assert [record.message[:40] for record in caplog.records] == ["teacher linear: label 1 is none and is l"]
    teacher._refusal.count += int(before)


def test_invalid_labels_are_harmless(teacher):
    labels = teacher.label({"rgb": FRAMES[:8]}, "fault:invalid", KEY)
    assert labels.valid.tolist() == [True, False] + [True] * 6
    assert not labels.action[1].any() and (labels.std[1] == 1).all()


@pytest.mark.parametrize("frames", [FRAMES[:, :8], FRAMES.astype(np.float32), FRAMES[:0]])
def test_observations_that_do_not_fit(teacher, frames):
    with pytest.raises(ValueError, match=r"observation\['rgb'\]: need uint8 of shape \(B, 16, 16, 3\) with B >= 1"):
        teacher.label({"rgb": frames}, "push", KEY)


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (("--action-dim=6",), {}, r"outputs is .*'shape': \[7\].* here, .*'shape': \[6\].* on the other side"),
        ((), {"frame_shape": (16, 16, 4)}, r"observation: rgb is .*16, 16, 4.* here, .*None, None, 3"),
        ((), {"frame_shape": None}, "test:Frames-v1 has no 'rgb', which the teacher reads"),
    ],
)
def test_a_model_that_does_not_fit_the_environment_is_refused(arguments, env, message):
    with pytest.raises(HandshakeError, match=message):
        open_teacher(*arguments, env=dataclasses.replace(ENV, **env))


def test_processes_must_serve_the_same_model():
    replicas = [replica("--noise=0.2"), replica("--noise=0")]
    with pytest.raises(HandshakeError, match="samples_actions is True here, False on the other side"):
        SidecarTeacher(ENV, replicas, limits=QUICK)


def test_an_account_survives_the_wire():
    statistics = ActionStatistics("bounds", (0.0,) * 7, (1.0,) * 7, (True,) * 6 + (False,))
    contract = dataclasses.replace(OXE_METRIC, statistics=statistics)
    spec = TeacherSpec("x", ("rgb", "proprio"), contract, history=2, samples_actions=True)
    account = describe(spec, 7, {"rgb": ((None, None, 3), "uint8"), "proprio": ((8,), "float32")})
    assert teacher_spec(account) == spec
    assert account["inputs"]["proprio"] == {"shape": [2, 8], "dtype": "float32"}
    with pytest.raises(ValueError, match=r"inputs: need \['proprio', 'rgb'\], got \['rgb'\]"):
        describe(spec, 7, {"rgb": ((None, None, 3), "uint8")})


def test_cores_and_log_of_a_process(tmp_path):
    core = min(os.sched_getaffinity(0))
    chosen = dataclasses.replace(replica(), cpus=(core,), log=tmp_path / "log")
    with SidecarTeacher(ENV, [chosen], limits=QUICK) as teacher:
        (calls,) = teacher._calls
        pid = calls._supervised._sidecar.pid
        assert os.sched_getaffinity(pid) == {core}
        with pytest.raises(TeacherError):
            teacher.label({"rgb": FRAMES}, "fault:shape", KEY)
    assert "the model's 'action' must be" in (tmp_path / "log").read_text()


def test_a_server_that_was_started_by_hand(expected, tmp_path):
    path = tmp_path / "own" / "socket"
    command = [sys.executable, "-m", "teachers.sidecar.linear", "--noise=0.2", f"--listen={path}"]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            end = time.monotonic() + 20
            while not path.exists() and time.monotonic() < end:
                time.sleep(0.02)
            for _ in range(2):  # one connection after the other
                with SidecarTeacher(ENV, [Listening(path)], rows=8, limits=QUICK) as teacher:
                    labels = teacher.label({"rgb": FRAMES}, "push", KEY)
                np.testing.assert_array_equal(labels.action, expected.action)
        finally:
            server.terminate()
