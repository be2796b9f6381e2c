"""Teachers that somebody serves, asked and failing; servers are processes that speak the wire (`policy_server.py`)."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time

import jax
import numpy as np
import pytest
from policy_server import HORIZON, policy
from served import NEEDS, SIZE, Server, frames, running, spec_with_frames

import rpd_jax
from rpd_jax.config import TeacherConfig
from rpd_jax.instructions import Instructions
from rpd_jax.ipc.limits import Limits
from rpd_jax.types import TeacherError
from teachers.base import load
from teachers.conventions import MANISKILL_EE
from teachers.remote.adapters import Address
from teachers.remote.line import PolicyServerFailed
from teachers.remote.openpi import OPENPI
from teachers.remote.request import Request
from teachers.remote.teacher import RemoteTeacher
from teachers.remote.vlagents import VLAGENTS
from teachers.settings import teacher_factory

QUICK = Limits(deadline_s=5.0, start_deadline_s=5.0, max_restarts=100, backoff_s=0.05, max_backoff_s=0.2)


@pytest.fixture(scope="module")
def openpi():
    with running("openpi") as server:
        yield server


@pytest.fixture
def mortal():
    with running("openpi") as server:
        yield server


def teacher_at(server: Server, adapter=OPENPI, limits: Limits = QUICK, connections: int = 1) -> RemoteTeacher:
    spec = spec_with_frames()
    address = Address.parse(server.url, adapter.schemes)
    request = Request(adapter.request, spec, 0)
    return RemoteTeacher(spec, adapter, address, request, MANISKILL_EE, connections=connections, limits=limits)


def ask(teacher, instructions: Instructions | str = "pick up the cube", size: int = 3):
    return teacher.label({"rgb": frames(size)}, instructions, jax.random.key(0))


@pytest.mark.parametrize("protocol", NEEDS)
@pytest.mark.parametrize("connections", [1, 3])
def test_labels_are_the_first_actions_of_the_policy(protocol, connections):
    with running(protocol) as server:
        settings = {"address": server.url, "protocol": protocol, "contract": "maniskill", "std": 0.2}
        settings |= {"connections": connections, "frame_size": 0}
        teacher = load("remote", spec_with_frames(), **settings)
        try:
            labels = ask(teacher, "slow", 10)
            ask_one = ask(teacher, "one action", 1)
            mixed = ask(teacher, Instructions(("", "still"), np.arange(10) % 2), 10)
        finally:
            teacher.close()
    expected = np.stack([policy(frame, "")[0] for frame in frames(10)])
    np.testing.assert_array_equal(labels.action, expected)
    np.testing.assert_array_equal(ask_one.action, expected[:1])
    np.testing.assert_array_equal(mixed.action, np.where(np.arange(10)[:, None] % 2, 0, expected))  # each its own text
    np.testing.assert_array_equal(labels.std, np.full((10, 7), 0.2, np.float32))
    assert np.all(labels.valid)
    assert teacher.spec.name == f"remote:{protocol}" and teacher.spec.observation_keys == ("rgb",)
    assert teacher.spec.contract == MANISKILL_EE and not teacher.spec.in_graph
    assert teacher.spec.chunk == HORIZON


@pytest.mark.parametrize("adapter", [OPENPI, VLAGENTS], ids=lambda adapter: adapter.name)
def test_a_server_killed_in_the_middle_is_asked_again_and_the_log_says_so(adapter, caplog):
    with running(adapter.name) as server:
        teacher = teacher_at(server, adapter, connections=2)
        try:
            wait = teacher.begin({"rgb": frames(20)}, "slow", jax.random.key(0))
            server.kill()  # 20 answers by two connections take 0.3 s
            server.start()
            labels = wait()
            assert teacher.metrics()["teacher/server_reconnects"] == 2
            news = [record.message for record in caplog.records if server.url in record.message]
            assert sum("did not answer (" in each for each in news) == 2
            assert sum("answers again, after" in each for each in news) == 2
        finally:
            teacher.close()
    np.testing.assert_array_equal(labels.action, np.stack([policy(frame, "")[0] for frame in frames(20)]))


def test_a_server_that_stays_away_is_given_up(mortal):
    teacher = teacher_at(mortal, limits=Limits(deadline_s=5.0, max_restarts=2, backoff_s=0.01))
    try:
        mortal.kill()
        with pytest.raises(
            PolicyServerFailed, match=rf"openpi .* ws://127.0.0.1:{mortal.port} failed 3 times in a row"
        ):
            ask(teacher)
        mortal.start()
        assert len(ask(teacher).action) == 3  # nor is it given up for ever
    finally:
        teacher.close()


@pytest.mark.parametrize("adapter", [OPENPI, VLAGENTS], ids=lambda adapter: adapter.name)
def test_an_answer_that_is_late_is_a_failure(adapter):
    with running(adapter.name) as server:
        teacher = teacher_at(server, adapter, limits=Limits(deadline_s=0.4, max_restarts=1, backoff_s=0.01))
        try:
            with pytest.raises(PolicyServerFailed, match=r"failed 2 times in a row, with .*Timeout.*"):
                ask(teacher, "hang", 1)
            assert len(ask(teacher).action) == 3
        finally:
            teacher.close()


@pytest.mark.parametrize("adapter", [OPENPI, VLAGENTS], ids=lambda adapter: adapter.name)
def test_closing_does_not_wait_for_answers(adapter):
    with running(adapter.name) as server:
        teacher = teacher_at(server, adapter, connections=2, limits=Limits(deadline_s=25.0))
        wait = teacher.begin({"rgb": frames(4)}, "hang", jax.random.key(0))
        time.sleep(0.3)
        started = time.monotonic()
        teacher.close()
        assert time.monotonic() - started < 5
        with pytest.raises((PolicyServerFailed, concurrent.futures.CancelledError)):
            wait()


@pytest.mark.parametrize(
    ("adapter", "instruction", "message"),
    [
        (OPENPI, "too few", rf"need an action of shape \(7,\) or a chunk .*, got \({HORIZON}, 6\)"),
        (OPENPI, "raise", "raised PolicyError: RuntimeError: the policy is tired$"),
        (OPENPI, "two lines", r"raised PolicyError: RuntimeError: the policy is \\x1b\[31mtired$"),
        (OPENPI, "exit", "raised PolicyError: SystemExit: 3$"),
        (OPENPI, "no actions", "not understood: an answer without an array \"actions\", but .'server_timing'."),
        (VLAGENTS, "too few", rf"need an action .*, got \({HORIZON}, 6\)"),
        (VLAGENTS, "raise", "raised RuntimeError: the policy is tired$"),
        (VLAGENTS, "two lines", r"raised RuntimeError: the policy is \\x1b\[31mtired$"),
        (VLAGENTS, "exit", "raised SystemExit: 3$"),
        (VLAGENTS, "interrupt", "failed 2 times in a row, with ConnectionError: it closed the connection: "),
    ],
)
def test_wrong_answers_are_one_line_and_the_teacher_goes_on(adapter, instruction, message):
    with running(adapter.name, *(["0"] if adapter is VLAGENTS else [])) as server:
        teacher = teacher_at(server, adapter, dataclasses.replace(QUICK, max_restarts=1))
        try:
            with pytest.raises(TeacherError, match=message) as caught:
                ask(teacher, instruction)
            assert str(caught.value).startswith(f"the {adapter.name} policy server at {server.url}")
            assert str(caught.value).isprintable()
            assert len(ask(teacher).action) == 3
        finally:
            teacher.close()


def test_actions_that_are_not_finite_are_left_out(openpi):
    teacher = teacher_at(openpi)
    try:
        labels = ask(teacher, "not finite")
        assert not np.any(labels.valid) and not np.any(labels.action) and np.all(labels.std == 1)
        assert teacher.metrics()["teacher/refused"] == 3
        assert np.all(ask(teacher).valid)
    finally:
        teacher.close()


@pytest.mark.parametrize("instruction", ["too few", "raise", "not finite"])
def test_they_are_found_at_the_start(openpi, instruction):
    spec = dataclasses.replace(spec_with_frames(), instruction=instruction)
    message = {
        "too few": r"got \(3, 6\)",
        "raise": r"the policy is tired \(it was sent .*uint8 \(224, 224, 3\)",
        "not finite": "numbers that are not finite",
    }
    with pytest.raises(TeacherError, match=message[instruction]):
        load("remote", spec, address=openpi.url, contract="maniskill")


def test_an_agent_that_comes_back_has_its_time_to_become_ready():
    """Longer than an answer may take; and one that does not use it is not waited for again and again."""
    limits = Limits(deadline_s=0.4, start_deadline_s=5, max_restarts=100, backoff_s=0.05, max_backoff_s=0.1)
    with running("vlagents", "1") as server:
        teacher = teacher_at(server, VLAGENTS, limits)
        try:
            server.kill()
            server.start()
            assert np.all(ask(teacher).valid)
            server.kill()
            server._arguments = ("1000",)
            server.start()
            teacher._lines[0]._limits = dataclasses.replace(limits, start_deadline_s=0.3)
            with pytest.raises(PolicyServerFailed, match="NotReady"):
                ask(teacher)
        finally:
            teacher.close()


@pytest.mark.slow
def test_training_with_a_served_teacher(tmp_path, openpi):
    """The policy is a toy that knows nothing of the task: only the path is tested."""
    config = rpd_jax.get_preset("quickstart")
    config.variants, config.seeds = ("rpd-mse",), (0,)
    config.env.name, config.env.num_envs, config.env.image_size = "tabletop:PickCube-v1", 2, SIZE
    config.env.max_episode_steps = 8
    config.network.hidden = (16,)
    ppo = config.algorithm
    ppo.total_steps, ppo.rollout_length, ppo.epochs, ppo.minibatches = 32, 8, 1, 2
    config.teacher = TeacherConfig(name="remote", address=openpi.url, contract="maniskill", probe=False)
    config.teacher.connections, config.teacher.frame_size, config.teacher.batch_size = 2, 32, 8
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 2, 2, 0
    config.run.directory, config.run.tensorboard, config.run.checkpoint_every = str(tmp_path / "run"), False, 0
    result = rpd_jax.train(config.validate(), teacher_factory(config.teacher))
    assert [row.variant for row in result.table] == ["teacher:remote:openpi", "rpd-mse"]
    assert [row.teacher_calls for row in result.table] == [0, 32]
    assert np.isfinite(result.history[-1]["update/distill_mse/rpd-mse/0"])
