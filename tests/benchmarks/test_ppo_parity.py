"""The parity benchmark's arithmetic, and the interface that it offers stable-baselines3."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ppo_parity
from rpd_jax.envs.base import ArraySpec, EnvSpec, StepResult

SPEC = EnvSpec("toy:x", "", 5, 2, (-1.0, -1.0), (1.0, 1.0), {"state": ArraySpec((4,), "float32")}, {})
RUNS = {
    ("PickCube-v1", "ours", 10): [(100, 0.0), (200, 0.5)],
    ("PickCube-v1", "ours", 11): [(100, 0.5), (200, 1.0)],
    ("PickCube-v1", "sb3", 10): [(100, 0.25), (200, 0.5)],
    ("PushCube-v1", "ours", 10): [(100, 1.0), (200, 1.0)],
}


def test_figures_by_hand() -> None:
    assert ppo_parity.figures_of(RUNS) == {
        "PickCube-v1/ours/10": 0.5,
        "PickCube-v1/ours/11": 1.0,
        "PickCube-v1/sb3/10": 0.5,
        "PushCube-v1/ours/10": 1.0,
        "PickCube-v1/ours": 0.75,
        "PickCube-v1/ours/area": 0.5,
        "PickCube-v1/sb3": 0.5,
        "PickCube-v1/sb3/area": 0.375,
        "PushCube-v1/ours": 1.0,
        "PushCube-v1/ours/area": 1.0,
        "PickCube-v1/difference": 0.25,
    }


def test_a_picture_of_curves(tmp_path: Path) -> None:
    steps, success = ppo_parity.curves(RUNS, "PickCube-v1", "ours")
    np.testing.assert_array_equal(steps, [100, 200])
    np.testing.assert_array_equal(success, [[0.0, 0.5], [0.5, 1.0]])
    ppo_parity.draw(tmp_path / "curves.png", RUNS)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_settings_are_the_presets_shortened() -> None:
    config = ppo_parity.settings("PushCube-v1", 200_000, [3, 4]).validate()
    assert (
        config.env.name == "tabletop:PushCube-v1" and config.seeds == (3, 4) and config.network.normalize_observations
    )
    assert config.iterations == 63  # 200,000 / (50 x 64), rounded up


def test_without_stable_baselines3_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.delitem(sys.modules, "benchmarks.sb3_baseline", raising=False)
    monkeypatch.setattr(sys, "argv", ["ppo_parity"])
    with pytest.raises(SystemExit, match=r"^stable_baselines3 is missing: pip install [^\n]*--only=ours$"):
        ppo_parity.main()


class Ending:
    """Three environments, of which the first succeeds, the second runs out of time and the third goes on."""

    def __init__(self) -> None:
        self.spec, self.num_envs = SPEC, 3

    def step(self, action: np.ndarray) -> StepResult:
        new, final = ({"state": np.full((3, 4), x, np.float32)} for x in (0.0, 9.0))
        terminated, truncated = np.array([True, False, False]), np.array([False, True, False])
        return StepResult(new, final, np.ones(3, np.float32), terminated, truncated, terminated)


@pytest.mark.parametrize("bootstrap", [True, False])
def test_stable_baselines3_is_told_what_to_bootstrap(bootstrap: bool) -> None:
    pytest.importorskip("stable_baselines3")
    from benchmarks.sb3_baseline import Environments

    env = Environments(Ending(), "state", bootstrap)
    env.step_async(np.zeros((3, 2), np.float32))
    observation, reward, done, infos = env.step_wait()
    assert list(done) == [True, True, False] and not observation.any() and list(reward) == [1.0, 1.0, 1.0]
    assert [info.get("TimeLimit.truncated") for info in infos] == [bootstrap, True, None]
    assert all((info["terminal_observation"] == 9.0).all() for info in infos[:2])
