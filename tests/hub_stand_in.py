# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A Hub on this machine: as much of its HTTP API as uploads and downloads need, and a list of what was asked of it."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers


# What is asked of a repository to read from it.
DOWNLOAD = re.compile(
    r"(?:/api/models)?/(?P<repository>[^/]+/[^/]+)(?:/(?:revision|resolve)/(?P<revision>[^/]+))?(?:/(?P<file>.+))?"
)


class Hub(ThreadingHTTPServer):
    """
    One repository to upload to. Files above `LARGE` bytes, or of weights, go the way of large files.

    `failures` are paths, by how they end, that fail so many times more with an internal error. Folders to download are
    in `folders`, by repository and revision; `gated` repositories ask for a token.
    """

    LARGE = 100_000

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.requests: list[str] = []
        self.failures: dict[str, int] = {}
        self.folders: dict[tuple[str, str], Path] = {}
        self.gated: dict[str, str] = {}

    def is_large(self, path: str, size: int) -> bool:
        return path.endswith(".safetensors") or size > self.LARGE

    def oid(self, path: str) -> str | None:
        """What the Hub says of a file that it has: git's hash, or of a large file its SHA-256."""
        content = self.files.get(path)
        if content is None:
            return None
        if self.is_large(path, len(content)):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def find(self, repository: str, revision: str) -> tuple[str, Path] | None:
        """The commit that a revision of `folders` is at, by which it is known too, and its folder."""
        for (name, tag), folder in self.folders.items():
            commit = hashlib.sha1(f"{name}@{tag}".encode()).hexdigest()
            if name == repository and revision in (tag, commit):
                return commit, folder
        return None

    @property
    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_request(self) -> None:
        hub, path, body = self.server, self.path.partition("?")[0], self.body()
        hub.requests.append(f"{self.command} {path}")
        for ending, count in hub.failures.items():
            if path.endswith(ending) and count:
                hub.failures[ending] -= 1
                return self.answer({"error": "Internal Error"}, 500)
        if hub.folders and (asked := DOWNLOAD.fullmatch(path)):
            return self.download(*asked.group("repository", "revision", "file"))
        if path == "/api/repos/create":
            hub.created = json.loads(body)
            name = f"{hub.created['organization']}/{hub.created['name']}"
            return self.answer({"url": f"{hub.url}/{name}", "name": name, "id": name})
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if hub.is_large(file["path"], file["size"]) else "regular",
                    "shouldIgnore": False,
                    "oid": hub.oid(file["path"]),
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {"oid": item["oid"], "size": item["size"]}
                | (
                    {}
                    if item["oid"] in hub.objects
                    else {"actions": {"upload": {"href": f"{hub.url}/storage/{item['oid']}"}}}
                )
                for item in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if path.startswith("/storage/"):
            hub.objects[path.rpartition("/")[2]] = body
            return self.answer({})
        if "/commit/" in path:
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            return self.commit(repository, [json.loads(line) for line in body.splitlines()])
        if path.startswith("/api/models/"):
            return self.answer({"id": path.removeprefix("/api/models/").partition("/revision")[0], "sha": hub.head})
        return self.answer({"error": "Not Found"}, 404)

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        hub, names = self.server, []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.objects[value["oid"]]
            if line["key"] != "header":
                names.append(value["path"])
        hub.commits.append(names)
        url = f"{hub.url}/{repository}/commit/{hub.head}"
        self.answer({"commitUrl": url, "commitOid": hub.head, "success": True})

    def download(self, repository: str, revision: str | None, file: str | None) -> None:
        """A file of `folders`, or without one, the commit of a revision."""
        hub, found = self.server, self.server.find(repository, revision or "main")
        token = hub.gated.get(repository)
        if found is None:
            return self.send_file(b"", 404, {"X-Error-Code": "RevisionNotFound" if revision else "RepoNotFound"})
        commit, folder = found
        if file is None:
            return self.answer({"id": repository, "sha": commit})
        headers = {"X-Repo-Commit": commit}
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self.send_file(b"", 403, headers | {"X-Error-Code": "GatedRepo"})
        if not (folder / file).is_file():
            return self.send_file(b"", 404, headers | {"X-Error-Code": "EntryNotFound"})
        content = (folder / file).read_bytes()
        return self.send_file(content, 200, headers | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def send_file(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def download_from(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers look for repositories there, and keep what it downloads in `cache`."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(transformers.utils.hub.hf_api(), "endpoint", hub.url)
