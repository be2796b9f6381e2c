"""What an episode's parts are called in LeRobot's data sets, and their dimensions.

| here | there |
|---|---|
| action, reward, success | "action", "next.reward", "next.success"; "next.done" |
| "proprio", "agent/qpos" | "observation.state", "observation.agent.qpos": what a robot knows of itself |
| "rgb", "rgb_wrist" | "observation.images.base_camera", "observation.images.wrist" |
| "state", "ee", "extra/..." | "simulator.state", ...: what only the simulator knows |

lerobot's policies take every feature under "observation" as their input: hence the name "simulator".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpd_jax.demonstrations.episode import DatasetInfo, Episode, camera_entry, camera_name, is_frames
from rpd_jax.demonstrations.statistics import action_mask
from rpd_jax.types import ActionContract

IMAGES = "observation.images."
PRIVILEGED = "simulator."
STATE = "observation.state"
_OWN_SENSES = "agent/"  # of published ManiSkill files: what the robot knows of itself
_AXES = ("x", "y", "z")
_ROTATIONS = {"euler_xyz": ("roll", "pitch", "yaw"), "axis_angle": tuple(f"axis_angle_{axis}" for axis in _AXES)}


def feature_of(entry: str) -> str:
    """The feature that an entry of an observation becomes, but for frames."""
    if entry == "proprio":
        return STATE
    prefix = "observation." if entry.startswith(_OWN_SENSES) else PRIVILEGED
    return prefix + entry.replace("/", ".")


def entry_of(feature: str) -> str:
    """Inverse of `feature_of`, and of the name of our own cameras; a feature of others' stays what it is."""
    if feature == STATE:
        return "proprio"
    if feature.startswith(IMAGES):
        return camera_entry(feature.removeprefix(IMAGES))
    if feature.startswith("observation.agent."):
        return _OWN_SENSES + feature.removeprefix("observation.agent.")
    return feature.removeprefix(PRIVILEGED)


def frames_of(episode: Episode) -> dict[str, np.ndarray]:
    """An episode's frames uint8 [T, H, W, 3] by feature, without those after the last step."""
    seen = episode.observation
    return {IMAGES + camera_name(key): x[:-1] for key, x in seen.items() if is_frames(x) and key.startswith("rgb")}


def columns_of(episode: Episode, privileged: bool) -> dict[str, np.ndarray]:
    """An episode's columns [T, ...] by feature, but for the frames; depth and segmentation are left out."""
    columns = {
        feature_of(key): np.asarray(x[:-1], np.float32)
        for key, x in episode.observation.items()
        if x.ndim == 2 and x.dtype.kind == "f" and (privileged or not feature_of(key).startswith(PRIVILEGED))
    }
    columns["action"] = episode.action
    if episode.reward is not None:
        columns["next.reward"] = np.asarray(episode.reward, np.float32)
    if episode.success is not None:
        columns["next.success"] = episode.success
    columns["next.done"] = np.arange(episode.length) == episode.length - 1
    return columns


def describe(
    columns: Mapping[str, np.ndarray],
    frames: Mapping[str, np.ndarray],
    info: DatasetInfo | None,
    control_mode: str,
    fps: int,
) -> dict[str, dict[str, Any]]:
    """The features of info.json: type, shape and the names of dimensions."""
    features: dict[str, dict[str, Any]] = {}
    for feature, x in columns.items():
        names = None
        if feature == "action":
            names = action_names(x.shape[1], info.contract if info else None, control_mode)
        elif x.ndim == 2:
            entry = entry_of(feature)
            names = dimension_names(entry, x.shape[1], info.layout.get(entry, {}) if info else {})
        features[feature] = {"dtype": x.dtype.name, "shape": list(x.shape[1:]) or [1], "names": names}
    for feature, x in frames.items():
        height, width, channels = x.shape[1:]
        video = {"height": height, "width": width, "codec": "h264", "pix_fmt": "yuv420p", "fps": fps}
        stored = {f"video.{name}": value for name, value in (video | {"channels": 3, "is_depth_map": False}).items()}
        features[feature] = {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": {**stored, "has_audio": False},
        }
    return features


def action_names(size: int, contract: ActionContract | None, control_mode: str) -> list[str]:
    """Names of an action's numbers: "x", "roll", "gripper" of end-effector deltas, joints, or mere positions."""
    if size == 7 and (contract is not None or control_mode.endswith("pose")):
        turn = _ROTATIONS.get(contract.rotation_form if contract else "", tuple(f"rotation_{axis}" for axis in _AXES))
        return [*_AXES, *turn, "gripper"]
    stem = "joint" if control_mode.startswith("pd_joint") else "action"
    moved = action_mask(control_mode, size)
    return [f"{stem}_{index}" if own else "gripper" for index, own in enumerate(moved)]


def dimension_names(entry: str, size: int, layout: Mapping[str, tuple[int, int]]) -> list[str]:
    """Names of an entry's numbers after its parts [start, stop): "tcp_pose.x", "qpos.0"."""
    names = [f"{entry}.{index}" for index in range(size)]
    for part, (start, stop) in layout.items():
        names[start:stop] = [f"{part}.{axis}" if axis else part for axis in _axes(part, stop - start)]
    return names


def _axes(part: str, size: int) -> Sequence[str]:
    if size == 3 and part.endswith(("pos", "position", "axis_angle")):
        return _AXES
    if size == 7 and part.endswith("pose"):
        return (*_AXES, "qw", "qx", "qy", "qz")
    return ("",) if size == 1 else [str(index) for index in range(size)]
