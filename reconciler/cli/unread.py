"""What a plan would take away without anybody having seen it: bodies of items that were imported from a remote.

The remote shows no bodies, and an update replaces the whole item (push-api.md 2.1). Such items are known by the run
that recorded them, until one of our own calls has pushed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.model.address import Address, Kind
from reconciler.planning.change import Action, Change
from reconciler.planning.hazards import EXAMPLES
from reconciler.planning.plan import Hazard, Plan
from reconciler.planning.wish import Wish
from reconciler.state.store import StateReader

IMPORTED = "import-"
"""What the ids of runs begin with that recorded what a remote shows."""

UNREAD = "unread-body"


def with_unread(plan: Plan, store: StateReader, wish: Wish) -> Plan:
    """Return the plan with a hazard where updates would replace items of unknown content by items without any."""
    bodiless = {at: change.address for change in plan.changes if (at := _content_at(change)) is not None}
    if not bodiless:
        return plan
    imported = [bodiless[row.address] for row in store.rows(bodiless) if row.run.startswith(IMPORTED)]
    return replace(plan, hazards=(*plan.hazards, *_hazards(imported, wish)))


def _content_at(change: Change) -> Address | None:
    """Return the address of the content that a change replaces by none: the item's own, or that which it had."""
    at = change.address if change.action is Action.UPDATE else change.moved_from
    after = change.after
    if at is None or at.kind is not Kind.ITEM or after is None:
        return None
    return None if b'"body"' in after.doc and "body" in after.own() else at


def _hazards(imported: Iterable[str], wish: Wish) -> Iterable[Hazard]:
    addresses = tuple(imported)
    if not addresses:
        return ()
    return (
        Hazard(
            UNREAD,
            f"{len(addresses):,} imported items would be replaced by items without a body",
            "an update replaces the whole item, and the remote does not show what its content is: it would be lost, "
            "and with it all metadata that no field took.",
            f"give the items a body; if it is meant, add --allow {UNREAD}.",
            count=len(addresses),
            addresses=addresses[:EXAMPLES],
            allowed=UNREAD in wish.allowed,
        ),
    )
