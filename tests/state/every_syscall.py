"""Run by hand, with strace: one run of the local state is stopped at each of its writes to the disk.

    python tests/state/every_syscall.py              kill, EIO and ENOSPC, some 220 places each

Finer than the tests of crashes, which cannot look inside a commit. For k = 1, 2, ... the k-th write,
sync, removal or rename kills the process, or fails; then the state must be that after some whole
transaction, and a failure must have been told as a StateError. Ends when runs meet no more of them.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from test_sqlite_crash import CHILD, seen, states_after_each_step

CALLS = ("pwrite64", "fsync", "fdatasync", "unlink", "unlinkat", "rename", "ftruncate")
ENOUGH = 8  # untouched runs in a row: removing the lock's note may fail without harm


def stop_everywhere(call: str, fault: str, folder: Path) -> Counter[str]:
    """Return how often each result was seen; strace counts each kind of call by itself."""
    states = states_after_each_step(folder)
    results: Counter[str] = Counter()
    untouched = number = 0
    while untouched < ENOUGH:
        number += 1
        path = folder / f"{number}.db"
        inject = f"inject={call}:{fault}:when={number}"
        tracing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject]
        command = [*tracing, sys.executable, str(CHILD), "work", str(path)]
        run = subprocess.run(command, capture_output=True, text=True)
        notes = path.with_suffix(".done")
        done = notes.stat().st_size if notes.exists() else 0
        assert "Traceback" not in run.stderr, run.stderr
        assert seen(path) in states[done : done + 2], f"{fault} at {call} {number}, after {done} steps"
        result = json.loads(run.stdout)["result"] if run.stdout else "killed"
        results[result] += 1
        untouched = untouched + 1 if result == "ok" else 0
    return results


if __name__ == "__main__":
    for fault, call in itertools.product(("signal=KILL", "error=EIO", "error=ENOSPC"), CALLS):
        with tempfile.TemporaryDirectory() as folder:
            print(fault, call, dict(stop_everywhere(call, fault, Path(folder))), flush=True)
