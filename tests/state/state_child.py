"""What the tests of crashes, locks and refusals run in other processes; says what happened as JSON lines.

state_child.py hold PATH                    take the lock, say so, keep it until stdin ends
state_child.py refusal PATH WHAT            give up privileges, meet WHAT, read and write
state_child.py boundaries FOLDER            one run per boundary, killed there, until a run meets no more
state_child.py convert FOLDER FROM TO       the same of a conversion of FOLDER/seed.db between keys, `-` for none
state_child.py moments FOLDER COUNT SEED    so many runs, each killed after a random time

With a key in STATE_CHILD_KEY the states are encrypted.
"""

from __future__ import annotations

import json
import os
import random
import resource as limits
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from sqlcipher3 import dbapi2
from store_contract import LATER, LINEAGE, NOW, TARGET, accept, address, intent_for, lock_info, put, run_info, running

from reconciler.model.states import StateBase
from reconciler.problems import StateError
from reconciler.settings import Secret
from reconciler.state.holder import this_process
from reconciler.state.journal import Effect, Outcome
from reconciler.state.rows import VERIFIED, RecordedRow, Verification
from reconciler.state.sql import writer as sql_writer
from reconciler.state.sqlite import lock as sqlite_lock
from reconciler.state.sqlite.convert import convert
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import Writer

assert FileLock and sqlite_lock and sql_writer  # imported before privileges go

NOBODY = 65534

OTHER_ROWS = tuple(RecordedRow(address(f"other-{n}"), b"{}", b"", n, NOW, "run-0") for n in range(60))
BATCH = put(*(f"batch-{number}" for number in range(60)))
STEPS: tuple[Callable[[Writer, list[int]], object], ...] = (
    lambda writer, _: writer.begin_run(run_info(), TARGET, lambda: LINEAGE),
    lambda writer, tickets: tickets.append(writer.intent(intent_for(put("a"), 1, 1))),
    lambda writer, tickets: writer.settle(tickets[-1], Outcome.ACCEPTED, at=LATER, effect=put("a")),
    lambda writer, tickets: tickets.append(writer.intent(intent_for(BATCH, 2, 2))),
    lambda writer, tickets: writer.settle(tickets[-1], Outcome.ACCEPTED, at=LATER, effect=BATCH),
    lambda writer, tickets: tickets.append(writer.intent(intent_for(put("b"), 3, 3))),
    lambda writer, tickets: writer.settle(tickets[-1], Outcome.UNKNOWN, at=LATER),
    lambda writer, _: writer.record_verified([Verification(address("a"), 1, VERIFIED)]),
    lambda writer, _: writer.forget([address("batch-7")], at=NOW),
    lambda writer, _: writer.record_state_only(Effect(put("a", title="new").upserts), at=NOW),
    lambda writer, _: writer.move(address("batch-8"), address("moved"), at=NOW),
    lambda writer, _: writer.end_run(at=LATER, result="done"),
    lambda writer, _: writer.begin_run(run_info("pushed"), TARGET, lambda: LINEAGE),
    lambda writer, _: writer.replace(StateBase("another", 90), OTHER_ROWS, ()),
    lambda writer, _: writer.end_run(at=LATER, result="done"),
)
"""One run, a whole transaction a step: the state after a crash is that after some number of steps."""


def opened(path: Path) -> SqliteStore:
    """Return the store of a state, with the key if there is one."""
    key = os.environ.get("STATE_CHILD_KEY")
    return SqliteStore(path, Secret(key) if key else None)


def work(path: Path) -> None:
    """Take all steps, noting each as soon as it is said to be done."""
    notes = os.open(path.with_suffix(".done"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with opened(path) as store, store.lock(this_process(lock_id=path.stem, command="work", since=NOW)) as writer:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
            os.write(notes, b".")


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


# --- kills ---------------------------------------------------------------------------------------


def kill_at(boundary: int) -> None:
    """Arrange that this process kills itself at the boundary of this number (from 0)."""
    left = boundary

    def met() -> int:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return 0

    def around(call):
        def mortal(*arguments, **options):
            met()
            value = call(*arguments, **options)
            if "COMMIT" in arguments or call in (os_replace, path_replace):
                met()  # done, and nobody knows; after other calls it is as before the next one
            return value

        return mortal

    os_replace, path_replace = os.replace, Path.replace

    def mortal_connect(module):
        names = ("execute", "executemany", "executescript")
        statements = {name: around(getattr(module.Connection, name)) for name in names}
        connect = module.connect

        def connecting(*arguments, factory=module.Connection, **options):
            connection = connect(*arguments, factory=type("Mortal", (factory,), statements), **options)
            connection.set_progress_handler(met, 500)  # also amid the work of one statement
            return connection

        return connecting

    for module in (sqlite3, dbapi2):
        module.connect = mortal_connect(module)
    for name in ("replace", "unlink"):
        setattr(Path, name, around(getattr(Path, name)))
    os.fsync, os.replace = around(os.fsync), around(os.replace)


def boundaries(folder: Path) -> None:
    for boundary in range(5000):
        path = folder / f"{boundary}.db"
        child = os.fork()
        if child == 0:
            kill_at(boundary)
            work(path)
            os._exit(0)
        if ended_by_itself(child):
            return


def conversions(folder: Path, before: str, after: str) -> None:
    names = [path.name for path in folder.glob("seed.db*")]
    keys = [None if key == "-" else Secret(key) for key in (before, after)]
    for boundary in range(5000):
        place = folder / str(boundary)
        place.mkdir()
        for name in names:
            shutil.copy(folder / name, place / name)
        child = os.fork()
        if child == 0:
            kill_at(boundary)
            with SqliteStore(place / "seed.db", keys[0]) as store:
                convert(store, this_process(lock_id="convert", command="convert", since=NOW), keys[1])
            os._exit(0)
        if ended_by_itself(child):
            return


def moments(folder: Path, count: int, seed: int) -> None:
    source = random.Random(seed)
    start = time.perf_counter()
    work(folder / "whole.db")
    whole = time.perf_counter() - start
    for number in range(count):
        path = folder / f"{number}.db"
        child = os.fork()
        if child == 0:
            work(path)
            os._exit(0)
        time.sleep(source.uniform(0, whole * 1.1))
        os.kill(child, signal.SIGKILL)
        ended_by_itself(child)


def ended_by_itself(child: int) -> bool:
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed"
    return not os.WIFSIGNALED(status)


# --- locks and refusals --------------------------------------------------------------------------


def hold(path: Path) -> None:
    with opened(path) as store, store.lock(this_process(lock_id="held", command="hold it", since=NOW)):
        say(pid=os.getpid())
        sys.stdin.read()


def contend(path: Path, name: str, count: int) -> None:
    for number in range(count):
        with opened(path) as store, store.lock(lock_info(name), timeout=60) as writer:
            before = store.base().serial
            writer.begin_run(run_info(f"{name}-{number}"), TARGET, lambda: LINEAGE)
            assert accept(writer, put(f"{name}-{number}")) == before + 1, "somebody wrote in between"
            writer.end_run(at=LATER, result="done")


def refusal(path: Path, what: str) -> None:
    # A folder of its own: a test's folders are closed to everybody else.
    place = Path(tempfile.mkdtemp())
    try:
        own = place / "x.db"
        shutil.copy(path, own)
        (place / "x.db.lock").touch()
        root = os.geteuid() == 0
        for entry in (place, *place.iterdir()):
            if root:
                os.chown(entry, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            if root:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            meet(what, place, own)
            acts = {"read": read, "write": write}
            if "STATE_CHILD_KEY" in os.environ:
                acts["convert"] = give_another_key
            say(**{name: result_of(lambda act=act: act(own)) for name, act in acts.items()})
            os._exit(0)
        assert ended_by_itself(child)
        place.chmod(0o700)
        own.chmod(0o600)
        shutil.copy(own, path)
    finally:
        shutil.rmtree(place)


def meet(what: str, place: Path, own: Path) -> None:
    if what == "file-size-limit":
        limits.setrlimit(limits.RLIMIT_FSIZE, (own.stat().st_size, limits.RLIM_INFINITY))
    elif what == "read-only-folder":
        place.chmod(0o500)
    else:
        own.chmod(0o400 if what == "read-only-file" else 0o000)


def result_of(act: Callable[[], object]) -> str:
    try:
        act()
    except StateError as error:
        (problem,) = error.problems
        return problem.code
    return "ok"


def read(path: Path) -> None:
    with opened(path) as store:
        store.base()
        store.fingerprints()


def write(path: Path) -> None:
    with opened(path) as store, running(store, "run-2") as writer:
        accept(writer, put(*map(str, range(5000))))


def give_another_key(path: Path) -> None:
    size = path.stat().st_size - 1
    if limits.getrlimit(limits.RLIMIT_FSIZE)[0] != limits.RLIM_INFINITY:
        limits.setrlimit(limits.RLIMIT_FSIZE, (size, limits.RLIM_INFINITY))
    with opened(path) as store:
        convert(store, lock_info(), Secret("0ddba11c" * 8))


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    if command == "hold":
        hold(Path(place))
    elif command == "refusal":
        refusal(Path(place), rest[0])
    elif command == "work":
        say(result=result_of(lambda: work(Path(place))))
    elif command == "contend":
        contend(Path(place), rest[0], int(rest[1]))
    elif command == "convert":
        conversions(Path(place), *rest)
    elif command == "boundaries":
        boundaries(Path(place))
    else:
        moments(Path(place), *map(int, rest))
