"""Looks a checkpoint over, or compares a teacher's network with golden data.

  python -m launch.check_teacher --teacher=openvla --checkpoint=hf://openvla/openvla-7b --statistics_key=bridge_orig
  python -m launch.check_teacher --teacher=openvla --checkpoint=DIR --oft=libero
  python -m launch.check_teacher --teacher=octo --golden=tests/golden/octo

With --checkpoint: files, keys, statistics, image size and needed memory, in this process, without reading a weight and
without torch. Exit status 2 and one line for the first mistake; what else is to be known of it is printed.

Otherwise the golden data are arrays that a reference implementation gave for the same inputs. That comparison is a
test, so it works in a checkout of the repository. Prints the largest error of every stage and its tolerance. Exit
status 1 if one is exceeded.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.config.validation import choice
from rpd_jax.launch.flags import run

ROOT = Path(__file__).resolve().parents[2]
TESTS = {"octo": "tests/teachers/octo/test_golden.py", "openvla": "tests/teachers/openvla/test_openvla_golden.py"}

_TEACHER = flags.DEFINE_enum("teacher", None, sorted(TESTS), "The kind of network.", required=True)
_GOLDEN = flags.DEFINE_string("golden", None, "Directory of the golden data; the checkout's if not given.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Look this one over: a directory, or hf://org/name@revision.")
_BASE = flags.DEFINE_string("base", "", "Likewise the checkpoint that an adapter is added to.")
_OFT = flags.DEFINE_string("oft", "", "What an OpenVLA-OFT checkpoint was trained for, see teacher.oft.")
_KEY = flags.DEFINE_string("statistics_key", "", "The data set in whose units actions are to be.")
_DTYPE = flags.DEFINE_string("dtype", "bf16", "In which OpenVLA is to be served: bf16, f32 or nf4.")


def main(argv: Sequence[str]) -> int:
    if not _CHECKPOINT.value:
        return _compare()
    try:
        directory, lines = _octo() if _TEACHER.value == "octo" else _openvla()
    except ValueError as error:  # ConfigError, CheckpointError
        raise ConfigError(f"--checkpoint={_CHECKPOINT.value!r} cannot be used: {error}") from error
    print("\n  ".join([f"{directory}: its files are whole", *lines, *_serving(directory)]))
    return 0


def _octo() -> tuple[Path, list[str]]:
    from teachers.octo.look import look

    if given := [flag.name for flag in (_BASE, _OFT) if flag.value]:
        raise ConfigError(f"--{given[0]} is of OpenVLA: leave it out")
    return look(_CHECKPOINT.value, _KEY.value)


def _openvla() -> tuple[Path, list[str]]:
    from teachers.hub import local
    from teachers.openvla.server.files import is_complete
    from teachers.openvla.server.look import BYTES, look
    from teachers.openvla.server.oft.settings import oft_settings
    from teachers.serving import read_serving

    choice("--dtype", _DTYPE.value, BYTES)
    oft = oft_settings(_OFT.value) if _OFT.value else None
    path, base = (local(each, is_complete) if each else "" for each in (_CHECKPOINT.value, _BASE.value))
    serving = read_serving(Path(path))
    key = _KEY.value or (serving.statistics_key if serving else "")
    found = look(Path(path), base=base, oft=oft, key=key, dtype=_DTYPE.value)
    lines = [f"{found.parameters:,} parameters; needs {found.weight_bytes / 2**30:.1f} GiB in {_DTYPE.value}, and work"]
    lines += [f"images of {found.config.towers[0].image_size} pixels"]
    lines += [f"reads {', '.join(oft.observation_keys)}; {oft.chunk} actions an answer, by {oft.head}"] if oft else []
    if found.adapter is not None:
        lines += [f"an adapter, added to {found.base}", *(serving.remarks(found.base) if serving else [])]
    return Path(path), lines


def _serving(directory: Path) -> list[str]:
    """What the serving file says."""
    from teachers.serving import read_serving

    serving = read_serving(directory)
    if serving is None:
        return ["no serving file: say crop, frames and contract yourself"]
    crop = "with" if serving.center_crop else "without"
    return [f"fine-tuned for {serving.steps} of {serving.planned} steps from {serving.base or 'nothing'}; {crop} crop"]


def _compare() -> int:
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
