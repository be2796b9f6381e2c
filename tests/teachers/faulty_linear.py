"""The linear stand-in with faults, for the tests of `teachers.sidecar`: an instruction "fault:KIND" is one.

"add:0.1" adds so much to the actions of its own rows.

--once=FILE: only the first fault happens (the file remembers). --action-dim: see LinearModel.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from teachers.sidecar.linear import LinearModel
from teachers.sidecar.server import instructions_of, serve_model


class FaultyLinear(LinearModel):
    def __init__(self, once, **options):
        super().__init__(**options)
        self.once = once

    def label(self, arrays, fields):
        answer = super().label(arrays, fields)
        texts = instructions_of(fields)
        kind, _, argument = texts[0].partition(":")
        added = [float(text.removeprefix("add:")) if text.startswith("add:") else 0.0 for text in texts]
        answer["action"] += np.array(added)[:, None]
        if kind == "sleep":
            time.sleep(float(argument))
        if kind != "fault" or (self.once is not None and self.once.exists()):
            return answer
        if self.once is not None:
            self.once.touch()
        if argument == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if argument == "nan":
            answer["action"][1] = np.nan
        if argument == "inf":
            answer["action"][1, 3] = -np.inf
        if argument == "std":
            answer["std"][1, 6] = 0
        if argument == "exit":
            sys.exit(3)
        if argument == "escape":
            raise RuntimeError("two \x1b[31m\nlines")
        if argument == "invalid":
            answer["valid"][1] = False
        if argument == "shape":
            answer["action"] = answer["action"][:, :-1]
        return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", type=Path, default=None)
    parser.add_argument("--action-dim", type=int, default=7)
    parser.add_argument("--noise", type=float, default=0.2)
    options, _ = parser.parse_known_args()
    serve_model(lambda: FaultyLinear(options.once, action_dim=options.action_dim, noise=options.noise))
