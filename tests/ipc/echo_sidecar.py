"""A sidecar for the tests of `rpd_jax.ipc.process`."""

import ctypes
import os
import sys
import time

from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.sidecar import serve


def attach(fields):
    arrays = SharedArrays.attach(fields["descriptor"], fields["table"])
    arrays["y"][...] = arrays["x"] * 2
    return {"names": list(arrays)}


def stuck(fields):
    # Native code that keeps the interpreter lock: no Python thread of this process runs any more.
    ctypes.PyDLL(None).sleep(1000)


def fail(fields):
    raise KeyError("no such thing")


def leave(fields):
    sys.exit(fields["status"])


serve(
    {
        "echo": lambda fields: fields,
        "nap": lambda fields: time.sleep(fields["seconds"]),
        "attach": attach,
        "stuck": stuck,
        "fail": fail,
        "exit": lambda fields: os._exit(3),
        "leave": leave,
        "say": lambda fields: print(fields["text"], file=sys.stderr),
        "huge": lambda fields: {"text": "x" * (2 << 20)},
        "environment": lambda fields: {"value": os.environ.get(fields["name"])},
    }
)
