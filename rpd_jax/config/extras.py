"""The optional packages: what each extra is for, and one line for who lacks it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import NamedTuple

from rpd_jax.config.errors import ConfigError


class Extra(NamedTuple):
    """What `pip install 'rpd_jax[NAME]'` brings."""

    modules: tuple[str, ...]
    purpose: str
    before: tuple[int, int] | None = None  # it cannot be installed under this Python or a newer one


EXTRAS: Mapping[str, Extra] = {
    "maniskill": Extra(("mani_skill", "torch"), "ManiSkill's tasks, env.name=maniskill:TASK", before=(3, 13)),
    "cuda13": Extra(("jax_cuda13_plugin", "mujoco.mjx"), "NVIDIA GPUs, and tabletop's physics on them"),
    "cuda12": Extra(("jax_cuda12_plugin", "mujoco.mjx"), "NVIDIA GPUs under a driver of CUDA 12, otherwise as cuda13"),
    "mjx": Extra(("mujoco.mjx",), "tabletop's physics in JAX, env.physics=mjx"),
    "hub": Extra(("huggingface_hub",), "the Hugging Face hub: push, pull, checkpoints by hf://org/name"),
    "openvla": Extra(("accelerate", "peft", "safetensors", "torch", "transformers"), "OpenVLA in this environment"),
    "openpi": Extra(("websockets",), "teachers behind openpi's policy server"),
    "vlagents": Extra(("rpyc",), "teachers behind vlagents' policy server"),
    "ray": Extra(("ray",), "teachers on the nodes of a Ray cluster"),
    "finetune": Extra(("grain",), "fine-tuning Octo"),
    "lerobot": Extra(("av", "pyarrow"), "data sets in LeRobot's format"),
    "rlds": Extra(("tfrecord",), "data sets in RLDS"),
    "export": Extra(("flatbuffers", "onnx", "onnxruntime"), "students as ONNX"),
    "wandb": Extra(("wandb",), "Weights & Biases, run.wandb_project"),
    "parity": Extra(("stable_baselines3",), "comparing PPO with Stable-Baselines3, benchmarks.ppo_parity"),
}


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed; none of them is imported."""
    return [module for module in EXTRAS[extra].modules if not _is_there(module)]


def need(extra: str, what: str) -> None:
    """Raises ConfigError with the way to an extra, unless it is there; `what` needs it."""
    if absent := missing(extra):
        raise ConfigError(f"{what} needs {' and '.join(absent)}: {how_to_get(extra)}")


def how_to_get(extra: str) -> str:
    """The command that installs an extra, or which Python to take for it."""
    return unavailable(extra) or f"pip install 'rpd_jax[{extra}]'"


def unavailable(extra: str) -> str:
    """Why an extra cannot be installed under this Python; "" where it can, or is there all the same."""
    before = EXTRAS[extra].before
    if before is None or sys.version_info < before or not missing(extra):
        return ""
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"a package that it needs has no release for Python {ours}, take {before[0]}.{before[1] - 1} or older"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing, or it was made unimportable
        return False
