"""The waiting, over a remote and a clock that are values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import permanent_id
from reconciler.model.identity import Identity
from reconciler.problems import Problem, RemoteError
from reconciler.pushapi.failures import CallFailed
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow, Verification
from reconciler.verifying.events import Clock, Event, Looked, Report, Started, Stopped, Waiting
from reconciler.verifying.findings import RESEND, Finding, Status
from reconciler.verifying.look import Look
from reconciler.verifying.scope import Scope
from reconciler.verifying.verify import verify
from tests.builders import group, item

START = datetime(2026, 3, 1, tzinfo=UTC)
SENT = int(START.timestamp() * 1000)
CONTEXT = WireContext("org", {"handbook": SourceRef("sid", "corp")}, {"corp": "pid"})
URI = "https://example.com/a"
Document = dict[str, Any]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: START + timedelta(seconds=self.seconds), lambda: self.seconds, self.sleep)


class Remote:
    """Items appear at a time; everything else is as it is."""

    def __init__(self, time: Time, appears: dict[str, float] | None = None, **given: Any) -> None:
        self.time = time
        self.appears = appears or {}
        self.entries: list[Document] = given.get("entries", [])
        self.members: list[Document] = given.get("members", [])
        self.fails: dict[str, Callable[[Sequence[str]], Exception | None]] = given.get("fails", {})
        self.asked: Counter[str] = Counter()

    def _count(self, what: str, *values: str) -> None:
        self.asked[what] += 1
        fail = self.fails.get(what)
        failure = fail(values) if fail else None
        if failure is not None:
            raise failure

    def find_items(
        self, source_id: str, uris: Iterable[str], *, fields: Sequence[str] = (), source_name: str | None = None
    ) -> dict[str, Document]:
        assert (source_id, source_name, fields) == ("sid", "The handbook", ("indexeddate",))
        uris = list(uris)
        self._count("search", *uris)
        there = [uri for uri in uris if self.appears.get(uri, 1e9) <= self.time.seconds and '"' not in uri]
        return {uri: {"permanentid": permanent_id(uri), "indexeddate": SENT + 1} for uri in there}

    def source(self, source_id: str) -> Document:
        self._count("source")
        return {"name": "The handbook"}

    def item_permissions(self, uri: str) -> Document:
        self._count("permissions", uri)
        return {"state": "VALID", "permissionLevels": []}

    def provider_members(self, provider_id: str) -> Iterator[Document]:
        self._count("identities")
        yield from self.members

    def group_members(self, provider_id: str, group: Identity) -> Iterator[Document]:
        return iter(())

    def identity_parents(self, provider_id: str, identity: Identity) -> Iterator[Document]:
        return iter(())

    def logs(self, source_ids: Sequence[str], since: datetime, until: datetime) -> Iterator[Document]:
        self._count("logs")
        assert since <= START < until
        yield from self.entries


def row(uri: str = URI, verified: str | None = None, detail: str = "") -> RecordedRow:
    resource = item(uri)
    return RecordedRow(resource.address, resource.doc, b"", SENT, START.isoformat(), "run", verified, detail)


def events_of(remote: Remote, rows: list[RecordedRow], deleted: Sequence[Address] = (), timeout: float = 60) -> Any:
    known = {str(found.address): found for found in rows}

    def read(addresses: Iterable[str] | None) -> Iterator[RecordedRow]:
        return iter([known[address] for address in sorted(known if addresses is None else addresses)])

    scope = Scope(frozenset(known), dict.fromkeys(deleted, SENT))
    with Look(remote) as look:
        return list(verify(scope, rows=read, look=look, context=CONTEXT, clock=remote.time.clock, timeout=timeout))


def report_of(remote: Remote, rows: list[RecordedRow], deleted: Sequence[Address] = (), timeout: float = 60) -> Report:
    report: Event = events_of(remote, rows, deleted, timeout)[-1]
    assert isinstance(report, Report)
    return report


def test_what_is_there_is_asked_for_once() -> None:
    remote = Remote(Time(), {URI: 0})
    address = row().address
    assert events_of(remote, [row()]) == [
        Started(1),
        Looked(1),
        Looked(1),
        Report(
            checked=Counter({Kind.ITEM: 1}),
            verified=Counter({Kind.ITEM: 1}),
            problems=(),
            verifications=(Verification(address, SENT, VERIFIED),),
            notes=(),
            seconds=0.0,
        ),
    ]
    assert remote.asked == {"source": 1, "search": 1}


def test_what_comes_late_is_waited_for_in_growing_steps() -> None:
    remote = Remote(Time(), {URI: 5})
    events = events_of(remote, [row()])
    assert [event for event in events if isinstance(event, Waiting)] == [
        Waiting(1, 0.5, 60),
        Waiting(1, 1.0, 59.5),
        Waiting(1, 2.0, 58.5),
        Waiting(1, 4.0, 56.5),
    ]
    assert (events[-1].problems, events[-1].seconds) == ((), 7.5)


def test_the_last_look_is_at_the_deadline() -> None:
    remote = Remote(Time(), {URI: 60})
    assert report_of(remote, [row()]).problems == ()
    assert remote.time.slept == [0.5, 1, 2, 4, 8, 15, 15, 14.5]
    late = Remote(Time(), {URI: 60.1})
    report = report_of(late, [row()])
    assert [(finding.status, finding.code) for finding in report.problems] == [(Status.MISSING, "not-indexed")]
    assert (report.verifications, report.total, report.stopped) == ((), 1, Stopped.DEADLINE)


def test_no_time_is_one_look() -> None:
    remote = Remote(Time(), {})
    assert report_of(remote, [row()], timeout=0).count(Status.MISSING) == 1
    assert (remote.time.slept, remote.asked["search"]) == ([], 1)


# -- stopped in the middle -------------------------------------------------------------------------

THERE, LATE = "https://example.com/there", "https://example.com/late"


def _interrupted() -> Exception | None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["sleep", "search"])
def test_whoever_stops_it_is_told_what_is_known(at: str) -> None:
    time = Time()
    remote = Remote(time, {THERE: 0}, fails={"search": lambda _: _interrupted() if time.slept else None})
    if at == "sleep":
        time.sleep = lambda _: _interrupted()  # type: ignore[method-assign,assignment,return-value]
    report = report_of(remote, [row(THERE), row(LATE)])
    assert (report.stopped, report.unlooked, report.failure, report.good) == (Stopped.INTERRUPTED, 0, None, False)
    assert [(finding.address.name, finding.status) for finding in report.problems] == [(LATE, Status.MISSING)]
    assert [entry.address.name for entry in report.verifications] == [THERE]


def test_a_stop_between_two_events_is_thrown_in() -> None:
    remote = Remote(Time(), {THERE: 0})
    rows = {str(entry.address): entry for entry in (row(THERE), row(LATE))}
    with Look(remote) as look:
        events = verify(
            Scope(frozenset(rows)),
            rows=lambda addresses: iter([rows[address] for address in sorted(addresses or rows)]),
            look=look,
            context=CONTEXT,
            clock=remote.time.clock,
            timeout=60,
        )
        assert next(events) == Started(2)
        report = events.throw(KeyboardInterrupt())
    assert isinstance(report, Report)
    assert (report.stopped, report.unlooked, report.total) == (Stopped.INTERRUPTED, 2, 0)


def test_a_remote_that_fails_in_the_middle_leaves_what_is_known() -> None:
    time = Time()
    down = RemoteError(Problem("remote-unreachable", "gone"))
    remote = Remote(time, {THERE: 0}, fails={"search": lambda _: down if time.slept else None})
    report = report_of(remote, [row(THERE), row(LATE)])
    assert (report.stopped, report.failure, report.unlooked) == (Stopped.REMOTE, down, 0)
    assert (report.verified[Kind.ITEM], len(report.problems)) == (1, 1)


def test_what_nobody_came_to_look_at_is_counted() -> None:
    """The second thousand of rows is not reached, and is neither missing nor verified."""
    uris = [f"https://example.com/{number:04}" for number in range(1500)]
    last = uris[-1]
    remote = Remote(
        Time(),
        dict.fromkeys(uris, 0.0),
        fails={"search": lambda asked: RemoteError(Problem("remote-unreachable", "gone")) if last in asked else None},
    )
    report = report_of(remote, [row(uri) for uri in uris])
    assert (report.verified[Kind.ITEM], report.problems, report.unlooked) == (1000, (), 500)
    assert not report.good


def test_a_remote_that_fails_at_once_is_an_error() -> None:
    remote = Remote(Time(), fails={"search": lambda _: RemoteError(Problem("remote-unreachable", "gone"))})
    with pytest.raises(RemoteError):
        report_of(remote, [row()])


def rejection(**changes: Any) -> Document:
    return {
        "datetime": START.isoformat(),
        "id": URI,
        "operation": "ADD",
        "result": "REJECTED",
        "task": "VALIDATION",
        "sourceId": "sid",
        "meta": {"error": "no good"},
        **changes,
    }


def test_what_was_rejected_is_not_waited_for() -> None:
    remote = Remote(Time(), entries=[rejection()])
    report = report_of(remote, [row()])
    reason = "REJECTED in VALIDATION: no good"
    assert report.problems == (
        Finding(row().address, Status.REJECTED, SENT, "rejected", reason, arrived=False, sent=SENT),
    )
    assert report.verifications == (Verification(row().address, SENT, REJECTED, reason),)
    assert remote.time.slept == []


def test_a_rejection_stays_when_the_logs_are_gone() -> None:
    remote = Remote(Time())
    report = report_of(remote, [row(verified=REJECTED, detail="no good")])
    assert [(finding.status, finding.what) for finding in report.problems] == [(Status.REJECTED, "no good")]
    assert (report.verifications, remote.time.slept) == ((), [])


def test_a_rejected_item_that_is_there_after_all() -> None:
    report = report_of(Remote(Time(), {URI: 0}), [row(verified=REJECTED, detail="no good")])
    assert report.verifications == (Verification(row().address, SENT, VERIFIED),)


def test_what_the_user_marked_is_still_missing() -> None:
    report = report_of(Remote(Time()), [row(verified=REJECTED, detail=f"{RESEND}x")], timeout=0)
    assert [finding.status for finding in report.problems] == [Status.MISSING]
    assert report.verifications == ()


def test_what_was_verified_and_is_gone_is_verified_no_more() -> None:
    report = report_of(Remote(Time()), [row(verified=VERIFIED)], timeout=0)
    assert report.verifications == (Verification(row().address, SENT, None, "the index does not hold the item"),)
    assert report_of(Remote(Time(), {URI: 0}), [row(verified=VERIFIED)]).verifications == ()


def test_a_failed_batch_is_blamed_when_the_time_is_over() -> None:
    remote = Remote(Time(), entries=[rejection(id="file", operation="BATCH_FILE", result="ERROR")])
    report = report_of(remote, [row()], timeout=1)
    assert remote.time.slept == [0.5, 0.5]
    assert [(finding.status, finding.what) for finding in report.problems] == [
        (Status.REJECTED, "a batch of its source failed after it was sent: ERROR in VALIDATION: no good")
    ]
    assert report.verifications[0].verified == REJECTED


def failing(status: int) -> Callable[[Sequence[str]], Exception | None]:
    return lambda _: CallFailed(Problem("call-forbidden", f"HTTP {status}"), outcome="refused", status=status)


def test_without_logs_there_are_no_reasons() -> None:
    report = report_of(Remote(Time(), fails={"logs": failing(403)}), [row()], timeout=0)
    assert report.notes == ("the logs cannot be read, so reasons are not known: HTTP 403",)
    assert report.count(Status.MISSING) == 1


def test_without_searches_there_is_nothing() -> None:
    with pytest.raises(RemoteError):
        events_of(Remote(Time(), fails={"search": failing(403)}), [row()])


def test_a_reply_that_does_not_fit_is_asked_for_in_parts() -> None:
    uris = [f"https://example.com/{number}" for number in range(150)]

    def too_long(wanted: Sequence[str]) -> Exception | None:
        return CallFailed(Problem("bad-reply", "cut"), outcome="refused") if len(wanted) > 30 else None

    remote = Remote(Time(), dict.fromkeys(uris, 0.0), fails={"search": too_long})
    assert report_of(remote, [row(uri) for uri in uris]).verified == {Kind.ITEM: 150}
    assert remote.asked["search"] == 3 + 4 + 3


def test_a_uri_that_no_search_can_name_is_found_by_its_permissions() -> None:
    odd = 'https://example.com/"quoted"'
    remote = Remote(Time(), {odd: 0})
    assert report_of(remote, [row(odd)]).problems == ()
    absent = Remote(Time(), fails={"permissions": failing(404)})
    assert report_of(absent, [row(odd)], timeout=0).count(Status.MISSING) == 1


def test_deletions_are_waited_for_too() -> None:
    remote = Remote(Time(), {URI: 0})
    report = report_of(remote, [], [item(URI).address], timeout=1)
    assert [(finding.status, finding.code) for finding in report.problems] == [(Status.DIFFERENT, "still-there")]
    assert report_of(Remote(Time()), [], [item(URI).address]).problems == ()
    refused = Remote(Time(), {URI: 0}, entries=[rejection(operation="DELETE", result="SKIPPED")])
    assert report_of(refused, [], [item(URI).address]).count(Status.REJECTED) == 1
    assert report.verifications == ()


def test_a_listing_is_read_no_further_than_needed() -> None:
    listed = [{"name": name, "type": "Group", "provider": "pid", "state": "UP_TO_DATE"} for name in ("A", "B", "C")]
    remote = Remote(Time(), members=listed)
    resource = group("a")
    found = RecordedRow(resource.address, resource.doc, b"", SENT, START.isoformat(), "run")
    assert report_of(remote, [found]).problems == ()
    assert report_of(remote, [], [group("c").address], timeout=0).count(Status.DIFFERENT) == 1
