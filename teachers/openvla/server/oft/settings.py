"""What an OpenVLA-OFT checkpoint was trained for. It is not stored in the checkpoint: it has to be said.

By the name of a platform, by fields, or by both, in one string that flags, JSON and Python say alike:

    libero
    libero,chunk=16
    head=l1,images=rgb+rgb_wrist,proprio=eef_pos:3+eef_axis_angle:3+gripper_qpos:2

Neither torch nor jax is needed here.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rpd_jax.config.validation import ConfigError, check, choice, require, setting
from teachers.openvla.server.statistics import BOUNDS

HEADS = ("tokens", "l1", "diffusion")
TRAINING_STEPS = 50
"""Of the diffusion."""


@dataclasses.dataclass(frozen=True)
class OFTSettings:
    chunk: int = setting(8, low=1)  # K, actions of one answer
    action_dim: int = setting(7, low=1)  # A
    images: tuple[str, ...] = setting(("rgb",), required=True)  # an observation's cameras, in the order of training
    # Parts of an observation's "proprio" as the data had them, in order, "name:numbers"; "8" are 8 numbers that nobody
    # has named. Empty: the robot's state is not an input.
    proprio: tuple[str, ...] = ()
    head: str = setting("tokens", choices=HEADS)
    film: bool = False  # instructions modulate the vision towers
    normalization: str = setting("quantiles", choices=tuple(BOUNDS))  # which statistics became -1 and 1
    bins: int = setting(0, low=0)  # action tokens; 0: as config.json says
    diffusion_steps: int = setting(TRAINING_STEPS, low=1, high=TRAINING_STEPS)  # of an answer
    # How its frames were made, see `Preprocessor`.
    center_crop: bool = False
    libero: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError for the first setting that is impossible."""
        check(self, "oft.")
        require(len(set(self.images)) == len(self.images), "oft.images", self.images, "no camera twice")
        for part in self.proprio:
            fits = part.rpartition(":")[2].isdecimal() and int(part.rpartition(":")[2]) > 0
            require(
                fits, "oft.proprio", "+".join(self.proprio), "NAME:NUMBERS joined by +, e.g. eef_pos:3, or a number"
            )

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each part of the robot's state; the name is empty where nobody knows it."""
        return tuple((name, int(size)) for name, _, size in (part.rpartition(":") for part in self.proprio))

    @property
    def proprio_dim(self) -> int | None:
        """Numbers of the robot's state; None: it is not an input."""
        return sum(size for _, size in self.parts) if self.proprio else None

    @property
    def observation_keys(self) -> tuple[str, ...]:
        """The entries of an observation that are read."""
        return (*self.images, *(("proprio",) if self.proprio else ()))


PLATFORMS = {
    "libero": OFTSettings(
        chunk=8,
        action_dim=7,
        images=("rgb", "rgb_wrist"),
        proprio=("eef_pos:3", "eef_axis_angle:3", "gripper_qpos:2"),
        head="l1",
        center_crop=True,
        libero=True,
    ),
    "aloha": OFTSettings(
        chunk=25,
        action_dim=14,
        images=("rgb", "rgb_left_wrist", "rgb_right_wrist"),
        proprio=("14",),
        head="l1",
        film=True,
        normalization="range",
        center_crop=True,
    ),
    "bridge": OFTSettings(chunk=5, action_dim=7, proprio=("7",), head="l1", center_crop=True),
    "libero-tokens": OFTSettings(chunk=8, action_dim=7, center_crop=True, libero=True),
}
"""Settings of published checkpoints; the last are those of token teachers for reinforcement learning.

All were trained with random crops. LIBERO's renderer gives frames upside down, which its data sets turn by 180 degrees:
frames are expected as the data sets have them, upright.
"""


def oft_settings(text: str) -> OFTSettings:
    """The settings that a string says: a platform's, fields, or a platform's with some fields otherwise.

    Raises ConfigError for an unknown platform or field, or a value that is impossible.
    """
    first, *others = text.split(",")
    base = OFTSettings()
    if "=" in first:
        others = [first, *others]
    else:
        choice("oft", first, PLATFORMS)
        base = PLATFORMS[first]
    types = {field.name: type(getattr(base, field.name)) for field in dataclasses.fields(base)}
    given: dict[str, Any] = {}
    for each in others:
        name, equals, value = each.partition("=")
        require(bool(equals), "oft", text, "a platform and then FIELD=VALUE, with commas between them")
        choice("oft.<field>", name, types)
        given[name] = tuple(filter(None, value.split("+"))) if types[name] is tuple else _value(value)
    return dataclasses.replace(base, **given)


def check_samples(settings: OFTSettings, samples: int) -> None:
    """Raises ConfigError where the head gives one action and several are to be drawn."""
    if settings.head != "tokens" and samples > 1:
        raise ConfigError(f"samples={samples}: the {settings.head} head of OpenVLA-OFT gives one action, need 1")


def _value(text: str) -> Any:
    """A number, true or false; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
