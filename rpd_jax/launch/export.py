"""Writes one student of a run as ONNX and StableHLO, with a runner that needs only numpy and onnxruntime.

  python -m launch.export --run=runs/ee --variant=rpd-mse --seed=0
  python runs/ee/export/rpd-mse-0/runner.py --measure

Everything goes into the directory `export/VARIANT-SEED` of the run unless --output says otherwise: student.onnx,
student.stablehlo (read by `jax.export.deserialize`), student.json (what it sees, in which order and unit; what its
actions mean), runner.py, and safe_student.py, guards for a robot (docs/robot.md). With --lerobot also lerobot/policy, a
policy for LeRobot, and lerobot/plugin, which pip installs beside LeRobot. Needs pip install 'rpd_jax[export]'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.export.files import MANIFEST, check_output, check_packages, export_student
from rpd_jax.launch.flags import run
from rpd_jax.students import results_directory
from rpd_jax.training.student import load_student

_RUN = flags.DEFINE_string("run", "", "Run directory.")
_VARIANT = flags.DEFINE_string("variant", "", "Name of the student's variant; empty: the only one.")
_SEED = flags.DEFINE_integer("seed", None, "The student's seed; none given: the only one.")
_ITERATION = flags.DEFINE_integer("iteration", None, "Of the checkpoint; none given: the newest.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory for the files.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an export that is there.")
_LEROBOT = flags.DEFINE_bool("lerobot", False, "Also write a policy for LeRobot, and the plugin that it needs.")
_TEXT = flags.DEFINE_bool("text", False, "Also write StableHLO as text, student.mlir.")


def main(argv: Sequence[str]) -> None:
    if not _RUN.value:
        raise ConfigError("--run is missing: name the directory of a run")
    check_packages()
    if _OUTPUT.value:  # before a simulator is started
        check_output(Path(_OUTPUT.value), _OVERWRITE.value)
    student = load_student(_RUN.value, _VARIANT.value, _SEED.value, iteration=_ITERATION.value)
    output = Path(_OUTPUT.value or results_directory(_RUN.value, f"export/{student.variant}-{student.seed}"))
    manifest = export_student(student, output, overwrite=_OVERWRITE.value, text=_TEXT.value, lerobot=_LEROBOT.value)
    show(output, manifest.env, student.variant, student.seed)


def show(output: Path, env: str, variant: str, seed: int) -> None:
    print(f"{variant}/{seed} of {env}:")
    for file in sorted(output.rglob("*")):
        if file.is_file():
            print(f"  {file.relative_to(output)!s:20} {file.stat().st_size:>12,} bytes")
    digest = hashlib.sha256((output / MANIFEST).read_bytes()).hexdigest()
    print(f"SHA-256 of {MANIFEST}, which names those of the others: {digest}")
    print(f"try: python {output / 'runner.py'} --measure")


if __name__ == "__main__":
    run(main)
