"""A stand-in for the Hugging Face hub on loopback: what `huggingface_hub` asks for to push and to pull, in memory.

All files are ordinary ones of git: the answer to "preupload" says so, and no large file storage is needed.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_jane"


@dataclasses.dataclass
class Repository:
    """One repository; commits from the first to the newest, each with all of its files."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]]

    @property
    def files(self) -> dict[str, bytes]:
        """Of the newest commit; changing it changes what the hub gives, as no commit would."""
        return self.commits[-1][1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((each for each in self.commits if each[0] == revision), None)

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((sha, files))
        return sha


class Hub:
    """`repositories`: "models/USER/NAME" -> its content; `requests`: what was asked for, "METHOD PATH"."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.endpoint = ""
        self.withheld = ""  # a file that cannot be read now

    def make(self, name: str, private: bool = False) -> Repository:
        repository = Repository(private, [])
        repository.commit({".gitattributes": b""})
        self.repositories[name] = repository
        return repository


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers at `endpoint`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} {path}")
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._error(401, "", "Invalid credentials")
        if path == "api/repos/create":
            return self._create(json.loads(body))
        parts = path.split("/")
        if parts[0] == "api":
            return self._api("/".join(parts[1:4]), parts[4:], body)
        if "resolve" in parts:
            at = parts.index("resolve")
            prefix = "" if parts[0] == "datasets" else "models/"
            return self._file(prefix + "/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        return self._error(404, "", "no such thing")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        self.hub.make(
            f"{asked.get('type') or 'model'}s/{name}",
            asked.get("visibility") == "private" or bool(asked.get("private")),
        )
        self._json({"url": f"{self.hub.endpoint}/{name}"})

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._error(404, "RepoNotFound", "Repository not found")
        verb, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        found = repository.at(revision)
        if found is None:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        sha, files = found
        if verb == "revision":
            listed = [{"rfilename": each, "size": len(content)} for each, content in files.items()]
            identity = name.partition("/")[2]
            return self._json(
                {"id": identity, "sha": sha, "private": repository.private, "siblings": listed, "tags": []}
            )
        if verb == "tree":
            entries = [{"type": "file", "path": p, "size": len(c), "oid": _oid(c)} for p, c in files.items()]
            return self._json(entries)
        if verb == "preupload":
            asked = json.loads(body)["files"]
            return self._json(
                {"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]}
            )
        if verb == "commit":
            return self._commit(repository, body)
        return self._error(404, "", "no such thing")

    def _commit(self, repository: Repository, body: bytes) -> None:
        files = dict(repository.files)
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit") not in (None, repository.commits[-1][0]):
                return self._error(412, "", "the parent is another by now")
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if key == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files)
        # Older clients read the address by the public hub's endpoint, whichever they asked.
        self._json({"success": True, "commitOid": sha, "commitUrl": f"https://huggingface.co/jane/x/commit/{sha}"})

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self.hub.repositories.get(name)
        found = repository.at(revision) if repository else None
        if found is None or path not in found[1]:
            return self._error(404, "EntryNotFound", "no such file")
        if path == self.hub.withheld:
            return self._error(403, "", "not now")
        content = found[1][path]
        self._send(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": found[0]})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str) -> None:
        self._send(
            status, b"{}", {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        )

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
