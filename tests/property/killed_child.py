"""Runs commands that fare ill: each in a fork of one process that has everything imported, at one of its writes.

Reads requests as JSON lines from stdin and answers each with a line of JSON:

    {"arguments": [...], "write": 7, "moment": "before", "seed": 1, "said": PATH}
    {"code": -9}

`write` is the number of the write to a socket, counted over all threads, at which the process kills itself
with SIGKILL: `before` it, `amid` it, when half of it is sent, or `after` it; 0 is never. `code` is the exit
code, -9 that of one that was killed; what it printed is in the file `said`. With `everywhere`, the statements that
write to a database, their commits, and files that are opened for writing, synced, renamed or removed count as well,
and what was passed is in the file of the same name with `.passed`.

`fault` is what happens there in place of SIGKILL, and the process goes on as well as it can:

    SIGINT, SIGTERM     it gets the signal
    twice               it gets both
    full                no room is left on the file system of the folder `place`, which is small
    limit               no file may be written beyond its first byte any more
    shut                nothing may be made or removed in the folders below `place`; it runs as nobody
    EIO                 this one write fails

Nobody waits in here: whoever sleeps finds the clock set forward by as much, so that all the waits between
attempts are what they would be and take no time. `seed` is that of the randomness in them.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import pkgutil
import random
import resource
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MOMENTS = ("before", "amid", "after")

NOBODY = 65534

_handled: list[int] = []
_ended: list[bool] = []  # once the command is over, what follows is no place any more

_slept = 0.0
_monotonic = time.monotonic
_sleep = time.sleep


def sleep_at_once(seconds: float) -> None:
    global _slept
    _slept += seconds


READING = ("SELECT", "PRAGMA", "BEGIN", "EXPLAIN", "WITH")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def strike(fault: str, place: str, what: str) -> None:
    """Have it happen."""
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "full":
        fill(Path(place))
    elif fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    elif fault == "shut":
        for folder in (Path(place), *(entry for entry in Path(place).rglob("*") if entry.is_dir())):
            folder.chmod(0o500)
    elif fault == "EIO":
        fail(what)
    else:
        numbers = (signal.SIGINT, signal.SIGTERM) if fault == "twice" else (signal.Signals[fault],)
        for number in numbers:
            os.kill(os.getpid(), number)
        # It is the main thread that gets it, before whatever it does next: this one is not to be quicker.
        until = _monotonic() + 10
        while threading.current_thread() is not threading.main_thread() and _monotonic() < until:
            if len(_handled) >= len(numbers):
                break
            _sleep(0.001)


def watch_signals() -> None:
    """Write down each signal that was handled."""
    install = signal.signal

    def watched(number: int, handler: Any) -> Any:
        if not callable(handler):
            return install(number, handler)

        def handle(number: int, frame: Any) -> None:
            try:
                handler(number, frame)
            finally:
                _handled.append(number)

        return install(number, handle)

    signal.signal = watched


def fill(place: Path) -> None:
    with suppress(OSError), (place / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    filler.write(bytes(size))


def fail(what: str) -> None:
    if what.startswith(("statement", "commit", "script")):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error
    if not what.startswith(("socket", "request")):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def strike_at(number: int, moment: str, passed: list[str] | None, fault: str, place: str) -> None:
    """Arrange what happens at the write of this number (from 1): to a socket, or with `passed` any.

    What it is about to do is appended to `passed`.
    """
    left = number
    # Whoever writes meanwhile waits: nothing is written any more once the number is reached.
    one_at_a_time = threading.RLock()

    def die() -> None:
        strike(fault, place, "socket")

    def pass_by(what: str) -> None:
        nonlocal left
        with one_at_a_time:
            assert passed is not None
            if _ended:
                return
            passed.append(what)
            left -= 1
            struck = left == 0
        if struck:
            strike(fault, place, what)

    if passed is not None:
        watch_signals()
        watch_databases(pass_by)
        watch_files(pass_by)

    def make_mortal(name: str) -> None:
        write = getattr(socket.socket, name)

        def mortal(self: socket.socket, data: Any, *flags: int) -> Any:
            nonlocal left
            with one_at_a_time:
                if passed is not None:
                    passed.append(name_of(bytes(data[:300])))
                left -= 1
                if left == 0 and moment == "before":
                    die()
                if left == 0 and moment == "amid":
                    write(self, data[: len(data) // 2], *flags)
                    die()
                done = write(self, data, *flags)
                if left == 0 and moment == "after":
                    die()
                return done

        setattr(socket.socket, name, mortal)

    make_mortal("send")
    make_mortal("sendall")


def name_of(data: bytes) -> str:
    """Return what is about to be sent: `request METHOD /path` where one begins, else `socket`."""
    method, _, rest = data.partition(b" ")
    if method not in (b"GET", b"PUT", b"POST", b"PATCH", b"DELETE"):
        return "socket"
    return f"request {method.decode()} {rest.partition(b' ')[0].partition(b'?')[0].decode()}"


def watch_databases(pass_by: Callable[[str], None]) -> None:
    """Call `pass_by` before each statement that writes, and before each commit."""
    connect = sqlite3.connect
    known: dict[type[sqlite3.Connection], type[sqlite3.Connection]] = {}

    def watched(*given: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **named: Any) -> Any:
        if factory not in known:
            known[factory] = watching(factory, pass_by)
        return connect(*given, factory=known[factory], **named)

    sqlite3.connect = watched


def watching(base: type[sqlite3.Connection], pass_by: Callable[[str], None]) -> type[sqlite3.Connection]:
    """Return a class of connections that call `pass_by` before they write."""

    class Watched(base):  # type: ignore[misc, valid-type]
        def execute(self, sql: str, *given: Any) -> Any:
            if not sql.lstrip().upper().startswith(READING):
                pass_by(f"statement {sql.split()[0]}")
            return super().execute(sql, *given)

        def executemany(self, sql: str, *given: Any) -> Any:
            pass_by(f"statements {sql.split()[0]}")
            return super().executemany(sql, *given)

        def executescript(self, sql: str) -> Any:
            pass_by("script")
            return super().executescript(sql)

        def commit(self) -> None:
            pass_by("commit")
            super().commit()

        def __exit__(self, *error: Any) -> Any:
            pass_by("commit")
            return super().__exit__(*error)

    return Watched


def watch_files(pass_by: Callable[[str], None]) -> None:
    """Call `pass_by` before a file is opened for writing, synced, renamed or removed."""
    sync = os.fsync

    def synced(descriptor: Any) -> None:
        pass_by("sync")
        sync(descriptor)

    os.fsync = synced

    def audit(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(given[2], int) and given[2] & WRITING:
            pass_by(f"open {os.path.basename(str(given[0]))}")
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.truncate"):
            pass_by(event)

    sys.addaudithook(audit)


def live(request: dict[str, Any]) -> int:
    """Run a command in this process and return its exit code, if it comes to that."""
    from reconciler.cli.main import main

    said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    random.seed(request["seed"])
    fault, place = request.get("fault", "kill"), request.get("place", "")
    if fault == "shut" and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    passed: list[str] | None = [] if request.get("everywhere") else None
    if request["write"] or passed is not None:
        strike_at(request["write"], request["moment"], passed, fault, place)
    code = 0
    try:
        main(request["arguments"])
    except SystemExit as end:
        code = int(end.code or 0)
    _ended.append(True)
    if passed is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(request["said"] + ".passed").write_text("\n".join(passed))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = live(request)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    # Before anything is imported that takes these functions for its own.
    time.sleep = sleep_at_once
    time.monotonic = lambda: _monotonic() + _slept
    import reconciler

    ours = [module.name for module in pkgutil.walk_packages(reconciler.__path__, "reconciler.")]
    # A run as nobody may not be able to read them.
    late = (
        "concurrent.futures",
        "csv",
        "encodings.idna",
        "getpass",
        "pwd",
        "secrets",
        "stringprep",
        "zipfile",
        "zoneinfo",
    )
    for name in ("filelock", "pydantic", "tenacity", *late, *ours):
        if not name.startswith("reconciler.emulator"):
            importlib.import_module(name)

    serve()
