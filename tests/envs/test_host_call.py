"""Functions of the host in compiled programs: values, axes, errors, devices, and what other processes find compiled."""

from __future__ import annotations

import ctypes
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from children import run

from rpd_jax.envs import host_call as module
from rpd_jax.envs.host_call import host_call


def sums(arguments, results):
    """x [*B, n], y [*B, m] -> the sum of y [*B], x * 2 [*B, n]: the order of the tree's leaves."""
    x, y = arguments
    assert not x.flags.writeable and x.shape[:-1] == y.shape[:-1]
    results[0][...] = y.sum(-1)
    results[1][...] = 2 * x


def call(x, y, key="sums"):
    shapes = {"twice": jax.ShapeDtypeStruct(x.shape, x.dtype), "sum": jax.ShapeDtypeStruct((), y.dtype)}
    return host_call(sums, shapes, x, y, key=key)


X, Y = np.arange(24.0, dtype=np.float32).reshape(2, 4, 3), np.arange(40, dtype=np.int32).reshape(2, 4, 5)


def check(result, x, y):
    np.testing.assert_array_equal(result["twice"], 2 * x)
    np.testing.assert_array_equal(result["sum"], y.sum(-1))
    assert result["sum"].dtype == y.dtype


@pytest.fixture(params=["foreign function", "callback"])
def way(request, monkeypatch):
    """Also as where XLA's interface is another."""
    if request.param == "callback":
        monkeypatch.setattr(module, "_registered", lambda target: False)


@pytest.mark.usefixtures("way")
def test_values_and_leading_axes():
    check(call(X[0, 0], Y[0, 0]), X[0, 0], Y[0, 0])
    mapped = jax.jit(jax.vmap(jax.vmap(call)))
    check(mapped(X, Y), X, Y)
    check(mapped(X + 1, Y), X + 1, Y)
    check(mapped(X[:, :0], Y[:, :0]), X[:, :0], Y[:, :0])
    shared = jax.jit(jax.vmap(call, in_axes=(0, None)))(X[0], Y[0, 0])  # broadcast before the call
    check(shared, X[0], np.broadcast_to(Y[0, 0], (4, 5)))


@pytest.mark.usefixtures("way")
def test_a_loop_calls_every_time():
    def add_one(arguments, results):
        results[0][...] = arguments[0] + 1

    def body(i, x):
        return host_call(add_one, jax.ShapeDtypeStruct(x.shape, x.dtype), x, key="add one")

    assert jax.jit(lambda x: jax.lax.fori_loop(0, 50, body, x))(jnp.int32(3)) == 53


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "bfloat16", "uint32", "complex64"])
def test_every_dtype_has_its_number(dtype):
    def copy(arguments, results):
        results[0][...] = arguments[0]

    x = jnp.asarray([0, 1, 1], dtype)
    given = host_call(copy, jax.ShapeDtypeStruct(x.shape, x.dtype), x, key="copy")
    assert given.dtype == x.dtype
    np.testing.assert_array_equal(given, x)


def test_arrays_that_are_not_aligned_or_not_dense():
    memory = np.zeros(4 * 12 + 1, np.uint8)
    x = memory[1:].view(np.float32).reshape(4, 3)
    x[...] = X[0]
    check(jax.jit(jax.vmap(call))(x, Y[0]), X[0], Y[0])
    check(jax.jit(lambda x, y: jax.vmap(call)(x.T, y))(jnp.asarray(X[0].T), Y[0]), X[0], Y[0])


def test_an_error_ends_the_program_with_its_message():
    def fail(arguments, results):
        raise ValueError("no such joint: 7")

    program = jax.jit(lambda x: host_call(fail, jax.ShapeDtypeStruct((), x.dtype), x, key="fail"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError: no such joint: 7"):
        jax.block_until_ready(program(jnp.float32(0)))
    check(jax.jit(call)(X[0, 0], Y[0, 0]), X[0, 0], Y[0, 0])  # and no other


def test_structures_are_those_of_the_header():
    """Sizes and versions as `xla/ffi/api/c_api.h` gives them; a new major version has to be read again."""
    header = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text()
    assert f"#define XLA_FFI_API_MAJOR {module.MAJOR}\n" in header
    assert ctypes.sizeof(module._Buffer) == 48
    assert (module._CallFrame.arguments.offset, module._CallFrame.results.offset) == (40, 80)
    assert module._Api.make_error.offset == 48


def test_another_interface_is_refused_in_one_line(monkeypatch, caplog):
    monkeypatch.setattr(module, "MAJOR", 7)
    assert not module._registered.__wrapped__("rpd_jax_test_refused")
    assert caplog.text.count("\n") == 1 and "incompatible" in caplog.text


PROGRAM = """
import collections, jax, jax.numpy as jnp, numpy as np, threading
from jax.sharding import Mesh, PartitionSpec
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop import engine_c

counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rsplit("/")[-1]]))
env = TabletopEnv("PickCube-v1", engine="c")
state, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 6))

def step(state, _):
    return env.step(state, jnp.full(7, 0.3))[0], None

def roll(state):
    return jax.lax.scan(jax.vmap(step, in_axes=(0, None)), state, None, length=3)[0].physics

alone = jax.jit(roll)(state)
devices = len(jax.devices())
if devices > 1:
    mesh, each = Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x")
    shared = jax.jit(jax.shard_map(roll, mesh=mesh, in_specs=each, out_specs=each, check_vma=False))(state)
    jax.tree.map(np.testing.assert_array_equal, alone, shared)
    assert {key.split(" / ")[1] for key in engine_c._engines} == {"1", str(devices)}
print(counts["cache_hits"], float(jnp.abs(alone.qpos).sum()))
"""


@pytest.mark.parametrize("devices", ["1", "2"])
def test_another_process_finds_the_program_compiled(tmp_path, devices):
    def start():
        done = run("-c", PROGRAM, JAX_COMPILATION_CACHE_DIR=str(tmp_path), JAX_NUM_CPU_DEVICES=devices)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    hits, first = start()
    kept = sorted(path.name for path in tmp_path.glob("jit_roll*"))
    assert hits == "0" and len(kept) == int(devices)
    hits, second = start()
    assert int(hits) > len(kept) and second == first
    assert sorted(path.name for path in tmp_path.glob("jit_roll*")) == kept
