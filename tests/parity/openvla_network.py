"""What the network gives for the inputs of golden data, as numpy arrays; see `openvla`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from teachers.openvla.server.action_tokens import token_statistics
from teachers.openvla.server.checkpoint import empty_model, expected_shapes
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.loading import Parts, load_parts
from teachers.openvla.server.oft.policy import Extras, OFTPolicy
from teachers.openvla.server.oft.settings import OFTSettings
from teachers.openvla.server.policy import OpenVLAPolicy
from teachers.openvla.server.preprocessing import Preprocessor
from teachers.openvla.server.resampling import crop_center, jpeg_round_trip, resize_lanczos
from teachers.openvla.server.statistics import Bounds, read_statistics, select_statistics

Arrays = dict[str, np.ndarray]


def manifest_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors, from the content of config.json; nothing is computed."""
    model = empty_model(ModelConfig.from_dict(config))
    return expected_shapes(model) | model.unused_shapes()


def resize(frames: np.ndarray, config: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Frames [B, H, W, 3] through preprocessor_config.json: uint8 squares [B, S, S, 3], pixels [B, 6, S, S] float32."""
    preprocessor = Preprocessor.from_dict(config)
    return preprocessor.resized(frames).numpy(), preprocessor(frames).numpy()


def libero_steps(frames: np.ndarray, jpeg: np.ndarray | None, config: Mapping[str, Any]) -> Arrays:
    """TensorFlow's steps of the LIBERO evaluation, on [B, H, W, 3] uint8; from `jpeg`, decoded frames, if given."""
    images = torch.from_numpy(frames)
    decoded = torch.from_numpy(np.stack([jpeg_round_trip(each) for each in frames]) if jpeg is None else jpeg)
    both = Preprocessor.from_dict(config, center_crop=True, libero=True)
    size = both.size
    return {
        "tf_center_crop_from256": crop_center(images, size).numpy(),
        "tf_lanczos224_no_jpeg": resize_lanczos(images, size).numpy(),
        "tf_lanczos224_after_jpeg": resize_lanczos(decoded, size).numpy(),
        "tf_oft_eval_pipeline": both.resized(frames).numpy(),
    }


class Recorder:
    """The tiny model of golden data, in float32 on the CPU.

    Args:
      tiny: directory with checkpoint/ and oft/.
      frames: [N, H, W, 3] uint8, one for each case.
      instructions: N.
      keys: names of the data sets, N.
    """

    def __init__(self, tiny: Path, frames: np.ndarray, instructions: Sequence[str], keys: Sequence[str]) -> None:
        self.tiny, self.frames, self.instructions, self.keys = tiny, frames, list(instructions), list(keys)
        self.parts = self._load(keys[0])

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> Arrays:
        model, pixels = self.parts.model, self.parts.preprocessor(frames)
        dino, siglip = model.vision_backbone.features(pixels)
        return {
            "pixel_values": pixels.numpy(),
            "patch_features_dino": dino.numpy(),
            "patch_features_siglip": siglip.numpy(),
            "projected_patch_embeddings": model.embed_images(pixels[:, None]).numpy(),
        }

    def prompt_ids(self, row: int) -> np.ndarray:
        return np.array(self.parts.prompter(self.instructions[row]))

    def tokenized(self, text: str) -> np.ndarray:
        return np.array(self.parts.prompter.tokenize(text))

    def action_tokens(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, what they stand for, and all centres."""
        tokens = self.parts.tokens
        ids = tokens.encode(actions)
        return ids, tokens.decode(ids), tokens.centers

    @torch.inference_mode()
    def prompt_outputs(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Last hidden states [L + patches, D] of a prompt, and logits for every position."""
        model = self.parts.model
        images = model.embed_images(self.parts.preprocessor(self.frames[row : row + 1])[:, None])
        sequence = model.sequences(images, [self.parts.prompter(self.instructions[row])])[0]
        hidden = model.language_model.hidden(sequence[None], None, None)[0]
        return hidden.numpy(), model.language_model.logits(hidden).numpy()

    def decoded(self, rows: Sequence[int]) -> Arrays:
        """Greedy tokens and their distributions of one batch, and the actions in units of each row's data set."""
        policy = OpenVLAPolicy(self.parts)
        frames, instructions = self.frames[rows], [self.instructions[row] for row in rows]
        labels = policy.label(frames, instructions)
        tokens = labels["tokens"][:, 0]
        along = policy.score(frames, instructions, tokens)
        with torch.inference_mode():
            steps = policy.decoded(frames, instructions)
        normalized = self.parts.tokens.decode(tokens)
        actions = [
            OpenVLAPolicy(self._with(self.keys[row])).bounds.unnormalize(a)
            for row, a in zip(rows, normalized, strict=True)
        ]
        return {
            "generated_ids": tokens,
            "step_action_logits": steps.action_logits[:, 0].numpy(),
            "step_logsumexp": steps.logsumexp[:, 0].numpy(),
            "scored_action_logits": along["action_logits"],
            "scored_logsumexp": along["logsumexp"],
            "normalized_actions": normalized,
            "actions": np.stack(actions),
        }

    def scored(self, rows: Sequence[int], tokens: np.ndarray) -> Arrays:
        instructions = [self.instructions[row] for row in rows]
        found = OpenVLAPolicy(self.parts).score(self.frames[rows], instructions, tokens)
        return {"tf_action_logits": found["action_logits"], "tf_logsumexp": found["logsumexp"]}

    def oft_tokens(self, rows: Sequence[int], film: bool = False) -> Arrays:
        """A chunk of tokens for every row, in one batch; actions in units of each row's data set."""
        policy = self._oft(OFTSettings(film=film), "oft/film")
        frames, instructions = self.frames[rows][:, None], [self.instructions[row] for row in rows]
        labels = policy.label(frames, instructions)
        normalized = self.parts.tokens.decode(labels["tokens"][:, 0]).reshape(len(rows), 8, 7)
        return {
            "hidden": policy.hidden(frames, instructions),
            "action_logits": labels["action_logits"],
            "logsumexp_full": labels["logsumexp"],
            "argmax_restricted": labels["tokens"][:, 0],
            "actions": self._in_units(rows, normalized),
        }

    def verl(self, logits: np.ndarray, tokens: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        columns = torch.from_numpy(tokens) - self.parts.tokens.columns.start
        logprob, entropy = token_statistics(torch.from_numpy(logits), columns, temperature)
        return logprob.numpy(), entropy.numpy()

    def oft_l1(self, rows: Sequence[int], wrist: np.ndarray, proprio: np.ndarray) -> Arrays:
        """The L1 head with two images and the robot's state."""
        parts: dict[str, list[np.ndarray]] = {"l1_proprio_norm": [], "l1_hidden": [], "l1_actions": []}
        settings = OFTSettings(images=("rgb", "rgb_wrist"), proprio=(str(proprio.shape[1]),), head="l1")
        policies = {key: self._oft(settings, "oft", key) for key in set(self.keys)}
        for row in rows:
            policy = policies[self.keys[row]]
            frames = np.stack([self.frames[row], wrist[row]])[None]
            arguments = frames, self.instructions[row], proprio[row : row + 1]
            parts["l1_proprio_norm"].append(policy.proprio_bounds.normalize(proprio[row]))
            parts["l1_hidden"].append(policy.hidden(*arguments)[0])
            parts["l1_actions"].append(policy.label(*arguments)["action"][0])
        return {name: np.stack(values) for name, values in parts.items()}

    def oft_diffusion(self, rows: Sequence[int], noise: np.ndarray, steps: int) -> np.ndarray:
        """Normalised chunks from a given start."""
        policy = self._oft(OFTSettings(head="diffusion", diffusion_steps=steps), "oft/diffusion")
        instructions = [self.instructions[row] for row in rows]
        action = policy.label(self.frames[rows][:, None], instructions, noise=noise)["action"]
        return self.normalized(self.keys[0], action)

    def normalized(self, key: str, action: np.ndarray) -> np.ndarray:
        """The inverse of `unnormalized`, without clipping."""
        bounds = self._bounds(key)
        return np.where(bounds.mask, (np.asarray(action, np.float64) - bounds.low) / bounds.half_width - 1, action)

    def unnormalized(self, key: str, normalized: np.ndarray) -> np.ndarray:
        return self._bounds(key).unnormalize(normalized)

    def _bounds(self, key: str) -> Bounds:
        return OFTPolicy(self._with(key), OFTSettings(), Extras()).bounds

    def _in_units(self, rows: Sequence[int], normalized: np.ndarray) -> np.ndarray:
        return np.stack([self.unnormalized(self.keys[row], each) for row, each in zip(rows, normalized, strict=True)])

    def _oft(self, settings: OFTSettings, heads: str, key: str | None = None) -> OFTPolicy:
        return OFTPolicy.load(
            self.tiny / "checkpoint",
            settings,
            heads=self.tiny / heads,
            dtype="f32",
            device="cpu",
            statistics_key=key or self.keys[0],
        )

    def _load(self, key: str) -> Parts:
        return load_parts(self.tiny / "checkpoint", dtype="f32", device="cpu", statistics_key=key)

    def _with(self, key: str) -> Parts:
        directory = self.tiny / "checkpoint"
        norm_stats = read_json(directory / "config.json").get("norm_stats", {})
        return self.parts._replace(statistics=select_statistics(*read_statistics(directory, norm_stats), key))
