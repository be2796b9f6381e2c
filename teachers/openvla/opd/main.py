"""The process that distils; `launch.distill_openvla` starts it, or torchrun several of them.

python -m teachers.openvla.opd.main --checkpoint=DIR --teacher=DIR --output=DIR --settings=JSON [--resume]
    [--import=MODULE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

from absl import app, logging

from rpd_jax import runtime
from rpd_jax.runs.interrupt import exit_status
from teachers.openvla.opd.settings import DistillSettings


def main(arguments: Sequence[str]) -> int:
    """Exit status 2 after a mistake of the user, which is one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--import", action="append", default=[], dest="modules")
    options = parser.parse_args(arguments)
    logging.set_verbosity(logging.INFO if _is_first() else logging.WARNING)
    os.environ["JAX_PLATFORMS"] = "cpu"  # JAX steps environments here; the GPU is torch's
    runtime.configure()
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        print(f"error: {error}: distillation needs pip install -r teachers/openvla/requirements.txt", file=sys.stderr)
        return 2
    except ValueError as error:  # ConfigError, and what checkpoints raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _is_first() -> bool:
    """Whether this is the process that speaks, by torchrun's numbers."""
    return os.environ.get("RANK", "0") == "0"


def _run(options: argparse.Namespace) -> int:
    """Returns the exit status."""
    for module in options.modules:
        importlib.import_module(module)
    from teachers.openvla.opd.distill import distill  # torch, PEFT and JAX, which take seconds

    settings = DistillSettings.from_dict(json.loads(options.settings))
    switches = {"resume": options.resume, "overwrite": options.overwrite}
    result = distill(options.checkpoint, options.teacher, settings, options.output, **switches)
    if result.signal is not None:
        logging.info("stopped at iteration %d and saved in %s: --resume goes on", result.step, result.directory)
        return exit_status(result.signal)
    if _is_first():
        names = ("train/success", "train/reverse_kl", "validation/success")
        last = [f"{name} {result.history[-1][name]:.4g}" for name in names if name in result.history[-1]]
        print(f"{result.directory}: {result.step} iterations  " + "  ".join(last))
        oft = f" --config.teacher.oft={settings.oft}" if settings.oft else ""
        print(f"rpd-jax train --config.teacher.name=openvla --config.teacher.path={result.directory}{oft}")
    return 0


if __name__ == "__main__":
    app.run(lambda _: main(sys.argv[1:]), argv=sys.argv[:1])
