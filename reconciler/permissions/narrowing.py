"""Which edits take sight of something away from somebody, so that they can be made before all others.

Knows nothing of calls; what an exposure says is all that it looks at.
"""

from __future__ import annotations

from reconciler.permissions.exposure import Exposure, Kind


def narrowing(exposure: Exposure) -> frozenset[str]:
    """Return the addresses of the edits by which somebody loses sight of something, or might.

    Whoever sees an item only by the pattern of a domain may be known to nobody, so an item counts whose model
    changes and lets nobody in who was not. An edit that takes from one and gives to another counts as well.
    """
    found: set[str] = set()
    unsure = False
    for shift in exposure.shifts:
        closed = shift.was_public and not shift.is_public
        if shift.kind in (Kind.EDITED, Kind.DELETED) and (shift.lost or closed or not shift.widens):
            found.update(shift.addresses)
        if shift.lost:
            causes = exposure.causes(shift)
            found.update(part.address for part in causes.parts if part.lost)
            unsure = unsure or causes.more > 0
        else:
            unsure = unsure or closed
    if unsure:
        # Not all causes are named, and nobody known stands for those who did not log in.
        found.update(address for address, said in exposure.relations.items() if said.gone)
    return frozenset(found)
