"""Requests shared out over replicas: each goes to the one that has least to do, those of a lost one to others."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from absl import logging

from rpd_jax.config.teacher import RayPlacement
from rpd_jax.ipc.text import described, one_line
from rpd_jax.types import TeacherError
from teachers.cluster.connection import no_room
from teachers.cluster.replica import Account, Answer, Broken, Recipe, Replica, environment

UNDER_WAY = 2  # requests of a replica: while it works on one, the next is on its way
SENDS = 3  # of a request, whose replica was lost each time: it may be what they die of
LOOK_SECONDS = 1.0  # between looks at the clock while nothing arrives


@dataclasses.dataclass(eq=False)
class Request:
    """A call of one of the teacher's methods, and its answer once it is `done`."""

    method: str
    arguments: tuple[Any, ...]  # empty once it is done: frames are large
    sent: int = 0  # times
    result: Any = None
    error: TeacherError | None = None
    done: bool = False

    def finish(self, result: Any = None, error: TeacherError | None = None) -> None:
        self.result, self.error, self.done, self.arguments = result, error, True, ()


@dataclasses.dataclass(eq=False)
class _Member:
    """A replica, as the learner sees it."""

    number: int
    actor: Any
    joining: Any  # a reference to its account; None: it is there
    account: Account | None = None
    gone: bool = False  # for good
    under_way: dict[Any, Request] = dataclasses.field(default_factory=dict)  # reference to the answer -> request
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)  # of its teacher
    earlier: dict[str, float] = dataclasses.field(default_factory=dict)  # of teachers that were lost

    @property
    def is_there(self) -> bool:
        return self.joining is None and not self.gone


class Pool:
    """Replicas of one teacher. Use it from one thread at a time."""

    def __init__(self, ray: Any, recipe: Recipe, placement: RayPlacement) -> None:
        """Starts the replicas and waits until their teachers are made.

        Args:
          ray: the module, connected.
          recipe: of the teacher.
          placement: how many replicas there are, and what each of them needs.

        Raises:
          TeacherError: a teacher cannot be made, there was no room for it in time, or they differ.
        """
        self._ray, self._recipe, self._placement = ray, recipe, placement
        self._name = f"teacher {recipe.values['name']}"
        self._backlog: collections.deque[Request] = collections.deque()
        self._lost = self._resent = 0
        self._alone_since: float | None = None  # when the last replica was lost
        self._last_loss = ""
        actor = ray.remote(Replica).options(
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
            max_restarts=placement.restarts,
            scheduling_strategy="SPREAD",
        )
        variables = environment(recipe.kind.uses_jax, placement.gpus)
        self._members = [
            _Member(number, handle, self._asked(handle))
            for number, handle in enumerate(actor.remote(variables) for _ in range(placement.replicas))
        ]
        try:
            self.account = self._begun()
        except BaseException:
            self.close()
            raise

    def submit(self, method: str, arguments: tuple[Any, ...]) -> Request:
        """Sends a request, or keeps it until a replica has room; the arguments must not change until it is done."""
        request = Request(method, arguments)
        self._backlog.append(request)
        self.poll()
        return request

    def poll(self) -> None:
        """Takes the answers that are there and sends what waits, without waiting."""
        self._look(0.0)

    def finish(self, requests: Sequence[Request]) -> list[Any]:
        """Waits for the results.

        Raises:
          TeacherError: the teacher raised, the request was lost with several replicas, or there are none left.
        """
        while not all(request.done for request in requests):
            self._look(LOOK_SECONDS)
            self._check_any()
        for request in requests:
            if request.error is not None:
                raise request.error
        return [request.result for request in requests]

    def metrics(self) -> dict[str, float]:
        """What was lost and sent again, how many replicas are there, and sums of the teachers' own counters."""
        sums: collections.Counter[str] = collections.Counter()
        for member in self._members:
            sums.update(member.metrics)
            sums.update(member.earlier)
        return dict(sums) | {
            "teacher/replicas": float(sum(member.is_there for member in self._members)),
            "teacher/replicas_lost": float(self._lost),
            "teacher/replicas_resent": float(self._resent),
        }

    def close(self) -> None:
        """Ends the replicas. Idempotent."""
        for member in self._members:
            self._ray.kill(member.actor)
        self._members = []
        self._backlog.clear()

    def _asked(self, actor: Any) -> Any:
        """A reference to an actor's account; Ray keeps asking one that is being started again."""
        return actor.account.options(max_task_retries=-1).remote(self._recipe)

    def _begun(self) -> Account:
        """The account of all replicas, once each has given it."""
        end = time.monotonic() + self._placement.ready_seconds
        while waiting := [member.number for member in self._members if member.joining is not None]:
            if time.monotonic() > end:
                problem = no_room(self._ray, self._placement) or "their models may take longer to load"
                raise TeacherError(
                    f"{self._name}: replicas {waiting} are not ready after "
                    f"teacher.ray.ready_seconds={self._placement.ready_seconds:g}: {problem}"
                )
            self._look(LOOK_SECONDS)
            if any(member.gone for member in self._members):
                raise TeacherError(self._last_loss)
        accounts = [member.account for member in self._members if member.account is not None]
        for number, each in enumerate(accounts):
            logging.info("%s: replica %d runs on %s", self._name, number, each.where)
            if each.spec != accounts[0].spec:
                raise TeacherError(f"{self._name}: replicas 0 and {number} differ: {accounts[0].spec} and {each.spec}")
        return accounts[0]

    def _look(self, seconds: float) -> None:
        """Takes what has arrived, waits for something if nothing has, and sends what waits."""
        owners = {reference: member for member in self._members for reference in member.under_way}
        owners |= {member.joining: member for member in self._members if member.joining is not None}
        references = list(owners)
        if references:
            arrived, _ = self._ray.wait(references, num_returns=1, timeout=seconds)
            if len(arrived) < len(references):
                arrived, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
            for reference in arrived:
                self._take(owners[reference], reference)
        self._send()

    def _take(self, member: _Member, reference: Any) -> None:
        if reference is member.joining:
            return self._join(member)
        request = member.under_way.pop(reference, None)
        if request is None:  # its replica was lost meanwhile
            return None
        try:
            answer: Answer | Broken = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            logging.error("%s, replica %d raised:\n%s", self._name, member.number, one_line(error, 10_000))
            request.finish(error=self._raised(member, error))
        except self._ray.exceptions.RayError as error:
            self._lose(member, request, described(error))
        else:
            if isinstance(answer, Broken):
                self._lose(member, request, answer.reason)
            else:
                member.metrics = answer.metrics
                request.finish(answer.result)
        return None

    def _raised(self, member: _Member, error: Any) -> TeacherError:
        cause = getattr(error, "cause", None) or error
        said = one_line(str(cause).partition("\ntraceback: ")[0])  # Ray's own errors bring theirs along
        kind = "" if isinstance(cause, TeacherError) else f"{type(cause).__name__}: "
        made = TeacherError(f"{self._name}, replica {member.number}: {kind}{said}")
        made.__cause__ = error
        return made

    def _send(self) -> None:
        while self._backlog:
            there = [member for member in self._members if member.is_there]
            member = min(there, key=lambda member: len(member.under_way), default=None)
            if member is None or len(member.under_way) >= UNDER_WAY:
                return
            request = self._backlog.popleft()
            request.sent += 1
            self._resent += request.sent > 1
            member.under_way[member.actor.call.remote(request.method, *request.arguments)] = request

    def _lose(self, member: _Member, request: Request, reason: str) -> None:
        """What a lost replica had to do is done first by the others; Ray starts it again, and it makes its teacher."""
        pending = [request, *member.under_way.values()]
        member.under_way = {}
        member.joining = self._asked(member.actor)
        member.earlier = dict(collections.Counter(member.earlier) + collections.Counter(member.metrics))
        member.metrics = {}
        self._lost += 1
        where = member.account.where if member.account else "?"
        self._last_loss = f"{self._name}: replica {member.number} on {where} was lost: {reason}"
        logging.warning("%s; %d requests are sent again", self._last_loss, len(pending))
        for each in reversed(pending):
            if each.sent < SENDS:
                self._backlog.appendleft(each)
            else:
                each.finish(error=TeacherError(f"a request was lost {SENDS} times: {self._last_loss}"))

    def _join(self, member: _Member) -> None:
        """A replica's teacher has been made, for the first time or again."""
        reference, member.joining = member.joining, None
        try:
            account = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            self._last_loss, member.gone = str(self._raised(member, error)), True
        except self._ray.exceptions.RayError as error:
            self._last_loss = f"{self._name}: replica {member.number} is gone: {described(error)}"
            member.gone = True
        else:
            if member.account is not None:
                logging.warning("%s: replica %d is back, on %s", self._name, member.number, account.where)
                if account.spec != member.account.spec:
                    self._last_loss = f"{self._name}: replica {member.number} came back with another model"
                    member.gone = True
            member.account = account
        if member.gone:
            logging.error("%s; it is not started again", self._last_loss)

    def _check_any(self) -> None:
        """Raises TeacherError where no replica is left, or none has come back in time."""
        if any(member.is_there for member in self._members):
            self._alone_since = None
            return
        now, limit = time.monotonic(), self._placement.ready_seconds
        self._alone_since = now if self._alone_since is None else self._alone_since
        if all(member.gone for member in self._members) or now > self._alone_since + limit:
            raise TeacherError(f"no replica is left, or came back in {limit:g} s; the last: {self._last_loss}")
