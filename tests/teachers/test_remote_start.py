"""Policy servers that cannot be used: found when the teacher is made, and said in one line."""

from __future__ import annotations

import socket
import threading
import types

import pytest
from served import NEEDS, SCHEMES, frames, running, spec_with_frames

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.ipc.limits import Limits
from rpd_jax.types import TeacherError
from teachers.base import load
from teachers.remote.adapters import Address
from teachers.remote.line import Line, PolicyServerFailed
from teachers.remote.openpi import OPENPI
from teachers.remote.vlagents import VLAGENTS
from teachers.settings import teacher_factory

HASTY = Limits(deadline_s=0.5, start_deadline_s=0.5)


def test_an_agent_that_never_is_ready(monkeypatch, caplog):
    monkeypatch.setattr("teachers.remote.vlagents._FIRST_NEWS_S", 0.1)
    settings = {"protocol": "vlagents", "contract": "maniskill", "ready_seconds": 0.5}
    with running("vlagents", "1000") as server, caplog.at_level("INFO"):
        message = r"failed, with NotReady: its agent was not ready within 0.5 s \(teacher.ready_seconds\)$"
        with pytest.raises(TeacherError, match=message):
            load("remote", spec_with_frames(), **settings, address=server.url)
        assert any(f"the agent at {server.url} is not ready yet" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("greet", "message"),
    [
        ("busy\n\x07", r"is not understood: its greeting is a text, not a map of metadata: busy \\x07$"),
        (b"\xc1", "is not understood: a frame that is not msgpack"),
        (None, r"with TimeoutError: a websocket, but no greeting within 0.5 s: is it an openpi server\?$"),
    ],
)
def test_servers_that_do_not_greet_as_openpis(greet, message):
    from websockets.sync.server import serve

    done = threading.Event()

    def handler(connection) -> None:
        if greet is not None:
            connection.send(greet)
        done.wait(20)

    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with pytest.raises(TeacherError, match=message):
                Line(OPENPI, Address.parse(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", ["ws"]), HASTY)
        finally:
            done.set()
            server.shutdown()
            serving.join()


def test_a_server_that_only_lets_connect_is_no_agent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = Line(VLAGENTS, Address.parse(f"rpyc://127.0.0.1:{silent.getsockname()[1]}", ["rpyc"]), HASTY)
        with pytest.raises(TeacherError, match=r"with TimeoutError: it lets connect and answers nothing: is it a vlag"):
            line.ask({"right/rgb_side": frames(1)[0]}, first=True)
        line.close()


@pytest.mark.parametrize("protocol", NEEDS)
def test_nobody_listens(protocol):
    pytest.importorskip(NEEDS[protocol])
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"{SCHEMES[protocol]}://127.0.0.1:{unused.getsockname()[1]}"
    settings = {"address": url, "protocol": protocol, "contract": "maniskill"}
    with pytest.raises(PolicyServerFailed, match=f"{protocol} policy server at {url} cannot be reached"):
        load("remote", spec_with_frames(), **settings)


def test_a_server_of_another_kind():
    pytest.importorskip("websockets")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address.parse(f"ws://127.0.0.1:{listening.getsockname()[1]}", ["ws"])
        with pytest.raises(PolicyServerFailed, match="cannot be reached, with TimeoutError"):
            Line(OPENPI, address, Limits(deadline_s=0.2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": ""}, r"teacher.address='': need scheme, host and port, e.g. ws://127.0.0.1:8000"),
        ({"address": "127.0.0.1:8000"}, "need scheme"),
        ({"address": "ws://127.0.0.1"}, "need scheme, host and port"),
        ({"address": "ws://127.0.0.1:port"}, "need scheme, host and port"),
        ({"address": "rpyc://127.0.0.1:80"}, "e.g. ws://"),
        ({"protocol": "openpie"}, "did you mean 'openpi'"),
        ({"contract": ""}, "does not say what its actions mean"),
        ({"request": ("image",)}, "must be NAME=SOURCE"),
        ({"request": ("image=rgb", "image=rgb")}, "each name once"),
        ({"request": ("image=depth",)}, "has no 'depth': choose from"),
        ({"request": ("state=state.elbow",)}, "has no 'state.elbow'"),
        ({"request": ("prompt=instruction",)}, "would see nothing"),
        ({"connections": 0}, "at least 1"),
        ({"colour": 1}, "'colour' is unknown: choose from"),
    ],
)
def test_mistakes_are_named(settings, message):
    good = {"address": "ws://127.0.0.1:1", "contract": "maniskill"}
    with pytest.raises(ValueError, match=message):
        load("remote", spec_with_frames(), **{**good, **settings})


def test_a_run_without_a_server_ends_in_one_line():
    pytest.importorskip("websockets")
    config = rpd_jax.Config().teacher
    config.name, config.address, config.contract = "remote", "ws://127.0.0.1:1", "maniskill"
    with pytest.raises(
        ConfigError, match=r"teacher.name='remote' cannot work: the openpi policy server at ws://127.0.0.1:1"
    ):
        teacher_factory(config)(types.SimpleNamespace(spec=spec_with_frames()))
