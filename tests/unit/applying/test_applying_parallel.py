"""Several calls under way at once: what starts when, what a failure stops, and what is written down."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from test_applying_run import BASE, INFO, PROBLEM, Book, Ticks

from reconciler.applying.apply import Run, run_calls
from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    Noted,
    Paused,
    RunFinished,
    StageStarted,
    StatusTold,
    Stopping,
)
from reconciler.calls.call import Call, CallKind, Covered, SourceStatus, Stage, Verb
from reconciler.model.states import Target
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import Plan
from reconciler.problems import Interrupted, ManifestError, Problem, ReconcilerError, RemoteError, StateError
from reconciler.pushapi.failures import CallFailed as RemoteFailure
from tests.builders import item

SOON = 20  # seconds within which another thread gets its turn, or the test fails


def refusal(status: int | None, code: str = "some-code") -> RemoteFailure:
    return RemoteFailure(Problem(code, "no"), outcome="refused", status=status)


def call(number: int, scope: str = "handbook", *, after: tuple[int, ...] = (), **more: Any) -> Call:
    resource = item(f"file:///{number}", source=scope)
    path = f"organizations/org/sources/{scope}/documents"
    values: dict[str, Any] = {"kind": CallKind.ITEM_PUT, "method": "PUT", "path": path, **more}
    covers = values.pop("covers", (Covered(resource.address, Verb.PUT),))
    return Call(number=number, scope=scope, query=(), covers=covers, size=10, after=after, **values)


def run_of(*stages: Iterable[Call], **more: Any) -> Run:
    made = tuple(Stage(f"stage {place}", tuple(calls)) for place, calls in enumerate(stages, 1))
    changes = tuple(
        Change(covered.address, Action.CREATE, "new", None, item(covered.address.name, source=covered.address.scope))
        for stage in made
        for entry in stage.calls
        for covered in entry.covers
    )
    return Run(INFO, Plan("local", Target("org"), BASE, changes), made, (), lambda: "lineage", **more)


class Wire:
    """A sender whose calls end when they are told to, each as scripted: accepted unless it says otherwise."""

    def __init__(self, ends: Mapping[int, BaseException] | None = None, *, held: Iterable[int] = ()) -> None:
        self.ends = ends or {}
        self.released = {number: threading.Event() for number in held}
        self.under_way = {number: threading.Event() for number in held}
        self.sent: list[int] = []
        self.ids: dict[int, int] = {}

    def __call__(self, call: Call, *, ordering_id: int, resources: Any, where: str, retried: Any) -> Any:
        self.sent.append(call.number)
        self.ids[call.number] = ordering_id
        if call.number in self.released:
            self.under_way[call.number].set()
            assert self.released[call.number].wait(SOON)
        if call.number in self.ends:
            raise self.ends[call.number]
        return SimpleNamespace(status=202, bytes_sent=10, ordering_id=900 + call.number, request_ids=())

    def release(self, *numbers: int) -> None:
        for number in numbers:
            self.released[number].set()


class Follower:
    """Takes the events of a run one after the other."""

    def __init__(self, run: Run, wire: Any, *, parallelism: int = 4, book: Book | None = None, **more: Any) -> None:
        self.book = book or Book()
        more.setdefault("stop", lambda: False)
        self.events = run_calls(
            run, writer=self.book, send=wire, clock=Ticks().clock(), parallelism=parallelism, **more
        )
        self.heard: list[Event] = []

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        for event in self.events:
            self.heard.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"it never came: {self.heard}")

    def started(self, number: int) -> None:
        self.until(lambda event: isinstance(event, CallStarted) and event.call.number == number)

    def accepted(self, number: int) -> None:
        self.until(lambda event: isinstance(event, CallAccepted) and event.call.number == number)

    def rest(self) -> RunFinished:
        self.heard += self.events
        (*_, last) = self.heard
        assert isinstance(last, RunFinished)
        return last

    @property
    def settled(self) -> list[tuple[int, str]]:
        """Return the number of each settled call and its outcome, as written down."""
        numbers = {line[1]: line[2] for line in self.book.lines if line[0] == "intent"}
        return [(numbers[line[1]], line[2]) for line in self.book.lines if line[0] == "settle"]


# -- order -----------------------------------------------------------------------------------------


def test_independent_calls_are_under_way_at_once_and_told_as_they_end() -> None:
    wire = Wire(held=(1, 2))
    follower = Follower(run_of([call(1), call(2)]), wire)

    follower.started(2)
    assert wire.under_way[1].wait(SOON) and wire.under_way[2].wait(SOON)
    wire.release(2)
    follower.accepted(2)
    wire.release(1)

    assert follower.rest() == RunFinished(2, 0, 0, 0, 0.0)
    assert follower.settled == [(2, "accepted"), (1, "accepted")]
    assert [line[0] for line in follower.book.lines[2:4]] == ["intent", "intent"], "both written before either ended"


def test_no_more_are_under_way_than_allowed() -> None:
    wire = Wire(held=(1, 2))
    follower = Follower(run_of([call(1), call(2), call(3)]), wire, parallelism=2)

    follower.started(2)
    wire.release(1)
    follower.accepted(1)
    assert wire.sent.count(3) == 0
    follower.started(3)
    wire.release(2)
    assert follower.rest().done == 3


@pytest.mark.parametrize("parallelism", [1, 4])
def test_a_call_waits_for_those_that_it_names(parallelism: int) -> None:
    wire = Wire()
    follower = Follower(
        run_of([call(1, after=(3,)), call(2, after=(1,)), call(3), call(4)]), wire, parallelism=parallelism
    )

    follower.rest()

    starts = [event.call.number for event in follower.heard if isinstance(event, CallStarted)]
    assert starts.index(3) < starts.index(1) < starts.index(2)
    ends = follower.heard.index(next(e for e in follower.heard if isinstance(e, CallAccepted) and e.call.number == 3))
    assert ends < follower.heard.index(
        next(e for e in follower.heard if isinstance(e, CallStarted) and e.call.number == 1)
    )


def test_one_at_a_time_they_go_by_number() -> None:
    wire = Wire()
    follower = Follower(run_of([call(3), call(1), call(2)], [call(4)]), wire, parallelism=1)

    follower.rest()

    assert wire.sent == [1, 2, 3, 4]


def test_a_stage_waits_for_all_of_the_stage_before() -> None:
    wire = Wire(held=(1,))
    follower = Follower(run_of([call(1), call(2)], [call(3)]), wire)

    follower.accepted(2)
    assert 3 not in wire.sent
    wire.release(1)
    follower.until(lambda event: event == StageStarted("stage 2", 1))
    assert {number for number, _ in follower.settled} == {1, 2}
    assert follower.rest().done == 3


@pytest.mark.parametrize("after", [{1: (2,), 2: (1,)}, {1: (9,)}])
def test_calls_that_wait_for_each_other_or_for_nobody_are_refused_before_anything_is_written(
    after: dict[int, tuple[int, ...]],
) -> None:
    calls = [call(number, after=after.get(number, ())) for number in (1, 2)]
    follower = Follower(run_of(calls), Wire())

    with pytest.raises(StateError) as caught:
        follower.rest()

    assert caught.value.problems[0].code == "plan-altered"
    assert follower.book.lines == []


# -- failures --------------------------------------------------------------------------------------

LOCAL: list[ReconcilerError] = [
    *(refusal(status) for status in (400, 404, 412, 413, 415)),
    ManifestError(PROBLEM),
]
GENERAL: list[ReconcilerError] = [
    *(refusal(status) for status in (None, 401, 403, 429, 500, 503, 504)),
    refusal(400, "organization-paused"),
    refusal(412, "document-limit"),
    RemoteFailure(PROBLEM, outcome="unknown", status=504),
    Interrupted(PROBLEM),
    RemoteError(PROBLEM),
]


@pytest.mark.parametrize("error", LOCAL, ids=repr)
def test_what_one_call_is_refused_for_stops_its_scope_and_what_waits_for_it(error: ReconcilerError) -> None:
    wire = Wire({1: error})
    calls = [call(1), call(2), call(3, "blog"), call(4, "blog"), call(5, "wiki", after=(1,))]
    follower = Follower(run_of(calls, [call(6, "blog")]), wire, parallelism=1)

    finished = follower.rest()

    assert wire.sent == [1, 3, 4]
    assert (finished.done, finished.failed, finished.unknown, finished.not_started) == (2, 1, 0, 3)
    assert follower.settled == [(1, "refused"), (3, "accepted"), (4, "accepted")]
    assert follower.book.lines[-1] == ("end", "t", "failed", "")


@pytest.mark.parametrize("error", GENERAL, ids=repr)
def test_what_every_call_would_meet_starts_no_further_one(error: ReconcilerError) -> None:
    wire = Wire({1: error}, held=(2,))
    follower = Follower(run_of([call(1), call(2, "blog"), call(3, "wiki")]), wire, parallelism=2)

    follower.until(lambda event: isinstance(event, CallFailed))
    wire.release(2)
    finished = follower.rest()

    assert wire.sent.count(3) == 0
    assert finished.done == 1, "what was under way is finished and recorded"
    assert (finished.failed + finished.unknown, finished.not_started) == (1, 1)


def test_each_failure_is_listed_and_counted_once() -> None:
    errors = {1: refusal(412), 3: refusal(404), 4: RemoteFailure(PROBLEM, outcome="unknown", status=400)}
    follower = Follower(run_of([call(1, "a"), call(2, "b"), call(3, "c"), call(4, "d")]), Wire(errors), parallelism=1)

    finished = follower.rest()

    assert (finished.done, finished.failed, finished.unknown, finished.not_started) == (1, 2, 1, 0)
    assert [(failure.call.number, failure.outcome) for failure in finished.failures] == [
        (1, "refused"),
        (3, "refused"),
        (4, "unknown"),
    ]


def test_cut_off_with_two_under_way_both_are_unknown() -> None:
    wire = Wire(held=(1, 2))
    follower = Follower(run_of([call(1), call(2)]), wire)

    follower.started(2)
    with pytest.raises(KeyboardInterrupt):
        follower.events.throw(KeyboardInterrupt())
    wire.release(1, 2)

    assert follower.settled == [(1, "unknown"), (2, "unknown")]
    assert follower.book.lines[-1] == ("end", "t", "interrupted", "")


def test_a_bug_in_one_call_lets_the_others_land_and_is_raised() -> None:
    wire = Wire({1: KeyError("a bug")}, held=(2,))
    follower = Follower(run_of([call(1), call(2, "blog"), call(3, "wiki")]), wire, parallelism=2)
    wire.release(2)

    with pytest.raises(KeyError):
        follower.rest()

    assert (1, "unknown") in follower.settled
    assert (2, "accepted") in follower.settled
    assert follower.book.lines[-1] == ("end", "t", "failed", "")


def test_who_stops_listening_has_all_that_is_under_way_recorded() -> None:
    wire = Wire(held=(1, 2))
    follower = Follower(run_of([call(1), call(2), call(3)]), wire, parallelism=2)

    follower.started(2)
    wire.release(1, 2)
    follower.events.close()

    assert sorted(follower.settled) == [(1, "accepted"), (2, "accepted")]
    assert sorted(wire.sent) == [1, 2]


def test_asked_to_stop_it_tells_and_finishes_what_is_under_way() -> None:
    wire = Wire(held=(1, 2))
    stopping = threading.Event()
    follower = Follower(run_of([call(1), call(2), call(3)]), wire, parallelism=2, stop=stopping.is_set)

    follower.started(2)
    stopping.set()
    assert follower.until(lambda event: isinstance(event, Stopping)) == Stopping(2)
    wire.release(1, 2)
    finished = follower.rest()

    assert (finished.done, finished.not_started) == (2, 1)
    assert follower.book.lines[-1] == ("end", "t", "interrupted", "")


def test_retries_and_pauses_are_told_while_the_call_is_under_way() -> None:
    over = threading.Event()
    pauses: queue.SimpleQueue[Paused] = queue.SimpleQueue()
    only = call(1)

    def send(call: Call, *, retried: Any, **_: Any) -> Any:
        pauses.put(Paused(3.0, "250 calls per 300 s"))
        retried(2, 0.5, "HTTP 503")
        assert over.wait(SOON)
        return SimpleNamespace(status=202, bytes_sent=0, ordering_id=None, request_ids=())

    follower = Follower(run_of([only]), send, pauses=pauses)
    follower.until(lambda event: event == CallRetried(only, 2, 0.5, "HTTP 503"))
    over.set()

    assert follower.rest().done == 1
    assert follower.heard.index(Paused(3.0, "250 calls per 300 s")) < follower.heard.index(
        CallAccepted(only, 202, 0.0, 0)
    )


# -- ordering ids ----------------------------------------------------------------------------------


def intents(follower: Follower) -> dict[int, int]:
    return {line[2]: line[4] for line in follower.book.lines if line[0] == "intent"}


def test_ordering_ids_rise_in_the_order_of_starts_and_are_those_that_are_sent() -> None:
    wire = Wire()
    follower = Follower(run_of([call(number) for number in range(1, 9)], above=5000), wire)

    follower.rest()

    assert [intents(follower)[number] for number in range(1, 9)] == list(range(5001, 5009))
    assert wire.ids == intents(follower)


def test_a_stream_is_recorded_under_the_ordering_id_that_the_remote_chose() -> None:
    path = "organizations/org/sources/shop/stream/update"
    follower = Follower(run_of([call(1, "shop", kind=CallKind.STREAM_UPDATE, path=path), call(2)]), Wire())

    follower.rest()

    chosen = {line[1]: line[5:] for line in follower.book.lines if line[0] == "settle"}
    assert {end[1:] for end in chosen.values()} == {(), (901,)}, "only that of the stream is the remote's"


def older(number: int, *covers: Covered) -> Call:
    path = "organizations/org/sources/handbook/documents/olderthan"
    return call(number, kind=CallKind.ITEM_OLDER_THAN, method="DELETE", path=path, covers=covers)


def test_what_removes_the_old_spares_what_this_run_has_put() -> None:
    """An exclusive upper bound (push-api.md 5.4): the lowest that was given to anything that is to stay."""
    wire = Wire()
    follower = Follower(run_of([call(1), call(2), call(3, "blog")], [older(4)]), wire, parallelism=1)

    follower.rest()

    assert wire.ids[4] == wire.ids[1] < wire.ids[2]


def test_what_empties_a_source_is_above_all_that_was_put_there() -> None:
    wire = Wire()
    follower = Follower(run_of([older(1, Covered(item("file:///x").address, Verb.SWEPT))], above=900), wire)

    follower.rest()

    assert wire.ids == {1: 1000}


def test_what_removes_the_old_is_not_sent_with_a_number_of_the_future() -> None:
    """The source would be poisoned until that time has come (push-api.md 5.4)."""
    wire = Wire()
    follower = Follower(run_of([older(1), call(2)], [call(3)], above=90_000), wire, parallelism=1)

    finished = follower.rest()

    assert wire.sent == []
    (failure,) = finished.failures
    assert (failure.problem.code, failure.outcome) == ("ordering-id-in-future", "refused")
    assert [line[0] for line in follower.book.lines] == ["begin", "state-only", "end"]


@pytest.mark.parametrize(("behind", "sent"), [(0, [1]), (60_000, [1]), (60_001, []), (-900_000, [1])])
def test_the_clock_of_the_remote_counts_as_far_as_it_is_known(behind: int, sent: list[int]) -> None:
    wire = Wire()
    statuses = (SourceStatus("handbook", "REBUILD", "organizations/org/sources/handbook/status"),)
    follower = Follower(run_of([older(1)], statuses=statuses), wire, tell=lambda _source, _status: 1000 - behind)

    follower.rest()

    assert wire.sent == sent


@pytest.mark.parametrize(("ahead", "sent"), [(60_000, [1]), (60_001, []), (None, [1])])
def test_before_something_is_removed_by_age_the_remote_is_asked_for_the_time(
    ahead: int | None, sent: list[int]
) -> None:
    """Nobody was told of an activity, as for a provider, and our clock may be wrong."""
    wire = Wire()
    asked: list[int] = []

    def remote_time() -> int | None:
        asked.append(1)
        return None if ahead is None else 1000 - ahead

    follower = Follower(run_of([older(1)]), wire, remote_time=remote_time)

    finished = follower.rest()

    assert (wire.sent, len(asked)) == (sent, 1)
    assert [failure.problem.code for failure in finished.failures] == ([] if sent else ["ordering-id-in-future"])


def test_the_remote_is_not_asked_for_the_time_without_need() -> None:
    def remote_time() -> int | None:
        raise AssertionError("nobody needs it")

    statuses = (SourceStatus("handbook", "REBUILD", "organizations/org/sources/handbook/status"),)
    Follower(run_of([call(1)]), Wire(), remote_time=remote_time).rest()
    Follower(
        run_of([older(1)], statuses=statuses), Wire(), tell=lambda _source, _status: 1000, remote_time=remote_time
    ).rest()


# -- what sources are told -------------------------------------------------------------------------

HANDBOOK = SourceStatus("handbook", "REFRESH", "organizations/org/sources/h/status")
BLOG = SourceStatus("blog", "REBUILD", "organizations/org/sources/b/status")


class Ear:
    """Hears what sources are told; refuses what it is told to refuse."""

    def __init__(self, *refuses: str) -> None:
        self.refuses = refuses
        self.heard: list[tuple[str, str]] = []

    def __call__(self, source: SourceStatus, status: str) -> int | None:
        self.heard.append((source.source, status))
        if status in self.refuses:
            raise refusal(503, "remote-failing")
        return None


ALL_TOLD = [("handbook", "REFRESH"), ("blog", "REBUILD"), ("handbook", "IDLE"), ("blog", "IDLE")]


def activities(book: Book) -> list[list[str]]:
    return [[source for source, _ in line[1]] for line in book.lines if line[0] == "activities"]


def test_sources_are_told_what_begins_and_that_it_is_over() -> None:
    ear = Ear()
    follower = Follower(run_of([call(1)], statuses=(HANDBOOK, BLOG)), Wire(), tell=ear)

    follower.rest()

    kinds = [type(event) for event in follower.heard]
    assert ear.heard == ALL_TOLD
    assert [event.status for event in follower.heard if isinstance(event, StatusTold)] == [s for _, s in ALL_TOLD]
    assert kinds.index(StatusTold) < kinds.index(StageStarted)
    assert activities(follower.book) == [["handbook", "blog"], []]
    assert [line[0] for line in follower.book.lines][-2:] == ["activities", "end"]


@pytest.mark.parametrize("end", [refusal(403), refusal(400), Interrupted(PROBLEM), KeyError("a bug")], ids=repr)
def test_sources_are_told_that_it_is_over_however_it_ends(end: BaseException) -> None:
    ear = Ear()
    follower = Follower(run_of([call(1)], statuses=(HANDBOOK, BLOG)), Wire({1: end}), tell=ear)

    if isinstance(end, ReconcilerError):
        follower.rest()
    else:
        with pytest.raises(type(end)):
            follower.rest()

    assert ear.heard == ALL_TOLD
    assert activities(follower.book)[-1] == []


def test_stopped_or_not_listened_to_it_still_tells_that_it_is_over() -> None:
    ear, wire = Ear(), Wire()
    Follower(run_of([call(1)], statuses=(HANDBOOK, BLOG)), wire, tell=ear, stop=lambda: bool(wire.sent)).rest()
    assert ear.heard == ALL_TOLD

    ear = Ear()
    follower = Follower(run_of([call(1)], statuses=(HANDBOOK, BLOG)), Wire(), tell=ear)
    follower.accepted(1)
    follower.events.close()
    assert ear.heard == ALL_TOLD


@pytest.mark.parametrize("told", [0, 1])
def test_asked_to_stop_it_says_of_no_further_source_that_something_begins(told: int) -> None:
    ear = Ear()
    run = run_of([call(1)], statuses=(HANDBOOK, BLOG))
    follower = Follower(run, Wire(), tell=ear, stop=lambda: len(ear.heard) >= told)
    follower.rest()
    assert ear.heard == [("handbook", "REFRESH"), ("handbook", "IDLE")][: 2 * told]
    assert activities(follower.book) == [["handbook", "blog"], []]


def test_ended_at_once_it_leaves_the_telling_to_a_later_run() -> None:
    ear, wire = Ear(), Wire(held=(1,))
    follower = Follower(run_of([call(1)], statuses=(HANDBOOK,)), wire, tell=ear)
    follower.started(1)

    with pytest.raises(KeyboardInterrupt):
        follower.events.throw(KeyboardInterrupt())
    wire.release(1)

    assert ear.heard == [("handbook", "REFRESH")]
    assert activities(follower.book) == [["handbook"]], "so that the next run knows"


def test_what_an_earlier_run_left_open_is_closed_with_this_one() -> None:
    ear = Ear()
    left = SourceStatus("blog", "", BLOG.path)
    Follower(run_of([call(1)], statuses=(HANDBOOK,), left_open=(left,)), Wire(), tell=ear).rest()

    assert ear.heard == [("handbook", "REFRESH"), ("handbook", "IDLE"), ("blog", "IDLE")]


def test_telling_that_fails_is_a_note_and_stops_nothing() -> None:
    for ear in (Ear("REFRESH"), Ear("IDLE")):
        follower = Follower(run_of([call(1)], statuses=(HANDBOOK,)), Wire(), tell=ear)

        assert follower.rest() == RunFinished(1, 0, 0, 0, 0.0)
        assert [event.problem.code for event in follower.heard if isinstance(event, Noted)] == ["remote-failing"]
        assert ear.heard == [("handbook", "REFRESH"), ("handbook", "IDLE")]
        assert activities(follower.book)[-1] == (["handbook"] if ear.refuses == ("IDLE",) else [])


def test_without_a_call_nothing_is_told() -> None:
    ear = Ear()
    follower = Follower(run_of(statuses=(HANDBOOK,)), Wire(), tell=ear)

    follower.rest()

    assert ear.heard == []
    assert activities(follower.book) == []
