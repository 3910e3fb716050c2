"""Runs a plan's calls: intent, call, outcome, several at once where order permits, and yields what happens as events.

Threads only send. Everything else is decided, written down and told by the one thread that asks for
events: what starts next, its ordering id, its intent, its outcome. So whatever stops a run, the state
says exactly what was accepted, and with one call at a time a run is the same each time. It prints
nothing and asks nobody.
"""

from __future__ import annotations

import hashlib
import queue
import shlex
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    Noted,
    Paused,
    RunFinished,
    RunStarted,
    StageStarted,
    StatusTold,
    Stopping,
)
from reconciler.applying.failing import hits_everyone, outcome_of
from reconciler.applying.ordering import OrderingIds
from reconciler.applying.patience import FOR_CALLS, GLANCE, Patience, too_slow
from reconciler.applying.refreshing import Refresher, Refreshing
from reconciler.applying.schedule import Schedule
from reconciler.calls.call import OLDER_THAN, REMOVALS, STREAMS, Call, Covered, SourceStatus, Stage, Verb
from reconciler.calls.compile import payload_resources
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource, StateBase
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import Plan
from reconciler.problems import Interrupted, Problem, ReconcilerError, StateError
from reconciler.state.journal import Effect, Intent, Outcome, RunInfo
from reconciler.state.store import StateReader, Writer

IDLE = "IDLE"
LARGEST_ORDERING_ID = 2**63 - 1  # of an int64 (push-api.md 2.1)


class Sent(Protocol):
    """What is known of an accepted call. `ordering_id` is the one that the remote chose, if it did.

    `request_ids` are what the remote calls the requests of all attempts, as far as it says so.
    """

    @property
    def status(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...
    @property
    def ordering_id(self) -> int | None: ...
    @property
    def request_ids(self) -> tuple[str, ...]: ...


class Sender(Protocol):
    """Sends one call; raises RemoteError, whose `outcome` says whether it may have been accepted.

    Called from several threads. `ordering_id` means nothing to the kinds in `STREAMS`, for which the
    remote chooses one.
    """

    def __call__(
        self,
        call: Call,
        *,
        ordering_id: int,
        resources: Sequence[Resource | None],
        where: str,
        retried: Callable[[int, float, str], None],
    ) -> Sent: ...


class Teller(Protocol):
    """Tells the remote what a source is doing, in few attempts, and returns the remote's time.

    The time is in epoch milliseconds, None when the answer says nothing of it. Raises ReconcilerError.
    """

    def __call__(self, source: SourceStatus, status: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, as functions: ISO-8601 text, epoch milliseconds, seconds that only grow, and a way to wait."""

    now: Callable[[], str]
    milliseconds: Callable[[], int]
    seconds: Callable[[], float]
    wait: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Run:
    """All that one apply needs to know.

    `above` is the highest ordering id that was ever used for what will be sent: a clock that is behind
    must not give a lower one, which the remote would accept and then drop (push-api.md 5.4).
    `statuses` are what sources are told before the first call; `left_open` are those that an earlier
    run left active, told to be idle when this one ends. `tightened` are what calls put for the time being.
    `unrefreshed` are providers of which earlier runs changed something that nobody has seen take effect.
    """

    info: RunInfo
    plan: Plan
    stages: tuple[Stage, ...]
    state_only: tuple[Address, ...]
    new_lineage: Callable[[], str]
    above: int = 0
    statuses: tuple[SourceStatus, ...] = ()
    left_open: tuple[SourceStatus, ...] = ()
    tightened: tuple[Resource, ...] = ()
    unrefreshed: tuple[str, ...] = ()


def check_base(plan: Plan, store: StateReader) -> None:
    """Refuse a plan that was made from another state than the one at hand. Raises StateError."""
    base = store.base()
    if base.lineage != plan.base.lineage and plan.base != StateBase("", 0):
        raise StateError(
            Problem(
                "foreign-plan",
                "the plan was made from another state (its lineage differs)",
                why="its changes were worked out against resources that this state never recorded.",
                fix=_anew(plan),
                where=store.where,
            )
        )
    if base != plan.base:
        raise StateError(
            Problem(
                "stale-plan",
                f"the plan was made from serial {plan.base.serial}",
                why="something was applied in between; running these calls could undo it.",
                fix=_anew(plan),
                where=store.where,
            )
        )


def _anew(plan: Plan) -> str:
    """Say how to make a plan anew; one that undoes something is not to become one that does it again."""
    words = shlex.join(["rollback", *plan.rollback]) if plan.rollback else "plan"
    return f"make and review a new plan:\n    reconciler {words} --out plan.json"


def run_calls(
    run: Run,
    *,
    writer: Writer,
    send: Sender,
    clock: Clock,
    stop: Callable[[], bool],
    tell: Teller | None = None,
    refresh: Refresher | None = None,
    remote_time: Callable[[], int | None] | None = None,
    parallelism: int = 1,
    pauses: queue.SimpleQueue[Paused] | None = None,
    halt: Callable[[], None] = lambda: None,
) -> Generator[Event, None, None]:
    """Run the calls of every stage, at most `parallelism` at once, and yield what happens as it happens.

    A call starts once those in its `after` are accepted, a stage once all of the stage before are.
    What one call alone is refused for stops what waits for it and the rest of its scope; what every
    call would meet stops the run. `stop` is asked before each call: those in flight are finished and recorded, what
    is not answered within `patience.FOR_CALLS` seconds as unknown. KeyboardInterrupt and SystemExit leave them so
    at once. `remote_time` (epoch
    milliseconds, None when nobody can tell) is asked before something is removed by age, unless a source that
    was told its activity has said it. `refresh` is asked once for each provider whose identities may have changed,
    after the last call and however the run ends. Into `pauses` the sender may put what its threads wait for. `halt` is
    called when the lock is lost: the sender is to start no further request. The caller holds the lock and has checked
    the plan against the state.
    """
    return _Running(run, writer, send, clock, stop, tell, refresh, remote_time, parallelism, pauses, halt).events()


@dataclass(frozen=True, slots=True)
class _Flight:
    """A call that was sent and is not settled."""

    call: Call
    ticket: int
    began: float


@dataclass(frozen=True, slots=True)
class _Landed:
    """A call that came back: with an answer, or with what the sender raised."""

    flight: _Flight
    sent: Sent | None
    error: BaseException | None
    seconds: float


class _Running:
    """One run, from its beginning to its end; only `_fly` runs in other threads."""

    def __init__(
        self,
        run: Run,
        writer: Writer,
        send: Sender,
        clock: Clock,
        stop: Callable[[], bool],
        tell: Teller | None,
        refresh: Refresher | None,
        remote_time: Callable[[], int | None] | None,
        parallelism: int,
        pauses: queue.SimpleQueue[Paused] | None,
        halt: Callable[[], None],
    ) -> None:
        self._run = run
        self._writer = writer
        self._send = send
        self._clock = clock
        self._patience = Patience(stop, clock.seconds)
        self._tell = tell
        self._refreshing = Refreshing(self._patience, refresh, run.unrefreshed)
        self._remote_time = remote_time
        self._parallelism = parallelism
        self._total = sum(len(stage.calls) for stage in run.stages)
        self._began = clock.seconds()
        self._ids = OrderingIds(run.above, clock.milliseconds, clock.wait)
        self._pauses = pauses
        self._halt = halt
        self._writable = True
        self._heard: queue.SimpleQueue[_Landed | CallRetried] = queue.SimpleQueue()
        self._flights: dict[int, _Flight] = {}
        self._oldest: dict[tuple[str, ...], int] = {}
        self._done = 0
        self._failures: list[CallFailed] = []
        self._halted = False
        self._stopping_told = False
        self._told: tuple[SourceStatus, ...] = ()
        self._announced = False
        self._result = "failed"
        self._changes: Mapping[Address, Change] = {}
        self._payloads: Mapping[Address, Resource | None] = {}
        self._tightened = {resource.address: resource for resource in run.tightened}

    def events(self) -> Generator[Event, None, None]:
        """Run it all."""
        run = self._run
        schedules = [(stage, Schedule(stage)) for stage in run.stages]
        yield RunStarted(run.info.id, self._total, len(run.plan.changes))
        self._writer.begin_run(run.info, run.plan.target, run.new_lineage)
        try:
            self._changes = {change.address: change for change in run.plan.changes}
            self._payloads = payload_resources(run.plan.changes)
            effect = _effect_of([Covered(address, Verb.PUT) for address in run.state_only], self._changes, {})
            self._writer.record_state_only(effect, at=self._clock.now())
            yield from self._open_activities()
            yield from self._stages(schedules)
            yield from self._refreshing.events()
            yield from self._close_activities()
        except BaseException as error:
            at_once = isinstance(error, KeyboardInterrupt | SystemExit)
            self._break_off(at_once=at_once, quiet=at_once or _is_lost_lock(error))
            raise
        self._writer.end_run(at=self._clock.now(), result=self._result)
        yield self._finished()

    def _stages(self, schedules: Sequence[tuple[Stage, Schedule]]) -> Generator[Event, None, None]:
        for stage, schedule in schedules:
            yield StageStarted(stage.name, len(stage.calls))
            while True:
                while self._may_start(schedule):
                    yield self._start(schedule)
                if not self._flights:
                    break
                yield from self._hear(schedule)
            if not schedule.complete:
                return
        self._result = "done"

    def _may_start(self, schedule: Schedule) -> bool:
        if self._halted or len(self._flights) >= self._parallelism or not schedule.has_next():
            return False
        if self._patience.asked():
            self._halted = True
            self._result = "interrupted"
        return not self._halted

    def _start(self, schedule: Schedule) -> CallStarted | CallFailed:
        """Write down the intent of the next call and send it off."""
        call = schedule.next()
        ordering_id = self._ordering_id(call)
        where = f"call {call.number} of {self._total}, {call.method} {call.path}"
        if call.kind in OLDER_THAN:
            if self._ids.ahead is None and self._remote_time is not None:
                self._ask_time(self._remote_time)
            if problem := self._ids.too_high(call, ordering_id, where):
                return self._failed(call, schedule, problem, Outcome.REFUSED, everyone=False)
        resources = [self._payload(covered) for covered in call.covers]
        ticket = self._writer.intent(_intent(call, ordering_id, resources, self._clock.now()))
        flight = _Flight(call, ticket, self._clock.seconds())
        self._flights[call.number] = flight
        # A daemon: asked twice to stop, the process must not wait for an answer that may take minutes.
        threading.Thread(target=self._fly, args=(flight, ordering_id, resources, where), daemon=True).start()
        return CallStarted(call)

    def _payload(self, covered: Covered) -> Resource | None:
        if covered.verb is Verb.TIGHTEN:
            return self._tightened[covered.address]
        return self._payloads[covered.address]

    def _ordering_id(self, call: Call) -> int:
        """Return the number that a call carries.

        What removes whatever is older takes the lowest that this run gave to something of the same
        source or provider that is to stay, so that it spares all of the run; a new one when there is none.
        """
        place = tuple(call.path.split("/")[:4])
        if call.kind in OLDER_THAN and place in self._oldest:
            return self._oldest[place]
        chosen = self._ids.next()
        if call.kind not in STREAMS and any(covered.verb not in REMOVALS for covered in call.covers):
            self._oldest.setdefault(place, chosen)
        return chosen

    def _fly(self, flight: _Flight, ordering_id: int, resources: Sequence[Resource | None], where: str) -> None:
        """Send a call and hand over how it ended, whatever that is."""
        call = flight.call

        def retried(attempt: int, wait: float, reason: str) -> None:
            self._heard.put(CallRetried(call, attempt, wait, reason))

        sent, failure = None, None
        try:
            sent = self._send(call, ordering_id=ordering_id, resources=resources, where=where, retried=retried)
        except BaseException as error:
            failure = error
        self._heard.put(_Landed(flight, sent, failure, self._clock.seconds() - flight.began))

    def _hear(self, schedule: Schedule) -> Generator[Event, None, None]:
        """Wait until something happens to a call in flight, and tell it."""
        while self._pauses is not None and not self._pauses.empty():
            yield self._pauses.get()
        try:
            heard = self._heard.get(timeout=GLANCE)
        except queue.Empty:
            if not self._stopping_told and self._patience.asked():
                self._stopping_told = True
                yield Stopping(len(self._flights))
            if self._patience.over(FOR_CALLS):
                yield from self._leave(schedule)
            return
        yield heard if isinstance(heard, CallRetried) else self._landed(heard, schedule)

    def _leave(self, schedule: Schedule) -> Generator[Event, None, None]:
        """Give up the calls in flight, which nobody knows anything of."""
        for flight in list(self._flights.values()):
            error = Interrupted(too_slow(f"call {flight.call.number} of {self._total}"))
            yield self._landed(_Landed(flight, None, error, self._clock.seconds() - flight.began), schedule)
        if all(failure.outcome == "unknown" for failure in self._failures):
            self._result = "interrupted"

    def _landed(self, landed: _Landed, schedule: Schedule) -> CallAccepted | CallFailed:
        call, error = landed.flight.call, landed.error
        self._settle(landed)
        if landed.sent is not None:
            self._done += 1
            schedule.accepted(call)
            sent = landed.sent
            return CallAccepted(call, sent.status, landed.seconds, sent.bytes_sent, sent.request_ids)
        if not isinstance(error, ReconcilerError):
            assert error is not None
            raise error
        if isinstance(error, Interrupted) and outcome_of(error) is Outcome.REFUSED:
            return self._stopped(call, schedule, error.problems[0])
        return self._failed(call, schedule, error.problems[0], outcome_of(error), everyone=hits_everyone(error))

    def _failed(
        self, call: Call, schedule: Schedule, problem: Problem, outcome: Outcome, *, everyone: bool
    ) -> CallFailed:
        schedule.failed(call)
        self._halted = self._halted or everyone
        self._result = "failed"
        failed = CallFailed(call, problem, "refused" if outcome is Outcome.REFUSED else "unknown")
        self._failures.append(failed)
        return failed

    def _stopped(self, call: Call, schedule: Schedule, problem: Problem) -> CallFailed:
        """Leave a call that somebody stopped before the remote took it: as if it had not started."""
        schedule.failed(call)
        self._halted = True
        if not self._failures:
            self._result = "interrupted"
        return CallFailed(call, problem, "stopped")

    def _settle(self, landed: _Landed) -> None:
        """Write down how a call ended; an accepted one together with what it changes."""
        flight, sent, error = landed.flight, landed.sent, landed.error
        del self._flights[flight.call.number]
        at = self._clock.now()
        if sent is not None:
            effect = _effect_of(flight.call.covers, self._changes, self._tightened)
            chosen = sent.ordering_id if flight.call.kind in STREAMS else None
            if chosen is not None and chosen > LARGEST_ORDERING_ID:
                chosen = None
            self._refreshing.accepted(flight.call)
            self._writer.settle(flight.ticket, Outcome.ACCEPTED, at=at, effect=effect, ordering_id=chosen)
        elif isinstance(error, ReconcilerError):
            if outcome_of(error) is Outcome.UNKNOWN:
                self._refreshing.doubtful(flight.call)
            self._writer.settle(flight.ticket, outcome_of(error), at=at, detail=str(error))
        else:
            self._refreshing.doubtful(flight.call)
            # Cut off in mid-air: nobody knows whether it arrived, so that is what is written down.
            self._writer.settle(flight.ticket, Outcome.UNKNOWN, at=at, detail=_CUT_OFF)

    def _break_off(self, *, at_once: bool, quiet: bool) -> None:
        """Bring a run to its end that an exception ends: with the calls in flight, or leaving them at once.

        `quiet` is whether the remote is told nothing more: whoever has the lock now tells it.
        """
        if quiet:
            self._halt()
        while self._flights:
            try:
                heard = self._heard.get(block=not at_once)
            except queue.Empty:
                break
            if isinstance(heard, _Landed):
                self._try(partial(self._settle, heard))
                self._flights.pop(heard.flight.call.number, None)
        for flight in self._flights.values():
            at = self._clock.now()
            self._try(partial(self._writer.settle, flight.ticket, Outcome.UNKNOWN, at=at, detail=_CUT_OFF))
        if not quiet:
            for _ in self._refreshing.events():
                pass
            with suppress(StateError):
                for _ in self._close_activities():
                    pass
        with suppress(StateError):
            self._writer.end_run(at=self._clock.now(), result="interrupted" if at_once else "failed")

    def _try(self, write: Callable[[], object]) -> None:
        """Write something down of a run that breaks off, unless the state failed once more meanwhile.

        What ended the run is to be told, and each failure may take its time.
        """
        if self._writable:
            try:
                write()
            except StateError:
                self._writable = False

    # -- what sources are told ---------------------------------------------------------------------

    def _open_activities(self) -> Generator[Event, None, None]:
        """Tell the sources what begins; written down before, so that a later run can close what stays open."""
        if self._tell is None:
            return
        statuses = self._run.statuses if self._total else ()
        others = _others(self._run.left_open, statuses)
        self._told = others
        if statuses:
            self._writer.record_activities(tuple((entry.source, entry.path) for entry in (*statuses, *others)))
            self._announced = True
        for number, entry in enumerate(statuses, 1):
            if self._patience.asked():
                break
            self._told = (*statuses[:number], *others)
            yield self._tell_one(self._tell, entry, entry.status)

    def _close_activities(self) -> Generator[Event, None, None]:
        """Tell the sources that it is over, however it ended, and forget those that heard it."""
        if self._tell is None or not (self._told or self._announced):
            return
        told, self._told, self._announced = self._told, (), False
        events = [self._tell_one(self._tell, entry, IDLE) for entry in told]
        still = tuple(
            (entry.source, entry.path) for entry, event in zip(told, events, strict=True) if isinstance(event, Noted)
        )
        self._writer.record_activities(still)
        yield from events

    def _tell_one(self, tell: Teller, entry: SourceStatus, status: str) -> StatusTold | Noted:
        try:
            remote = self._patience.answer(f'the status of source "{entry.source}"', lambda: tell(entry, status))
        except ReconcilerError as error:
            return Noted(error.problems[0])
        self._compare_clocks(remote)
        return StatusTold(entry.source, status)

    def _ask_time(self, remote_time: Callable[[], int | None]) -> None:
        # Without an answer the call is not sent either: its sender is asked to stop before it begins.
        with suppress(Interrupted):
            self._compare_clocks(self._patience.answer("the question for the time", remote_time))

    def _compare_clocks(self, remote: int | None) -> None:
        if remote is not None:
            self._ids.ahead = self._clock.milliseconds() - remote

    def _finished(self) -> RunFinished:
        unknown = sum(failure.outcome == "unknown" for failure in self._failures)
        failed = len(self._failures) - unknown
        rest = self._total - self._done - failed - unknown
        seconds = self._clock.seconds() - self._began
        return RunFinished(
            self._done, failed, unknown, rest, seconds, tuple(self._failures), self._refreshing.outcome()
        )


_CUT_OFF = "the run was cut off"


def _is_lost_lock(error: BaseException) -> bool:
    return isinstance(error, StateError) and error.problems[0].code == "lock-lost"


def _others(entries: Sequence[SourceStatus], known: Sequence[SourceStatus]) -> tuple[SourceStatus, ...]:
    paths = {entry.path for entry in known}
    return tuple(entry for entry in entries if entry.path not in paths)


def _effect_of(
    covers: Sequence[Covered], changes: Mapping[Address, Change], tightened: Mapping[Address, Resource]
) -> Effect:
    upserts = []
    deletes = []
    for covered in covers:
        if covered.verb is Verb.TIGHTEN:
            upserts.append(tightened[covered.address])
            continue
        change = changes[covered.address]
        if change.action is Action.DELETE or change.after is None:
            deletes.append(covered.address)
        else:
            upserts.append(change.after)
    return Effect(tuple(upserts), tuple(deletes))


def _intent(call: Call, ordering_id: int, resources: Sequence[Resource | None], at: str) -> Intent:
    digest = hashlib.sha256(canonical_json([call.method, call.path, call.query, ordering_id]))
    for resource in resources:
        digest.update(resource.fingerprint if resource else b"-")
    covers = tuple((covered.address, covered.verb.value) for covered in call.covers)
    return Intent(call.number, call.kind.value, digest.hexdigest(), ordering_id, at, covers)
