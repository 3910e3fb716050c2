"""Runs commands that die: each in a fork of one process that has everything imported, and killed at one write.

Reads requests as JSON lines from stdin and answers each with a line of JSON:

    {"arguments": [...], "write": 7, "moment": "before", "seed": 1, "said": PATH}
    {"code": 0}

`write` is the number of the write to a socket, counted over all threads, at which the process kills itself
with SIGKILL: `before` it, `amid` it, when half of it is sent, or `after` it; 0 is never. `code` is the exit
code, -9 of one that was killed; what it printed is in the file `said`.

Time passes at once: who sleeps finds the clock set forward when it wakes, so that all waits between
attempts are as they would be, and take no time. `seed` is that of the randomness in those waits.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
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


def monotonic_with_sleep() -> float:
    return _monotonic() + _slept


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def kill_at(number: int, moment: str) -> None:
    """Arrange that this process kills itself at a write to a socket."""
    left = number
    one_at_a_time = threading.Lock()

    def mortal(name: str) -> None:
        write = getattr(socket.socket, name)

        def counted(self: socket.socket, data: Any, *flags: int) -> Any:
            nonlocal left
            # The others wait, so that no thread writes anything more while this one dies.
            with one_at_a_time:
                left -= 1
                if left == 0 and moment == "before":
                    die()
                if left == 0 and moment == "amid":
                    socket.socket.sendall(self, bytes(data)[: len(data) // 2]) if False else None
                done = write(self, data, *flags)
                if left == 0:
                    die()
                return done

        setattr(socket.socket, name, counted)

    for name in ("send", "sendall"):
        mortal(name)
