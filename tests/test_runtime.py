"""The process settings: programs that hang without them end, and the user's own value wins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launch.checks import INITIALISERS
from rpd_jax import runtime

# Networks of a state student: as many orthogonal matrices at once as the pool has threads.
ACTOR_CRITIC = """
import jax, jax.numpy as jnp
from rpd_jax import runtime
runtime.configure()
orthogonal = jax.nn.initializers.orthogonal(2**0.5)
def mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [orthogonal(k, (a, b), jnp.float32) for k, a, b in zip(keys, sizes[:-1], sizes[1:])]
def initialise(key):
    actor, critic = jax.random.split(key)
    return mlp(actor, (42, 256, 256, 256, 7)), mlp(critic, (42, 256, 256, 256, 1))
weights = jax.jit(jax.vmap(initialise))(jax.random.split(jax.random.key(0), 8))
print(sum(float(w.sum()) for w in jax.tree.leaves(weights)))
"""


@pytest.mark.parametrize("program", [INITIALISERS, ACTOR_CRITIC], ids=["orthogonal", "actor_critic"])
def test_batched_initialisers_finish_in_a_bare_environment(program: str) -> None:
    settings = ("NPROC", "OPENBLAS_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in settings} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(  # a hang in native code ends by SIGKILL, and with it this test
        [sys.executable, "-c", program], env=environment, timeout=120, capture_output=True, text=True
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
        "import launch.train, teachers.settings, teachers.octo.teacher, rpd_jax.training.reevaluation\n"
        "import rpd_jax.training.student, rpd_jax.envs.tabletop.env, rpd_jax.demonstrations.collect\n"
        "from jax._src import xla_bridge\nassert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("NPROC", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that the variable is restored, also where it was not set
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(("cores", "expected"), [(1, "6"), (2, "6"), (6, None), (64, None)])
def test_only_few_cores_get_a_larger_pool(
    bare_environment: pytest.MonkeyPatch, cores: int, expected: str | None
) -> None:
    bare_environment.setattr(runtime, "available_cores", lambda: cores)
    runtime.configure()
    assert os.environ.get("NPROC") == expected
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_the_users_values_are_kept(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setattr(runtime, "available_cores", lambda: 2)
    bare_environment.setenv("NPROC", "3")
    bare_environment.setenv("OPENBLAS_NUM_THREADS", "4")
    runtime.configure()
    assert (os.environ["NPROC"], os.environ["OPENBLAS_NUM_THREADS"]) == ("3", "4")


def test_available_cores_is_positive_and_at_most_the_machines() -> None:
    assert 1 <= runtime.available_cores() <= (os.cpu_count() or 1)
