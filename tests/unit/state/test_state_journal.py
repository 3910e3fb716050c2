"""How what a run writes down turns one recorded state into the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.model.states import Resource, Target
from reconciler.state.journal import (
    DELETE,
    PUT,
    Effect,
    Intent,
    JournalEntry,
    Outcome,
    advance,
    advance_state_only,
    still_open,
)
from reconciler.state.packing import READABLE, pack_covers, target_doc, target_from_doc, unpack_covers
from reconciler.state.rows import VERIFIED, RecordedRow
from reconciler.state.store import LockInfo, locked_problem

A, B, C = (Address(f"item/s/{name}") for name in "abc")
OLD = RecordedRow(A, b"{}", b"", 1, "t1", "run-1", VERIFIED, "ok")


def entry(seq: int, outcome: Outcome | None, *covers: tuple[Address, str]) -> JournalEntry:
    return JournalEntry(seq, "run-1", Intent(seq, "item-batch", "digest", seq, "t", covers), outcome)


def doubts(*entries: JournalEntry) -> dict[int, tuple[Address, ...]]:
    return {e.seq: tuple(address for address, _ in e.intent.covers) for e in still_open(entries)}


def test_accepted_call_replaces_whole_rows() -> None:
    effect = Effect((Resource(A, b"[1]", b"[2]"), Resource(B, b"[3]")), (C, Address("item/s/never")))
    rows = {A: OLD, C: RecordedRow(C, b"{}", b"", 1, "t1", "run-1")}
    assert advance(rows, effect, ordering_id=9, accepted_at="t9", run="run-9") == {
        A: RecordedRow(A, b"[1]", b"[2]", 9, "t9", "run-9"),
        B: RecordedRow(B, b"[3]", b"", 9, "t9", "run-9"),
    }
    assert rows[A] == OLD


def test_state_only_change_keeps_what_is_known_of_the_arrival() -> None:
    effect = Effect((Resource(A, b"[1]"), Resource(B, b"[3]")))
    assert advance_state_only({A: OLD}, effect, at="t9", run="run-9") == {
        A: RecordedRow(A, b"[1]", b"", 1, "t1", "run-1", VERIFIED, "ok"),
        B: RecordedRow(B, b"[3]", b"", 0, "t9", "run-9"),
    }


def test_effect_covers_what_it_changes() -> None:
    assert Effect((Resource(A, b"{}"),), (B,)).covers == ((A, PUT), (B, DELETE))


def test_doubt_is_about_intents_without_a_known_outcome() -> None:
    assert doubts(
        entry(1, Outcome.ACCEPTED, (A, PUT)),
        entry(2, Outcome.REFUSED, (A, PUT)),
        entry(3, Outcome.UNKNOWN, (A, PUT)),
        entry(4, None, (B, DELETE)),
    ) == {3: (A,), 4: (B,)}


def test_later_accepted_call_ends_doubt_whatever_its_verb() -> None:
    assert doubts(
        entry(1, Outcome.UNKNOWN, (A, PUT), (B, PUT)),
        entry(2, None, (A, DELETE)),
        entry(3, Outcome.ACCEPTED, (A, DELETE)),
    ) == {1: (B,)}


def test_earlier_acceptance_and_later_refusal_end_no_doubt() -> None:
    assert doubts(
        entry(1, Outcome.ACCEPTED, (A, PUT)),
        entry(2, Outcome.UNKNOWN, (A, PUT)),
        entry(3, Outcome.REFUSED, (A, PUT)),
    ) == {2: (A,)}


covers = st.lists(st.tuples(st.text(min_size=1).map(Address), st.sampled_from([PUT, DELETE]))).map(tuple)


@given(covers)
def test_covers_come_back_in_order(value: tuple[tuple[Address, str], ...]) -> None:
    assert unpack_covers(pack_covers(value)) == value


def test_many_covers_are_small_few_are_readable() -> None:
    many = tuple((Address(f"item/handbook/https://example.com/{n:06}"), PUT) for n in range(100_000))
    packed = pack_covers(many)
    assert isinstance(packed, bytes)
    assert len(packed) < 1_000_000
    assert unpack_covers(packed) == many
    few = pack_covers(((A, PUT), (B, PUT), (C, DELETE)))
    assert few == '[["put",["item/s/a","item/s/b"]],["delete",["item/s/c"]]]'
    assert len(few) < READABLE


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "{",
        "[1]",
        "1",
        "[[1]]",
        '[["put",[1]]]',
        '[[1,["a"]]]',
        b"",
        b"nonsense",
        pack_covers(((A * 9999, PUT),))[:-9],
    ],
)
def test_broken_covers_are_refused(cell: str | bytes) -> None:
    with pytest.raises(ValueError):
        unpack_covers(cell)


def test_target_comes_back() -> None:
    target = Target("org", (("a", "1"), ("b", "2")), (("p", "3"),))
    assert target_from_doc(target_doc(target)) == target


@pytest.mark.parametrize(
    "doc",
    [
        None,
        {},
        {"organization": 1, "providers": {}, "sources": {}},
        {"organization": "o", "providers": [], "sources": {}},
    ],
)
def test_broken_target_is_refused(doc: object) -> None:
    with pytest.raises(ValueError, match="must"):
        target_from_doc(doc)


def test_locked_says_who_and_what_to_do() -> None:
    holder = LockInfo("l-1", "reconciler apply", "2026-03-01T10:00:00Z", "ci-7", "bob", 77)
    problem = locked_problem("x.db (serial 4)", holder, 12.3)
    assert (problem.code, problem.where) == ("state-locked", "x.db (serial 4)")
    assert problem.what == (
        "bob on ci-7 holds the lock since 2026-03-01T10:00:00Z "
        '(process 77, "reconciler apply", lock l-1) after waiting 12 s'
    )
    assert "--lock-timeout" in problem.fix
    assert "not said who" in locked_problem("x.db", None, 0).what
