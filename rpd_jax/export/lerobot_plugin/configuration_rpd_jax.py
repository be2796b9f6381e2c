"""config.json of an exported student, as LeRobot reads it."""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig

FORMAT = 1
STATE, ACTION = "observation.state", "action"
TRAINED = "students of rpd_jax are trained by rpd_jax: this policy only acts"


@PreTrainedConfig.register_subclass("rpd_jax")
@dataclass
class RpdJaxConfig(PreTrainedConfig):
    """A student's network, and what its numbers are. An exported config.json has all fields.

    Attributes:
      format: of the export.
      hidden: widths of the actor's layers.
      cameras: features of frames, in the order in which their channels are stacked.
      action_size: how many numbers an action has.
      bins: tokens for each number of the action; 0: the network gives the action itself.
      env: the task that it was trained in.
      instruction: that task in words; the student does not read it.
      control_hz: actions a second in training; None where it is not known.
      state_names, state_units: of each number of "observation.state", in its order; None where a unit is not known.
      action_feature_names, action_units: of each number of "action"; ".vel" is a delta, whose 1 is e.g. "0.1 m".
    """

    format: int = 0
    hidden: list[int] = field(default_factory=list)
    cameras: list[str] = field(default_factory=list)
    action_size: int = 0
    bins: int = 0
    env: str = ""
    instruction: str = ""
    control_hz: float | None = None
    state_names: list[str] = field(default_factory=list)
    state_units: list[str | None] = field(default_factory=list)
    action_feature_names: list[str] = field(default_factory=list)
    action_units: list[str | None] = field(default_factory=list)
    push_to_hub: bool = False

    def validate_features(self) -> None:
        """Raises ValueError for a configuration that no export wrote, or features that are not the student's."""
        if self.format != FORMAT:
            raise ValueError(f"format={self.format} cannot be read: {FORMAT} can; `rpd-jax export --lerobot` writes it")
        inputs, outputs = self.input_features or {}, self.output_features or {}
        known = {*self.cameras, *([STATE] if self.state_names else [])}
        if set(inputs) != known:
            raise ValueError(f"input_features={sorted(inputs)}: the student sees {sorted(known)}")
        if self.state_names and tuple(inputs[STATE].shape) != (len(self.state_names),):
            raise ValueError(f"input_features: {STATE} has shape {inputs[STATE].shape}, not ({len(self.state_names)},)")
        shapes = {name: tuple(feature.shape) for name, feature in outputs.items()}
        if shapes != {ACTION: (self.action_size,)}:
            raise ValueError(f"output_features={shapes}: the student gives {ACTION!r} of shape ({self.action_size},)")

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> Any:
        raise NotImplementedError(TRAINED)

    def get_scheduler_preset(self) -> None:
        return None
