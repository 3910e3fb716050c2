"""Asked to stop while it waits, and what a run that ended in any way leaves to the next one (P2, P13, P25)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import orjson
import pytest
from starlette.responses import Response
from test_apply import MANIFEST, Terminal, journal, recorded

from reconciler.cli.session import open_session
from reconciler.emulator.door import Exchange, Hooks
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.state.journal import JournalEntry, Outcome
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.builders import Folder, Remote, as_yaml, child_environment, command_line, contents_of, start_remote

SECONDS = 5.0
ONE_BY_ONE = ("apply", "--auto-approve", "--no-batch", "--parallelism", "1")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Holding(Hooks):
    """Holds back the answers to requests whose path ends with, or begins with, `held`, and counts what arrives."""

    def __init__(self) -> None:
        self.held = "nothing"
        self.seconds = 30.0
        self.got = threading.Event()
        self.arrived: list[str] = []

    async def arriving(self, exchange: Exchange) -> Response | None:
        self.arrived.append(f"{exchange.method} {exchange.path}")
        if exchange.path.endswith(self.held) or exchange.path.startswith(self.held):
            self.got.set()
            await asyncio.sleep(self.seconds)
        return None


@pytest.fixture
def holding() -> Holding:
    return Holding()


@pytest.fixture
def held(folder: Folder, holding: Holding) -> Iterator[tuple[Folder, Remote]]:
    folder.write("all.yaml", MANIFEST)
    with start_remote(hooks=holding) as remote:
        yield folder.at(remote), remote


def stopped(process: subprocess.Popen[str], *numbers: signal.Signals) -> tuple[str, float]:
    """Send signals, one and then the other; return what stderr says and how long the end took."""
    began = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.5 if len(numbers) > 1 else 0)
    _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert "error[internal]" not in err
    return err, time.monotonic() - began


def assert_goes_on(folder: Folder, remote: Remote) -> None:
    ran = folder.ok("apply", "--auto-approve", "--no-batch")
    assert "state-locked" not in ran.err
    with open_session(str(folder.root), None) as session:
        assert remote.contents() == contents_of(row.resource for row in session.store.rows())
        assert len(recorded(folder)) == 6


# -- while it waits --------------------------------------------------------------------------------


@BOTH
def test_while_it_waits_for_the_lock(held: tuple[Folder, Remote], number: signal.Signals) -> None:
    """The live holder is not robbed, and nothing is sent."""
    folder, remote = held
    holder = LockInfo("id-1", "reconciler apply", "2026-01-01T00:00:00Z", "somehost", "somebody", os.getpid())
    with open_session(str(folder.root), None) as session, session.store.lock(holder) as writer:
        process = folder.start("apply", "--auto-approve", "--lock-timeout", "60")
        assert process.stderr is not None
        while "waiting for the lock held by somebody on somehost" not in process.stderr.readline():
            assert process.poll() is None
        err, took = stopped(process, number)
        assert (process.returncode, took < SECONDS) == (130, True)
        assert "error[interrupted]: stopped at once: 0 calls done, 0 unknown, 4 not done" in err
        assert f"to go on: reconciler -C {folder.root} apply --auto-approve --lock-timeout 60\n" in err
        writer.record_activities(())
    assert remote.total == 0
    assert_goes_on(folder, remote)


@BOTH
def test_while_it_asks_for_approval(held: tuple[Folder, Remote], number: signal.Signals) -> None:
    folder, remote = held
    terminal = Terminal("-C", str(folder.root), "apply", "--no-batch")
    terminal.wait_for("Make these changes? [y/N]")
    terminal.interrupt(number)

    assert terminal.end() == 130, terminal.shown
    assert "stopped before the first of 6 calls" in terminal.shown
    assert "no call of the plan was sent" in terminal.shown
    assert remote.total == 0
    assert_goes_on(folder, remote)


@BOTH
def test_while_a_source_is_told_what_begins(
    held: tuple[Folder, Remote], holding: Holding, number: signal.Signals
) -> None:
    folder, remote = held
    holding.held = "/status"
    process = folder.start(*ONE_BY_ONE)
    assert holding.got.wait(20)
    err, took = stopped(process, number)

    assert (process.returncode, took < SECONDS) == (130, True)
    assert "Apply: 0 calls done, 0 failed, 0 unknown, 6 not started;" in err
    assert "to go on:" in err
    holding.held = "nothing"
    assert_goes_on(folder, remote)


@BOTH
def test_while_a_call_is_not_answered_for_long(
    held: tuple[Folder, Remote], holding: Holding, number: signal.Signals
) -> None:
    """It is left as unknown, and no further one begins."""
    folder, remote = held
    holding.held = "/permissions"
    process = folder.start(*ONE_BY_ONE)
    assert holding.got.wait(20)
    err, took = stopped(process, number)

    assert (process.returncode, took < SECONDS) == (130, True)
    assert "Apply: 0 calls done, 0 failed, 1 unknown, 5 not started;" in err
    assert "what is unknown is sent again, which is harmless" in err
    assert "to go on:" in err
    assert journal(folder) == [(1, "unknown")]
    with open_session(str(folder.root), None) as session:
        assert session.store.runs(1)[0].result == "interrupted"
    holding.held = "nothing"
    assert_goes_on(folder, remote)


BIG = as_yaml(
    {
        "items": [
            {"uri": "x:big", "source": "blog", "body": {"file": "big.bin"}, "title": "B"},
            {"uri": "x:small", "source": "blog"},
        ]
    }
)


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, "refused"), (30.0, "unknown")], ids=["ends", "hangs"])
def test_while_a_large_body_is_uploaded(
    held: tuple[Folder, Remote], holding: Holding, seconds: float, outcome: str
) -> None:
    """The upload is finished if it can be; the call that would name it is not sent any more."""
    folder, remote = held
    folder.write("all.yaml", BIG)
    folder.write("big.bin", os.urandom(8_000_000))
    holding.held, holding.seconds = "/_storage/", seconds
    process = folder.start(*ONE_BY_ONE)
    assert holding.got.wait(20), "\n".join(holding.arrived)
    err, took = stopped(process, signal.SIGTERM)

    assert (process.returncode, took < SECONDS) == (130, True)
    assert [entry for entry in holding.arrived if entry.endswith("/documents")] == []
    assert journal(folder) == [(1, outcome)]
    assert "to go on:" in err
    holding.held = "nothing"
    folder.ok("apply", "--auto-approve")
    with open_session(str(folder.root), None) as session:
        assert remote.contents() == contents_of(row.resource for row in session.store.rows())


@BOTH
def test_while_verify_waits_for_the_index(folder: Folder, number: signal.Signals) -> None:
    folder.write("all.yaml", MANIFEST)
    with start_remote(delay=600.0) as remote:
        folder.at(remote).ok("apply", "--auto-approve")
        total = remote.total
        process = folder.start("verify", "--timeout", "120")
        until = time.monotonic() + 20
        while remote.total < total + 3 and time.monotonic() < until:
            time.sleep(0.05)
        err, took = stopped(process, number)
        assert (process.returncode, took < SECONDS) == (130, True)
        assert "interrupted" in err
        remote.flush()
        assert_goes_on(folder, remote)


# -- what ended leaves the lock to others ----------------------------------------------------------


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGKILL,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)],
    ids=lambda numbers: "+".join(number.name for number in numbers),
)
def test_a_holder_that_ended_blocks_nobody(
    held: tuple[Folder, Remote], holding: Holding, numbers: tuple[signal.Signals, ...]
) -> None:
    """P13: killed, terminated or cancelled while a call is under way."""
    folder, remote = held
    holding.held = "/permissions"
    process = folder.start(*ONE_BY_ONE)
    assert holding.got.wait(20)
    err, took = stopped(process, *numbers)

    killed = signal.SIGKILL in numbers
    assert process.returncode == (-signal.SIGKILL if killed else 130)
    assert took < SECONDS
    assert journal(folder) == [(1, None if killed else "unknown")]
    if len(numbers) > 1:
        assert "error[interrupted]: stopped at once: 0 calls done, 1 unknown, 5 not done" in err
        assert "to go on:" in err
    holding.held = "nothing"
    assert_goes_on(folder, remote)


def test_a_paused_holder_is_not_robbed(held: tuple[Folder, Remote], holding: Holding) -> None:
    """P13: it lives, so the others wait, however long it says nothing."""
    folder, remote = held
    holding.held, holding.seconds = "/permissions", 1.0
    process = folder.start(*ONE_BY_ONE)
    assert holding.got.wait(20)
    process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            ran = folder.ok("apply", "--auto-approve", code=1)
            assert "error[state-locked]" in ran.err
            assert f"(process {process.pid}, " in ran.err
    finally:
        process.send_signal(signal.SIGCONT)
    holding.held = "nothing"
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    with open_session(str(folder.root), None) as session:
        assert {entry.outcome for entry in session.store.journal()} == {Outcome.ACCEPTED}
        assert remote.contents() == contents_of(row.resource for row in session.store.rows())


# -- nothing is sent that is not written down ------------------------------------------------------


class Witness(Hooks):
    """Looks into the state from another process when a request arrives, before anything is answered."""

    def __init__(self) -> None:
        self.state = ""
        self.seen: list[tuple[str, str, list[tuple[str, str]], list[JournalEntry]]] = []

    async def arriving(self, exchange: Exchange) -> Response | None:
        with SqliteStore(self.state) as store:
            entries = [entry for entry in store.journal() if entry.outcome is None]
        self.seen.append((exchange.method, exchange.path, exchange.query_pairs, entries))
        return None


CHANGED = MANIFEST.replace("title: A", "title: A2").replace("user:alice@example.com]", "user:bob@example.com]")


@pytest.mark.parametrize("batching", [(), ("--no-batch",)], ids=["batches", "one by one"])
def test_nothing_is_sent_whose_intent_is_not_on_the_disk(folder: Folder, batching: tuple[str, ...]) -> None:
    """P2: at each request that writes, the journal holds its intent: which call, its number and its digest."""
    witness = Witness()
    witness.state = str(folder.root / ".reconciler" / "local.state.db")
    with start_remote(hooks=witness) as remote:
        folder.at(remote)
        for text in (MANIFEST, CHANGED, 'items: [{uri: "x:1", source: blog}]'):
            folder.write("all.yaml", text)
            before = fingerprints(folder)
            witness.seen.clear()
            with folder.start("apply", "--auto-approve", "--parallelism", "1", *ALLOWED, *batching) as process:
                _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            known = before | fingerprints(folder)
            writes = [seen for seen in witness.seen if not seen[1].endswith("/status")]
            assert len(writes) >= 1
            for method, path, query, entries in writes:
                assert len(entries) == 1, f"{method} {path}: one call is under way, and it is written down"
                assert_intent_of(method, path, query, entries[0], known)


ALLOWED = ("--allow", "item-unseen", "--allow", "emptied", "--allow", "emptied-group")


def fingerprints(folder: Folder) -> dict[Address, bytes]:
    with open_session(str(folder.root), None) as session:
        return {Address(name): value for name, value in session.store.fingerprints().items()}


def assert_intent_of(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    entry: JournalEntry,
    known: dict[Address, bytes],
) -> None:
    """Hold the request against the intent; the steps that bring a body over are told by the call that names it.

    `known` are the fingerprints of what is put, and of what is deleted as it was.
    """
    intent = entry.intent
    if "orderingId" not in dict(query):
        assert path.endswith("/files") or not path.startswith("/push/"), f"{method} {path} is part of no call"
        return
    assert int(dict(query)["orderingId"]) == intent.ordering_id
    assert intent.kind.startswith("item" if "/documents" in path else ("identity", "mapping"))
    # What the number and the container are is decided when the call is sent: the plan knows the rest.
    planned = [pair for pair in query if pair[0] not in ("orderingId", "fileId")]
    what = [method, path.removeprefix("/push/v1/"), planned, intent.ordering_id]
    digest = hashlib.sha256(canonical_json(what))
    for address, verb in intent.covers:
        if address.startswith("alias/") and verb != "put":
            return  # what is sent in its place is known to the planner alone
        digest.update(known[address])
    assert digest.hexdigest() == intent.request_digest, f"{method} {path}"


# -- output that cannot be written -----------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    "arguments", [("plan",), ("plan", "--format", "json"), ("state", "pull"), ("apply", "--bad", "--format", "json")]
)
def test_output_that_has_no_room_is_told_and_is_no_bug(folder: Folder, arguments: tuple[str, ...]) -> None:
    folder.write("all.yaml", MANIFEST)
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            command_line("-C", str(folder.root), *arguments),
            env=child_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.returncode == 1
    assert "error[cannot-write]: the output cannot be written: No space left on device" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_plan_saved_to_a_pipe_goes_through_it(folder: Folder) -> None:
    """It is not replaced by a file."""
    folder.write("all.yaml", MANIFEST)
    pipe = folder.root / "pipe"
    os.mkfifo(pipe)
    with folder.start("plan", "--out", str(pipe)) as process:
        text = pipe.read_bytes()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert orjson.loads(text)["checksum"]
    assert pipe.is_fifo()
