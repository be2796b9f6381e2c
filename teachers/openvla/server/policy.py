"""OpenVLA as a teacher: frames and instructions -> actions, their distribution, and scores of given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from teachers.openvla.server.action_tokens import token_statistics
from teachers.openvla.server.batching import chunks, instructions_of, sampling_temperature, uniform_numbers
from teachers.openvla.server.decoding import Decoded, Scored, decode, score
from teachers.openvla.server.loading import Parts, load_parts
from teachers.openvla.server.look import foreign
from teachers.openvla.server.selftest import check_image_matters
from teachers.openvla.server.statistics import Bounds
from teachers.openvla.server.stepping import Fixed, Growing, Stepping, rows_reserved

Answer = dict[str, np.ndarray]


class OpenVLAPolicy:
    """Autoregressive OpenVLA. The same request gives the same answer; see `load`."""

    def __init__(
        self, parts: Parts, *, max_batch: int = 32, allow_non_action: bool = False, graphs: bool | None = None
    ) -> None:
        self.parts = parts
        self._stepping = stepping_for(parts, graphs)
        self.bounds = Bounds.of(parts.statistics["action"])
        self.max_batch = max_batch
        self.allow_non_action = allow_non_action

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        max_batch: int = 32,
        allow_non_action: bool = False,
        graphs: bool | None = None,
        **options: Any,
    ) -> OpenVLAPolicy:
        """From a checkpoint.

        Args:
          path: directory in the layout of Hugging Face.
          max_batch: sequences computed at a time; larger requests are split.
          allow_non_action: choose the best action token where the most likely token is none; else that is an error.
          graphs: replay decoding steps as CUDA graphs; None: on a GPU, but for a model in four bits.
          options: dtype, device, statistics_key, center_crop, libero, template, adapter: see `load_parts`.
        Raises:
          ValueError: see `load_parts`; the checkpoint is OpenVLA-OFT's; or the answer does not depend on the image.
        """
        heads = sorted(each.name for each in Path(path).glob("*--*_checkpoint.pt"))
        if heads:
            raise ValueError(foreign(path, heads[0]))
        has_graphs = graphs is not False and options.get("dtype") != "nf4"
        fixed_rows = rows_reserved(max_batch) if has_graphs else 0
        parts = load_parts(path, max_batch=max_batch, fixed_rows=fixed_rows, **options)
        if parts.model.proprio_projector is not None:
            raise ValueError(foreign(path, "a proprio_projector"))
        policy = cls(parts, max_batch=max_batch, allow_non_action=allow_non_action, graphs=graphs)
        check_image_matters(policy._first_logits, parts.preprocessor.size)
        return policy

    @torch.inference_mode()
    def label(
        self,
        frames: np.ndarray | Tensor,
        instruction: str | Sequence[str],
        samples: int = 1,
        seed: int = 0,
        temperature: float | None = None,
    ) -> Answer:
        """Actions for a batch of frames.

        Args:
          frames: [B, H, W, 3] uint8.
          instruction: the task in words, one for all or one each.
          samples: K, drawn for every frame.
          seed: of the draws.
          temperature: divides the logits; None: the most likely tokens, or 1 if samples > 1.
        Returns:
          "action" [B, A] float32 in the data set's units: of the chosen tokens if K = 1, else the mean of K samples'
            means.
          "mean", "std" [B, A] float32: of the distribution over action tokens at the temperature (1 if there is none),
            each dimension given those before it, and over the K samples by the law of total variance. Where the
            normalisation passes values through, in its units.
          "tokens" [B, K, A] int64.
          "logprob" [B, K] float32: of the tokens, at the temperature, among action tokens.
          "action_logits" [B, K, A, 256] and "logsumexp" [B, K, A] float32: see `score`.
        Raises:
          ValueError: a bad request; or, unless allowed, a step at which the most likely token is no action token.
        """
        heat = sampling_temperature(samples, temperature) or 1.0
        decoded = self.decoded(frames, instruction, samples, seed, temperature)
        self._check_most_likely(decoded.most_likely.cpu().numpy())
        means, variances = self.parts.tokens.moments(decoded.action_logits / heat)
        mean = means.mean(1).cpu().numpy()
        std = (variances.mean(1) + means.var(1, correction=0)).sqrt().cpu().numpy()
        tokens = decoded.tokens.cpu().numpy()
        columns = decoded.tokens - self.parts.tokens.columns.start
        logprob = token_statistics(decoded.action_logits, columns, heat)[0].sum(-1)
        action = self.parts.tokens.decode(tokens[:, 0]) if samples == 1 else mean
        return {
            "action": self.bounds.unnormalize(action).astype(np.float32),
            "mean": self.bounds.unnormalize(mean).astype(np.float32),
            "std": (std * self.bounds.half_width).astype(np.float32),
            "tokens": tokens,
            "logprob": logprob.cpu().numpy(),
            "action_logits": decoded.action_logits.cpu().numpy(),
            "logsumexp": decoded.logsumexp.cpu().numpy(),
        }

    @torch.inference_mode()
    def score(self, frames: np.ndarray | Tensor, instruction: str | Sequence[str], tokens: np.ndarray) -> Answer:
        """The distributions along given tokens, in one pass without decoding.

        Args:
          frames, instruction: as in `label`.
          tokens: [B, A] action tokens.
        Returns:
          "action_logits" [B, A, 256] float32 (column c belongs to token 31744 + c) and "logsumexp" [B, A] float32 over
          all tokens, so that logits less logsumexp are log-probabilities.
        Raises:
          ValueError: a bad request, or a token that is no action token.
        """
        ids = self._prompts(frames, instruction)
        tokens = np.asarray(tokens)
        if tokens.shape != (len(ids), self.bounds.dims) or tokens.dtype.kind not in "iu":
            raise ValueError(f"tokens are {tokens.dtype} {tokens.shape}, need integers {(len(ids), self.bounds.dims)}")
        self.parts.tokens.check(tokens)
        given = torch.as_tensor(tokens.astype(np.int64)).to(self._device)
        found = [
            score(self.parts.model, self._images(frames[rows]), ids[rows], self.parts.tokens, given[rows])
            for rows in chunks(len(ids), self.max_batch)
        ]
        scored = Scored(*(torch.cat(each) for each in zip(*found, strict=True)))
        return {name: value.cpu().numpy() for name, value in scored._asdict().items()}

    def decoded(
        self,
        frames: np.ndarray | Tensor,
        instruction: str | Sequence[str],
        samples: int = 1,
        seed: int = 0,
        temperature: float | None = None,
    ) -> Decoded:
        """The tokens and distributions that `label` makes its answer of; arguments as there."""
        drawn_at = sampling_temperature(samples, temperature)
        steps = self.bounds.dims
        ids = self._prompts(frames, instruction)
        uniform = None
        if drawn_at is not None:
            uniform = uniform_numbers((len(ids), samples, steps), seed).to(self._device)
        found = [
            decode(
                self.parts.model,
                self._images(frames[rows]),
                ids[rows],
                self.parts.tokens,
                steps,
                uniform=None if uniform is None else uniform[rows],
                temperature=drawn_at or 1.0,
                stepping=self._stepping,
            )
            for rows in chunks(len(ids), max(1, self.max_batch // samples))
        ]
        return Decoded(*(torch.cat(each) for each in zip(*found, strict=True)))

    @property
    def _device(self) -> torch.device:
        return self.parts.model.device

    def _prompts(self, frames: np.ndarray | Tensor, instruction: str | Sequence[str]) -> list[tuple[int, ...]]:
        if len(frames) == 0:
            raise ValueError("frames: there are none")
        return [self.parts.prompter(each) for each in instructions_of(instruction, len(frames))]

    def _images(self, frames: np.ndarray | Tensor) -> Tensor:
        pixels = self.parts.preprocessor(frames, self._device)
        return self.parts.model.embed_images(pixels[:, None])

    @torch.inference_mode()
    def _first_logits(self, frames: Tensor) -> Tensor:
        ids = [self.parts.prompter("pick up the cube")] * len(frames)
        return decode(self.parts.model, self._images(frames), ids, self.parts.tokens, 1).action_logits

    def _check_most_likely(self, tokens: np.ndarray) -> None:
        if self.allow_non_action:
            return
        try:
            self.parts.tokens.check(tokens)
        except ValueError as error:
            raise ValueError(
                f"the model does not answer with actions: {error}. Prompt, preprocessing or checkpoint may be wrong; "
                "allow_non_action=True chooses among action tokens all the same"
            ) from None


def stepping_for(parts: Parts, graphs: bool | None) -> Stepping:
    """How to decode. Raises ValueError if graphs are asked for where there can be none."""
    on_gpu = parts.model.device.type == "cuda"
    if graphs and not on_gpu:
        raise ValueError("graphs=True: CUDA graphs need a model on a GPU")
    return Fixed(graph=True) if graphs or (graphs is None and on_gpu and not parts.four_bits) else Growing()
