"""AdamW over named matrices, with what a checkpoint keeps of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from teachers.openvla.finetune.settings import OptimizerSettings


class Optimizer:
    """AdamW behind a clip of the global gradient norm.

    Args:
      trainable: the matrices by name.
    """

    def __init__(self, trainable: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> None:
        self._trainable, self._settings = dict(trainable), settings
        self._adamw = torch.optim.AdamW(
            self._trainable.values(),
            lr=settings.learning_rate,
            betas=(settings.b1, settings.b2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    def clear(self) -> None:
        """Drops the gradients of the step before."""
        self._adamw.zero_grad(set_to_none=True)

    def step(self, rate: float, *, skip_zero: bool = False) -> Tensor:
        """Takes a step of this learning rate along the gradients; returns their norm before the clip.

        With `skip_zero` gradients that are exactly zero make none: momentum and weight decay would.
        """
        for group in self._adamw.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self._trainable.values(), self._settings.clip or float("inf"))
        if not (skip_zero and float(norm) == 0.0):
            self._adamw.step()
        return norm.detach()

    def state(self) -> dict[str, Tensor]:
        """Matrices and the optimizer's moments, by "param/", "exp_avg/" and "exp_avg_sq/" and name."""
        found = {f"param/{name}": parameter.detach() for name, parameter in self._trainable.items()}
        for name, parameter in self._trainable.items():
            moments = self._adamw.state[parameter]
            found |= {f"{key}/{name}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
        return found

    def set_state(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Takes up what `state` gave after `step` steps. Raises ValueError if the matrices are others."""
        expected = {f"{key}/{name}": p.shape for key in ("param", "exp_avg", "exp_avg_sq") for name, p in self._named()}
        if {name: x.shape for name, x in tensors.items()} != expected:
            raise ValueError("its matrices are not those of this model and these settings")
        state = {}
        for position, (name, parameter) in enumerate(self._named()):
            with torch.no_grad():
                parameter.copy_(tensors[f"param/{name}"])
            moments = {key: tensors[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            state[position] = {"step": torch.tensor(float(step)), **moments}
        self._adamw.load_state_dict({**self._adamw.state_dict(), "state": state})

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return list(self._trainable.items())
