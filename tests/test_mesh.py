"""Members shared out over devices: the numbers of one device. With one device here, the file runs again on four."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_loops import config_for, loops

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.training.mesh import Mesh
from teachers.settings import teacher_factory

FOUR = "RPD_TEST_FOUR_DEVICES"  # set where this file runs again
several = pytest.mark.skipif(FOUR not in os.environ, reason="runs in a process with four devices")


@pytest.mark.skipif(FOUR in os.environ, reason="this is that process")
@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_four_devices(marked: str) -> None:
    environment = os.environ | {FOUR: "1", "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marked]
    command = [sys.executable, "-m", "pytest", *options, __file__]
    done = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


@several
def test_every_device_has_as_many_members_as_the_others() -> None:
    assert [Mesh.of(members).devices.size for members in (1, 3, 4, 5, 6, 8, 9)] == [1, 3, 4, 3, 3, 4, 3]


@several
def test_more_devices_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.devices=5 cannot work: it must be at most 4"):
        Mesh.of(8, 5)
    with pytest.raises(ConfigError, match=r"run\.devices=4 cannot work: it must be a divisor of env\.num_envs=6"):
        Mesh.of(1, 4, 6)


@several
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_arrays_are_split_along_the_axis_that_is_named(devices: int) -> None:
    """Six members do not divide over four devices."""
    x, y = jnp.arange(12.0).reshape(12, 1), jnp.arange(18.0).reshape(3, 6)
    seen = []

    def function(two_each: jax.Array, second: jax.Array, shared: float) -> tuple[jax.Array, jax.Array]:
        seen.append((two_each.shape, second.shape))
        return two_each * shared, jnp.sum(second, axis=0)

    split = Mesh.of(6, devices).split(function, (0, 1, None), out_axes=(0, 0))
    doubled, total = jax.jit(split)(x, y, 2.0)
    each = -(-6 // devices)
    assert seen == [((2 * each, 1), (3, each))]
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(total, y.sum(0))


@pytest.fixture(scope="module")
def runs() -> dict[int, tuple]:
    """Members and metrics of both kinds of loop after four iterations, by the number of devices."""
    found = {}
    for devices in (1, 2):  # three members do not divide evenly
        config = config_for()
        config.run.devices = devices
        population, host, graph = loops(config)
        results = host.run(population.init(), 0, 4), graph.run(population.init(), 0, 3)
        ledgers = [(each.calls, each.labels, each.covered) for each in host.ledgers + graph.ledgers]
        found[devices] = (*results, ledgers)
    return found


@several
def test_a_member_learns_the_same_on_any_number_of_devices(runs: dict[int, tuple]) -> None:
    for (one, rows_one), (many, rows_many) in zip(runs[1][:2], runs[2][:2], strict=True):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(one.params), jax.device_get(many.params))
        for mine, theirs in zip(rows_one, rows_many, strict=True):
            same = {name for name in mine if not name.startswith("time/") and name != "teacher/seconds"}
            np.testing.assert_equal({name: mine[name] for name in same}, {name: theirs[name] for name in same})
    assert runs[1][2:] == runs[2][2:]


@pytest.fixture(scope="module")
def shared() -> tuple:
    """Of two members, on a device and with environments shared out over four: the loop and three iterations."""
    config = config_for()
    config.variants, config.seeds = config.variants[:2], (0,)
    found = []
    for devices, split in ((1, "members"), (4, "environments")):
        config.run.devices, config.run.split = devices, split
        population, _, graph = loops(config)
        found.append((population, graph, *graph.run(population.init(), 0, 3)))
    return tuple(found)


@several
def test_devices_that_share_environments_change_rounding_alone(shared: tuple) -> None:
    (_, _, one, rows_one), (population, graph, many, rows_many) = shared
    assert population.mesh.devices.shape == {"members": 1, "environments": 4}
    whole, part = (graph.state_dict().starts.shape, graph.state_dict().starts.addressable_shards[0].data.shape)
    assert (whole, part) == ((16,), (4,))
    # another order of floating-point sums, amplified by three iterations of Adam
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), one.params, many.params)
    for mine, theirs in zip(rows_one, rows_many, strict=True):
        for name in (name for name in mine if name.startswith("train/")):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-4, err_msg=name)


@several
def test_each_device_computes_its_part_of_a_minibatch(shared: tuple) -> None:
    """An array that every device had whole would be right, too, and no quicker."""
    population, graph = shared[1][:2]
    arguments = (population.init(), graph.state_dict(), *graph._who, np.int32(0), np.int32(1))
    text = graph._program.lower(*arguments).compile().as_text()
    assert "all-reduce" in text
    config = population.config
    size = config.env.num_envs * config.algorithm.rollout_length // config.algorithm.minibatches
    hidden = config.network.hidden[0]
    shapes = {shape for shape in (f"f32[{size},{hidden}]", f"f32[{size // 4},{hidden}]") if shape in text}
    assert shapes == {f"f32[{size // 4},{hidden}]"}


@several
def test_a_loop_of_shared_environments_is_compiled_once(shared: tuple, caplog: pytest.LogCaptureFixture) -> None:
    _, graph, members, _ = shared[1]
    members = jax.tree.map(lambda x: x.copy(), members)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        caplog.clear()
        graph.run(members, 3, 1)
    assert "Compiling" not in caplog.text


@several
@pytest.mark.parametrize(
    ("num_envs", "devices", "shape"),
    [(8, None, (1, 4)), (6, None, (1, 2)), (6, 3, (1, 3)), (8, 1, (1,)), (7, None, (1,))],
)
def test_environments_over_four_devices(num_envs: int, devices: int | None, shape: tuple[int, ...]) -> None:
    assert tuple(Mesh.of(3, devices, num_envs).devices.shape.values()) == shape


@several
@pytest.mark.slow
def test_a_run_is_resumed_on_another_number_of_devices(tmp_path: Path) -> None:
    def train(name: str, devices: int, steps: int, split: str = "members", **how: bool) -> rpd_jax.Result:
        config = rpd_jax.get_preset("debug")
        config.run.directory, config.run.devices, config.run.tensorboard = str(tmp_path / name), devices, False
        config.algorithm.total_steps, config.run.split = steps, split
        return rpd_jax.train(config, teacher_factory(config.teacher), **how)

    whole = train("whole", 1, 640)
    train("parts", 4, 320)
    resumed = train("parts", 2, 640, resume=True)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole.params), jax.device_get(resumed.params))
    shared = train("parts", 4, 800, "environments", resume=True)
    assert shared.population.mesh.devices.size == 4 and len(shared.history) == 5


@several
@pytest.mark.slow
def test_a_loop_is_compiled_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its results lie where its arguments lay: three members do not divide over two devices, but do over three."""
    for devices in (2, 3):
        config = config_for()
        config.run.devices = devices
        population, _, graph = loops(config)
        members, _ = graph.run(population.init(), 0, 1)
        with jax.log_compiles(), caplog.at_level("WARNING"):
            caplog.clear()
            graph.run(members, 1, 1)
        assert "Compiling" not in caplog.text
