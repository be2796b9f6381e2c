"""Plots and videos: read back, and looked at by what their pixels say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from rpd_jax.report import plots, video
from rpd_jax.report.gif import LARGEST, write_gif
from rpd_jax.report.plots import Curve, Mark, TeacherLevel, learning_curves
from rpd_jax.report.styles import OWN, PALETTE, look, styles
from rpd_jax.report.video import BORDER, PLAIN, STRIP, SUCCESS, Clip, Column, framed, write_grid

STEPS = np.array([1000, 2000, 3000])


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_mp4(path: Path, height: int, width: int) -> np.ndarray:
    """Pictures int [T, height, width, 3]; the sizes must be the file's, or rows come out slanted."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).astype(int)


def pixels_of(picture: np.ndarray, colour: str) -> int:
    """How many pixels have about that colour."""
    wanted = np.array(to_rgb(colour)) * 255
    return int((np.abs(picture[..., :3] - wanted).max(axis=-1) < 12).sum())


def test_every_variant_is_drawn_in_its_own_colour(tmp_path: Path) -> None:
    curves = [Curve(f"v{i}", STEPS, np.full((3, 3), 0.1 * (i + 1))) for i in range(4)]
    learning_curves(tmp_path / "curves.png", curves, title="maniskill:PickCube-v1")
    picture = read_png(tmp_path / "curves.png")
    counts = [pixels_of(picture, colour) for colour in PALETTE[:5]]
    assert min(counts[:4]) > 300
    assert counts[4] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_the_teachers_level_and_band_are_drawn(tmp_path: Path) -> None:
    curve = Curve("ppo", STEPS, np.zeros((1, 3)))
    learning_curves(tmp_path / "without.png", [curve])
    learning_curves(tmp_path / "with.png", [curve], teacher=TeacherLevel("scripted teacher", 0.5, 0.4, 0.6))
    without, shown = (read_png(tmp_path / name) for name in ("without.png", "with.png"))
    band = "#e6e6e6"  # black at 10 % on white
    assert pixels_of(shown, band) > pixels_of(without, band) + 20_000


def test_a_band_is_shaded_only_between_seeds(tmp_path: Path) -> None:
    spread = np.array([[0.2, 0.3, 0.4], [0.6, 0.7, 0.8]])
    learning_curves(tmp_path / "two.png", [Curve("v", STEPS, spread)])
    learning_curves(tmp_path / "one.png", [Curve("v", STEPS, spread[:1])])
    two, one = (read_png(tmp_path / name) for name in ("two.png", "one.png"))
    shade = "#d1e7f2"  # the first colour at 18 % on white
    assert pixels_of(two, shade) > 20_000 > pixels_of(one, shade)


def test_alarms_are_marked_on_the_mean_of_their_curve_and_named_in_the_legend(tmp_path: Path) -> None:
    flat = Curve("a", STEPS, np.array([[0.2] * 3, [0.6] * 3]))
    marked = flat._replace(marks=[Mark(1500, "widened"), Mark(2500, "kl"), Mark(2600, "kl")])
    axes = Figure().add_subplot()
    labels = plots._labels([flat, marked])
    plots._mark(axes, marked, 0, labels)
    assert labels == ["widened", "kl"]
    found = [(*line.get_xydata()[0], line.get_marker()) for line in axes.get_lines()]
    np.testing.assert_allclose([each[:2] for each in found], [(1500, 0.4), (2500, 0.4), (2600, 0.4)])
    assert found[0][2] != found[1][2] == found[2][2]
    learning_curves(tmp_path / "marked.png", [marked])
    plots.panels(tmp_path / "panels.png", {"std": [marked], "kl": [flat]})
    learning_curves(tmp_path / "flat.png", [flat])
    black = [pixels_of(read_png(tmp_path / name), "black") for name in ("flat.png", "marked.png")]
    assert black[1] > black[0] + 300  # edges of marks, and two lines of the legend
    assert pixels_of(read_png(tmp_path / "panels.png"), "black") > 300


def test_the_note_says_how_many_seeds() -> None:
    assert plots._note({1}) == "one seed"
    assert plots._note({2}) == "mean of 2 seeds, shaded: their range"
    assert plots._note({3}) == "mean of 3 seeds, shaded: 95 % interval"
    assert plots._note({2, 5}) == "mean of 2 to 5 seeds, shaded: 95 % interval (of 2 seeds: range)"


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((2, 4)), np.zeros((0, 3))])
def test_curves_whose_arrays_do_not_fit_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="values of 'ppo' are"):
        learning_curves(tmp_path / "curves.png", [Curve("ppo", STEPS, values)])
    assert list(tmp_path.iterdir()) == []


def clip(value: int, length: int = 5, success: bool | np.ndarray = False, size: int = 33) -> Clip:
    return Clip(np.full((length, size, size, 3), value, np.uint8), success)


def test_a_video_shows_policies_side_by_side(tmp_path: Path) -> None:
    columns = [
        Column("scripted teacher", [clip(250, success=True), clip(200)]),
        Column("rpd-mse", [clip(100, length=3)]),  # ends early, and has one episode less
    ]
    write_grid(tmp_path / "grid.mp4", columns, fps=10)
    cell = 33 + 2 * BORDER
    film = read_mp4(tmp_path / "grid.mp4", height=STRIP + 2 * cell, width=2 * cell)
    assert len(film) == 5
    middle = cell // 2
    for t in (0, 4):
        assert abs(film[t, STRIP + middle, middle] - 250).max() < 12
        assert abs(film[t, STRIP + cell + middle, middle] - 200).max() < 12
        assert abs(film[t, STRIP + middle, cell + middle] - 100).max() < 12  # waits at its last frame
        assert film[t, STRIP + cell + middle, cell + middle].max() < 50  # nothing there
        green = film[t, STRIP + middle, 3]
        assert green[1] > green[0] + 60 and green[1] > green[2]
        grey = film[t, STRIP + cell + middle, 3]
        assert np.ptp(grey) < 30
    assert film[0, :STRIP, :cell].max() > 150  # a caption
    assert [path.name for path in tmp_path.iterdir()] == ["grid.mp4"]


def test_the_frame_turns_green_at_the_first_success_and_stays() -> None:
    success = np.array([False, False, True, False])
    borders = [tuple(framed(clip(0, length=4, success=success), t)[2, 2]) for t in range(5)]
    assert borders == [PLAIN, PLAIN, SUCCESS, SUCCESS, SUCCESS]


def test_long_captions_are_made_smaller_to_fit() -> None:
    strip = video.caption_strip("a rather long caption", 110)
    assert strip.shape == (STRIP, 110, 3)
    columns = np.nonzero((strip > 100).any(axis=(0, 2)))[0]
    assert columns.min() >= 1 and columns.max() <= 108


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "hold no clips"),
        ([Column("x", [])], r"columns=\['x'\] hold no clips"),
        ([Column("x", [clip(0), clip(0, size=40)])], "must be equal"),
        ([Column("x", [Clip(np.zeros((2, 8, 8, 3)), True)])], "must be uint8"),
        ([Column("x", [clip(0, length=0)])], "T at least 1"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, columns: list[Column], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_grid(tmp_path / "grid.mp4", columns)
    assert list(tmp_path.iterdir()) == []


def test_only_mp4_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.mp4"):
        write_grid(tmp_path / "grid.gif", [Column("x", [clip(0)])])


def test_a_failing_encoder_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_even", lambda pixels: pixels | 1)  # odd sizes cannot be encoded
    with pytest.raises(RuntimeError, match=r"ffmpeg failed with status .*not divisible by 2"):
        write_grid(tmp_path / "grid.mp4", [Column("x", [clip(0, length=200, size=200)])])
    assert list(tmp_path.iterdir()) == []


def test_an_error_between_pictures_ends_the_encoder(tmp_path: Path) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(IndexError), video._encoder(tmp_path / "x.mp4", (8, 8), 10) as encode:
        encode(frames[0])
        encode(frames[3])


def test_a_variant_has_the_same_style_whatever_else_is_drawn() -> None:
    assert styles(["ppo", "rpd-mse", "ppd"]) == {"ppo": 0, "rpd-mse": 1, "ppd": 4}
    assert styles(["ppd", "rpd-mse:mse=5"]) == {"ppd": 4, "rpd-mse:mse=5": 1}
    names = [f"mine-{i}" for i in range(9)]
    found = styles([*names, "ppo", "rpd-mse", "rpd-mse:mse=5", "mine-0"])
    assert (found["ppo"], found["rpd-mse"]) == (0, 1) and found["mine-0"] == 2  # blue is what has no teacher
    assert len(set(found.values())) == len(found) == 12
    assert len({look(style) for style in found.values()}) == 12
    assert max(OWN.values()) < len(PALETTE)


def test_a_caption_has_the_line_of_its_curve() -> None:
    strip = video.caption_strip("ppo", 120, PALETTE[1])
    assert pixels_of(strip[-video.LINE :], PALETTE[1]) == video.LINE * (120 - 2 * BORDER)


def test_an_animation_is_small_and_keeps_the_colour_of_small_things(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(90, 110, (301, 128, 128, 3), dtype=np.uint8)  # hardly compresses
    noise[:, 60:68, 60:68] = (220, 20, 20)
    clips = [Clip(noise, True), Clip(noise, True)]
    write_gif(tmp_path / "episodes.gif", [Column("scripted teacher", clips), Column("rpd-mse", clips[:1])], fps=20)
    assert (tmp_path / "episodes.gif").stat().st_size <= LARGEST
    with Image.open(tmp_path / "episodes.gif") as gif:
        assert gif.n_frames == 51  # every sixth, and the last
        assert gif.info["duration"] == 300 and gif.info["loop"] == 0
        first = np.asarray(gif.convert("RGB")).astype(int)
    assert ((first[..., 0] > 180) & (first[..., 1] < 80)).sum() > 10
