"""Fine-tunes Octo on recorded demonstrations, or trains a small one from nothing.

  python -m launch.finetune_octo --checkpoint=hf://rail-berkeley/octo-small-1.5 --data=demos/pick --output=runs/octo
  python -m launch.finetune_octo --init=nano --data=demos/pick --data=demos/push --output=runs/nano \
      --config.steps=3000 --config.data.batch_size=64 --config.optimizer.warmup_steps=200
  python -m launch.finetune_octo ... --resume

The defaults are the official recipe; `--config.FIELD` changes them (see teachers/octo/finetune/settings.py). The output
directory gets metrics.jsonl and checkpoints, and at the end an official checkpoint: a teacher for
`launch.train --config.teacher.name=octo --config.teacher.path=OUTPUT`. SIGTERM and Ctrl-C save and stop; `--resume`
goes on from there, given the same arguments.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from rpd_jax.config import ConfigError, choice
from rpd_jax.config.extras import need
from rpd_jax.launch.flag_groups import define_finetuning
from rpd_jax.launch.flags import define_settings, run
from rpd_jax.launch.program import to_go_on
from rpd_jax.runs.interrupt import exit_status
from teachers.octo.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from rpd_jax.demonstrations.sets import DemonstrationSet
    from teachers.octo.model import Octo

_CONFIG = define_settings(FinetuneSettings())
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Model to fine-tune: a directory, or hf://org/name@revision.")
_STEP = flags.DEFINE_integer("step", None, "Which parameters of --checkpoint; by default the latest.")
_INIT = flags.DEFINE_string("init", "", "Train a model from nothing instead: nano.")
_MODEL_CONFIG = flags.DEFINE_string("model_config", "", "Or one of this official configuration, a JSON file.")
_RUN = define_finetuning()


def main(argv: Sequence[str]) -> int:
    settings = _CONFIG.value.validate()
    _RUN.check()
    need("finetune", "fine-tuning")
    from teachers.octo.finetune.train import finetune

    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(_open(path)) for path in _RUN.data.value]
        result = finetune(
            _model(), sources, settings, _RUN.output.value, resume=_RUN.resume.value, overwrite=_RUN.overwrite.value
        )
    if result.signal is not None:
        logging.info("stopped at step %d and saved in %s; %s", result.octo.step, result.directory, to_go_on())
        return exit_status(result.signal)
    last = {name: f"{value:.4g}" for name, value in result.history[-1].items() if name.endswith("/loss")}
    print(f"{result.directory}: {result.octo.step} steps  " + "  ".join(f"{k} {v}" for k, v in last.items()))
    return 0


def _model() -> Octo | dict[str, Any] | None:
    """What `finetune` begins with."""
    given = [f"--{flag.name}" for flag in (_CHECKPOINT, _INIT, _MODEL_CONFIG) if flag.value]
    if len(given) != 1:
        raise ConfigError(f"give one of --checkpoint, --init and --model_config: {given or 'none'} cannot work")
    if _INIT.value:
        choice("--init", _INIT.value, ("nano",))
        return None
    if _MODEL_CONFIG.value:
        return _read_config(Path(_MODEL_CONFIG.value))
    from rpd_jax.runs.checkpoint import CheckpointError
    from teachers.octo.model import load_octo

    try:
        return load_octo(_CHECKPOINT.value, _STEP.value)
    except CheckpointError:
        raise
    except ValueError as error:
        raise ConfigError(f"--checkpoint={_CHECKPOINT.value!r} cannot be used: {error}") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--model_config={str(path)!r} cannot be read: {error}") from error
    if not isinstance(config, dict) or "model" not in config:
        raise ConfigError(f"--model_config={str(path)!r} is no official configuration: it has no entry 'model'")
    return config


def _open(path: str) -> DemonstrationSet:
    from rpd_jax.demonstrations.sets import open_demonstrations

    try:
        return open_demonstrations(path)
    except ValueError as error:
        raise ConfigError(f"--data={path!r} cannot be read: {error}") from error


if __name__ == "__main__":
    run(main)
