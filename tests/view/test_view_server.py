"""The server: what it answers, and all that it refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import made_up
import pytest

from rpd_jax.config.validation import ConfigError
from rpd_jax.view.server import LOOPBACK, Server
from rpd_jax.view.site import Site

OTHERS = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]"]


@pytest.fixture
def server(runs: Path) -> Iterator[Server]:
    with Server(Site([runs])) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(LOOPBACK, server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_page_is_served_with_what_runs_have_written_since(server: Server, runs: Path) -> None:
    response, content = ask(server, "/")
    assert response.status == 200 and content == server.site.page()
    assert response.headers["X-Frame-Options"] == "DENY" and response.headers["X-Content-Type-Options"] == "nosniff"
    made_up.run(runs / "three")
    assert b'"name":"three"' in ask(server, "/index.html?x")[1]
    head, nothing = ask(server, "/", "HEAD")
    assert head.status == 200 and nothing == b"" and int(head.headers["Content-Length"]) > len(content)


def test_nothing_but_this_machine_is_listened_to(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]"]
)
def test_other_names_of_this_machine_are_refused(server: Server, host: str) -> None:
    response, content = ask(server, "/", Host=host)
    assert response.status == 421 and b"success_once" not in content


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "LOCALHOST", "[::1]:80"])
def test_its_own_names_are_answered_at_any_port(server: Server, host: str) -> None:
    assert ask(server, "/", Host=host)[0].status == 200


def test_a_request_without_a_host_or_with_two_is_refused(server: Server) -> None:
    for headers in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection((LOOPBACK, server.server_port), timeout=30) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\n" + headers + b"\r\n")
            assert raw.makefile("rb").readline().split()[1] == b"421"


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "//etc/passwd", "/etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/videos/../index.html",
        "/videos/", "/videos", "/one/config.json", "/data.json", "/favicon.ico",
    ],
)  # fmt: skip
def test_only_the_sites_own_addresses_exist(server: Server, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(server: Server, method: str) -> None:
    assert ask(server, "/", method)[0].status == 501


def test_videos_by_parts(server: Server) -> None:
    (address,) = server.site.videos
    response, content = ask(server, f"/{address}")
    assert response.status == 200 and content == bytes(range(256)) and response.headers["Accept-Ranges"] == "bytes"
    for asked, part in {"bytes=10-19": (10, 20), "bytes=250-": (250, 256), "bytes=0-9999": (0, 256)}.items():
        response, content = ask(server, f"/{address}", Range=asked)
        assert response.status == 206 and content == bytes(range(*part))
        assert response.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/256"
    assert ask(server, f"/{address}", Range="bytes=256-")[0].status == 416
    assert ask(server, f"/{address}", Range="bytes=0-1,5-6")[0].status == 200


def test_a_video_that_becomes_a_link_to_elsewhere_is_not_served(server: Server, runs: Path, tmp_path: Path) -> None:
    (address,) = server.site.videos
    (tmp_path / "secret").write_text("secret")
    (runs / "one" / "episodes.mp4").unlink()
    (runs / "one" / "episodes.mp4").symlink_to(tmp_path / "secret")
    response, content = ask(server, f"/{address}")
    assert response.status == 404 and b"secret" not in content
    page = ask(server, "/")[1]
    assert b"episodes.mp4 is left alone" in page and not server.site.videos


def test_runs_that_vanish_are_no_crash(server: Server, runs: Path, tmp_path: Path) -> None:
    runs.rename(tmp_path / "moved")
    assert ask(server, "/")[0].status == 503
    (tmp_path / "moved").rename(runs)
    assert ask(server, "/")[0].status == 200


def test_a_taken_port_is_said(server: Server) -> None:
    with pytest.raises(ConfigError, match="choose another, or 0"):
        Server(server.site, server.server_port)
