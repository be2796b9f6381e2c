"""What is said of a run's size before it starts, and of its pace once it goes."""

from __future__ import annotations

import io
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from rpd_jax import runtime
from rpd_jax.presets import get_preset
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.training import size
from rpd_jax.training.compiling import CompileClock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"info": [], "warning": []}
    for level, lines in found.items():
        monkeypatch.setattr(size.logging, level, lambda text, *rest, lines=lines: lines.append(text % rest))
    return found


def test_the_paper_s_run_is_seen_not_to_fit_two_cores(
    said: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: {0, 1})
    monkeypatch.setattr(runtime, "available_memory", lambda: 24 * 2.0**30)
    found = size.announce(get_preset("rpd-paper"))
    assert found.members == 25 and found.train_envs == 25 * 128 and found.eval_envs == 25 * 20
    assert found.memory >= 50 * 25 * 128 * 256 * 256 * 3  # the frames of a rollout
    (line,) = said["info"]
    assert line.startswith("25 members x 30,000,000 steps in 4,688 iterations, 3,200 environments to train in")
    assert "on 2 cores, 24 GiB of memory available" in line
    memory, hours = said["warning"]
    assert "24 GiB are available: fewer env.num_envs" in memory
    assert "about 16 days here for 750,000,000 steps" in hours


def test_small_runs_are_not_warned_of(said: dict[str, list[str]]) -> None:
    found = size.announce(get_preset("debug"))
    assert found.members == 4 and found.memory == 0 and not said["warning"]
    assert said["info"][0].startswith("4 members x 640 steps in 4 iterations, 32 environments to train in, 32 to")


def test_families_that_do_not_play_have_no_environments_to_train_in() -> None:
    found = size.run_size(get_preset("opd-teacher"))
    assert found.train_envs == 0 and found.eval_envs > 0 and found.seconds == 0


def test_days_are_warned_of_once_when_the_pace_is_known(said: dict[str, list[str]]) -> None:
    now = [0.0]
    bar, pace = ProgressBar(10_000, stream=io.StringIO(), clock=lambda: now[0]), size.PaceWarning()
    for _ in range(5):
        now[0] += 100.0
        bar.update()
        pace.look(bar)
    (line,) = said["warning"]
    assert line.startswith("an iteration takes 1e+02 s, compilation not counted: 12 days are left")


def test_compiling_is_counted_once_and_only_meanwhile() -> None:
    def slow(x: jax.Array) -> jax.Array:
        time.sleep(0.2)  # while it is traced
        return x + 1

    started = time.monotonic()
    with CompileClock() as clock:
        jax.jit(lambda x: jax.jit(slow)(x) * 2)(jnp.ones(3)).block_until_ready()
        first = clock()
        assert 0.2 <= first <= time.monotonic() - started
    jax.jit(lambda x: jax.jit(slow)(x) * 3)(jnp.ones(3)).block_until_ready()
    assert clock() == first


def test_memory_is_the_kernel_s_estimate_or_a_container_s_limit(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    assert runtime.available_memory(proc, cgroup) == float("inf")
    proc.mkdir()
    (proc / "meminfo").write_text("MemTotal:       2000 kB\nMemAvailable:   1000 kB\n")
    assert runtime.available_memory(proc, cgroup) == 1000 * 1024
    cgroup.mkdir()
    (cgroup / "memory.current").write_text("700000\n")
    (cgroup / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    (cgroup / "memory.max").write_text("max\n")
    assert runtime.available_memory(proc, cgroup) == 1000 * 1024
    (cgroup / "memory.max").write_text("800000\n")
    assert runtime.available_memory(proc, cgroup) == 300_000


def test_cores_where_the_system_tells_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(runtime.os, "sched_getaffinity")
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: 3)
    assert runtime.cores() == {0, 1, 2} and runtime.available_cores() == 3
