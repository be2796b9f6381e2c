"""The ways in which a scripted teacher can be made worse, so that its quality is an experimental variable."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Corruption:
    """All zero: the teacher as written.

    `noise` is what averaging over samples removes; everything else is a systematic error, the same for the
    same observation, that no averaging removes.

    Attributes:
      noise: standard deviation of Gaussian noise on all seven action dimensions, in action units; the sum is
        clipped to the action box.
      bias: metres, world axes; added to the object's position as the teacher believes it, and to where it
        carries the object.
      aim_error: metres; the believed position of the object is off by this much along `aim_direction`, in a
        part of the workspace only, and only until the object is held.
      aim_error_fraction: share in [0, 1] of the episodes' starting positions that `aim_error` applies to.
      aim_direction: direction of `aim_error`, world axes; normalised.
      lag: the teacher sees the observation of this many steps ago.
      gripper_shift: metres; positive closes late (only when nearer than needed), negative closes early.
    """

    noise: float = 0.0
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    aim_error: float = 0.0
    aim_error_fraction: float = 0.0
    aim_direction: tuple[float, float, float] = (1.0, 0.0, 0.0)
    lag: int = 0
    gripper_shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("bias", "aim_direction"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or len(value) != 3 or not all(map(_is_finite, value)):
                raise ValueError(f"corruption {name}={value!r}: three finite numbers are needed")
            object.__setattr__(self, name, tuple(float(v) for v in value))
        for name in ("noise", "aim_error", "aim_error_fraction", "gripper_shift"):
            value = getattr(self, name)
            if not _is_finite(value):
                raise ValueError(f"corruption {name}={value!r}: a finite number is needed")
        for name in ("noise", "aim_error"):
            if getattr(self, name) < 0:
                raise ValueError(f"corruption {name}={getattr(self, name)!r}: must not be negative")
        if not 0.0 <= self.aim_error_fraction <= 1.0:
            raise ValueError(f"corruption aim_error_fraction={self.aim_error_fraction!r}: must lie between 0 and 1")
        if math.hypot(*self.aim_direction) < 1e-6:
            raise ValueError(f"corruption aim_direction={self.aim_direction!r}: must not be zero")
        if not isinstance(self.lag, int) or isinstance(self.lag, bool) or self.lag < 0:
            raise ValueError(f"corruption lag={self.lag!r}: must be a whole number of steps, at least 0")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
