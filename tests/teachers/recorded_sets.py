"""Sets of demonstrations as files, for tests of what happens when they are mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.hdf5 import OWN_KEY
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.envs.base import Camera
from rpd_jax.envs.tabletop import hand

CAMERA = Camera((0.5, 0.55, 0.55), (0.0, 0.0, 0.1), 0.7)


def write_set(
    directory: Path, *, mode: str = "pd_ee_delta_pose", camera: str = "base_camera", size: int = 8, info: Any = None
) -> Demonstrations:
    """Two episodes of four steps. `info`: changes of what a set recorded here says; None: it is a published set."""
    directory.mkdir()
    with h5py.File(directory / "trajectory.h5", "w") as file:
        for number in range(2):
            group = file.create_group(f"traj_{number}")
            group["actions"] = np.random.default_rng(number).normal(size=(4, 7)).astype(np.float32)
            for key in ("terminated", "truncated", "success"):
                group[key] = np.arange(4) == 3
            group[f"obs/sensor_data/{camera}/rgb"] = np.zeros((5, size, size, 3), np.uint8)
    values: dict[str, Any] = {"env_info": {"env_id": "PickCube-v1"}}
    values["episodes"] = [{"episode_id": number, "control_mode": mode} for number in range(2)]
    if info is not None:
        own = {
            "env_name": "tabletop:PickCube-v1",
            "env_settings": {"control_mode": mode},
            "instruction": "pick up the cube",
            "max_episode_steps": 50,
            "contract": hand.CONTRACT,
            "layout": {},
            "image_size": size,
            "teacher": "x",
            "teacher_settings": {},
            "is_scripted": True,
            "seed": 0,
            "num_envs": 1,
            "perturb": 0.0,
            "hold_steps": 0,
            "successful_only": True,
            "camera": CAMERA,
        }
        values[OWN_KEY] = {"info": DatasetInfo(**(own | info)).to_dict()}
    (directory / "trajectory.json").write_text(json.dumps(values))
    return Demonstrations(directory)
