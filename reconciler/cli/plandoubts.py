"""Adds to a plan which earlier calls have an unknown outcome, and what the plan does about each.

It reads the journal, never the remote, and prints nothing.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.planning.change import Action
from reconciler.planning.plan import Doubt, Plan
from reconciler.state.store import StateReader


def with_doubts(plan: Plan, store: StateReader) -> Plan:
    """Return the plan with the calls whose outcome is unknown, oldest first; of each the resources still in doubt."""
    entries = store.unsettled()
    if not entries:
        return plan
    runs = {record.run.id: record for record in store.runs()}
    actions = {change.address: change.action for change in plan.changes}
    doubts = []
    for entry in entries:
        record = runs.get(entry.run)
        addresses = tuple(sorted(address for address, _ in entry.intent.covers))
        found = [actions.get(address) for address in addresses]
        deleted = found.count(Action.DELETE)
        doubts.append(
            Doubt(
                run=entry.run,
                call=entry.intent.call,
                at=entry.intent.at,
                answered=entry.outcome is not None,
                ended=record is not None and bool(record.ended_at),
                detail=entry.detail,
                addresses=addresses,
                sent=len(found) - deleted - found.count(None),
                deleted=deleted,
            )
        )
    return replace(plan, doubts=tuple(doubts))
