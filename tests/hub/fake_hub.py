"""A hub on this machine: what huggingface_hub and datasets ask of huggingface.co, answered from memory.

Repositories are dictionaries of files. Each can be told to misbehave; every request is kept in a log.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

WEIGHTS = "*.safetensors"
WHEN = "2026-01-02T03:04:05.000Z"

Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    """Read a folder that a test made."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def commit_of(files: Files) -> str:
    """Name a commit after its files."""
    digest = hashlib.sha1(b"".join(name.encode() + content for name, content in sorted(files.items())))
    return digest.hexdigest()


@dataclass(frozen=True)
class Refusal:
    """An answer instead of files.

    Attributes:
        status: Of HTTP.
        code: What the hub puts into X-Error-Code.
        message: What it puts into X-Error-Message.
        files_only: Whether what the repository is and holds is told all the same, as of a gated one.
    """

    status: int
    code: str = ""
    message: str = ""
    files_only: bool = False


@dataclass
class Repo:
    """A model or dataset repository.

    Attributes:
        branches: Files by branch.
        refusal: Every request is answered so.
        token: Who does not send it learns nothing; None: public.
        cut_at: Every download of weights breaks off before this byte.
    """

    branches: dict[str, Files]
    kind: Literal["models", "datasets"] = "models"
    refusal: Refusal | None = None
    token: str | None = None
    cut_at: int | None = None

    def find(self, revision: str) -> tuple[str, Files] | None:
        """Look a branch or commit up."""
        for branch, files in self.branches.items():
            if revision in (branch, commit_of(files)):
                return commit_of(files), files
        return None


class Request(NamedTuple):
    method: str
    path: str
    token: str


@dataclass
class FakeHub:
    """The server; `with` starts and ends it."""

    repos: dict[str, Repo] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)

    def __enter__(self) -> FakeHub:
        self._start(port=0)
        return self

    def _start(self, port: int) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Let nobody answer at its address for a while."""
        port = self._server.server_address[1]
        self._stop()
        try:
            yield
        finally:
            self._start(port)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fetched(self, name: str) -> list[str]:
        """Name the files of a repository whose content was asked for."""
        found = (re.match(rf"/(?:datasets/)?{re.escape(name)}/resolve/[^/]+/(.+)", r.path) for r in self._gets())
        return [match[1] for match in found if match]

    def _gets(self) -> list[Request]:
        return [request for request in self.log if request.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.log.append(Request(self.command, path, token))
        asks_files = "/resolve/" in path
        match = re.fullmatch(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/([\w-]+)/([^/]+)(?:/(.*))?)?", path)
        if asks_files:
            match = re.fullmatch(r"/(?:(datasets)/)?([\w.-]+/[\w.-]+)/(resolve)/([^/]+)/(.+)", path)
        if not match:
            self._refuse(Refusal(404))
            return
        kind, name, verb, revision, rest = match.groups()
        repo = self.hub.repos.get(name)
        if repo is None or repo.kind != (kind or "models") or repo.token not in (None, token):
            # The hub does not say of what nobody may see whether it exists.
            self._refuse(Refusal(404 if token else 401, "RepoNotFound", "Repository not found"))
        elif repo.refusal is not None and (asks_files or not repo.refusal.files_only):
            self._refuse(repo.refusal)
        elif (found := repo.find(revision or "main")) is None:
            self._refuse(Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}"))
        else:
            self._tell(repo, name, verb, rest or "", *found)

    def _tell(self, repo: Repo, name: str, verb: str | None, rest: str, commit: str, files: Files) -> None:
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in files]
            told = {"id": name, "sha": commit, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            self._send_json({**told, "likes": 0, "lastModified": WHEN, "createdAt": WHEN, "author": "org"})
        elif verb == "tree":
            below = {path: content for path, content in files.items() if path.startswith(f"{rest}/" if rest else "")}
            self._send_json([_entry(path, content) for path, content in below.items()])
        elif verb == "paths-info":
            self._send_json([_entry(path, content) for path, content in files.items() if path in self._wanted()])
        elif verb == "resolve" and rest in files:
            self._send_file(repo, rest, files[rest], commit)
        else:
            self._refuse(Refusal(404, "EntryNotFound", "Entry not found"))

    def _wanted(self) -> list[str]:
        if self.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(self._body)["paths"]
            return [paths] if isinstance(paths, str) else list(paths)
        return [unquote(p.removeprefix("paths=")) for p in self._body.decode().split("&") if p.startswith("paths=")]

    def _send_file(self, repo: Repo, path: str, content: bytes, commit: str) -> None:
        size = len(content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)) if wanted else (0, size - 1)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("ETag", f'"{_hash(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        if self.command == "HEAD":
            return
        if repo.cut_at is not None and fnmatch(path, WEIGHTS):
            self.wfile.write(content[start : repo.cut_at])
            self.close_connection = True
            return
        self.wfile.write(content[start : end + 1])

    def _send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, refusal: Refusal) -> None:
        self.send_response(refusal.status)
        if refusal.code:
            self.send_header("X-Error-Code", refusal.code)
        if refusal.message:
            self.send_header("X-Error-Message", refusal.message)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _hash(content)}


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
