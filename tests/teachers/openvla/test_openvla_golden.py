"""Our OpenVLA gives the official one's numbers; and the comparison notices where it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from teachers.comparison import Difference

ROOT = Path(__file__).resolve().parents[3]
REDUCED = ROOT / "tests" / "golden" / "openvla"
FULL = ROOT.parent / "shared" / "openvla" / "golden"
STAGES = {
    "manifest", "resize", "tensorflow", "jpeg", "tokens of text", "action tokens", "pixels", "vision", "hidden",
    "logits", "tokens", "decoding", "scoring", "actions", "oft tokens", "oft logits", "oft hidden", "oft actions",
    "oft log-prob", "oft l1", "oft diffusion", "oft film",
}  # fmt: skip


def check(directory: Path) -> list[Difference]:
    from teachers.openvla import golden

    return golden.check(directory)


def assert_all_fit(found: list[Difference]) -> None:
    assert {each.stage for each in found} == STAGES
    assert not [each for each in found if not each.ok]


def test_reduced_golden_data(golden: Path) -> None:
    assert_all_fit(check(golden))


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_dir(), reason="the full golden data are not part of the repository")
def test_full_golden_data() -> None:
    assert_all_fit(check(FULL))


def test_a_wrong_array_is_noticed(golden: Path, tmp_path: Path) -> None:
    import shutil

    place = tmp_path / "golden"
    shutil.copytree(golden, place)
    path = place / "tiny" / "outputs.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["tf_action_logits"][2] += 2e-4
    changed["generated_ids"][5, 3] += 1
    np.savez(path, **changed)
    wrong = [each for each in check(place) if not each.ok]
    # Row 2 is compared alone and among all, row 5 alone, with the same prompt and among all.
    assert sorted(each.stage for each in wrong) == ["scoring"] * 2 + ["tokens"] * 3


def test_the_launcher_says_what_is_no_golden_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launch.check_teacher", "--teacher=openvla", f"--golden={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "neither tiny/ nor golden.tar.xz" in done.stderr


def test_the_archive_is_small() -> None:
    assert (REDUCED / "golden.tar.xz").stat().st_size < 6e6
