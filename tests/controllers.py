"""What tests of `reconciler run` share: a project that was cloned, and a controller as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from reconciler.cli.session import open_session
from tests.builders import KEY, PROJECT, Folder, Remote, child_environment, command_line, contents_of

MANIFEST = """\
defaults: {source: handbook, provider: corp}
groups:
  - {name: Staff, members: ["user:alice@example.com"]}
items:
  - {uri: "https://example.com/a", title: A, permissions: {allowed: ["group:Staff"]}}
  - {uri: "https://example.com/b", title: B, source: blog}
"""
CHANGED = MANIFEST.replace("title: B", "title: B2")
SECONDS = 30.0


class Checkout(Folder):
    """A project that was cloned from a repository, to which somebody else pushes."""

    def __init__(self, root: Path, project: str) -> None:
        super().__init__(root, project)
        self.write("all.yaml", MANIFEST)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        self.origin = root.with_name("origin.git")
        self.git("clone", "-q", "--bare", ".", str(self.origin))
        self.git("remote", "add", "origin", str(self.origin))
        self.git("fetch", "-q")
        self.git("branch", "-q", "-u", "origin/main")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        ran = subprocess.run(["git", *names, *arguments], cwd=at or self.root, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def merge(self, text: str, *options: str) -> str:
        """Have somebody else push this manifest; return the commit."""
        author = self.root.with_name("author")
        if not author.exists():
            self.git("clone", "-q", str(self.origin), str(author))
        (author / "all.yaml").write_text(text, encoding="utf-8")
        self.git(*options, "commit", "-qam", "change", at=author)
        self.git("push", "-q", at=author)
        return self.git("rev-parse", "HEAD", at=author)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")


def project_at(remote: Remote, more: str = "") -> str:
    return PROJECT.replace("target: emulator", f"target: {remote.url}, retryFor: 0") + more


def holds_what_is_recorded(folder: Folder, remote: Remote) -> bool:
    remote.flush()
    with open_session(str(folder.root), None) as session:
        return bool(remote.contents() == contents_of(row.resource for row in session.store.rows()))


class Running:
    """A controller as a process of its own; what it says goes into a file."""

    def __init__(self, folder: Folder, log: Path, *options: str, **environment: str) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command_line(
                    *("-C", str(folder.root), "--log-format", "json", "run"),
                    *("--listen", "127.0.0.1:0", "--interval", "1s", "--verify-timeout", "5", *options),
                ),
                env=child_environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    @property
    def events(self) -> list[dict[str, Any]]:
        whole = self._log.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == name]

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert self.process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    @property
    def url(self) -> str:
        self.until(lambda: self.named("listening"))
        return str(self.named("listening")[0]["url"])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=10)

    @property
    def result(self) -> str:
        return str(self.get("/healthz").json()["result"])

    def metrics(self) -> dict[str, float]:
        answer = self.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return {
            sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        said = self._log.read_text()
        assert "Traceback" not in said and "internal" not in said, said
        assert KEY not in said
        return code


@contextmanager
def running(folder: Folder, *options: str, **environment: str) -> Iterator[Running]:
    log = folder.root.with_name(f"log-{time.monotonic_ns()}")
    controller = Running(folder, log, *options, **environment)
    try:
        yield controller
    finally:
        if controller.process.poll() is None:
            controller.process.kill()
        controller.process.wait()
