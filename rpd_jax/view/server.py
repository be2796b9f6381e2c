"""Serves a site to browsers of this machine: two kinds of files, read only."""

from __future__ import annotations

import os
import re
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import BinaryIO

from absl import logging

from rpd_jax.config.validation import ConfigError
from rpd_jax.view.site import PAGE, Site

LOOPBACK = "127.0.0.1"
OWN_NAMES = (LOOPBACK, "localhost", "[::1]")
"""Hosts that a browser may ask for; any port, since tunnels have their own. Another site's name that resolves to this
machine (DNS rebinding) is none of them."""


class Server(ThreadingHTTPServer):
    """Answers at `address` until it is closed.

    Args:
      site: what to show; read anew whenever its page is asked for.
      port: 0: a free one.

    Raises:
      ConfigError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        try:
            super().__init__((LOOPBACK, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port={port} cannot be used: {error}; choose another, or 0 for a free one") from error

    def server_bind(self) -> None:
        """Binds, without HTTPServer's look-up of this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the page and its videos, by their exact addresses: no path is made of what a request says."""

    server: Server
    server_version, sys_version = "rpd-jax", ""
    timeout = 60  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if not self._is_asked_by_own_name():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "Only 127.0.0.1 and localhost are answered")
            return
        address = self.path.partition("?")[0].removeprefix("/")
        if address in ("", PAGE):
            self._page(with_body)
        elif address in self.server.site.videos:
            self._video(address, with_body)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _is_asked_by_own_name(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and re.sub(r":\d+$", "", hosts[0].strip().lower()) in OWN_NAMES

    def _page(self, with_body: bool) -> None:
        try:
            self.server.site.gather()
        except (ConfigError, OSError) as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "Nothing to see", str(error))
            return
        content = self.server.site.page()
        self.send_response(HTTPStatus.OK)
        self._headers("text/html; charset=utf-8", len(content))
        if with_body:
            self.wfile.write(content)

    def _video(self, address: str, with_body: bool) -> None:
        path = self.server.site.videos[address].path()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", self.headers.get("Range", ""))
            start, end = 0, size  # also where several parts are wanted
            if asked is not None:
                start, end = int(asked[1]), min(int(asked[2] or size), size - 1) + 1
            if asked is not None and start >= end:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self._headers("video/mp4", 0)
                return
            self.send_response(HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT)
            if asked is not None:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Accept-Ranges", "bytes")  # without it browsers do not seek
            self._headers("video/mp4", end - start)
            if with_body:
                _copy(file, self.wfile, start, end)

    def _headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def end_headers(self) -> None:
        """With what keeps other sites from embedding the page or reading it."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        logging.debug(format, *args)


def _copy(file: BinaryIO, out: BufferedIOBase, start: int, end: int) -> None:
    file.seek(start)
    while start < end and (piece := file.read(min(1 << 16, end - start))):
        out.write(piece)
        start += len(piece)
