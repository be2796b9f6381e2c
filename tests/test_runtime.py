"""The process settings: programs that hang without them end, and the user's own value wins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rpd_jax import runtime

# The members of a population are initialised side by side, on a pool of threads as small as they come.
POPULATION = """
import os
os.environ |= {"JAX_PLATFORMS": "cpu", "NPROC": "1"}
import jax
from rpd_jax import runtime
runtime.configure()
from rpd_jax.policies.dense import orthogonal
def initialise(key):
    return [orthogonal(1.0)(k, (256, 256)) for k in jax.random.split(key, 4)]
weights = jax.jit(jax.vmap(initialise))(jax.random.split(jax.random.key(0), 8))
print(sum(float(w.sum()) for w in weights))
"""


def test_batched_initialisers_finish_on_one_thread() -> None:
    """Those of JAX's own orthogonal matrices would wait for ever."""
    done = subprocess.run(  # a hang in native code ends by SIGKILL, and with it this test
        [sys.executable, "-c", POPULATION], timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_importing_sets_no_environment_variable() -> None:
    """Nor does it start anything: neither JAX nor torch is imported."""
    program = (
        "import os, sys\nbefore = dict(os.environ)\nimport rpd_jax, teachers\nassert dict(os.environ) == before\n"
        "assert not {'jax', 'jaxlib', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_programs_prepare_the_process_before_jax_starts() -> None:
    """What they import makes no client of JAX, so that `launch.flags.run` and `rpd_jax.train` are early enough."""
    program = (
        "import rpd_jax.launch.train, teachers.settings, teachers.octo.teacher, rpd_jax.training.reevaluation\n"
        "import rpd_jax.training.student, rpd_jax.envs.tabletop.env, rpd_jax.demonstrations.collect\n"
        "from jax._src import xla_bridge\nassert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_openblas_has_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    runtime.configure()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    runtime.configure()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_available_cores_is_positive_and_at_most_the_machines() -> None:
    assert 1 <= runtime.available_cores() <= (os.cpu_count() or 1)
