"""When what a plan changes of identities comes to hold, and how that is said.

The remote takes identities into a store of its own; the security cache, which decides who sees what, picks them up
when it is refreshed, typically once a day or on demand (push-api.md 5.1). Pure: it knows no clock, so it says how
long something lasts and never when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.calls.call import IDENTITY_CALLS, Call, IdentityEffect

_HOUR, _DAY = 3600, 86_400


def effects_of(calls: Iterable[Call], refresh_every: Mapping[str, int]) -> tuple[IdentityEffect, ...]:
    """Return what the calls change of each provider's identities, by its name.

    `refresh_every` are the seconds between two refreshes of those providers that the project tells them of.
    """
    numbers: dict[str, int] = {}
    changed: dict[str, set[str]] = {}
    for call in calls:
        if call.kind in IDENTITY_CALLS:
            numbers[call.scope] = numbers.get(call.scope, 0) + 1
            changed.setdefault(call.scope, set()).update(covered.address for covered in call.covers)
    return tuple(
        IdentityEffect(provider, numbers[provider], len(changed[provider]), refresh_every.get(provider))
        for provider in sorted(numbers)
    )


def effective_words(refresh_every: int | None) -> str:
    """Return when accepted identities come to hold."""
    words = "at the provider's next refresh"
    return words if refresh_every is None else f"within {duration(refresh_every)}, {words}"


def duration(seconds: int) -> str:
    """Return whole seconds in the largest unit that tells them exactly: `24 h`, `7 d`, `90 min`."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (60, "min")):
        # A day is told in hours, as schedules are.
        if seconds % size == 0 and (unit != "d" or seconds >= 2 * size):
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
