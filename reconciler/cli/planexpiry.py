"""What a plan says of grants that end, and what may no longer be applied because one has ended since."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.address import Address, Kind
from reconciler.model.identity import aliased_identity
from reconciler.model.instant import DAY, instant_text, parse_instant, short_instant
from reconciler.model.states import Resource
from reconciler.planning.expiring import given_by, lapsed_of, shown_entry, still_live
from reconciler.planning.inverse import given_back, without
from reconciler.planning.plan import Expiring, Plan
from reconciler.problems import Problem, Severity, StateError

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.manifest.record import Ending
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
    return replace(
        plan,
        as_of=instant_text(as_of),
        holds_until=instant_text(min(coming)) if coming else "",
        expiring=_expiring(loaded, told),
    )


def without_ended(
    loaded: Loaded | None, after: Mapping[Address, Resource | None], now: Mapping[str, Resource]
) -> tuple[Mapping[Address, Resource | None], tuple[Problem, ...]]:
    """Return what is to be of the addresses that an undoing changes, without what has ended, and what tells of that.

    `now` is what is recorded of them. Nothing is known to have ended where the manifests could not be read.
    """
    endings = [] if loaded is None else [(f, end) for f, end in loaded.endings() if end.grant.expires <= loaded.as_of]
    if loaded is None or not endings:
        return after, ()
    desired = loaded.resources(address for address in after if address in loaded.desired.fingerprints)
    dropped: dict[Address, set[str]] = {}
    told = set()
    for address, grant, entries in given_back(after, now, [ending.grant for _, ending in endings]):
        # Who has it for longer by another grant keeps it.
        if over := entries.difference(given_by(desired.get(address))):
            dropped.setdefault(address, set()).update(over)
            told.add(grant)
    left = dict(after)
    for address, gone in dropped.items():
        resource = after[address]
        left[address] = None if resource is None else without(resource, gone)
    members = lapsed_of((ending.grant for _, ending in endings), loaded.as_of).members
    for address in after:
        # An alias that was made for each member went with the member.
        made = address.kind is Kind.ALIAS and address not in now and address not in desired
        if made and aliased_identity(address) in members:
            left[address] = None
    found = _expiring(loaded, [(file, ending) for file, ending in endings if ending.grant in told])
    return left, tuple(_ended(entry) for entry in found)


def with_ends_given_back(plan: Plan, loaded: Loaded | None, *, within: int) -> Plan:
    """Return a plan that undoes something with the instant it is of and the ends to come of what it gives back.

    Those within so many days are told.
    """
    endings = [] if loaded is None else [(f, end) for f, end in loaded.endings() if end.grant.expires > loaded.as_of]
    if loaded is None or not endings:
        return plan
    after = {change.address: change.after for change in plan.changes}
    before = {str(change.address): change.before for change in plan.changes if change.before is not None}
    given = {grant for _, grant, _ in given_back(after, before, [ending.grant for _, ending in endings])}
    if not given:
        return plan
    return replace(
        plan,
        as_of=instant_text(loaded.as_of),
        holds_until=instant_text(min(grant.expires for grant in given)),
        expiring=_expiring(
            loaded,
            [
                (file, ending)
                for file, ending in endings
                if ending.grant in given and ending.grant.expires <= loaded.as_of + within * DAY
            ],
        ),
    )


def _expiring(loaded: Loaded, told: Sequence[tuple[str, Ending]]) -> tuple[Expiring, ...]:
    expiring = {
        Expiring(
            grant.address,
            grant.entry,
            instant_text(grant.expires),
            file,
            line,
            "lapses" if grant.expires > loaded.as_of else "lapsed-live",
        )
        for (file, ending), line in zip(told, loaded.lines_of(told), strict=True)
        for grant in (ending.grant,)
    }
    return tuple(sorted(expiring, key=lambda entry: (entry.expires, entry.address, entry.entry, entry.line)))


def _ended(entry: Expiring) -> Problem:
    return Problem(
        "ended-since",
        f"{shown_entry(entry)} ended {short_instant(entry.expires)} ({entry.file}:{entry.line}) and does not come back",
        why="what has ended is over, also where it is undone that it was taken away.",
        fix="if it is to go on, write a later end in the manifests, and apply them.",
        severity=Severity.WARNING,
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
            fix=remake(plan),
        )
    )


def remake(plan: Plan) -> str:
    """Return the advice to make a plan anew that is used up: one that undoes something is of `rollback`."""
    words = ["rollback", *plan.rollback] if plan.rollback else ["plan"]
    return "make and review a new plan:\n    " + shlex.join(["reconciler", *words, "--out", "plan.json"])
