"""What a plan says of grants that end, and what may no longer be applied because one has ended since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.instant import DAY, instant_text, parse_instant, short_instant
from reconciler.planning.expiring import shown_entry, still_live
from reconciler.planning.plan import Expiring, Plan
from reconciler.problems import Problem, StateError

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.planning.make import Side

_NAMED = 3  # grants that a refusal names


def with_expiring(plan: Plan, loaded: Loaded, desired: Side, recorded: Side, *, within: int) -> Plan:
    """Return the plan with the grants that are over and still live, and those that end within so many days.

    A plan of manifests in which nothing ends is returned as it is.
    """
    endings = loaded.endings()
    if not endings:
        return plan
    as_of = loaded.as_of
    over = [ending.grant for _, ending in endings if ending.grant.expires <= as_of]
    live = still_live(over, desired, recorded, loaded.desired.models) if over else frozenset()
    coming = [ending.grant.expires for _, ending in endings if ending.grant.expires > as_of]
    told = [
        (file, ending)
        for file, ending in endings
        if ending.grant in live or as_of < ending.grant.expires <= as_of + within * DAY
    ]
    expiring = {
        Expiring(
            grant.address,
            grant.entry,
            instant_text(grant.expires),
            file,
            line,
            "lapses" if grant.expires > as_of else "lapsed-live",
        )
        for (file, ending), line in zip(told, loaded.lines_of(told), strict=True)
        for grant in (ending.grant,)
    }
    return replace(
        plan,
        as_of=instant_text(as_of),
        holds_until=instant_text(min(coming)) if coming else "",
        expiring=tuple(sorted(expiring, key=lambda entry: (entry.expires, entry.address, entry.entry, entry.line))),
    )


def refuse_lapsed(plan: Plan, now: float) -> None:
    """Refuse a plan in which a grant has ended between the instant that it was made for and now. Raises StateError."""
    if not plan.holds_until or now < parse_instant(plan.holds_until):
        return
    gone = [entry for entry in plan.expiring if entry.state == "lapses" and parse_instant(entry.expires) <= now]
    named = "; ".join(
        f"{shown_entry(entry)} ({entry.file}:{entry.line}), until {short_instant(entry.expires)}"
        for entry in gone[:_NAMED]
    )
    more = f"; and {len(gone) - _NAMED:,} more" if len(gone) > _NAMED else ""
    what = f": {named}{more}" if gone else f", the first at {short_instant(plan.holds_until)}"
    raise StateError(
        Problem(
            "grant-lapsed",
            f"grants have ended since {short_instant(plan.as_of)}, as of which the plan was made{what}",
            why="it would give, or leave, what is over by now.",
            fix="make and review a new plan:\n    reconciler plan --out plan.json",
        )
    )
