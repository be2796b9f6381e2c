"""Writes an export: every program is compared with the student before anything is written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
from absl import logging

from rpd_jax.config.extras import need
from rpd_jax.export.lerobot_policy import CONFIG, DIRECTORY, WEIGHTS, lerobot_files
from rpd_jax.export.lerobot_weights import policy_of
from rpd_jax.export.manifest import Manifest, make_manifest, write_manifest
from rpd_jax.export.parameters import scales
from rpd_jax.runs.files import atomic_path
from rpd_jax.runs.output_directory import Claim, Kind, check_path, remove
from rpd_jax.training.student import Student
from rpd_jax.types import Observation

ONNX, STABLEHLO, TEXT = "student.onnx", "student.stablehlo", "student.mlir"
MANIFEST, RUNNER, GUARDS = "student.json", "runner.py", "safe_student.py"
CODE = (RUNNER, GUARDS)  # copies of files of this folder
KIND = Kind(
    field="output",
    what="an export",
    file=MANIFEST,
    keys=frozenset({"format", "variant", "seed", "files"}),
    entries=(ONNX, STABLEHLO, TEXT, RUNNER, GUARDS, DIRECTORY),
    leftovers=(ONNX, STABLEHLO, TEXT),
)
TOLERANCE = 1e-5  # of actions, whose box is about 1: float32 sums in another order


def export_student(
    student: Student, output: Path | str, *, overwrite: bool = False, text: bool = False, lerobot: bool = False
) -> Manifest:
    """Writes a student as ONNX and StableHLO, with its manifest, a runner and its guards.

    These two need neither JAX nor this library. A policy of the user's own (`network.name`) becomes StableHLO only,
    without them.

    Args:
      student: see `load_student`.
      output: directory for the files; an earlier export's manifest is replaced last.
      overwrite: replace an export that is there.
      text: also write StableHLO as text, which takes about nine bytes for each parameter.
      lerobot: also write a policy for LeRobot and the plugin that it needs, see `export.lerobot_policy`.

    Raises:
      ConfigError: the directory holds something, onnx, onnxruntime or flatbuffers is missing, or LeRobot's plugin has
        no such network.
      ValueError: the network is not known, or an exported program does not act as the student does.
    """
    target = Path(output)
    with Claim(target, KIND, lambda: check_output(target, overwrite)):
        programs = _programs(student, text, lerobot)
        remove(target / DIRECTORY)  # of an earlier export: it would be another student's
        for name in (STABLEHLO, ONNX, TEXT, RUNNER, GUARDS):
            if name not in programs:
                (target / name).unlink(missing_ok=True)  # likewise
        for name, content in programs.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target / name) as temporary:
                temporary.write_bytes(content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in programs.items()}
        manifest = make_manifest(student, hashes)
        write_manifest(target / MANIFEST, manifest)
    return manifest


def check_output(target: Path, overwrite: bool) -> None:
    """Raises ConfigError where `export_student` must not write."""
    check_path(target, KIND, resume=None, overwrite=overwrite)


def check_packages() -> None:
    """Raises ConfigError, saying what to install, unless the packages of the extra are there."""
    need("export", "exporting")


def random_observation(student: Student, batch: int, seed: int = 0) -> Observation:
    """Observations [batch, ...] of the right shapes: around the mean where entries are normalised."""
    rng, known = np.random.default_rng(seed), scales(student.member.normalizer)
    observation: Observation = {}
    for name, array in student.observation.items():
        shape = (batch, *array.shape)
        if array.dtype != "float32":  # frames, or which of the tasks it is
            most = 256 if array.dtype == "uint8" else len(student.spec.instructions)
            observation[name] = rng.integers(0, most, shape, dtype=array.dtype)
            continue
        x = rng.normal(size=shape)
        if name in known:
            x = x * np.asarray(known[name].std)[None] + np.asarray(known[name].mean)[None]
        observation[name] = x.astype(array.dtype)
    return observation


def _programs(student: Student, text: bool, lerobot: bool) -> dict[str, bytes]:
    """Contents of the files by name, in the order in which they are written, compared with the student's own actions.

    LeRobot's policy is compared where torch is installed.
    """
    check_packages()
    import onnxruntime

    from rpd_jax.export import onnx_graph, stablehlo

    exported = stablehlo.export_stablehlo(student)
    programs = {STABLEHLO: stablehlo.serialize(exported)}
    others = {STABLEHLO: stablehlo.load_stablehlo(programs[STABLEHLO])}
    if student.config.network.name == "standard":
        programs[ONNX] = onnx_graph.export_onnx(student).SerializeToString()
        session = onnxruntime.InferenceSession(programs[ONNX], providers=["CPUExecutionProvider"])
        others[ONNX] = lambda observation: session.run(None, observation)[0]
        programs |= {name: Path(__file__).with_name(name).read_bytes() for name in CODE}
    else:
        logging.warning("network.name=%r is not known to ONNX: StableHLO only", student.config.network.name)
    if lerobot:
        programs |= lerobot_files(student)
        if importlib.util.find_spec("torch"):
            others[WEIGHTS] = policy_of(json.loads(programs[CONFIG]), programs[WEIGHTS])
        else:
            logging.warning("torch is not installed: the policy for LeRobot was not compared with the student")
    for batch in (1, 3):
        observation = random_observation(student, batch, seed=batch)
        wanted = np.asarray(student.act(observation))
        for name, other in others.items():
            error = float(np.max(np.abs(np.asarray(other(observation)) - wanted)))
            if not error <= TOLERANCE:
                raise ValueError(f"{name} differs from the student by {error:.2g} in an action: at most {TOLERANCE}")
    if text:
        programs[TEXT] = exported.mlir_module().encode()
    return programs
