r"""Fine-tunes OpenVLA on recorded demonstrations, with LoRA.

  python -m launch.finetune_openvla --checkpoint=models/openvla-7b --data=demos/pick --output=runs/openvla
  python -m launch.finetune_openvla --checkpoint=... --data=demos/pick --data=demos/push --output=... \
      --config.steps=5000 --config.data.batch_size=16 --config.accumulation=4 --config.gradient_checkpointing
  python -m launch.finetune_openvla ... --resume

The defaults are the official recipe; `--config.FIELD` changes them (see teachers/openvla/finetune/settings.py). It runs
in a process of the OpenVLA environment, which --python names if it is not this one. The output directory gets
metrics.jsonl, checkpoints, and the adapter with its statistics: a teacher for
`launch.train --config.teacher.name=openvla --config.teacher.path=OUTPUT`. SIGTERM and Ctrl-C save and stop; `--resume`
goes on from there, given the same arguments.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.ipc.process import environment_for
from rpd_jax.launch.flag_groups import define_finetuning
from rpd_jax.launch.flags import define_settings, run
from rpd_jax.runs.output_directory import check_path
from teachers.finetuning.settings import KIND
from teachers.hub import local
from teachers.openvla.finetune.settings import FinetuneSettings
from teachers.openvla.server.files import is_complete

MODULE = "teachers.openvla.finetune.main"

_CONFIG = define_settings(FinetuneSettings())
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Model to fine-tune: a directory, or hf://org/name@revision.")
_RUN = define_finetuning()
_PYTHON = flags.DEFINE_string("python", sys.executable, "The interpreter, perhaps of another virtual environment.")


def main(argv: Sequence[str]) -> None:
    settings = _CONFIG.value.validate()
    _RUN.check()
    checkpoint = local(_CHECKPOINT.value, is_complete)
    if not (checkpoint / "config.json").is_file():
        raise ConfigError(f"--checkpoint={_CHECKPOINT.value!r} cannot be used: it must be a directory with config.json")
    python = shutil.which(_PYTHON.value)
    if python is None:
        raise ConfigError(f"--python={_PYTHON.value!r} cannot work: it must be a program that can be run")
    check_path(Path(_RUN.output.value), KIND, _RUN.resume.value, _RUN.overwrite.value)
    command = [python, "-m", MODULE, f"--checkpoint={checkpoint}", f"--output={_RUN.output.value}"]
    command += [f"--data={path}" for path in _RUN.data.value]
    command += [f"--settings={json.dumps(settings.to_dict())}"]
    command += [f"--{flag.name}" for flag in (_RUN.resume, _RUN.overwrite) if flag.value]
    # In place of this process: so it has the terminal, and signals reach it.
    os.execve(python, command, environment_for(python, {}))


if __name__ == "__main__":
    run(main)
