"""Our wire formats beside the packages that define them, openpi-client and vlagents.

Bytes that the packages wrote are recorded in `tests/golden/remote`, with the versions that made them, and compared
everywhere. Beyond that, the packages' own code speaks with ours over the loopback. No extra has these two packages: the
tests that import them are skipped unless somebody installs them. openpi-client 0.1.2 asks for numpy < 2 but works with
a later one (`pip install --no-deps`); vlagents 0.3.0 needs json_numpy and simplejpeg for what is used here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import runpy
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from policy_server import HORIZON, policy
from served import SIZE, frames, libero_spec, running, spec_with_frames

from rpd_jax.ipc.messages import RemoteError
from rpd_jax.types import TeacherError
from teachers.base import load
from teachers.remote.adapters import Address
from teachers.remote.mappings import READY
from teachers.remote.openpi import OpenpiConnection, pack, unpack
from teachers.remote.request import Request
from teachers.remote.steps import fitted
from teachers.remote.vlagents import decode, encode

GOLDEN = Path(__file__).parents[1] / "golden" / "remote"
RECORD = runpy.run_path(str(GOLDEN / "record.py"))
OPENPI = json.loads((GOLDEN / "openpi_client.json").read_text())
EXCHANGES = json.loads((GOLDEN / "vlagents.json").read_text())["exchanges"]
SENT, RECEIVED = RECORD["OPENPI_SENT"], RECORD["OPENPI_RECEIVED"]
LOCALHOST = "127.0.0.1"


def assert_same(got: Any, expected: Any) -> None:
    """Arrays are equal with their dtypes; everything else is equal."""
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    elif isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray) and got.dtype == expected.dtype and got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)
    else:
        assert got == expected


@pytest.mark.parametrize("name", SENT)
def test_openpis_bytes_are_ours(name):
    assert pack(SENT[name]) == base64.b64decode(OPENPI["packed"][name])


@pytest.mark.parametrize("name", [*SENT, *RECEIVED])
def test_openpis_bytes_are_read(name):
    assert_same(unpack(base64.b64decode(OPENPI["packed"][name])), (SENT | RECEIVED)[name])


@pytest.mark.parametrize("sizes", RECORD["FITTED"])
def test_frames_are_fitted_as_openpi_fits_them(sizes):
    got = fitted(RECORD["frame"](*sizes[:2]), sizes[2])
    assert got.tobytes() == base64.b64decode(OPENPI["fitted"][str(sizes)])


def libero_fields() -> dict[str, Any]:
    """What `openpi-libero` sends of the recorded observation, whose frames are upright in this library."""
    libero = RECORD["LIBERO"]
    request = Request(READY["openpi-libero"].entries, libero_spec(libero["size"]))
    agentview, wrist = (raw[::-1, ::-1] for raw in RECORD["libero_frames"]())
    proprio = np.concatenate([libero[name] for name in ("eef_pos", "eef_axis_angle", "gripper_qpos")])
    seen = {"rgb": agentview[None], "rgb_wrist": wrist[None], "proprio": proprio[None]}
    return request.fields(request.check(seen), 0, libero["instruction"])


def test_a_request_of_libero_is_openpis_byte_for_byte():
    assert hashlib.sha256(pack(libero_fields())).hexdigest() == OPENPI["libero"]


@pytest.mark.parametrize("name", EXCHANGES)
def test_vlagents_questions_are_ours(name):
    """Its client writes every field of its dataclasses; those that ours leaves out must hold their defaults."""
    robot, text = encode(RECORD["VLAGENTS_ASKED"][name])
    asked, theirs = json.loads(text), json.loads(EXCHANGES[name]["asked"])
    single, their_single = asked["obs"].pop(robot), theirs["obs"].pop(robot)
    assert robot == EXCHANGES[name]["robot"]
    defaults = {"gripper": None, "joints": None, "xyzrpy": None, "tquat": None, "info": {}}
    assert defaults | single == their_single
    assert {"goal_image": None, "goal_image_data_type": "raw"} | asked == theirs


@pytest.mark.parametrize("name", EXCHANGES)
def test_vlagents_answers_are_read(name):
    instruction = RECORD["VLAGENTS_ASKED"][name].get("language_instruction")
    got = decode(EXCHANGES[name]["answered"], EXCHANGES[name]["robot"])
    assert_same(got, RECORD["vlagents_answer"](instruction))


def test_the_recordings_are_what_the_packages_write():
    pytest.importorskip("openpi_client")
    made = RECORD["record_openpi"]()
    assert all(made[name] == OPENPI[name] for name in ("packed", "fitted", "libero"))


def test_vlagents_recording_is_what_the_package_writes():
    pytest.importorskip("vlagents.server")
    assert RECORD["record_vlagents"]()["exchanges"] == EXCHANGES


@pytest.mark.parametrize("name", SENT)
def test_openpi_reads_what_we_send(name):
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    assert theirs.packb(SENT[name]) == pack(SENT[name])
    assert_same(theirs.unpackb(pack(SENT[name])), SENT[name])


@pytest.mark.parametrize("dtype", ["O", "c8", "V4"])
def test_what_openpi_refuses_is_refused(dtype):
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    for packb, error in ((theirs.packb, ValueError), (pack, TypeError)):
        with pytest.raises(error):
            packb({"x": np.zeros(2, dtype)})


def test_openpis_client_understands_the_server_of_our_tests():
    client = pytest.importorskip("openpi_client.websocket_client_policy")
    with running("openpi") as server:
        asking = client.WebsocketClientPolicy(LOCALHOST, server.port)
        seen = {"observation/image": frames(1)[0], "prompt": ""}
        assert asking.get_server_metadata() == {"policy": "linear, a toy"}
        np.testing.assert_array_equal(asking.infer(seen)["actions"], policy(frames(1)[0], ""))
        with pytest.raises(RuntimeError, match="the policy is tired"):
            asking.infer({**seen, "prompt": "raise"})


def test_openpis_client_sends_of_libero_what_we_send():
    """The messages themselves, as they arrive at a server."""
    theirs = pytest.importorskip("openpi_client.websocket_client_policy")
    websockets = pytest.importorskip("websockets.sync.server")
    received = []

    def handler(connection) -> None:
        connection.send(pack({}))
        for message in connection:
            received.append(message)
            connection.send(pack({"actions": RECORD["ACTIONS"]}))

    with websockets.serve(handler, LOCALHOST, 0, compression=None, max_size=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        port = server.socket.getsockname()[1]
        theirs.WebsocketClientPolicy(LOCALHOST, port).infer(RECORD["libero_element"]())
        connection = OpenpiConnection(Address.parse(f"ws://{LOCALHOST}:{port}", ["ws"]), 5.0)
        connection.ask(libero_fields(), 5.0)
        connection.close()
        server.shutdown()
        serving.join()
    assert len(received) == 2 and received[0] == received[1]


@pytest.fixture
def openpi_url() -> Iterator[str]:
    """A server that packs and unpacks by the package: greeting, answers, a traceback as text and then the end."""
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    websockets = pytest.importorskip("websockets.sync.server")

    def handler(connection) -> None:
        connection.send(theirs.packb(RECEIVED["greeting"]))
        for message in connection:
            try:
                seen = theirs.unpackb(message)
                assert_same(seen, {**SENT["observation"], "prompt": seen["prompt"]})
                if seen["prompt"] == "raise":
                    raise RuntimeError("the policy is tired")
                connection.send(theirs.packb(RECEIVED["answer"]))
            except Exception:
                connection.send(traceback.format_exc())
                connection.close(1011)

    with websockets.serve(handler, LOCALHOST, 0, compression=None, max_size=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"ws://{LOCALHOST}:{server.socket.getsockname()[1]}"
        server.shutdown()
        serving.join()


def test_our_client_understands_openpis_packer(openpi_url):
    connection = OpenpiConnection(Address.parse(openpi_url, ["ws"]), 5.0)
    try:
        assert_same(connection.metadata, RECEIVED["greeting"])
        for _ in range(2):
            assert_same(connection.ask(SENT["observation"], 5.0), RECEIVED["answer"]["actions"])
        with pytest.raises(RemoteError, match="the policy is tired"):
            connection.ask({**SENT["observation"], "prompt": "raise"}, 5.0)
        with pytest.raises(ConnectionError, match="it closed the connection"):
            connection.ask(SENT["observation"], 5.0)
    finally:
        connection.close()


@pytest.mark.parametrize("pickles", [True, False])
def test_vlagents_server_teaches(pickles):
    """Its own server, configured as its command line does, and one that refuses pickles."""
    service = pytest.importorskip("vlagents.server")
    interface = pytest.importorskip("vlagents.policies.interface")
    from rpyc.utils.server import ThreadedServer

    class Linear(interface.Agent):
        def initialize(self) -> None:
            time.sleep(0.3)  # it must not be asked before

        def act(self, obs):
            if obs.language_instruction == "raise":
                raise RuntimeError("the agent is tired")
            robot, single = self._require_single_arm(self._to_numpy(obs))
            assert robot == "right" and single.camera_data_type == "raw" and single.joints is None
            chunk = policy(single.cameras["rgb_side"], "")
            return self._chunk_act(robot, chunk[:, :6], grippers=chunk[:, 6])

    settings = {"allow_pickle": pickles, "allow_public_attrs": True}
    agent = service.AgentService(Linear(""), "linear")
    server = ThreadedServer(agent, hostname=LOCALHOST, port=0, protocol_config=settings)
    serving = threading.Thread(target=server.start)
    serving.start()
    try:
        while not server.active:
            time.sleep(0.01)
        address = f"rpyc://{LOCALHOST}:{server.port}"
        settings = {"address": address, "protocol": "vlagents", "contract": "maniskill", "frame_size": SIZE}
        teacher = load("remote", spec_with_frames(), **settings)
        try:
            assert teacher.spec.chunk == HORIZON
            labels = teacher.label({"rgb": frames(4)}, "go", jax.random.key(0))
            with pytest.raises(TeacherError, match="the agent is tired"):
                teacher.label({"rgb": frames(1)}, "raise", jax.random.key(0))
            again = teacher.label({"rgb": frames(1)}, "go", jax.random.key(0))
        finally:
            teacher.close()
    finally:
        server.close()
        serving.join()
    expected = np.stack([policy(frame, "")[0] for frame in frames(4)])
    np.testing.assert_array_equal(labels.action, expected)
    np.testing.assert_array_equal(again.action, expected[:1])


@contextlib.contextmanager
def answering(message: Callable[[bytes], bytes]) -> Iterator[dict[str, str]]:
    """Settings of a teacher whose server answers the first message that it gets."""
    rpyc = pytest.importorskip("rpyc")

    def answer(listening: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):  # the other end may be gone first
            channel = rpyc.core.channel.Channel(rpyc.SocketStream(listening.accept()[0]))
            channel.send(message(channel.recv()))
            channel.recv()
            channel.close()

    with socket.create_server((LOCALHOST, 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        address = f"rpyc://{LOCALHOST}:{listening.getsockname()[1]}"
        yield {"address": address, "protocol": "vlagents", "contract": "maniskill"}
        thread.join()


def test_a_server_of_rpyc_5_is_named():
    """Its messages are one brine tuple (kind, number, arguments), without a byte in front that says the kind."""
    brine = pytest.importorskip("rpyc.core.brine")
    refusal = pytest.raises(TeacherError, match=r"it does not speak RPyC 6.*invalid message type")
    with answering(lambda asked: brine.dump((2, 0, ()))) as settings, refusal:
        load("remote", spec_with_frames(), **settings)


def test_other_errors_of_rpyc_are_named():
    """A reply, the kind 2 in the byte in front, to the question's number, of a value that no label of RPyC's says."""
    brine = pytest.importorskip("rpyc.core.brine")

    def reply(asked: bytes) -> bytes:
        number, _ = brine.load(asked[1:])
        return bytes([2]) + brine.dump((number, (99, None)))

    with answering(reply) as settings, pytest.raises(TeacherError, match=r"ValueError: invalid label 99 \("):
        load("remote", spec_with_frames(), **settings)
