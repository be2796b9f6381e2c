"""The server side of `slots.SlotCalls`: a model behind shared arrays. numpy, msgpack and the standard library only.

Requests, all but the arrays being plain data:
  hello   what the client expects -> what the model is; the model is loaded now
  attach  maps the shared arrays
  run     computes the outputs of a slot, in place
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rpd_jax.ipc.device import DeviceArrays, Part
from rpd_jax.ipc.dlpack import CUDA
from rpd_jax.ipc.handshake import compare
from rpd_jax.ipc.sidecar import Handler, serve
from rpd_jax.ipc.slots import SLOT_PROTOCOL
from rpd_jax.ipc.sockets import serve_socket


class Model(Protocol):
    """What can be served."""

    def spec(self) -> Mapping[str, Any]:
        """Plain data. "inputs" and "outputs" map names to {"shape": of one row, None being any; "dtype"}."""
        ...

    def label(self, arrays: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answers inputs [rows, ...] with outputs [rows, ...], as a function of its arguments alone.

        All outputs of the account, but those that the asking side, and its fields, leave out.

        The inputs are views that hold until it returns: of numpy, but of slots on a GPU (which the asking side lays out
        there only if the account says that it is welcome) a `ForeignArray` for `torch.from_dlpack`. The outputs are
        numpy's or, where the inputs are on a GPU, a framework's of the same GPU.
        """
        ...


class SlotServer:
    """The handlers of one connection.

    Args:
      load: gives the model; called at the first `hello`.
      descriptor: of the arrays' memory; None: the request names one that was inherited.
    """

    def __init__(self, load: Callable[[], Model], descriptor: int | None = None):
        self._load, self._descriptor = load, descriptor
        self._model: Model | None = None
        self._spec: dict[str, Any] = {}
        self._arrays: DeviceArrays | None = None

    def handlers(self) -> dict[str, Handler]:
        return {"hello": self.hello, "attach": self.attach, "run": self.run}

    def hello(self, fields: dict[str, Any]) -> dict[str, Any]:
        # Here is there: the message is for the asking side. The version first: loading a model takes minutes.
        compare({"protocol": fields["expect"]["protocol"]}, {"protocol": SLOT_PROTOCOL})
        if self._model is None:
            self._model = self._load()
            self._spec = {"protocol": SLOT_PROTOCOL, **self._model.spec()}
        compare(fields["expect"], self._spec)
        return {"spec": self._spec}

    def attach(self, fields: dict[str, Any]) -> None:
        on_host = fields["device"] == "cpu"
        if on_host and self._descriptor is not None:
            fields = {**fields, "memory": self._descriptor}
        arrays = DeviceArrays.attach(fields)
        expected = {
            f"{side}/{name}": {"shape": [None, fields["rows"], *spec["shape"]], "dtype": spec["dtype"]}
            for side, specs in (("in", self._spec["inputs"]), ("out", self._spec["outputs"]))
            for name, spec in specs.items()
        }
        found = {name: {"shape": shape, "dtype": dtype} for name, shape, dtype, _ in arrays.table()}
        compare(found, expected, "arrays")
        compare({"arrays": sorted(found)}, {"arrays": sorted(expected)})
        self._arrays, self._slots = arrays, found
        if on_host:
            self._descriptor = fields["memory"]

    def run(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self._model is None or self._arrays is None:
            raise RuntimeError("hello and attach come first")
        arrays, part = self._arrays, Part(fields["slot"], fields["rows"])
        see = arrays.on_host if arrays.device == "cpu" else arrays.view
        inputs = {name: see(f"in/{name}", part) for name in self._spec["inputs"]}
        answers, wanted = self._model.label(inputs, fields["fields"]), sorted(fields["outputs"])
        if sorted(answers) != wanted:
            raise ValueError(f"the model must answer {wanted}, it answered {sorted(answers)}")
        if arrays.device != "cpu" and any(map(_on_gpu, answers.values())):
            arrays.synchronize()  # with the framework's own streams
        for name, values in answers.items():
            on_gpu = arrays.device != "cpu" and _on_gpu(values)
            arrays.write(f"out/{name}", values if on_gpu else self._fitted(name, values, part.rows), part)
        return {"slot": part.index, "rows": part.rows}

    def _fitted(self, name: str, values: Any, rows: int) -> np.ndarray:
        """An output as the slots have it."""
        slot, values = self._slots[f"out/{name}"], np.asarray(values)
        shape, dtype = (rows, *slot["shape"][2:]), slot["dtype"]
        if values.shape != shape or not np.can_cast(values.dtype, dtype, "same_kind"):
            raise ValueError(
                f"the model's {name!r} must be {dtype} of shape {shape}, it is {values.dtype} of {values.shape}"
            )
        return values.astype(dtype, copy=False)

    def close(self) -> None:
        """Drops the arrays and their memory's descriptor."""
        on_host = self._arrays is not None and self._arrays.device == "cpu"  # then they own the descriptor
        if self._arrays is not None:
            self._arrays.close()
        if self._descriptor is not None and not on_host:
            os.close(self._descriptor)
        self._arrays = self._descriptor = None


def _on_gpu(values: Any) -> bool:
    return hasattr(values, "__dlpack_device__") and values.__dlpack_device__()[0] == CUDA


def serve_model(load: Callable[[], Model]) -> None:
    """The main program of a sidecar: serves the process that started it, or with `--listen=PATH` a named socket.

    `load` reads its own settings from the command line, and must let the flags of `sidecar.serve` pass.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=Path, default=None)
    arguments, _ = parser.parse_known_args(sys.argv[1:])
    if arguments.listen is not None:
        serve_model_at(arguments.listen, load)
    else:
        serve(SlotServer(load).handlers())


def serve_model_at(path: Path | str, load: Callable[[], Model]) -> None:
    """Serves at a named socket until interrupted, see `sockets.serve_socket`. The model is loaded once, before that."""
    model = load()

    @contextlib.contextmanager
    def connected(descriptor: int) -> Iterator[dict[str, Handler]]:
        server = SlotServer(lambda: model, descriptor)
        try:
            yield server.handlers()
        finally:
            server.close()

    serve_socket(path, connected)
