r"""Distils a teacher into OpenVLA or OpenVLA-OFT while it acts (VLA-OPD), with LoRA, in any suite's environments.

  python -m launch.distill_openvla --checkpoint=runs/one_demo --teacher=runs/expert --output=runs/opd \
      --config.env.name=tabletop:PushCube-v1
  python -m launch.distill_openvla --checkpoint=models/oft-sft --teacher=models/oft-rl --output=... \
      --config.oft=libero-tokens --config.contract=libero_osc --config.phases=reverse_kl:50:2e-6,grpo:150:5e-6 \
      --processes=8
  python -m launch.distill_openvla ... --resume

--checkpoint and --teacher are whole models or adapters of launch.finetune_openvla; adapters of one base share it. Their
bins, chunks and statistics must be the same. `--config.FIELD` changes the settings (see
teachers/openvla/opd/settings.py). It runs in the OpenVLA environment, which --python names if it is not this one, with
rpd_jax and the simulator in it; --processes > 1 start by torchrun, one for each GPU. The output directory gets
metrics.jsonl, checkpoints, and the student's adapter. SIGTERM and Ctrl-C save and stop; `--resume` goes on from there,
given the same arguments.
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
from rpd_jax.config.validation import require
from rpd_jax.envs.registry import check_env
from rpd_jax.ipc.process import environment_for
from rpd_jax.launch.flags import IMPORT, define_settings, run
from rpd_jax.runs.output_directory import check_path
from teachers.openvla.opd.settings import KIND, DistillSettings

MODULE = "teachers.openvla.opd.main"

_CONFIG = define_settings(DistillSettings())
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "The student: a model in the layout of Hugging Face, or an adapter."
)
_TEACHER = flags.DEFINE_string("teacher", "", "Likewise the teacher.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory of the run.")
_RESUME = flags.DEFINE_bool("resume", False, "Go on with the run in --output, if there is one.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run in --output first.")
_PYTHON = flags.DEFINE_string("python", sys.executable, "The interpreter, perhaps of another virtual environment.")
_PROCESSES = flags.DEFINE_integer("processes", 1, "How many, each on a GPU of its own if there are any.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    settings = _CONFIG.value.validate()
    if not _OUTPUT.value:
        raise ConfigError("--output is missing: name the directory of the run")
    for flag in (_CHECKPOINT, _TEACHER):
        files = [Path(flag.value) / name for name in ("config.json", "adapter_config.json")]
        right = "a directory with config.json, or with adapter_config.json"
        require(bool(flag.value) and any(each.is_file() for each in files), f"--{flag.name}", flag.value, right)
    require(settings.groups % _PROCESSES.value == 0, "groups", settings.groups, "a multiple of --processes")
    check_env(settings.env)
    python = shutil.which(_PYTHON.value)
    if python is None:
        raise ConfigError(f"--python={_PYTHON.value!r} cannot work: it must be a program that can be run")
    check_path(Path(_OUTPUT.value), KIND, _RESUME.value, _OVERWRITE.value)
    command = [python]
    if _PROCESSES.value > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={_PROCESSES.value}"]
    command += ["-m", MODULE, *(f"--{flag.name}={flag.value}" for flag in (_CHECKPOINT, _TEACHER, _OUTPUT))]
    command += [f"--settings={json.dumps(settings.to_dict())}"]
    command += [f"--{flag.name}" for flag in (_RESUME, _OVERWRITE) if flag.value]
    command += [f"--import={module}" for module in flags.FLAGS[IMPORT].value or ()]
    # In place of this process: so it has the terminal, and signals reach it.
    os.execve(python, command, environment_for(python, {}))


if __name__ == "__main__":
    run(main)
