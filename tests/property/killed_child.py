"""Runs commands that die: each in a fork of one process that has everything imported, killed at one of its writes.

Reads requests as JSON lines from stdin and answers each with a line of JSON:

    {"arguments": [...], "write": 7, "moment": "before", "seed": 1, "said": PATH}
    {"code": -9}

`write` is the number of the write to a socket, counted over all threads, at which the process kills itself
with SIGKILL: `before` it, `amid` it, when half of it is sent, or `after` it; 0 is never. `code` is the exit
code, -9 that of one that was killed; what it printed is in the file `said`.

Nobody waits in here: whoever sleeps finds the clock set forward by as much, so that all the waits between
attempts are what they would be and take no time. `seed` is that of the randomness in them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import threading
import time
from typing import Any

MOMENTS = ("before", "amid", "after")

_slept = 0.0
_monotonic = time.monotonic


def sleep_at_once(seconds: float) -> None:
    global _slept
    _slept += seconds


def kill_at(number: int, moment: str) -> None:
    """Arrange that this process kills itself at the write to a socket of this number (from 1)."""
    left = number
    # Whoever writes meanwhile waits: nothing is written any more once the number is reached.
    one_at_a_time = threading.Lock()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def make_mortal(name: str) -> None:
        write = getattr(socket.socket, name)

        def mortal(self: socket.socket, data: Any, *flags: int) -> Any:
            nonlocal left
            with one_at_a_time:
                left -= 1
                if left == 0 and moment == "before":
                    die()
                if left == 0 and moment == "amid":
                    write(self, data[: len(data) // 2], *flags)
                    die()
                done = write(self, data, *flags)
                if left == 0:
                    die()
                return done

        setattr(socket.socket, name, mortal)

    make_mortal("send")
    make_mortal("sendall")


def live(request: dict[str, Any]) -> int:
    """Run a command in this process and return its exit code, if it comes to that."""
    from reconciler.cli.main import run

    said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    random.seed(request["seed"])
    if request["write"]:
        kill_at(request["write"], request["moment"])
    code = run(request["arguments"])
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
    import reconciler.bodies
    import reconciler.cli.apply
    import reconciler.cli.applying
    import reconciler.cli.main
    import reconciler.cli.planning
    import reconciler.cli.remote
    import reconciler.manifest.load
    import reconciler.pushapi.client
    import reconciler.rendering.progress
    import reconciler.rendering.report
    import reconciler.rendering.text
    import reconciler.state.sqlite  # noqa: F401

    serve()
