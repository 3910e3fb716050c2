"""What the licence allows of calls and items, and what a plan takes of it.

Pure. Calls are those that the API counts: requests to it, never uploads to storage (push-api.md 4.2).
Batches count their items one by one. What was used before comes in as numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from reconciler.planning.plan import Hazard

DAY = 86_400
HAZARD = "over-quota"


class Settings(Protocol):
    """What a project says under `quotas`; None where it says nothing."""

    @property
    def calls_per_day(self) -> int | None: ...
    @property
    def burst_calls(self) -> int | None: ...
    @property
    def burst_seconds(self) -> int | None: ...
    @property
    def items_per_day(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be sent: None is no limit. `burst_calls` are within any `burst_seconds`."""

    calls_per_day: int | None = None
    burst_calls: int | None = None
    burst_seconds: int = 300
    items_per_day: int | None = None

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """The limits of calls, as calls and the seconds that they are allowed in."""
        found = []
        if self.burst_calls is not None:
            found.append((self.burst_calls, self.burst_seconds))
        if self.calls_per_day is not None:
            found.append((self.calls_per_day, DAY))
        return tuple(found)


PUBLISHED = Allowance(calls_per_day=15_000, burst_calls=250, burst_seconds=300)
"""The figures of a production organization; items a day depend on the licence (push-api.md 4.2)."""

UNLIMITED = Allowance()


def allowance(settings: Settings, *, published: bool) -> Allowance:
    """Return what the project says, completed with the published figures if those hold for the remote."""
    base = PUBLISHED if published else UNLIMITED
    return Allowance(
        calls_per_day=settings.calls_per_day if settings.calls_per_day is not None else base.calls_per_day,
        burst_calls=settings.burst_calls if settings.burst_calls is not None else base.burst_calls,
        burst_seconds=settings.burst_seconds if settings.burst_seconds is not None else base.burst_seconds,
        items_per_day=settings.items_per_day if settings.items_per_day is not None else base.items_per_day,
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """What was sent to the same organization within the last 24 hours, as far as anybody knows."""

    calls: int = 0
    items: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan takes: calls, items and bytes; `seconds` are what the allowed pace costs at least.

    `seconds` is 0 when all calls fit into what may be sent at once. The shares are of what a day allows,
    usage included: 1 is all of it, None where there is no limit. `exceeded` holds a reason for each daily
    limit that the plan goes over, as pairs of `calls` or `items` and a text.
    """

    calls: int
    items: int
    size: int
    seconds: float = 0.0
    share_of_calls: float | None = None
    share_of_items: float | None = None
    exceeded: tuple[tuple[str, str], ...] = ()


def estimate(allowed: Allowance, *, calls: int, items: int, size: int, used: Usage | None = None) -> Estimate:
    """Return what so many calls, items and bytes take of the allowance.

    What was used is taken as used just now: when it was is not known, and a wait that turns out shorter
    is no harm.
    """
    before = used or Usage()
    reasons = []
    for name, wanted, spent, limit in (
        ("calls", calls, before.calls, allowed.calls_per_day),
        ("items", items, before.items, allowed.items_per_day),
    ):
        if limit is not None and wanted and spent + wanted > limit:
            past = f" on top of {spent:,} of the last 24 hours" if spent else ""
            reasons.append((name, f"{wanted:,} {name}{past}; {limit:,} a day are allowed"))
    return Estimate(
        calls=calls,
        items=items,
        size=size,
        seconds=_seconds(allowed, calls, before.calls),
        share_of_calls=_share(calls + before.calls, allowed.calls_per_day),
        share_of_items=_share(items + before.items, allowed.items_per_day),
        exceeded=tuple(reasons),
    )


def quota_hazards(found: Estimate, *, allow: Collection[str] = ()) -> tuple[Hazard, ...]:
    """Return a hazard for each daily limit that the plan exceeds; `allow` holds names, or `name:subject`."""
    return tuple(
        Hazard(
            HAZARD,
            f"more than a day's quota: {text}",
            "the remote would refuse the rest for a day or longer, with the plan half applied.",
            f"apply a part of it with --target, or raise the licence and `quotas`; to start all the same, and go on "
            f"another day, add --allow {HAZARD}.",
            subject=subject,
            count=found.calls if subject == "calls" else found.items,
            allowed=HAZARD in allow or f"{HAZARD}:{subject}" in allow,
        )
        for subject, text in found.exceeded
    )


def _share(amount: int, limit: int | None) -> float | None:
    return None if limit is None else amount / limit


def _seconds(allowed: Allowance, calls: int, used: int) -> float:
    """Return when the last call may go, if the first goes now."""
    if calls == 0:
        return 0.0
    at_least = _bursts(allowed, calls)
    if allowed.calls_per_day is None:
        return at_least
    free = max(allowed.calls_per_day - used, 0)
    if calls <= free:
        return at_least
    days, last_day = divmod(calls - free - 1, allowed.calls_per_day)
    return max(at_least, (days + 1) * DAY + _bursts(allowed, last_day + 1))


def _bursts(allowed: Allowance, calls: int) -> float:
    if allowed.burst_calls is None:
        return 0.0
    return float((calls - 1) // allowed.burst_calls * allowed.burst_seconds)
