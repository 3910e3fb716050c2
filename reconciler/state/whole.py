"""All that a state holds, its history included, as a stream of typed parts: how it goes from one store to another.

A store gives the parts by `StateReader.dump` and takes them by `Writer.restore`; the numbers of runs and journal
entries stay what they are, for what a run found before it is filed under them. Unlike a snapshot (`snapshot.py`) it is
not for people, and of no format that outlives a version. Pure: knows nothing of how a store keeps any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import StateBase
from reconciler.problems import Problem
from reconciler.state.journal import Calls, Intent, JournalEntry, Outcome, RunInfo, RunRecord
from reconciler.state.packing import (
    LARGEST,
    covers_doc,
    covers_from_doc,
    pack_formers,
    target_doc,
    target_from_doc,
    unpack_formers,
)
from reconciler.state.rows import RecordedRow


@dataclass(frozen=True, slots=True)
class Head:
    """The first part. `run_lineage` is the lineage that the last run found; `formers_from` is the number of the first
    run of which it is kept what it found."""

    base: StateBase
    run_lineage: str
    formers_from: int
    activities: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run and its number, oldest first."""

    seq: int
    record: RunRecord


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """A journal entry, oldest first, and whether a store counts it as in doubt."""

    entry: JournalEntry
    in_doubt: bool


@dataclass(frozen=True, slots=True)
class KeptFormers:
    """What the change with this number in the journal found, oldest first."""

    seq: int
    run: str
    formers: tuple[Former, ...]


Part = Head | KeptRun | RecordedRow | KeptEntry | KeptFormers
"""A stream has one `Head`, then runs, rows in address order, journal entries and formers."""


def parts_doc(parts: Iterable[Part]) -> dict[str, Any]:
    """Return a whole stream as one JSON document; what many rows share stands in it once."""
    shared: dict[bytes, int] = {}
    doc: dict[str, Any] = {"head": None, "runs": [], "rows": [], "entries": [], "formers": []}
    for part in parts:
        if isinstance(part, Head):
            activities = [list(entry) for entry in part.activities]
            doc["head"] = [part.base.lineage, part.base.serial, part.run_lineage, part.formers_from, activities]
        elif isinstance(part, KeptRun):
            doc["runs"].append([part.seq, *_run_cells(part.record)])
        elif isinstance(part, RecordedRow):
            doc["rows"].append([str(part.address), part.doc.decode(), _number(shared, part.shared), *_how(part)])
        elif isinstance(part, KeptEntry):
            doc["entries"].append([*_entry_cells(part.entry), part.in_doubt])
        else:
            doc["formers"].append([part.seq, part.run, pack_formers(part.formers, LARGEST)])
    return {**doc, "shared": [text.decode() for text in shared]}


def parts_from_doc(doc: dict[str, Any]) -> Iterator[Part]:
    """Yield the stream that `parts_doc` was given.

    Raises ValueError, KeyError, TypeError or IndexError for what it never made.
    """
    lineage, serial, run_lineage, formers_from, activities = doc["head"]
    yield Head(
        StateBase(lineage, serial), run_lineage, formers_from, tuple((source, path) for source, path in activities)
    )
    for seq, *cells in doc["runs"]:
        yield KeptRun(seq, _run(*cells))
    shared = [text.encode() for text in doc["shared"]]
    for address, own, number, *how in doc["rows"]:
        yield RecordedRow(Address(address), own.encode(), shared[number], *how)
    for *cells, in_doubt in doc["entries"]:
        yield KeptEntry(_entry(*cells), in_doubt)
    for seq, run, formers in doc["formers"]:
        yield KeptFormers(seq, run, unpack_formers(formers))


def moved_problem(where: str, to: str) -> Problem:
    """Return the problem `state-migrated`: where a state went that nobody may write to any more."""
    return Problem(
        code="state-migrated",
        what=f"this state was moved to {to}",
        why="what is recorded here since then would be missing there, and the other way round.",
        fix=f"say `state: {to}` in reconciler.yaml, or, if it is to be used again here:\n    reconciler state reopen",
        where=where,
    )


def _number(shared: dict[bytes, int], text: bytes) -> int:
    return shared.setdefault(text, len(shared))


def _how(row: RecordedRow) -> tuple[Any, ...]:
    return (row.ordering_id, row.accepted_at, row.run, row.verified, row.verified_detail)


def _run_cells(record: RunRecord) -> tuple[Any, ...]:
    return (
        *(asdict(record.run), target_doc(record.target), record.base.lineage, record.base.serial, record.serial),
        *(record.ended_at, record.result, record.detail, asdict(record.calls), record.digest),
    )


def _run(
    run: dict[str, str], target: Any, lineage: str, base: int, serial: int, ended: str, result: str, *rest: Any
) -> RunRecord:
    detail, calls, digest = rest
    started_from = StateBase(lineage, base)
    return RunRecord(
        RunInfo(**run), target_from_doc(target), started_from, serial, ended, result, detail, Calls(**calls), digest
    )


def _entry_cells(entry: JournalEntry) -> tuple[Any, ...]:
    intent = entry.intent
    return (
        *(entry.seq, entry.run, entry.outcome, entry.settled_at, entry.detail),
        *(intent.call, intent.kind, intent.request_digest, intent.ordering_id, intent.at, covers_doc(intent.covers)),
    )


def _entry(seq: int, run: str, outcome: str | None, settled_at: str, detail: str, *cells: Any) -> JournalEntry:
    call, kind, request_digest, ordering_id, at, covers = cells
    intent = Intent(call, kind, request_digest, ordering_id, at, covers_from_doc(covers))
    return JournalEntry(seq, run, intent, None if outcome is None else Outcome(outcome), settled_at, detail)
