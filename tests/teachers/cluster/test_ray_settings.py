"""Settings of teachers in replicas, and what is said of them before any is started; needs no Ray."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from children import run

from rpd_jax.config import Config, ConfigError, RayPlacement, TeacherConfig
from rpd_jax.envs.registry import make_env
from rpd_jax.presets import get_preset
from rpd_jax.runs import directory as run_directory
from rpd_jax.runs.checkpoint import CONFIG_FILE
from teachers.base import load
from teachers.cluster.connection import check_answer, check_cluster
from teachers.cluster.replica import Recipe, environment
from teachers.octo.settings import OctoSettings
from teachers.openvla.settings import OpenVLASettings
from teachers.parts import parts


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ray": {"replicas": 2}}, "teacher.ray.replicas=2 cannot work: it must be left out, or teacher.placement=ray"),
        ({"placement": "slurm"}, "teacher.placement='slurm' is unknown: choose from local, ray"),
        ({"ray": {"gpus": 1.5}}, "teacher.ray.gpus=1.5 cannot work: it must be a whole number, or below 1 to share"),
        ({"ray": {"replicas": 0}}, "teacher.ray.replicas=0 cannot work: it must be at least 1"),
        ({"ray": {"adress": "a:1"}}, "config.teacher.ray.<field>='adress' is unknown: choose from address"),
        *(
            ({"ray": {"address": address}}, f"teacher.ray.address={address!r} cannot work: it must be HOST:PORT")
            for address in ("auto", "ray://host:10001", "host", ":6379", "host:port")
        ),
    ],
)
def test_what_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        config = Config(teacher=TeacherConfig("toy"))
        for name, value in values.items():
            setattr(config.teacher, name, value)
        config.validate()


def test_a_replica_of_openvla_has_one_process() -> None:
    config = Config(teacher=TeacherConfig("openvla", placement="ray", devices=("0", "1")))
    with pytest.raises(ConfigError, match=r"teacher\.devices=\('0', '1'\) cannot work: it must be at most one: with"):
        config.validate()


def test_ray_is_imported_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_env(get_preset("debug").env, [0], rgb=False, end_on_success=False).spec
    done = run("-c", "import sys, teachers.settings, teachers.cluster.teacher\nassert 'ray' not in sys.modules")
    assert done.returncode == 0, done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"^teacher\.placement='ray' needs Ray: pip install 'rpd_jax\[ray\]' \([^\n]*\)$"
    with pytest.raises(ConfigError, match=message):
        load("toy", spec, placement="ray")


def test_nobody_answers_at_the_address() -> None:
    """Found by a connection: Ray itself would try for minutes."""
    for address in ("127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379", "127.0.0.1:99999"):
        message = rf"^teacher\.ray\.address='{re.escape(address)}' cannot work: no Ray cluster answers there \([^\n]*"
        with pytest.raises(ConfigError, match=message):
            check_answer(address)


def test_room_for_replicas(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster may grow, this machine cannot."""
    ray: Any = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 4.0, "GPU": 1.0},
        get_runtime_context=lambda: SimpleNamespace(gcs_address="head:6379"),
    )
    check_cluster(ray, RayPlacement(replicas=2, gpus=0.5, cpus=2), local=True)
    told = r"teacher\.ray\.replicas=2.*: they need 2 GPUs, 1 each, and Ray has 1$"
    with pytest.raises(ConfigError, match=told):
        check_cluster(ray, RayPlacement(replicas=2, gpus=1), local=True)
    check_cluster(ray, RayPlacement("head:6379", replicas=2, gpus=1), local=False)
    assert re.search(told, caplog.messages[-1])
    with pytest.raises(ConfigError, match=r"address='other:6379' cannot work: this process uses Ray at head:6379"):
        check_cluster(ray, RayPlacement("other:6379"), local=False)


def test_a_run_may_be_resumed_on_another_cluster(tmp_path: Path) -> None:
    config = get_preset("debug")
    config.run.directory = str(tmp_path)
    config.teacher.placement, config.teacher.ray = "ray", RayPlacement("head:6379", replicas=8)
    (tmp_path / CONFIG_FILE).write_text(config.to_json())
    config.teacher.ray = RayPlacement("other:6379", replicas=2)
    run_directory.check(config, resume=True, overwrite=False)
    config.teacher.placement, config.teacher.ray = "local", RayPlacement()  # another kind of loop
    with pytest.raises(ConfigError, match="placement"):
        run_directory.check(config, resume=True, overwrite=False)


def test_what_it_reaches_for_is_said() -> None:
    toy = TeacherConfig("toy", placement="ray", ray=RayPlacement("head:6379", replicas=3))
    assert toy.reaches() == "has 3 replicas on the Ray cluster at head:6379"
    octo = TeacherConfig("octo", path="hf://org/name", placement="ray")
    assert octo.reaches() == "has 1 replicas on a Ray of this machine, fetches hf://org/name"
    assert TeacherConfig("toy").reaches() == ""


def test_jax_takes_no_gpu_that_is_not_its_own() -> None:
    """A whole GPU where the teacher computes with JAX, a share of one, none where its model is in another process."""
    assert OctoSettings.uses_jax and not OpenVLASettings.uses_jax
    cores = {"JAX_NUM_CPU_DEVICES": "1"}
    assert environment(uses_jax=True, gpus=1) == environment(uses_jax=True, gpus=2) == cores
    assert environment(uses_jax=True, gpus=0.5) == cores | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.375"}
    assert environment(uses_jax=False, gpus=1) == cores | {"JAX_PLATFORMS": "cpu"}
    assert environment(uses_jax=True, gpus=0) == cores | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize("task", ["toy:Reach-v0", "tabletop:PushCube-v1"])
def test_a_recipe_travels(task: str) -> None:
    config = get_preset("debug")
    config.env.name = task
    spec = make_env(config.env, [0], rgb=False, end_on_success=False).spec
    name = "toy" if task.startswith("toy") else "scripted"
    settings = TeacherConfig(name)
    recipe = Recipe(settings.factory, type(settings), vars(settings), spec)
    made = pickle.loads(pickle.dumps(recipe)).make()
    assert made.spec == load(name, spec).spec


def test_a_part_of_a_call_is_divided_no_further() -> None:
    key = jax.random.key(7)
    whole = parts(21, 8, key)
    assert [(rows.start, rows.stop) for rows, _ in whole] == [(0, 8), (8, 16), (16, 21)]
    data = [jax.random.key_data(own).tolist() for _, own in whole]
    assert len(set(map(tuple, data))) == 3
    for rows, own in whole:
        ((again, same),) = parts(rows.stop - rows.start, 8, own)
        assert again == slice(0, rows.stop - rows.start)
        np.testing.assert_array_equal(jax.random.key_data(same), jax.random.key_data(own))
    for rows in (None, 21):
        assert parts(21, rows, key) == [(slice(0, 21), key)]
