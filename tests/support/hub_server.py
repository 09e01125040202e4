"""A Hub on loopback for the real `huggingface_hub` client, and a plain file server beside it.

It serves what the client asks of the real one: repositories with commits and branches, gated and private ones, LFS
and git files with their ETags, `Range` requests, redirects; and on command what goes wrong in the world: a status, a
body that is cut short, other bytes than were promised, a connection that drops. Every request is counted.

    with HubServer() as hub:
        commit = hub.commit("org/name", {"model.safetensors": data})
        process(..., **hub.environment(tmp_path))

The client reads `HF_ENDPOINT` and `HF_HUB_OFFLINE` when it is imported: give them to a process of its own, or use the
fixture `hub` of `support.hub`, which sets them in this one.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "hf_test_token"  # noqa: S105 - for the gated repository of a test
"""The token that opens gated and private repositories."""
_LFS = (".safetensors", ".bin", ".ckpt", ".pt")


@dataclass
class Repository:
    """Files by commit, and commits by branch or tag."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that `revision` names, and its files."""
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


@dataclass
class PlainFile:
    """A file at `/files/…`: its bytes, and what the answer says of them."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    redirect: str | None = None


@dataclass
class Fault:
    """What goes wrong with answers whose path contains `path`, `times` times.

    `status` answers with that status; `drop_after` closes the connection after so many bytes of the body; `cut_to`
    promises and sends only so many bytes; `other_bytes` sends as many bytes as promised, and others; `hold_after` sends
    so many bytes, and the rest when `gate` is set.
    """

    path: str
    times: int = 1
    method: str = "GET"
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    cut_to: int | None = None
    other_bytes: bool = False
    hold_after: int | None = None
    gate: threading.Event | None = None


@dataclass(frozen=True)
class Request:
    """A request that was answered, and how many bytes of body were sent."""

    method: str
    path: str
    status: int
    sent: int
    range: str | None = None
    authorization: str | None = None


def git_sha1(data: bytes) -> str:
    """The id that git gives a blob: the ETag of a file that is not in LFS."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def etag(name: str, data: bytes) -> str:
    """What the Hub sends as a file's ETag."""
    return hashlib.sha256(data).hexdigest() if name.endswith(_LFS) else git_sha1(data)


class HubServer:
    """The server; a context manager. `url` is its address, `requests` what it was asked."""

    def __init__(self, certificate: Path | None = None) -> None:
        """Listen on a free port; with a certificate file (key and chain) over TLS."""
        self.repositories: dict[str, Repository] = {}
        self.plain: dict[str, PlainFile] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def commit(self, repository: str, files: Mapping[str, bytes], branch: str = "main", **changes: bool) -> str:
        """Add a commit of exactly these files to a branch; returns its id. `gated` and `private` are of the repo."""
        repo = self.repositories.setdefault(repository, Repository())
        for name, value in changes.items():
            setattr(repo, name, value)
        named = json.dumps([[name, git_sha1(data)] for name, data in sorted(files.items())])
        commit = hashlib.sha1(f"{repository} {named}".encode(), usedforsecurity=False).hexdigest()
        repo.commits[commit] = dict(files)
        repo.refs[branch] = commit
        return commit

    def put(self, path: str, data: bytes, **options: Any) -> str:
        """Serve a plain file; returns its URL."""
        self.plain[path] = PlainFile(data, **options)
        return f"{self.url}/files/{path}"

    def fail(self, path: str, **how: Any) -> None:
        """Let something go wrong; see `Fault`."""
        self.faults.append(Fault(path, **how))

    def hold(self, path: str, after: int, until: threading.Event) -> None:
        """Let one answer wait after so many bytes of its body."""
        self.faults.append(Fault(path, hold_after=after, gate=until))

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a process that uses this Hub, with caches below `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "RECIPE_RUNNER_CACHE": str(home / "cache"),
        }

    def sent(self, path: str = "") -> int:
        """Bytes of body that were sent for paths that contain `path`."""
        return sum(request.sent for request in self.requests if path in request.path)

    def asked(self, path: str, method: str = "GET") -> int:
        """How many requests there were for paths that contain `path`."""
        return sum(path in request.path and request.method == method for request in self.requests)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if one does; it is used up."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and fault.path in path and fault.method == method:
                    fault.times -= 1
                    return fault
        return None

    def note(self, request: Request) -> None:
        """Remember a request."""
        with self._lock:
            self.requests.append(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        fault = self.hub.take_fault(self.command, path)
        if fault is not None and fault.status is not None:
            self._send(fault.status, b"", dict(fault.headers))
        elif path.startswith("/files/"):
            self._plain(path.removeprefix("/files/"), fault)
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"), parse_qs(parts.query))
        else:
            self._resolve(path, fault)

    def _plain(self, name: str, fault: Fault | None) -> None:
        found = self.hub.plain.get(name)
        if found is None:
            self._send(404, b"not here")
        elif found.token is not None and self.headers.get("Authorization") != f"Bearer {found.token}":
            self._send(401, b"who are you?")
        elif found.redirect is not None:
            self._send(302, b"", {"Location": found.redirect})
        else:
            digest = hashlib.sha256(found.data).hexdigest()
            self._body(found.data, {"ETag": f'"{digest[:16]}"', **found.headers}, fault)

    def _api(self, rest: str, query: dict[str, list[str]]) -> None:
        name, _, tail = rest.partition("/revision/")
        revision, listing = tail or "main", False
        if "/tree/" in rest:
            name, _, tail = rest.partition("/tree/")
            revision, listing = tail.split("/")[0], True
        repo = self._allowed(name)
        if repo is None:
            return
        found = repo.files(revision)
        if found is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        commit, files = found
        if listing:
            self._json([_tree_entry(path, data) for path, data in sorted(files.items())])
            return
        blobs = "blobs" in query
        siblings = [{"rfilename": path, **(_sibling(path, files[path]) if blobs else {})} for path in sorted(files)]
        gated = "manual" if repo.gated else False
        self._json(
            {"id": name, "modelId": name, "sha": commit, "private": repo.private, "gated": gated, "siblings": siblings}
        )

    def _resolve(self, path: str, fault: Fault | None) -> None:
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        repo = self._allowed(name)
        if repo is None:
            return
        revision, _, file = rest.partition("/")
        found = repo.files(revision)
        if found is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        commit, files = found
        if repo.gated and not self._has_token():
            status = 403 if self.headers.get("Authorization") else 401
            self._send(status, b"", {"X-Error-Code": "GatedRepo"})
            return
        if file not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        data = files[file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(file, data)}"'}
        if file.endswith(_LFS):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
        self._body(data, headers, fault)

    def _allowed(self, name: str) -> Repository | None:
        """The repository, unless it is not there or private: then the Hub does not say which of the two."""
        repo = self.hub.repositories.get(name)
        if repo is None or (repo.private and not self._has_token()):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        return repo

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, tree: object) -> None:
        self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})

    def _body(self, data: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        """The bytes of a file, or the range of them that was asked for."""
        status, start, end = 200, 0, len(data)
        wanted = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if wanted.startswith("bytes=") and unchanged:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = (int(first), int(last) + 1 if last else end) if first else (max(0, end - int(last)), end)
            end = min(end, len(data))
            if start >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        body = data[start:end]
        if fault is not None and fault.other_bytes:
            body = bytes(byte ^ 0xFF for byte in body)
        if fault is not None and fault.cut_to is not None:
            body = body[: fault.cut_to]
        self._send(status, body, {"Accept-Ranges": "bytes", **headers}, fault)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, fault: Fault | None = None
    ) -> None:
        drop_after = None if fault is None else fault.drop_after
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        if drop_after is not None:
            self.close_connection = True
            body = body[:drop_after]
        if self.command == "HEAD":
            body = b""
        # Noted before it is sent: whoever has the answer may ask for the count.
        self.hub.note(
            Request(
                self.command,
                unquote(urlsplit(self.path).path),
                status,
                len(body),
                self.headers.get("Range"),
                self.headers.get("Authorization"),
            )
        )
        self.end_headers()
        if fault is not None and fault.gate is not None:
            self.wfile.write(body[: fault.hold_after])
            body = body[fault.hold_after :]
            fault.gate.wait(60)
        self.wfile.write(body)


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"size": len(data), "blobId": git_sha1(data)}
    if path.endswith(_LFS):
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _tree_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
    if path.endswith(_LFS):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry
