"""Calls with arrays: a ring of slots in shared memory, so that several calls can be under way at once.

The client writes inputs into a free slot, the server writes outputs into the same slot, and messages say
only which. Nothing is allocated per call. The slots lie on the host, or on a GPU that both sides use: then arrays of
that GPU pass through neither the host nor the socket. The server is `slot_server.py`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rpd_jax.ipc.arrays import memory_descriptor
from rpd_jax.ipc.cuda import CudaError
from rpd_jax.ipc.device import DeviceArrays, Part
from rpd_jax.ipc.handshake import compare
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import Message, ProtocolError, RemoteError
from rpd_jax.ipc.peer import Sidecar
from rpd_jax.ipc.supervised import QueueFull, Supervised

SLOT_PROTOCOL = 4  # version of the requests hello, attach and run, and of what teachers ask and answer

_log = logging.getLogger(__name__)

Specs = Mapping[str, tuple[tuple[int, ...], str]]
"""Name -> (shape of one row, dtype name)."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The arrays of one slot: `rows` rows of every input and of every output.

    `device` is where they lie, "cpu" or "cuda:N" as this process numbers it. Where the other side cannot map memory of
    a GPU (in some containers and virtual machines), they lie on the host, and a warning says so.
    """

    rows: int
    inputs: Specs
    outputs: Specs
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows={self.rows!r}: a slot must have at least one")

    def array_specs(self, slots: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """What `DeviceArrays.create` takes."""
        return {
            f"{side}/{name}": ((slots, self.rows, *shape), dtype)
            for side, specs in (("in", self.inputs), ("out", self.outputs))
            for name, (shape, dtype) in specs.items()
        }


@dataclasses.dataclass
class _Call:
    slot: int
    rows: int
    outputs: tuple[str, ...]


class SlotCalls:
    """Calls to one supervised sidecar. Use it from one thread at a time."""

    def __init__(
        self,
        start: Callable[[int], Sidecar],
        layout: Callable[[Mapping[str, Any]], Layout],
        *,
        expect: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Starts the sidecar, compares what both sides say, lays out the arrays.

        Args:
          start: starts a sidecar that shares the descriptor it is given.
          layout: decides on the arrays, once the sidecar has said what it is; it can raise HandshakeError.
          expect: fields that the sidecar's account of itself must have, see `handshake.compare`. After a restart it
            must be the same in every field.
          limits: see there; `queue_size` is also the number of slots.

        Raises:
          HandshakeError: the two sides do not fit.
          SidecarFailed: the sidecar cannot be started.
          OSError: there is not enough memory for the arrays.
        """
        self.limits = limits or Limits()
        self.spec: dict[str, Any] = {}
        self._choose_layout, self._expect = layout, dict(expect or {})
        self._calls: dict[int, _Call] = {}  # ticket -> call
        self._leaving: dict[int, _Call] = {}  # discarded, and perhaps still worked on
        self._free = list(range(self.limits.queue_size))
        self._arrays: DeviceArrays | None = None
        self._descriptor = memory_descriptor()
        try:
            self._supervised = Supervised(lambda: start(self._descriptor), self._prepare, self.limits, _check_reply)
        except BaseException:
            self._close_arrays()
            raise

    @property
    def name(self) -> str:
        return self._supervised.name

    @property
    def inputs(self) -> Specs:
        """The inputs of the layout."""
        return self._layout.inputs

    @property
    def device(self) -> str:
        """Where the slots lie."""
        return self._layout.device

    @property
    def under_way(self) -> int:
        """Calls whose slots are taken."""
        return len(self._calls) + len(self._leaving)

    @property
    def has_room(self) -> bool:
        """Whether `submit` would find a free slot."""
        self._collect_discarded()
        return bool(self._free)

    def submit(
        self,
        inputs: Mapping[str, Any],
        fields: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> int:
        """Begins a call and returns its ticket.

        Args:
          inputs: arrays [rows, ...] as the layout says, with at most its rows; they are copied. numpy's, or a
            framework's that are ready: see `DeviceArrays.write`.
          fields: plain data that goes with them.
          outputs: names of those that the answer must have; None: all of the layout.

        Raises:
          ValueError: arrays that do not fit the layout.
          QueueFull: every slot is taken: take a result, and release it.
          SidecarFailed: the sidecar failed too often.
        """
        if not self.has_room:
            raise QueueFull(f"{self.name}: all {self.limits.queue_size} slots are taken: release one first")
        assert self._arrays is not None
        rows = self._check_inputs(inputs)
        slot = self._free[-1]
        for name, values in inputs.items():
            self._arrays.write(f"in/{name}", values, Part(slot, rows))
        names = tuple(self._layout.outputs if outputs is None else outputs)
        request = {"slot": slot, "rows": rows, "fields": dict(fields or {}), "outputs": names}
        ticket = self._supervised.submit("run", request)
        self._calls[ticket] = _Call(self._free.pop(), rows, names)
        return ticket

    def ready(self, ticket: int) -> bool:
        """Whether `outputs` would return at once."""
        return self._supervised.ready(ticket)

    def outputs(self, ticket: int) -> dict[str, np.ndarray]:
        """Waits for a call and gives views [rows, ...] of its slot, which hold until `release`; from a GPU, copies.

        Raises:
          RemoteError: the sidecar raised; with its traceback. The slot is free again.
          SidecarFailed: the sidecar failed too often.
        """
        call = self._calls[ticket]
        try:
            self._supervised.result(ticket)
        except Exception:
            self.release(ticket)
            raise
        part = Part(call.slot, call.rows)
        assert self._arrays is not None
        return {name: self._arrays.on_host(f"out/{name}", part) for name in call.outputs}

    def release(self, ticket: int) -> None:
        """Gives the slot of a call back. One that is under way is given back when the sidecar is done with it."""
        call = self._calls.pop(ticket)
        if self._supervised.settled(ticket):
            self._supervised.discard(ticket)
            self._free.append(call.slot)
        else:
            self._supervised.discard(ticket)
            self._leaving[ticket] = call

    def metrics(self) -> dict[str, float]:
        """See `Supervised.metrics`."""
        return self._supervised.metrics()

    def close(self) -> None:
        """Ends the sidecar and drops the arrays. Idempotent."""
        self._supervised.close()
        self._close_arrays()

    def __enter__(self) -> SlotCalls:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _prepare(self, sidecar: Sidecar) -> None:
        deadline_s = self.limits.start_deadline_s
        hello = {"protocol": SLOT_PROTOCOL, **self._expect}
        spec = sidecar.call("hello", {"expect": hello}, deadline_s).get("spec", dict)
        compare(hello, spec)
        if self._arrays is not None:
            compare(self.spec, spec, "after a restart")
            self._attach(sidecar)
            return
        layout = self._choose_layout(spec)
        try:
            self._lay_out(layout)
            self._attach(sidecar)
        except (CudaError, RemoteError) as error:
            if layout.device == "cpu" or (isinstance(error, RemoteError) and error.type_name != CudaError.__name__):
                raise
            _log.warning("%s: arrays pass through the host, not through %s: %s", sidecar.name, layout.device, error)
            if self._arrays is not None:
                self._arrays.close()
            self._lay_out(dataclasses.replace(layout, device="cpu"))
            self._attach(sidecar)
        self.spec = spec

    def _attach(self, sidecar: Sidecar) -> None:
        assert self._arrays is not None
        shared = {**self._arrays.share(), "rows": self._layout.rows}
        sidecar.call("attach", shared, self.limits.start_deadline_s)

    def _lay_out(self, layout: Layout) -> None:
        self._layout = layout
        descriptor = self._descriptor if layout.device == "cpu" else None
        specs = layout.array_specs(self.limits.queue_size)
        self._arrays = DeviceArrays.create(specs, layout.device, descriptor=descriptor)

    def _check_inputs(self, inputs: Mapping[str, Any]) -> int:
        specs = self._layout.inputs
        if inputs.keys() != specs.keys():
            raise ValueError(f"inputs: need {sorted(specs)}, got {sorted(inputs)}")
        rows = len(next(iter(inputs.values())))
        if not 1 <= rows <= self._layout.rows:
            raise ValueError(f"inputs: need 1 to {self._layout.rows} rows, got {rows}")
        for name, (shape, dtype) in specs.items():
            values = inputs[name]
            if values.shape != (rows, *shape) or values.dtype != dtype:
                raise ValueError(
                    f"inputs[{name!r}]: need {dtype} of shape {(rows, *shape)}, got {values.dtype} of {values.shape}"
                )
        return rows

    def _collect_discarded(self) -> None:
        for ticket in list(self._leaving):
            self._supervised.ready(ticket)  # takes what has arrived
            if self._supervised.settled(ticket):
                self._free.append(self._leaving.pop(ticket).slot)

    def _close_arrays(self) -> None:
        on_host = self._arrays is not None and self._layout.device == "cpu"  # then they own the descriptor
        if self._arrays is not None:
            self._arrays.close()
            self._arrays = None
        if self._descriptor >= 0 and not on_host:
            os.close(self._descriptor)
        self._descriptor = -1


def _check_reply(fields: Mapping[str, Any], reply: Message) -> None:
    for name in ("slot", "rows"):
        if reply.get(name, int) != fields[name]:
            raise ProtocolError(f"the answer is about {name} {reply.fields[name]}, the request was {fields[name]}")
