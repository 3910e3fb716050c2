"""Whether an identity that is not as it was pushed is wrong, or waits for its provider's refresh; items with it.

Pure. The remote keeps accepted identities apart until the security cache is refreshed (push-api.md 5.1), and dates
what the cache shows (2.6). What was last updated there before the push says nothing of the push. Where no date
tells, nothing is excused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from reconciler.verifying.compare import is_before, moment
from reconciler.verifying.findings import Finding, Status, listed
from reconciler.verifying.seen import NOT_UPDATED, SeenIdentity, Who

_UNSETTLED = (Status.MISSING, Status.DIFFERENT)


@dataclass(slots=True)
class SeenCache:
    """What was read of a provider's security cache: the wanted identities, and how old it is.

    `newest` is the date of the last update of any identity, in epoch milliseconds, None where none has a date.
    `resolved` says whether any identity is known by more than its name.
    """

    identities: dict[Who, SeenIdentity] = field(default_factory=dict)
    newest: int | None = None
    resolved: bool = False

    def add(self, seen: SeenIdentity) -> None:
        """Take note of an identity that is listed."""
        self.resolved = self.resolved or seen.state != NOT_UPDATED
        if seen.updated is not None:
            self.newest = max(seen.updated, self.newest or 0)


def in_time(finding: Finding, sent: int, seen: SeenIdentity | None, cache: SeenCache) -> Finding:
    """Return the finding of an identity pushed at `sent`, as one that waits if the cache is older than the push.

    An identity that the cache does not know may have been added by no refresh since the newest that shows: the first
    query of a new user refreshes that user alone (push-api.md 5.1), so a newer date elsewhere excuses nothing here.
    """
    if finding.status not in _UNSETTLED:
        return finding
    known = seen is not None and seen.state != NOT_UPDATED
    refreshed = seen.updated if seen is not None and known else cache.newest
    if refreshed is None and (known or cache.resolved):
        return finding
    if refreshed is not None and not is_before(refreshed, sent):
        return finding
    when = f"was last refreshed at {moment(refreshed)}" if refreshed is not None else "was never refreshed"
    what = f"{finding.what}: pushed at {moment(sent)}, and the cache {when}"
    return replace(finding, status=Status.WAITING, code="not-refreshed", what=what)


def with_identities(finding: Finding, waiting: Collection[Who]) -> Finding:
    """Return the finding of an item, as one that waits if nothing but these waiting identities stands in its way."""
    if finding.status is not Status.UNRESOLVED or not finding.unresolved:
        return finding
    if not all(who in waiting for who in finding.unresolved):
        return finding
    what = f"its permissions arrived, and wait for the refresh that resolves {listed(finding.unresolved)}"
    return replace(finding, status=Status.WAITING, code="identities-not-refreshed", what=what)
