"""Killed at any point, the local state opens and equals the state after some whole transaction."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from state_child import STEPS, opened
from store_contract import LINEAGE, lock_info, put, run_info, running

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import StateBase
from reconciler.problems import StateError
from reconciler.state.journal import JournalEntry, RunRecord
from reconciler.state.rows import RecordedRow
from reconciler.state.sqlite.store import SqliteStore

CHILD = Path(__file__).with_name("state_child.py")

Seen = tuple[
    StateBase,
    list[RecordedRow],
    list[JournalEntry],
    tuple[JournalEntry, ...],
    tuple[RunRecord, ...],
    Mapping[Address, Former],
]


def seen(path: Path) -> Seen:
    with opened(path) as store:
        assert store.check() == ()
        formers = store.formers(run_info().id)
        return (store.base(), list(store.rows()), list(store.journal()), store.unsettled(), store.runs(), formers)


def states_after_each_step(folder: Path) -> list[Seen]:
    path = folder / "model.db"
    states = [seen(path)]
    with opened(path) as store, store.lock(lock_info()) as writer:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
            states.append(seen(path))
    return states


def verify(folder: Path) -> int:
    """Hold every killed run in `folder` against the model; return at how many steps kills were seen."""
    states = states_after_each_step(folder)
    reached = set()
    for path in sorted(folder.glob("*.done")):
        done = path.stat().st_size
        database = path.with_suffix(".db")
        found = seen(database)
        # Each step that was said to be done is there; at most the one under way may be there as well.
        assert found in states[done : done + 2], f"{database}: after {done} steps"
        reached.add(done)
    return len(reached)


def run_child(*arguments: object) -> None:
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: a kill needs no disk, and thousands of syncs are slow."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize("key", ["", "5ea1ed0b" * 8], ids=["plain", "encrypted"])
def test_killed_at_every_boundary(folder: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Between all statements and amid them, after each commit, around every rename, removal and sync of ours."""
    monkeypatch.setenv("STATE_CHILD_KEY", key)
    run_child("boundaries", folder)
    assert len(list(folder.glob("*.done"))) > 100
    assert verify(folder) == len(STEPS) + 1


def test_killed_at_random_moments(tmp_path: Path) -> None:
    run_child("moments", tmp_path, 40, os.getpid())
    assert verify(tmp_path) > 3


def test_run_goes_on_after_a_kill(tmp_path: Path) -> None:
    """The next run takes the lock at once, hears who died, and finds what is in doubt."""
    run_child("moments", tmp_path, 6, 1)
    for number in range(6):
        path = tmp_path / f"{number}.db"
        with SqliteStore(path) as store, running(store, "run-2") as writer:
            if writer.abandoned_by is not None:
                assert (writer.abandoned_by.id, writer.abandoned_by.command) == (str(number), "work")
            for entry in store.unsettled():
                writer.forget([address for address, _ in entry.intent.covers], at="")
            assert store.unsettled() == ()


# --- the lock, between processes -----------------------------------------------------------------


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHILD), "hold", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        try:
            yield process
        finally:
            process.kill()


def test_second_process_is_told_and_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with holder(path) as process, SqliteStore(path) as store:
        for stopped in (False, True):
            if stopped:
                process.send_signal(signal.SIGSTOP)  # a paused holder is still the holder
            with pytest.raises(StateError) as error, store.lock(lock_info()):
                pytest.fail("two writers")
            (problem,) = error.value.problems
            assert problem.code == "state-locked"
            assert f'(process {process.pid}, "hold it", lock held)' in problem.what
        process.kill()
        process.wait()
        start = time.monotonic()
        with store.lock(lock_info()) as writer:
            assert time.monotonic() - start < 1
            assert writer.abandoned_by is not None
            assert writer.abandoned_by.pid == process.pid
        with store.lock(lock_info()) as writer:
            assert writer.abandoned_by is None


def test_many_processes_take_turns(tmp_path: Path) -> None:
    """They race to create the state, too."""
    path = tmp_path / "x.db"
    commands = [[sys.executable, str(CHILD), "contend", str(path), f"process-{n}", "3"] for n in range(5)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 5, errors
    with SqliteStore(path) as store:
        assert store.base() == StateBase(LINEAGE, 15)
        assert len(store.runs()) == len(store.fingerprints()) == 15


def test_note_of_a_dead_holder_is_not_shown_as_the_holder(tmp_path: Path) -> None:
    """Whoever took over and has not written its note yet is not mistaken for the dead one."""
    from filelock import FileLock

    path = tmp_path / "x.db"
    with holder(path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / "x.db.lock.json").exists()
    with (
        FileLock(tmp_path / "x.db.lock"),
        SqliteStore(path) as store,
        pytest.raises(StateError, match="has not said who it is yet"),
        store.lock(lock_info()),
    ):
        pytest.fail("two writers")


def test_what_a_killed_holder_left_is_cleared_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with SqliteStore(path) as store:
        with holder(path) as process:
            with pytest.raises(StateError, match="holds the lock"):
                store.unlock("held")
            process.kill()
            process.wait()
            note = path.with_name("x.db.lock.json")
            assert note.exists()
            with pytest.raises(StateError, match='is not "hold"'):
                store.unlock("hold")
            found = store.unlock("held")
        assert (found.pid, found.command) == (process.pid, "hold it")
        assert not note.exists()
        with store.lock(lock_info()) as writer:
            assert writer.abandoned_by is None


def test_reader_is_not_kept_out_by_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with SqliteStore(path) as store, running(store) as writer:
        writer.record_state_only(put("a"), at="")
    with holder(path), SqliteStore(path) as store:
        assert store.base().serial == 1
        assert store.runs()[0].run == run_info()
