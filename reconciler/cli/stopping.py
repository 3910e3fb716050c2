"""Being asked to stop: the first signal is a wish, the second one an order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.problems import Interrupted, Problem

# Seconds between two looks at whether to stop, while waiting for another attempt.
_GLANCE = 0.2


class Stop:
    """Remembers that somebody asked to stop; the calls in flight are finished and recorded first."""

    def __init__(self, told: Callable[[], None] | None = None) -> None:
        """Tell whoever wants to know it of a signal: `told` is called from its handler, so it only takes a note."""
        self._asked = False
        self._told = told

    def asked(self) -> bool:
        """Whether to start no further call."""
        return self._asked

    def halt(self) -> None:
        """Start no further call, as if somebody had asked to stop."""
        self._asked = True

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt. Raises Interrupted when somebody asks to stop meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._asked:
            time.sleep(min(left, _GLANCE))
        if self._asked:
            raise Interrupted(
                Problem(
                    "interrupted",
                    "stopped before another attempt",
                    why="the last attempt was not answered with success, so this call is sent again next time.",
                    fix="run the same command again to go on.",
                )
            )

    def proceed(self) -> None:
        """Let another request be sent. Raises Interrupted when somebody asked to stop."""
        if self._asked:
            raise Interrupted(
                Problem(
                    "interrupted",
                    "stopped before its next request",
                    why="the remote has not taken this call, so it is sent next time.",
                    fix="run the same command again to go on.",
                )
            )

    @contextmanager
    def on_signals(self) -> Iterator[Callable[[], None]]:
        """Give what takes SIGINT and SIGTERM as the wish to stop, from its call to the end of the `with` block."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            # Nothing is written here: a signal may come amid any other write, even to the same stream.
            self._asked = True
            if self._told is not None:
                self._told()
            # The next one ends it at once, and what was in flight is recorded as unknown.
            for other in before:
                signal.signal(other, signal.default_int_handler)

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def listen() -> None:
            for number in before:
                signal.signal(number, handle)

        try:
            yield listen
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
