"""Ready requests for published servers, by name: `teacher.request=openpi-libero`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rpd_jax.config.errors import ConfigError, require


@dataclasses.dataclass(frozen=True)
class Ready:
    """What one kind of server is sent.

    Attributes:
      protocol: that it speaks.
      entries: of the request, see `expression`.
      contract: of its actions, where all such servers have the same; "": the user must say it.
    """

    protocol: str
    entries: Sequence[str]
    contract: str = ""


# The servers refuse other sizes than 256 x 256; their models' training data were resized with Lanczos.
_PRIMARY = Ready("vlagents", ("right/rgb_side=rgb|lanczos:256", "language_instruction=instruction"))

READY: Mapping[str, Ready] = {
    # What openpi's own LIBERO client sends: its state is made of MuJoCo's doubles, and its frames are turned by 180
    # degrees, as those of LIBERO in this library already are.
    "openpi-libero": Ready(
        "openpi",
        (
            "observation/image=rgb|pad:224",
            "observation/wrist_image=rgb_wrist|pad:224",
            "observation/state=proprio.eef_pos+proprio.eef_axis_angle+proprio.gripper_qpos|float64",
            "prompt=instruction",
        ),
        contract="libero_osc",
    ),
    "vlagents-octo": _PRIMARY,
    "vlagents-openvla": _PRIMARY,
}

REFUSED: Mapping[str, str] = {
    "openpi-droid": "its actions are joint velocities (or positions) of seven joints, and a teacher's must be "
    "end-effector deltas",
    "lerobot": "lerobot's policy server (async inference, gRPC) sends and takes pickles, and unpickling an answer runs "
    "whatever code its sender chose; serve the policy by vlagents instead",
}
"""Servers that cannot be teachers, and why."""


def refuse(field: str, name: str) -> None:
    """Raises ConfigError, one line with the reason, for a server that cannot be a teacher."""
    if isinstance(name, str) and name in REFUSED:
        raise ConfigError(f"{field}={name!r} is refused: {REFUSED[name]}")


def ready(request: Sequence[str], protocol: str) -> Ready | None:
    """The ready request that `teacher.request` names; None where it is entries, or empty.

    Raises:
      ConfigError: a name that is unknown, of another protocol, or of a server that cannot be a teacher.
    """
    if len(request) != 1 or "=" in request[0]:
        return None
    (name,) = request
    refuse("teacher.request", name)
    require(name in READY, "teacher.request", name, f"NAME=SOURCE entries, or one of {', '.join(READY)}")
    found = READY[name]
    require(found.protocol == protocol, "teacher.protocol", protocol, f"{found.protocol!r} for teacher.request={name}")
    return found
