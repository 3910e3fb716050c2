"""The ordering ids of a run: strictly increasing, above all that went before, and not in the future.

The remote keeps an update only when its ordering id is above that of what it holds, and answers 202
either way (push-api.md 5.4), so a number that is too low loses an update silently.
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.calls.call import Call
from reconciler.problems import Problem

# Our clock may be ahead of the remote's by so much before removing what is older is refused.
TOLERANCE = 60_000

# So far behind the last number, a clock is waited for; further, it is wrong, and the numbers go on.
_PATIENCE = 5


class OrderingIds:
    """Chooses one number for each call, in epoch milliseconds. For one thread.

    `above` is the highest number that was ever used. `ahead` is by how many milliseconds our clock
    is ahead of the remote's, None while nobody knows.
    """

    def __init__(self, above: int, milliseconds: Callable[[], int], wait: Callable[[float], None]) -> None:
        self._last = above
        self._milliseconds = milliseconds
        self._wait = wait
        self.ahead: int | None = None

    def next(self) -> int:
        """Return a number above all before: the time, unless our clock is behind the last one."""
        now = self._milliseconds()
        while now <= self._last < now + _PATIENCE:
            self._wait(0.001)
            now = self._milliseconds()
        self._last = max(now, self._last + 1)
        return self._last

    def too_high(self, call: Call, ordering_id: int, where: str) -> Problem | None:
        """Return why a call that removes what is older may not carry this number, None when it may.

        The remote rejects every later push until the clock has passed the number of such a call
        (push-api.md 5.4), so one in the future would close the source or the provider.
        """
        now = self._milliseconds()
        ahead = max(ordering_id - now, 0)
        if not ahead and (self.ahead is None or self.ahead <= TOLERANCE):
            return None
        what = (
            f"the ordering id {ordering_id} is {ahead / 1000:,.1f} s ahead of this machine's clock"
            if ahead
            else f"this machine's clock is {(self.ahead or 0) / 1000:,.0f} s ahead of the remote's"
        )
        return Problem(
            "ordering-id-in-future",
            f'what is older in "{call.scope}" cannot be removed: {what}',
            why="the remote would reject every later push until its own clock has passed that number.",
            fix="set this machine's clock; when an earlier run had a clock that was ahead, wait until that time has "
            "passed. Then run the same command again.",
            where=where,
        )
