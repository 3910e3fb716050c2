"""No secret and no text of a body is shown or kept where it does not belong (P16): canaries, and a look everywhere.

Canaries stand in all that holds the text of a body, in the key, in the key that signs plans, and in what signs the
addresses of containers; then all commands run, in every form, amid faults and crashes. The texts of small bodies are
in `.reconciler/*.bodies.db` and in what `plan --body-diff` shows, and nowhere else; the others are nowhere.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from reconciler.emulator.door import Exchange, Hooks
from tests.builders import KEY, Folder, Remote, child_environment, command_line, start_remote

PLAN_KEY = "canary-7b81-plan-key"
STATE_KEY = "ca9a47057a7e" + "5ea1ed0b" * 6 + "0000"
PASSWORD = "canary-9a55-password"
BODIES = {
    "text": "canary-b01d body of a manifest",
    "base64": "canary-b02d body in base64",
    "file": "canary-b03d body of a file",
    "row": "canary-b04d body of a row",
    "page": "canary-b05d body of a page",
    "large": "canary-b06d body of a large file",
}
MANIFEST = f"""\
defaults: {{source: handbook, provider: corp}}
permissions:
  staff: {{allowed: ["group:Staff"]}}
groups:
  - {{name: Staff, members: ["user:alice@example.com"]}}
aliases:
  - {{of: "user:alice@example.com", is: [{{provider: Email Security Provider, identity: "user:a@example.com"}}]}}
items:
  - {{uri: "x:text", title: A, body: {{text: {BODIES["text"]}}}, permissions: staff}}
  - {{uri: "x:base64", body: {{base64: {base64.b64encode(BODIES["base64"].encode()).decode()}}}, permissions: staff}}
  - {{uri: "x:file", body: {{file: content/page.txt}}, permissions: staff}}
  - {{uri: "x:large", source: blog, body: {{file: content/large.bin}}}}
  - {{uri: "x:protected", source: blog, title: stays}}
itemSets:
  - from: {{csv: rows.csv}}
    item: {{uri: "x:row/{{row.id}}", source: blog, title: "{{row.title}}", body: {{text: "{{row.text}}"}}}}
  - from: {{files: "pages/*.html"}}
    item: {{uri: "x:page/{{name}}", source: blog, title: "{{html.title}}"}}
"""
FORMS = ("text", "json", "markdown", "html")
DETAILS = ("none", "names", "fields", "full")


def forbidden(*, bodies: bool = True) -> dict[str, bytes]:
    """Return what must not be seen, by name; a text also as base64 has it, wherever it begins."""
    texts = {
        "key": KEY,
        "plan key": PLAN_KEY,
        "state key": STATE_KEY,
        "password": PASSWORD,
        "signature": "X-Amz-Signature=",
    }
    found = {name: text.encode() for name, text in texts.items()}
    for name, text in BODIES.items() if bodies else ():
        found[name] = text.split()[0].encode()
        for shift in range(3):
            encoded = base64.b64encode(b"." * shift + text.encode())
            found[f"{name} in base64 at {shift}"] = encoded[4:28]
    return found


def leaks(data: bytes, *, bodies: bool = True) -> list[str]:
    return [name for name, text in forbidden(bodies=bodies).items() if text in data]


def unpacked(path: Path) -> bytes:
    """Return a file's bytes, and those of all cells of a database that are packed."""
    data = path.read_bytes()
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            cells = [
                cell
                for table in tables
                for row in connection.execute(f'SELECT * FROM "{table}"')
                for cell in row
                if isinstance(cell, bytes)
            ]
        for cell in cells:
            for unpack in (zlib.decompress, gzip.decompress, lambda packed: zlib.decompress(packed, -15)):
                with suppress(zlib.error, OSError, EOFError):
                    data += unpack(cell)
    return data


def kept(root: Path) -> list[str]:
    """Return the files below a folder that hold what they must not, but for those that somebody wrote."""
    ours = ("all.yaml", "rows.csv", "page.txt", "large.bin", "page.html")
    found = {
        path.name: leaks(unpacked(path), bodies=not path.name.endswith(".bodies.db"))
        for path in root.rglob("*")
        if path.is_file() and path.name not in ours
    }
    assert "local.state.db" in found, "there is something to look at"
    return [f"{name}: {names}" for name, names in found.items() if names]


@pytest.fixture
def ready(folder: Folder, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("RECONCILER_PLAN_KEY", PLAN_KEY)
    folder.write("all.yaml", MANIFEST)
    folder.write("content/page.txt", BODIES["file"])
    # More than a call takes, and nothing that a compressor makes small: it goes to a container of its own.
    folder.write("content/large.bin", BODIES["large"].encode() + os.urandom(4_000_000))
    folder.write("pages/page.html", f"<html><title>Page</title><body>{BODIES['page']}</body></html>")
    folder.write("rows.csv", f"id,title,text\n1,One,{BODIES['row']}\n2,Two,other\n")
    return folder.at(remote)


def changed(folder: Folder) -> None:
    """Change something of every kind, bodies included."""
    text = MANIFEST.replace("title: A", "title: B").replace(BODIES["text"], BODIES["text"] + " changed")
    folder.write("all.yaml", text.replace('members: ["user:alice@example.com"', 'members: ["user:bob@example.com"'))
    folder.write("content/page.txt", BODIES["file"] + " changed")
    folder.write("rows.csv", f"id,title,text\n1,One,{BODIES['row']} changed\n")


def fail(remote: Remote, *rules: str) -> None:
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


READING = (
    ("validate",),
    ("validate", "--format", "json"),
    *(("plan", "--format", form, "--detail", detail) for form in FORMS for detail in DETAILS),
    ("plan", "--check-fields"),
    ("plan", "--no-batch", "--no-cache"),
    ("access", "who", "x:text"),
    ("access", "what", "user:alice@example.com"),
    ("access", "why", "user:alice@example.com", "x:text"),
    ("access", "diff"),
    ("access", "diff", "--format", "json"),
    ("test",),
    ("drift",),
    ("drift", "--format", "json"),
    ("state", "list"),
    ("state", "list", "--format", "json"),
    ("state", "show", "item/handbook/x:text"),
    ("state", "history"),
    ("state", "history", "--format", "json"),
    ("state", "history", "verify"),
    ("state", "check"),
    ("state", "pull"),
    ("state", "unlock", "nothing"),
    ("schema", "plan"),
)


def test_no_command_shows_or_keeps_what_it_must_not(ready: Folder, remote: Remote, tmp_path: Path) -> None:
    plan, access = str(tmp_path / "plan.json"), str(tmp_path / "access.jsonl")
    shown: dict[str, str] = {}

    def run(*arguments: str, code: int | None = None) -> None:
        ran = ready.run(*arguments)
        assert "error[internal]" not in ran.err and "error[wrong-usage]" not in ran.err, ran.err
        assert not ran.err.startswith("Usage:"), (arguments, ran.err)
        assert code is None or ran.code == code, ran.err
        shown[" ".join(arguments)] = ran.out + ran.err

    for arguments in READING:
        run(*arguments)
    run("plan", "--out", plan, code=0)
    run("apply", plan, "--auto-approve", code=0)
    assert any("X-Amz-Signature" in str(entry["query"]) for entry in remote.requests()), "there were such addresses"
    run("verify", "--timeout", "0")
    changed(ready)
    for arguments in READING:
        run(*arguments)
    run("plan", "--out", plan, "--access-out", access, code=0)
    for form in FORMS:
        run("show", plan, "--format", form, "--detail", "full", code=0)
    # Refused amid the run, by a remote that says all it knows.
    for rule in ("PUT documents: 400", "PUT storage: 403 reason=X-Amz-Signature"):
        fail(remote, rule)
        run("apply", "--auto-approve", "--allow", "widened-access", "--no-batch")
    fail(remote)
    run("apply", "--auto-approve", "--format", "json", code=0)
    run("state", "mv", "item/blog/x:protected", "item/blog/x:moved", code=0)
    run("state", "rm", "item/blog/x:moved", code=0)
    run("rollback", "--access-only")
    run("run", "--once", "--no-pull", "--verify-timeout", "0", "--drift-every", "1h", "-vv")
    assert leaks(unpacked(ready.root / ".reconciler" / "local.bodies.db")), "small texts are there, and are found"
    assert kept(tmp_path) == []
    run("destroy", "--auto-approve", code=0)

    assert {command: found for command, said in shown.items() if (found := leaks(said.encode()))} == {}
    assert kept(tmp_path) == []


class Echo(Hooks):
    """Storage that refuses what is uploaded and says to what address, as some storages do."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.signatures: set[str] = set()

    async def arriving(self, exchange: Exchange) -> Response | None:
        if "_storage" not in exchange.path:
            return None
        self.signatures.add(exchange.query["X-Amz-Signature"])
        text = f"<Error><Code>No</Code><Message>{exchange.request.url}</Message></Error>"
        return Response(text.encode(), self.status, media_type="application/xml")


@pytest.mark.parametrize("status", [400, 403, 301, 503])
def test_what_signs_an_upload_is_not_repeated_after_a_storage_that_tells_it(ready: Folder, status: int) -> None:
    echo = Echo(status)
    project = ready.root / "reconciler.yaml"
    with start_remote(hooks=echo) as remote:
        text = re.sub("target: [^,]*", f"target: {remote.url}, retryFor: 0", project.read_text())
        project.write_text(text)
        said = [ready.run("apply", "--auto-approve", "--format", form) for form in ("text", "json")]
    assert echo.signatures and all(ran.code == 4 for ran in said)
    for signature in echo.signatures:
        for ran in said:
            assert signature not in ran.out + ran.err
        for path in ready.root.rglob("*"):
            assert not path.is_file() or signature.encode() not in path.read_bytes()


CRASHING = """\
import sys
from reconciler.{module} import {owner}
before = {owner}.{name}
left = [int(sys.argv.pop(1))]
def crash(*given, **named):
    left[0] -= 1
    if left[0] == 0:
        raise RuntimeError("a crash")
    return before(*given, **named)
{owner}.{name} = crash
from reconciler.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("module", "owner", "name", "at"),
    [
        ("pushapi.client", "PushClient", "send", 1),
        ("pushapi.http", "Http", "exchange", 1),
        ("pushapi.http", "Http", "exchange", 4),
        ("pushapi.payload", "Parcel", "body", 1),
        ("pushapi.payload", "Parcel", "batch", 1),
        ("bodies", "ProjectBodies", "open", 1),
    ],
)
def test_a_crash_tells_nothing_that_it_must_not(ready: Folder, module: str, owner: str, name: str, at: int) -> None:
    """Whoever looks for the cause sees the traceback, and only then."""
    code = CRASHING.format(module=module, owner=owner, name=name)
    for debug in ({}, {"RECONCILER_DEBUG": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", code, str(at), "-C", str(ready.root), "apply", "--auto-approve"],
            env=child_environment(**debug),
            capture_output=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode != 0 and b"a crash" in said
        assert (b"Traceback" in said) is bool(debug)
        assert leaks(said) == []
    assert kept(ready.root) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked at in /proc")
def test_who_looks_at_the_processes_sees_no_secret(ready: Folder, remote: Remote) -> None:
    fail(remote, "random: delay=1")
    seen: set[bytes] = set()
    total = remote.total
    with subprocess.Popen(
        command_line("-C", str(ready.root), "apply", "--auto-approve"),
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and remote.total < total + 3:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())
            time.sleep(0.02)
        process.kill()
    fail(remote)
    assert any(b"apply" in line for line in seen)
    assert [line for line in seen if leaks(line)] == []


LOUD = (
    ("--quiet",),
    ("-v",),
    ("-vv",),
    ("--log-format", "json"),
    ("-vv", "--log-format", "json"),
)


@pytest.mark.parametrize("loud", LOUD, ids=" ".join)
def test_however_much_is_said_no_secret_is(
    ready: Folder, remote: Remote, loud: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With an encrypted state, with a remote that echoes what it is sent, and when commands fail."""
    monkeypatch.setenv("RECONCILER_STATE_KEY", STATE_KEY)
    plan = str(tmp_path / "plan.json")
    shown: dict[str, str] = {}

    def run(*arguments: str, code: int | None = None) -> None:
        ran = ready.run(*arguments, *loud)
        assert code is None or ran.code == code, ran.err
        if "json" in loud:
            assert all(json.loads(line)["event"] for line in ran.err.splitlines()), "every line is an event"
        shown[" ".join(arguments)] = ran.out + ran.err

    run("plan", "--out", plan, code=0)
    fail(remote, f"PUT documents: 400 x1 reason={KEY}", "PUT storage: 403 x1 reason=X-Amz-Signature")
    run("apply", plan, "--auto-approve")
    fail(remote)
    run("apply", "--auto-approve", "--format", "json", code=0)
    for arguments in (
        *READING,
        ("import", "--out", str(ready.root / "new")),
        ("access", "who", "x:text", "--of=remote"),
    ):
        run(*arguments)
    run("state", "show", "item/blog/x:nothing", code=2)
    run("apply", "--nonsense", code=2)
    project = ready.root / "reconciler.yaml"
    project.write_text(re.sub("target: [^,]*", "target: http://127.0.0.1:9, retryFor: 0", project.read_text()))
    changed(ready)
    for arguments in (("apply", "--auto-approve"), ("verify", "--all", "--timeout", "0"), ("drift",)):
        run(*arguments)

    assert {command: found for command, said in shown.items() if (found := leaks(said.encode()))} == {}
    if "-vv" in loud:
        assert any("HTTP 202 in" in said and "an address that is not shown" in said for said in shown.values())


UNUSABLE = (
    # state, variables
    (f"postgresql://ann:{PASSWORD}@127.0.0.1:9/db", {}),
    ("postgresql://ann@127.0.0.1:9/db?connect_timeout=2", {"PGPASSWORD": PASSWORD}),
    ("s3://bucket/state?endpoint=http://127.0.0.1:9", {"AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_ACCESS_KEY_ID": "ann"}),
    (f"s3://ann:{PASSWORD}@bucket/state", {}),
)


@pytest.mark.parametrize("loud", [(), *LOUD], ids=" ".join)
@pytest.mark.parametrize(("state", "variables"), UNUSABLE, ids=lambda value: str(value)[:12])
def test_what_opens_a_state_is_not_told_when_it_cannot_be_opened(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, state: str, variables: dict[str, str], loud: tuple[str, ...]
) -> None:
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1", **variables}.items():
        monkeypatch.setenv(name, value)
    project = folder.root / "reconciler.yaml"
    project.write_text(
        project.read_text().replace("local: {target: emulator", f"local: {{state: '{state}', target: emulator")
    )
    for words in (("plan",), ("state", "list"), ("apply", "--auto-approve")):
        ran = folder.run(*words, *loud)
        assert ran.code in (1, 2) and "error[internal]" not in ran.err, ran.err
        assert leaks((ran.out + ran.err).encode()) == []


@pytest.mark.parametrize("loud", [(), *LOUD], ids=" ".join)
def test_a_proxy_that_cannot_be_reached_keeps_its_password(
    ready: Folder, monkeypatch: pytest.MonkeyPatch, loud: tuple[str, ...]
) -> None:
    project = ready.root / "reconciler.yaml"
    project.write_text(re.sub("target: [^,]*", "target: https://remote.example, retryFor: 0", project.read_text()))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:{PASSWORD}@127.0.0.1:9")
    ran = ready.run("apply", "--auto-approve", *loud)
    assert ran.code == 4
    assert leaks((ran.out + ran.err).encode()) == []
