"""An episode of a student beside its teacher's as a small animation, for pages that show no videos."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from rpd_jax.report.video import Column, grid_frames
from rpd_jax.runs.files import atomic_path

WIDTH = 240  # pixels of a column at most
MOST_FRAMES = 60
PAUSE = 1200  # milliseconds at the end
LARGEST = 1_500_000  # bytes


def write_gif(path: Path | str, columns: Sequence[Column], fps: int = 20) -> None:
    """Writes the first episode of each column, of every second frame or fewer, atomically; smaller until it fits.

    Args:
      path: of the file.
      columns: from left to right; all pictures have the same size.
      fps: frames per second that the episodes were recorded with.

    Raises:
      ValueError: there is nothing to show, or the pictures differ in size or type.
    """
    first = [column._replace(clips=column.clips[:1]) for column in columns]
    frames = [frame.copy() for frame in grid_frames(first)]
    stride = max(2, math.ceil(len(frames) / MOST_FRAMES))
    pictures = [Image.fromarray(frame) for frame in (*frames[:-1:stride], frames[-1])]
    width = min(pictures[0].width, WIDTH * len(columns))
    while len(content := _encoded(pictures, width, 1000 * stride // fps)) > LARGEST and width > 64:
        width = int(0.8 * width)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _encoded(pictures: Sequence[Image.Image], width: int, duration: int) -> bytes:
    """One palette and no dithering, so that what rests costs nothing."""
    size = (width, round(pictures[0].height * width / pictures[0].width))
    small = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    colours = Image.new("RGB", (width, 2 * size[1]))
    for row, picture in enumerate((small[0], small[-1])):
        colours.paste(picture, (0, row * size[1]))
    palette = colours.quantize(256, Image.Quantize.MAXCOVERAGE)  # which keeps the colours of what is small
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small)
    durations = [duration] * len(rest) + [PAUSE]
    written = io.BytesIO()
    first.save(written, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    return written.getvalue()
