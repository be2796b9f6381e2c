"""A student of rpd_jax as one of LeRobot's policies: one observation, one action, no memory."""

from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from .configuration_rpd_jax import STATE, TRAINED, RpdJaxConfig
from .network import Network


class RpdJaxPolicy(PreTrainedPolicy):
    """Acts as the exported student does; normalises by itself, so that processors must not.

    Raises ValueError for a configuration that no export wrote, and for observations that do not fit it.
    """

    config_class = RpdJaxConfig
    name = "rpd_jax"

    def __init__(self, config: RpdJaxConfig, **_: Any) -> None:
        super().__init__(config)
        config.validate_features()
        sizes = [tuple(config.input_features[camera].shape) for camera in config.cameras]
        frames = (sum(size[0] for size in sizes), *sizes[0][1:]) if sizes else None
        self.network = Network(len(config.state_names), frames, config.hidden, config.action_size, config.bins)

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        # LeRobot's default would leave random numbers wherever the file lacks some
        return super()._load_as_safetensor(model, model_file, map_location, True)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Actions [B, A], inside the box, for the newest observation: states [B, D], frames [B, 3, H, W] in [0, 1]."""
        state = self._entry(batch, STATE) if self.config.state_names else None
        frames = [self._entry(batch, camera) for camera in self.config.cameras]
        return self.network(state, torch.cat(frames, dim=1) if frames else None)

    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The same as a chunk of one action, [B, 1, A]."""
        return self.select_action(batch)[:, None]

    def reset(self) -> None:
        """Nothing: the student has no memory."""

    def get_optim_params(self) -> dict[str, Any]:
        raise NotImplementedError(TRAINED)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Any] | None]:
        raise NotImplementedError(TRAINED)

    def _entry(self, batch: dict[str, Tensor], name: str) -> Tensor:
        if name not in batch:
            raise ValueError(f"the observation lacks {name!r}: it has {sorted(batch)}")
        x, shape = batch[name], tuple(self.config.input_features[name].shape)
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be {shape} behind a batch axis")
        if not x.is_floating_point():  # frames of 0 ... 255 would be taken for white
            raise ValueError(f"{name} is {x.dtype}: it must be of floats, frames in [0, 1]")
        if not torch.isfinite(x).all():  # it would become an action that is no number, which robots are sent
            raise ValueError(f"{name} has NaN or infinity")
        return x.to(self.network.low.dtype)
