"""`apply` and `destroy` from outside: what they ask, refuse, send, record, say and exit with."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.responses import Response

from reconciler.cli import applying
from reconciler.cli.options import HAZARDS
from reconciler.cli.remote import Remote as Place
from reconciler.cli.session import open_session
from reconciler.cli.stopping import Stop
from reconciler.emulator.door import Exchange, Hooks
from reconciler.problems import Interrupted, RemoteError
from reconciler.pushapi.client import StatusType
from reconciler.pushapi.hosts import hosts_at
from reconciler.pushapi.network import Network
from reconciler.pushapi.pace import Pace, Window
from reconciler.pushapi.retry import RetryPolicy
from reconciler.rendering.jsondoc import checksum
from reconciler.settings import Secret
from tests.builders import (
    EMAIL,
    KEY,
    KEY_VARIABLE,
    ORGANIZATION,
    SHARED_ID,
    SOURCE_ID,
    Folder,
    Remote,
    child_environment,
    command_line,
    run_here,
    start_remote,
)

MANIFEST = f"""\
defaults: {{source: handbook, provider: corp}}
items:
  - uri: https://example.com/a
    title: A
    body: {{text: secret-looking text}}
    permissions: {{allowed: [group:Staff]}}
  - {{uri: "https://example.com/b", title: B, permissions: {{allowed: [group:Other]}}}}
  - {{uri: "https://example.com/post", source: blog, title: Post}}
groups:
  - {{name: Staff, members: [user:alice@example.com]}}
  - {{name: Other, members: []}}
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: "user:alice@mail.example.com"}}]
"""
EVERYTHING = 6


@pytest.fixture
def ready(folder: Folder, remote: Remote) -> Folder:
    """A project with manifests, pointed at an emulator that was sent nothing."""
    folder.write("all.yaml", MANIFEST)
    return folder.at(remote)


def recorded(folder: Folder) -> list[str]:
    with open_session(str(folder.root), None) as session:
        return sorted(session.store.fingerprints())


def journal(folder: Folder) -> list[tuple[int, str | None]]:
    with open_session(str(folder.root), None) as session:
        return [
            (entry.intent.call, entry.outcome.value if entry.outcome else None) for entry in session.store.journal()
        ]


# -- approval --------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command_line(*arguments),
            env=child_environment(TERM="xterm", **environment),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, text: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while text not in self.shown:
            assert self._read(until - time.monotonic()), f"no {text!r} in {self.shown!r}"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal, and again while it is not heard: one that comes just before the terminal is read, is not."""
        for _ in range(5):
            self.process.send_signal(number)
            until = time.monotonic() + 3
            while time.monotonic() < until:
                if not self._read(until - time.monotonic()) and self.process.poll() is not None:
                    return

    def end(self) -> int:
        until = time.monotonic() + 20
        while self._read(until - time.monotonic()):
            pass
        os.close(self._master)
        return self.process.wait(20)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other end is gone
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_on_a_terminal_it_asks_and_takes_no_for_an_answer(ready: Folder, remote: Remote, answer: str) -> None:
    total = remote.total
    terminal = Terminal("-C", str(ready.root), "apply")
    terminal.wait_for("Make these changes? [y/N]")
    assert "6 to create" in terminal.shown, "the plan comes before the question"
    terminal.type(answer)

    assert terminal.end() == 2
    assert "error[not-approved]" in terminal.shown
    assert remote.total == total
    assert recorded(ready) == []


def test_on_a_terminal_it_asks_and_takes_yes_for_an_answer(ready: Folder, remote: Remote) -> None:
    terminal = Terminal("-C", str(ready.root), "apply")
    terminal.wait_for("[y/N]")
    terminal.type("y\n")

    assert terminal.end() == 0
    assert len(recorded(ready)) == EVERYTHING


def test_on_a_terminal_destroy_asks_for_all_of_it(ready: Folder) -> None:
    ready.ok("apply", "--auto-approve")
    terminal = Terminal("-C", str(ready.root), "destroy")
    terminal.wait_for("Delete all of this? [y/N]")
    terminal.type("y\n")

    assert terminal.end() == 0
    assert recorded(ready) == []


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_without_a_terminal_it_refuses(ready: Folder, remote: Remote, command: str) -> None:
    if command == "destroy":
        ready.ok("apply", "--auto-approve")
    total, before = remote.total, recorded(ready)

    ran = ready.run(command)

    assert ran.code == 2
    assert "error[approval-needed]" in ran.err
    assert "Plan:" in ran.out, "what would be done is shown all the same"
    assert (remote.total, recorded(ready)) == (total, before)


# -- what is sent and recorded ---------------------------------------------------------------------


def test_everything_is_sent_recorded_and_told(ready: Folder, remote: Remote) -> None:
    ran = ready.ok("apply", "--auto-approve")

    assert ran.out.endswith("Plan: 6 to create, 0 to update, 0 to delete, 0 unchanged; 4 calls.\n")
    assert "Apply: 4 calls done, 0 failed, 0 unknown, 0 not started;" in ran.err
    assert len(recorded(ready)) == EVERYTHING
    assert journal(ready) == [(number, "accepted") for number in (1, 2, 3, 4)]


def test_nothing_to_do_makes_no_request(ready: Folder, remote: Remote) -> None:
    ready.ok("apply", "--auto-approve")
    total = remote.total

    for arguments in (("apply",), ("apply", "--auto-approve"), ("apply", "--no-batch")):
        ran = ready.run(*arguments, key=None)
        assert (ran.code, ran.err) == (0, ""), "nothing is asked, not even for a key"
        assert "No changes. 6 resources are as recorded; no call is needed." in ran.out
    assert remote.total == total


def test_the_embedded_emulator_needs_no_key(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)

    assert folder.run("apply", "--auto-approve", key=None).code == 0
    assert folder.run("plan", "--exit-code", key=None).code == 0
    assert folder.run("destroy", "--auto-approve", key=None).code == 0


def test_an_embedded_emulator_that_cannot_keep_its_data_is_no_bug(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    folder.write(".reconciler/emulator/emulator.db", "no database " * 100)

    ran = folder.ok("apply", "--auto-approve", code=1)
    assert "error[emulator-data]" in ran.err
    assert "bug in reconciler" not in ran.err


def test_destroy_deletes_what_is_recorded_and_nothing_else(ready: Folder, remote: Remote) -> None:
    ready.ok("apply", "--auto-approve")
    (ready.root / "all.yaml").write_text("no: manifest")

    ran = ready.ok("destroy", "--auto-approve")

    assert "0 to create, 0 to update, 6 to delete" in ran.out
    assert recorded(ready) == []
    assert remote.contents() == {"items": {}, "identities": {}}
    assert "No changes." in ready.ok("destroy", "--auto-approve").out


def test_destroy_refuses_what_is_protected(ready: Folder, remote: Remote) -> None:
    ready.write("all.yaml", MANIFEST.replace("title: B,", "title: B, protect: true,"))
    ready.ok("apply", "--auto-approve")
    total = remote.total

    ran = ready.ok("destroy", "--auto-approve", code=1)

    assert (ran.out + ran.err).count("error[protected]") == 1
    assert "fix: put it back" in ran.err
    assert remote.total == total


def test_protecting_takes_no_call(ready: Folder, remote: Remote) -> None:
    ready.ok("apply", "--auto-approve")
    total = remote.total
    ready.write("all.yaml", MANIFEST.replace("title: B,", "title: B, protect: true,"))

    ran = ready.ok("apply", "--auto-approve")

    assert "1 to update" in ran.out
    assert remote.total == total
    assert ready.run("plan", "--exit-code").code == 0


# -- saved plans -----------------------------------------------------------------------------------


def test_a_saved_plan_is_applied_verbatim_without_the_manifests(ready: Folder, remote: Remote) -> None:
    """P5: plan, state and the bodies that the plan names, and nothing else."""
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))
    calls = orjson.loads(plan.read_bytes())["calls"]
    (ready.root / "all.yaml").unlink()

    ready.ok("apply", str(plan), "--auto-approve")

    sent = [entry for entry in remote.requests() if not entry["path"].endswith(("/files", "/status"))]
    sent = [entry for entry in sent if "_storage" not in entry["path"]]
    assert [entry["path"].removeprefix("/push/v1/") for entry in sent] == [call["path"] for call in calls]
    assert len(recorded(ready)) == EVERYTHING
    (body,) = [entry["body"]["data"] for entry in sent if "data" in (entry["body"] or {})]
    assert body == "secret-looking text"


def test_a_saved_plan_ignores_what_the_manifests_became(ready: Folder, remote: Remote) -> None:
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))
    ready.write("all.yaml", MANIFEST.replace("title: A", "title: Another"))

    ready.ok("apply", str(plan), "--auto-approve")

    (change,) = ready.run("plan", "--format", "json").json["changes"]
    assert change["fields"] == [{"path": ["title"], "before": "A", "after": "Another"}]


def test_a_saved_plan_of_a_changed_content_file_is_refused(ready: Folder, remote: Remote) -> None:
    content = ready.write("page.html", "<p>one</p>")
    ready.write("more.yaml", "items: [{uri: 'https://example.com/page', source: blog, body: {file: page.html}}]")
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))
    total = remote.total

    content.write_text("<p>longer</p>")
    ran = ready.ok("apply", str(plan), "--auto-approve", code=1)
    assert "error[body-changed]" in ran.err
    assert remote.total == total

    content.write_text("<p>two</p>")  # of the same length
    ran = ready.ok("apply", str(plan), "--auto-approve", code=1)
    assert "error[body-changed]" in ran.err
    assert remote.total == total
    assert not any("https://example.com/page" in uri for uris in remote.contents()["items"].values() for uri in uris)


def test_a_content_file_that_changed_while_somebody_was_asked_is_refused_before_the_first_call(
    ready: Folder, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.cli import applying

    pages = [ready.write(f"{name}.html", f"<p>{name}</p>") for name in ("changed", "removed", "kept")]
    entries = [
        f"{{uri: 'https://example.com/{page.stem}', source: blog, body: {{file: {page.name}}}}}" for page in pages
    ]
    ready.write("more.yaml", f"items: [{', '.join(entries)}]")
    total = remote.total

    def approve(_approval: object) -> None:
        pages[0].write_text("<p>CHANGED</p>")
        pages[1].unlink()

    monkeypatch.setattr(applying, "_approve", approve)
    ran = ready.ok("apply", code=1)

    assert 'error[body-changed]: content file "changed.html"' in ran.err
    assert "removed.html" in ran.err
    assert "kept.html" not in ran.err
    assert remote.total == total
    assert recorded(ready) == []


@contextmanager
def altered(path: Path, change: Callable[[dict[str, Any]], None], *, sign: bool = False) -> Iterator[None]:
    before = path.read_bytes()
    document = orjson.loads(before)
    change(document)
    if sign:
        document["checksum"] = checksum(document)
    path.write_bytes(orjson.dumps(document))
    yield
    path.write_bytes(before)


def test_a_plan_that_does_not_fit_is_refused_by_its_own_code(ready: Folder, remote: Remote, tmp_path: Path) -> None:
    """P6 and P7: nothing is sent, and the code says why."""
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))
    total = remote.total

    def refused(code: str, *, exit_code: int = 1) -> None:
        ran = ready.ok("apply", str(plan), "--auto-approve", code=exit_code)
        assert f"error[{code}]" in ran.err
        assert remote.total == total

    with altered(plan, lambda document: document["changes"].pop()):
        refused("plan-altered")
    with altered(plan, lambda document: document["changes"].pop(), sign=True):
        refused("plan-altered")
    with altered(plan, lambda document: document.update(environment="prod"), sign=True):
        refused("foreign-plan")
    with altered(plan, lambda document: document["target"].update(organization="other"), sign=True):
        refused("foreign-plan")
    with altered(plan, lambda document: document["state"].update(lineage="other", serial=1), sign=True):
        refused("foreign-plan")
    with altered(plan, lambda document: document.update(format_version="9.0"), sign=True):
        refused("plan-newer-version")
    # Each call and each status is for the source or the provider whose changes it settles.
    for edit in (
        lambda document: document["calls"][-1].update(path=document["calls"][0]["path"]),
        lambda document: document["calls"][-1].update(scope="blog"),
        lambda document: document["calls"][-1].update(kind="stream-load", chunks=[]),
        lambda document: document["statuses"][0].update(path=document["statuses"][1]["path"]),
    ):
        with altered(plan, edit, sign=True):
            refused("plan-altered")
    with altered(plan, lambda document: document["calls"][-1].update(kind="item-older-than"), sign=True):
        refused("not-exclusive")
    whole = plan.read_bytes()
    plan.write_bytes(whole[: len(whole) // 2])
    refused("plan-truncated")
    plan.write_text("{}")
    refused("plan-not-a-plan")
    plan.write_text("hello")
    refused("plan-not-json")
    plan.unlink()
    refused("no-plan", exit_code=2)
    plan.write_bytes(whole)

    ready.ok("apply", str(plan), "--auto-approve")
    total = remote.total
    refused("plan-replayed")


def test_a_saved_plan_that_empties_a_source_is_refused_once_the_source_is_not_ours_alone(
    ready: Folder, remote: Remote
) -> None:
    """What the call would take along belongs to somebody else by now (push-api.md 5.6)."""
    project = (ready.root / "reconciler.yaml").read_text()
    ready.write("reconciler.yaml", project.replace("visibility: shared", "visibility: shared, exclusive: true"))
    many = [{"uri": f"https://example.com/post{number}", "source": "blog"} for number in range(5)]
    ready.write("all.yaml", orjson.dumps({"items": many}))
    ready.ok("apply", "--auto-approve")
    plan = ready.root / "plan.json"
    ready.write("all.yaml", "items: []\n")
    ready.ok("plan", "--allow", "emptied", "--out", str(plan))
    assert "olderthan" in plan.read_text()
    ready.write("reconciler.yaml", project)
    total = remote.total

    ran = ready.ok("apply", str(plan), "--auto-approve", code=1)

    assert "error[not-exclusive]" in ran.err
    assert remote.total == total


def test_flags_have_no_meaning_for_a_saved_plan(ready: Folder) -> None:
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))

    for flags in (("--no-batch",), ("--target", "x"), ("--source", "blog")):
        assert "error[plan-is-fixed]" in ready.ok("apply", str(plan), *flags, code=2).err


def test_a_hazard_may_be_allowed_when_a_saved_plan_is_applied(ready: Folder) -> None:
    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", MANIFEST[: MANIFEST.index("aliases:")])
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))

    assert "error[hazard-emptied]" in ready.ok("apply", str(plan), "--auto-approve", code=1).err
    ready.ok("apply", str(plan), "--auto-approve", "--allow", "emptied:alias/corp")


# -- narrowing -------------------------------------------------------------------------------------


def test_a_target_brings_what_it_needs(ready: Folder, remote: Remote) -> None:
    ready.ok("apply", "--auto-approve", "--target", "https://example.com/a")
    first = ["alias/corp/user:alice@example.com", "group/corp/Staff", "item/handbook/https://example.com/a"]
    assert recorded(ready) == first

    ready.ok("apply", "--auto-approve", "--source", "handbook")
    assert recorded(ready) == sorted([*first, "group/corp/Other", "item/handbook/https://example.com/b"])
    ready.ok("apply", "--auto-approve", "--target", "item/blog/*")
    assert len(recorded(ready)) == EVERYTHING
    assert ready.run("plan", "--exit-code").code == 0


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--target", "https://example.com/typo"), "unknown-target"),
        (("--source", "hanbook"), "unknown-source"),
    ],
)
def test_narrowing_to_nothing_is_an_error(ready: Folder, flags: tuple[str, ...], code: str) -> None:
    for command in (("plan",), ("apply", "--auto-approve")):
        assert f"error[{code}]" in ready.ok(*command, *flags, code=2).err


# -- hazards ---------------------------------------------------------------------------------------


def test_hazards_are_refused_until_they_are_allowed_by_name(ready: Folder, remote: Remote) -> None:
    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", MANIFEST.replace("members: [user:alice@example.com]", "members: []"))
    total = remote.total

    ran = ready.ok("apply", "--auto-approve", code=1)
    assert "error[hazard-emptied-group]" in ran.err
    assert "--allow emptied-group:group/corp/Staff" in ran.err
    assert "error[hazard-emptied-group]" in ready.ok("apply", "--auto-approve", "--allow", "emptied", code=1).err
    assert remote.total == total

    ready.ok("apply", "--auto-approve", "--allow", "emptied-group:group/corp/Staff", "--allow", "item-unseen")


@pytest.mark.parametrize("command", [("plan",), ("apply", "--auto-approve"), ("destroy", "--auto-approve")])
def test_a_hazard_that_does_not_exist_is_not_allowed(ready: Folder, remote: Remote, command: tuple[str, ...]) -> None:
    total = remote.total

    ran = ready.ok(*command, "--allow", "mass-delte:x", code=2)

    assert "error[unknown-hazard]" in ran.err
    assert 'did you mean "mass-delete"?' in ran.err
    assert remote.total == total


def test_every_hazard_can_be_allowed() -> None:
    from reconciler.calls import quotas
    from reconciler.calls.hazards import TRANSIENT_EXPOSURE
    from reconciler.cli.unread import UNREAD
    from reconciler.planning import accesshazards, hazards
    from reconciler.policies import verdict

    source = Path(hazards.__file__).read_text() + Path(accesshazards.__file__).read_text()
    named = set(re.findall(r"--allow ([a-z-]+)", source)) | {quotas.HAZARD, TRANSIENT_EXPOSURE, UNREAD, verdict.HAZARD}
    named |= set(re.findall(r'(?:Action\.[A-Z]+, |note\()"([a-z-]+)"', source))
    assert named == set(HAZARDS)


def test_what_a_days_quota_does_not_let_finish_is_not_begun(ready: Folder, remote: Remote) -> None:
    """The calls of the last 24 hours that the state knows of count."""
    ready.write("reconciler.yaml", (ready.root / "reconciler.yaml").read_text() + "quotas: {itemsPerDay: 4}\n")
    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", MANIFEST.replace("title: B", "title: C").replace("title: Post", "title: Note"))
    total = remote.total
    assert "2 to update" in ready.ok("plan").out

    ran = ready.ok("apply", "--auto-approve", code=1)

    assert "error[hazard-over-quota]" in ran.err
    assert "on top of 3 of the last 24 hours" in ran.err
    assert remote.total == total
    ready.ok("apply", "--auto-approve", "--allow", "over-quota")


def test_a_saved_plan_is_held_against_the_quota_of_now(ready: Folder, remote: Remote) -> None:
    saved = str(ready.root / "saved.plan")
    ready.ok("plan", "--out", saved)
    ready.write("reconciler.yaml", (ready.root / "reconciler.yaml").read_text() + "quotas: {itemsPerDay: 1}\n")

    total = remote.total

    ran = ready.ok("apply", saved, "--auto-approve", code=1)

    assert "error[hazard-over-quota]" in ran.err
    assert remote.total == total
    ready.ok("apply", saved, "--auto-approve", "--allow", "over-quota")


# -- when it does not go well ----------------------------------------------------------------------


class Faults(Hooks):
    """Answers in place of the emulator, or makes it slow, from the n-th call of the Push API on."""

    def __init__(self) -> None:
        self.calls = 0
        self.fail_from = 0
        self.status = 503
        self.headers: dict[str, str] = {}
        self.slow = 0.0
        self.got = threading.Event()
        self.statuses: list[tuple[str, str]] = []
        self.refuses_status = False
        self.refused_status_of = ""
        self.refused_source = ""
        self.under_way = 0
        self.most_under_way = 0

    async def arriving(self, exchange: Exchange) -> Response | None:
        if not exchange.path.startswith("/push/"):
            return None
        if exchange.path.endswith("/status"):
            self.statuses.append((exchange.path.split("/")[-2], exchange.query["statusType"]))
            refused = self.refuses_status or self.statuses[-1][0] == self.refused_status_of
            return Response(b"{}", 403, media_type="application/json") if refused else None
        self.calls += 1
        if self.slow:
            self.got.set()
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await asyncio.sleep(self.slow)
            self.under_way -= 1
        if self.refused_source and f"/sources/{self.refused_source}/" in exchange.path:
            return Response(b"{}", 400, media_type="application/json")
        if self.fail_from and self.calls >= self.fail_from:
            self.got.set()
            # Some services echo what they were sent.
            error = {"errorCode": "SOME_CODE", "message": f"refused: {exchange.request.headers['authorization']}"}
            return Response(orjson.dumps(error), self.status, self.headers, media_type="application/json")
        return None


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def faulty(folder: Folder, faults: Faults) -> Iterator[Folder]:
    """A project pointed at an emulator with faults."""
    folder.write("all.yaml", MANIFEST)
    with start_remote(hooks=faults) as remote:
        yield folder.at(remote)


def test_a_refused_call_ends_the_run_with_4_and_the_same_command_goes_on(faulty: Folder, faults: Faults) -> None:
    faults.fail_from, faults.status = 3, 403

    ran = faulty.ok("apply", "--auto-approve", "--no-batch", "--parallelism", "1", code=4)

    assert "Apply: 2 calls done, 1 failed, 0 unknown, 3 not started;" in ran.err
    assert f"reconciler -C {faulty.root} apply --auto-approve --no-batch --parallelism 1\n" in ran.err
    assert journal(faulty) == [(1, "accepted"), (2, "accepted"), (3, "refused")]
    assert len(recorded(faulty)) == 2
    faults.fail_from = 0
    faulty.ok("apply", "--auto-approve", "--no-batch")
    assert journal(faulty)[3:] == [(1, "accepted"), (2, "accepted"), (3, "accepted"), (4, "accepted")]
    assert len(recorded(faulty)) == EVERYTHING


def test_a_saved_plan_that_stopped_part_way_says_what_goes_on(faulty: Folder, faults: Faults) -> None:
    """The state has moved, so the plan is stale: what is left takes a new one."""
    plan = faulty.root / "plan.json"
    faulty.ok("plan", "--no-batch", "--out", str(plan))
    faults.fail_from, faults.status = 2, 403

    ran = faulty.ok("apply", str(plan), "--auto-approve", code=4)

    assert f"reconciler -C {faulty.root} plan --out {plan}\n" in ran.err
    faults.fail_from = 0
    faulty.ok("plan", "--out", str(plan))
    faulty.ok("apply", str(plan), "--auto-approve")
    assert len(recorded(faulty)) == EVERYTHING


def test_what_goes_on_after_a_narrowed_plan_is_narrowed_too(faulty: Folder, faults: Faults) -> None:
    plan = faulty.root / "plan.json"
    chosen = ("--source", "blog", "--target", "https://example.com/b")
    faulty.ok("plan", *chosen, "--no-batch", "--out", str(plan))
    faults.fail_from, faults.status = 2, 403

    ran = faulty.ok("apply", str(plan), "--auto-approve", code=4)

    assert f"plan --target https://example.com/b --source blog --out {plan}\n" in ran.err


def test_no_key_no_call(faulty: Folder, faults: Faults) -> None:
    ran = faulty.run("apply", "--auto-approve", key=None)

    assert ran.code == 2
    assert f"the environment variable {KEY_VARIABLE} is not set" in ran.err
    assert faults.calls == 0
    assert recorded(faulty) == []


def test_a_held_lock_names_its_holder(ready: Folder, remote: Remote) -> None:
    from reconciler.state.store import LockInfo

    total = remote.total
    with open_session(str(ready.root), None) as session:
        holder = LockInfo("id-1", "reconciler apply", "2026-01-01T00:00:00Z", "somehost", "somebody", os.getpid())
        with session.store.lock(holder):
            ran = ready.ok("apply", "--auto-approve", code=1)
    assert "error[state-locked]" in ran.err
    assert "somebody on somehost" in ran.err
    assert remote.total == total


def test_a_plan_that_a_run_at_work_made_stale_names_that_run(ready: Folder, tmp_path: Path) -> None:
    from reconciler.state.store import LockInfo

    saved = str(tmp_path / "plan.json")
    ready.ok("plan", "--out", saved)
    ready.ok("apply", "--auto-approve")
    with open_session(str(ready.root), None) as session:
        holder = LockInfo("id-1", "reconciler apply", "2026-01-01T00:00:00Z", "somehost", "somebody", os.getpid())
        with session.store.lock(holder):
            ran = ready.ok("apply", saved, "--auto-approve", code=1)
    assert "error[state-locked]" in ran.err
    assert "somebody on somehost" in ran.err
    ran = ready.ok("apply", saved, "--auto-approve", "-e", "local", code=1)
    assert "error[stale-plan]" in ran.err
    assert f"      reconciler -C {ready.root} -e local plan --out plan.json\n" in ran.err


def test_a_plan_made_while_another_run_writes_is_of_one_moment(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run ends between the first look at the state and the look at what changes."""
    from reconciler.manifest import load

    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", MANIFEST.replace("title: B", "title: C"))
    real = load.load_surveyed

    def meanwhile(*arguments: Any, **options: Any) -> load.Loaded:
        monkeypatch.setattr(load, "load_surveyed", real)
        loaded = real(*arguments, **options)
        ready.ok("apply", "--auto-approve")
        return loaded

    monkeypatch.setattr(load, "load_surveyed", meanwhile)
    ran = ready.ok("plan")
    assert "No changes." in ran.out
    assert load.load_surveyed is real, "nothing was written meanwhile"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_finishes_and_records_the_call_in_flight(
    faulty: Folder, faults: Faults, number: signal.Signals
) -> None:
    """P25: no new call, the one in flight recorded, the lock given up, 130."""
    faults.slow = 0.7
    process = faulty.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
    assert faults.got.wait(20)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "stopping after this call; once more to stop at once" in err
    assert "Apply: 1 call done, 0 failed, 0 unknown, 5 not started;" in err
    assert journal(faulty) == [(1, "accepted")]
    faults.slow = 0
    faulty.ok("apply", "--auto-approve")
    assert len(recorded(faulty)) == EVERYTHING


def test_asked_twice_it_stops_at_once_and_says_that_it_does_not_know(faulty: Folder, faults: Faults) -> None:
    faults.slow = 30
    process = faulty.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
    assert faults.got.wait(20)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    line = ""
    while "once more" not in line:
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)

    assert process.returncode == 130
    assert journal(faulty) == [(1, "unknown")]
    assert recorded(faulty) == []


def test_asked_to_stop_while_it_waits_for_another_attempt(faulty: Folder, faults: Faults) -> None:
    faults.fail_from, faults.status, faults.headers = 2, 429, {"Retry-After": "60"}
    process = faulty.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
    assert faults.got.wait(20)
    time.sleep(0.3)  # the answer is on its way, and then it waits for a minute
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert time.monotonic() - began < 5
    assert process.returncode == 130
    # A throttled call was not looked at: nothing is in doubt.
    assert "Apply: 1 call done, 0 failed, 0 unknown, 5 not started;" in err
    assert journal(faulty) == [(1, "accepted"), (2, "refused")]


def test_killed_it_goes_on(faulty: Folder, faults: Faults) -> None:
    faults.slow = 0.4
    process = faulty.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
    assert faults.got.wait(20)
    faults.got.clear()
    assert faults.got.wait(20)  # the second call is on its way
    process.kill()
    process.communicate(timeout=20)
    faults.slow = 0

    assert journal(faulty) == [(1, "accepted"), (2, None)]
    ran = faulty.ok("apply", "--auto-approve", "--no-batch")
    assert "Apply: 5 calls done" in ran.err
    assert len(recorded(faulty)) == EVERYTHING


def test_clocks_that_are_behind_do_not_make_the_remote_drop_what_it_accepts(ready: Folder, remote: Remote) -> None:
    """Another machine applied with a clock an hour ahead: our ordering ids go on from there (push-api.md 5.4)."""
    ready.ok("apply", "--auto-approve")
    database = sqlite3.connect(ready.root / ".reconciler" / "local.state.db")
    ahead = int(time.time() * 1000) + 3_600_000
    with database:
        database.execute("UPDATE resources SET ordering_id = ?", (ahead,))
    database.close()
    ready.write("all.yaml", MANIFEST.replace("title: A", "title: Another"))
    total = remote.total

    ready.ok("apply", "--auto-approve")

    (entry,) = [entry for entry in remote.requests(total) if not entry["path"].endswith("/status")]
    assert int(dict(entry["query"])["orderingId"]) == ahead + 1


def test_an_id_that_was_deleted_and_comes_back_gets_a_higher_ordering_id(ready: Folder, remote: Remote) -> None:
    """Under a clock that was set back meanwhile; the rows know nothing of it any more."""
    ready.ok("apply", "--auto-approve")
    ready.ok("destroy", "--auto-approve")
    database = sqlite3.connect(ready.root / ".reconciler" / "local.state.db")
    ahead = int(time.time() * 1000) + 3_600_000
    with database:
        database.execute("UPDATE journal SET ordering_id = ? WHERE seq = 1", (ahead,))
    database.close()
    total = remote.total

    ready.ok("apply", "--auto-approve")

    sent = [dict(entry["query"]).get("orderingId") for entry in remote.requests(total)]
    assert min(int(number) for number in sent if number) == ahead + 1


# -- several at once -------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "most"), [((), 2), (("--parallelism", "1"), 1)])
def test_independent_sources_are_sent_at_once(
    faulty: Folder, faults: Faults, flags: tuple[str, ...], most: int
) -> None:
    faulty.write(
        "all.yaml",
        "items: [{uri: 'x:1', source: handbook, permissions: {allowed: ['user:a@example.com']}}, "
        "{uri: 'x:2', source: blog}]\ndefaults: {provider: corp}\n",
    )
    faults.slow = 0.5

    faulty.ok("apply", "--auto-approve", *flags)

    assert faults.most_under_way == most
    assert len(recorded(faulty)) == 2


def test_what_one_source_is_refused_for_leaves_the_other_alone(faulty: Folder, faults: Faults) -> None:
    faults.refused_source = SHARED_ID

    ran = faulty.ok("apply", "--auto-approve", code=4)

    assert "Apply: 3 calls done, 1 failed, 0 unknown, 0 not started;" in ran.err
    assert set(recorded(faulty)) >= {"item/handbook/https://example.com/a", "item/handbook/https://example.com/b"}
    faults.refused_source = ""
    assert "Apply: 1 call done, 0 failed" in faulty.ok("apply", "--auto-approve").err


def test_killed_with_two_under_way_both_are_in_doubt_and_sent_again(faulty: Folder, faults: Faults) -> None:
    items = ", ".join(f"{{uri: 'x:{source}', source: {source}, title: T}}" for source in ("handbook", "blog"))
    faulty.write("all.yaml", f"items: [{items}]\n")
    faults.slow = 30
    process = faulty.start("apply", "--auto-approve")
    until = time.monotonic() + 20
    while faults.most_under_way < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=20)
    faults.slow = 0

    assert journal(faulty) == [(1, None), (2, None)]
    assert "Apply: 2 calls done" in faulty.ok("apply", "--auto-approve").err
    assert journal(faulty)[2:] == [(1, "accepted"), (2, "accepted")]
    with open_session(str(faulty.root), None) as session:
        assert session.store.unsettled() == ()


def test_parallelism_has_bounds(ready: Folder) -> None:
    for number in ("0", "17", "many"):
        assert ready.run("apply", "--parallelism", number).code == 2


# -- what sources are told -------------------------------------------------------------------------

BEGUN = [(SHARED_ID, "REBUILD"), (SOURCE_ID, "REBUILD")]
OVER = [(SHARED_ID, "IDLE"), (SOURCE_ID, "IDLE")]


def left_open(folder: Folder) -> list[str]:
    with open_session(str(folder.root), None) as session:
        return [source for source, _ in session.store.activities()]


def test_sources_are_told_what_begins_and_that_it_is_over(faulty: Folder, faults: Faults) -> None:
    ran = faulty.ok("apply", "--auto-approve")

    assert faults.statuses == BEGUN + OVER
    assert 'source "blog": told REBUILD' in ran.err
    faults.statuses.clear()
    faulty.ok("apply", "--auto-approve")
    assert faults.statuses == [], "nothing changed, nothing told"
    assert left_open(faulty) == []


def test_sources_are_told_that_it_is_over_after_a_refusal_and_a_signal(faulty: Folder, faults: Faults) -> None:
    faults.fail_from, faults.status = 1, 403
    faulty.ok("apply", "--auto-approve", code=4)
    assert faults.statuses == BEGUN + OVER

    faults.statuses.clear()
    faults.fail_from, faults.slow = 0, 0.7
    faults.got.clear()
    process = faulty.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
    assert faults.got.wait(20)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert faults.statuses == BEGUN + OVER
    assert left_open(faulty) == []


def test_telling_that_is_refused_is_a_note_and_the_next_run_tries_again(faulty: Folder, faults: Faults) -> None:
    faults.refuses_status = True

    ran = faulty.ok("apply", "--auto-approve")

    assert ran.err.count("note[call-forbidden]") == 4
    assert len(recorded(faulty)) == EVERYTHING
    assert left_open(faulty) == ["blog", "handbook"]
    faults.refuses_status = False
    faults.statuses.clear()
    faulty.ok("apply")
    assert faults.statuses == OVER


def test_a_source_that_cannot_be_told_does_not_keep_the_others_active(faulty: Folder, faults: Faults) -> None:
    faults.refuses_status = True
    faulty.ok("apply", "--auto-approve")
    faults.refuses_status = False
    faults.refused_status_of = SHARED_ID

    ran = faulty.ok("apply")

    assert 'source "blog" may still be shown as active' in ran.err
    assert left_open(faulty) == ["blog"]


def test_what_a_killed_run_left_open_is_closed_by_the_next_one(faulty: Folder, faults: Faults) -> None:
    faults.slow = 5
    process = faulty.start("apply", "--auto-approve")
    assert faults.got.wait(20)
    process.kill()
    process.communicate(timeout=20)
    assert left_open(faulty) == ["blog", "handbook"]
    faults.slow = 0
    faults.statuses.clear()

    faulty.ok("apply", "--auto-approve", "--target", "https://example.com/post")

    assert faults.statuses == [(SHARED_ID, "REBUILD"), *OVER] or faults.statuses == [(SHARED_ID, "INCREMENTAL"), *OVER]
    assert left_open(faulty) == []


def test_what_sources_are_told_takes_turns_like_other_calls(ready: Folder, remote: Remote) -> None:
    """The remote counts it, and the plan's estimate does (push-api.md 4.2)."""
    path = f"organizations/{ORGANIZATION}/sources/{SHARED_ID}/status"
    pace = Pace([Window(1, 300)], patience=1)
    place = Place(hosts_at(remote.url), Secret(KEY), Network(), RetryPolicy(), pace)
    with applying._status_client(place, lambda _: None) as client:
        client.tell(path, StatusType.REFRESH)
        with pytest.raises(RemoteError) as caught:
            client.tell(path, StatusType.IDLE)
    assert caught.value.problems[0].code == "quota-used-up"


def test_who_was_asked_to_stop_does_not_wait_long_for_a_turn() -> None:
    stop = Stop()
    stop._asked = True
    applying._sleep_unless_stopped(stop, 0.0)
    with pytest.raises(Interrupted):
        applying._sleep_unless_stopped(stop, 300.0)


# -- reports ---------------------------------------------------------------------------------------


def test_a_report_as_json_is_all_of_stdout(ready: Folder) -> None:
    ran = ready.ok("apply", "--auto-approve", "--format", "json")

    report = ran.json
    assert (report["result"], report["environment"]) == ("done", "local")
    assert report["counts"] == {"calls": 4, "done": 4, "failed": 0, "unknown": 0, "not_started": 0}
    assert report["summary"] == {"create": 6, "update": 0, "delete": 0, "no_op": 0}
    assert [call["outcome"] for call in report["calls"]] == ["accepted"] * 4
    assert "Plan: 6 to create" in ran.err and "Apply: 4 calls done" in ran.err
    with open_session(str(ready.root), None) as session:
        assert session.store.runs(1)[0].run.id == report["run"]

    again = ready.ok("apply", "--format", "json").json
    assert (again["run"], again["result"], again["summary"]["no_op"]) == (None, "done", 6)
    assert ready.ok("destroy", "--auto-approve", "--format=json").json["summary"]["delete"] == 6


def test_a_report_of_a_run_that_stopped_names_what_failed(faulty: Folder, faults: Faults) -> None:
    faults.fail_from, faults.status = 2, 403

    report = faulty.ok("apply", "--auto-approve", "--no-batch", "--parallelism", "1", "--format", "json", code=4).json

    assert (report["result"], report["counts"]["failed"], report["counts"]["not_started"]) == ("failed", 1, 4)
    (problem,) = report["problems"]
    assert (problem["call"], problem["code"]) == (2, "call-forbidden")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("apply", "--format", "json"), 2, "approval-needed"),
        (("apply", "--format", "json", "--no-such-flag"), 2, "wrong-usage"),
        (("apply", "--format=json", "--parallelism", "0"), 2, "wrong-usage"),
        (("apply", "--format", "json", "--allow", "mass-delte"), 2, "unknown-hazard"),
        (("apply", "--format", "json", "--source", "hanbook"), 2, "unknown-source"),
        (("-e", "nowhere", "apply", "--format", "json"), 2, "unknown-environment"),
        (("destroy", "--format", "json", "--no-such-flag"), 2, "wrong-usage"),
        (("plan", "--format", "json", "--no-such-flag"), 2, "wrong-usage"),
        (("apply", "--format", "json", "missing.json"), 2, "no-plan"),
    ],
)
def test_errors_are_json_too_when_that_was_asked_for(
    ready: Folder, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    ran = ready.ok(*arguments, code=code)

    assert [entry["code"] for entry in ran.json["problems"]] == [problem]
    assert ran.err


def test_broken_manifests_are_told_once_as_json(ready: Folder) -> None:
    ready.write("all.yaml", MANIFEST.replace("group:Staff", "group:Stuff"))

    ran = ready.ok("apply", "--auto-approve", "--format", "json", code=1)

    assert [entry["code"] for entry in ran.json["problems"]] == ["unknown-group"]


# -- a state that moves ----------------------------------------------------------------------------


@pytest.fixture
def meanwhile(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the plan and the lock of the next run, another run sends one of the items and what it needs."""
    from reconciler.cli import applying

    real = applying.check_bodies

    def check_bodies(*arguments: Any) -> None:
        monkeypatch.setattr(applying, "check_bodies", real)
        ready.ok("apply", "--auto-approve", "--target", "https://example.com/a")
        real(*arguments)

    monkeypatch.setattr(applying, "check_bodies", check_bodies)


@pytest.mark.usefixtures("meanwhile")
def test_a_state_that_moved_before_the_lock_has_the_plan_made_anew(ready: Folder) -> None:
    ran = ready.ok("apply", "--auto-approve", "--lock-timeout", "5")

    assert "the state moved since the plan was made" in ran.err
    assert "Plan: 6 to create" in ran.out and "Plan: 3 to create" in ran.out
    assert len(recorded(ready)) == EVERYTHING


@pytest.mark.usefixtures("meanwhile")
def test_a_state_that_moved_before_the_lock_makes_a_saved_plan_stale(ready: Folder) -> None:
    plan = ready.root / "plan.json"
    ready.ok("plan", "--out", str(plan))

    ran = ready.ok("apply", str(plan), "--auto-approve", "--lock-timeout", "5", code=1)

    assert "error[stale-plan]" in ran.err
    assert len(recorded(ready)) == 3


# -- secrets ---------------------------------------------------------------------------------------


def test_the_key_is_in_no_output_and_in_no_file(faulty: Folder, faults: Faults, tmp_path: Path) -> None:
    """P16: also where the remote echoes it, where a call fails, and with JSON."""
    plan = str(tmp_path / "plan.json")
    shown = []
    faults.fail_from, faults.status = 4, 400
    for arguments in (
        ("validate", "--format", "json"),
        ("plan", "--out", plan),
        ("plan", "--format", "json", "--detail", "full"),
        ("apply", "--auto-approve", "--no-batch"),
        ("plan", "--format", "markdown", "--body-diff"),
        ("state", "list"),
        ("state", "history", "--format", "json"),
        ("state", "pull"),
        ("destroy",),
        ("apply", plan, "--auto-approve"),
        ("-e", KEY_VARIABLE, "plan"),
    ):
        ran = faulty.run(*arguments)
        shown.append(ran.out + ran.err)
    assert any("SOME_CODE" in text and "***" in text for text in shown), "what the remote said is told, redacted"
    done = subprocess.run(
        command_line("-C", str(faulty.root), "apply", "--auto-approve"),
        env=child_environment(RECONCILER_DEBUG="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    shown.append(done.stdout + done.stderr)

    assert [text for text in shown if KEY in text] == []
    kept = [path for path in [*faulty.root.rglob("*"), tmp_path / "plan.json"] if path.is_file()]
    assert any(path.name.endswith(".state.db") for path in kept)
    assert [path for path in kept if KEY.encode() in path.read_bytes()] == []


def test_body_texts_are_in_no_plan_and_in_no_state(ready: Folder) -> None:
    """P16: both hold digests; small texts are kept in a file of their own, for `--body-diff`."""
    plan = ready.root / "plan.json"
    shown = ready.ok("plan", "--out", str(plan), "--detail", "full").out
    shown += ready.ok("apply", "--auto-approve").out

    assert "secret-looking text" not in shown
    for path in (plan, ready.root / ".reconciler" / "local.state.db"):
        assert b"secret-looking" not in path.read_bytes()


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("apply", "--no-such-flag"), 2),
        (("apply", "--lock-timeout", "-1"), 2),
        (("-e", "nowhere", "apply"), 2),
        (("-C", "/no/such/folder", "apply"), 2),
        (("aply",), 2),
        (("apply", "--help"), 0),
        (("--version",), 0),
    ],
)
def test_wrong_usage_is_2(ready: Folder, arguments: tuple[str, ...], code: int) -> None:
    place = () if "-C" in arguments else ("-C", str(ready.root))

    assert run_here(*place, *arguments).code == code


def test_broken_manifests_are_1_and_send_nothing(ready: Folder, remote: Remote) -> None:
    ready.write("all.yaml", MANIFEST.replace("group:Staff", "group:Stuff"))
    total = remote.total

    ran = ready.ok("apply", "--auto-approve", code=1)

    assert "error[unknown-group]" in ran.err
    assert "all.yaml:6:" in ran.err
    assert remote.total == total
