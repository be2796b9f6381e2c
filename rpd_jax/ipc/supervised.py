"""A sidecar that is replaced when it fails, with the requests that it had not answered.

Requests must be pure functions of their fields and of the arrays they name: one that was under way when the sidecar
failed is worked on again by the next one.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from rpd_jax.ipc.handshake import HandshakeError
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import HEARTBEAT, Message, ProtocolError, RemoteError, VersionMismatch, raise_if_error
from rpd_jax.ipc.peer import Sidecar
from rpd_jax.ipc.text import described, last_error, one_line

_log = logging.getLogger(__name__)

FAILURES = (ConnectionError, TimeoutError, ProtocolError)
"""It died, hangs, or talks nonsense. What a handler raises is an answer, not a failure."""

Check = Callable[[Mapping[str, Any], Message], None]
"""Takes the fields of a request and its reply; raises ProtocolError for a reply that cannot be."""


class SidecarFailed(RuntimeError):
    """The sidecar failed too often to be restarted; the message is one line, and a note has its last output."""


class QueueFull(RuntimeError):
    """As many requests wait as may wait."""


@dataclasses.dataclass
class _Request:
    kind: str
    fields: dict[str, Any]
    sent: int = 0  # times
    sequence: int = -1  # with the present sidecar
    wanted: bool = True


class Supervised:
    """One sidecar at a time, and the requests that wait for it, answered in order. Use it from one thread at a time."""

    def __init__(
        self,
        start: Callable[[], Sidecar],
        prepare: Callable[[Sidecar], None],
        limits: Limits | None = None,
        check: Check | None = None,
    ) -> None:
        """Starts and prepares the sidecar.

        Args:
          start: makes one.
          prepare: shakes hands with it and gives it what it needs, at every start; raises HandshakeError where the two
            do not fit, which no restart is tried against.
          limits: see there.
          check: of the replies.

        Raises:
          HandshakeError: from `prepare`, or a protocol of another version.
          SidecarFailed: it cannot be started; no second try is made.
        """
        self.limits = limits or Limits()
        self._start, self._prepare, self._check = start, prepare, check
        self._waiting: dict[int, _Request] = {}  # ticket -> request, in the order of submission
        self._answers: dict[int, Message] = {}
        self._next_ticket = 0
        self._in_a_row = 0
        self._turn = self._heard = 0.0  # when the oldest request's turn came, and when it was last heard of
        self.restarts = self.resent = 0
        self.seconds_waiting = 0.0
        self._failure: Exception | None = None  # found by `ready`
        self._gone: BaseException | None = None
        self._sidecar: Sidecar | None = None
        try:
            self._begin()
        except HandshakeError:
            self.close()
            raise
        except (*FAILURES, RemoteError) as error:
            raise self._give_up("cannot be started", error) from error
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return self._sidecar.name if self._sidecar is not None else "sidecar"

    @property
    def unanswered(self) -> int:
        """Requests that wait for their answers."""
        return len(self._waiting)

    def submit(self, kind: str, fields: Mapping[str, Any] | None = None, *, block: bool = True) -> int:
        """Sends a request and returns a ticket for `result`.

        Args:
          kind: of the request.
          fields: of the request, plain data.
          block: where `limits.queue_size` requests wait already, wait for an answer; False: raise QueueFull.

        Raises:
          QueueFull: see `block`.
          SidecarFailed: it failed too often.
        """
        self._check_open()
        if len(self._waiting) >= self.limits.queue_size:
            if not block:
                raise QueueFull(f"{self.name}: {len(self._waiting)} requests wait, and no more may")
            self._receive_until(lambda: len(self._waiting) < self.limits.queue_size)
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        if not self._waiting:
            self._turn = self._heard = time.monotonic()
        self._waiting[ticket] = _Request(kind, dict(fields or {}))
        try:
            self._send(self._waiting[ticket])
        except FAILURES as error:
            self._recover(error)
        except ValueError:  # its fields are no plain data
            del self._waiting[ticket]
            raise
        return ticket

    def ready(self, ticket: int) -> bool:
        """Whether `result` would return at once. Takes what has arrived, and never waits."""
        self._check_open()
        while ticket not in self._answers and self._waiting:
            try:
                self._receive(0.0)
            except TimeoutError:
                break
            except FAILURES as error:
                self._failure = error  # `result` will see to it
                break
        return ticket in self._answers

    def result(self, ticket: int) -> Message:
        """The reply to the request with this ticket; each can be had once.

        Raises:
          RemoteError: handling the request raised there; with the traceback.
          SidecarFailed: it failed too often, or with this request twice.
        """
        self._check_open()
        if ticket not in self._waiting and ticket not in self._answers:
            raise ValueError(f"ticket {ticket}: unknown, or its result was taken")
        self._receive_until(lambda: ticket in self._answers)
        return raise_if_error(self._answers.pop(ticket))

    def discard(self, ticket: int) -> None:
        """Nobody will ask for this result. The sidecar may still work on it until `settled`."""
        self._answers.pop(ticket, None)
        if ticket in self._waiting:
            self._waiting[ticket].wanted = False

    def settled(self, ticket: int) -> bool:
        """Whether the sidecar is done with the request: nothing of it is touched any more."""
        return ticket not in self._waiting

    def metrics(self) -> dict[str, float]:
        """Counts since the beginning."""
        return {name: float(getattr(self, name)) for name in ("restarts", "resent", "seconds_waiting")}

    def close(self) -> None:
        """Ends the sidecar. Idempotent."""
        self._gone = self._gone or RuntimeError("it was closed")
        if self._sidecar is not None:
            self._sidecar.kill()  # it holds nothing that a polite end would save
            self._sidecar.close()

    # One sidecar.

    def _begin(self) -> None:
        self._sidecar = self._start()
        try:
            self._prepare(self._sidecar)
        except VersionMismatch as error:
            raise HandshakeError(f"{self.name}: {error}") from error
        except RemoteError as error:
            if error.type_name == HandshakeError.__name__:
                raise HandshakeError(f"{self.name}: {error.message}") from error
            raise

    def _send(self, request: _Request) -> None:
        assert self._sidecar is not None
        request.sequence = self._sidecar.send(request.kind, request.fields)
        request.sent += 1

    def _receive(self, timeout_s: float) -> None:
        """Takes one message."""
        assert self._sidecar is not None
        if self._failure is not None:
            raise self._failure
        message = self._sidecar.receive_next(timeout_s)
        self._heard = time.monotonic()
        if message.kind == HEARTBEAT:
            return
        ticket, oldest = next(iter(self._waiting.items()), (-1, None))
        if oldest is None or oldest.sequence != message.sequence:
            raise ProtocolError(f"an answer {message.kind!r} out of turn, with sequence number {message.sequence}")
        if self._check is not None and message.kind == "reply":
            self._check(oldest.fields, message)
        del self._waiting[ticket]
        self._turn, self._in_a_row = self._heard, 0
        if oldest.wanted:
            self._answers[ticket] = message

    def _receive_until(self, done: Callable[[], bool]) -> None:
        started = time.monotonic()
        try:
            while not done():
                try:
                    self._receive_in_time()
                except FAILURES as error:
                    self._recover(error)
        finally:
            self.seconds_waiting += time.monotonic() - started

    def _receive_in_time(self) -> None:
        limits = self.limits
        end, why = self._turn + limits.deadline_s, f"no answer within {limits.deadline_s:g} s"
        if limits.heartbeat_s is not None and self._heard + limits.heartbeat_s < end:
            end, why = self._heard + limits.heartbeat_s, f"no sign of life for {limits.heartbeat_s:g} s"
        try:
            self._receive(max(0.0, end - time.monotonic()))  # what has arrived is taken even where it is late
        except TimeoutError:
            raise TimeoutError(why) from None

    # The next one.

    def _recover(self, error: Exception) -> None:
        """Replaces the sidecar and sends it what the last one left unanswered."""
        while True:
            assert self._sidecar is not None
            self._sidecar.kill()  # from here on nothing but we touch the arrays
            self._failure = None
            self._waiting = {ticket: request for ticket, request in self._waiting.items() if request.wanted}
            if any(request.sent > 1 for request in self._waiting.values()):
                raise self._give_up("failed twice with the same request", error) from error
            self._in_a_row += 1
            pause = self.limits.pause_after(self._in_a_row)
            if pause is None:
                raise self._give_up(f"failed {self._in_a_row} times in a row", error) from error
            time.sleep(pause)
            self.restarts += 1
            _log.warning("%s is started again: %s", self.name, described(error))
            self._sidecar.close()
            try:
                self._begin()
                self._turn = self._heard = time.monotonic()
                for request in self._waiting.values():
                    self._send(request)
                    self.resent += request.sent > 1
                return
            except (*FAILURES, RemoteError) as again:
                error = again
            except BaseException:
                self.close()
                raise

    def _give_up(self, how: str, error: BaseException) -> SidecarFailed:
        if self._sidecar is not None:
            self._sidecar.kill()  # so that its last output is complete
        log = self._sidecar.log_tail() if self._sidecar is not None else ""
        said = "" if isinstance(error, RemoteError) else last_error(log) or one_line(log.rpartition("\n")[2])
        failed = SidecarFailed(
            f"{self.name} {how}, with {described(error)}" + (f"; its last output: {said}" if said else "")
        )
        if log:
            failed.add_note(f"--- its last output ---\n{log}")
            _log.error("%s %s; its last output:\n%s", self.name, how, log)
        self._gone = failed
        self.close()
        return failed

    def _check_open(self) -> None:
        if self._gone is not None:
            raise SidecarFailed(f"{self.name} is not there: {one_line(self._gone)}")
