"""Running calls: what is written down, in which order, and what is told, for every way a call can end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.applying.apply import Clock, Run, check_base, run_calls
from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    ProviderAccepted,
    RunFinished,
    RunStarted,
    StageStarted,
)
from reconciler.calls.call import Call
from reconciler.calls.compile import compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import Plan
from reconciler.problems import Interrupted, ManifestError, Problem, StateError
from reconciler.pushapi.failures import CallFailed as RemoteFailure
from reconciler.state.journal import Effect, Outcome, RunInfo
from tests.builders import alias, group, item, user

CONTEXT = WireContext("org", {"handbook": SourceRef("s1", "corp")}, {"corp": "p1"})
STAFF = group("Staff", "user/corp/x")
NEW, OLD = item("file:///new"), item("file:///old")
GUARDED = item("file:///guarded", protect=True)
CHANGES = (
    Change(STAFF.address, Action.CREATE, "new", None, STAFF),
    Change(GUARDED.address, Action.UPDATE, "changed", item("file:///guarded"), GUARDED),
    Change(NEW.address, Action.CREATE, "new", None, NEW),
    Change(OLD.address, Action.DELETE, "removed", OLD, None),
)
INFO = RunInfo("run-1", "reconciler apply", "t0")
BASE = StateBase("lineage", 3)
PROBLEM = Problem("some-code", "something happened")
GROUP_TAKEN = (ProviderAccepted("corp", 1, 1),)


@dataclass
class Book:
    """A writer that remembers what it was told, and answers with tickets that count."""

    lines: list[tuple[Any, ...]] = field(default_factory=list)
    fail_at: str = ""

    def _write(self, *line: Any) -> None:
        if line[0] == self.fail_at:
            raise StateError(Problem("state-disk-full", "no space"))
        self.lines.append(line)

    def begin_run(self, run: RunInfo, target: Target, new_lineage: Callable[[], str]) -> StateBase:
        self._write("begin", run, target, new_lineage())
        return BASE

    def intent(self, intent: Any) -> int:
        ticket = sum(line[0] == "intent" for line in self.lines) + 1
        self._write("intent", ticket, intent.call, intent.kind, intent.ordering_id, intent.at, intent.covers)
        return ticket

    def settle(self, ticket: int, outcome: Outcome, *, at: str, **more: Any) -> int:
        line = ("settle", ticket, outcome.value, at, more.get("effect", Effect()), more.get("detail", ""))
        chosen = more.get("ordering_id")
        self._write(*line, *(() if chosen is None else (chosen,)))
        return 0

    def record_activities(self, activities: Iterable[tuple[str, str]]) -> None:
        self._write("activities", tuple(activities))

    def record_state_only(self, effect: Effect, *, at: str) -> int:
        self._write("state-only", effect, at)
        return 0

    def end_run(self, *, at: str, result: str, detail: str = "") -> None:
        self._write("end", at, result, detail)

    @property
    def kinds(self) -> list[str]:
        return [" ".join(str(part) for part in line if not isinstance(part, tuple | Effect)) for line in self.lines]


@dataclass
class Wire:
    """A sender with one scripted end for each call: None is accepted, an exception is raised."""

    ends: Sequence[BaseException | None] = ()
    retries: int = 0
    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, call: Call, *, ordering_id: int, resources: Any, where: str, retried: Any) -> Any:
        self.sent.append((call.number, ordering_id, tuple(resources), where))
        for attempt in range(self.retries):
            retried(attempt + 1, 0.5, "HTTP 503")
        end = self.ends[len(self.sent) - 1] if len(self.sent) <= len(self.ends) else None
        if end is not None:
            raise end
        return SimpleNamespace(status=202, bytes_sent=10, request_ids=())


@dataclass
class Ticks:
    """A clock that stands still unless it is waited for."""

    milliseconds: int = 1000
    waited: int = 0

    def clock(self) -> Clock:
        return Clock(now=lambda: "t", milliseconds=lambda: self.milliseconds, seconds=lambda: 0.0, wait=self._wait)

    def _wait(self, seconds: float) -> None:
        self.waited += 1
        self.milliseconds += 1


def run_of(changes: Sequence[Change] = CHANGES, **more: Any) -> Run:
    compiled = compile_calls(changes, CONTEXT, batching="never")
    plan = Plan("local", Target("org"), BASE, tuple(changes))
    return Run(INFO, plan, compiled.stages, compiled.state_only, lambda: "new-lineage", **more)


def played(
    wire: Wire, *, run: Run | None = None, stop: Callable[[], bool] = lambda: False, ticks: Ticks | None = None
) -> tuple[list[Event], Book]:
    book = Book()
    events = run_calls(run or run_of(), writer=book, send=wire, clock=(ticks or Ticks()).clock(), stop=stop)
    return list(events), book


def calls_of(run: Run) -> list[Call]:
    return [call for stage in run.stages for call in stage.calls]


def covers(resource: Resource, verb: str = "put") -> tuple[tuple[str, str], ...]:
    return ((resource.address, verb),)


def test_all_accepted() -> None:
    first, second, third = calls_of(run_of())
    wire = Wire()

    events, book = played(wire)

    assert events == [
        RunStarted("run-1", 3, 4),
        StageStarted("identities", 1),
        CallStarted(first),
        CallAccepted(first, 202, 0.0, 10),
        StageStarted("items", 2),
        CallStarted(second),
        CallAccepted(second, 202, 0.0, 10),
        CallStarted(third),
        CallAccepted(third, 202, 0.0, 10),
        RunFinished(3, 0, 0, 0, 0.0, (), GROUP_TAKEN),
    ]
    assert book.lines == [
        ("begin", INFO, Target("org"), "new-lineage"),
        ("state-only", Effect((GUARDED,)), "t"),
        ("intent", 1, 1, "identity-put", 1000, "t", covers(STAFF)),
        ("settle", 1, "accepted", "t", Effect((STAFF,)), ""),
        ("intent", 2, 2, "item-put", 1001, "t", covers(NEW)),
        ("settle", 2, "accepted", "t", Effect((NEW,)), ""),
        ("intent", 3, 3, "item-delete", 1002, "t", covers(OLD, "delete")),
        ("settle", 3, "accepted", "t", Effect((), (OLD.address,)), ""),
        ("end", "t", "done", ""),
    ]
    path = "organizations/org/sources/s1/documents"
    assert wire.sent == [
        (1, 1000, (STAFF,), "call 1 of 3, PUT organizations/org/providers/p1/permissions"),
        (2, 1001, (NEW,), f"call 2 of 3, PUT {path}"),
        (3, 1002, (OLD,), f"call 3 of 3, DELETE {path}"),
    ]


@pytest.mark.parametrize(
    ("error", "outcome", "tally"),
    [
        (
            RemoteFailure(PROBLEM, outcome="refused", status=403),
            "refused",
            RunFinished(1, 1, 0, 1, 0.0, (), GROUP_TAKEN),
        ),
        (
            RemoteFailure(PROBLEM, outcome="unknown", status=504),
            "unknown",
            RunFinished(1, 0, 1, 1, 0.0, (), GROUP_TAKEN),
        ),
        # A body that is not what the plan says: nothing was sent.
        (ManifestError(PROBLEM), "refused", RunFinished(1, 1, 0, 1, 0.0, (), GROUP_TAKEN)),
        # Somebody stopped it between two attempts.
        (Interrupted(PROBLEM), "unknown", RunFinished(1, 0, 1, 1, 0.0, (), GROUP_TAKEN)),
    ],
)
def test_the_first_call_that_is_not_accepted_ends_the_run(error: Exception, outcome: Any, tally: RunFinished) -> None:
    first, second, _ = calls_of(run_of())

    events, book = played(Wire([None, error]))

    assert events[3:] == [
        CallAccepted(first, 202, 0.0, 10),
        StageStarted("items", 2),
        CallStarted(second),
        CallFailed(second, PROBLEM, outcome),
        replace(tally, failures=(CallFailed(second, PROBLEM, outcome),)),
    ]
    assert book.lines[2:] == [
        ("intent", 1, 1, "identity-put", 1000, "t", covers(STAFF)),
        ("settle", 1, "accepted", "t", Effect((STAFF,)), ""),
        ("intent", 2, 2, "item-put", 1001, "t", covers(NEW)),
        ("settle", 2, outcome, "t", Effect(), "something happened"),
        ("end", "t", "failed", ""),
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError(), KeyError("a bug")])
def test_a_call_cut_off_in_mid_air_is_written_down_as_unknown(error: BaseException) -> None:
    book = Book()

    with pytest.raises(type(error)):
        list(run_calls(run_of(), writer=book, send=Wire([error]), clock=Ticks().clock(), stop=lambda: False))

    assert book.lines[2:] == [
        ("intent", 1, 1, "identity-put", 1000, "t", covers(STAFF)),
        ("settle", 1, "unknown", "t", Effect(), "the run was cut off"),
        ("end", "t", "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed", ""),
    ]


def test_retries_are_told_before_the_end_of_their_call() -> None:
    (call,) = calls_of(run_of(CHANGES[:1]))

    for error, end in ((None, CallAccepted), (RemoteFailure(PROBLEM, outcome="unknown"), CallFailed)):
        events, _ = played(Wire([error], retries=2), run=run_of(CHANGES[:1]))
        assert events[2:5] == [
            CallStarted(call),
            CallRetried(call, 1, 0.5, "HTTP 503"),
            CallRetried(call, 2, 0.5, "HTTP 503"),
        ]
        assert isinstance(events[5], end)


@pytest.mark.parametrize("after", range(4))
def test_asked_to_stop_it_starts_no_further_call(after: int) -> None:
    wire = Wire()

    events, book = played(wire, stop=lambda: len(wire.sent) >= after)

    assert len(wire.sent) == min(after, 3)
    assert events[-1] == RunFinished(len(wire.sent), 0, 0, 3 - len(wire.sent), 0.0, (), GROUP_TAKEN if after else ())
    assert book.lines[-1] == ("end", "t", "done" if after == 3 else "interrupted", "")
    assert sum(line[0] == "settle" for line in book.lines) == len(wire.sent)


def test_an_intent_that_cannot_be_written_keeps_the_call_from_being_sent() -> None:
    wire, book = Wire(), Book(fail_at="intent")

    with pytest.raises(StateError):
        list(run_calls(run_of(), writer=book, send=wire, clock=Ticks().clock(), stop=lambda: False))

    assert wire.sent == []
    assert book.lines[-1] == ("end", "t", "failed", "")


def test_what_stopped_a_run_is_told_although_its_end_cannot_be_written_either() -> None:
    class Full(Book):
        def end_run(self, *, at: str, result: str, detail: str = "") -> None:
            raise StateError(Problem("state-read-only", "cannot be written"))

    with pytest.raises(StateError) as caught:
        list(run_calls(run_of(), writer=Full(fail_at="settle"), send=Wire(), clock=Ticks().clock(), stop=lambda: False))

    assert caught.value.problems[0].code == "state-disk-full"


def test_who_lost_the_lock_starts_no_request_more_and_writes_nothing_more() -> None:
    class Lost(Book):
        tried = 0

        def settle(self, ticket: int, outcome: Outcome, **more: Any) -> int:
            self.tried += 1
            raise StateError(Problem("lock-lost", "another one has it"))

    halted, book = threading.Event(), Lost()
    landed = threading.Barrier(2)

    def send(call: Call, **_: Any) -> Any:
        if call.number == 2:
            landed.wait(10)
            assert halted.wait(10)  # amid its attempts: it is told not to make another
            raise Interrupted(PROBLEM)
        landed.wait(10)
        return SimpleNamespace(status=202, bytes_sent=0, request_ids=())

    items = tuple(change for change in CHANGES if change.address.startswith("item/"))
    events = run_calls(
        run_of(items),
        writer=book,
        send=send,
        clock=Ticks().clock(),
        stop=lambda: False,
        parallelism=2,
        halt=halted.set,
    )
    with pytest.raises(StateError) as caught:
        list(events)

    assert caught.value.problems[0].code == "lock-lost"
    assert book.tried == 2


def test_the_writer_stands_between_call_and_call() -> None:
    """P2: when a call is sent, its intent is written; when the next one is, so is its outcome."""
    book = Book()
    seen: list[list[str]] = []

    def send(call: Call, **_: Any) -> Any:
        seen.append(book.kinds[2:])
        return SimpleNamespace(status=202, bytes_sent=0, request_ids=())

    list(run_calls(run_of(), writer=book, send=send, clock=Ticks().clock(), stop=lambda: False))

    assert seen == [
        ["intent 1 1 identity-put 1000 t"],
        ["intent 1 1 identity-put 1000 t", "settle 1 accepted t ", "intent 2 2 item-put 1001 t"],
        [
            *("intent 1 1 identity-put 1000 t", "settle 1 accepted t ", "intent 2 2 item-put 1001 t"),
            *("settle 2 accepted t ", "intent 3 3 item-delete 1002 t"),
        ],
    ]


def test_ordering_ids_rise_when_the_clock_stands_still() -> None:
    ticks = Ticks(milliseconds=500)
    wire = Wire()

    played(wire, ticks=ticks)

    assert [ordering for _, ordering, _, _ in wire.sent] == [500, 501, 502]
    assert ticks.waited == 2, "never ahead of the clock"


def test_ordering_ids_are_above_what_is_recorded_although_the_clock_is_behind() -> None:
    """Another machine's clock was ahead: a lower id would be accepted and then dropped (push-api.md 5.4)."""
    wire = Wire()

    played(wire, run=run_of(above=90_000))

    assert [ordering for _, ordering, _, _ in wire.sent] == [90_001, 90_002, 90_003]


def test_an_alias_that_goes_is_sent_with_the_well_knowns_its_user_has_afterwards() -> None:
    everyone = "group/corp/Everyone"
    before, after = user("x", everyone), user("x", "group/corp/Other")
    gone = alias("x", "user/Email/x", well_knowns=[everyone])
    run = run_of(
        [
            Change(gone.address, Action.DELETE, "removed", gone, None),
            Change(after.address, Action.UPDATE, "changed", before, after),
        ]
    )
    wire = Wire()

    played(wire, run=run)

    assert [resources for _, _, resources, _ in wire.sent] == [
        (after,),
        (Resource(gone.address, b'{"mappings":[]}', after.shared),),
    ]


def test_the_request_digest_names_the_exact_request() -> None:
    digests: dict[str, set[str]] = {}
    for name, run, start in (
        ("one", run_of(CHANGES[:1]), 1000),
        ("again", run_of(CHANGES[:1]), 1000),
        ("later", run_of(CHANGES[:1]), 1001),
        ("other", run_of([replace(CHANGES[0], after=group("Staff", "user/corp/y"))]), 1000),
    ):
        intents: list[Any] = []
        book = Book()
        book.intent = lambda intent, kept=intents: kept.append(intent) or 1  # type: ignore[method-assign,assignment]
        list(run_calls(run, writer=book, send=Wire(), clock=Ticks(start).clock(), stop=lambda: False))
        digests[name] = {intent.request_digest for intent in intents}
    assert digests["one"] == digests["again"]
    assert len(digests["one"] | digests["later"] | digests["other"]) == 3


class Store:
    where = "some.state.db (serial 5)"

    def __init__(self, base: StateBase) -> None:
        self._base = base

    def base(self) -> StateBase:
        return self._base


@pytest.mark.parametrize(
    ("planned", "found", "code"),
    [
        (StateBase("a", 5), StateBase("a", 5), None),
        (StateBase("", 0), StateBase("", 0), None),
        (StateBase("a", 4), StateBase("a", 5), "stale-plan"),
        (StateBase("a", 6), StateBase("a", 5), "stale-plan"),
        (StateBase("", 0), StateBase("a", 5), "stale-plan"),
        (StateBase("b", 5), StateBase("a", 5), "foreign-plan"),
        (StateBase("b", 5), StateBase("", 0), "foreign-plan"),
    ],
)
def test_a_plan_fits_only_the_state_that_it_was_made_from(
    planned: StateBase, found: StateBase, code: str | None
) -> None:
    plan = Plan("local", Target("org"), planned)
    store: Any = Store(found)
    if code is None:
        check_base(plan, store)
        return
    with pytest.raises(StateError) as caught:
        check_base(plan, store)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == (code, "some.state.db (serial 5)")


def test_closing_the_events_early_ends_the_run() -> None:
    """Whoever stops listening stops the run; what was sent is written down."""
    book = Book()
    wire = Wire()
    events: Iterator[Event] = run_calls(run_of(), writer=book, send=wire, clock=Ticks().clock(), stop=lambda: False)
    for event in events:
        if isinstance(event, CallAccepted):
            events.close()  # type: ignore[attr-defined]
            break

    assert [line[0] for line in book.lines] == ["begin", "state-only", "intent", "settle", "end"]
