"""What the tests of shared stores run in other processes; says what happened as JSON lines.

shared_child.py hold URL REPLICA LEASE RENEW MISSED      take the lock, say so, write what stdin says, line by line
shared_child.py once URL REPLICA LEASE RENEW MISSED      take the lock, do one whole run, let go
shared_child.py killed URL FOLDER STRIDE                 take all steps of state_child, killed at each boundary in turn
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from state_child import STEPS, say
from store_contract import LINEAGE, TARGET, accept, put, run_info

from reconciler.problems import StateError
from reconciler.state.holder import this_process
from reconciler.state.lease import Times
from reconciler.state.store import LockInfo, Store

PATIENT = 120.0
BRIEF = Times(lease=0.5, renew=60, missed=0.2)


def open_at(url: str, replica: Path, times: Times) -> Store:
    """Open the shared store that a URL names."""
    if url.startswith("postgresql:"):
        from reconciler.state.postgres.store import PostgresStore

        return PostgresStore(url, times=times)
    from reconciler.state.objects.store import ObjectStore

    return ObjectStore(url, replica, times=times)


def me(command: str) -> LockInfo:
    return this_process(lock_id=f"{command}-{os.getpid()}", command=command, since="2026-03-01T10:00:00Z")


def hold(store: Store) -> None:
    with store.lock(me("hold")) as writer:
        writer.begin_run(run_info(f"run-{os.getpid()}"), TARGET, lambda: LINEAGE)
        say(held=True)
        for line in sys.stdin:
            try:
                accept(writer, put(line.strip()))
            except StateError as error:
                say(refused=error.problems[0].code)
            else:
                say(wrote=line.strip())


def once(store: Store) -> None:
    with store.lock(me("once"), timeout=PATIENT) as writer:
        base = writer.begin_run(run_info(f"run-{os.getpid()}"), TARGET, lambda: LINEAGE)
        accept(writer, put(f"of-{os.getpid()}"))
        writer.end_run(at="2026-03-01T10:00:09Z", result="done")
        say(started_from=base.serial)


def killed(url: str, folder: Path, stride: int) -> None:
    """For each boundary: a state of its own, a process that is killed there, and how many steps it said were done."""
    for boundary in itertools.count(0, stride):
        place = f"{url}_{boundary}"
        notes = folder / f"{boundary}.done"
        child = os.fork()
        if child == 0:
            take_steps(open_at(place, folder / f"{boundary}.db", BRIEF), notes, boundary)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        say(url=place, boundary=boundary, steps=len(notes.read_bytes()) if notes.exists() else 0, ended=status == 0)
        if status == 0:
            return


def take_steps(store: Store, notes: Path, boundary: int) -> None:
    """Take all steps, each noted when it is said to be done; die at the boundary."""
    left = boundary

    def met() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    watch_statements(met)
    with store.lock(me("killed")) as writer, notes.open("ab", buffering=0) as file:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
            file.write(b".")


def watch_statements(met) -> None:
    """Call `met` before each statement that is sent to PostgreSQL, and after each commit."""
    from reconciler.state.postgres.link import Link

    begin, execute, executemany = Link.begin, Link.execute, Link.executemany

    def begun(self, **given):
        met()
        begin(self, **given)

    def watched(self, query, *given):
        met()
        found = execute(self, query, *given)
        if query == "COMMIT":
            met()
        return found

    def many(self, query, rows):
        met()
        return executemany(self, query, rows)

    Link.begin, Link.execute, Link.executemany = begun, watched, many


if __name__ == "__main__":
    command, url, replica, *rest = sys.argv[1:]
    if command == "killed":
        killed(url, Path(replica), int(rest[0]))
    else:
        opened = open_at(url, Path(replica), Times(*map(float, rest)))
        {"hold": hold, "once": once}[command](opened)
