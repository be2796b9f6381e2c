"""Calls with arrays to a sidecar that fails in every way that it can, with real processes."""

import os
import signal
import time

import numpy as np
import pytest
from faulty_calls import LAYOUT, QUICK, answer_to, ask, open_calls, start_model, take

from rpd_jax.ipc.handshake import HandshakeError
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slots import SLOT_PROTOCOL, SlotCalls
from rpd_jax.ipc.supervised import QueueFull, SidecarFailed


def test_answers_belong_to_their_requests(pids):
    with open_calls(started=pids, queue_size=3) as calls:
        tickets = [ask(calls, value, rows, factor=2) for value, rows in ((1, 4), (2, 1), (3, 2))]
        for ticket, value, rows in reversed(list(zip(tickets, (1, 2, 3), (4, 1, 2), strict=True))):
            np.testing.assert_array_equal(take(calls, ticket), 2 * answer_to(value, rows))
        assert calls.spec["action_dim"] == 2 and calls.under_way == 0
        assert calls.metrics()["restarts"] == 0


def test_slots_are_bounded_and_given_back(pids):
    with open_calls(started=pids, queue_size=2) as calls:
        first, second = ask(calls, 1), ask(calls, 2)
        with pytest.raises(QueueFull, match="all 2 slots are taken"):
            ask(calls, 3)
        calls.release(first)  # before its answer is there
        np.testing.assert_array_equal(take(calls, second), answer_to(2))
        np.testing.assert_array_equal(take(calls, ask(calls, 4)), answer_to(4))
        assert calls.has_room and calls.under_way == 0


def test_inputs_are_checked_before_anything_is_written(pids):
    with open_calls(started=pids) as calls:
        for inputs, message in (
            ({"z": np.zeros((1, 3), np.float32)}, r"need \['x'\], got \['z'\]"),
            ({"x": np.zeros((5, 3), np.float32)}, "need 1 to 4 rows, got 5"),
            ({"x": np.zeros((2, 4), np.float32)}, r"need float32 of shape \(2, 3\), got float32 of \(2, 4\)"),
            ({"x": np.zeros((2, 3))}, "got float64"),
        ):
            with pytest.raises(ValueError, match=message):
                calls.submit(inputs)
        with pytest.raises(ValueError, match="plain data"):
            calls.submit({"x": np.zeros((2, 3), np.float32)}, {"key": object()})
        np.testing.assert_array_equal(take(calls, ask(calls, 1)), answer_to(1))


@pytest.mark.parametrize("fault", ["crash", "hang", "stuck"])
def test_a_failure_during_a_request_is_made_good(fault, tmp_path, pids):
    limits = {"hang": {"deadline_s": 1.0}, "stuck": {"heartbeat_s": 1.0}}.get(fault, {})
    with open_calls(f"--fault={fault}", f"--once={tmp_path / 'once'}", started=pids, queue_size=3, **limits) as calls:
        tickets = [ask(calls, 1), ask(calls, 2, fail=True), ask(calls, 3)]
        for ticket, value in zip(tickets, (1, 2, 3), strict=True):
            np.testing.assert_array_equal(take(calls, ticket), answer_to(value))
        metrics = calls.metrics()
        assert metrics["restarts"] == 1
        assert metrics["resent"] == 2  # the one that it failed with, and the one behind it; not the one answered
        assert metrics["seconds_waiting"] > 0
        np.testing.assert_array_equal(take(calls, ask(calls, 4)), answer_to(4))
    assert len(pids) == 2


def test_a_slow_request_is_not_taken_for_a_hang_while_its_heart_beats(pids):
    with open_calls(started=pids, heartbeat_s=1.0) as calls:
        np.testing.assert_array_equal(take(calls, ask(calls, 1, seconds=1.6)), answer_to(1))
        assert calls.metrics()["restarts"] == 0


def test_a_death_before_the_request_is_made_good(pids):
    with open_calls(started=pids) as calls:
        os.kill(pids[0], signal.SIGKILL)
        time.sleep(0.1)
        np.testing.assert_array_equal(take(calls, ask(calls, 1)), answer_to(1))
        assert calls.metrics()["restarts"] == 1


def test_a_death_after_the_answer_does_not_lose_it(pids):
    with open_calls(started=pids) as calls:
        ticket = ask(calls, 1)
        while not calls.ready(ticket):
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        np.testing.assert_array_equal(take(calls, ticket), answer_to(1))
        assert calls.metrics()["restarts"] == 0
        np.testing.assert_array_equal(take(calls, ask(calls, 2)), answer_to(2))
        assert calls.metrics()["restarts"] == 1


def test_the_same_request_twice_is_the_end_and_the_log_is_shown(pids):
    with open_calls("--fault=crash", started=pids) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(SidecarFailed, match=r"failed twice with the same request(.|\n)*about to crash"):
            calls.outputs(ticket)
        with pytest.raises(SidecarFailed, match="is not there: faulty_model failed twice"):
            ask(calls, 2)
    assert len(pids) == 2


def test_restarts_that_fail_back_off_and_end():
    starts = []

    def start(descriptor):
        starts.append(time.monotonic())
        if len(starts) > 1:
            raise ConnectionError("cannot")
        return start_model(descriptor)

    limits = Limits(**(QUICK | {"backoff_s": 0.1, "max_restarts": 3}))
    with SlotCalls(start, lambda spec: LAYOUT, limits=limits) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(SidecarFailed, match="failed 4 times in a row, with ConnectionError: cannot"):
            calls.outputs(ticket)
    assert len(starts) == 4
    pauses = np.diff(starts[1:])  # between the restarts, after 0.1 s before the first
    assert pauses[0] >= 0.2 and pauses[1] >= 0.4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"the model's 'y' must be float32 of shape \(4, 2\), it is float32 of \(4, 3\)"),
        ("names", r"the model must answer \['y'\], it answered \['z'\]"),
        ("fail", "KeyError: 'no such thing'"),
    ],
)
def test_a_wrong_answer_is_raised_here_with_its_traceback(fault, message, pids):
    with open_calls(f"--fault={fault}", started=pids) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(RemoteError, match=message) as caught:
            calls.outputs(ticket)
        assert "slot_server.py" in caught.value.remote_traceback
        np.testing.assert_array_equal(take(calls, ask(calls, 2)), answer_to(2))
        assert calls.metrics()["restarts"] == 0 and calls.under_way == 0


@pytest.mark.parametrize(
    ("arguments", "expect", "message"),
    [
        ([], {"action_dim": 7}, "action_dim is 7 here, 2 on the other side"),
        (["--slot-version=9"], {}, f"protocol is {SLOT_PROTOCOL} here, 9 on the other side"),
        (["--message-version=9"], {}, "protocol version 9 of the far side, 1 here"),
    ],
)
def test_sides_that_do_not_fit_are_refused_by_name_and_without_retries(arguments, expect, message, pids):
    with pytest.raises(HandshakeError, match=message):
        open_calls(*arguments, expect=expect, started=pids)
    assert len(pids) == 1


def test_another_model_after_a_restart_is_refused(pids):
    names = iter(["first", "second"])

    def start(descriptor):
        return start_model(descriptor, f"--name={next(names)}", started=pids)

    with SlotCalls(start, lambda spec: LAYOUT, limits=Limits(**QUICK)) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(HandshakeError, match="after a restart: name is 'first' here, 'second' on the other side"):
            calls.outputs(ticket)


def test_a_module_that_cannot_start_is_shown_with_its_output():
    with pytest.raises(SidecarFailed, match=r"cannot be started(.|\n)*No module named no_such_module"):
        SlotCalls(lambda descriptor: SidecarProcess("no_such_module"), lambda spec: LAYOUT, limits=Limits(**QUICK))
