"""The time as the emulator sees it: real by default, stepped in tests, and always possible to move forward."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

LATEST = 32_503_680_000.0
"""The year 3000: what is due later, by the longest delay, still has a date."""


class Clock:
    """Seconds since the epoch, plus whatever was added by hand."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._advanced = 0.0

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._source() + self._advanced

    def advance(self, seconds: float) -> None:
        """Move the time forward; it never goes back, as ordering ids depend on it."""
        if not seconds >= 0:
            raise ValueError("a clock only goes forward")
        if not self.now() + seconds <= LATEST:
            raise ValueError("this clock ends with the year 2999")
        self._advanced += seconds


class Pauses:
    """Real time that passes for a client, as slowness is asked for; the emulator's end ends them all."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when the emulator ends."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    def end(self) -> None:
        """Wait no longer, now and later."""
        self._over.set()


def stepped_clock(start: float = 1_700_000_000.0) -> Clock:
    """Return a clock that stands still until it is advanced."""
    return Clock(lambda: start)
