"""What a store promises beyond the contract when several machines share it: leases, and fences behind them.

A test module of such a store subclasses `SharedContract` beside `StoreContract` and gives the fixture `shared`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from shared_child import open_at
from store_contract import LINEAGE, TARGET, accept, address, lock_info, put, run_info, running

from reconciler.problems import StateError
from reconciler.state.lease import Times
from reconciler.state.store import Store

CHILD = Path(__file__).with_name("shared_child.py")
BRISK = Times(lease=1.5, renew=0.3, missed=0.8)
SLOW = Times(lease=600, renew=0.3, missed=600)


class Place:
    """One state that is shared, at first absent: opened here as often as asked, and by other processes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.opened: list[Store] = []

    def __call__(self, times: Times = BRISK) -> Store:
        self.opened.append(open_at(self.url, self.replica(), times))
        return self.opened[-1]

    def replica(self) -> Path:
        """A file that no other machine has."""
        return self.folder / f"replica-{len(list(self.folder.iterdir()))}-{len(self.opened)}" / "state.db"

    def child(
        self,
        command: str,
        *more: object,
        times: Times = BRISK,
        url: str | None = None,
        replica: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start another process, on another machine as it were."""
        replica = replica or self.replica()
        replica.parent.mkdir(parents=True, exist_ok=True)
        given = more or (times.lease, times.renew, times.missed)
        return subprocess.Popen(
            [sys.executable, str(CHILD), command, url or self.url, str(replica), *map(str, given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHILD.parent)},
        )

    @contextmanager
    def holder(self, times: Times = BRISK) -> Iterator[subprocess.Popen[str]]:
        """Another process that holds the lock."""
        child = self.child("hold", times=times)
        try:
            assert said(child) == {"held": True}
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
            child.kill()
            child.communicate()

    def close(self) -> None:
        for store in self.opened:
            store.close()


def said(child: subprocess.Popen[str]) -> dict[str, object]:
    assert child.stdout is not None
    found: dict[str, object] = json.loads(child.stdout.readline())
    return found


def told(child: subprocess.Popen[str], name: str) -> dict[str, object]:
    """Tell a holder to write something; return what it says."""
    assert child.stdin is not None
    child.stdin.write(f"{name}\n")
    child.stdin.flush()
    return said(child)


class SharedContract:
    """The promises of `reconciler.state.lease`, kept by a whole store."""

    def test_a_holder_that_gives_signs_of_life_is_not_robbed(self, shared: Place) -> None:
        with shared.holder() as child:
            time.sleep(2 * BRISK.lease)
            with pytest.raises(StateError) as error, shared().lock(lock_info()):
                pytest.fail("robbed")
            assert error.value.problems[0].code == "state-locked"
            assert "last sign of life" in error.value.problems[0].fix
            assert told(child, "a") == {"wrote": "a"}

    def test_a_paused_holder_that_lost_its_lease_cannot_write(self, shared: Place) -> None:
        with shared.holder() as child:
            assert told(child, "a") == {"wrote": "a"}
            child.send_signal(signal.SIGSTOP)
            with shared().lock(lock_info(), timeout=30) as writer:
                assert writer.abandoned_by is not None
                assert writer.abandoned_by.pid == child.pid
                writer.begin_run(run_info("taken-over"), TARGET, lambda: LINEAGE)
                accept(writer, put("b"))
                child.send_signal(signal.SIGCONT)
                assert told(child, "c") == {"refused": "lock-lost"}
                accept(writer, put("d"))
                writer.end_run(at="2026-03-01T10:00:09Z", result="done")
            assert told(child, "e") == {"refused": "lock-lost"}
        found = shared()
        assert list(found.fingerprints()) == [address(name) for name in "abd"]
        assert [entry.run for entry in found.journal()] == [f"run-{child.pid}", "taken-over", "taken-over"]
        assert found.check() == ()

    def test_a_paused_holder_goes_on_if_nobody_took_its_place(self, shared: Place) -> None:
        with shared.holder() as child:
            child.send_signal(signal.SIGSTOP)
            time.sleep(2 * BRISK.lease)
            child.send_signal(signal.SIGCONT)
            assert told(child, "a") == {"wrote": "a"}

    def test_what_was_begun_before_the_pause_is_not_written_after_it(self, shared: Place) -> None:
        """Whoever lost its lease between two writes is told by the store, not by its own clock."""
        sure, hasty = Times(lease=600, renew=600, missed=600), Times(lease=0.5, renew=600, missed=0.5)
        with shared(sure).lock(lock_info()) as late:
            late.begin_run(run_info("late"), TARGET, lambda: LINEAGE)
            with shared(hasty).lock(lock_info("lock-2"), timeout=30):
                with pytest.raises(StateError) as error:
                    accept(late, put("a"))
                assert error.value.problems[0].code == "lock-lost"
        assert shared().fingerprints() == {}

    def test_a_killed_holder_of_this_machine_is_noticed_at_once(self, shared: Place) -> None:
        with shared.holder(SLOW) as child:
            child.kill()
            child.wait()
            with shared(SLOW).lock(lock_info()) as writer:
                assert writer.abandoned_by is not None
                assert writer.abandoned_by.pid == child.pid

    def test_the_lock_of_a_silent_holder_is_cleared_by_its_id(self, shared: Place) -> None:
        times = Times(lease=600, renew=0.2, missed=0.8)
        with shared.holder(times) as child:
            lock = f"hold-{child.pid}"
            with pytest.raises(StateError) as error:
                shared(times).unlock(lock)
            assert error.value.problems[0].code == "state-locked"
            child.send_signal(signal.SIGSTOP)
            time.sleep(3)
            assert shared(times).unlock(lock).id == lock
            with shared(times).lock(lock_info()):
                child.send_signal(signal.SIGCONT)
                assert told(child, "a") == {"refused": "lock-lost"}

    def test_sixteen_at_once_write_one_after_the_other(self, shared: Place) -> None:
        children = [shared.child("once", times=Times()) for _ in range(16)]
        found = [json.loads(child.communicate(timeout=100)[0])["started_from"] for child in children]
        assert [child.returncode for child in children] == [0] * 16
        assert sorted(found) == list(range(16))
        state = shared()
        assert (state.base().serial, len(state.fingerprints()), len(state.runs())) == (16, 16, 16)
        assert state.check() == ()

    def test_runs_of_two_machines_see_each_other(self, shared: Place) -> None:
        first, second = shared(), shared()
        for number in range(3):
            for store in (first, second):
                with running(store, f"run-{number}-{id(store)}") as writer:
                    accept(writer, put(f"n{number}-{id(store)}"))
        assert first.fingerprints() == second.fingerprints() == shared().fingerprints()
        assert first.base().serial == 6
