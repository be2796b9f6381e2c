"""Loss, metrics and one step of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from teachers.openvla.finetune.data import Batch, parts, pixels
from teachers.openvla.finetune.optimizer import Optimizer
from teachers.openvla.finetune.settings import OptimizerSettings
from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.decoding import logits_along
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.preprocessing import Preprocessor


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, over the whole vocabulary, of the tokens to be predicted.

    Prompts and images are not predicted: their positions have no logits here.

    Args:
      logits: [B, A + 1, V] float32.
      targets: [B, A + 1].
    """
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def token_metrics(logits: Tensor, targets: Tensor, tokens: ActionTokens) -> dict[str, Tensor]:
    """How well actions are predicted, each token given the right ones before it.

    Args:
      logits, targets: as in `token_loss`; the last target is no action.
    Returns:
      "action_accuracy": share of action tokens that are the most likely of all.
      "action_l1": mean distance of the most likely action token's value from the right one's, of normalised actions.
    """
    logits, targets = logits[:, :-1], targets[:, :-1]
    values = torch.as_tensor(tokens.column_values, dtype=torch.float32, device=logits.device)
    guess = logits[..., tokens.columns].argmax(-1)
    return {
        "action_accuracy": (logits.argmax(-1) == targets).float().mean(),
        "action_l1": (values[guess] - values[targets - tokens.columns.start]).abs().mean(),
    }


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Of the step after `step` others."""
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))


class Trainer:
    """A model with trainable matrices and their optimizer.

    Args:
      model: with matrices added, see `add_lora`.
      trainable: the matrices by name.
      settings: of the optimizer.
      preprocessor, tokens: the model's.
      accumulation: micro-batches per step.
      half: compute in bfloat16.
    """

    def __init__(
        self,
        model: OpenVLA,
        trainable: Mapping[str, nn.Parameter],
        settings: OptimizerSettings,
        preprocessor: Preprocessor,
        tokens: ActionTokens,
        *,
        accumulation: int = 1,
        half: bool = False,
    ) -> None:
        self.model, self.trainable = model, dict(trainable)
        self.optimizer = Optimizer(self.trainable, settings)
        self._settings, self._preprocessor, self._tokens = settings, preprocessor, tokens
        self._accumulation, self._half = accumulation, half

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Changes the matrices by one step, number `step` from 0; returns the metrics of before."""
        rate = learning_rate(step, self._settings)
        self.optimizer.clear()
        found = []
        for part in parts(batch, self._accumulation):
            loss, metrics = self._forward(part)
            (loss / self._accumulation).backward()
            found.append({"loss": loss.detach()} | metrics)
        norm = self.optimizer.step(rate)
        means = {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}
        return means | {"gradient_norm": norm, "learning_rate": torch.tensor(rate)}

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Loss and metrics of a batch."""
        found = []
        for part in parts(batch, self._accumulation):
            loss, metrics = self._forward(part)
            found.append({"loss": loss} | metrics)
        return {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        prepared = pixels(batch, self._preprocessor)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._half):
            images = self.model.embed_images(prepared)
            logits = logits_along(self.model, images, batch.prompts, batch.targets)
        return token_loss(logits, batch.targets), token_metrics(logits, batch.targets, self._tokens)
