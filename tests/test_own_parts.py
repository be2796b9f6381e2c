"""The example of own parts: nothing of it is in the package, and everything works with it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import Config, ConfigError
from rpd_jax.export.stablehlo import load_stablehlo

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_parts.py"


def test_everything_of_ones_own(tmp_path):
    assert len(EXAMPLE.read_text().splitlines()) < 120
    spec = importlib.util.spec_from_file_location("own_parts", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result, rows, exported = module.main(str(tmp_path / "run"))
    teacher, student = result.table
    assert teacher.variant == "teacher:steer" and student.variant == "imitate-huber"
    assert student.env_steps == 2 * 10 * 32 * 20 and student.success_once > 0.9
    losses = [row["update/loss/imitate-huber/0"] for row in result.history]
    assert len(losses) == 40 and losses[-1] < 0.1 * losses[0]
    assert rows[0].variant == "imitate-huber"
    assert set(exported.files) == {"student.stablehlo"}
    act = load_stablehlo((tmp_path / "run" / "export" / "0" / "student.stablehlo").read_bytes())
    x = np.array([[0.3], [-0.2]], np.float32)
    np.testing.assert_allclose(act({"state": x}), result.student(seed=0).act({"state": x}), atol=1e-6)
    np.testing.assert_allclose(act({"state": x}), np.clip(-2.0 * x, -1, 1), atol=0.05)  # the teacher's way

    plain = Config(variants=("ppo",), env=module.MyLabConfig())
    plain.network.name = "linear"
    with pytest.raises(ConfigError, match=r"network.name='linear' cannot work with algorithm.name='ppo': it has no"):
        rpd_jax.train(plain, directory=None)

    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["env"]["drift"] == 0.05 and stored["algorithm"]["name"] == "imitate"
    again = Config.from_dict(stored)
    again.env.drift = 0.2
    again.run.directory = str(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"env.drift=0.2 cannot work: the run to resume has 0.05"):
        rpd_jax.train(again, lambda env: module.Steer(env.spec, again.teacher), resume=True)
