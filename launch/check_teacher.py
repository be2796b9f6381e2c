"""Compares a teacher's network with golden data: arrays that a reference implementation gave for the same inputs.

  python -m launch.check_teacher --teacher=octo --golden=tests/golden/octo

The comparison is a test, so this works in a checkout of the repository. Prints the largest error of every stage and its
tolerance. Exit status 1 if one is exceeded.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launch.flags import run
from rpd_jax.config import ConfigError

ROOT = Path(__file__).resolve().parents[1]
TESTS = {"octo": "tests/teachers/octo/test_golden.py", "openvla": "tests/teachers/openvla/test_openvla_golden.py"}

_TEACHER = flags.DEFINE_enum("teacher", None, sorted(TESTS), "The network to compare.", required=True)
_GOLDEN = flags.DEFINE_string("golden", None, "Directory of the golden data; the checkout's if not given.")


def main(argv: Sequence[str]) -> int:
    test = TESTS[_TEACHER.value]
    if not (ROOT / test).is_file():
        raise ConfigError(f"{ROOT} has no {test}: run this in a checkout of the repository")
    if importlib.util.find_spec("pytest") is None:
        raise ConfigError("the comparison needs pytest: pip install pytest pytest-timeout")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--no-header", "--tb=line", f"{test}::test_golden_data"]
    if _GOLDEN.value is not None:
        command.append(f"--golden={Path(_GOLDEN.value).resolve()}")
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    run(main)
