"""The PyTorch iteration of VLA-OPD distils, and processes that are timed in turns answer for all their parts."""

from __future__ import annotations

import io

import pytest

torch = pytest.importorskip("torch")

from benchmarks import turns  # noqa: E402
from benchmarks.torch_opd import Iteration, Null, Sizes  # noqa: E402

SMALL = Sizes(observation=3, num_envs=4, steps=5, action=2, bins=8, minibatches=4, hidden=16)


def test_iterations_bring_the_student_to_its_teacher() -> None:
    mine = Iteration(SMALL, Null(SMALL))
    losses = []
    for _ in range(60):
        mine.rollout()
        mine.score()
        losses.append(mine.update())
    assert losses[-1] < 0.2 * losses[0]


def test_a_served_program_answers_once_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    calls = []
    monkeypatch.setattr("sys.stdin", io.StringIO("go\ngo\n"))
    turns.serve({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert calls == ["a", "b"] * 3  # once to warm up
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all('"a": [' in line and '"b": [' in line for line in lines)
