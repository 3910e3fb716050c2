"""The chain of runs: every value of a record counts, and the oldest record that does not fit is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from reconciler.model.states import StateBase, Target
from reconciler.state.chain import first_misfit, link, misfit_told
from reconciler.state.journal import Calls, RunInfo, RunRecord

RECORD = RunRecord(
    RunInfo("run-1", "apply", "t0", "host", "alice", "plan", "0.1.0", "local", "c0ffee"),
    Target("org", (("handbook", "id"),), (("corp", "id"),)),
    StateBase("6d1c", 3),
    5,
    "t9",
    "done",
    "detail",
    Calls(1, 2, 3),
)


def variants() -> Iterator[RunRecord]:
    for field in fields(RunInfo):
        yield replace(RECORD, run=replace(RECORD.run, **{field.name: "other"}))
    for field in fields(Calls):
        yield replace(RECORD, calls=replace(RECORD.calls, **{field.name: 9}))
    for name, value in {"serial": 6, "ended_at": "", "result": "failed", "detail": ""}.items():
        yield replace(RECORD, **{name: value})
    yield replace(RECORD, base=StateBase("other", 3))
    yield replace(RECORD, base=StateBase("6d1c", 4))
    yield replace(RECORD, target=replace(RECORD.target, organization="other"))
    yield replace(RECORD, target=replace(RECORD.target, sources=()))
    yield replace(RECORD, target=replace(RECORD.target, providers=()))


def chained(*records: RunRecord) -> tuple[RunRecord, ...]:
    """Return a history (newest first) of records in order of time."""
    history: list[RunRecord] = []
    for record in records:
        history.insert(0, replace(record, digest=link(history[0].digest if history else "", record)))
    return tuple(history)


def run(number: int) -> RunRecord:
    return replace(RECORD, run=replace(RECORD.run, id=f"run-{number}"))


def test_every_value_and_the_record_before_count() -> None:
    digests = [link("", record) for record in (RECORD, *variants())] + [link("0" * 64, RECORD)]
    assert len(set(digests)) == len(digests)
    assert link("", replace(RECORD, digest="x")) == digests[0], "its own digest is no part of it"


def test_a_digest_is_the_same_everywhere_and_for_ever() -> None:
    """Chains that are written down by now depend on it."""
    assert link("", RECORD) == "9935421ba969e127654690d9a28c66c261dee16b2c4678b5843fae7c8777061a"


def test_the_oldest_misfit_is_found() -> None:
    history = chained(*map(run, range(5)))
    assert first_misfit(history) is None
    changed = (*history[:2], replace(history[2], serial=77), replace(history[3], detail="x"), history[4])
    assert first_misfit(changed) is changed[3]
    assert misfit_told(changed, changed[3]) == "run run-1 of t0, number 2 of 5, does not fit its digest"
    assert first_misfit((*history[:3], history[4])) is history[2], "one was removed"
    assert first_misfit(history[:-1]) is history[3]
    assert first_misfit((history[1], history[0], *history[2:])) is history[0], "two changed places"


@pytest.mark.parametrize(
    ("ended_at", "fits"), [pytest.param("", True, id="under way"), pytest.param("t9", False, id="ended")]
)
def test_only_a_run_that_did_not_end_may_be_without_digest(ended_at: str, fits: bool) -> None:
    newest = replace(run(9), ended_at=ended_at)
    history = (newest, *chained(run(0), run(1)))
    assert first_misfit(history) is (None if fits else newest)


def test_a_history_from_before_there_were_digests_fits() -> None:
    assert first_misfit((run(1), run(0))) is None
    assert first_misfit(()) is None
