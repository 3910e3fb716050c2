"""How long a run goes on waiting for the remote once somebody asked it to stop.

[io] Asks in threads of its own, so that an answer that takes minutes keeps nobody. Knows nothing of signals: a
function says whether somebody asked to stop.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from reconciler.problems import Interrupted, Problem

T = TypeVar("T")
Told = TypeVar("Told")

# Seconds after somebody asked to stop: for the calls in flight, and for all that is said afterwards. Whoever stops
# a process often kills it after ten.
FOR_CALLS, FOR_ALL = 2.5, 3.5

# Seconds between two looks at whether to stop, while waiting.
GLANCE = 0.2


class Patience:
    """Without end until somebody asks to stop, and then counted from the moment when that is noticed.

    `seconds` is a clock that only grows.
    """

    def __init__(self, stop: Callable[[], bool], seconds: Callable[[], float]) -> None:
        self._stop = stop
        self._seconds = seconds
        self._since: float | None = None

    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        if self._since is None and self._stop():
            self._since = self._seconds()
        return self._since is not None

    def over(self, limit: float) -> bool:
        """Whether somebody asked to stop `limit` seconds ago or earlier."""
        return self.asked() and self._since is not None and self._seconds() - self._since >= limit

    def answer(self, what: str, ask: Callable[[], T]) -> T:
        """Return what `ask` returns, or raise what it raises; Interrupted when patience is over before.

        `what` names the question for that case. `ask` goes on by itself then, and nobody hears of it.
        """
        answers: Generator[None, None, T] = self.listen(what, lambda _: ask())
        while True:
            try:
                next(answers)
            except StopIteration as end:
                found: T = end.value
                return found

    def listen(self, what: str, ask: Callable[[Callable[[Told], None]], T]) -> Generator[Told, None, T]:
        """Do as `answer` does, and yield meanwhile what `ask` tells by the function that it is given."""
        if self.over(FOR_ALL):
            raise Interrupted(too_slow(what))
        heard: queue.SimpleQueue[tuple[Told] | None] = queue.SimpleQueue()
        answers: list[T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                answers.append(ask(lambda told: heard.put((told,))))
            except BaseException as error:
                failures.append(error)
            heard.put(None)

        # A daemon: whoever has no patience left must not wait for it when the process ends.
        threading.Thread(target=run, daemon=True).start()
        while True:
            try:
                entry = heard.get(timeout=GLANCE)
            except queue.Empty:
                if self.over(FOR_ALL):
                    raise Interrupted(too_slow(what)) from None
                continue
            if entry is None:
                break
            yield entry[0]
        if failures:
            raise failures[0]
        return answers[0]


def too_slow(what: str) -> Problem:
    """Return the problem of what was not answered in time for somebody who asked to stop."""
    return Problem(
        "interrupted",
        f"{what} was not answered within the seconds that are left to whoever is asked to stop",
        why="the remote may have taken it or not.",
        fix="run the same command again: what is unknown is sent again, which is harmless.",
    )
