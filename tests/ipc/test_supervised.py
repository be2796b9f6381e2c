"""Queues, tickets and replies that cannot be, with real processes; the other failures are in test_slots.py."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import ProtocolError, RemoteError
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.supervised import QueueFull, SidecarFailed, Supervised

HERE = Path(__file__).parent


def start():
    return SidecarProcess("echo_sidecar", arguments=["--heartbeat=0.05"], environment={"PYTHONPATH": str(HERE)})


def supervise(check=None, **limits):
    quick = {"deadline_s": 20.0, "start_deadline_s": 20.0, "heartbeat_s": 10.0, "backoff_s": 0.01}
    return Supervised(start, lambda sidecar: sidecar.call("ping", deadline_s=20), Limits(**(quick | limits)), check)


@pytest.fixture
def supervised():
    supervised = supervise()
    yield supervised
    supervised.close()


def test_replies_can_be_had_in_any_order_and_once(supervised):
    tickets = [supervised.submit("echo", {"n": n}) for n in range(2)]
    assert [supervised.result(ticket).fields["n"] for ticket in reversed(tickets)] == [1, 0]
    with pytest.raises(ValueError, match="ticket 1: unknown, or its result was taken"):
        supervised.result(tickets[1])


def test_a_full_queue_refuses_or_waits(supervised):
    tickets = [supervised.submit("nap", {"seconds": 0.3}), supervised.submit("echo", {"n": 1})]
    with pytest.raises(QueueFull, match="2 requests wait, and no more may"):
        supervised.submit("echo", {"n": 2}, block=False)
    started = time.perf_counter()
    tickets.append(supervised.submit("echo", {"n": 2}))
    assert 0.1 < time.perf_counter() - started < 5
    assert supervised.unanswered <= 2
    assert supervised.result(tickets[2]).fields == {"n": 2}
    assert supervised.result(tickets[0]).fields == {}


def test_what_a_handler_raises_is_raised_here_and_costs_no_restart(supervised):
    ticket, other = supervised.submit("fail"), supervised.submit("echo", {"n": 1})
    with pytest.raises(RemoteError, match="KeyError: 'no such thing'"):
        supervised.result(ticket)
    assert supervised.result(other).fields == {"n": 1}
    assert supervised.metrics()["restarts"] == 0


def test_fields_that_are_no_plain_data_leave_the_queue_as_it_was(supervised):
    with pytest.raises(ValueError, match="plain data"):
        supervised.submit("echo", {"x": object()})
    assert supervised.unanswered == 0
    assert supervised.result(supervised.submit("echo", {"n": 1})).fields == {"n": 1}


def test_a_discarded_reply_is_dropped_and_the_request_settled(supervised):
    ticket = supervised.submit("nap", {"seconds": 0.2})
    supervised.discard(ticket)
    assert not supervised.settled(ticket)
    supervised.result(supervised.submit("echo", {"n": 1}))
    assert supervised.settled(ticket)


@pytest.mark.parametrize("times", [1, 2])
def test_a_reply_that_cannot_be_is_a_failure(times, caplog):
    refused = []

    def check(fields, reply):
        if len(refused) < times:
            refused.append(reply)
            raise ProtocolError("nonsense")

    supervised = supervise(check)
    ticket = supervised.submit("echo", {"n": 1})
    if times == 1:
        assert supervised.result(ticket).fields == {"n": 1}
        assert [record.message for record in caplog.records] == [
            f"{supervised.name} is started again: ProtocolError: nonsense"
        ]
        assert supervised.metrics() | {"seconds_waiting": 0} == {"restarts": 1, "resent": 1, "seconds_waiting": 0}
    else:
        message = "failed twice with the same request, with ProtocolError: nonsense"
        with pytest.raises(SidecarFailed, match=message) as caught:
            supervised.result(ticket)
        assert len(str(caught.value).splitlines()) == 1
    supervised.close()


def test_a_failure_that_polling_finds_is_mended_by_waiting():
    supervised = supervise()
    pid = supervised._sidecar.pid
    ticket = supervised.submit("nap", {"seconds": 0.2})
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert not supervised.ready(ticket)
    assert supervised.result(ticket).kind == "reply"
    assert supervised.metrics()["restarts"] == 1
    supervised.close()


def test_an_interrupted_wait_can_be_taken_up_again(supervised):
    ticket = supervised.submit("nap", {"seconds": 0.6})
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        supervised.result(ticket)
    timer.join()
    assert supervised.result(ticket).kind == "reply"
    assert supervised.metrics()["restarts"] == 0


def test_after_the_end_there_is_nothing(supervised):
    ticket = supervised.submit("nap", {"seconds": 5})
    supervised.close()
    supervised.close()
    for ask in (lambda: supervised.submit("echo"), lambda: supervised.result(ticket), lambda: supervised.ready(ticket)):
        with pytest.raises(SidecarFailed, match="echo_sidecar is not there: it was closed"):
            ask()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"deadline_s": 0}, "deadline_s=0: must be positive"),
        ({"heartbeat_s": -1.0}, r"heartbeat_s=-1\.0: must be positive"),
        ({"queue_size": 0}, "queue_size=0: must be at least 1"),
        ({"max_restarts": -1}, "max_restarts=-1: must be at least 0"),
    ],
)
def test_limits_that_cannot_be(setting, message):
    with pytest.raises(ValueError, match=message):
        Limits(**setting)
