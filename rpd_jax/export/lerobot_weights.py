"""A student's parameters as model.safetensors of LeRobot's plugin, and what the plugin makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rpd_jax.config.env import is_frames
from rpd_jax.export.parameters import UNUSED, channels_first, scales
from rpd_jax.runs.checkpoint import to_paths
from rpd_jax.training.student import Student
from rpd_jax.types import Observation

MODULE = "network."  # what it is called in the plugin's policy


def weights_of(student: Student) -> dict[str, np.ndarray]:
    """Parameters, moments and box, float32, by their names in the plugin's `Network`; kernels as torch has them."""
    found: dict[str, Any] = {"low": student.spec.action_low, "high": student.spec.action_high}
    known = scales(student.member.normalizer)
    for name, array in student.observation.items():
        if not is_frames(name):
            scale, ones = known.get(name), np.ones(array.shape)
            found |= {"mean": scale.mean if scale else 0 * ones, "std": scale.std if scale else ones}
            found["clip"] = (scale.clip if scale else np.inf) * ones
    params = to_paths(student.member.params)
    for path, x in params.items():
        if path.startswith(UNUSED):
            continue
        layer, kind = path.rsplit("_" if path.startswith("conv") else "/", 1)
        if layer == "encoder" and kind == "kernel":
            x = channels_first(x, params["conv_2_kernel"].shape[-1])
        stem, _, number = layer.partition("_")
        layer = f"{'convolutions' if stem == 'conv' else stem}.{number}" if number.isdecimal() else layer
        # [in, out] -> [out, in], [h, w, in, out] -> [out, in, h, w]
        kernel = kind == "kernel"
        found[f"{layer}.{'weight' if kernel else kind}"] = np.moveaxis(x, (-1, -2), (0, 1)) if kernel else x
    return {name: np.asarray(x, np.float32) for name, x in found.items()}


def safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file: the header's length, the header in JSON, and the numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = []
    place = 0
    for name, x in arrays.items():
        content.append(x.astype("<f4").tobytes())
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [place, place + len(content[-1])]}
        place += len(content[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *content])


def read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    """Inverse of `safetensors`."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__")
    found = {}
    for name, described in header.items():
        first, last = described["data_offsets"]
        numbers = np.frombuffer(content[start + first : start + last], "<f4")
        found[name] = numbers.reshape(described["shape"]).copy()
    return found


def frames_of(observation: Observation) -> dict[str, np.ndarray]:
    """Frames uint8 [B, H, W, 3] as LeRobot gives them: float32 [B, 3, H, W] in [0, 1]."""
    frames = {name: np.asarray(x, np.float32) for name, x in observation.items() if is_frames(name)}
    return {name: x.transpose(0, 3, 1, 2) / np.float32(255) for name, x in frames.items()}


def policy_of(config: Mapping[str, Any], content: bytes) -> Callable[[Observation], np.ndarray]:
    """What the plugin's policy does with a config.json and a model.safetensors: entries [B, ...] -> actions [B, A].

    Needs torch.
    """
    import torch

    from rpd_jax.export.lerobot_plugin.network import Network

    shapes = [config["input_features"][camera]["shape"] for camera in config["cameras"]]
    frames = (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else None
    network = Network(len(config["state_names"]), frames, config["hidden"], config["action_size"], config["bins"])
    weights = {name.removeprefix(MODULE): torch.from_numpy(x) for name, x in read_safetensors(content).items()}
    network.load_state_dict(weights)

    def act(observation: Observation) -> np.ndarray:
        seen = [x for name, x in frames_of(observation).items()]
        state = [np.array(x) for name, x in observation.items() if not is_frames(name)]
        with torch.no_grad():
            return network(
                torch.from_numpy(state[0]) if state else None,
                torch.from_numpy(np.concatenate(seen, axis=1)) if seen else None,
            ).numpy()

    return act
