"""From a scored rollout to new matrices: weights, losses, optimizer steps made of micro-batches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict

import torch
from accelerate import Accelerator
from torch import Tensor

from rpd_jax.config.validation import require
from teachers.openvla.finetune.optimizer import Optimizer
from teachers.openvla.finetune.step import learning_rate
from teachers.openvla.opd import losses
from teachers.openvla.opd.diagnostics import means, token_sums
from teachers.openvla.opd.models import Pair
from teachers.openvla.opd.rollout import Rollout, seed_of
from teachers.openvla.opd.scores import Scores, drawn, inputs, log_probs
from teachers.openvla.opd.settings import DistillSettings, Phase

RATIO = ("reverse_kl_sampled", "reverse_kl_clipped", "grpo")
"""Objectives that need the log-probability of a token as it was drawn."""


def token_loss(
    objective: str,
    log_probs: Tensor,
    teacher_log_probs: Tensor,
    columns: Tensor,
    old: Tensor | None,
    advantage: Tensor,
    clip: tuple[float, float],
) -> Tensor:
    """[...] losses of tokens, by the objective's name; see `losses`.

    Args:
      log_probs, teacher_log_probs: [..., bins].
      columns: [...] int64, the tokens drawn.
      old: [...] their log-probabilities when they were; for objectives in `RATIO`.
      advantage: [...] of their trajectories.
      clip: how far the ratio may fall and rise.
    """
    if objective not in RATIO:
        return getattr(losses, objective)(log_probs, teacher_log_probs)
    assert old is not None, "the objective has a ratio"
    log_prob = drawn(log_probs, columns)
    if objective == "grpo":
        return losses.grpo(log_prob, old, advantage, *clip)
    teacher = drawn(teacher_log_probs, columns)
    if objective == "reverse_kl_clipped":
        return losses.reverse_kl_clipped(log_prob, old, teacher, *clip)
    return losses.reverse_kl_sampled(log_prob, old, teacher)


class Learner:
    """The student's matrices and their optimizer; the same in all processes.

    Raises ConfigError if there are more minibatches than trajectories in a process.
    """

    def __init__(self, pair: Pair, settings: DistillSettings, accelerator: Accelerator) -> None:
        trajectories = settings.groups * settings.group_size // accelerator.num_processes
        right = f"at most the {trajectories} trajectories of a process"
        require(settings.minibatches <= trajectories, "minibatches", settings.minibatches, right)
        self._pair, self._settings, self._accelerator = pair, settings, accelerator
        self._module = accelerator.prepare(pair.student)  # under DDP where there are several processes
        self.optimizer = Optimizer(pair.trainable, settings.optimizer)

    def learning_rate(self, iteration: int) -> float:
        rate = self._settings.phase(iteration).learning_rate
        return learning_rate(iteration, dataclasses.replace(self._settings.optimizer, learning_rate=rate))

    def update(self, rollout: Rollout, scores: Scores, iteration: int) -> dict[str, float]:
        """Takes the optimizer steps of an iteration; returns means over the tokens of all processes."""
        settings, accelerator = self._settings, self._accelerator
        phase, rate = settings.phase(iteration), self.learning_rate(iteration)
        weight, advantage = self._weights(rollout), self._advantages(rollout)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=accelerator.device))
        norms = []
        with self._training():
            for epoch in range(settings.epochs):
                for part in self._order(len(rollout.instructions), iteration, epoch).tensor_split(settings.minibatches):
                    self.optimizer.clear()
                    pieces = part.split(settings.micro_batch)
                    for number, rows in enumerate(pieces, 1):
                        # Gradients are averaged over processes once a step: with its last micro-batch.
                        last = number == len(pieces)
                        with contextlib.nullcontext() if last else accelerator.no_sync(self._module):
                            loss, found = self._loss(phase, rollout, scores, weight, advantage, rows)
                            accelerator.backward(loss * settings.minibatches)
                        for name, value in {"loss": loss.detach().double(), **found}.items():
                            sums[name] += value
                    norms.append(self.optimizer.step(rate, skip_zero=True))
        success = rollout.success.double()
        mixed = losses.mixed(self._groups(rollout.success), settings.success_low, settings.success_high)
        sums["success"], sums["trajectories"] = success.sum(), torch.tensor(float(len(success)))
        sums["mixed"], sums["groups"] = mixed.sum(), torch.tensor(float(len(mixed)))
        total = self._over_processes(sums)
        loss = total.pop("loss") / settings.epochs / accelerator.num_processes
        counts = {name: total.pop(name) for name in ("success", "trajectories", "mixed", "groups")}
        return {
            "loss": loss,
            "gradient_norm": float(torch.stack(norms).mean()),
            "learning_rate": rate,
            "success": counts["success"] / counts["trajectories"],
            "mixed_groups": counts["mixed"] / counts["groups"],
            **means(total),
            "tokens": total["tokens"] / settings.epochs,
        }

    def _loss(
        self, phase: Phase, rollout: Rollout, scores: Scores, weight: Tensor, advantage: Tensor, rows: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted losses of some rows, added up, and sums for the log."""
        settings, device = self._settings, self._accelerator.device
        listed = rows.tolist()
        columns = rollout.columns[rows].to(device)
        logits = self._module(
            [rollout.instructions[row] for row in listed], columns, **inputs(self._pair, rollout, listed)
        )
        log, teacher = log_probs(logits, settings.temperature), scores.teacher[rows].to(device)
        old = None if scores.old is None else scores.old[rows].to(device)
        clip = settings.clip_low, settings.clip_high
        each = token_loss(phase.objective, log, teacher, columns, old, advantage[rows].to(device), clip)
        ratio = None if old is None else (drawn(log.detach(), columns) - old).exp()
        bounds = 1 - settings.clip_low, 1 + settings.clip_high
        found = token_sums(log.detach(), teacher, ratio, rollout.mask[rows].to(device), self._pair.student.dims, bounds)
        return (each * weight[rows].to(device)).sum(), found

    def _weights(self, rollout: Rollout) -> Tensor:
        """[R, K], such that the mean over processes of their sums is the loss of all trajectories."""
        weight = rollout.of_rows(losses.token_weights(rollout.dense(rollout.mask), self._settings.normalize))
        if self._settings.normalize != "token":
            return weight  # every process has as many trajectories
        count = rollout.mask.sum().double()
        mean = self._over_processes({"count": count})["count"] / self._accelerator.num_processes
        return weight * float(count / mean)

    def _advantages(self, rollout: Rollout) -> Tensor:
        """[R, K], that of the row's trajectory."""
        settings = self._settings
        found = losses.group_advantages(self._groups(rollout.success), settings.success_low, settings.success_high)
        return found.T.flatten()[rollout.trajectory][:, None].expand_as(rollout.columns)

    def _groups(self, values: Tensor) -> Tensor:
        """[N] -> [B, G]: trajectory n belongs to group n % B."""
        return values.reshape(self._settings.group_size, -1).T

    def _order(self, count: int, iteration: int, epoch: int) -> Tensor:
        """Of the rows: as they came for one step, else drawn anew, alike in a resumed run."""
        if self._settings.minibatches == 1:
            return torch.arange(count)
        seed = seed_of(self._settings.seed, iteration, epoch, self._accelerator.process_index)
        return torch.randperm(count, generator=torch.Generator().manual_seed(seed))

    def _over_processes(self, sums: dict[str, Tensor]) -> dict[str, float]:
        device = self._accelerator.device
        vector = torch.stack([value.to(device, torch.float64) for value in sums.values()])
        total = self._accelerator.reduce(vector, "sum")
        return dict(zip(sums, total.tolist(), strict=True))

    @contextlib.contextmanager
    def _training(self):
        """transformers computes activations twice only in training mode, in which it keeps no keys and values."""
        language = self._pair.student.model.language_model.model
        language.train(self._settings.gradient_checkpointing)
        try:
            yield
        finally:
            language.eval()
