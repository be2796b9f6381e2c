"""Says what this machine has for a run, what is optional, and what to do about what is wrong.

  python -m launch.doctor
  python -m launch.doctor --directory=runs --json=doctor.json

Takes about twenty seconds. Exit status 0 if everything needed is there, 1 if not.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from rpd_jax import runtime
from rpd_jax.launch import help
from rpd_jax.launch.checks import Check, all_looks, extras
from rpd_jax.runs.files import write_json

_DIRECTORY = flags.DEFINE_string("directory", "runs", "Where runs will be written.")
_JSON = flags.DEFINE_string("json", None, "Also write the outcome to this file.")


def describe(check: Check) -> str:
    """A line for the check, and below it what to do if it failed."""
    state = "ok" if check.ok else "FAILED" if check.needed else "optional"
    line = f"{state:10}{check.name:16}{check.detail}"
    if check.ok or not check.advice:
        return line
    return f"{line}\n{textwrap.indent('what to do: ' + check.advice, ' ' * 10)}"


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    runtime.configure()
    done = []
    for check in itertools.chain((look.take() for look in all_looks(Path(_DIRECTORY.value))), extras()):
        done.append(check)
        print(describe(check), flush=True)
    failed = [check.name for check in done if check.needed and not check.ok]
    if _JSON.value:
        write_json(_JSON.value, {"ok": not failed, "checks": [dataclasses.asdict(check) for check in done]})
    if failed:
        sys.exit(f"needs attention: {', '.join(failed)}")
    print("everything needed is here")


if __name__ == "__main__":
    if help.asked(sys.argv[1:]):
        help.show(help.text())
    else:
        app.run(main)  # not `flags.run`, which imports JAX: that may be what is wrong
