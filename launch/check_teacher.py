"""Compares a teacher's network with golden data: arrays that a reference implementation gave for the same inputs.

  python -m launch.check_teacher --teacher=octo --golden=tests/golden/octo

Prints the largest error of every stage and its tolerance. Exit status 1 if one is exceeded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from launch.flags import run

CHECKS = {
    "octo": "teachers.octo.golden:check",
    "openvla": "teachers.openvla.golden:check",
}
"""Teacher -> "module:function"; the function takes a golden directory and gives a list of `Difference`."""

_TEACHER = flags.DEFINE_enum("teacher", None, sorted(CHECKS), "Whose network.", required=True)
_GOLDEN = flags.DEFINE_string("golden", None, "Directory of the golden data.", required=True)
_VERBOSE = flags.DEFINE_bool("all", False, "Print every array, not only the worst of each stage.")


def main(argv: Sequence[str]) -> int:
    from teachers.comparison import worst_by_stage

    module, _, function = CHECKS[_TEACHER.value].partition(":")
    try:
        found = getattr(importlib.import_module(module), function)(Path(_GOLDEN.value))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for each in found if _VERBOSE.value else worst_by_stage(found):
        state = "ok" if each.ok else "FAILED"
        print(f"{state:8}{each.stage:16}{each.error:10.2e} of {each.tolerance:7.1e}  {each.where}")
    failed = [each for each in found if not each.ok]
    print(f"{len(found)} arrays compared, {len(failed)} beyond tolerance")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    run(main)
