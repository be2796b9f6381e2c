"""The process that fine-tunes OpenVLA; `launch.finetune_openvla` starts it.

python -m teachers.openvla.finetune.main --checkpoint=DIR --data=DIR --output=DIR --settings=JSON [--resume]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, logging

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.interrupt import exit_status
from teachers.conventions import CONTRACT_FILE
from teachers.openvla.finetune.settings import FinetuneSettings


def main(arguments: Sequence[str]) -> int:
    """Exit status 2 after a mistake of the user, which is one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(arguments)
    logging.set_verbosity(logging.INFO)
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        print(f"error: {error}: fine-tuning needs pip install -r teachers/openvla/requirements.txt", file=sys.stderr)
        return 2
    except ValueError as error:  # ConfigError, and what checkpoints and data files raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    """Returns the exit status."""
    from rpd_jax.demonstrations.sets import open_demonstrations

    settings = FinetuneSettings.from_dict(json.loads(options.settings))
    with contextlib.ExitStack() as stack:
        sources = []
        for path in options.data:
            try:
                sources.append(stack.enter_context(open_demonstrations(path)))
            except ValueError as error:
                raise ConfigError(f"--data={path!r} cannot be read: {error}") from error
        from teachers.openvla.finetune.train import finetune  # torch and PEFT, which take seconds

        switches = {"resume": options.resume, "overwrite": options.overwrite}
        result = finetune(options.checkpoint, sources, settings, options.output, **switches)
    if result.signal is not None:
        logging.info("stopped at step %d and saved in %s: --resume goes on", result.step, result.directory)
        return exit_status(result.signal)
    names = ("train/loss", "train/action_accuracy", "validation/loss", "validation/action_accuracy")
    last = [f"{name} {result.history[-1][name]:.4g}" for name in names if name in result.history[-1]]
    print(f"{result.directory}: {result.step} steps  " + "  ".join(last))
    contract = "" if (Path(options.output) / CONTRACT_FILE).exists() else " --config.teacher.contract=..."
    print(f"rpd-jax train --config.teacher.name=openvla --config.teacher.path={result.directory}{contract}")
    return 0


if __name__ == "__main__":
    app.run(lambda _: main(sys.argv[1:]), argv=sys.argv[:1])
