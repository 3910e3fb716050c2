"""Which call of a stage may start next, given what was accepted and what failed.

Knows nothing of threads, of the remote or of the journal.
"""

from __future__ import annotations

import heapq
from graphlib import CycleError, TopologicalSorter

from reconciler.calls.call import Call, Stage
from reconciler.problems import Problem, StateError


class Schedule:
    """The calls of one stage, handed out in the order of their numbers as soon as nothing holds them back.

    A call waits for those that it names in `after`. One that failed holds back whatever waits for it
    and everything of its scope, since what comes later there may build on it. Raises StateError for
    a stage whose calls wait for each other in a circle or for calls of elsewhere.
    """

    def __init__(self, stage: Stage) -> None:
        self._calls = {call.number: call for call in stage.calls}
        self._waits: TopologicalSorter[int] = TopologicalSorter({call.number: call.after for call in stage.calls})
        self._ready: list[int] = []
        self._blocked: set[str] = set()
        self._left = len(self._calls)
        if any(number not in self._calls for call in stage.calls for number in call.after):
            raise StateError(_altered(stage.name))
        try:
            self._waits.prepare()
        except CycleError:
            raise StateError(_altered(stage.name)) from None
        self._gather()

    @property
    def complete(self) -> bool:
        """Whether every call was accepted."""
        return not self._left

    def has_next(self) -> bool:
        """Say whether a call may start now."""
        while self._ready and self._calls[self._ready[0]].scope in self._blocked:
            heapq.heappop(self._ready)
        return bool(self._ready)

    def next(self) -> Call:
        """Take the call of the lowest number that may start now; ask `has_next` before."""
        return self._calls[heapq.heappop(self._ready)]

    def accepted(self, call: Call) -> None:
        """Let what waited for this call start."""
        self._left -= 1
        self._waits.done(call.number)
        self._gather()

    def failed(self, call: Call) -> None:
        """Hold back what waits for this call and everything of its scope."""
        self._blocked.add(call.scope)

    def _gather(self) -> None:
        for number in self._waits.get_ready():
            heapq.heappush(self._ready, number)


def _altered(stage: str) -> Problem:
    return Problem(
        "plan-altered",
        f'the calls of stage "{stage}" wait for calls that cannot come before them',
        why="in such an order no call could ever start.",
        fix="make and review a new plan:\n    reconciler plan --out plan.json",
    )
