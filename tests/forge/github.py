"""GitHub, as far as the action speaks to it: comments, issues, artifacts and merged pull requests over real HTTP.

Written from GitHub's REST documentation; it shares nothing with the action. An artifact is answered by a redirect to
another port, as GitHub answers it from another host, and that port refuses whoever brings a token along.
"""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_test-token-never-shown"
REPOSITORY = "acme/handbook"
BOT = "github-actions[bot]"
LARGEST_BODY = 65_536
OWN = 7


@dataclass
class GitHub:
    """What one repository holds, and how it is told to fail: `failing` counts down by method."""

    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    api: str = ""
    asked: list[str] = field(default_factory=list)
    _zips: dict[int, bytes] = field(default_factory=dict)
    _next: int = 100

    def new_id(self) -> int:
        self._next += 1
        return self._next

    def comment(self, number: int, body: str, login: str = BOT) -> int:
        entry = {"id": self.new_id(), "body": body, "user": {"login": login}}
        self.comments.setdefault(number, []).append(entry)
        return int(entry["id"])

    def upload(self, name: str, path: Path, *, run: int, sha: str, branch: str = "main", head: int = OWN) -> None:
        """Keep an artifact of a file, or of what a folder holds, as `actions/upload-artifact` packs it."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                archive.write(file, file.name)
        number = self.new_id()
        self._zips[number] = packed.getvalue()
        made = {"id": run, "head_sha": sha, "head_branch": branch, "repository_id": OWN, "head_repository_id": head}
        self.artifacts = [one for one in self.artifacts if (one["name"], one["workflow_run"]["id"]) != (name, run)]
        self.artifacts.append({"id": number, "name": name, "expired": False, "workflow_run": made})

    def zip_of(self, number: int) -> bytes:
        return self._zips[number]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Return status and document; a text is where to go on."""
        if body and len(body.get("body", "")) > LARGEST_BODY:
            return 422, {"message": "body is too long (maximum is 65536 characters)"}
        if found := re.fullmatch(r"issues/(\d+)/comments", path):
            return self._comments(method, int(found[1]), query, body)
        if found := re.fullmatch(r"issues/comments/(\d+)", path):
            return self._one_comment(method, int(found[1]), body)
        if path == "issues":
            return self._issues(method, query, body)
        if found := re.fullmatch(r"issues/(\d+)", path):
            issue = next(one for one in self.issues if one["number"] == int(found[1]))
            issue.update(body)
            return 200, issue
        if found := re.fullmatch(r"commits/(\w+)/pulls", path):
            return 200, self.pulls.get(found[1], [])
        if found := re.fullmatch(r"actions/artifacts/(\d+)/zip", path):
            return 302, found[1]
        if path == "actions/artifacts":
            return 200, {"artifacts": _page([one for one in self.artifacts if one["name"] == query["name"]], query)}
        if found := re.fullmatch(r"actions/runs/(\d+)/artifacts", path):
            own = [one for one in self.artifacts if one["workflow_run"]["id"] == int(found[1])]
            return 200, {"artifacts": _page(own, query)}
        return 404, {"message": "Not Found"}

    def _comments(self, method: str, number: int, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            return 201, {"id": self.comment(number, body["body"])}
        return 200, _page(self.comments.get(number, []), query)

    def _one_comment(self, method: str, number: int, body: Any) -> tuple[int, Any]:
        for entries in self.comments.values():
            for entry in entries:
                if entry["id"] == number and method == "PATCH":
                    entry["body"] = body["body"]
                    return 200, entry
                if entry["id"] == number and method == "DELETE":
                    entries.remove(entry)
                    return 204, None
        return 404, {"message": "Not Found"}

    def _issues(self, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if method == "POST":
            issue = {"number": self.new_id(), "state": "open", "user": {"login": BOT}, **body}
            self.issues.append(issue)
            return 201, issue
        return 200, _page([one for one in self.issues if one["state"] == query["state"]], query)


def _page(entries: list[Any], query: dict[str, str]) -> list[Any]:
    size = int(query.get("per_page", 30))
    start = (int(query.get("page", 1)) - 1) * size
    return entries[start : start + size]


@contextmanager
def start_github() -> Iterator[GitHub]:
    """Serve a repository on a free loopback port for the length of a `with` block."""
    github = GitHub()

    class Storage(QuietHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization"):
                self.reply(400, {"message": "InvalidAuthenticationInfo"})
            else:
                self.reply(200, github.zip_of(int(self.path.strip("/"))))

    class Api(QuietHandler):
        def serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(f"/repos/{REPOSITORY}/")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            github.asked.append(f"{self.command} {path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.reply(401, {"message": "Bad credentials"})
            elif f"{self.command} {path}" in github.refused:
                self.reply(403, {"message": "Resource not accessible by integration"})
            elif github.failing.get(self.command, 0) > 0:
                github.failing[self.command] -= 1
                self.reply(502, {"message": "Server Error"}, {"Retry-After": "0"})
            else:
                status, document = github.answer(self.command, path, query, body)
                if status == 302:
                    self.reply(302, b"", {"Location": f"{storage_url}/{document}"})
                else:
                    self.reply(status, document)

        def do_GET(self) -> None:
            self.serve()

        def do_POST(self) -> None:
            self.serve()

        def do_PATCH(self) -> None:
            self.serve()

        def do_DELETE(self) -> None:
            self.serve()

    with serving(Storage) as storage_url, serving(Api) as github.api:
        yield github


class QuietHandler(BaseHTTPRequestHandler):
    """Answers with a document, and writes no log."""

    def log_message(self, *_args: object) -> None:
        return

    def reply(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        data = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free loopback port for the length of a `with` block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
