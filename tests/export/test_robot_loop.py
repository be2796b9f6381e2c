"""The example of a robot: faults are dealt with, and their counts add up."""

import importlib.util
import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "robot_loop.py"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("runner", "safe_student"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("robot_loop", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_and_says_what_the_guards_did(example, exports, capsys):
    rates = ["--drop=0.2", "--late=0.2", "--corrupt=0.2", "--outage=0.5"]
    shares = example.main([str(exports["ee"][1]), "--episodes=3", "--speed=0.05", *rates])
    assert shares.keys() == {"sound messages", "faults, guarded", "faults, not guarded"}
    sound, guarded, _ = re.split(r"\n(?=faults)", capsys.readouterr().out)

    def count(text, what):
        return int(re.search(rf"{what} +(\d+)|$", text)[1] or 0)

    assert "messages: 150 sent\n" in sound and count(sound, "accepted") == count(sound, "commands") == 150
    assert "hold" not in sound and "refused" not in sound and count(sound, "limited: rate of translation") > 0
    sent, late, damaged, lost = (
        int(re.search(rf"(\d+) {what}", guarded)[1]) for what in ("sent", "late", "damaged", "lost")
    )
    assert sent == count(guarded, "commands") == 150 and min(late, damaged, lost) > 5
    for kind in ("not finite", "out of range", "malformed"):
        assert 0 < count(guarded, f"refused: {kind}") <= damaged
    assert count(guarded, "hold: too old") > 0


def test_the_channel_keeps_its_rates(example):
    channel = example.Channel(0.3, 0.2, 0.1, 0.0, np.random.default_rng(0))
    for tick in range(4000):
        channel.send(np.zeros(5), 0.05 * tick, 0.05)
    arrived = list(channel.arrived(np.inf))
    assert channel.counts["lost"] / 4000 == pytest.approx(0.3, abs=0.03)
    assert len(arrived) == 4000 - channel.counts["lost"]
    assert channel.counts["late"] / len(arrived) == pytest.approx(0.2, abs=0.03)
    assert channel.counts["damaged"] / len(arrived) == pytest.approx(0.1, abs=0.03)
    assert sum(stamp > later for (stamp, _), (later, _) in itertools.pairwise(arrived)) > 100
    assert (
        sum(len(x) < 5 or not np.isfinite(x).all() or np.abs(x).max() > 5 for _, x in arrived)
        == (channel.counts["damaged"])
    )


def test_an_outage_lasts(example):
    channel = example.Channel(0.0, 0.0, 0.0, 1.0, np.random.default_rng(0))
    for tick in range(4000):
        channel.send(np.zeros(1), 0.05 * tick, 0.05)
    stamps = np.array([stamp for stamp, _ in channel.arrived(np.inf)])
    gaps = np.diff(stamps)
    assert gaps[gaps > 0.06].min() >= example.OUTAGE and channel.counts["lost"] > 1000


def test_students_of_other_tasks_are_refused(example, exports, capsys):
    with pytest.raises(SystemExit):
        example.main([str(exports["state"][1])])
    assert "the student is of toy:Reach-v0 and sees ['state']: need tabletop, ee" in capsys.readouterr().err
