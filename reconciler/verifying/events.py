"""What a verification tells while it goes on, and what it has found in the end: values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.model.address import Kind
from reconciler.problems import RemoteError
from reconciler.state.rows import Verification
from reconciler.verifying.findings import Finding, Status


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and a way to wait."""

    now: Callable[[], datetime]
    seconds: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Started:
    """A verification of so many resources begins."""

    total: int


@dataclass(frozen=True, slots=True)
class Looked:
    """So many of the resources have their final finding; every page of rows ends with one of these."""

    settled: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many resources have not arrived; they are looked at again after some seconds, of those that are `left`."""

    pending: int
    seconds: float
    left: float


@dataclass(frozen=True, slots=True)
class Vanishing:
    """A metadata key that no field and no mapping of its source takes: so many items say it to nobody."""

    source: str
    key: str
    items: int
    example: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What became of the metadata of the items that were looked at.

    `vanishing` is sorted by source and key. `visible` counts the values that the index shows, compared
    where their field is known; `invisible` all others.
    """

    vanishing: tuple[Vanishing, ...]
    visible: int
    invisible: int


@dataclass(frozen=True, slots=True)
class ProviderSeen:
    """What a provider's security cache has taken of the identities, aliases and deletions that were looked at.

    `waiting` are accepted and wait for its refresh, `wrong` are the rest of those that are not `effective`. The newest
    push and the newest update that the cache shows are in epoch milliseconds, None where none is known.
    """

    provider: str
    checked: int
    effective: int
    waiting: int
    wrong: int
    pushed: int | None
    refreshed: int | None


class Stopped(StrEnum):
    """Why a verification ended before everything was final: the time was over, it was told to, or the remote failed."""

    DEADLINE = "deadline"
    INTERRUPTED = "interrupted"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `problems` are the findings that are not good, sorted by address.

    `checked` and `verified` count resources by kind. `verifications` are what the state does not
    know yet. `notes` say what kept us from knowing more. `metadata` is None where nobody asked for it. `providers`
    are those of which identities were looked at, by their names in the project. `unlooked` is how many resources
    nobody came to look at, as it was `stopped`; `failure` is what the remote failed with then.
    """

    checked: Counter[Kind]
    verified: Counter[Kind]
    problems: tuple[Finding, ...]
    verifications: tuple[Verification, ...]
    notes: tuple[str, ...]
    seconds: float
    metadata: Metadata | None = None
    providers: tuple[ProviderSeen, ...] = ()
    stopped: Stopped | None = None
    unlooked: int = 0
    failure: RemoteError | None = None

    def count(self, status: Status) -> int:
        """Return how many resources have this status."""
        if status is Status.VERIFIED:
            return sum(self.verified.values())
        return sum(finding.status is status for finding in self.problems)

    @property
    def total(self) -> int:
        """How many resources were looked at."""
        return sum(self.checked.values())

    @property
    def good(self) -> bool:
        """Whether everything was looked at and is as it should be."""
        return not self.problems and not self.unlooked


Event = Started | Looked | Waiting | Report
