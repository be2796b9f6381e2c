"""OpenVLA-OFT as a teacher: frames, instruction and the robot's state -> a chunk of actions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from teachers.openvla.server.batching import chunks, instructions_of, sampling_temperature, uniform_numbers
from teachers.openvla.server.decoding import choose
from teachers.openvla.server.loading import Parts, load_parts
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.oft.diffusion import denoise, timestep_embedding
from teachers.openvla.server.oft.film import FiLM, load_film
from teachers.openvla.server.oft.heads import ActionHead, load_head, load_projector
from teachers.openvla.server.oft.parallel import chunk_hidden, mean_embedding
from teachers.openvla.server.oft.settings import OFTSettings
from teachers.openvla.server.selftest import check_image_matters
from teachers.openvla.server.statistics import Bounds

_EPSILON = 1e-8
Answer = dict[str, np.ndarray]
Frames: TypeAlias = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]
"""uint8 [B, images, H, W, 3], or of each camera [B, H, W, 3]: these may differ in size. The primary camera is first."""


class Extras(NamedTuple):
    """What a checkpoint has besides the network."""

    head: ActionHead | None = None
    proprio: nn.Module | None = None
    noisy_action: nn.Module | None = None
    film: FiLM | None = None


class Request(NamedTuple):
    """A checked request; rows can be taken from it."""

    frames: tuple[np.ndarray | Tensor, ...]  # of each camera [B, H, W, 3]; they may differ in size
    ids: list[tuple[int, ...]]
    proprio: Tensor | None  # [B, P] normalised

    def rows(self, which: slice) -> Request:
        proprio = None if self.proprio is None else self.proprio[which]
        return Request(tuple(each[which] for each in self.frames), self.ids[which], proprio)


class OFTPolicy:
    """OpenVLA-OFT. The same request gives the same answer; see `load`."""

    def __init__(self, parts: Parts, settings: OFTSettings, extras: Extras, *, max_batch: int = 32) -> None:
        self.parts = parts
        self.settings = settings
        self.extras = extras
        self.max_batch = max_batch
        self.bounds = Bounds.of(parts.statistics["action"], settings.normalization, _EPSILON)
        if self.bounds.dims != settings.action_dim:
            raise ValueError(
                f"action_dim={settings.action_dim}: the statistics have {self.bounds.dims} action dimensions"
            )
        self.proprio_bounds = None
        if settings.proprio_dim is not None:
            if "proprio" not in parts.statistics:
                raise ValueError(f"proprio_dim={settings.proprio_dim}: the statistics have no proprio")
            self.proprio_bounds = Bounds.of(parts.statistics["proprio"], settings.normalization)
            if self.proprio_bounds.dims != settings.proprio_dim:
                raise ValueError(
                    f"proprio_dim={settings.proprio_dim}: the statistics have {self.proprio_bounds.dims} of proprio"
                )

    @classmethod
    def load(
        cls,
        path: str | Path,
        settings: OFTSettings,
        *,
        heads: str | Path | None = None,
        max_batch: int = 32,
        **options: Any,
    ) -> OFTPolicy:
        """From a checkpoint.

        Args:
          path: directory in the layout of Hugging Face.
          settings: what it was trained for.
          heads: directory of its heads and projectors (`action_head--<step>_checkpoint.pt`); None: the same.
          max_batch: observations computed at a time.
          options: dtype, device, statistics_key, center_crop, libero, template, adapter: see `load_parts`; frames are
            cropped, and made as LIBERO's were, where the settings or the options say so.
        Raises:
          ValueError: see `load_parts`; a head is missing or does not fit the settings; the answer does not depend on
            the image.
        """
        for name in ("center_crop", "libero"):
            options[name] = options.get(name, False) or getattr(settings, name)
        parts = load_parts(path, max_batch=max_batch, images=len(settings.images), **options)
        if settings.bins:
            parts = parts._replace(tokens=dataclasses.replace(parts.tokens, bins=settings.bins))
        directory = Path(heads or path)
        like = parts.model.language_model.model.norm.weight
        film = load_film(directory, parts.model.vision_backbone, like) if settings.film else None
        head = None if settings.head == "tokens" else load_head(directory, settings, like)
        proprio = None
        if settings.proprio_dim is not None:
            proprio = _proprio_projector(parts.model, directory, settings.proprio_dim, like)
        diffusion = settings.head == "diffusion"
        noisy = load_projector(directory, "noisy_action_projector", 1, like) if diffusion else None
        policy = cls(parts, settings, Extras(head, proprio, noisy, film), max_batch=max_batch)
        check_image_matters(policy._hidden_of, parts.preprocessor.size)
        return policy

    @torch.inference_mode()
    def label(
        self,
        frames: Frames,
        instruction: str | Sequence[str],
        proprio: np.ndarray | None = None,
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float | None = None,
        noise: np.ndarray | None = None,
    ) -> Answer:
        """A chunk of actions for every observation.

        Args:
          frames: of every camera, see `Frames`.
          instruction: the task in words, one for all or one each.
          proprio: [B, P] in the data set's units; where the settings have no proprio_dim, None.
          samples: chunks drawn for every observation (tokens only).
          seed: of the draws, and of the diffusion's start.
          temperature: of tokens; None: the most likely action tokens, or 1 if samples > 1.
          noise: [B, K, A], the diffusion's start; None: drawn with the seed.
        Returns:
          "action" [B, K, A] float32 in the data set's units. Of tokens, whose distributions do not depend on each other
          (S = samples):
          "samples" [B, S, K, A] float32, of which "action" is the first;
          "mean", "std" [B, K, A] float32: exact, at the temperature (1 if there is none);
          "tokens" [B, S, K * A] int64 and "logprob" [B, S, K * A] float32, at the temperature, among action tokens;
          "action_logits" [B, K * A, 256], "logsumexp" [B, K * A] float32, the latter over all tokens.
        Raises:
          ValueError: a request that does not fit the settings.
        """
        drawn_at = sampling_temperature(samples, temperature)
        asked = self._request(frames, instruction, proprio)
        batch, shape = len(asked.ids), (self.settings.chunk, self.settings.action_dim)
        if self.settings.head == "tokens":
            found = [self._logits(asked.rows(rows)) for rows in chunks(batch, self.max_batch)]
            logits, total = (torch.cat(each) for each in zip(*found, strict=True))
            return self._from_tokens(logits, total, samples, seed, drawn_at)
        if drawn_at is not None:
            raise ValueError(
                f"samples={samples}, temperature={temperature}: the {self.settings.head} head has no tokens"
            )
        if noise is not None and noise.shape != (batch, *shape):
            raise ValueError(f"noise is {noise.shape}, need {(batch, *shape)}")
        start = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed)) if noise is None else noise
        start = torch.as_tensor(start).to(self.parts.model.device)
        compute = self._denoised if self.settings.head == "diffusion" else lambda request, _: self._regressed(request)
        done = torch.cat([compute(asked.rows(rows), start[rows]) for rows in chunks(batch, self.max_batch)])
        return {"action": self.bounds.unnormalize(done.float().cpu().numpy()).astype(np.float32)}

    @torch.inference_mode()
    def hidden(self, frames: Frames, instruction: str | Sequence[str], proprio: np.ndarray | None = None) -> np.ndarray:
        """What the head reads, [B, K * A, D] float32; arguments as of `label`. Not for the diffusion head."""
        asked = self._request(frames, instruction, proprio)
        parts = [self._hidden(asked.rows(rows)) for rows in chunks(len(asked.ids), self.max_batch)]
        return torch.cat(parts).float().cpu().numpy()

    def _from_tokens(self, logits: Tensor, total: Tensor, samples: int, seed: int, drawn_at: float | None) -> Answer:
        tokens, heat = self.parts.tokens, drawn_at or 1.0
        batch, count, _ = logits.shape
        uniform = None
        if drawn_at is not None:  # [B, N, K]
            uniform = uniform_numbers((batch, samples, count), seed).transpose(1, 2).flatten(0, 1).to(logits.device)
        columns = choose(logits.flatten(0, 1), uniform, heat).unflatten(0, (batch, count)).transpose(1, 2)
        logprob = (logits / heat).log_softmax(-1).gather(-1, columns.transpose(1, 2)).transpose(1, 2)
        mean, variance = (each.cpu().numpy() for each in tokens.moments(logits / heat))
        ids = columns.cpu().numpy() + tokens.columns.start
        drawn = self.bounds.unnormalize(self._chunked(tokens.decode(ids))).astype(np.float32)
        return {
            "action": drawn[:, 0],
            "samples": drawn,
            "mean": self.bounds.unnormalize(self._chunked(mean)).astype(np.float32),
            "std": (self._chunked(np.sqrt(variance)) * self.bounds.half_width).astype(np.float32),
            "tokens": ids,
            "logprob": logprob.cpu().numpy(),
            "action_logits": logits.cpu().numpy(),
            "logsumexp": total.cpu().numpy(),
        }

    def _chunked(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-1], self.settings.chunk, self.settings.action_dim)

    def _request(self, frames: Frames, instruction: str | Sequence[str], proprio: np.ndarray | None) -> Request:
        images = len(self.settings.images)
        cameras = tuple(_by_camera(frames))
        sizes = {len(each) for each in cameras}
        if len(cameras) != images or len(sizes) != 1 or sizes == {0}:
            shapes = [tuple(each.shape) for each in cameras]
            raise ValueError(
                f"frames are {shapes}, need [B, {images}, H, W, 3], or {images} of [B, H, W, 3]: the checkpoint was "
                f"trained with images={'+'.join(self.settings.images)}"
            )
        ids = [self.parts.prompter(each) for each in instructions_of(instruction, len(cameras[0]))]
        if (proprio is None) != (self.settings.proprio_dim is None):
            raise ValueError(
                f"proprio is {'missing' if proprio is None else 'given'}: proprio_dim={self.settings.proprio_dim}"
            )
        if proprio is None:
            return Request(cameras, ids, None)
        if np.shape(proprio) != (len(ids), self.settings.proprio_dim):
            raise ValueError(f"proprio is {np.shape(proprio)}, need {(len(ids), self.settings.proprio_dim)}")
        assert self.proprio_bounds is not None, "there are some where there is a proprio_dim"
        return Request(
            cameras, ids, torch.as_tensor(self.proprio_bounds.normalize(proprio)).to(self.parts.model.device)
        )

    def _context(self, request: Request) -> Tensor:
        """Patches of all images and the token of the robot's state: [B, M, D]."""
        model, extras = self.parts.model, self.extras
        pixels = torch.stack([self.parts.preprocessor(each, model.device) for each in request.frames], dim=1)
        film = None if extras.film is None else extras.film(mean_embedding(model, request.ids))
        images = model.embed_images(pixels, film)
        if request.proprio is None:
            return images
        assert extras.proprio is not None, "there is one where there is a proprio_dim"
        return torch.cat([images, extras.proprio(request.proprio.to(model.dtype))[:, None]], dim=1)

    def _hidden(self, request: Request) -> Tensor:
        context = self._context(request)
        count = self.settings.chunk * self.settings.action_dim
        return chunk_hidden(
            self.parts.model, context, request.ids, context.new_zeros(len(context), count, context.shape[-1])
        )

    def _logits(self, request: Request) -> tuple[Tensor, Tensor]:
        logits = self.parts.model.language_model.logits(self._hidden(request))
        return logits[..., self.parts.tokens.columns], logits.logsumexp(-1)

    def _regressed(self, request: Request) -> Tensor:
        assert self.extras.head is not None, "only tokens need none"
        return self.extras.head(self._hidden(request))

    def _denoised(self, request: Request, noise: Tensor) -> Tensor:
        predict = functools.partial(self._noise, self._context(request), request.ids)
        *_, last = denoise(predict, noise, self.settings.diffusion_steps)
        return last

    def _noise(self, context: Tensor, ids: Sequence[Sequence[int]], x: Tensor, t: int) -> Tensor:
        extras = self.extras
        assert extras.head is not None and extras.noisy_action is not None, "a diffusion has both"
        step = timestep_embedding(t, context.shape[-1]).to(context.device, context.dtype)
        context = torch.cat([context, step.expand(len(context), 1, -1)], dim=1)
        placeholders = extras.noisy_action(x.to(context.dtype).reshape(len(x), -1, 1))
        return extras.head(chunk_hidden(self.parts.model, context, ids, placeholders))

    @torch.inference_mode()
    def _hidden_of(self, frames: Tensor) -> Tensor:
        repeated = [frames] * len(self.settings.images)
        bounds = self.proprio_bounds
        state = None if bounds is None else np.zeros((len(frames), bounds.dims))
        return self._hidden(self._request(repeated, "pick up the cube", state))


def _by_camera(frames: Frames) -> Sequence[np.ndarray | Tensor]:
    """Of each image [B, ...]. Raises ValueError for arrays of other ranks."""
    if not isinstance(frames, np.ndarray | Tensor):
        return frames
    if frames.ndim != 5:
        raise ValueError(f"frames are {tuple(frames.shape)}, need [B, images, H, W, 3]")
    return [frames[:, number] for number in range(frames.shape[1])]


def _proprio_projector(model: OpenVLA, directory: Path, dim: int, like: Tensor) -> nn.Module:
    """That of the checkpoint itself, else that of its file."""
    own = model.proprio_projector
    if own is None:
        return load_projector(directory, "proprio_projector", dim, like)
    if own.fc1.in_features != dim:
        raise ValueError(f"proprio_dim={dim}: the checkpoint's proprio_projector takes {own.fc1.in_features} numbers")
    return own
