"""The past as the history tells it is what was recorded then, whatever was done since, to the millisecond."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json
from reconciler.model.former import access_digest
from reconciler.model.instant import moment_text
from reconciler.model.states import Resource, Target
from reconciler.permissions.readings import Readings
from reconciler.problems import StateError
from reconciler.state.journal import Effect, Intent, JournalEntry, Outcome, RunInfo
from reconciler.state.past import Past, past_of
from reconciler.state.snapshot import Snapshot, take
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo, Store, Writer
from tests.property.test_permissions import ADDRESSES, defined, known, related, resources

LOCK = LockInfo("lock", "reconciler apply", "2026-03-01T00:00:00.000Z", "host", "alice", 1)
START = 1_772_323_200_000  # 2026-03-01 in milliseconds since 1970
FEW = [*ADDRESSES[:4], *ADDRESSES[-8:]]  # so that the same address is changed often

EFFECTS = st.builds(
    lambda drawn, gone: Effect(
        tuple(resource for resource in drawn if resource), tuple(Address(address) for address in sorted(gone))
    ),
    st.tuples(*map(resources, FEW)),
    st.sets(st.sampled_from(FEW), max_size=3),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *["accepted"] * 4,
                "refused",
                "unknown",
                "late",
                "local",
                "forget",
                "move",
                "protect",
                "run",
                "die",
                "push",
            ]
        ),
        EFFECTS,
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=14,
)


@dataclass
class Life:
    """A state that is written to, and copies of what was recorded in it at each of its moments."""

    store: Store
    now: int = START
    runs: int = 0
    calls: int = 0
    copies: dict[int, tuple[dict[str, Resource], list[tuple[str, dict[str, str]]]]] = field(default_factory=dict)
    kept: list[Snapshot] = field(default_factory=list)

    @property
    def at(self) -> str:
        return moment_text(self.now)

    def remember(self, wait: int) -> None:
        """Keep a copy of this moment, and let time pass; what happens in the same millisecond belongs to it."""
        self.copies[self.now] = ({str(row.address): row.resource for row in self.store.rows()}, self.doubts())
        self.now += wait

    def doubts(self) -> list[tuple[str, dict[str, str]]]:
        return told(self.store.unsettled())

    @contextmanager
    def run(self) -> Iterator[Writer]:
        with self.store.lock(LOCK) as writer:
            self.runs += 1
            run = RunInfo(f"run-{self.runs}", "reconciler apply", self.at)
            writer.begin_run(run, Target("org"), lambda: "lineage")
            yield writer

    def intent(self, writer: Writer, effect: Effect) -> int:
        self.calls += 1
        return writer.intent(Intent(self.calls, "item-batch", "", self.calls, self.at, effect.covers))

    def live(self, steps: list[tuple[str, Effect, int]]) -> None:
        """Do all of it: each run goes on until it ends, dies, or gives way to a pushed state."""
        left = list(steps)
        while left:
            with self.run() as writer:
                died = False
                while left and not died:
                    what, effect, wait = left.pop(0)
                    if what in ("run", "push"):
                        break
                    died = what == "die"
                    self.step(writer, what, effect, wait)
                else:
                    what = ""
                if not died:
                    writer.end_run(at=self.at, result="done")
            self.remember(1)
            if what == "push":
                self.push(effect)

    def push(self, effect: Effect) -> None:
        """Make an earlier state the recorded one, or one that no run left."""
        self.kept.append(take(self.store))
        chosen = self.kept[len(effect.deletes) % len(self.kept)]
        kept = [row for row in chosen.rows if row.address not in effect.deletes]
        with self.run() as writer:
            writer.replace(replace(chosen.base, serial=self.store.base().serial + 1), kept, chosen.unsettled)
            self.remember(1)
            writer.end_run(at=self.at, result="done")
        self.remember(1)

    def step(self, writer: Writer, what: str, effect: Effect, wait: int) -> None:
        if what in ("accepted", "refused", "unknown", "late", "die"):
            ticket = self.intent(writer, effect)
            self.remember(wait)
            if what == "die":
                return
            if what == "late":
                writer.settle(ticket, Outcome.UNKNOWN, at=self.at)
                self.remember(wait)
            outcome = Outcome.ACCEPTED if what == "late" else Outcome(what)
            accepted = {"effect": effect} if outcome is Outcome.ACCEPTED else {}
            writer.settle(ticket, outcome, at=self.at, **accepted)  # type: ignore[arg-type]
        elif what == "local":
            writer.record_state_only(effect, at=self.at)
        elif what == "protect":
            rows = list(self.store.rows())[:3]
            protected = (
                Resource(row.address, canonical_json({**row.resource.own(), "protect": True}), row.shared)
                for row in rows
            )
            writer.record_state_only(Effect(tuple(protected)), at=self.at)
        elif what == "forget":
            writer.forget(effect.deletes, at=self.at)
        elif what == "move":
            self.move(writer)
        self.remember(wait)

    def move(self, writer: Writer) -> None:
        there = self.store.fingerprints()
        old = next((address for address in FEW if address in there), None)
        free = (address for address in FEW if address not in there)
        new = next((address for address in free if old and Address(address).kind == Address(old).kind), None)
        if old and new:
            writer.move(old, new, at=self.at)


def told(entries: Iterable[JournalEntry]) -> list[tuple[str, dict[str, str]]]:
    """Return which run sent what, where nobody knows what became of it."""
    found = [(entry.run, {str(at): verb for at, verb in entry.intent.covers}) for entry in entries]
    return sorted(found, key=lambda pair: (pair[0], sorted(pair[1])))


def world_then(store: Store, past: Past) -> dict[str, Resource]:
    addresses = list(past.fingerprints(store.fingerprints()))
    return past.resources({row.address: row.resource for row in store.rows(addresses)}, addresses)


@settings(max_examples=60)
@given(steps=STEPS)
def test_what_is_told_of_a_moment_is_what_was_recorded_then(steps: list[tuple[str, Effect, int]]) -> None:
    with tempfile.TemporaryDirectory() as name, SqliteStore(Path(name) / "state.db") as store:
        life = Life(store)
        life.live(steps)
        assert store.check() == ()
        for moment, (rows, doubts) in life.copies.items():
            past = past_of(store, moment, store.fingerprints())
            then = world_then(store, past)
            assert {at: access_digest(resource) for at, resource in then.items()} == {
                at: access_digest(resource) for at, resource in rows.items()
            }
            assert list(past.fingerprints(store.fingerprints())) == sorted(rows)
            assert (told(past.doubts), past.misdated) == (doubts, ())
        with pytest.raises(StateError, match="reaches back to 2026-03-01T00:00:00Z"):
            past_of(store, START - 1, store.fingerprints())
        with SqliteStore(Path(name) / "moved.db") as moved:
            with moved.lock(LOCK) as writer, store.reading():
                writer.restore(store.dump())
            for moment in life.copies:
                assert past_of(moved, moment, moved.fingerprints()) == past_of(store, moment, store.fingerprints())


@settings(max_examples=30)
@given(steps=STEPS, data=st.data())
def test_who_saw_what_is_as_it_was_worked_out_then(steps: list[tuple[str, Effect, int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name, SqliteStore(Path(name) / "state.db") as store:
        life = Life(store)
        life.live(steps)
        moment = data.draw(st.sampled_from(sorted(life.copies)))
        rows, _ = life.copies[moment]
        then = world_then(store, past_of(store, moment, store.fingerprints()))
        readings = Readings()
        people = known(related(rows, readings)) | known(related(then, readings))
        was, is_told = (defined(world, readings, people) for world in (rows, then))
        assert (is_told.pairs, is_told.public) == (was.pairs, was.public)
