"""Calls with arrays to `faulty_model` in a process of its own."""

from pathlib import Path

import numpy as np

from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slots import Layout, SlotCalls

HERE = Path(__file__).parent
LAYOUT = Layout(4, {"x": ((3,), "float32")}, {"y": ((2,), "float32")})
QUICK = {"deadline_s": 20.0, "start_deadline_s": 20.0, "heartbeat_s": 10.0, "backoff_s": 0.01}


def start_model(descriptor, *arguments, started=None):
    """Starts the process; its id is added to `started`."""
    process = SidecarProcess(
        "faulty_model",
        arguments=arguments,
        environment={"PYTHONPATH": str(HERE)},
        descriptors=[descriptor],
    )
    if started is not None:
        started.append(process.pid)
    return process


def open_calls(*arguments, expect=None, started=None, **limits):
    def start(descriptor):
        return start_model(descriptor, "--heartbeat=0.05", *arguments, started=started)

    return SlotCalls(start, lambda spec: LAYOUT, expect=expect, limits=Limits(**(QUICK | limits)))


def ask(calls, value, rows=4, **fields):
    return calls.submit({"x": np.full((rows, 3), value, np.float32)}, fields)


def take(calls, ticket):
    values = calls.outputs(ticket)["y"].copy()
    calls.release(ticket)
    return values


def answer_to(value, rows=4):
    return np.tile(np.float32([3 * value, value]), (rows, 1))
