"""What is drift and what is pending, over a remote and rows that are values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.canonical import permanent_id
from reconciler.model.identity import Identity
from reconciler.planning.fields import Field, Fields
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow
from reconciler.verifying.drift import (
    Drift,
    DriftReport,
    Foreign,
    Known,
    Standing,
    Times,
    Unseen,
    count_unseen,
    item_drift,
    permission_drift,
    settled,
)
from reconciler.verifying.drifting import Question, find_drift
from reconciler.verifying.findings import DRIFT_MARK, RESEND
from reconciler.verifying.look import Look
from reconciler.verifying.seen import AccessSet, SeenItem, Who
from tests.builders import item

START = datetime(2026, 3, 1, tzinfo=UTC)
SENT = int(START.timestamp() * 1000)
MINUTE = 60_000
URI, OTHER = "https://example.com/a", "https://example.com/b"
CONTEXT = WireContext("org", {"handbook": SourceRef("sid", "corp")}, {"corp": "pid"})
Document = dict[str, Any]


def row(uri: str = URI, verified: str | None = VERIFIED, detail: str = "", sent: int = SENT, **own: Any) -> RecordedRow:
    resource = item(uri, **own)
    return RecordedRow(resource.address, resource.doc, b"", sent, START.isoformat(), "run", verified, detail)


def seen(indexed: int = SENT, **values: Any) -> SeenItem:
    return SeenItem("handle", permanent_id(URI), indexed, values)


# -- one item --------------------------------------------------------------------------------------

FIELDS = Fields(
    {name: Field(name, kind, False, True) for name, kind in (("title", "STRING"), ("n", "LONG"), ("date", "DATE"))}, {}
)
KNOWN = Known(FIELDS, {"handbook": {"n", "date", "nowhere"}})


def test_the_same_item() -> None:
    recorded = row(title="A  b", metadata={"n": 1, "nowhere": "x"})
    assert item_drift(recorded, seen(title="A b", n=1.0), None, None, KNOWN) is None


def test_an_older_version_is_told_beside_its_fields() -> None:
    found = item_drift(row(title="New"), seen(SENT - MINUTE, title="Old"), None, None, KNOWN)
    assert found is not None
    assert [(part.field, part.expected, part.shown) for part in found.fields] == [
        ("version", "2026-03-01T00:00:00.000Z", "2026-02-28T23:59:00.000Z"),
        ("title", "New", "Old"),
    ]


def test_what_the_pipeline_fills_in_was_added_by_nobody() -> None:
    """Every item gets a date and the like; only keys that people made up are looked at where they were not given."""
    found = item_drift(row(), seen(n=3, date=5), None, None, KNOWN)
    assert found is not None
    assert [(part.field, part.expected, part.shown) for part in found.fields] == [("metadata.n", None, 3)]


def test_without_fields_nothing_of_them_is_said() -> None:
    assert item_drift(row(title="New"), seen(title="Old"), None, None, Known(None)) is None


@pytest.mark.parametrize(
    ("hours", "recorded", "number"),
    [(0, row(), 0), (2, row(), 1), (2, row(metadata={"indexeddate": 1}), 0), (2, row(sent=0), 0)],
)
def test_what_was_indexed_again_is_counted(hours: int, recorded: RecordedRow, number: int) -> None:
    unseen = Unseen()
    count_unseen(unseen, recorded, seen(SENT + hours * 60 * MINUTE), FIELDS)
    assert unseen.reindexed == number


def test_what_nobody_can_see_is_counted() -> None:
    unseen = Unseen()
    own = {"title": "T", "clickableUri": "u", "parent": "p", "fileExtension": ".x", "body": {"size": 1, "sha256": "0"}}
    count_unseen(unseen, row(metadata={"n": 1, "nowhere": 2, "permanentid": "x"}, **own), seen(), FIELDS)
    assert unseen == Unseen(bodies=1, metadata=1, own=1, parents=2, models=1)


def access(*allowed: str, denied: Sequence[str] = ()) -> AccessSet:
    return AccessSet(*(frozenset(Who("p", "user", name) for name in names) for names in (allowed, denied)))


@pytest.mark.parametrize(
    ("recorded", "shown", "fields"),
    [
        (
            (frozenset({access("a")}),),
            (frozenset({access("b")}),),
            {"permissions.level 1.allowed": (["user:a (p)"], ["user:b (p)"])},
        ),
        (
            (frozenset({access("a")}),),
            (frozenset({access("a", denied=["b"])}), frozenset({access("c")})),
            {
                "permissions.level 1.denied": ([], ["user:b (p)"]),
                "permissions.level 2.allowed": ([], ["user:c (p)"]),
            },
        ),
        ((frozenset({access("a")}),), (), {"permissions.level 1.allowed": (["user:a (p)"], [])}),
        (
            (frozenset({access("a", "b")}),),
            (frozenset({access("a"), access("b")}),),
            {"permissions.level 1": (1, 2)},
        ),
        ((), (frozenset({access()}),), {"permissions.level 1": (0, 1)}),
    ],
)
def test_permissions(recorded: Any, shown: Any, fields: dict[str, Any]) -> None:
    assert {part.field: (part.expected, part.shown) for part in permission_drift(recorded, shown)} == fields


# -- pending or drift ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "minutes", "doubtful", "standing"),
    [
        (row(verified=None), 14, False, Standing.PENDING),
        (row(verified=None), 16, False, Standing.MISSING),
        (row(), 1, False, Standing.MISSING),
        (row(), 100, True, Standing.PENDING),
        (row(verified=REJECTED, detail="too large"), 100, False, Standing.PENDING),
        (row(verified=REJECTED, detail=f"{DRIFT_MARK}gone"), 100, False, Standing.MISSING),
        (row(verified=REJECTED, detail=f"{RESEND}gone"), 100, False, Standing.MISSING),
        # No call was ever sent for it, so nothing is under way.
        (row(verified=None, sent=0), 1, False, Standing.MISSING),
    ],
)
def test_pending_is_what_somebody_is_not_done_with(
    recorded: RecordedRow, minutes: int, doubtful: bool, standing: Standing
) -> None:
    drift = Drift(recorded.address, Standing.MISSING, recorded.ordering_id, "gone")
    doubts = {recorded.address} if doubtful else set()
    found = settled(drift, recorded, Times(SENT + minutes * MINUTE, 15 * MINUTE), doubts, unapplied=False)
    assert found.standing is standing
    assert found.marked == recorded.verified_detail.startswith(RESEND)
    assert found.unverified == (recorded.verified is None)


# -- a whole look ----------------------------------------------------------------------------------


class Remote:
    """Holds items of one source, of which a search shows some."""

    def __init__(self, *shown: str, hidden: Iterable[str] = (), counted: int | None = None) -> None:
        self.shown = shown
        self.hidden = frozenset(hidden)
        self.counted = counted
        self.asked: list[str] = []
        self.during: Callable[[], None] = lambda: None

    def find_items(
        self, source_id: str, uris: Iterable[str], *, fields: Sequence[str] = (), source_name: str | None = None
    ) -> dict[str, Document]:
        found = {uri: {"permanentid": permanent_id(uri), "indexeddate": SENT} for uri in uris if uri in self.shown}
        self.during()
        return found

    def source_items(self, source_id: str, *, source_name: str | None = None) -> Iterator[Document]:
        self.asked.append("listing")
        yield from ({"uri": uri} for uri in self.shown)

    def source(self, source_id: str) -> Document:
        return {"name": "The handbook", "information": {"numberOfDocuments": self.counted}}

    def item_permissions(self, uri: str) -> Document:
        from reconciler.pushapi.failures import Effort, Failure, call_failed

        self.asked.append(uri)
        if uri in self.hidden:
            return {"state": "VALID", "permissionLevels": []}
        raise call_failed(Failure("read", "not-found", status=404), where="", outcome="refused", effort=Effort())

    def provider_members(self, provider_id: str) -> Iterator[Document]:
        return iter(())

    def group_members(self, provider_id: str, group: Identity) -> Iterator[Document]:
        return iter(())

    def identity_parents(self, provider_id: str, identity: Identity) -> Iterator[Document]:
        return iter(())

    def logs(self, source_ids: Sequence[str], since: datetime, until: datetime) -> Iterator[Document]:
        return iter(())


def report_of(remote: Remote, rows: dict[str, RecordedRow], **asked: Any) -> DriftReport:
    def read(addresses: Iterable[str] | None) -> Iterator[RecordedRow]:
        wanted = sorted(rows) if addresses is None else sorted(addresses)
        return iter([rows[address] for address in wanted if address in rows])

    question = Question(read, lambda _: True, Times(SENT + 100 * MINUTE, 15 * MINUTE), **asked)
    with Look(remote) as look:
        report = list(find_drift(question, look=look, context=CONTEXT, fields=lambda _: (None, "")))[-1]
    assert isinstance(report, DriftReport)
    return report


def rows_of(*uris: str) -> dict[str, RecordedRow]:
    return {str(made.address): made for made in map(row, uris)}


def standings(report: DriftReport) -> dict[str, Standing]:
    return {drift.address.name: drift.standing for drift in report.drifts}


def test_where_a_search_shows_all_that_a_source_counts_nobody_looks_behind_it() -> None:
    remote = Remote(URI, counted=1)
    assert standings(report_of(remote, rows_of(URI, OTHER))) == {OTHER: Standing.MISSING}
    assert remote.asked == ["listing"]


@pytest.mark.parametrize("counted", [2, None])
def test_what_a_search_does_not_show_may_be_there(counted: int | None) -> None:
    remote = Remote(URI, hidden=[OTHER], counted=counted)
    report = report_of(remote, rows_of(URI, OTHER))
    assert (standings(report), report.drifted) == ({OTHER: Standing.HIDDEN}, False)
    assert len(report.notes) == (counted is not None)


def test_a_source_that_is_whole_is_not_even_listed() -> None:
    remote = Remote(URI, counted=1)
    assert not report_of(remote, rows_of(URI)).drifted
    assert remote.asked == []


def test_what_is_pushed_while_this_looks_is_pending() -> None:
    rows = rows_of(URI, OTHER)
    remote = Remote(URI, counted=1)

    def push() -> None:
        rows[f"item/handbook/{OTHER}"] = row(OTHER, sent=SENT + 1)

    remote.during = push
    report = report_of(remote, rows)
    assert (standings(report), report.drifted) == ({OTHER: Standing.PENDING}, False)


def test_what_is_deleted_while_this_looks_is_forgotten() -> None:
    rows = rows_of(URI, OTHER)
    remote = Remote(URI, counted=1)
    remote.during = lambda: rows.pop(f"item/handbook/{OTHER}", None) and None
    report = report_of(remote, rows)
    assert (report.drifts, report.total) == ((), 1)


def test_foreign_items() -> None:
    remote = Remote(URI, *(f"https://example.com/{number:03}" for number in range(150)), counted=151)
    removed = {"item/handbook/https://example.com/000"}
    report = report_of(remote, rows_of(URI), sources=("handbook",), removed=removed)
    others, gone = report.foreign
    assert (others.count, len(others.examples), others.examples[0]) == (
        149,
        100,
        "item/handbook/https://example.com/001",
    )
    assert gone == Foreign("source", "handbook", 1, tuple(removed), exclusive=False, removed=True)
    assert (others.is_drift, gone.is_drift) == (False, True)
