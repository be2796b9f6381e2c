"""Settings of every test: the CPU unless `-m gpu` asks otherwise, and no silent promotion of ranks.

Strict promotion of types would be welcome too, but optax's Adam raises a float to an integer power.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

import pytest

from rpd_jax import runtime
from rpd_jax.config.extras import unavailable

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # tests of several set up their own processes
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")  # not the user's: `pytest_configure` makes one
runtime.configure()  # before JAX starts

# Compiling takes most of a test's time. XLA's older emitters compile a fusion several times as fast as its fusion
# emitters, and one LLVM module of a program in four fifths of the time of 32. An XLA that does not know a flag ends
# the process without a word in the test's output, and jaxlib 0.11's has only the newer emitters.
QUICK_TO_COMPILE = ["--xla_cpu_parallel_codegen_split_count=1"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
    QUICK_TO_COMPILE.append("--xla_cpu_use_fusion_emitters=false")


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "other golden data of one teacher than those in tests/golden, for test_golden_data of that teacher"
    parser.addoption("--golden", default=None, metavar="DIRECTORY", help=help)


def pytest_configure(config: pytest.Config) -> None:
    if "jax" in sys.modules:
        raise pytest.UsageError("JAX is imported before its settings are made: a conftest.py must leave it to fixtures")
    wanted = config.option.markexpr
    if "gpu" not in wanted or "not gpu" in wanted:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of XLA: compiling takes longer than running
        os.environ.setdefault("XLA_FLAGS", " ".join(QUICK_TO_COMPILE))
    os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
    if hasattr(config, "workerinput"):  # one of pytest-xdist's workers, which inherit what follows
        return
    # Most of a test's time is compilation, and many tests (and the programs they start) compile the same.
    cache = tempfile.TemporaryDirectory(prefix="rpd_jax_tests_")
    config.add_cleanup(cache.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.fixture(scope="session")
def other_golden(request: pytest.FixtureRequest) -> Path | None:
    """The directory that --golden names, refused in one line if it is none."""
    given = request.config.getoption("--golden")
    if given is not None and not Path(given).is_dir():
        pytest.fail(f"--golden={given}: no such directory", pytrace=False)
    return None if given is None else Path(given)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a `vulkan` test for want of ManiSkill or a device, but never where one is promised."""
    if item.get_closest_marker("vulkan") is None:
        return
    if why := unavailable("maniskill"):
        pytest.skip(f"ManiSkill is not installed: {why}")
    if os.environ.get("RPD_REQUIRE_VULKAN") or os.environ.get("CI"):
        return
    problem = _vulkan_problem()
    if problem:
        pytest.skip(f"no usable Vulkan device ({problem}); python -m launch.vulkan says what to install")


@functools.cache
def _vulkan_problem() -> str:
    from rpd_jax.launch import vulkan

    try:
        vulkan.probe()
    except vulkan.Failed as problem:
        return str(problem)
    return ""
