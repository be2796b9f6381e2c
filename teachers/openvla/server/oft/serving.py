"""OpenVLA-OFT as a teacher's process serves it: a frame, and the robot's state where it is read -> a chunk."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpd_jax.types import TeacherSpec
from teachers.conventions import contract_of
from teachers.digest import digest
from teachers.openvla.server.answers import Tokens, label_answer, score_answer
from teachers.openvla.server.oft.policy import OFTPolicy
from teachers.sidecar.server import describe, instructions_of


class OFTModel:
    """A policy as `serve_model` expects it; its cameras are entries of an observation."""

    def __init__(self, policy: OFTPolicy, name: str, options: argparse.Namespace) -> None:
        self._policy, self._name, self._options = policy, name, options

    def spec(self) -> dict[str, Any]:
        """See `teachers.sidecar.server.describe`."""
        settings, parts = self._policy.settings, self._policy.parts
        inputs: dict[str, tuple[tuple[int | None, ...], str]] = {}
        inputs |= {camera: ((None, None, 3), "uint8") for camera in settings.images}
        if settings.proprio_dim is not None:
            inputs["proprio"] = ((settings.proprio_dim,), "float32")
        spec = TeacherSpec(
            name=f"openvla-oft:{self._name}",
            observation_keys=settings.observation_keys,
            contract=contract_of(Path(self._options.checkpoint), self._options.contract),
            chunk=settings.chunk,
            samples_actions=settings.head == "diffusion",
            token_bins=parts.tokens.bins if settings.head == "tokens" else 0,
            checkpoint=digest(*parts.directories),
        )
        return describe(spec, settings.action_dim, inputs, parts.gpus, [*parts.remarks, *self._options.remarks])

    def label(self, arrays: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Chunks for uint8 [B, H, W, 3] of each camera and, where it is read, "proprio" [B, P] in the data's units.

        Of tokens the std is that of their distribution, at least min_std; several samples have its mean, which is known
        exactly, for their action, and the most likely tokens. The distributions do not depend on tokens: to score given
        ones is to give them. Other heads say nothing of their noise: the std is the fixed one, or min_std.
        """
        options = self._options
        frames = [torch.from_dlpack(arrays[camera]) for camera in self._policy.settings.images]
        proprio = torch.from_dlpack(arrays["proprio"]).cpu().numpy() if "proprio" in arrays else None
        answer = self._policy.label(frames, instructions_of(fields), proprio, seed=fields["seed"])
        tokens = self._first_tokens(answer)
        action = answer["mean" if options.samples > 1 else "action"]
        if options.std is not None:
            std = np.full_like(action, options.std)
        elif "std" in answer:
            std = np.maximum(answer["std"], options.min_std)
        else:
            std = np.full_like(action, options.min_std)
        if self._policy.settings.chunk == 1:  # then the slots have no such axis
            action, std = action[:, 0], std[:, 0]
        if tokens is not None and fields["score"]:
            given = torch.from_dlpack(arrays["tokens"]).cpu().numpy()
            return score_answer(tokens._replace(tokens=given), action.shape)
        return label_answer(action, std, tokens, fields)

    def _first_tokens(self, answer: Mapping[str, np.ndarray]) -> Tokens | None:
        """Those of the chunk's first action, which come first."""
        if "tokens" not in answer:
            return None
        count, start = self._policy.settings.action_dim, self._policy.parts.tokens.columns.start
        columns = answer["tokens"][:, 0, :count] - start
        return Tokens(columns, answer["action_logits"][:, :count], answer["logsumexp"][:, :count])
