"""A saved plan is applied verbatim (P5): from the plan, the state and the content that it names, and nothing else.

What is sent is the same to the byte, but for ordering ids and what the remote gives out, when all else is gone: the
manifests, the environment's variables, the home, the time, the working directory.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import EMAIL, KEY, KEY_VARIABLE, REPOSITORY, Folder, Remote

FIRST = {
    "defaults": {"source": "handbook", "provider": "corp"},
    "permissions": {"staff": {"allowed": ["group:Staff"]}},
    "groups": [{"name": "Staff", "members": ["user:alice@example.com"]}, {"name": "Gone", "members": []}],
    "items": [{"uri": "x:gone", "permissions": "staff"}, {"uri": "x:a", "title": "One", "permissions": "staff"}],
}
SECOND = {
    "defaults": {"source": "handbook", "provider": "corp"},
    "permissions": {"staff": {"allowed": ["group:Staff"]}},
    "groups": [{"name": "Staff", "members": ["user:alice@example.com", "user:Zoë@example.com"]}],
    "aliases": [{"of": "user:alice@example.com", "is": [{"provider": EMAIL, "identity": "user:a@example.com"}]}],
    "items": [
        {"uri": "x:a", "title": "Two", "permissions": "staff", "body": {"text": "a text"}},
        {"uri": "x:file", "permissions": "staff", "body": {"file": "content/page.html"}, "metadata": {"size": 1.5}},
        {"uri": "x:ünï", "source": "blog", "body": {"base64": "AAEC/w=="}},
        {"uri": "x:large", "source": "blog", "body": {"file": "content/large.bin"}},
    ],
}
# Another day, and nothing that the machine says of itself.
ELSEWHEN = """\
import sys, time
shift = 40_000_000
real = time.time_ns
time.time_ns = lambda: real() + shift * 10**9
time.time = lambda: time.time_ns() / 10**9
from reconciler.cli.main import main
main()
"""


def sent(remote: Remote, since: int) -> list[dict[str, Any]]:
    """Return the requests, without what the remote chose and without ordering ids."""
    found = []
    for entry in remote.requests(since):
        query = [
            (name, value) for name, value in entry["query"] if not name.startswith(("X-Amz", "orderingId", "fileId"))
        ]
        upload = "_storage" in entry["path"]
        kept = {key: entry[key] for key in ("method", "size", "body", "container", "status")}
        found.append(kept | {"path": "storage" if upload else entry["path"], "query": query})
    return [orjson.loads(without_ids(orjson.dumps(entry))) for entry in found]


def without_ids(text: bytes) -> bytes:
    """Blank what names a container: the remote gives it out, anew each time."""
    return re.sub(rb'"compressedBinaryDataFileId":"[^"]*"', b'"compressedBinaryDataFileId":"?"', text)


def apply(folder: Folder, plan: Path, environment: Mapping[str, str], cwd: Path, *code: str) -> None:
    line = [sys.executable, *(code or ("-m", "reconciler.cli.main")), "-C", str(folder.root)]
    options = ["apply", str(plan), "--auto-approve", "--parallelism", "1"]
    done = subprocess.run(
        [*line, *options],
        env={"PYTHONPATH": str(REPOSITORY), KEY_VARIABLE: KEY, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def planned(folder: Folder, remote: Remote, tmp_path: Path) -> Path:
    """A project that was applied, and a plan of what changed."""
    folder.at(remote).write("all.yaml", orjson.dumps(FIRST))
    folder.ok("apply", "--auto-approve")
    folder.write("content/page.html", "<p>page</p>")
    folder.write("content/large.bin", os.urandom(4_000_000))
    folder.write("content/unused.txt", "unused")
    folder.write("all.yaml", orjson.dumps(SECOND))
    plan = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(plan))
    return plan


def test_what_is_sent_depends_on_plan_state_and_content_alone(
    folder: Folder, remote: Remote, planned: Path, tmp_path: Path
) -> None:
    copy = Folder(tmp_path / "copy")
    shutil.copytree(folder.root, copy.root, dirs_exist_ok=True)
    total = remote.total
    apply(folder, planned, {**os.environ}, tmp_path)
    usual = sent(remote, total)

    (copy.root / "all.yaml").unlink()
    (copy.root / "content" / "unused.txt").unlink()
    (copy.root / ".reconciler" / "cache.db").unlink()
    total = remote.total
    apply(copy, planned, {"PYTHONHASHSEED": "99", "TZ": "XXX+11", "HOME": "/nowhere"}, Path("/"), "-c", ELSEWHEN)
    assert sent(remote, total) == usual
    assert folder.run("plan", "--exit-code").code == 0


def test_what_is_sent_is_what_the_plan_shows(folder: Folder, remote: Remote, planned: Path) -> None:
    """Each call by its method, path and query, with no more bytes than it says; beside them only their containers."""
    calls = folder.run("show", str(planned), "--format", "json").json["calls"]
    statuses = orjson.loads(planned.read_bytes())["statuses"]
    total = remote.total
    apply(folder, planned, {}, Path("/"))
    requests = sent(remote, total)
    prepared = [one for one in requests if one["path"] == "storage" or one["path"].endswith("/files")]
    told = [one for one in requests if one["path"].endswith("/status")]
    made = [one for one in requests if one not in prepared and one not in told]

    assert [[one["method"], one["path"].removeprefix("/push/v1/"), one["query"]] for one in made] == [
        [call["method"], call["path"], call["query"]] for call in calls
    ]
    assert len(requests) == len(calls) + 2 * len(statuses) + len(prepared)
    uploaded = sum(one["size"] for one in prepared if one["path"] == "storage")
    assert sum(one["size"] for one in made) + uploaded <= sum(call["size"] for call in calls)
