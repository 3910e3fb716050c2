"""What every store promises, as tests: the local file runs them here, the team stores reuse them.

A store's test module subclasses `StoreContract` and gives the fixture `open_store`: a function that
returns a new `Store` object on the same, at first absent, state each time it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.former import ABSENT, Former, access_digest, former_of, merge
from reconciler.model.states import Resource, StateBase, Target
from reconciler.problems import StateError
from reconciler.state.chain import first_misfit, link
from reconciler.state.journal import (
    DELETE,
    PUT,
    REPLACED,
    Calls,
    Effect,
    Intent,
    Outcome,
    RunInfo,
    Usage,
    advance,
    advance_state_only,
)
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow, Verification
from reconciler.state.snapshot import decode, encode, take
from reconciler.state.store import LockInfo, Store, Writer
from reconciler.state.whole import Part, parts_doc, parts_from_doc

OpenStore = Callable[[], Store]

TARGET = Target("org", (("handbook", "org-handbook"),), (("corp", "org-corp"),))
LINEAGE = "6d1c0f0e-0000-4000-8000-000000000001"
NOW = "2026-03-01T10:00:00Z"
LATER = "2026-03-01T10:00:09Z"


def address(name: str) -> Address:
    return Address.of(Kind.ITEM, "handbook", f"https://example.com/{name}")


def resource(name: str, title: str = "t", allowed: str | None = "group/corp/all") -> Resource:
    shared = canonical_json({"levels": [{"sets": [{"allowed": [allowed]}]}]}) if allowed else b""
    return Resource(address(name), canonical_json({"metadata": {}, "title": title}), shared)


def run_info(run: str = "run-1") -> RunInfo:
    return RunInfo(run, "apply", NOW, "host", "alice", "digest", "0.1.0", "local", "abc123")


def lock_info(lock: str = "lock-1") -> LockInfo:
    return LockInfo(lock, "reconciler apply", NOW, "host", "alice", 4242)


def intent_for(effect: Effect, call: int = 1, ordering_id: int = 7) -> Intent:
    return Intent(call, "item-batch", f"request-{call}", ordering_id, NOW, effect.covers)


@contextmanager
def running(store: Store, run: str = "run-1"):
    with store.lock(lock_info()) as writer:
        writer.begin_run(run_info(run), TARGET, lambda: LINEAGE)
        yield writer
        writer.end_run(at=LATER, result="done")


def accept(writer: Writer, effect: Effect, call: int = 1, ordering_id: int = 7) -> int:
    ticket = writer.intent(intent_for(effect, call, ordering_id))
    return writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=effect)


def put(*names: str, title: str = "t") -> Effect:
    return Effect(tuple(resource(name, title) for name in names))


def eventful(store: Store) -> None:
    """Record something of each kind: what was accepted, rejected, moved, forgotten, refused or left in doubt."""
    with running(store) as writer:
        accept(writer, put("a", "b", "c"))
        accept(writer, Effect((resource("b", allowed="user/x"), resource("e", allowed=None)), (address("c"),)), 2, 8)
        writer.settle(writer.intent(intent_for(put("f"), 3, 50)), Outcome.REFUSED, at=LATER, detail="too big")
        writer.record_verified([Verification(address("a"), 7, REJECTED, "no body")])
    with running(store, "run-2") as writer:
        writer.move(address("b"), address("z"), at=LATER)
        writer.forget([address("e")], at=LATER)
        writer.record_state_only(put("a", title="new"), at=LATER)
        writer.record_activities([("handbook", "sources/handbook")])
        writer.settle(writer.intent(intent_for(put("d"), 1, 90)), Outcome.UNKNOWN, at=LATER, detail="lost")
    with store.lock(lock_info()) as writer:
        writer.begin_run(run_info("run-3"), TARGET, lambda: LINEAGE)
        accept(writer, Effect((resource("z", allowed="user/y"),)), 1, 91)
        writer.intent(intent_for(put("d"), 2, 92))


def told(store: Store) -> dict[str, object]:
    """Return all that a store says of its state."""
    runs = store.runs()
    return {
        "base": (store.base(), store.target(), store.activities(), store.highest_ordering_id()),
        "rows": (store.fingerprints(), list(store.rows()), store.rejected(), store.unsettled()),
        "usage": (store.usage_since(""), store.usage_since(LATER)),
        "history": (runs, store.runs_with_formers(), [list(store.formers(entry.run.id).items()) for entry in runs]),
        "journal": (list(store.journal()), list(store.unsure()), [list(store.steps(entry.run.id)) for entry in runs]),
    }


def changed(key: Address, before: dict[Address, RecordedRow], after: dict[Address, RecordedRow]) -> Former | None:
    was, now = before.get(key), after.get(key)
    return former_of(key, was.resource if was else None, now.resource if now else None)


class StoreContract:
    """The promises of `reconciler.state.store`, one test each."""

    # --- reading ---------------------------------------------------------------------------------

    def test_absent_state_reads_as_empty(self, open_store: OpenStore) -> None:
        store = open_store()
        assert store.base() == StateBase("", 0)
        assert store.target() is None
        assert store.fingerprints() == {}
        assert list(store.rows()) == list(store.rows(["item/a/b"])) == list(store.journal()) == []
        assert store.unsettled() == store.runs() == store.rejected() == store.activities() == ()
        assert (store.highest_ordering_id(), store.usage_since("")) == (0, Usage())
        assert (store.runs_with_formers(), store.formers("run-1")) == ((), {})
        with store.reading():
            assert store.base() == StateBase("", 0)

    def test_taking_the_lock_creates_no_state(self, open_store: OpenStore) -> None:
        with open_store().lock(lock_info()):
            pass
        assert open_store().base() == StateBase("", 0)

    def test_rows_are_what_was_accepted_sorted_by_address(self, open_store: OpenStore) -> None:
        effect = Effect((resource("b"), resource("a", allowed=None), resource("ä"), resource("Z", allowed="user/x")))
        with running(open_store()) as writer:
            accept(writer, effect, ordering_id=99)
        found = list(open_store().rows())
        assert found == sorted(
            (RecordedRow(r.address, r.doc, r.shared, 99, LATER, "run-1") for r in effect.upserts),
            key=lambda row: row.address,
        )
        assert [type(row.address) for row in found] == [Address] * 4

    def test_fingerprints_are_those_of_the_resources(self, open_store: OpenStore) -> None:
        effect = Effect((resource("b"), resource("a", allowed=None)))
        with running(open_store()) as writer:
            accept(writer, effect)
        found = open_store().fingerprints()
        assert found == {r.address: r.fingerprint for r in effect.upserts}
        assert list(found) == sorted(found)

    def test_rows_of_some_addresses(self, open_store: OpenStore) -> None:
        names = [f"{number:04}" for number in range(2500)]
        with running(open_store()) as writer:
            accept(writer, put(*names))
        store = open_store()
        wanted = [address(name) for name in reversed(names[::2])]
        found = [row.address for row in store.rows([*wanted, *wanted, "item/handbook/nowhere"])]
        assert found == sorted(wanted)
        assert [row.address for row in store.rows()] == [address(name) for name in names]
        next(store.rows())  # leaving it unfinished blocks nobody
        with running(store, "run-2") as writer:
            accept(writer, put("more"))

    def test_reading_sees_one_moment(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
        reader = open_store()
        with reader.reading(), reader.reading():
            assert reader.base().serial == 1
            assert list(reader.fingerprints()) == [row.address for row in reader.rows()]
        with running(open_store(), "run-2") as writer:
            accept(writer, put("b"))
            assert reader.base().serial == 2  # a writer at work hides nothing that is settled

    # --- runs, serial, lineage -------------------------------------------------------------------

    def test_lineage_is_made_once(self, open_store: OpenStore) -> None:
        with running(open_store()):
            pass
        with open_store().lock(lock_info()) as writer:
            base = writer.begin_run(run_info("run-2"), TARGET, lambda: pytest.fail("asked for a lineage"))
        assert base == open_store().base() == StateBase(LINEAGE, 0)

    def test_serial_grows_by_one_with_each_outcome(self, open_store: OpenStore) -> None:
        store = open_store()
        with running(store) as writer:
            assert store.base().serial == 0
            first = writer.intent(intent_for(put("a"), 1))
            second = writer.intent(intent_for(put("b"), 2))
            third = writer.intent(intent_for(put("c"), 3))
            assert store.base().serial == 0
            assert writer.settle(second, Outcome.REFUSED, at=LATER, detail="HTTP 400") == 1
            assert writer.settle(third, Outcome.UNKNOWN, at=LATER) == 2
            assert writer.settle(first, Outcome.ACCEPTED, at=LATER, effect=put("a")) == 3
            assert writer.record_state_only(put("a", title="new"), at=LATER) == 4
            assert writer.record_state_only(Effect(), at=LATER) == 4
            assert writer.forget([address("a")], at=LATER) == 5
        assert open_store().base() == StateBase(LINEAGE, 5)

    def test_history_tells_each_run(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
        other = Target("org", (("handbook", "other"),))
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info("run-2"), other, lambda: LINEAGE)
            accept(writer, put("b"))
        last, first = open_store().runs()
        assert (first.run, first.target, first.base) == (run_info(), TARGET, StateBase(LINEAGE, 0))
        assert (first.serial, first.ended_at, first.result) == (1, LATER, "done")
        assert (last.run.id, last.base.serial, last.serial) == ("run-2", 1, 2)
        assert (last.ended_at, last.result) == ("", "")
        assert open_store().runs(1) == (last,)
        assert open_store().target() == other

    def test_history_counts_the_calls_of_each_run(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"), 1)
            accept(writer, put("b"), 2, 8)
            writer.settle(writer.intent(intent_for(put("c"), 3, 9)), Outcome.REFUSED, at=LATER)
            writer.settle(writer.intent(intent_for(put("d"), 4, 10)), Outcome.UNKNOWN, at=LATER)
            writer.record_state_only(put("e"), at=LATER)
            writer.forget([address("e")], at=LATER)
            (under_way,) = open_store().runs()
        assert (under_way.calls, under_way.digest) == (Calls(2, 1, 1), "")
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info("run-2"), TARGET, lambda: LINEAGE)
            writer.intent(intent_for(put("f"), 1, 11))
        last, first = open_store().runs()
        assert (first.calls, last.calls) == (Calls(2, 1, 1), Calls(0, 0, 1))

    def test_each_run_is_chained_to_the_one_before_when_it_ends_or_the_next_begins(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info("died"), TARGET, lambda: LINEAGE)
            accept(writer, put("b"))
        died, first = open_store().runs()
        assert (first.digest, died.digest) == (link("", first), "")
        with running(open_store(), "run-3"):
            last, died, first = open_store().runs()
            assert (first.digest, died.digest, last.digest) == (link("", first), link(first.digest, died), "")
            assert (died.ended_at, died.result, died.calls.accepted) == ("", "", 1)
        history = open_store().runs()
        assert [record.digest for record in history[1:]] == [died.digest, first.digest]
        assert history[0].digest == link(died.digest, history[0])
        assert first_misfit(history) is None

    def test_check_finds_nothing_wrong_with_what_was_written(self, open_store: OpenStore) -> None:
        assert open_store().check() == ()
        with running(open_store()) as writer:
            accept(writer, Effect((resource("a"), resource("b", allowed=None))))
            writer.settle(writer.intent(intent_for(put("c"), 2, 8)), Outcome.UNKNOWN, at=LATER)
            assert open_store().check() == ()
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info("died"), TARGET, lambda: LINEAGE)
        with running(open_store(), "run-3") as writer:
            writer.forget([address("a")], at=LATER)
        assert open_store().check() == ()

    def test_journal_tells_each_call(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            ticket = writer.intent(intent_for(put("a")))
            writer.settle(ticket, Outcome.REFUSED, at=LATER, detail="HTTP 400: no")
        with running(open_store(), "run-2") as writer:
            accept(writer, put("b"))
        first, second = open_store().journal()
        assert (first.run, first.intent, first.outcome) == ("run-1", intent_for(put("a")), Outcome.REFUSED)
        assert (first.settled_at, first.detail) == (LATER, "HTTP 400: no")
        assert (second.run, second.outcome) == ("run-2", Outcome.ACCEPTED)
        assert list(open_store().journal("run-2")) == [second]

    # --- effects ---------------------------------------------------------------------------------

    def test_upsert_replaces_and_delete_removes(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a", "b", "c"))
            writer.record_verified([Verification(address("a"), 7, VERIFIED)])
            accept(writer, Effect((resource("a", "new"),), (address("b"), address("never"))), 2, 8)
        a, c = open_store().rows()
        assert a == RecordedRow(address("a"), resource("a", "new").doc, resource("a").shared, 8, LATER, "run-1")
        assert (c.address, c.ordering_id) == (address("c"), 7)

    def test_an_error_leaves_nothing(self, open_store: OpenStore) -> None:
        """A transaction that fails half-way is not there at all."""
        store = open_store()
        with running(store) as writer:
            accept(writer, put("a"))
            ticket = writer.intent(intent_for(put("b"), 2))
            bad = Effect((resource("b"), Resource(address("c"), doc=None)))  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=bad)
            assert [row.address for row in store.rows()] == [address("a")]
            assert store.base().serial == 1
            assert [entry.seq for entry in store.unsettled()] == [ticket]
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put("b"))

    def test_state_only_keeps_how_it_was_accepted(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a", "b"))
            writer.record_verified([Verification(address("a"), 7, REJECTED, "too big")])
            writer.record_state_only(Effect((resource("a", "new"), resource("c")), (address("b"),)), at=NOW)
        a, c = open_store().rows()
        assert a == RecordedRow(
            address("a"), resource("a", "new").doc, resource("a").shared, 7, LATER, "run-1", REJECTED, "too big"
        )
        assert c == RecordedRow(address("c"), resource("c").doc, resource("c").shared, 0, NOW, "run-1")

    def test_verification_speaks_of_one_ordering_id(self, open_store: OpenStore) -> None:
        store = open_store()
        with running(store) as writer:
            accept(writer, put("a", "b"))
            looked = [
                Verification(address("a"), 7, REJECTED, "too big"),
                Verification(address("b"), 6, REJECTED, "of an older push"),
                Verification(address("gone"), 7, VERIFIED),
            ]
            assert writer.record_verified(looked) == 1
            assert (store.base().serial, store.rejected()) == (2, (address("a"),))
            assert writer.record_verified(looked[1:]) == 0
            assert store.base().serial == 2
            a, b = store.rows()
            assert (a.verified, a.verified_detail, b.verified) == (REJECTED, "too big", None)
            accept(writer, put("a"), 2, 8)
            assert store.rejected() == ()

    def test_shared_documents_survive_tidying(self, open_store: OpenStore) -> None:
        kept = tuple(resource(f"k{number}", allowed=f"group/corp/{number}") for number in range(3))
        with running(open_store()) as writer:
            accept(writer, Effect(kept))
        for number in range(3):
            with running(open_store(), f"again-{number}") as writer:
                accept(writer, Effect((resource("x", allowed=f"user/corp/{number}"),)), ordering_id=8 + number)
        last = resource("x", allowed="user/corp/2")
        assert {row.resource for row in open_store().rows()} == {*kept, last}

    def test_the_remote_may_have_chosen_the_ordering_id(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            ticket = writer.intent(intent_for(put("a"), ordering_id=7))
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put("a"), ordering_id=2**62)
        (row,) = open_store().rows()
        assert row.ordering_id == 2**62
        assert open_store().highest_ordering_id() == 7, "of our own"

    def test_the_highest_ordering_id_outlives_what_it_was_given_to(self, open_store: OpenStore) -> None:
        """Also when it was refused, or nobody knows: a lower one afterwards might be dropped (push-api.md 5.4)."""
        with running(open_store()) as writer:
            accept(writer, put("a"), 1, 50)
            accept(writer, Effect(deletes=(address("a"),)), 2, 60)
            writer.settle(writer.intent(intent_for(put("b"), 3, 55)), Outcome.REFUSED, at=LATER)
            assert open_store().highest_ordering_id() == 60
            writer.intent(intent_for(put("b"), 4, 70))
        assert open_store().highest_ordering_id() == 70

    def test_usage_counts_what_may_have_been_taken_since_a_moment(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            for call, (kind, at, outcome) in enumerate(
                (
                    ("item-batch", NOW, Outcome.ACCEPTED),
                    ("item-put", LATER, Outcome.ACCEPTED),
                    ("item-batch", LATER, Outcome.UNKNOWN),
                    ("item-batch", LATER, Outcome.REFUSED),
                    ("stream-load", LATER, None),
                    ("identity-batch", LATER, Outcome.ACCEPTED),
                    ("identity-put", LATER, Outcome.ACCEPTED),
                ),
                1,
            ):
                ticket = writer.intent(Intent(call, kind, "r", call, at, put("a", "b", "c").covers))
                if outcome is not None:
                    writer.settle(ticket, outcome, at=at)
            # What goes with something else is never named to the remote.
            swept = ((address("d"), "delete-tree"), (address("d/e"), "swept"))
            writer.settle(writer.intent(Intent(8, "item-delete", "r", 8, LATER, swept)), Outcome.ACCEPTED, at=LATER)
            writer.forget([address("x")], at=LATER)
        store = open_store()
        assert store.usage_since(LATER) == Usage(calls=1 + 2 + 2 + 2 + 1 + 1, items=10)
        assert store.usage_since(NOW) == Usage(calls=11, items=13)
        assert store.usage_since("2026-03-02") == Usage()

    def test_activities_are_what_was_recorded_last(self, open_store: OpenStore) -> None:
        told = (("blog", "organizations/o/sources/b/status"), ("handbook", "organizations/o/sources/h/status"))
        with running(open_store()) as writer:
            writer.record_activities(reversed(told))
            assert open_store().activities() == told
        serial = open_store().base().serial
        with open_store().lock(lock_info()) as writer:
            writer.record_activities(told[:1])  # no run is needed
        assert open_store().activities() == told[:1]
        with open_store().lock(lock_info()) as writer:
            writer.record_activities(())
        assert (open_store().activities(), open_store().base().serial) == ((), serial)
        with pytest.raises(RuntimeError):
            writer.record_activities(told)

    # --- what was before -------------------------------------------------------------------------

    def test_a_run_remembers_whom_it_found_let_in(self, open_store: OpenStore) -> None:
        """Of an item the permission model, of an identity all of it, and of what was not there that it was not."""
        group, members = Address.of(Kind.GROUP, "corp", "Team"), canonical_json({"members": ["user/corp/alice"]})
        more = canonical_json({"members": ["user/corp/alice", "user/corp/bob"]})
        with running(open_store()) as writer:
            accept(writer, Effect((resource("a"), resource("b"), resource("same"), Resource(group, members))))
        changed = Effect((resource("a", allowed=None), resource("same", "new"), resource("c"), Resource(group, more)))
        gone = Effect(deletes=(address("b"), address("never")))
        with running(open_store(), "run-2") as writer:
            accept(writer, changed, 1, 8)
            accept(writer, gone, 2, 9)
        store = open_store()
        assert store.runs_with_formers() == ("run-2", "run-1")
        assert store.formers("run-2") == {
            group: Former(group, True, access_digest(Resource(group, more)), members),
            address("a"): Former(
                address("a"), True, access_digest(resource("a", allowed=None)), b"", resource("a").shared
            ),
            address("b"): Former(address("b"), True, ABSENT, b"", resource("b").shared),
            address("c"): Former(address("c"), False, access_digest(resource("c"))),
        }
        assert list(store.formers("run-2")) == sorted(store.formers("run-2"))
        assert {former.existed for former in store.formers("run-1").values()} == {False}
        assert store.formers("nobody") == {}

    def test_the_first_before_and_the_last_left_of_a_run_count(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, Effect((resource("a", allowed="user/corp/1"),)))
        with running(open_store(), "run-2") as writer:
            accept(writer, Effect((resource("a", allowed="user/corp/2"),)), 1, 8)
            accept(writer, Effect((resource("a", allowed="user/corp/3"),)), 2, 9)
        first, last = resource("a", allowed="user/corp/1"), resource("a", allowed="user/corp/3")
        former = Former(address("a"), True, access_digest(last), b"", first.shared)
        assert open_store().formers("run-2") == {address("a"): former}

    def test_what_leaves_access_as_it_is_leaves_nothing_to_undo(self, open_store: OpenStore) -> None:
        group, doc = Address.of(Kind.GROUP, "corp", "Team"), {"members": ["user/corp/alice"]}
        with running(open_store()) as writer:
            accept(writer, Effect((resource("a"), Resource(group, canonical_json(doc)))))
        with running(open_store(), "run-2") as writer:
            protected = Resource(group, canonical_json({**doc, "protect": True}))
            accept(writer, Effect((resource("a", "new"), protected), (address("never"),)), 1, 8)
            for outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
                writer.settle(writer.intent(intent_for(put("b"), 2, 9)), outcome, at=LATER)
            writer.forget([address("a")], at=LATER)
        assert open_store().formers("run-2") == {}
        assert open_store().runs_with_formers() == ("run-2", "run-1")

    def test_a_run_that_died_has_formers_of_what_was_accepted(self, open_store: OpenStore) -> None:
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
            accept(writer, put("a"))
            writer.intent(intent_for(put("b"), 2))
        assert list(open_store().formers("run-1")) == [address("a")]

    def test_what_was_before_is_kept_of_every_run(self, open_store: OpenStore) -> None:
        store = open_store()
        runs = [f"run-{number}" for number in range(60)]
        for number, run in enumerate(runs):
            with running(store, run) as writer:
                accept(writer, Effect((resource("a", allowed=f"user/corp/{number}"),)), 1, 1 + 2 * number)
        assert store.runs_with_formers() == tuple(reversed(runs))
        assert store.formers(runs[0]) == {
            address("a"): Former(address("a"), False, access_digest(resource("a", allowed="user/corp/0")))
        }

    def test_what_changes_without_a_call_is_a_step_and_nothing_to_undo(self, open_store: OpenStore) -> None:
        """Whoever walks back finds all that changed; whoever undoes finds what the remote was told."""
        a, b, z = (address(name) for name in "abz")
        closed = resource("b", allowed=None)
        with running(open_store()) as writer:
            accept(writer, Effect((resource("a"), resource("b"))))
        with running(open_store(), "run-2") as writer:
            accept(writer, put("same"), 1, 8)
            accept(writer, put("same", title="new"), 2, 9)
            writer.record_state_only(Effect((closed,)), at="2026-03-01T10:00:10Z")
            writer.record_state_only(Effect((closed,)), at="2026-03-01T10:00:11Z")
            writer.move(a, z, at="2026-03-01T10:00:12Z")
            writer.forget([z], at="2026-03-01T10:00:13Z")
        with running(open_store(), "run-3") as writer:
            rows = [row for row in open_store().rows() if row.address != b]
            writer.replace(StateBase(LINEAGE, 90), rows, ())
        store = open_store()
        assert [(step.at, step.formers) for step in store.steps("run-2")] == [
            (LATER, (Former(address("same"), False, access_digest(resource("same"))),)),
            ("2026-03-01T10:00:10Z", (Former(b, True, access_digest(closed), b"", resource("b").shared),)),
            ("2026-03-01T10:00:11Z", ()),
            (
                "2026-03-01T10:00:12Z",
                (Former(z, False, access_digest(resource("a"))), Former(a, True, ABSENT, b"", resource("a").shared)),
            ),
            ("2026-03-01T10:00:13Z", (Former(z, True, ABSENT, b"", resource("a").shared),)),
        ]
        assert [(step.at, step.formers) for step in store.steps("run-3")] == [(NOW, (Former(b, True, ABSENT),))]
        assert list(store.formers("run-2")) == [address("same")]
        assert (store.formers("run-3"), store.check()) == ({}, ())
        assert [entry.intent.kind for entry in store.journal("run-3")] == [REPLACED]
        assert list(store.steps("nobody")) == []

    # --- doubt -----------------------------------------------------------------------------------

    def test_intent_without_outcome_is_in_doubt(self, open_store: OpenStore) -> None:
        effect = Effect((resource("a"),), (address("b"),))
        with open_store().lock(lock_info()) as writer:
            writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
            ticket = writer.intent(intent_for(effect))
        (entry,) = open_store().unsettled()
        assert (entry.seq, entry.run, entry.outcome) == (ticket, "run-1", None)
        assert entry.intent == intent_for(effect)
        assert entry.intent.covers == ((address("a"), PUT), (address("b"), DELETE))

    def test_doubt_narrows_as_later_calls_are_accepted(self, open_store: OpenStore) -> None:
        store = open_store()
        with running(store) as writer:
            ticket = writer.intent(intent_for(put("a", "b", "c", "d")))
            writer.settle(ticket, Outcome.UNKNOWN, at=LATER, detail="the reply was lost")
        with running(store, "run-2") as writer:
            accept(writer, put("b"), 1, 8)
            refused = writer.intent(intent_for(put("a"), 2))
            writer.settle(refused, Outcome.REFUSED, at=LATER)
            (entry,) = store.unsettled()
            assert [covered for covered, _ in entry.intent.covers] == [address(n) for n in "acd"]
            assert (entry.outcome, entry.detail) == (Outcome.UNKNOWN, "the reply was lost")
            writer.forget([address("a")], at=LATER)
            writer.record_state_only(put("c"), at=LATER)
            (entry,) = store.unsettled()
            assert entry.intent.covers == ((address("d"), PUT),)
        with running(store, "run-3") as writer:
            accept(writer, Effect(deletes=(address("d"),)), 1, 9)
            assert store.unsettled() == ()
        with running(store, "run-4") as writer:
            assert store.unsettled() == ()

    def test_unknown_may_be_settled_again_others_are_final(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            ticket = writer.intent(intent_for(put("a")))
            writer.settle(ticket, Outcome.UNKNOWN, at=NOW)
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put("a"))
            with pytest.raises(RuntimeError):
                writer.settle(ticket, Outcome.REFUSED, at=LATER)
        assert open_store().unsettled() == ()

    def test_what_was_never_answered_is_found_though_it_is_settled(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
            lost = writer.intent(intent_for(put("b"), 2, 8))
            late = writer.intent(intent_for(put("c"), 3, 9))
            for ticket in (lost, late):
                writer.settle(ticket, Outcome.UNKNOWN, at=NOW)
            writer.settle(late, Outcome.ACCEPTED, at=LATER, effect=put("c"))
            sent = writer.intent(intent_for(put("d"), 4, 10))
        with running(open_store(), "run-2") as writer:
            accept(writer, put("b", "d"), 1, 11)
            writer.replace(StateBase(LINEAGE, 90), open_store().rows(), ())
        store = open_store()
        assert store.unsettled() == ()
        *asked, replaced = store.unsure()
        assert [(entry.seq, entry.outcome) for entry in asked] == [(lost, Outcome.UNKNOWN), (sent, None)]
        assert replaced.intent.kind == REPLACED
        assert list(store.journal(after=sent)) == [entry for entry in store.journal() if entry.seq > sent]

    # --- changes by hand -------------------------------------------------------------------------

    def test_a_move_keeps_what_is_known_of_the_row(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a", "b"))
            writer.record_verified([Verification(address("a"), 7, REJECTED, "too big")])
        before = next(open_store().rows([address("a")]))
        with running(open_store(), "run-2") as writer:
            serial = open_store().base().serial
            assert writer.move(address("a"), address("z"), at=NOW) == serial + 1
            for old, new in (("a", "y"), ("b", "z")):
                with pytest.raises(RuntimeError):
                    writer.move(address(old), address(new), at=NOW)
        store = open_store()
        assert [row.address for row in store.rows()] == [address("b"), address("z")]
        assert next(store.rows([address("z")])) == replace(before, address=address("z"))
        assert store.rejected() == (address("z"),)
        assert (store.base().serial, store.check(), store.runs()[0].calls) == (serial + 1, (), Calls())
        (entry,) = store.journal("run-2")
        assert entry.intent.covers == ((address("z"), PUT), (address("a"), DELETE))

    def test_a_state_is_replaced_by_another_as_a_whole(
        self, open_store: OpenStore, open_fresh_store: Callable[[], OpenStore]
    ) -> None:
        other = open_fresh_store()
        with running(other()) as writer:
            accept(writer, Effect((resource("b"), resource("c", allowed=None))))
            writer.record_verified([Verification(address("b"), 7, REJECTED, "too big")])
            for number in (2, 3):
                doubt = writer.intent(intent_for(put("d"), number, 90 + number))
            writer.settle(doubt, Outcome.UNKNOWN, at=LATER, detail="lost")
        whole = take(other())
        with running(open_store()) as writer:
            accept(writer, put("a", "b"))
            writer.intent(intent_for(put("lost"), 2, 8))
        base = StateBase("another lineage", 40)
        with running(open_store(), "run-2") as writer:
            with pytest.raises(RuntimeError):
                writer.replace(StateBase(LINEAGE, 1), (), ())
            writer.replace(base, whole.rows, whole.unsettled)
            assert open_store().runs()[0].base == StateBase(LINEAGE, 1)
        store = open_store()
        assert take(store) == replace(whole, base=base)
        assert store.rejected() == (address("b"),)
        assert store.highest_ordering_id() == 93
        assert store.runs_with_formers() == ("run-2", "run-1")
        assert (list(store.formers("run-1")), store.check()) == ([address("a"), address("b")], ())
        pushed, first = store.runs()
        assert (pushed.base, pushed.serial, pushed.calls) == (StateBase(LINEAGE, 1), 40, Calls())
        assert (first.base, first.serial, first.calls) == (StateBase(LINEAGE, 0), 1, Calls(1, 0, 1))
        with running(open_store(), "run-3") as writer:
            accept(writer, put("d"), 1, 100)
        assert (open_store().unsettled(), open_store().base()) == ((), StateBase("another lineage", 41))
        assert (open_store().runs()[0].base, open_store().check()) == (base, ())
        assert open_store().runs_with_formers() == ("run-3", "run-2", "run-1")

    # --- moving to another store -----------------------------------------------------------------

    def test_a_state_moves_whole_with_its_history(
        self, open_store: OpenStore, open_fresh_store: Callable[[], OpenStore]
    ) -> None:
        eventful(open_store())
        source, other = open_store(), open_fresh_store()
        with other().lock(lock_info()) as writer, source.reading():
            writer.restore(source.dump())
        arrived = other()
        assert told(arrived) == told(source)
        assert arrived.check() == ()
        parts = list(source.dump())
        assert list(arrived.dump()) == parts
        assert list(parts_from_doc(orjson.loads(orjson.dumps(parts_doc(parts))))) == parts

        with running(other(), "run-9") as writer:
            accept(writer, put("d"), 1, 100)
        later = other()
        assert (later.base(), later.unsettled()) == (StateBase(LINEAGE, source.base().serial + 1), ())
        assert (later.runs()[2:], later.check()) == (source.runs()[1:], ())  # run-3 was chained as run-9 began
        assert first_misfit(later.runs()) is None
        assert list(source.dump()) == parts

    def test_an_absent_state_has_nothing_to_move(self, open_store: OpenStore) -> None:
        assert list(open_store().dump()) == []

    def test_a_state_is_restored_into_an_empty_one_or_not_at_all(
        self, open_store: OpenStore, open_fresh_store: Callable[[], OpenStore]
    ) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
        parts = list(open_store().dump())

        def broken() -> Iterator[Part]:
            yield from parts[:-1]
            raise LookupError

        other = open_fresh_store()
        with other().lock(lock_info()) as writer:
            with pytest.raises(LookupError):
                writer.restore(broken())
            assert (other().base(), list(other().rows()), other().runs()) == (StateBase("", 0), [], ())
            writer.restore(parts)
            with pytest.raises(RuntimeError):
                writer.restore(parts)
        assert list(other().dump()) == parts

    def test_no_run_begins_in_a_state_that_was_moved(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, put("a"))
        before = list(open_store().dump())
        with open_store().lock(lock_info()) as writer:
            writer.record_moved("postgresql://db.example.com/search")
        store = open_store()
        assert store.moved_to() == "postgresql://db.example.com/search"
        with store.lock(lock_info()) as writer, pytest.raises(StateError) as caught:
            writer.begin_run(run_info("run-2"), TARGET, lambda: LINEAGE)
        (problem,) = caught.value.problems
        assert problem.code == "state-migrated"
        assert "postgresql://db.example.com/search" in problem.what
        assert (list(open_store().dump()), open_store().check()) == (before, ())
        with open_store().lock(lock_info()) as writer:
            writer.record_moved("")
        with running(open_store(), "run-2"):
            assert open_store().moved_to() == ""

    # --- the lock --------------------------------------------------------------------------------

    def test_second_writer_is_told_who_holds_the_lock(self, open_store: OpenStore) -> None:
        with (
            open_store().lock(lock_info()),
            pytest.raises(StateError) as caught,
            open_store().lock(lock_info("lock-2")),
        ):
            pytest.fail("two writers at once")
        (problem,) = caught.value.problems
        assert problem.code == "state-locked"
        for told in ("alice", "host", NOW, "4242", "reconciler apply", "lock-1"):
            assert told in problem.what
        assert problem.fix

    def test_waiting_ends_when_the_lock_is_given_up(self, open_store: OpenStore) -> None:
        told: list[LockInfo | None] = []
        may_end = threading.Event()
        holds = threading.Event()

        def hold() -> None:
            with open_store().lock(lock_info()):
                holds.set()
                may_end.wait(10)

        def waiting(holder: LockInfo | None, waited: float) -> None:
            told.append(holder)
            may_end.set()

        thread = threading.Thread(target=hold)
        thread.start()
        assert holds.wait(10)
        with open_store().lock(lock_info("lock-2"), timeout=10, waiting=waiting) as writer:
            assert writer.abandoned_by is None
        thread.join()
        assert told == [lock_info()]

    def test_a_held_lock_is_not_cleared_and_another_id_clears_nothing(self, open_store: OpenStore) -> None:
        def refused(lock: str) -> str:
            with pytest.raises(StateError) as caught:
                open_store().unlock(lock)
            (problem,) = caught.value.problems
            return problem.code

        assert refused("lock-1") == "other-lock"
        with open_store().lock(lock_info()):
            assert (refused("lock-1"), refused("lock-2")) == ("state-locked", "other-lock")
            with pytest.raises(StateError), open_store().lock(lock_info("lock-2")):
                pytest.fail("the lock was cleared")
        assert refused("lock-1") == "other-lock"
        assert open_store().base() == StateBase("", 0)

    def test_lock_is_free_after_an_error(self, open_store: OpenStore) -> None:
        with pytest.raises(KeyError), open_store().lock(lock_info()):
            raise KeyError
        with open_store().lock(lock_info("lock-2")) as writer:
            assert writer.abandoned_by is None

    def test_misuse_is_a_bug_not_a_state(self, open_store: OpenStore) -> None:
        with open_store().lock(lock_info()) as writer:
            with pytest.raises(RuntimeError):
                writer.intent(intent_for(put("a")))
            writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
            ticket = writer.intent(intent_for(put("a")))
            with pytest.raises(RuntimeError):
                writer.settle(ticket, Outcome.REFUSED, at=LATER, effect=put("a"))
            with pytest.raises(RuntimeError):
                writer.settle(ticket + 1, Outcome.ACCEPTED, at=LATER)
        with pytest.raises(RuntimeError):
            writer.settle(ticket, Outcome.ACCEPTED, at=LATER, effect=put("a"))
        assert list(open_store().rows()) == []

    def test_writer_serves_several_threads(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            threads = [threading.Thread(target=accept, args=(writer, put(f"n{number}"), number)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(open_store().fingerprints()) == 8
        assert open_store().base().serial == 8

    # --- the whole -------------------------------------------------------------------------------

    def test_snapshot_of_a_store_comes_back(self, open_store: OpenStore) -> None:
        with running(open_store()) as writer:
            accept(writer, Effect((resource("b"), resource("a", allowed=None))))
            writer.record_verified([Verification(address("a"), 7, REJECTED, "too big")])
            writer.intent(intent_for(Effect((resource("c"),), (address("a"),)), 2))
        whole = take(open_store())
        assert whole.base == StateBase(LINEAGE, 2)
        assert whole.target == TARGET
        assert (len(whole.rows), len(whole.unsettled)) == (2, 1)
        assert decode(encode(whole)) == whole

    @given(data=st.data())
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
        database=None,
    )
    def test_rows_follow_the_definition(self, data: st.DataObject, open_fresh_store: Callable[[], OpenStore]) -> None:
        """Whatever is settled in whatever order, the rows are those of `advance`, and what was before is known."""
        open_store = open_fresh_store()
        names = st.sampled_from("abcde")
        effects = st.builds(
            lambda ups, deletes, title: Effect(
                tuple(resource(n, title, None if n == "c" else title) for n in ups), tuple(map(address, deletes))
            ),
            st.sets(names),
            st.sets(names),
            st.sampled_from("xyz"),
        )
        steps = data.draw(st.lists(st.tuples(st.sampled_from(["call", "refused", "local", "forget"]), effects)))
        rows: dict[Address, RecordedRow] = {}
        formers: dict[Address, Former] = {}
        with running(open_store()) as writer:
            for number, (step, effect) in enumerate(steps, 1):
                if step == "call":
                    accept(writer, effect, number, number)
                    earlier, rows = rows, advance(rows, effect, ordering_id=number, accepted_at=LATER, run="run-1")
                    merge(formers, [found for key in {*earlier, *rows} if (found := changed(key, earlier, rows))])
                elif step == "refused":
                    writer.settle(writer.intent(intent_for(effect)), Outcome.REFUSED, at=LATER)
                elif step == "local":
                    writer.record_state_only(effect, at=NOW)
                    rows = advance_state_only(rows, effect, at=NOW, run="run-1")
                else:
                    writer.forget(effect.deletes, at=NOW)
                    rows = advance_state_only(rows, Effect(deletes=effect.deletes), at=NOW, run="run-1")
        store = open_store()
        assert store.formers("run-1") == formers
        assert {row.address: row for row in store.rows()} == rows
        assert store.fingerprints() == {key: row.fingerprint for key, row in rows.items()}
        assert all(orjson.loads(row.doc) for row in store.rows())
