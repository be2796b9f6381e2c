"""The documentation site builds without a warning: no dead link, no page or docstring that cannot be read; releases."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rpd_jax

ROOT = Path(__file__).parents[1]


def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings_handlers.python", reason="mkdocs is missing: pip install 'rpd_jax[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "presets/index.html", "benchmarks/BENCHMARKS/index.html", "api/losses/index.html"} <= pages
    assert "15 x 80,000" in (tmp_path / "site" / "presets" / "index.html").read_text()
    home = (tmp_path / "site" / "index.html").read_text()
    assert "fonts.g" not in home and "cdn" not in home.lower()  # nothing is loaded from elsewhere


def test_what_a_package_index_shows() -> None:
    """Relative links of README would lead nowhere there."""
    command = [sys.executable, "setup.py", "--version", "--long-description"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    version, _, description = done.stdout.partition("\n")
    assert version == rpd_jax.__version__ and f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    targets = re.findall(r"\]\(([^)]+)\)", description)
    assert len(targets) > 20 and all(target.startswith("https://") for target in targets)
    assert any(target.endswith("/raw/main/benchmarks/results/quickstart.png") for target in targets)
