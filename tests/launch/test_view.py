"""`launch.view`: a page as a file, or served until it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from children import ROOT, launch, refusal

CURVES = '[{"variant": "ppo", "seed": 0, "env_steps": 5, "episodes": 2, "success_once": 0.5, "success_at_end": 0.5, '
CURVES += '"episode_return": 1, "labels": 0}]'


def test_a_page_is_written_or_served(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "curves.json").write_text(CURVES)
    done = launch("view", str(run), f"--output={tmp_path / 'page'}")
    assert done.returncode == 0 and done.stdout == f"page: {tmp_path / 'page'}/index.html\n", done.stderr
    assert '"name":"mine"' in (tmp_path / "page" / "index.html").read_text()
    assert "use --overwrite" in refusal("view", str(run), f"--output={tmp_path / 'page'}")
    served = subprocess.Popen(
        [sys.executable, "-m", "launch.view", str(tmp_path / "runs")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        address = served.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        assert b'"name":"mine"' in urllib.request.urlopen(address, timeout=60).read()
        served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0
    finally:
        served.kill()
        served.wait()
        served.stdout.close()
