"""Points in time as the index reads them: texts of several forms, kept as epoch milliseconds (push-api.md 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d", "%Y/%m/%d@%H:%M:%S", "%a, %d %b %Y %H:%M:%S GMT")
_MOST = 2**63 - 1


def epoch(value: Any) -> int | None:
    """Return the epoch milliseconds that a metadata value or a query means, None when it is no date."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if abs(value) < _MOST else None
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, *(_reader(pattern) for pattern in _FORMATS)):
        try:
            moment = read(value)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return round(aware.timestamp() * 1000)
        except (ValueError, OverflowError):
            continue
    return None


def _reader(pattern: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, pattern)
