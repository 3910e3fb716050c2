"""What a controller tells whoever watches it: the phases of a round, the events of its calls, how it ended.

A `Watcher` does nothing; metrics and traces are watchers that do. None of them is told a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.applying.events import Event
    from reconciler.planning.plan import Plan
    from reconciler.verifying.drift import DriftReport
    from reconciler.verifying.events import Report


class Result(StrEnum):
    """How a round ended.

    `blocked` is what somebody must decide or mend: a hazard, a policy, the manifests, the work tree, a signature.
    `failed` may pass by itself: the remote, the state, what the remote rejected.
    """

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    FAILED = "failed"
    STANDBY = "standby"
    SUSPENDED = "suspended"
    STOPPED = "stopped"


GOOD = frozenset({Result.APPLIED, Result.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a round: whether we lead, how many rounds failed in a row, and the commit, empty if none is known."""

    result: Result
    leads: bool
    failures: int
    commit: str = ""


class Watcher:
    """Whoever is told; each method may be overridden."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Give a `with` block for a phase: `reconcile`, and in it `pull`, `drift`, `plan`, `apply`, `verify`."""
        del name
        return nullcontext()

    def planned(self, plan: Plan) -> None:
        """Take the plan of a round."""

    def event(self, event: Event) -> None:
        """Take an event of a run."""

    def drifted(self, report: DriftReport) -> None:
        """Take what a comparison with the remote found."""

    def verified(self, report: Report | None) -> None:
        """Take what a verification found, None when there was nothing to look at."""

    def ended(self, ended: Ended) -> None:
        """Take the end of a round."""

    def close(self) -> None:
        """Hand on what is not yet."""


class Watchers(Watcher):
    """Several as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._all = tuple(watchers)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with ExitStack() as stack:
            for watcher in self._all:
                stack.enter_context(watcher.phase(name))
            yield

    def planned(self, plan: Plan) -> None:
        for watcher in self._all:
            watcher.planned(plan)

    def event(self, event: Event) -> None:
        for watcher in self._all:
            watcher.event(event)

    def drifted(self, report: DriftReport) -> None:
        for watcher in self._all:
            watcher.drifted(report)

    def verified(self, report: Report | None) -> None:
        for watcher in self._all:
            watcher.verified(report)

    def ended(self, ended: Ended) -> None:
        for watcher in self._all:
            watcher.ended(ended)

    def close(self) -> None:
        for watcher in self._all:
            watcher.close()
