"""Teachers in replicas on a real Ray cluster of two nodes, one of which is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import stand_in  # noqa: F401  (registers its teachers)
from arm_spec import arm_spec
from children import ROOT

import rpd_jax
from rpd_jax.config import ConfigError, RayPlacement
from rpd_jax.envs.base import VectorEnv
from rpd_jax.guidance.labels import Ledger, label_member
from rpd_jax.guidance.stream import BackgroundTeacher, LabelStream, stream_batch
from rpd_jax.instructions import Instructions
from rpd_jax.presets import debug
from rpd_jax.types import Teacher, TeacherError
from teachers.base import load
from teachers.cluster.connection import WITHOUT_CLUSTERS
from teachers.settings import teacher_factory

SIZE = 16
ENV = arm_spec(frame_shape=(SIZE, SIZE, 3))
STATES = np.random.default_rng(0).normal(size=(96, 3)).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 256, (21, SIZE, SIZE, 3), np.uint8)
KEYS = list(jax.random.split(jax.random.key(3), 8))
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
# A dead node is noticed after some seconds instead of half a minute.
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def nodes() -> Iterator[SimpleNamespace]:
    """A head, where the learner is, and two nodes with room for a replica each; all of them listen on loopback only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WITHOUT_CLUSTERS, "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))  # of the replicas
        pytest.importorskip("ray", reason="needs pip install 'rpd_jax[ray]'")
        from ray.cluster_utils import Cluster

        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # where Ray was imported already
        handler = signal.getsignal(signal.SIGTERM)  # each of the cluster's nodes puts Ray's own in its place
        cluster = Cluster(True, head_node_args={**NODE, "num_cpus": 0, "_system_config": QUICK})
        try:
            workers = [cluster.add_node(**NODE, wait=False) for _ in range(2)]
            cluster.wait_for_nodes()
            yield SimpleNamespace(cluster=cluster, workers=workers, address=cluster.address)
        finally:
            cluster.shutdown()
            signal.signal(signal.SIGTERM, handler)


def placed(
    nodes: SimpleNamespace,
    name: str = "draws",
    *,
    replicas: int = 2,
    cpus: float = 0,
    ready_seconds: float = 60,
    **values: Any,
) -> Any:
    where = RayPlacement(address=nodes.address, replicas=replicas, cpus=cpus, ready_seconds=ready_seconds)
    return load(name, ENV, placement="ray", ray=where, **values)


@pytest.fixture(scope="module")
def local() -> Any:
    return load("draws", ENV)


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pids")


@pytest.fixture(scope="module")
def teacher(nodes: SimpleNamespace, pids: Path) -> Iterator[Any]:
    with placed(nodes, pids=str(pids), cpus=0.6) as teacher:  # one on each node
        yield teacher


def wait_for_both(teacher: Any) -> dict[str, float]:
    """Waits until both replicas are there; gives the teacher's metrics."""
    end = time.monotonic() + 60
    while teacher.metrics()["teacher/replicas"] < 2 and time.monotonic() < end:
        teacher.poll()
        time.sleep(0.05)
    assert teacher.metrics()["teacher/replicas"] == 2
    return teacher.metrics()


def batches(text: str = "push") -> list[tuple[Any, ...]]:
    """Eight calls of twelve rows, two instructions in each."""
    said = Instructions((text, "pull it"), np.arange(12, dtype=np.int32) % 2)
    return [({"state": STATES[12 * i : 12 * i + 12]}, said, key) for i, key in enumerate(KEYS)]


def same(found: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.asarray, expected))


def answers(directory: Path) -> dict[int, int]:
    """Process -> its answers."""
    return {int(file.name): len(file.read_text().splitlines()) for file in directory.iterdir() if file.name.isdigit()}


def test_labels_are_those_of_a_local_teacher(teacher: Any, local: Any, pids: Path) -> None:
    assert isinstance(teacher, BackgroundTeacher)
    assert local.spec.in_graph and not teacher.spec.in_graph and teacher.spec.name == local.spec.name
    waits = [teacher.begin(*batch) for batch in batches()]
    for wait, batch in reversed(list(zip(waits, batches(), strict=True))):
        same(wait(), local.label(*batch))
    counts = answers(pids)
    assert len(counts) == 2 and os.getpid() not in counts and min(counts.values()) >= 2
    assert teacher.metrics() == {
        "teacher/answers": 8.0,
        "teacher/replicas": 2.0,
        "teacher/replicas_lost": 0.0,
        "teacher/replicas_resent": 0.0,
    }
    with pytest.raises(TeacherError, match=r"^teacher draws, replica \d: the model raised$"):
        teacher.label({"state": STATES}, "raise", KEYS[0])


def test_a_rollout_of_two_members_has_its_batches(teacher: Any, local: Any) -> None:
    """Those of the foreground: a local teacher of this kind is not asked in the background."""
    steps, starts = STATES.reshape(6, 2, 8, 3), np.zeros((6, 2, 8), bool)
    assert stream_batch(teacher, 20, num_envs=8) == 20
    ledgers = [Ledger(), Ledger()]
    stream = LabelStream(teacher, "push", [5, 6], 1, 20, ledgers)
    for step in range(6):
        stream.add({"state": steps[step]}, starts[step])
    found = stream.finish()
    for member, seed in enumerate((5, 6)):
        expected = label_member(local, "push", {"state": steps[:, member]}, starts[:, member], seed, 1, 20)
        same(jax.tree.map(lambda x, m=member: x[:, m], found), expected)
    assert [ledger.calls for ledger in ledgers] == [3, 3]


def test_a_call_is_divided_as_the_teacher_itself_divides_it(
    nodes: SimpleNamespace, teacher: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """21 rows are three requests of a process; one replica's process dies of the first one, and is made again."""
    with load("linear", ENV) as local:
        expected = local.label({"rgb": FRAMES}, "fault:none", KEYS[0])
    with placed(nodes, "linear", once=str(tmp_path / "once")) as divided:
        assert divided.rows == 8 and not divided.whole_batches and teacher.rows is None
        same(divided.label({"rgb": FRAMES}, "fault:crash", KEYS[0]), expected)
        (said,) = [line for line in caplog.messages if "was lost" in line]
        assert "failed 1 times in a row" in said and "are sent again" in said
        assert divided.metrics()["teacher/replicas_lost"] == 1


def test_what_cannot_be_is_said_at_once(nodes: SimpleNamespace, teacher: Any) -> None:
    with pytest.raises(TeacherError, match=r"^teacher absent, replica 0: ValueError: there is no such checkpoint$"):
        placed(nodes, "absent", replicas=1)
    with pytest.raises(TeacherError, match=r"are not ready after .*=1: they need 5 CPUs, 5 each, and Ray has 2$"):
        placed(nodes, replicas=1, cpus=5, ready_seconds=1)
    with pytest.raises(ConfigError, match=r"address='127\.0\.0\.1:1' cannot work: this process uses Ray at 127\.0\."):
        load("draws", ENV, placement="ray", ray={"address": "127.0.0.1:1"})


def test_a_request_that_kills_replicas_ends_with_an_error(teacher: Any, local: Any) -> None:
    before = wait_for_both(teacher)
    with pytest.raises(TeacherError, match=r"^a request was lost 3 times: teacher draws: replica \d on .* was lost"):
        teacher.label({"state": STATES}, "crash", KEYS[0])
    # Of two: Ray has started one of them again.
    assert teacher.metrics()["teacher/replicas_lost"] == before["teacher/replicas_lost"] + 3
    same(teacher.label(*batches()[0]), local.label(*batches()[0]))


def kill_node(nodes: SimpleNamespace) -> None:
    """All of its processes at once, as where the power fails: Ray alone would leave its workers to notice."""
    node = nodes.workers.pop()
    ((raylet, *_),) = (found for kind, found in node.all_processes.items() if kind == "raylet")
    tasks = Path(f"/proc/{raylet.process.pid}/task").glob("*/children")
    workers = [int(pid) for children in tasks for pid in children.read_text().split()]
    nodes.cluster.remove_node(node, allow_graceful=False)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_node_is_killed_while_its_replica_works(
    nodes: SimpleNamespace, teacher: Any, local: Any, pids: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, earlier = wait_for_both(teacher), answers(pids)
    waits = [teacher.begin(*batch) for batch in batches("slowly")]
    while sum(answers(pids).values()) < sum(earlier.values()) + 1:  # both are at work, one is done with its first
        teacher.poll()
        time.sleep(0.02)
    kill_node(nodes)
    found = [wait() for wait in waits]
    after = teacher.metrics()
    assert after["teacher/replicas"] == 1
    assert after["teacher/replicas_lost"] > before["teacher/replicas_lost"]
    assert after["teacher/replicas_resent"] > before["teacher/replicas_resent"]
    assert [line for line in caplog.messages if "was lost: " in line and "requests are sent again" in line]
    nodes.workers.append(nodes.cluster.add_node(**NODE))  # where there is room again, Ray starts the lost one
    wait_for_both(teacher)
    assert [line for line in caplog.messages if "is back, on" in line]
    same(found, [local.label(*batch) for batch in batches("slowly")])
    earlier = answers(pids)
    same([wait() for wait in [teacher.begin(*batch) for batch in batches()]], [local.label(*b) for b in batches()])
    assert len(set(answers(pids)) - set(earlier)) == 1


@pytest.mark.slow
def test_a_node_is_killed_during_a_run(
    nodes: SimpleNamespace, teacher: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on with what is left, says so, and learns what it learns with a teacher in its own process."""

    wait_for_both(teacher)

    def on_the_host(env: VectorEnv) -> Teacher:
        """A local teacher that is no part of the learner's program, so that both loops are the same."""
        local = load("toy", env.spec, noise=0.2)
        local.spec = dataclasses.replace(local.spec, in_graph=False)
        return local

    def train(directory: Path, **placement: Any) -> rpd_jax.Result:
        config = debug()
        config.variants, config.seeds, config.teacher.batch_size = ("rpd-mse",), (0,), 64
        config.algorithm.total_steps, config.eval.every, config.eval.episodes = 480, 100, 8
        for name, value in placement.items():
            setattr(config.teacher, name, value)

        def callback(snapshot: Any) -> None:
            if placement and snapshot.iteration == 1:
                kill_node(nodes)

        made = teacher_factory(config.teacher) if placement else on_the_host
        return rpd_jax.train(config, made, directory=directory, callbacks=[callback])

    where = RayPlacement(address=nodes.address, replicas=2, cpus=0.4, ready_seconds=60)  # beside the others
    found = train(tmp_path / "ray", placement="ray", ray=where)
    expected = train(tmp_path / "local")
    same(found.params, expected.params)
    rows = [json.loads(line) for line in (tmp_path / "ray" / "metrics.jsonl").read_text().splitlines()]
    lost = [row["teacher/replicas_lost"] for row in rows if "teacher/replicas_lost" in row]
    assert len(lost) == 3 and lost[0] == 0 and lost[1] >= 1
    assert [row["teacher/labels"] for row in rows if "teacher/labels" in row] == [160, 320, 480]
    assert any("teacher toy: replica" in line and "was lost" in line for line in caplog.messages)
