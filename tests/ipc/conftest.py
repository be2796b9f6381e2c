"""Fixtures of several tests of this folder."""

from pathlib import Path

import pytest


@pytest.fixture
def pids():
    """Of the processes that a test starts; none may be left."""
    pids = []
    yield pids
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
