"""What the kill test of object stores runs in another process.

objects_child.py URL FOLDER STRIDE    all steps of state_child, killed at each boundary in turn: around each request
                                      that writes, before each that reads, around each commit and change of files
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
from pathlib import Path

import obstore
from shared_child import BRIEF, me
from state_child import STEPS, say

from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.store import ObjectStore
from reconciler.state.sql import writer as sql_writer

assert sql_writer  # imported before anything is watched


def killed(url: str, folder: Path, stride: int) -> None:
    """For each boundary: a state of its own, a process that is killed there, and how many steps it said were done."""
    often_checkpoints()
    for boundary in itertools.count(0, stride):
        place = f"{url}/{boundary}"
        notes = folder / f"{boundary}.done"
        child = os.fork()
        if child == 0:
            take_steps(ObjectStore(place, folder / f"{boundary}.db", times=BRIEF), notes, boundary)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        say(url=place, boundary=boundary, steps=len(notes.read_bytes()) if notes.exists() else 0, ended=status == 0)
        if status == 0:
            return


def often_checkpoints() -> None:
    objects_writer.DUE_AMID = 5
    objects_writer.DUE_AT_END = 2


def take_steps(store: ObjectStore, notes: Path, boundary: int) -> None:
    left = boundary

    def met() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    watch(met)
    with store.lock(me("killed")) as writer, notes.open("ab", buffering=0) as file:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
            file.write(b".")


def watch(met) -> None:
    def around(call, *, after: bool):
        def watched(*given, **options):
            met()
            found = call(*given, **options)
            if after:
                met()
            return found

        return watched

    for name in ("put", "delete"):
        setattr(obstore, name, around(getattr(obstore, name), after=True))
    for name in ("get", "list"):
        setattr(obstore, name, around(getattr(obstore, name), after=False))
    for name in ("replace", "unlink"):
        setattr(Path, name, around(getattr(Path, name), after=True))
    connect = sqlite3.connect

    def watched_connect(*given, factory=sqlite3.Connection, **options):
        class Watched(factory):
            def execute(self, query, *values):
                commits = query == "COMMIT" or query.startswith("VACUUM")
                if commits:
                    met()
                found = super().execute(query, *values)
                if commits:
                    met()
                return found

        return connect(*given, factory=Watched, **options)

    sqlite3.connect = watched_connect


if __name__ == "__main__":
    url, folder, stride = sys.argv[1:]
    killed(url, Path(folder), int(stride))
