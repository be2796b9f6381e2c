"""A student as a directory that LeRobot loads, and the plugin that it needs for that (LeRobot 0.6).

LeRobot finds a policy's classes by the "type" in its config.json, among those that installed packages called
`lerobot_policy_*` register. The directory holds no code; the plugin is one for all students.

Names end with ".pos", and with ".vel" for a step's deltas: LeRobot hands nothing else of a robot's numbers to a policy.
It tells numbers by their places: a robot must have them in the order of these names.

Source: https://huggingface.co/docs/lerobot/bring_your_own_policies, and lerobot 0.6.1.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import rpd_jax
from rpd_jax.config.env import is_frames
from rpd_jax.config.validation import require
from rpd_jax.demonstrations.episode import camera_name
from rpd_jax.demonstrations.lerobot_features import IMAGES, STATE, action_names, dimension_names
from rpd_jax.export.fields import units_of
from rpd_jax.export.lerobot_weights import MODULE, safetensors, weights_of
from rpd_jax.export.manifest import Manifest, make_manifest
from rpd_jax.export.runner import describe
from rpd_jax.training.student import Student

DIRECTORY = "lerobot"
POLICY, PLUGIN, PACKAGE = f"{DIRECTORY}/policy", f"{DIRECTORY}/plugin", "lerobot_policy_rpd_jax"
CONFIG, WEIGHTS = f"{POLICY}/config.json", f"{POLICY}/model.safetensors"
FORMAT = 1  # of config.json, see `lerobot_plugin.configuration_rpd_jax`
_SOURCES = ("configuration_rpd_jax.py", "modeling_rpd_jax.py", "network.py", "processor_rpd_jax.py")
_DEVICE: dict[str, Any] = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
_PIPELINES: dict[str, list[dict[str, Any]]] = {
    "policy_preprocessor": [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        _DEVICE,
    ],
    "policy_postprocessor": [_DEVICE],
}
_INIT = '''"""Students that rpd_jax exported, as policies of LeRobot; to import this package is to register them."""

from .configuration_rpd_jax import RpdJaxConfig as RpdJaxConfig
'''
# LeRobot finds plugins by the name of the distribution as it is written here, and imports what is called the same.
_PYPROJECT = f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{PACKAGE}"
version = "{rpd_jax.__version__}"
description = "Runs students of rpd_jax in LeRobot"
requires-python = ">=3.12"
license = "Apache-2.0"
dependencies = ["lerobot>=0.6"]

[tool.setuptools]
packages = ["{PACKAGE}"]
"""
_README = """---
library_name: lerobot
pipeline_tag: robotics
---

A policy for LeRobot (0.6), exported by rpd_jax {version}. It needs the plugin `{package}`, which lies
beside it in the export; this directory holds no code. Units are metres, radians and seconds, quaternions (w, x, y, z).
Ranges, rates and the fallback are those of the export's own guards, which LeRobot does not have.

```
{fields}
```
"""


def lerobot_files(student: Student) -> dict[str, bytes]:
    """Contents by path: `POLICY` is for LeRobot's `--policy.path`, `PLUGIN` for pip.

    Raises:
      ConfigError: the network is not one that the plugin has.
    """
    name = student.config.network.name
    require(name == "standard", "network.name", name, "'standard' to become a policy of LeRobot: MLP and NatureCNN do")
    manifest = make_manifest(student, {})
    weights = {MODULE + name: x for name, x in weights_of(student).items()}
    fields = describe(dataclasses.asdict(manifest))
    readme = _README.format(version=rpd_jax.__version__, package=PACKAGE, fields=fields)
    return {
        CONFIG: _json(config_of(student, manifest)),
        WEIGHTS: safetensors(weights),
        **{f"{POLICY}/{name}.json": _json({"name": name, "steps": steps}) for name, steps in _PIPELINES.items()},
        f"{POLICY}/README.md": readme.encode(),
        **plugin_files(),
    }


def plugin_files() -> dict[str, bytes]:
    """Contents by path of `PLUGIN`, the same for all students."""
    sources = Path(__file__).with_name("lerobot_plugin")
    return {
        **{f"{PLUGIN}/{PACKAGE}/{name}": (sources / name).read_bytes() for name in _SOURCES},
        f"{PLUGIN}/{PACKAGE}/__init__.py": _INIT.encode(),
        f"{PLUGIN}/pyproject.toml": _PYPROJECT.encode(),
    }


def feature_of(entry: str) -> str:
    """What an entry of the observation is called in LeRobot, where all numbers of a robot are its state."""
    return IMAGES + camera_name(entry) if is_frames(entry) else STATE


def config_of(student: Student, manifest: Manifest) -> dict[str, Any]:
    """config.json; `lerobot_plugin.configuration_rpd_jax` says what its fields are."""
    inputs: dict[str, Any] = {}
    names: list[str] = []
    units: list[str | None] = []
    for entry, described in manifest.observation.items():
        if is_frames(entry):
            height, width, channels = described.shape
            inputs[feature_of(entry)] = {"type": "VISUAL", "shape": [channels, height, width]}
            continue
        (size,) = described.shape
        inputs[feature_of(entry)] = {"type": "STATE", "shape": [size]}
        layout = {part: (where.start, where.stop) for part, where in described.layout.items()}
        names = [f"{name}.pos" for name in dimension_names(entry, size, layout)]
        units = units_of(described.layout, size)
    cameras = [feature_of(entry) for entry in manifest.observation if is_frames(entry)]
    tokens = student.population.algorithm.head == "tokens"
    (size,) = manifest.action.shape
    return {
        "type": "rpd_jax",
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": {"action": {"type": "ACTION", "shape": [size]}},
        "device": "cpu",
        "push_to_hub": False,
        "format": FORMAT,
        "hidden": [512] if cameras else list(student.config.network.hidden),  # NatureCNN's is its own
        "cameras": cameras,
        "action_size": size,
        "bins": student.config.network.bins if tokens else 0,
        "env": manifest.env,
        "instruction": manifest.instruction,
        "control_hz": manifest.control_hz,
        "state_names": names,
        "state_units": units,
        **_describe_action(manifest),
    }


def _describe_action(manifest: Manifest) -> dict[str, Any]:
    """Names and units of an action's numbers."""
    (size,) = manifest.action.shape
    names = action_names(size, manifest.action.contract, manifest.control_mode)
    units: list[str | None] = [None] * size
    for field in manifest.action.fields.values():
        for i in range(field.start, field.stop):
            delta = field.kind == "delta"
            names[i] += ".vel" if delta else ".pos"
            units[i] = f"{field.scale:g} {field.unit}" if delta else field.unit
    return {"action_feature_names": names, "action_units": units}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
