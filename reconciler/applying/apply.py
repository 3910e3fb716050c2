"""Runs a plan's calls: intent, call, outcome, one after the other, and says what happens as events.

Each accepted call is recorded, with the resources that it settles, before the next one starts; so
whatever stops a run, the state says exactly what was accepted. It prints nothing and asks nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    RunFinished,
    RunStarted,
    StageStarted,
)
from reconciler.calls.call import Call, Stage
from reconciler.calls.compile import payload_resources
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource, StateBase
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import Plan
from reconciler.problems import Interrupted, Problem, ReconcilerError, StateError
from reconciler.state.journal import Effect, Intent, Outcome, RunInfo
from reconciler.state.store import StateReader, Writer


class Sent(Protocol):
    """What is known of an accepted call."""

    @property
    def status(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...


class Sender(Protocol):
    """Sends one call; raises RemoteError, whose `outcome` says whether it may have been accepted."""

    def __call__(
        self,
        call: Call,
        *,
        ordering_id: int,
        resources: Sequence[Resource | None],
        where: str,
        retried: Callable[[int, float, str], None],
    ) -> Sent: ...


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, as two functions: ISO-8601 text and epoch milliseconds, and a way to wait."""

    now: Callable[[], str]
    milliseconds: Callable[[], int]
    seconds: Callable[[], float]
    wait: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Run:
    """All that one apply needs to know.

    `above` is the highest ordering id that is recorded of what will be sent: a clock that is behind
    must not give a lower one, which the remote would accept and then drop (push-api.md 5.4).
    """

    info: RunInfo
    plan: Plan
    stages: tuple[Stage, ...]
    state_only: tuple[Address, ...]
    new_lineage: Callable[[], str]
    above: int = 0


def check_base(plan: Plan, store: StateReader) -> None:
    """Refuse a plan that was made from another state than the one at hand. Raises StateError."""
    base = store.base()
    if base.lineage != plan.base.lineage and plan.base != StateBase("", 0):
        raise StateError(
            Problem(
                "foreign-plan",
                "the plan was made from another state (its lineage differs)",
                why="its changes were worked out against resources that this state never recorded.",
                fix="make and review a new plan:\n    reconciler plan --out plan.json",
                where=store.where,
            )
        )
    if base != plan.base:
        raise StateError(
            Problem(
                "stale-plan",
                f"the plan was made from serial {plan.base.serial}",
                why="something was applied in between; running these calls could undo it.",
                fix="make and review a new plan:\n    reconciler plan --out plan.json",
                where=store.where,
            )
        )


def run_calls(run: Run, *, writer: Writer, send: Sender, clock: Clock, stop: Callable[[], bool]) -> Iterator[Event]:
    """Run every call in order and yield what happens; stop at the first one that is not accepted.

    `stop` is asked before each call: a call in flight is always finished and recorded. The caller
    holds the lock and has checked the plan against the state.
    """
    calls = [call for stage in run.stages for call in stage.calls]
    tally = _Tally(len(calls), clock.seconds())
    yield RunStarted(run.info.id, len(calls), len(run.plan.changes))
    writer.begin_run(run.info, run.plan.target, run.new_lineage)
    with _ended(writer, clock, tally):
        changes = {change.address: change for change in run.plan.changes}
        payloads = payload_resources(run.plan.changes)
        writer.record_state_only(_effect_of(run.state_only, changes), at=clock.now())
        last = run.above
        for stage in run.stages:
            yield StageStarted(stage.name, len(stage.calls))
            for call in stage.calls:
                if stop():
                    tally.result = "interrupted"
                    yield tally.finished(clock)
                    return
                last = _next_ordering_id(last, clock)
                yield CallStarted(call)
                failed = yield from _run_call(call, last, len(calls), changes, payloads, writer, send, clock, tally)
                if failed:
                    yield tally.finished(clock)
                    return
        tally.result = "done"
        yield tally.finished(clock)


@dataclass(slots=True)
class _Tally:
    total: int
    began: float
    done: int = 0
    failed: int = 0
    unknown: int = 0
    result: str = "failed"

    def finished(self, clock: Clock) -> RunFinished:
        rest = self.total - self.done - self.failed - self.unknown
        return RunFinished(self.done, self.failed, self.unknown, rest, clock.seconds() - self.began)


@contextmanager
def _ended(writer: Writer, clock: Clock, tally: _Tally) -> Iterator[None]:
    """Record the end of the run when the block ends, however it ends."""
    try:
        yield
    except BaseException:
        # What stopped the run is to be told, not that a state which just failed fails once more.
        with suppress(StateError):
            writer.end_run(at=clock.now(), result=tally.result)
        raise
    writer.end_run(at=clock.now(), result=tally.result)


def _run_call(
    call: Call,
    ordering_id: int,
    total: int,
    changes: Mapping[Address, Change],
    payloads: Mapping[Address, Resource | None],
    writer: Writer,
    send: Sender,
    clock: Clock,
    tally: _Tally,
) -> Generator[Event, None, bool]:
    """Run one call and yield its events; returns whether it failed."""
    resources = [payloads[covered.address] for covered in call.covers]
    ticket = writer.intent(_intent(call, ordering_id, resources, clock.now()))
    began = clock.seconds()
    where = f"call {call.number} of {total}, {call.method} {call.path}"
    retries: list[CallRetried] = []

    def retried(attempt: int, wait: float, reason: str) -> None:
        retries.append(CallRetried(call, attempt, wait, reason))

    try:
        sent = send(call, ordering_id=ordering_id, resources=resources, where=where, retried=retried)
    except ReconcilerError as error:
        # Only a remote can leave us in doubt, and who stops it between two attempts; a body that is
        # not what the plan says was never sent.
        in_doubt = Outcome.UNKNOWN if isinstance(error, Interrupted) else Outcome.REFUSED
        outcome = Outcome(getattr(error, "outcome", in_doubt))
        yield from retries
        writer.settle(ticket, outcome, at=clock.now(), detail=str(error))
        if outcome is Outcome.REFUSED:
            tally.failed += 1
        else:
            tally.unknown += 1
        yield CallFailed(call, error.problems[0], "refused" if outcome is Outcome.REFUSED else "unknown")
        return True
    except BaseException:
        # Cut off in mid-air: nobody knows whether it arrived, so that is what is written down.
        writer.settle(ticket, Outcome.UNKNOWN, at=clock.now(), detail="the run was cut off")
        raise
    yield from retries
    addresses = tuple(covered.address for covered in call.covers)
    writer.settle(ticket, Outcome.ACCEPTED, at=clock.now(), effect=_effect_of(addresses, changes))
    tally.done += 1
    yield CallAccepted(call, sent.status, clock.seconds() - began, sent.bytes_sent)
    return False


def _effect_of(addresses: Sequence[Address], changes: Mapping[Address, Change]) -> Effect:
    upserts = []
    deletes = []
    for address in addresses:
        change = changes[address]
        if change.action is Action.DELETE or change.after is None:
            deletes.append(address)
        else:
            upserts.append(change.after)
    return Effect(tuple(upserts), tuple(deletes))


def _intent(call: Call, ordering_id: int, resources: Sequence[Resource | None], at: str) -> Intent:
    digest = hashlib.sha256(canonical_json([call.method, call.path, call.query, ordering_id]))
    for resource in resources:
        digest.update(resource.fingerprint if resource else b"-")
    covers = tuple((covered.address, covered.verb.value) for covered in call.covers)
    return Intent(call.number, call.kind.value, digest.hexdigest(), ordering_id, at, covers)


def _next_ordering_id(last: int, clock: Clock) -> int:
    """Return a number above `last`: the time in milliseconds, unless our clock is behind `last` (push-api.md 5.4)."""
    now = clock.milliseconds()
    while now <= last < now + 5:
        clock.wait(0.001)
        now = clock.milliseconds()
    return max(now, last + 1)
