"""Our OpenVLA gives the official one's numbers; and the comparison notices where it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from parity import openvla
from parity.difference import assert_all_fit

ROOT = Path(__file__).resolve().parents[3]
REDUCED = ROOT / "tests" / "golden" / "openvla"
FULL = ROOT.parent / "shared" / "openvla" / "golden"
STAGES = {
    "manifest", "resize", "tensorflow", "jpeg", "tokens of text", "action tokens", "pixels", "vision", "hidden",
    "logits", "tokens", "decoding", "scoring", "actions", "oft tokens", "oft logits", "oft hidden", "oft actions",
    "oft log-prob", "oft l1", "oft diffusion", "oft film",
}  # fmt: skip


def test_golden_data(golden: Path, other_golden: Path | None) -> None:
    assert_all_fit(openvla.check(other_golden or golden), None if other_golden else STAGES)


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_dir(), reason="the full golden data are not part of the repository")
def test_full_golden_data() -> None:
    assert_all_fit(openvla.check(FULL), STAGES)


def test_a_wrong_array_is_noticed(golden: Path, tmp_path: Path) -> None:
    place = tmp_path / "golden"
    shutil.copytree(golden, place)
    path = place / "tiny" / "outputs.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["tf_action_logits"][2] += 2e-4
    changed["generated_ids"][5, 3] += 1
    np.savez(path, **changed)
    wrong = [each for each in openvla.check(place) if not each.ok]
    # Row 2 is compared alone and among all, row 5 alone, with the same prompt and among all.
    assert sorted(each.stage for each in wrong) == ["scoring"] * 2 + ["tokens"] * 3


def test_a_directory_without_golden_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither tiny/ nor golden\.tar\.xz"):
        openvla.check(tmp_path)


def test_the_archive_is_small() -> None:
    assert (REDUCED / "golden.tar.xz").stat().st_size < 6e6
