"""How much an organization may send: calls in a burst and a day, items and identities a day, items at all.

What the documents say is in push-api.md 4.2: a call too many is answered 429, with the seconds to wait.
Inferred, as no document says more: a day is a day of UTC; a burst is counted over the seconds just passed;
refused calls are not counted; a batch that begins within a day's quota is taken whole; identities are
refused with the code of calls. What was used is counted per organization, for as long as the emulator lives.
Nothing here knows HTTP.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, replace

from reconciler.emulator.clock import Clock

BURST_SECONDS = 300.0
_DAY = 24 * 3600
_PART = re.compile(r"(\d{1,12})/(day|\d{1,6}(?:\.\d{1,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an organization may send; None is without limit."""

    calls_per_day: int | None = None
    burst_calls: int | None = None
    """Calls within `burst_seconds`."""
    burst_seconds: float = BURST_SECONDS
    items_per_day: int | None = None
    """Items that are added, updated or deleted."""
    identities_per_day: int | None = None
    items: int | None = None
    """Items that the index holds (push-api.md 4.1); one that waits to be processed is not among them."""


RATES = {"published": Limits(15_000, 250), "trial": Limits(10_000, 150)}
"""The published figures of production and of other organizations (push-api.md 4.2)."""


class OverLimit(Exception):
    """A call too many; `retry_after` are the seconds after which there is room."""

    def __init__(self, code: str, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


def parse_rate(text: str) -> Limits:
    """Read `published`, `trial` or `CALLS/day,CALLS/SECONDS` (either part may be missing). Raises ValueError."""
    if text in RATES:
        return RATES[text]
    found: dict[str, Limits] = {}
    for part in text.replace(" ", "").split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f'"{text[:100]}" is no rate: write {", ".join(RATES)} or CALLS/day,CALLS/SECONDS')
        calls, span = int(match.group(1)), match.group(2)
        kind = "day" if span == "day" else "burst"
        if kind in found:
            raise ValueError(f'"{text[:100]}" gives two limits of a {kind}')
        if kind == "burst" and not float(span):
            raise ValueError(f'"{text[:100]}": a burst lasts longer than 0 seconds')
        found[kind] = Limits(calls) if kind == "day" else Limits(None, calls, float(span))
    return replace(found.get("burst", Limits()), calls_per_day=found.get("day", Limits()).calls_per_day)


class _Usage:
    """What one organization sent today, and the times of its last calls."""

    __slots__ = ("calls", "day", "identities", "items", "recent")

    def __init__(self) -> None:
        self.day = -1
        self.calls = 0
        self.items = 0
        self.identities = 0
        self.recent: deque[float] = deque()


class Meter:
    """Counts what is sent and refuses what is too much."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._used: dict[str, _Usage] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._used.clear()

    def today(self, organization: str) -> _Usage:
        """Return the counts of the current day."""
        usage = self._used.setdefault(organization, _Usage())
        day = int(self._clock.now() // _DAY)
        if usage.day != day:
            usage.day, usage.calls, usage.items, usage.identities = day, 0, 0, 0
        return usage

    def call(self, organization: str, *, items: int = 0, identities: int = 0) -> None:
        """Count a call and what it carries. Raises OverLimit, and then counts nothing."""
        limits, usage, now = self.limits, self.today(organization), self._clock.now()
        tomorrow = math.ceil(_DAY - now % _DAY)
        if limits.burst_calls is not None:
            while usage.recent and usage.recent[0] <= now - limits.burst_seconds:
                usage.recent.popleft()
            if len(usage.recent) >= limits.burst_calls:
                oldest = usage.recent[0] if usage.recent else now
                wait = max(1, math.ceil(oldest + limits.burst_seconds - now))
                raise OverLimit(
                    "TOO_MANY_REQUESTS", f"More than {limits.burst_calls} calls in {limits.burst_seconds:g} s.", wait
                )
        if _used_up(usage.calls, limits.calls_per_day):
            raise OverLimit("TOO_MANY_REQUESTS", f"More than {limits.calls_per_day} calls in a day.", tomorrow)
        if items and _used_up(usage.items, limits.items_per_day):
            raise OverLimit("TOO_MANY_DOCUMENTS_DAILY", f"More than {limits.items_per_day} items in a day.", tomorrow)
        if identities and _used_up(usage.identities, limits.identities_per_day):
            raise OverLimit(
                "TOO_MANY_REQUESTS", f"More than {limits.identities_per_day} security identities in a day.", tomorrow
            )
        usage.calls += 1
        usage.items += items
        usage.identities += identities
        if limits.burst_calls is not None:
            usage.recent.append(now)


def _used_up(used: int, limit: int | None) -> bool:
    return limit is not None and used >= limit
