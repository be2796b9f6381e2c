"""How VLAJS's claims are read off a run, by hand on small curves."""

import json

import numpy as np
import pytest

from benchmarks.vlajs import curves_of, endings, figures_of, steps_to


def test_steps_to_a_level_are_interpolated():
    """0.5 lies half-way between 0.4 after 20 steps and 0.6 after 30."""
    steps, success = np.array([10, 20, 30]), np.array([0.0, 0.4, 0.6])
    assert steps_to(0.5, steps, success) == pytest.approx(25.0)
    assert steps_to(0.4, steps, success) == pytest.approx(20.0)
    assert steps_to(0.7, steps, success) is None
    assert steps_to(0.1, steps, np.array([0.2, 0.3, 0.4])) == pytest.approx(5.0)  # on the line from the beginning


def test_endings():
    """Of four iterations, guidance of seed 3 ends before the third; that of seed 4 goes on."""
    rows = [
        {"update/distill_weight/vlajs/3": a, "update/distill_weight/vlajs/4": 1.0, "update/distill_weight/ppo/3": 0.0}
        for a in (1.0, 0.5, 0.0, 0.0)
    ]
    assert endings(rows, "vlajs") == {3: 0.5}


def write_run(directory):
    """One seed, 40 steps: PPO reaches 0.5 at 40 steps, vlajs at 20 and ends its guidance there."""
    points = []
    for variant, values, labels in (("ppo", (0.0, 0.0, 0.25, 0.5), 0), ("vlajs", (0.25, 0.5, 0.5, 1.0), 4)):
        for i, value in enumerate(values):
            point = {"variant": variant, "seed": 0, "env_steps": 10 * (i + 1), "success_once": value}
            points.append(point | {"episodes": 4, "labels": min(labels, 2 * labels * (i + 1))})
    directory.mkdir()
    (directory / "curves.json").write_text(json.dumps(points))
    rows = [{"update/distill_weight/vlajs/0": weight, "step": i} for i, weight in enumerate((1.0, 1.0, 0.0, 0.0))]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_figures_of_a_run(tmp_path):
    figures = figures_of(write_run(tmp_path / "run"))
    # both reach 0.5, the level is 0.45: ppo after 30 + 10 x 0.2 / 0.25 = 38 steps, vlajs after 10 + 8 = 18
    assert figures["level_vlajs"] == pytest.approx(0.45)
    assert figures["steps_ratio_vlajs"] == pytest.approx(18 / 38)
    # area of ppo: trapezoids of 10 steps (0, 0, .125, .375) over 40 steps
    assert figures["area_ppo"] == pytest.approx(0.125)
    assert figures["queries_vlajs"] == pytest.approx(0.1) and figures["queries_ppo"] == 0.0
    assert figures["half_vlajs"] == pytest.approx(0.5)
    assert (figures["off_share_vlajs"], figures["off_at_vlajs"]) == (1.0, 0.5)
    assert (figures["before_off_vlajs"], figures["after_off_vlajs"]) == (0.5, 1.0)


def test_curves_are_sorted_by_seed_and_step(tmp_path):
    points = [
        {"variant": "v", "seed": seed, "env_steps": step, "episodes": 4, "success_once": 10.0 * seed + step}
        for seed in (1, 0)
        for step in (2, 1)
    ]
    steps, success = curves_of(points)["v"]
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_array_equal(success, [[1.0, 2.0], [11.0, 12.0]])
