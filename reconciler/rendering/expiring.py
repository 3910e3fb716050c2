"""The grants of a plan that end, as lines and as JSON values: what is over and still live, and what ends soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.model.instant import short_instant
from reconciler.planning.expiring import shown_entry
from reconciler.planning.plan import Expiring, Plan
from reconciler.rendering.values import count

_TITLES = {
    "lapsed-live": ("is over and still live", "are over and still live"),
    "lapses": ("ends soon", "end soon"),
}


def expiring_lines(plan: Plan, *, entries: int | None) -> Iterator[str]:
    """Yield what is told of grants that end, indented by level, of each kind the first `entries` (None: all).

    Nothing is told where none is over and live, or ends soon.
    """
    for state, (one, many) in _TITLES.items():
        found = [entry for entry in plan.expiring if entry.state == state]
        if not found:
            continue
        until = f" as of {short_instant(plan.as_of)}"
        shown = found if entries is None else found[:entries]
        yield f"{count(len(found), 'grant')} {one if len(found) == 1 else many}{until}{':' if shown else '.'}"
        yield from (
            f"  {shown_entry(entry)}, until {short_instant(entry.expires)} ({entry.file}:{entry.line})"
            for entry in shown
        )
        if len(found) > len(shown) > 0:
            yield f"  and {len(found) - len(shown):,} more"


def expiring_document(entry: Expiring) -> dict[str, Any]:
    """Return one of them as JSON values."""
    return {
        "address": entry.address,
        "entry": entry.entry,
        "expires": entry.expires,
        "file": entry.file,
        "line": entry.line,
        "state": entry.state,
    }
