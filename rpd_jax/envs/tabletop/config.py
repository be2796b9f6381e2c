"""Settings that only tabletop tasks have."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.validation import setting
from rpd_jax.envs.camera import CameraSettings

PHYSICS = ("auto", "c", "mjx")


@dataclasses.dataclass
class TabletopConfig(CameraSettings, EnvConfig):
    """Beside the fields of `EnvConfig`."""

    # An episode has so many times more steps, each moving and turning the tool by so much less; the gripper is as ever.
    horizon_scale: int = setting(1, low=1)
    physics: str = setting("auto", choices=PHYSICS)  # auto: mjx on an accelerator, C MuJoCo elsewhere
