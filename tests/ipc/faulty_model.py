"""A model for the tests of `rpd_jax.ipc.slots`, that can be told to fail.

Command line: --fault=KIND fails at every request whose field "fail" is true, with --once=FILE only the first time
(the file remembers). --spec=KEY=VALUE changes what the model says of itself.
"""

import argparse
import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np

from rpd_jax.ipc import messages, slots
from rpd_jax.ipc.slot_server import serve_model


class FaultyModel:
    def __init__(self, options):
        self.options = options

    def spec(self):
        return {
            "name": self.options.name,
            "action_dim": 2,
            "inputs": {"x": {"shape": [None], "dtype": "float32"}},
            "outputs": {"y": {"shape": [2], "dtype": "float32"}},
        }

    def label(self, arrays, fields):
        x = arrays["x"]
        time.sleep(fields.get("seconds", 0))
        if fields.get("fail") and self.first_time():
            return getattr(self, self.options.fault)(x)
        return {"y": np.stack([x.sum(-1), x[:, 0]], -1) * fields.get("factor", 1)}

    def first_time(self):
        path = self.options.once
        if path is None:
            return True
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def crash(self, x):
        print("about to crash", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self, x):
        time.sleep(1000)  # heartbeats go on

    def stuck(self, x):
        ctypes.PyDLL(None).sleep(1000)  # with the interpreter lock: no heartbeats

    def shape(self, x):
        return {"y": np.zeros((len(x), 3), np.float32)}

    def names(self, x):
        return {"z": np.zeros((len(x), 2), np.float32)}

    def fail(self, x):
        raise KeyError("no such thing")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="crash")
    parser.add_argument("--once", type=Path, default=None)
    parser.add_argument("--name", default="faulty")
    parser.add_argument("--message-version", type=int, default=messages.PROTOCOL_VERSION)
    parser.add_argument("--slot-version", type=int, default=slots.SLOT_PROTOCOL)
    options, _ = parser.parse_known_args()
    messages.PROTOCOL_VERSION = options.message_version
    from rpd_jax.ipc import slot_server

    slot_server.SLOT_PROTOCOL = options.slot_version
    serve_model(lambda: FaultyModel(options))
