"""The model's process is free of jax."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_server_imports_no_jax() -> None:
    program = "import sys\nimport teachers.openvla.server.main, teachers.openvla.server.oft.policy\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "flax", "tensorflow", "timm"} & set(done.stdout.split())
