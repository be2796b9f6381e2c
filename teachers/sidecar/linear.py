"""A stand-in for a model, to try the bridge: a fixed linear function of the frame, with noise where it is told to.

python -m teachers.sidecar.linear [--action-dim=7] [--noise=0] [--listen=PATH]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from rpd_jax.types import TeacherSpec
from teachers.sidecar.server import describe, serve_model

_SIDE = 8  # the frame is seen through so many rows and columns of pixels


class LinearModel:
    """Actions in [-1, 1] from frames uint8 [B, H, W, 3]: tanh of a fixed matrix times a few of the pixels."""

    def __init__(self, action_dim: int = 7, noise: float = 0.0):
        self._noise = noise
        self._weights = np.random.default_rng(0).normal(size=(_SIDE * _SIDE * 3, action_dim)).astype(np.float32) / 14

    def spec(self) -> dict[str, Any]:
        spec = TeacherSpec(
            name="linear", observation_keys=("rgb",), contract=None, samples_actions=self._noise > 0, is_scripted=True
        )
        return describe(spec, self._weights.shape[1], {"rgb": ((None, None, 3), "uint8")})

    def label(self, arrays: Mapping[str, np.ndarray], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        frames = arrays["rgb"]
        rows, columns = (np.linspace(0, size - 1, _SIDE).astype(int) for size in frames.shape[1:3])
        seen = frames[:, rows[:, None], columns[None]].reshape(len(frames), -1) / np.float32(255)
        rng = np.random.default_rng(fields["seed"])
        action = np.tanh(seen @ self._weights) + self._noise * rng.normal(size=(len(frames), self._weights.shape[1]))
        std = np.full_like(action, max(self._noise, 0.05))
        return {"action": np.clip(action, -1, 1), "std": std, "valid": np.ones(len(frames), bool)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--action-dim", type=int, default=7)
    parser.add_argument("--noise", type=float, default=0.0)
    options, _ = parser.parse_known_args()
    serve_model(lambda: LinearModel(options.action_dim, options.noise))


if __name__ == "__main__":
    main()
