"""Runs the student in this directory; needs numpy and onnxruntime, nothing else.

    from runner import Student
    from safe_student import SafeStudent

    student = SafeStudent(Student(), max_rate={"translation": 0.25})    # m/s; see safe_student.py

python runner.py             what it sees and what its actions mean, field by field: unit, frame, range, rate
python runner.py --measure   steps per second, one observation at a time, on one core

Units are metres, radians and seconds, quaternions (w, x, y, z). student.json says of every field of the observation its
unit, the frame of its axes ("axes" says where frames lie) and the range that it must keep; of every field of the action
what 1 stands for ("scale", in "unit"), its frame, and whether it is a "delta" (0 is to stay) or "absolute" (a target).
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime

FORMAT = 2
ONNX = "student.onnx"


class Student:
    """Acts by student.onnx and student.json of a directory, by default this file's; nothing is guarded.

    `sha256` is that of student.json, as the export prints it. Raises ValueError unless all files are those exported.
    """

    def __init__(self, directory=None, threads=1, sha256=None):
        directory = Path(directory or Path(__file__).parent)
        described = (directory / "student.json").read_bytes()
        if sha256 is not None and hashlib.sha256(described).hexdigest() != sha256:
            raise ValueError(f"{directory / 'student.json'} is not the file whose SHA-256 is {sha256}")
        self.manifest = json.loads(described)
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"student.json has format {self.manifest.get('format')!r}: this runner reads {FORMAT}")
        content = {}
        for name, digest in self.manifest["files"].items():
            if name == ONNX or (directory / name).exists():  # the others are not needed here
                content[name] = (directory / name).read_bytes()
                if hashlib.sha256(content[name]).hexdigest() != digest:
                    raise ValueError(f"{directory / name} is not the file that was exported: its SHA-256 differs")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        # what was verified, not the file again
        self._session = onnxruntime.InferenceSession(content[ONNX], options, providers=["CPUExecutionProvider"])

    def act(self, observation):
        """The action [A] for entries as the environment gives them, or [B, A] for entries with a batch axis."""
        inputs, batched = {}, set()
        for name, entry in self.manifest["observation"].items():
            if name not in observation:
                raise ValueError(f"the observation lacks {name!r}: it has {sorted(observation)}")
            x, shape = self.entry(name, observation[name]), tuple(entry["shape"])
            batched.add(x.ndim > len(shape))
            inputs[name] = x.reshape(-1, *shape)
        if len(batched) > 1:
            raise ValueError("some entries have a batch axis and some have none")
        (action,) = self._session.run(None, inputs)
        return action if batched == {True} else action[0]

    def entry(self, name, x):
        """An entry as an array of its type; ValueError where it does not fit."""
        entry = self.manifest["observation"][name]
        x, shape = np.asarray(x), tuple(entry["shape"])
        if x.shape[max(0, x.ndim - len(shape)) :] != shape or x.ndim - len(shape) not in (0, 1):
            raise ValueError(f"{name} has shape {x.shape}: it must be {shape}, or that with a batch axis in front")
        if not np.can_cast(x.dtype, entry["dtype"], "same_kind"):  # frames of floats would be scaled wrongly
            raise ValueError(f"{name} is {x.dtype}: it must be {entry['dtype']}")
        return x.astype(entry["dtype"], copy=False)

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


def end_effector(layout, tcp_pose, width, objects, goals):
    """The entry "ee" [D] from poses in the frame "world".

    Args:
      layout: `manifest["observation"]["ee"]["layout"]`.
      tcp_pose: [7] of the tool centre point: metres, quaternion (w, x, y, z).
      width: metres between the fingers.
      objects: name -> pose [7], as in the layout ("obj_pose" where that has "obj_pose_position").
      goals: name -> position [3].
    """
    tcp, first = np.asarray(tcp_pose, float), next(iter(objects))
    parts = {"tcp_pos": tcp[:3], "tcp_rotation": _columns(tcp[3:]), "width": np.array([width], float)}
    for name, pose in objects.items():
        pose = np.asarray(pose, float)
        parts |= {f"{name}_position": pose[:3], f"{name}_rotation": _columns(pose[3:])}
        parts[f"tcp_to_{name}"] = pose[:3] - tcp[:3]
    for name, position in goals.items():
        parts |= {name: np.asarray(position, float)}
        parts[f"{first}_to_{name}"] = parts[name] - parts[f"{first}_position"]
    if set(parts) != set(layout):
        raise ValueError(f"the student sees {sorted(layout)}, not {sorted(parts)}")
    return np.concatenate([parts[name] for name in sorted(layout, key=lambda p: layout[p]["start"])]).astype(np.float32)


def _columns(quaternion):
    """The first two columns [6] of the rotation matrix of a unit quaternion [4]."""
    w, x, y, z = quaternion
    return np.array(
        [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
         2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    )  # fmt: skip


def describe(manifest):
    """The fields as lines of text."""
    lines = [f"{manifest['env']}: {manifest['instruction']} ({manifest['variant']}, seed {manifest['seed']})"]
    for name, entry in manifest["observation"].items():
        lines.append(f"\nobservation {name!r} {entry['shape']} {entry['dtype']}")
        for part, where in entry["layout"].items():
            span = slice(where["start"], where["stop"])
            bounds = [x for x in (*entry["low"][span], *entry["high"][span]) if x is not None]
            within = f"{min(bounds):.3g} to {max(bounds):.3g}" if bounds else "any"
            lines.append(_row(part, where, where["unit"], where["frame"], within))
    lines.append(f"\naction {manifest['action']['shape']}")
    for name, field in manifest["action"]["fields"].items():
        unit = f"{field['scale']:g} {field['unit']}" if field["kind"] == "delta" else field["unit"]
        rate = "any rate" if field["max_rate"] is None else f"at most {field['max_rate']:.3g} a second"
        lines.append(_row(name, field, unit, field["frame"], f"{field['kind']}, {rate}"))
    lines += ["", *(f"{name}: {text}" for name, text in manifest["axes"].items())]
    hz, guards = manifest["control_hz"], manifest["guards"]
    lines.append(f"\ncontrol at {hz:g} Hz" if hz else "\ncontrol at an unknown rate")
    lines.append(f"fallback {guards['fallback']}, observations at most {guards['max_age_s']} s old")
    return "\n".join(lines)


def _row(name, field, *columns):
    unit, frame, rest = (str(x) if x else "-" for x in columns)
    return f"  {name:28} {field['start']:3}:{field['stop']:<3} {unit:44} {frame:7} {rest}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="print steps per second")
    arguments, student = parser.parse_args(), Student()
    if arguments.measure:
        hz = student.manifest["control_hz"]
        print(f"{student.measure():.0f} steps per second; control at {f'{hz:g} Hz' if hz else 'an unknown rate'}")
    else:
        print(describe(student.manifest))
