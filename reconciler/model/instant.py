"""Instants as people write them: a date, or a date and time with its zone; kept as whole seconds since 1970 (UTC), or
as milliseconds where it is a matter of which call came first.

A date is its first instant, 00:00 UTC. It knows no clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DAY = 86_400  # seconds

_FORM = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?) ?(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_FRACTION = re.compile(r"(?P<before>.+:[0-9]{2}:[0-9]{2})\.(?P<fraction>[0-9]{1,9})(?P<after>.+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class NotAnInstant(ValueError):
    """A text that names no instant; it says in a few words why not."""


def parse_instant(text: str) -> int:
    """Return the instant that a text names. Raises NotAnInstant."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise NotAnInstant("is neither a date nor a date with a time")
    if match["time"] and not match["zone"]:
        raise NotAnInstant("has a time without a zone")
    zone = (match["zone"] or "Z").upper().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00'}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotAnInstant("is no day or time that exists") from None
    return (moment - _EPOCH) // _SECOND


def instant_text(seconds: int) -> str:
    """Return an instant as text, in UTC: `2027-01-31T00:00:00Z`."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def short_instant(text: str) -> str:
    """Return the text of an instant as a person would write it: a date alone where it is the first of its day."""
    return text.removesuffix("T00:00:00Z")


def parse_moment(text: str) -> int:
    """Return the milliseconds since 1970 that a text names: an instant, or one with a fraction of a second.

    What is finer than a millisecond is cut off. Raises NotAnInstant.
    """
    match = _FRACTION.fullmatch(text)
    if match is None:
        return parse_instant(text) * 1000
    return parse_instant(match["before"] + match["after"]) * 1000 + int(match["fraction"][:3].ljust(3, "0"))


def moment_text(milliseconds: int) -> str:
    """Return a moment as text, in UTC: `2027-01-31T00:00:00Z`, with `.250` before the Z where it is no whole second."""
    seconds, rest = divmod(milliseconds, 1000)
    text = instant_text(seconds)
    return text.replace("Z", f".{rest:03}Z") if rest else text
