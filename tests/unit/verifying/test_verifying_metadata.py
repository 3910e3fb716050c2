"""Metadata against what the index shows: differences, what vanishes, what cannot be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.address import Kind
from reconciler.model.canonical import permanent_id
from reconciler.model.identity import Identity
from reconciler.planning.fields import Field, Fields, Rule
from reconciler.state.rows import RecordedRow
from reconciler.verifying.compare import expected_values
from reconciler.verifying.events import Clock, Metadata, Report, Vanishing
from reconciler.verifying.findings import Status
from reconciler.verifying.look import Look
from reconciler.verifying.scope import Scope
from reconciler.verifying.verify import verify
from tests.builders import group, item

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SENT = int(NOW.timestamp() * 1000)
CONTEXT = WireContext("org", {"handbook": SourceRef("sid", "corp")}, {"corp": "pid"})
PRICE, TAGS = Field("price", "LONG"), Field("tags", "STRING", multi=True)
FIELDS = Fields({"price": PRICE, "tags": TAGS}, {"handbook": (Rule("tags", ("%[labels]",)),)})


class Index:
    """The read side: items with their fields, and nothing else."""

    def __init__(self, **items: dict[str, Any]) -> None:
        self.items = {f"x:{name}": raw for name, raw in items.items()}
        self.asked: list[tuple[str, ...]] = []

    def find_items(
        self, source_id: str, uris: Iterable[str], *, fields: Sequence[str] = (), source_name: str | None = None
    ) -> dict[str, dict[str, Any]]:
        self.asked.append(tuple(fields))
        own = {"indexeddate": SENT + 1}
        return {
            uri: {"permanentid": permanent_id(uri), **own, **{key: raw[key] for key in fields if key in raw}}
            for uri in uris
            if (raw := self.items.get(uri)) is not None
        }

    def source(self, source_id: str) -> dict[str, Any]:
        return {"name": "S"}

    def provider_members(self, provider_id: str) -> Iterator[dict[str, Any]]:
        return iter(())

    def group_members(self, provider_id: str, group: Identity) -> Iterator[dict[str, Any]]:
        return iter(())

    def identity_parents(self, provider_id: str, identity: Identity) -> Iterator[dict[str, Any]]:
        return iter(())

    def logs(self, source_ids: Sequence[str], since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        return iter(())

    def item_permissions(self, uri: str) -> dict[str, Any]:
        return {}


def report(index: Index, fields: Fields | None = FIELDS, **items: dict[str, Any]) -> Report:
    found = [item(f"x:{name}", metadata=metadata) for name, metadata in items.items()]
    rows = {
        str(entry.address): RecordedRow(entry.address, entry.doc, b"", SENT, NOW.isoformat(), "run", None, "")
        for entry in (*found, group("g"))
    }

    def read(addresses: Iterable[str] | None) -> Iterator[RecordedRow]:
        return iter([rows[address] for address in sorted(rows if addresses is None else addresses)])

    clock = Clock(lambda: NOW, lambda: 0.0, lambda _: None)
    scope = Scope(frozenset(rows), {})
    with Look(index) as look:
        events = list(verify(scope, rows=read, look=look, context=CONTEXT, clock=clock, timeout=0, fields=fields))
    last = events[-1]
    assert isinstance(last, Report)
    return last


def of_items(found: Report) -> list[tuple[str, Status, str, str]]:
    return [
        (finding.address.name, finding.status, finding.code, finding.what)
        for finding in found.problems
        if finding.address.kind is Kind.ITEM
    ]


def test_values_that_arrived() -> None:
    index = Index(a={"price": 5, "tags": "y;x"})
    found = report(index, a={"price": 5, "labels": ["x", "y"]})
    assert of_items(found) == []
    assert found.metadata == Metadata((), visible=2, invisible=0)
    assert index.asked == [("indexeddate", "price", "tags")]


def test_values_that_differ() -> None:
    found = report(Index(a={"price": 6}), a={"price": 5, "labels": ["x"]})
    assert of_items(found) == [
        (
            "x:a",
            Status.DIFFERENT,
            "fields-differ",
            'the index shows no value in the field "tags", not ["x"] of metadata "labels"; 1 more field differs',
        )
    ]


def test_what_vanishes_is_counted_by_source_and_key_and_fails_no_item() -> None:
    found = report(
        Index(a={"price": 5}, b={}, c={}), a={"price": 5, "color": "red"}, b={"color": "blue", "size": 7}, c={}
    )
    assert of_items(found) == []
    assert found.metadata == Metadata((Vanishing("handbook", "color", 2, "item/handbook/x:a"),), visible=1, invisible=3)


def test_what_the_index_shows_does_not_vanish() -> None:
    found = report(Index(a={"color": "red"}), a={"color": "red"})
    assert found.metadata == Metadata((), visible=1, invisible=0)


def test_what_was_not_looked_at_is_not_said_to_vanish() -> None:
    assert report(Index(), a={"color": "red"}).metadata == Metadata((), visible=0, invisible=0)


def test_without_fields_nothing_is_compared() -> None:
    index = Index(a={"price": 6})
    found = report(index, None, a={"price": 5})
    assert (of_items(found), found.metadata, index.asked) == ([], None, [("indexeddate",)])


def test_an_item_that_cannot_be_searched_for_is_not_compared() -> None:
    """Its permissions alone tell that it is there."""
    found = report(Index(), **{'"': {"price": 5, "color": "red"}})
    assert of_items(found) == []
    assert found.metadata == Metadata((), visible=0, invisible=2)


@pytest.mark.parametrize("key", ["permanentid", "source", "uri"])
def test_what_the_pipeline_sets_is_not_compared(key: str) -> None:
    assert expected_values("handbook", {key: "x"}, Fields({key: Field(key, "STRING")}, {})) == {}
