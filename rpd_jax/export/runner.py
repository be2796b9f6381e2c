"""Runs the student in this directory; needs numpy and onnxruntime, nothing else.

python runner.py             what it sees and what its actions mean
python runner.py --measure   steps per second, one observation at a time, on one core
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime


class Student:
    """Acts by student.onnx and student.json of a directory, by default this file's."""

    def __init__(self, directory=None, threads=1):
        directory = Path(directory or Path(__file__).parent)
        self.manifest = json.loads((directory / "student.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        file = str(directory / "student.onnx")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def act(self, observation):
        """The action [A] for entries as the environment gives them, or [B, A] for entries with a batch axis."""
        inputs, batched = {}, set()
        for name, entry in self.manifest["observation"].items():
            if name not in observation:
                raise ValueError(f"the observation lacks {name!r}: it has {sorted(observation)}")
            x, shape = np.asarray(observation[name]), tuple(entry["shape"])
            if x.shape[-len(shape) :] != shape or x.ndim - len(shape) not in (0, 1):
                raise ValueError(f"{name} has shape {x.shape}: it must be {shape}, or that with a batch axis in front")
            if not np.can_cast(x.dtype, entry["dtype"], "same_kind"):  # frames of floats would be scaled wrongly
                raise ValueError(f"{name} is {x.dtype}: it must be {entry['dtype']}")
            batched.add(x.ndim > len(shape))
            inputs[name] = x.astype(entry["dtype"], copy=False).reshape(-1, *shape)
        if len(batched) > 1:
            raise ValueError("some entries have a batch axis and some have none")
        (action,) = self._session.run(None, inputs)
        return action if batched == {True} else action[0]

    def measure(self, seconds=2.0):
        """Steps per second over so many seconds, on random observations without a batch axis."""
        rng, observation = np.random.default_rng(0), {}
        for name, entry in self.manifest["observation"].items():
            observation[name] = (255 * rng.random(entry["shape"])).astype(entry["dtype"])
        steps, end = 0, time.perf_counter() + 0.1
        while time.perf_counter() < end:  # warm up
            self.act(observation)
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            self.act(observation)
            steps += 1
        return steps / elapsed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="print steps per second")
    arguments, student = parser.parse_args(), Student()
    if arguments.measure:
        hz = student.manifest["control_hz"]
        print(f"{student.measure():.0f} steps per second; control at {f'{hz:g} Hz' if hz else 'an unknown rate'}")
    else:
        print(json.dumps({key: student.manifest[key] for key in ("env", "variant", "observation", "action")}, indent=2))
