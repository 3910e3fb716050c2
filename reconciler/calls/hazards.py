"""What is risky about the order of calls, so that it must be allowed by its name."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.calls.call import Order, Transient
from reconciler.planning.plan import Hazard

TRANSIENT_EXPOSURE = "transient-exposure"


def transient_hazards(order: Order, *, allow: Collection[str] = ()) -> tuple[Hazard, ...]:
    """Return a hazard for each source of which items are seen for a time by whom they were not meant for."""
    by_source: dict[str, list[Transient]] = {}
    for transient in order.transients:
        by_source.setdefault(transient.source, []).append(transient)
    found = []
    for source, transients in sorted(by_source.items()):
        subject = f"item/{source}"
        worst = max(transients, key=lambda each: (each.public, each.items * each.people))
        items = max(each.items for each in transients)
        found.append(
            Hazard(
                TRANSIENT_EXPOSURE,
                f'{_who(worst)} would see {worst.items:,} of the items in "{source}" {_when(worst)}, '
                "and neither before the run nor after it",
                "no order of these calls avoids it; a run that stops in between leaves it so.",
                "set guardrails.transientExposure: tighten, which hides what is concerned for as long; divide the "
                f"change; or add --allow {TRANSIENT_EXPOSURE}:{subject}.",
                subject=subject,
                count=items,
                addresses=worst.examples,
                allowed=TRANSIENT_EXPOSURE in allow or f"{TRANSIENT_EXPOSURE}:{subject}" in allow,
            )
        )
    return tuple(found)


def _who(transient: Transient) -> str:
    if transient.public:
        return "everybody, also who did not log in,"
    return f"{transient.people:,} {'user' if transient.people == 1 else 'users'}" if transient.people else "somebody"


def _when(transient: Transient) -> str:
    since = f"after call {transient.since}" if transient.since else "at once"
    return f"from {since} until call {transient.until}".replace("from at once", "from the start")
