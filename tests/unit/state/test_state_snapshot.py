"""A state as text: canonical, whole, and refused when it is not."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import StateBase, Target
from reconciler.problems import StateError
from reconciler.state.journal import DELETE, PUT, Intent, JournalEntry, Outcome
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow
from reconciler.state.snapshot import Snapshot, decode, encode

ITEM = Address("item/handbook/x")
COVERS = ((Address("item/handbook/y"), PUT), (Address("item/handbook/z"), DELETE))
SNAPSHOT = Snapshot(
    StateBase("6d1c", 43),
    Target("org", (("handbook", "org-handbook"),), (("corp", "org-corp"),)),
    (
        RecordedRow(Address("group/corp/all"), b'{"members":["user/corp/bob"]}', b"", 5, "t5", "run-1"),
        RecordedRow(
            Address("item/handbook/x"), b'{"title":"\xc3\xa4"}', b'{"levels":[]}', 7, "t7", "run-2", REJECTED, "big"
        ),
    ),
    (
        JournalEntry(
            1,
            "run-2",
            Intent(
                3,
                "item-batch",
                "digest",
                9,
                "t9",
                ((Address("item/handbook/y"), PUT), (Address("item/handbook/z"), DELETE)),
            ),
            Outcome.UNKNOWN,
            "t10",
            "the reply was lost",
        ),
    ),
)

TEXT = """{
"format_version": 1,
"lineage": "6d1c",
"serial": 43,
"target": {"organization":"org","providers":{"corp":"org-corp"},"sources":{"handbook":"org-handbook"}},
"unsettled": [
{"at":"t9","call":3,"covers":[["put",["item/handbook/y"]],["delete",["item/handbook/z"]]],\
"detail":"the reply was lost","kind":"item-batch","ordering_id":9,\
"outcome":"unknown","request_digest":"digest","run":"run-2","settled_at":"t10"}
],
"resources": [
{"accepted_at":"t5","address":"group/corp/all","doc":{"members":["user/corp/bob"]},"ordering_id":5,"run":"run-1",\
"shared":null,"verified":null,"verified_detail":""},
{"accepted_at":"t7","address":"item/handbook/x","doc":{"title":"ä"},"ordering_id":7,"run":"run-2",\
"shared":{"levels":[]},"verified":"rejected","verified_detail":"big"}
]
}
"""

texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
docs = st.dictionaries(texts, values, max_size=3).map(canonical_json)
scopes = st.text(min_size=1, max_size=9).filter(lambda text: "/" not in text)
addresses = st.builds(Address.of, st.sampled_from(Kind), scopes, st.text(min_size=1, max_size=20))
rows = st.builds(
    RecordedRow,
    addresses,
    docs,
    docs | st.just(b""),
    numbers,
    texts,
    texts,
    st.sampled_from([None, VERIFIED, REJECTED]),
    texts,
)
intents = st.builds(
    Intent,
    numbers,
    texts,
    texts,
    numbers,
    texts,
    st.lists(st.tuples(addresses, st.sampled_from([PUT, DELETE]))).map(tuple),
)
entries = st.builds(JournalEntry, st.just(0), texts, intents, st.sampled_from([None, Outcome.UNKNOWN]), texts, texts)
pairs = st.dictionaries(texts, texts, max_size=3).map(lambda found: tuple(sorted(found.items())))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    found = draw(st.lists(rows, unique_by=lambda row: row.address, max_size=5))
    doubts = draw(st.lists(entries, max_size=3))
    return Snapshot(
        StateBase(draw(texts), draw(numbers)),
        draw(st.none() | st.builds(Target, texts, pairs, pairs)),
        tuple(sorted(found, key=lambda row: row.address)),
        tuple(
            JournalEntry(seq, entry.run, entry.intent, entry.outcome, entry.settled_at, entry.detail)
            for seq, entry in enumerate(doubts, 1)
        ),
    )


def test_text_is_canonical() -> None:
    assert encode(SNAPSHOT).decode() == TEXT
    assert encode(Snapshot(StateBase("", 0), None)) == (
        b'{\n"format_version": 1,\n"lineage": "",\n"serial": 0,\n"target": null,\n'
        b'"unsettled": [],\n"resources": []\n}\n'
    )


@given(snapshots())
def test_what_was_encoded_comes_back(snapshot: Snapshot) -> None:
    text = encode(snapshot)
    assert decode(text) == snapshot
    assert json.loads(text)["serial"] == snapshot.base.serial


@given(snapshots(), st.randoms(use_true_random=False))
def test_order_of_rows_and_style_of_json_mean_nothing(snapshot: Snapshot, source: random.Random) -> None:
    shuffled = list(snapshot.rows)
    source.shuffle(shuffled)
    same = Snapshot(snapshot.base, snapshot.target, tuple(shuffled), snapshot.unsettled)
    assert encode(same) == encode(snapshot)
    assert decode(json.dumps(json.loads(encode(snapshot)), indent=3).encode()) == snapshot


def broken(text: bytes) -> str:
    with pytest.raises(StateError) as error:
        decode(text, "state.json")
    (problem,) = error.value.problems
    assert problem.code == "snapshot-broken"
    assert problem.where.startswith("state.json")
    return f"{problem.where}: {problem.what}"


def test_every_truncation_is_refused() -> None:
    text = TEXT.encode()
    for length in range(len(text) - 2):
        broken(text[:length])


def test_place_of_broken_json_is_told() -> None:
    assert broken(TEXT.replace('"serial": 43', '"serial": x').encode()).startswith("state.json:4:11: it is no JSON")


@pytest.mark.parametrize(
    "text", [b"null", b"[]", b"{}", b'{"format_version": "1"}', b'{"format_version": true}', b"\xff"]
)
def test_what_is_no_snapshot_is_refused(text: bytes) -> None:
    broken(text)


def test_newer_version_is_refused() -> None:
    with pytest.raises(StateError) as error:
        decode(b'{"format_version": 2, "something": "else"}')
    assert error.value.problems[0].code == "snapshot-newer-version"


def test_repeated_address_is_refused() -> None:
    twice = Snapshot(SNAPSHOT.base, None, SNAPSHOT.rows[:1] * 2)
    assert broken(encode(twice)) == 'state.json: "group/corp/all" is there twice'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("lineage",), 5),
        (("serial",), -1),
        (("serial",), True),
        (("serial",), 1.0),
        (("target",), {"organization": "o"}),
        (("target", "sources"), {"a": 1}),
        (("surplus",), 1),
        (("resources",), {}),
        (("resources", 0), []),
        (("resources", 0, "address"), ""),
        (("resources", 0, "address"), "Team"),
        (("resources", 0, "address"), "thing/corp/all"),
        (("resources", 0, "address"), "group/corp/"),
        (("resources", 0, "ordering_id"), 2**63),
        (("resources", 0, "ordering_id"), -1),
        (("serial",), 2**63),
        (("unsettled", 0, "covers"), [["put", ["item"]]]),
        (("resources", 0, "doc"), "{}"),
        (("resources", 0, "ordering_id"), "1"),
        (("resources", 0, "ordering_id"), True),
        (("resources", 1, "shared"), []),
        (("resources", 1, "verified"), "perhaps"),
        (("resources", 1, "surplus"), 1),
        (("unsettled", 0, "outcome"), "perhaps"),
        (("unsettled", 0, "covers"), [["put"]]),
        (("unsettled", 0, "covers"), [[1, ["item/a/b"]]]),
        (("unsettled", 0, "covers"), [["put", [1]]]),
        (("unsettled", 0, "covers"), [["put", "item"]]),
    ],
)
def test_value_of_another_kind_is_refused(path: tuple[Any, ...], value: Any) -> None:
    doc: Any = json.loads(TEXT)
    inner = doc
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    broken(json.dumps(doc).encode())


@pytest.mark.parametrize("place", [(), ("resources", 0), ("unsettled", 0)])
def test_missing_key_is_refused(place: tuple[Any, ...]) -> None:
    for key in list(json.loads(TEXT) if not place else json.loads(TEXT)[place[0]][place[1]]):
        doc: Any = json.loads(TEXT)
        inner = doc[place[0]][place[1]] if place else doc
        del inner[key]
        assert f'"{key}"' in broken(json.dumps(doc).encode())
