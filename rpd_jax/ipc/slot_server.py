"""The answering side of `slots.SlotCalls`: a model behind shared arrays. numpy, msgpack and the standard library only.

Requests, all but the arrays being plain data:
  hello   what the asking side expects -> what the model is; the model is loaded now
  attach  maps the shared arrays
  run     answers the rows of a slot, in place
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

from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.handshake import compare
from rpd_jax.ipc.sidecar import Handler, serve
from rpd_jax.ipc.slots import SLOT_PROTOCOL, slot_views
from rpd_jax.ipc.sockets import serve_socket


class Model(Protocol):
    """What can be served."""

    def spec(self) -> Mapping[str, Any]:
        """Plain data. "inputs" and "outputs" map names to {"shape": of one row, None being any; "dtype"}."""
        ...

    def label(self, arrays: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
        """Answers inputs [rows, ...] with outputs [rows, ...], as a function of its arguments alone.

        The inputs are views that hold until it returns.
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
        self._arrays: SharedArrays | None = None

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
        descriptor = fields["descriptor"] if self._descriptor is None else self._descriptor
        arrays = SharedArrays.attach(descriptor, fields["table"])
        expected = {
            f"{side}/{name}": {"shape": [None, fields["rows"], *spec["shape"]], "dtype": spec["dtype"]}
            for side, specs in (("in", self._spec["inputs"]), ("out", self._spec["outputs"]))
            for name, spec in specs.items()
        }
        found = {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in arrays.items()}
        compare(found, expected, "arrays")
        compare({"arrays": sorted(found)}, {"arrays": sorted(expected)})
        self._arrays, self._descriptor = arrays, descriptor
        self._inputs, self._outputs = slot_views(arrays, len(next(iter(arrays.values()))))

    def run(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self._model is None or self._arrays is None:
            raise RuntimeError("hello and attach come first")
        slot, rows = fields["slot"], fields["rows"]
        inputs = {name: array[:rows] for name, array in self._inputs[slot].items()}
        answers = self._model.label(inputs, fields["fields"])
        outputs = self._outputs[slot]
        if answers.keys() != outputs.keys():
            raise ValueError(f"the model must answer {sorted(outputs)}, it answered {sorted(answers)}")
        for name, target in outputs.items():
            values = np.asarray(answers[name])
            if values.shape != target[:rows].shape or not np.can_cast(values.dtype, target.dtype, "same_kind"):
                raise ValueError(
                    f"the model's {name!r} must be {target.dtype} of shape {target[:rows].shape}, "
                    f"it is {values.dtype} of {values.shape}"
                )
            np.copyto(target[:rows], values, casting="same_kind")
        return {"slot": slot, "rows": rows}

    def close(self) -> None:
        """Drops the arrays and their memory's descriptor."""
        self._inputs = self._outputs = []  # views keep the memory
        if self._arrays is not None:
            self._arrays.close()
        elif self._descriptor is not None:
            os.close(self._descriptor)
        self._arrays = self._descriptor = None


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
