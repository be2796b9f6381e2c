"""LeRobot's pipelines around a student: rename, batch axis, device; nothing is normalised here."""

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
    policy_action_to_transition,
    transition_to_policy_action,
)

from .configuration_rpd_jax import RpdJaxConfig


def make_rpd_jax_pre_post_processors(
    config: RpdJaxConfig, dataset_stats: Any = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """Pre- and postprocessor; `dataset_stats` have no part, since the student has its own."""
    rename, batch = RenameObservationsProcessorStep(rename_map={}), AddBatchDimensionProcessorStep()
    before = PolicyProcessorPipeline(
        steps=[rename, batch, DeviceProcessorStep(device=config.device)], name="policy_preprocessor"
    )
    after = PolicyProcessorPipeline(
        steps=[DeviceProcessorStep(device="cpu")],
        name="policy_postprocessor",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
