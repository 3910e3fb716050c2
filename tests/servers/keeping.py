"""Keeps servers for a run of tests: each is started once, by whoever needs it first, and ended with the run.

Each server has a keeper, a process of its own, which starts it and ends it when it is told to or when
the process it was started for is gone: also after a kill, no server outlives the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock

from tests.builders import REPOSITORY
from tests.servers.kinds import KINDS, STARTED_WITHIN, Running

NOBODYS = 0
"""Instead of a process id: the server is ended by `end` alone."""


# Those that this process started; dropping one whose process runs on would be warned of.
_keepers: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: the place in it to store things under, and what its clients need in their environment."""

    keeper: int
    url: str
    settings: dict[str, str]


def begin(name: str, folder: Path, owner: int) -> Server:
    """Return the server of this name that `folder` knows, started if it does not run, for as long as `owner` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        running = find(name, folder)
        if running is not None:
            return running
        command = [sys.executable, "-m", "tests.servers", "keep", name, str(folder), str(owner)]
        with (folder / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C is for the tests, which may still need it to end properly.
            keeper = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _keepers.append(keeper)
        until = time.monotonic() + 2 * STARTED_WITHIN
        while (running := find(name, folder)) is None:
            if keeper.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start:\n{(folder / f'{name}.log').read_text()[-4000:]}")
            time.sleep(0.05)
        return running


def find(name: str, folder: Path) -> Server | None:
    """Return the server of this name that `folder` knows, None if it does not run."""
    try:
        server = Server(**json.loads((folder / f"{name}.json").read_text()))
    except FileNotFoundError:
        return None
    return server if alive(server.keeper) else None


def end(name: str, folder: Path) -> None:
    """End the server of this name, and return when it has ended."""
    server = find(name, folder)
    if server is not None:
        os.kill(server.keeper, signal.SIGTERM)
        while find(name, folder) is not None:
            time.sleep(0.05)


def keep(name: str, folder: Path, owner: int) -> None:
    """Start a server, say so in `folder`, and end it when told to or when `owner` is gone."""
    signal.signal(signal.SIGTERM, _told)
    # Not below `folder`: pytest's are closed to other users, and a socket's path must be short.
    place = Path(tempfile.mkdtemp(prefix="reconciler-server-"))
    said = folder / f"{name}.json"
    server = None
    try:
        server = KINDS[name].start(place, sys.stderr.buffer)
        part = said.with_suffix(".part")
        part.write_text(json.dumps({"keeper": os.getpid(), "url": server.url, "settings": server.settings}))
        part.replace(said)
        while server.process.poll() is None and (owner == NOBODYS or alive(owner)):
            time.sleep(0.5)
    finally:
        if server is not None:
            _stop(server)
        with suppress(FileNotFoundError):
            said.unlink()
        shutil.rmtree(place, ignore_errors=True)


def _stop(server: Running) -> None:
    server.process.send_signal(server.ending)
    try:
        server.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    for path in server.litter:
        path.unlink(missing_ok=True)


def _told(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def alive(process: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A dead child that nobody has waited for yet still has its number.
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
