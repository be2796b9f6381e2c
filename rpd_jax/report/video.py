"""Episodes side by side as a video: one column per policy, one row per episode."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rpd_jax.runs.files import atomic_path

BORDER = 6  # pixels around each picture
STRIP = 28  # pixels of the caption's height
LINE = 4  # pixels of the line under it
SUCCESS, PLAIN, BACKGROUND = (0, 158, 115), (70, 70, 70), (24, 24, 24)


class Clip(NamedTuple):
    """One recorded episode."""

    frames: np.ndarray  # uint8 [T, H, W, 3]
    success: bool | np.ndarray  # of the episode (its frame is green), or bool [T] (green from the first success on)


class Column(NamedTuple):
    """A policy's episodes under its name."""

    caption: str  # e.g. "scripted teacher" or "rpd-mse"
    clips: Sequence[Clip]
    colour: str = "white"  # of the line under the caption, e.g. that of its curves


def write_grid(path: Path | str, columns: Sequence[Column], fps: int = 20) -> None:
    """Writes an mp4 file (H.264) atomically; shorter episodes wait at their last frame.

    Args:
      path: ends in ".mp4".
      columns: from left to right; all pictures have the same size.
      fps: frames per second.

    Raises:
      ValueError: there is nothing to show, or the pictures differ in size or type.
    """
    if Path(path).suffix != ".mp4":
        raise ValueError(f"path={str(path)!r} cannot work: it must end in .mp4")
    pictures = grid_frames(columns)
    first = next(pictures)
    with atomic_path(path) as temporary, _encoder(temporary, first.shape[:2], fps) as encode:
        encode(first)
        for picture in pictures:
            encode(picture)


def grid_frames(columns: Sequence[Column]) -> Iterator[np.ndarray]:
    """The pictures of a video, uint8 [H, W, 3] with even sides; an array is good until the next one is asked for.

    Raises:
      ValueError: as `write_grid`, at the first picture.
    """
    height, width = _picture_size(columns)
    length = max(len(clip.frames) for column in columns for clip in column.clips)
    rows = max(len(column.clips) for column in columns)
    cell = (height + 2 * BORDER, width + 2 * BORDER)
    canvas = np.empty((_even(STRIP + rows * cell[0]), _even(len(columns) * cell[1]), 3), np.uint8)
    canvas[:] = BACKGROUND
    for index, column in enumerate(columns):
        canvas[:STRIP, index * cell[1] : (index + 1) * cell[1]] = caption_strip(column.caption, cell[1], column.colour)
    for t in range(length):
        for x, column in enumerate(columns):
            for y, clip in enumerate(column.clips):
                top, left = STRIP + y * cell[0], x * cell[1]
                canvas[top : top + cell[0], left : left + cell[1]] = framed(clip, t)
        yield canvas


def framed(clip: Clip, t: int) -> np.ndarray:
    """The picture at step t, or the last one, with its border: uint8 [H + 2 BORDER, W + 2 BORDER, 3]."""
    t = min(t, len(clip.frames) - 1)
    frame = clip.frames[t]
    succeeded = np.any(np.asarray(clip.success)[..., : t + 1]) if np.ndim(clip.success) else clip.success
    out = np.empty((frame.shape[0] + 2 * BORDER, frame.shape[1] + 2 * BORDER, 3), np.uint8)
    out[:] = BACKGROUND
    out[1:-1, 1:-1] = SUCCESS if succeeded else PLAIN
    out[BORDER:-BORDER, BORDER:-BORDER] = frame
    return out


def caption_strip(text: str, width: int, colour: str = "") -> np.ndarray:
    """The text in white, centred and as large as fits, perhaps over a line: uint8 [STRIP, width, 3]."""
    image = Image.new("RGB", (width, STRIP), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for size in range(16, 7, -1):
        font = ImageFont.load_default(size)
        if draw.textlength(text, font) <= width - 2 * BORDER:
            break
    if colour:
        draw.rectangle((BORDER, STRIP - LINE, width - BORDER - 1, STRIP - 1), fill=colour)
    draw.text((width / 2, (STRIP - LINE) / 2), text, font=font, fill="white", anchor="mm")
    return np.asarray(image)


def _picture_size(columns: Sequence[Column]) -> tuple[int, int]:
    clips = [clip for column in columns for clip in column.clips]
    if not clips:
        raise ValueError(f"columns={[column.caption for column in columns]} hold no clips: it must be at least one")
    for clip in clips:
        frames = clip.frames
        if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames are {frames.dtype} {frames.shape}: they must be uint8 [T, H, W, 3] with T at least 1"
            )
    sizes = {clip.frames.shape[1:3] for clip in clips}
    if len(sizes) > 1:
        raise ValueError(f"frames have the sizes {sorted(sizes)}: they must be equal")
    return sizes.pop()


@contextmanager
def _encoder(path: Path, size: tuple[int, int], fps: int) -> Iterator[Callable[[np.ndarray], object]]:
    """Gives a function that takes pictures uint8 [*size, 3]; both sides of `size` are even.

    Runs ffmpeg without imageio's writer, which forks in a way that is unsafe beside JAX's threads.
    """
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", str(fps), "-i", "-"]
    target = ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source, *target]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=words, start_new_session=True)
        stdin = process.stdin
        assert stdin is not None
        # A broken pipe means that ffmpeg ended early, as its status says. Leaving `process` waits for it.
        with contextlib.suppress(BrokenPipeError), process:
            try:
                yield lambda picture: stdin.write(picture.tobytes())
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            words.seek(0)
            text = words.read().decode(errors="replace").strip()
            raise RuntimeError(f"ffmpeg failed with status {process.returncode}: {text}")


def _even(pixels: int) -> int:
    return pixels + pixels % 2  # H.264 halves the resolution of colours
