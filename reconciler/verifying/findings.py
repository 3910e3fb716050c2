"""What a verification says of one resource, and how a person is told.

Pure: values and texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.model.address import Address
from reconciler.problems import Problem
from reconciler.verifying.seen import Who


class Status(StrEnum):
    """What became of a resource; only the first is good, and only the first two are final.

    Missing and different are wrong as far as anybody can tell. What is waiting is an identity that was accepted and
    is not effective yet: its provider's security cache was not refreshed since (push-api.md 5.1). So is an item for
    want of nothing but such identities.
    """

    VERIFIED = "verified"
    REJECTED = "rejected"
    MISSING = "missing"
    DIFFERENT = "different"
    WAITING = "waiting"
    UNRESOLVED = "unresolved"


FINAL = (Status.VERIFIED, Status.REJECTED)


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource's verdict.

    `code` and `what` are empty when it is verified. `arrived` says whether the remote shows the very
    push that is recorded: None when nothing tells it from an older one. `ordering_id` is that push's,
    and `sent` the time in epoch milliseconds that it was not sent before. `deletion` says that the
    push took the resource away. `unresolved` are the identities that stand in an item's way.
    """

    address: Address
    status: Status
    ordering_id: int
    code: str = ""
    what: str = ""
    arrived: bool | None = None
    sent: int = 0
    deletion: bool = False
    unresolved: tuple[Who, ...] = ()

    @property
    def final(self) -> bool:
        """Whether waiting cannot change it."""
        return self.status in FINAL


RESEND = "to be sent again, as asked for: "
"""How the state's detail begins where it was the user, not the remote, who made a row pending again."""
DRIFT_MARK = f"{RESEND}drifted: "
"""How it begins where `drift` saw that the remote is not as recorded."""


def rejected(finding: Finding, reason: str) -> Finding:
    """Return the finding of a push that was accepted and then refused."""
    return replace(finding, status=Status.REJECTED, code="rejected", what=reason, arrived=False)


_AGAIN = "to have it sent again:\n    reconciler verify --resend\n    reconciler apply"
_WAIT = "wait longer:\n    reconciler verify --timeout 600\nif it stays so, have it sent again:"
_RESEND = "\n    reconciler verify --resend\n    reconciler apply"

_NOT_YET = (
    "it was accepted and takes effect at the provider's refresh, often once a day; until then the access of before "
    "holds, and those who lose sight keep it."
)
_REFRESH = "have it refreshed now:\n    reconciler apply --refresh-identities\nor wait for the provider's own refresh."

# code -> (why, fix)
_ADVICE: dict[str, tuple[str, str]] = {
    "not-indexed": (
        "the call was accepted, which is no promise; as a rule an item can be found after 2 to 5 minutes. "
        "No log entry says that it was rejected.",
        _WAIT + _RESEND,
    ),
    "outdated": (
        "people still find the older content, under the older permissions. No log entry says that the new one "
        "was rejected. A clock of this machine that is ahead would look the same.",
        _WAIT + _RESEND,
    ),
    "not-in-cache": (
        "the security cache takes identities over when it is refreshed, often once a day; until then nobody "
        "gains or loses sight of an item by it. Why an identity was refused cannot be read.",
        _WAIT + _RESEND,
    ),
    "not-refreshed": (_NOT_YET, _REFRESH),
    "identities-not-refreshed": (
        "the item is as it was pushed; until the provider's refresh nobody sees it by these identities.",
        _REFRESH,
    ),
    "rejected": (
        "the remote accepts first and checks later; its log says that it dropped this. The next plan sends it again.",
        "correct the cause, then:\n    reconciler apply",
    ),
    "fields-differ": ("another writer, or a mapping of the source, changed it after we pushed it.", _AGAIN),
    "permissions-differ": ("other people may see the item than the manifests say.", _AGAIN),
    "members-differ": ("other people have the group's rights than the manifests say.", _AGAIN),
    "well-knowns-differ": ("the identity has other groups' rights than the manifests say.", _AGAIN),
    "mappings-differ": ("people may not be recognized, or be taken for somebody else.", _AGAIN),
    "identity-disabled": ("a disabled identity grants nothing: whoever it lets see items does not see them.", _AGAIN),
    "identities-unresolved": (
        "an allowed identity that is not resolved lets nobody in; a denied one may keep nobody out, or hide the item.",
        "declare the identity, or wait until the security cache is refreshed:\n    reconciler verify --timeout 600",
    ),
    "identity-unhealthy": (
        "the last refresh of the identity failed, so it may speak of people as they were before.",
        "look at its provider in the administration console, then:\n    reconciler verify",
    ),
}
_STILL_THERE = {
    Status.WAITING: (_NOT_YET, _REFRESH),
    Status.DIFFERENT: (
        "it was deleted and is still served; the state does not know it any more.",
        "wait longer:\n    reconciler verify --timeout 600\nif it stays so, declare it again, apply, remove it "
        "and apply once more",
    ),
    Status.REJECTED: (
        "the remote accepted the deletion and dropped it later, as its log says; the state does not know the "
        "resource any more.",
        "declare it again, apply, remove it and apply once more",
    ),
}


def problem_of(finding: Finding) -> Problem:
    """Return what a person is told of a finding that is not good."""
    why, fix = _STILL_THERE[finding.status] if finding.deletion else _ADVICE[finding.code]
    return Problem(finding.code, finding.what, why=why, fix=fix, where=finding.address)


def listed(names: Iterable[object], most: int = 4) -> str:
    """Return names in order, the first few of many."""
    shown = sorted(map(str, names))
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
