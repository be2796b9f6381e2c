"""A Ray that is started for one run, on this machine alone."""

from __future__ import annotations

import importlib.util

import pytest
from children import ROOT, run

PROGRAM = """
import os, signal
from pathlib import Path
import jax, numpy as np
from rpd_jax.config import EnvConfig
from rpd_jax.envs.registry import make_env
from teachers.base import load

def processes():
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found

def listeners():
    inodes = set()
    for pid in processes():
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                pass
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]

def save(*unused):
    pass

signal.signal(signal.SIGTERM, save)
spec = make_env(EnvConfig(name="toy:Reach-v0", num_envs=2), [0, 1], rgb=False, end_on_success=False).spec
state, key = np.ones((5, 6), np.float32), jax.random.key(0)
with load("toy", spec, noise=0.2, placement="ray", ray={"cpus": 0.5}) as teacher:
    labels = teacher.label({"state": state}, "", key)
    np.testing.assert_array_equal(labels.action, load("toy", spec, noise=0.2).label({"state": state}, "", key).action)
    found = listeners()
    assert len(found) >= 4, found
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert set(found) <= loopback, found
    assert signal.getsignal(signal.SIGTERM) is save
assert not listeners()
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs pip install 'rpd_jax[ray]'")
def test_it_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    done = run("-c", PROGRAM, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "fork" not in done.stderr
