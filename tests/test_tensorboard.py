"""TensorBoard's files, read back by TensorBoard itself where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rpd_jax.runs.metrics import read_metrics
from rpd_jax.runs.series import About, Learner, Outcome
from rpd_jax.runs.tensorboard import TensorBoardWriter

LEARNERS = tuple(
    Learner(name, seed, {"terms": {"mse": weight}}) for name, weight in (("a", 1.0), ("b/c", 2.0)) for seed in (0, 1, 2)
)
CONFIG = {
    "env": {"name": "toy:Reach-v0"},
    "algorithm": {"gamma": 0.9, "hidden": [4, 4], "start": ""},
    "run": {"devices": 1},
}
ABOUT = About("run", CONFIG, LEARNERS, episodes=10)


def row(shift: float, seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, float]:
    """A metric of every member and one of the whole run."""
    values = {f"update/loss/{each.variant}/{each.seed}": shift + each.seed for each in LEARNERS if each.seed in seeds}
    return values | {"time/seconds": shift}


def read(directory: Path) -> Any:
    """What TensorBoard sees."""
    reason = "tensorboard is not installed: pip install tensorboard"
    multiplexer = pytest.importorskip("tensorboard.backend.event_processing.event_multiplexer", reason=reason)
    found = multiplexer.EventMultiplexer().AddRunsFromDirectory(str(directory))
    found.Reload()
    return found


def points(found: Any, run: str, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(run, tag)]


def test_members_are_runs_with_the_same_tags_and_variants_have_means(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, ABOUT)
    writer.write(10, row(1.0))
    writer.write(20, row(2.0, seeds=(0, 1)) | {"update/loss/a/2": float("nan")})  # no mean of those that are left
    writer.close()
    found = read(tmp_path)
    variants, kinds = ("a", "b_c"), ("seed-0", "seed-1", "seed-2", "mean", "low", "high")
    assert set(found.Runs()) == {".", *(f"{variant}/{kind}" for variant in variants for kind in kinds)}
    assert all(tags["scalars"] == ["update/loss"] for run, tags in found.Runs().items() if run != ".")
    assert points(found, "b_c/seed-1", "update/loss") == [(10, 2.0), (20, 3.0)]
    assert points(found, "a/mean", "update/loss") == [(10, 2.0)]
    ends = [points(found, f"a/{kind}", "update/loss")[0][1] for kind in ("low", "high")]
    assert ends == pytest.approx([2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5])  # Student's t, 2 degrees of freedom
    assert points(found, ".", "time/seconds") == [(10, 1.0), (20, 2.0)]


def test_intervals_of_evaluations_are_those_of_the_pictures(tmp_path: Path) -> None:
    from rpd_jax.report.intervals import success_rates

    writer = TensorBoardWriter(tmp_path, ABOUT)
    rates = {f"eval/success_once/a/{seed}": value for seed, value in enumerate((0.2, 0.3, 0.7))}
    writer.write(10, rates)
    writer.finish(20, Outcome(rates, episodes=100))
    writer.close()
    found = read(tmp_path)
    for kind in ("low", "high"):
        ends = [getattr(success_rates([[2 * n, 3 * n, 7 * n]], [[10 * n] * 3]), kind)[0] for n in (1, 10)]
        assert points(found, f"a/{kind}", "eval/success_once") == [
            (step, pytest.approx(end)) for step, end in zip((10, 20), ends, strict=True)
        ]


def test_one_seed_is_its_own_mean(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, ABOUT._replace(learners=LEARNERS[:1]))
    writer.write(10, {"update/loss/a/0": 1.0})
    writer.close()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["seed-0"]


def test_the_config_is_there_as_hyper_parameters_and_as_text(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, ABOUT)
    writer.write(10, row(1.0))
    writer.finish(10, Outcome(table="| variant |"))
    writer.close()
    found = read(tmp_path)
    from tensorboard.plugins.hparams import metadata

    name = "_hparams_/session_start_info"
    content = found.SummaryMetadata("b_c/seed-1", name).plugin_data.content
    given = {key: value for key, value in metadata.parse_session_start_info_plugin_data(content).hparams.items()}
    plain = {key: getattr(value, value.WhichOneof("kind")) for key, value in given.items()}
    assert plain == {
        "env.name": "toy:Reach-v0",
        "algorithm.gamma": 0.9,
        "algorithm.hidden": "[4, 4]",
        "variant.terms.mse": 2.0,
        "variant": "b/c",
        "seed": 1.0,
    }
    ended = found.SummaryMetadata("b_c/seed-1", "_hparams_/session_end_info").plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(ended).status == 1  # success
    texts = {
        tag: found.Tensors(".", f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        for tag in ("config", "results")
    }
    assert json.loads(texts["config"].removeprefix("```json").removesuffix("```")) == CONFIG
    assert texts["results"] == "| variant |"


def test_pictures_are_there_at_the_end_and_what_it_cannot_show_is_left_out(tmp_path: Path) -> None:
    for name in ("curves.png", "episodes.gif"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    (tmp_path / "episodes.mp4").write_bytes(b"film")
    names = ("curves.png", "episodes.gif", "episodes.mp4")
    writer = TensorBoardWriter(tmp_path / "tensorboard", ABOUT)
    writer.finish(30, Outcome(files=tuple(tmp_path / name for name in names)))
    writer.close()
    found = read(tmp_path / "tensorboard")
    assert found.Runs()["."]["images"] == ["curves", "episodes"]
    (image,) = found.Images(".", "curves")
    assert (image.step, image.width, image.height) == (30, 8, 6)
    assert image.encoded_image_string == (tmp_path / "curves.png").read_bytes()


def test_a_resumed_run_hides_what_it_repeats(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, ABOUT)
    writer.write(10, row(1.0))
    writer.write(20, row(2.0))
    writer.close()
    resumed = TensorBoardWriter(tmp_path, ABOUT)
    resumed.rewind(10)
    resumed.write(20, row(2.5))
    resumed.close()
    found = read(tmp_path)
    assert points(found, "a/seed-0", "update/loss") == [(10, 1.0), (20, 2.5)]
    assert points(found, "a/mean", "update/loss") == [(10, 2.0), (20, 3.5)]
    assert points(found, ".", "time/seconds") == [(10, 1.0), (20, 2.5)]


def test_tensorboard_files_hold_the_scalars_and_say_what_is_void(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.write(10, {"x": 1.0})
    writer.write(20, {"x": 2.0})
    writer.rewind(10)
    writer.write(20, {"x": 2.5})
    writer.close()

    first, second = sorted(tmp_path.iterdir(), key=lambda path: len(path.name))  # the later has a suffix
    assert scalars(first) == [("x", 10, 1.0), ("x", 20, 2.0)]
    assert scalars(second) == [("x", 20, 2.5)]
    assert b".from11" in second.name.encode()
    starts = [event.step for event in events(second) if event.HasField("session_log")]
    assert starts == [11]  # TensorBoard hides what earlier files have from here on


def test_what_was_flushed_outlives_the_process(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from rpd_jax.runs.metrics import make_writers\n"
        f"writers = make_writers({str(tmp_path)!r})\n"
        "for step in range(50):\n"
        "    writers.write(step, {'x': 1.0, 'y': 2.0})\n"
        "writers.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    (file,) = (tmp_path / "tensorboard").iterdir()
    wanted = [(name, step, value) for step in range(50) for name, value in (("x", 1.0), ("y", 2.0))]
    assert scalars(file) == wanted
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 50


def test_tensorboard_does_not_bring_torch_into_the_learner(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from rpd_jax.runs.metrics import make_writers\n"
        f"writers = make_writers({str(tmp_path)!r})\n"
        "writers.write(1, {'x': 1.0})\n"
        "writers.close()\n"
        "assert 'tensorboardX' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
        "import importlib.util; importlib.util.find_spec('torch')\n"  # can be looked for again
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def events(path: Path) -> list:
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:  # each record: length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def scalars(path: Path) -> list[tuple[str, int, float]]:
    return [(v.tag, event.step, v.simple_value) for event in events(path) for v in event.summary.value]
