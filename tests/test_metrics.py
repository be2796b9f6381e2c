"""Metric writers: what they write, how they go back to a checkpoint, and the progress bar's two faces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rpd_jax.config import ConfigError
from rpd_jax.runs import metrics
from rpd_jax.runs.metrics import (
    JsonlWriter,
    MultiWriter,
    TensorBoardWriter,
    make_writers,
    read_metrics,
)


def rows(path: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Recorder:
    """A writer that remembers its calls."""

    def __init__(self, fail: bool = False) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.fail = fail

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("write", step, dict(metrics)))

    def rewind(self, step: int) -> None:
        self.calls.append(("rewind", step))

    def flush(self) -> None:
        self.calls.append(("flush",))

    def close(self) -> None:
        self.calls.append(("close",))
        if self.fail:
            raise OSError("disk full")


def test_a_row_is_a_line_and_what_json_cannot_say_is_null(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write(10, {"a/b": 1.5, "nan": float("nan"), "inf": float("-inf")})
    writer.write(20, {"a/b": 2})
    assert rows(tmp_path / "m.jsonl") == [  # visible before the file is closed
        {"step": 10, "a/b": 1.5, "nan": None, "inf": None},
        {"step": 20, "a/b": 2.0},
    ]
    writer.close()


def test_numpy_and_jax_numbers_are_numbers(tmp_path: Path) -> None:
    import jax.numpy as jnp
    import numpy as np

    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write(np.int64(3), {"x": np.float32(0.5), "y": jnp.float32(0.25)})
    writer.close()
    assert rows(tmp_path / "m.jsonl") == [{"step": 3, "x": 0.5, "y": 0.25}]


def test_a_metric_may_not_be_called_step(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match='"step"'):
        writer.write(1, {"step": 2.0})
    writer.close()


def test_resuming_cuts_the_log_to_the_checkpoint_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    writer = JsonlWriter(path)
    writer.write(10, {"x": 1.0})
    position = writer.position()
    writer.write(20, {"x": 2.0})
    writer.close()
    with path.open("a") as file:
        file.write('{"step": 30, "x"')  # a crash in the middle of a line

    resumed = JsonlWriter(path)
    assert resumed.truncate(position) == 10
    assert resumed.position() == position
    resumed.write(20, {"x": 2.5})
    resumed.close()
    assert rows(path) == [{"step": 10, "x": 1.0}, {"step": 20, "x": 2.5}]


def test_truncating_to_zero_starts_over(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write(10, {"x": 1.0})
    assert writer.truncate(0) == -1
    writer.close()
    assert (tmp_path / "m.jsonl").read_bytes() == b""


ROWS = [b'{"step": 10, "x": 1.0}\n', b'{"step": 20, "x": 2.0}\n', b'{"step": 30, "x": null}\n']
WHOLE = sum(map(len, ROWS))


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (b"", []),
        (ROWS[0] + ROWS[1][:9], [10]),  # shorter than the checkpoint says
        (ROWS[0] + b"\0" + ROWS[1][1:] + ROWS[2], [10, 30]),
        (ROWS[0] + b"[" * 100_000 + b"\n" + ROWS[2] + ROWS[2][:5], [10, 30]),
        (b"[1]\n{}\n\xff\n" + b"".join(ROWS) + b'{"step": 40}\n', [10, 20, 30]),  # what lies behind goes
    ],
)
def test_a_log_that_is_short_or_damaged_goes_on_with_what_is_intact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, left: list[int]
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    writer = JsonlWriter(path)
    assert writer.truncate(WHOLE, 30) == 30  # TensorBoard's rows up to there stay
    writer.write(40, {"x": 4.0})
    writer.close()
    assert [row["step"] for row in rows(path)] == [*left, 40]
    assert len(read_metrics(path)) == len(left) + 1
    assert "m.jsonl was missing, short or damaged" in caplog.text
    aside = tmp_path / "set_aside.1" / "m.jsonl"
    assert aside.read_bytes() == content if content else not aside.exists()


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b"[1]\n", b'{"x": 1}\n', b'{"step": 1, "x": "y"}\n'])
def test_reading_a_damaged_log_names_the_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(ROWS[0] + content)
    with pytest.raises(ConfigError, match=r"m.jsonl is damaged: line 2 is no row of metrics"):
        read_metrics(path)
    path.write_bytes(ROWS[0] + content.rstrip())  # it may be being written
    assert read_metrics(path) == [{"x": 1.0}]


def test_all_writers_get_rows_and_follow_back(tmp_path: Path) -> None:
    other = Recorder()
    writer = MultiWriter(JsonlWriter(tmp_path / "m.jsonl"), [other])
    writer.write(10, {"x": 1.0})
    position = writer.position()
    writer.write(20, {"x": 2.0})
    writer.truncate(position)
    writer.flush()
    writer.close()
    assert other.calls == [
        ("write", 10, {"x": 1.0}),
        ("write", 20, {"x": 2.0}),
        ("rewind", 10),
        ("flush",),
        ("close",),
    ]


def test_all_writers_are_closed_even_if_one_fails(tmp_path: Path) -> None:
    first, second = Recorder(fail=True), Recorder(fail=True)
    log = JsonlWriter(tmp_path / "m.jsonl")
    with pytest.raises(OSError, match="disk full"):
        MultiWriter(log, [first, second]).close()
    assert first.calls == second.calls == [("close",)]
    assert log._file.closed


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
    assert scalars(file) == wanted and len(rows(tmp_path / "metrics.jsonl")) == 50


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


def test_a_run_directory_gets_the_log_and_tensorboard_by_default(tmp_path: Path) -> None:
    writers = make_writers(tmp_path)
    writers.write(1, {"x": 1.0})
    writers.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_without_tensorboard_there_is_the_log_alone(tmp_path: Path) -> None:
    writers = make_writers(tmp_path, tensorboard=False)
    writers.write(1, {"x": 1.0})
    writers.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_wandb_that_is_not_installed_is_a_mistake_in_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(metrics.ConfigError, match=r"run\.wandb_project='p' needs wandb: pip install"):
        make_writers(tmp_path, wandb_project="p")
