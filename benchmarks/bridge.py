"""The bridge to a teacher's process, against HTTP with JSON and against a pipe with pickle, in the same run.

  python -m benchmarks.bridge [--quick] [--json=FILE]

A batch of 128 frames 256 x 256 x 3 goes to another process and 128 x 7 floats come back; the other side reads seven
numbers of each frame and does nothing else. "http" is http.server on the loopback, frames as base64 in JSON; "pickle"
is a pair of multiprocessing pipes. The three take turns, so that what else the machine does meets all of them.

ratio_http, ratio_pickle  their seconds for a batch / ours (higher is better)
gigabytes_per_second      frames that we moved
round_trip_us             the median of ours for one small observation, in microseconds
allocations_per_call      memory blocks that a call leaves behind on the learner's side; bytes_kept_per_call likewise
peak_bytes_per_call       what a call for a batch needs in passing there; the frames have 25 million
copy_ms                   one copy of the frames within the process: ours makes one, the others several
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import http.server
import json
import multiprocessing
import multiprocessing.connection
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slot_server import serve_model
from rpd_jax.ipc.slots import Layout, SlotCalls

BATCH, SIZE, ACTIONS = 128, 256, 7
SETTLE = 3000  # calls of a small kind, until the interpreter's own pools (up to 2000 tuples of a length) are filled


def answer(frames: np.ndarray) -> np.ndarray:
    """Seven numbers of each frame [B, H, W, 3]."""
    return frames[:, 0, :ACTIONS, 0].astype(np.float32)


class EchoModel:
    """Our side of the comparison, in the sidecar."""

    def spec(self) -> dict[str, Any]:
        return {
            "inputs": {"rgb": {"shape": [None, None, 3], "dtype": "uint8"}},
            "outputs": {"action": {"shape": [ACTIONS], "dtype": "float32"}},
        }

    def label(self, arrays: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"action": answer(arrays["rgb"])}


def open_bridge(batch: int, size: int) -> SlotCalls:
    """The bridge to an EchoModel that takes `batch` frames at once."""
    layout = Layout(batch, {"rgb": ((size, size, 3), "uint8")}, {"action": ((ACTIONS,), "float32")})

    def start(descriptor: int) -> SidecarProcess:
        return SidecarProcess("benchmarks.bridge", arguments=["--heartbeat=1"], descriptors=[descriptor])

    return SlotCalls(start, lambda spec: layout)


def bridge_call(calls: SlotCalls, frames: np.ndarray, actions: np.ndarray) -> Callable[[], np.ndarray]:
    """A call that writes its answer into `actions`."""
    inputs = {"rgb": frames}

    def call() -> np.ndarray:
        ticket = calls.submit(inputs)
        np.copyto(actions, calls.outputs(ticket)["action"])
        calls.release(ticket)
        return actions

    return call


def http_server(connection: multiprocessing.connection.Connection) -> None:
    """Serves on a port that the kernel chooses, until it is killed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        # As a careful server would have it: the connection stays open, and answers are not held back.
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            frames = np.frombuffer(base64.b64decode(request["frames"]), np.uint8).reshape(request["shape"])
            body = json.dumps({"actions": answer(frames).tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *unused: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    connection.send(server.server_port)
    server.serve_forever()


def http_call(connection: http.client.HTTPConnection, frames: np.ndarray) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        request = {"shape": frames.shape, "frames": base64.b64encode(frames).decode()}
        connection.request("POST", "/", json.dumps(request), {"Content-Type": "application/json"})
        return np.asarray(json.loads(connection.getresponse().read())["actions"], np.float32)

    return call


def pickle_server(connection: multiprocessing.connection.Connection) -> None:
    """Answers arrays until it is killed."""
    while True:
        connection.send(answer(connection.recv()))


def pickle_call(connection: multiprocessing.connection.Connection, frames: np.ndarray) -> Callable[[], np.ndarray]:
    def call() -> np.ndarray:
        connection.send(frames)
        return connection.recv()

    return call


def seconds_each(calls: Mapping[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each of `repeats` calls, taken in turns after one call each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def kept_by(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(Python's memory blocks, bytes of Python and numpy) that a call leaves behind."""
    tracemalloc.start()
    try:
        for _ in range(SETTLE):
            call()
        blocks, (size, _) = sys.getallocatedblocks(), tracemalloc.get_traced_memory()
        for _ in range(repeats):
            call()
        new_blocks, (new_size, _) = sys.getallocatedblocks(), tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (new_blocks - blocks) / repeats, (new_size - size) / repeats


def peak_of(call: Callable[[], object]) -> float:
    """Most bytes that a call has allocated at a time, likewise."""
    tracemalloc.start()
    try:
        call()
        current, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return float(peak - current)


def measure(quick: bool) -> dict[str, float]:
    """All figures."""
    # Imported here: the sidecar runs this module too, and needs none of it.
    from benchmarks.common import median, spread

    batch, size, repeats = (16, 64, 5) if quick else (BATCH, SIZE, 30)
    frames = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    context = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(context.Pipe() for _ in range(2)), strict=True)
    servers = [context.Process(target=f, args=(c,)) for f, c in zip((http_server, pickle_server), theirs, strict=True)]
    try:
        for server in servers:
            server.start()
        actions = np.empty((batch, ACTIONS), np.float32)
        web = http.client.HTTPConnection("127.0.0.1", ours[0].recv())
        with open_bridge(batch, size) as calls, open_bridge(1, 8) as small, contextlib.closing(web):
            call = bridge_call(calls, frames, actions)
            small_call = bridge_call(small, frames[:1, :8, :8].copy(), np.empty((1, ACTIONS), np.float32))
            each = {"bridge": call, "http": http_call(web, frames), "pickle": pickle_call(ours[1], frames)}
            for name, one in each.items():
                if not np.array_equal(one(), answer(frames)):
                    raise AssertionError(f"{name} gave a wrong answer")
            seconds = seconds_each(each, repeats)
            round_trips = seconds_each({"small": small_call}, 200 if quick else 2000)["small"]
            (blocks, kept), peak = kept_by(small_call, 1000), peak_of(call)
    finally:
        for server in servers:
            server.kill()
            server.join()
    own = median(seconds["bridge"])
    return {
        "bridge_ms": own * 1e3,
        "http_ms": median(seconds["http"]) * 1e3,
        "pickle_ms": median(seconds["pickle"]) * 1e3,
        "ratio_http": median(seconds["http"]) / own,
        "ratio_pickle": median(seconds["pickle"]) / own,
        "gigabytes_per_second": frames.nbytes / own / 1e9,
        "copy_ms": copy_seconds(frames) * 1e3,
        "round_trip_us": median(round_trips) * 1e6,
        "allocations_per_call": blocks,
        "bytes_kept_per_call": kept,
        "peak_bytes_per_call": peak,
        "spread_bridge": spread(seconds["bridge"]),
    }


def copy_seconds(frames: np.ndarray) -> float:
    """One copy of the frames within this process: the least that any way needs that copies once."""
    from benchmarks.common import median, timed

    target = np.empty_like(frames)
    return median(timed(lambda: np.copyto(target, frames), 20))


def main() -> None:
    if any(argument.startswith("--socket") for argument in sys.argv[1:]):
        serve_model(EchoModel)
        return
    from benchmarks.common import parse_args, write

    args: argparse.Namespace = parse_args("bridge")
    write("bridge", measure(args.quick), args.json)


if __name__ == "__main__":
    main()
