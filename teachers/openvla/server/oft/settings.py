"""What an OpenVLA-OFT checkpoint was trained for. It is not stored in the checkpoint: it has to be said."""

from __future__ import annotations

import dataclasses

from teachers.openvla.server.statistics import BOUNDS

HEADS = ("tokens", "l1", "diffusion")
TRAINING_STEPS = 50
"""Of the diffusion."""


@dataclasses.dataclass(frozen=True)
class OFTSettings:
    chunk: int = 8  # K, actions of one answer
    action_dim: int = 7  # A
    images: int = 1  # of one observation: the primary camera's first, then the wrists'
    proprio_dim: int | None = None  # None: the robot's state is not an input
    head: str = "tokens"
    film: bool = False  # instructions modulate the vision towers
    normalization: str = "quantiles"  # or "range": which statistics became -1 and 1
    diffusion_steps: int = TRAINING_STEPS  # of an answer
    # How its frames were made, see `Preprocessor`.
    center_crop: bool = False
    libero: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if a setting is impossible."""
        for name in ("chunk", "action_dim", "images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: need at least 1")
        if self.proprio_dim is not None and self.proprio_dim < 1:
            raise ValueError(f"proprio_dim={self.proprio_dim}: need at least 1, or None")
        if self.head not in HEADS:
            raise ValueError(f"head={self.head!r} is unknown: choose from {HEADS}")
        if self.normalization not in BOUNDS:
            raise ValueError(f"normalization={self.normalization!r} is unknown: choose from {sorted(BOUNDS)}")
        if not 1 <= self.diffusion_steps <= TRAINING_STEPS:
            raise ValueError(f"diffusion_steps={self.diffusion_steps}: need 1 to {TRAINING_STEPS}")


PLATFORMS = {
    "libero": OFTSettings(chunk=8, action_dim=7, images=2, proprio_dim=8, head="l1", center_crop=True, libero=True),
    "aloha": OFTSettings(
        chunk=25,
        action_dim=14,
        images=3,
        proprio_dim=14,
        head="l1",
        film=True,
        normalization="range",
        center_crop=True,
    ),
    "bridge": OFTSettings(chunk=5, action_dim=7, images=1, proprio_dim=7, head="l1", center_crop=True),
    "libero-tokens": OFTSettings(chunk=8, action_dim=7, images=1, center_crop=True, libero=True),
}
"""Settings of published checkpoints; the last are those of token teachers for reinforcement learning.

All were trained with random crops. LIBERO's renderer gives frames upside down, which its data sets turn by 180 degrees:
frames are expected as the data sets have them, upright.
"""


def platform(name: str, *, samples: int = 1, proprio: int | None = None) -> OFTSettings:
    """The settings of a platform, where its checkpoints can label an environment's observations.

    Args:
      name: of PLATFORMS.
      samples: labels drawn of every observation.
      proprio: numbers in the environment's proprio, 0 if it has none; None: not known.
    Raises:
      ValueError: the platform is unknown, or needs what is not there.
    """
    if name not in PLATFORMS:
        raise ValueError(f"oft={name!r} is unknown: choose from {', '.join(PLATFORMS)}")
    settings = PLATFORMS[name]
    if settings.images > 1:
        single = ", ".join(each for each, its in PLATFORMS.items() if its.images == 1)
        raise ValueError(
            f"oft={name!r} needs {settings.images} images of every observation, the primary camera's and the wrists', "
            f"environments give one frame: choose from {single}"
        )
    if settings.head != "tokens" and samples > 1:
        raise ValueError(f"samples={samples}: the {settings.head} head of oft={name!r} gives one action, need 1")
    if settings.proprio_dim is not None and proprio not in (None, settings.proprio_dim):
        raise ValueError(
            f"oft={name!r} reads {settings.proprio_dim} numbers of proprio, the environment has {proprio or 'none'}"
        )
    return settings
