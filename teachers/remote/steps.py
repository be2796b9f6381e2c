"""What can be done to a frame or to numbers on their way to a policy server: pure functions, and their names."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from rpd_jax.config.errors import choice

Array = np.ndarray
ORDERS = ("wxyz", "xyzw")


def fitted(frame: Array, size: int) -> Array:
    """A frame uint8 [H, W, 3] fitted into a square, bilinearly, its sides' ratio kept and the rest black.

    As openpi's `image_tools.resize_with_pad` does it.
    """
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame
    ratio = max(width, height) / size
    inner = Image.fromarray(frame).resize((int(width / ratio), int(height / ratio)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (size, size))
    square.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    return np.asarray(square)


def stretched(frame: Array, size: int, method: Image.Resampling) -> Array:
    """A frame uint8 [H, W, 3] stretched to a square, whatever its sides' ratio."""
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), method))


def turned(frame: Array) -> Array:
    """A frame [H, W, 3] turned by 180 degrees."""
    return np.ascontiguousarray(frame[::-1, ::-1])


def mirrored(frame: Array) -> Array:
    """A frame [H, W, 3] with left and right exchanged."""
    return np.ascontiguousarray(frame[:, ::-1])


def axis_angle(quaternion: Array, order: str = "wxyz") -> Array:
    """The rotation vector [3], radians, of length at most pi, of a quaternion [4]; of one of zeros, zeros.

    Args:
      quaternion: of any length; its sign does not matter.
      order: of its numbers: "wxyz" (SAPIEN, MuJoCo) or "xyzw" (robosuite, SciPy).
    """
    if quaternion.shape != (4,):
        raise ValueError(f"axis_angle needs a quaternion, four numbers, got {quaternion.size}")
    w, *v = quaternion if order == "wxyz" else np.roll(quaternion, 1)
    vector = np.array(v, quaternion.dtype) * (-1 if w < 0 else 1)
    sine = np.linalg.norm(vector)
    # angle / sine -> 2 / w as the sine vanishes
    factor = 2 * np.arctan2(sine, abs(w)) / sine if sine > 0 else 0
    return (vector * factor).astype(quaternion.dtype)


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that can be done.

    Attributes:
      apply: (value, argument where there is one) -> value.
      takes: "a frame" or "numbers".
      argument: what is written behind its name and a colon: "PIXELS"; one of several words, the first by default; "".
    """

    apply: Callable[..., Array]
    takes: str
    argument: str | Sequence[str] = ""


STEPS: Mapping[str, Step] = {
    "pad": Step(fitted, "a frame", "PIXELS"),
    "lanczos": Step(functools.partial(stretched, method=Image.Resampling.LANCZOS), "a frame", "PIXELS"),
    "bilinear": Step(functools.partial(stretched, method=Image.Resampling.BILINEAR), "a frame", "PIXELS"),
    "rotate180": Step(turned, "a frame"),
    "mirror": Step(mirrored, "a frame"),
    "axis_angle": Step(axis_angle, "numbers", ORDERS),
    "float32": Step(lambda value: value.astype(np.float32), "numbers"),
    "float64": Step(lambda value: value.astype(np.float64), "numbers"),
}
"""Steps by name, as a mapping's entry has them behind "|". Those with "PIXELS" set a frame's size."""


def step(text: str) -> Callable[[Array], Array]:
    """The function of a step as it is written, e.g. "pad:224"; it raises ValueError for a value that does not fit.

    Raises:
      ValueError: no such step, or an argument that is none.
    """
    name, _, argument = text.partition(":")
    choice("step", name, STEPS)
    known = STEPS[name]
    arguments: tuple[int | str, ...] = ()
    if known.argument == "PIXELS":
        if not argument.isdecimal() or int(argument) < 1:
            raise ValueError(f"{text!r} must be {name}:PIXELS, e.g. {name}:224")
        arguments = (int(argument),)
    elif argument and argument not in known.argument:
        raise ValueError(f"{text!r} must be {' or '.join([name, *(f'{name}:{each}' for each in known.argument)])}")
    elif argument:
        arguments = (argument,)

    def apply(value: Array) -> Array:
        kind = "a frame" if value.ndim == 3 else "numbers"
        if kind != known.takes:
            raise ValueError(f"{name} needs {known.takes}, got {kind}")
        return known.apply(value, *arguments)

    return apply


def sets_size(text: str) -> bool:
    """Whether a step, as it is written, sets the size of a frame."""
    return STEPS[text.partition(":")[0]].argument == "PIXELS"
