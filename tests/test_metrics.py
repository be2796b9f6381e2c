"""Metric writers: what they write, how they go back to a checkpoint, and the progress bar's two faces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from rpd_jax.config import ConfigError
from rpd_jax.runs.metrics import (
    JsonlWriter,
    MultiWriter,
    make_writers,
    read_metrics,
)
from rpd_jax.runs.series import Outcome


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

    def finish(self, step: int, outcome: Outcome) -> None:
        self.calls.append(("finish", step, outcome))

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


def test_what_is_no_iteration_is_not_in_the_log(tmp_path: Path) -> None:
    other, outcome = Recorder(), Outcome({"x": 3.0})
    writer = MultiWriter(JsonlWriter(tmp_path / "m.jsonl"), [other])
    writer.write_beside(0, {"x": 0.0})
    writer.finish(20, outcome)
    writer.close()
    assert other.calls == [("write", 0, {"x": 0.0}), ("finish", 20, outcome), ("close",)]
    assert rows(tmp_path / "m.jsonl") == []


def test_all_writers_are_closed_even_if_one_fails(tmp_path: Path) -> None:
    first, second = Recorder(fail=True), Recorder(fail=True)
    log = JsonlWriter(tmp_path / "m.jsonl")
    with pytest.raises(OSError, match="disk full"):
        MultiWriter(log, [first, second]).close()
    assert first.calls == second.calls == [("close",)]
    assert log._file.closed


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
