"""Our Octo gives the official one's numbers; and the comparison notices where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from children import ROOT, launch
from parity import octo, octo_network
from parity.difference import (
    Difference,
    assert_all_fit,
    difference,
    read_arrays,
    relative_difference,
    worst_by_stage,
)
from parity.octo_files import read_json

from teachers.octo.pretrained_configs import octo_base, octo_small

REDUCED = ROOT / "tests" / "golden" / "octo"
FULL = ROOT.parent / "shared" / "octo" / "golden"
STAGES = {
    "manifests", "checkpoint", "schedule", "tokenizers", "projections", "sequence", "transformer", "outputs", "masks",
    "embedding", "eps", "parts", "samples", "noise", "loss", "gradient norms", "variants", "api",
}  # fmt: skip


@pytest.fixture(autouse=True)
def optimized_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draws are the official ones to the last bit as XLA optimises them, which it does not in most tests."""

    def draw(*arguments: Any, **options: Any) -> Any:
        before = jax.config.values["jax_disable_most_optimizations"]
        jax.config.update("jax_disable_most_optimizations", False)
        try:
            return official_noise(*arguments, **options)
        finally:
            jax.config.update("jax_disable_most_optimizations", before)

    official_noise = octo.official_noise
    monkeypatch.setattr(octo, "official_noise", draw)
    octo_network._draw_noise.clear_cache()  # programs do not remember how they were compiled
    yield
    octo_network._draw_noise.clear_cache()


def test_golden_data(other_golden: Path | None) -> None:
    assert_all_fit(octo.check(other_golden or REDUCED), None if other_golden else STAGES)


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_dir(), reason="the full golden data are not part of the repository")
def test_full_golden_data() -> None:
    assert_all_fit(octo.check(FULL), STAGES | {"gradients"})


def write_small(directory: Path, scale: float) -> None:
    """A golden directory of one case and three arrays, of which the predicted noise is multiplied by `scale`."""
    tiny = directory / "tiny"
    tiny.mkdir(parents=True)
    for name in ("config.json", "t5_config.json", "params.npz"):
        (tiny / name).write_bytes((REDUCED / "tiny" / name).read_bytes())
    inputs, outputs = read_arrays(REDUCED / "tiny" / "inputs.npz"), read_arrays(REDUCED / "tiny" / "outputs.npz")
    np.savez(tiny / "inputs.npz", **{name: value for name, value in inputs.items() if name.startswith("w1_rpd/")})
    kept = {name: outputs[name] for name in ("w1_rpd/sequence/attention_mask", "w1_rpd/head/embedding")}
    np.savez(tiny / "outputs.npz", **kept, **{"w1_rpd/head/eps": scale * outputs["w1_rpd/head/eps"]})


def test_a_wrong_array_is_noticed(tmp_path: Path) -> None:
    write_small(tmp_path / "golden", 1.001)
    done = launch("check_teacher", "--teacher=octo", f"--golden={tmp_path / 'golden'}")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    last = lines.index("3 arrays compared, 1 beyond tolerance")
    assert [line.split()[:2] for line in lines[last - 3 : last]] == [
        ["ok", "sequence"], ["ok", "embedding"], ["FAILED", "eps"],
    ]  # fmt: skip


def test_a_directory_without_golden_data(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"tiny/config\.json"):
        octo.check(tmp_path)


def test_differences_by_hand() -> None:
    want = np.asarray([[1.0, 2.0], [3.0, 4.0]], np.float32)
    got = want + np.asarray([[0.25, 0.0], [-0.5, 0.0]], np.float32)
    assert difference("s", "w", got, want, 0.5) == Difference("s", "w", 0.5, 0.5)
    assert difference("s", "w", got, want, 0.5).ok and not difference("s", "w", got, want, 0.49).ok
    assert difference("s", "w", got, want, 0.1, rows=np.asarray([True, False])).error == 0.25
    assert difference("s", "w", np.asarray([True, False]), np.asarray([True, True]), 0.0).error == 1.0
    assert not difference("s", "w", np.full((2, 2), np.nan), want, 1e9).ok
    assert difference("s", "w", None, want, 1e9).error == math.inf
    wrong = difference("s", "w", got[:1], want, 1e9)
    assert wrong.error == math.inf and wrong.where == "w (1, 2) instead of (2, 2)"
    # |(0.25, -0.5)| = 0.559; |(1, 2, 3, 4)| = 5.477
    assert relative_difference("s", "w", got, want, 0.1).error == pytest.approx(0.559017 / 5.477226, rel=1e-5)
    assert relative_difference("s", "w", got, want, 0.1, smallest=100.0).error == pytest.approx(0.00559017, rel=1e-5)
    assert relative_difference("s", "w", 0.0, 0.0, 0.0).ok


def test_the_worst_of_a_stage() -> None:
    small, large = Difference("a", "small", 1.0, 2.0), Difference("a", "large", 3.0, 30.0)
    nan, other = Difference("a", "nan", math.nan, 1.0), Difference("b", "other", 0.0, 0.0)
    assert worst_by_stage([large, small, other]) == [small, other]
    assert worst_by_stage([nan, small]) == worst_by_stage([small, nan]) == [nan]
    assert worst_by_stage([Difference("a", "inf", math.inf, 0.0), small])[0].where == "inf"


@pytest.mark.parametrize(("name", "ours"), [("small", octo_small()), ("base", octo_base())])
def test_configurations_of_the_published_models(name: str, ours: dict) -> None:
    official = read_json(REDUCED / f"config_octo_{name}_1.5_from_pretrain_config.json.gz")
    for part in ("model", "text_processor", "window_size", "optimizer"):
        assert ours[part] == official[part]
