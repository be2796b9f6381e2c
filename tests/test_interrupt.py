"""Signals ask a run to stop; what the host program does about them stays its own."""

import os
import signal

import pytest

from rpd_jax.runs.interrupt import SIGNALS, exit_status, stop_on_signal


@pytest.fixture(autouse=True)
def handlers():
    """Handlers as they were before the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request(number):
    signal.signal(number, signal.SIG_DFL)
    with stop_on_signal() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.signal == number
    assert signal.getsignal(number) == signal.SIG_DFL
    assert exit_status(number) == 128 + number


def test_a_second_interrupt_is_at_once():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_the_host_programs_handler_is_called_too_and_stays():
    called = []

    def own(number, frame):
        called.append(number)

    signal.signal(signal.SIGTERM, own)
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop and called == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is own


def test_runs_within_runs_stop_together():
    with stop_on_signal() as outer, stop_on_signal() as inner:
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer and inner


def test_a_signal_from_before_a_run_within_stops_it_too():
    with stop_on_signal() as outer:
        os.kill(os.getpid(), signal.SIGTERM)
        with stop_on_signal() as inner:
            assert inner.signal == outer.signal == signal.SIGTERM
