"""No more calls than are allowed: turns to call, handed out to all threads of a run.

[io] It imports a library that makes threads and processes if asked; here it counts, under a lock of
ours, and the clock and the sleep are handed in. What other runs and other programs called is not
known here: the remote says so with 429 (push-api.md 4.2), and then all wait together.

The counting is pyrate-limiter's sliding windows. Its `Limiter` is not used: it sleeps by itself, so
that nobody could stop it, and keeps a thread to forget old calls. A bucket of it tells at once
whether a call fits and, if not, after how many milliseconds it will.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.pushapi.failures import span

if TYPE_CHECKING:
    from pyrate_limiter import InMemoryBucket

Waiting = Callable[[float, str], None]
"""Hears of a wait before it begins: seconds, and what it is for, such as `250 calls per 300 s`."""

# Shorter waits are nobody's concern.
_TOLD_FROM = 1.0
# A clock that stands still between two looks must not keep a processor busy.
_SHORTEST = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """At most `calls` within any `seconds`."""

    calls: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.calls:,} calls a day" if self.seconds == 86_400 else f"{self.calls:,} calls per {self.seconds} s"


class OutOfTurn(Exception):
    """The next turn comes so late that nobody should wait for it: in `seconds`."""

    def __init__(self, window: Window, seconds: float) -> None:
        super().__init__(f"{window} are allowed and made; the next one may go in {span(seconds)}")
        self.seconds = seconds


class Pace:
    """Turns to call within all `windows`; safe to use from several threads.

    `patience` is the longest wait in seconds that is worth staying for.
    """

    def __init__(
        self, windows: Sequence[Window] = (), *, patience: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._windows = {window.seconds * 1000: window for window in _needed(windows)}
        self._bucket = _bucket(self._windows.values()) if self._windows else None
        self._held_until = 0.0
        self._told_until = 0.0

    def __repr__(self) -> str:
        return f"Pace({', '.join(map(str, self._windows.values()))})"

    def take_turn(self, sleep: Callable[[float], None], waiting: Waiting | None = None) -> float:
        """Wait for a turn and take it; return the seconds that this took.

        A wait of more than a second is told to `waiting` once, however many threads share it. Raises
        OutOfTurn when the wait is longer than anybody's patience, and whatever `sleep` raises.
        """
        began = self._clock()
        while True:
            with self._lock:
                now = self._clock()
                wait, reason = self._wait(now)
                if wait <= 0:
                    return now - began
                telling = waiting is not None and wait > _TOLD_FROM and now >= self._told_until
                if telling:
                    self._told_until = now + wait
            if telling and waiting is not None:
                waiting(wait, reason)
            sleep(max(wait, _SHORTEST))

    def hold(self, seconds: float) -> None:
        """Let nobody call for so long: the remote asked for it. Who heard of it need not be told again."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)
            self._told_until = max(self._told_until, self._held_until)

    def _wait(self, now: float) -> tuple[float, str]:
        """Take a turn if there is one, and return 0; else how long until then, and why."""
        if now < self._held_until:
            return self._held_until - now, "the pause that the remote asks for"
        if self._bucket is None:
            return 0.0, ""
        from pyrate_limiter import RateItem

        moment = int(now * 1000)
        self._bucket.leak(moment)
        call = RateItem("call", moment)
        if self._bucket.put(call):
            return 0.0, ""
        full = self._bucket.failing_rate
        assert full is not None
        window = self._windows[full.interval]
        milliseconds = self._bucket.waiting(call)
        assert isinstance(milliseconds, int)
        if milliseconds > self._patience * 1000:
            raise OutOfTurn(window, milliseconds / 1000)
        return milliseconds / 1000, str(window)


def _needed(windows: Sequence[Window]) -> list[Window]:
    """Return the windows without those that others imply, the shortest first, as the bucket takes them."""
    kept: list[Window] = []
    for window in sorted(windows, key=lambda window: (window.seconds, window.calls)):
        if kept:
            shorter = kept[-1]
            most = shorter.calls * window.seconds // shorter.seconds
            if shorter.seconds == window.seconds or (window.calls > most and not window.seconds % shorter.seconds):
                continue
            # The bucket takes no window that allows more in its time than the shorter one does on average.
            window = Window(min(window.calls, most), window.seconds)
        while kept and kept[-1].calls >= window.calls:
            kept.pop()
        kept.append(window)
    return kept


def _bucket(windows: Iterable[Window]) -> InMemoryBucket:
    from pyrate_limiter import InMemoryBucket, Rate

    return InMemoryBucket([Rate(window.calls, window.seconds * 1000) for window in windows])
