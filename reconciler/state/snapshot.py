"""The recorded state as one canonical JSON text, for people, diffs and moves between stores.

The same state is the same text, whatever store it came from: keys sorted, resources sorted by
address, one resource a line, so that a line-by-line diff names what changed. `decode` gives back what
`encode` was given, and refuses a text that a later version wrote or that lost something on its way.
Pure. The text, format version 1:

    {
    "format_version": 1,
    "lineage": "...", "serial": 43,
    "target": {"organization": ..., "providers": {name: id}, "sources": {name: id}} or null,
    "unsettled": [{"at", "call", "covers": [[verb, [address, ...]], ...], "kind", "ordering_id",
                   "outcome": "unknown" or null, "request_digest", "run", "settled_at", "detail"}, ...],
    "resources": [{"accepted_at", "address", "doc": {...}, "ordering_id", "run",
                   "shared": {...} or null, "verified": "verified", "rejected" or null,
                   "verified_detail"}, ...]
    }

History (runs, settled entries of the journal, what runs found before them) stays with the store it was made in: a
diff of two snapshots tells what became of the resources, and a run can be undone where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

import orjson

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import StateBase, Target
from reconciler.problems import Problem, StateError
from reconciler.state.journal import Intent, JournalEntry, Outcome
from reconciler.state.packing import covers_doc, covers_from_doc, target_doc, target_from_doc
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow
from reconciler.state.store import StateReader

FORMAT_VERSION = 1
_HIGHEST = (1 << 63) - 1

T = TypeVar("T")

_TOP = {"format_version", "lineage", "serial", "target", "unsettled", "resources"}
_ROW: dict[str, type | tuple[type, ...]] = {
    "accepted_at": str,
    "address": str,
    "doc": dict,
    "ordering_id": int,
    "run": str,
    "shared": (dict, type(None)),
    "verified": (str, type(None)),
    "verified_detail": str,
}
_ENTRY: dict[str, type | tuple[type, ...]] = {
    "at": str,
    "call": int,
    "covers": list,
    "detail": str,
    "kind": str,
    "ordering_id": int,
    "outcome": (str, type(None)),
    "request_digest": str,
    "run": str,
    "settled_at": str,
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A recorded state as one value: rows sorted by address, doubts oldest first (`seq` from 1)."""

    base: StateBase
    target: Target | None
    rows: tuple[RecordedRow, ...] = ()
    unsettled: tuple[JournalEntry, ...] = ()


def take(state: StateReader) -> Snapshot:
    """Return what a store holds at one moment."""
    with state.reading():
        doubts = tuple(
            JournalEntry(number, entry.run, entry.intent, entry.outcome, entry.settled_at, entry.detail)
            for number, entry in enumerate(state.unsettled(), 1)
        )
        return Snapshot(state.base(), state.target(), tuple(state.rows()), doubts)


def encode(snapshot: Snapshot) -> bytes:
    """Return the canonical text of a snapshot, ending in a line break."""
    target = target_doc(snapshot.target) if snapshot.target else None
    head = b'{\n"format_version": %d,\n"lineage": %s,\n"serial": %d,\n"target": %s,\n"unsettled": ' % (
        FORMAT_VERSION,
        orjson.dumps(snapshot.base.lineage),
        snapshot.base.serial,
        canonical_json(target),
    )
    entries = _lines(map(_entry_doc, snapshot.unsettled))
    rows = _lines(map(_row_doc, sorted(snapshot.rows, key=lambda row: row.address)))
    return head + entries + b',\n"resources": ' + rows + b"\n}\n"


def decode(text: bytes, name: str = "the snapshot") -> Snapshot:
    """Return the snapshot that a text describes; `name` is how messages call it.

    Raises StateError: `snapshot-newer-version`, or `snapshot-broken` with the place.
    """
    try:
        doc = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        _broken(f"{name}:{error.lineno}:{error.colno}", f"it is no JSON: {error.msg}")
    version = doc.get("format_version") if isinstance(doc, dict) else None
    if type(version) is not int or version < 1:
        _broken(name, 'it has no "format_version", so it is no snapshot of a state')
    if version > FORMAT_VERSION:
        raise StateError(_newer(name, version))
    try:
        return _snapshot(doc)
    except ValueError as error:
        _broken(name, str(error))


def _snapshot(doc: dict[str, Any]) -> Snapshot:
    if doc.keys() != _TOP:
        raise ValueError(_key_trouble("the snapshot", set(doc), _TOP))
    lineage, serial = doc["lineage"], doc["serial"]
    if not isinstance(lineage, str) or type(serial) is not int or not 0 <= serial <= _HIGHEST:
        raise ValueError("lineage must be a string, serial a number from 0")
    try:
        target = None if doc["target"] is None else target_from_doc(doc["target"])
    except ValueError as error:
        raise ValueError(f"target: {error}") from error
    rows = _each(doc, "resources", _ROW, _row)
    rows.sort(key=lambda row: row.address)
    for first, second in pairwise(rows):
        if first.address == second.address:
            raise ValueError(f'"{first.address}" is there twice')
    doubts = _each(doc, "unsettled", _ENTRY, _entry)
    return Snapshot(StateBase(lineage, serial), target, tuple(rows), tuple(doubts))


def _each(
    doc: dict[str, Any],
    key: str,
    shape: dict[str, type | tuple[type, ...]],
    make: Callable[[int, dict[str, Any]], T],
) -> list[T]:
    values = doc[key]
    if not isinstance(values, list):
        raise ValueError(f"{key} must be a list")
    made = []
    for number, entry in enumerate(values, 1):
        place = f"{key}, entry {number}"
        if not isinstance(entry, dict) or entry.keys() != shape.keys():
            found = set(entry) if isinstance(entry, dict) else set()
            raise ValueError(_key_trouble(place, found, set(shape)))
        for name, kind in shape.items():
            if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
                raise ValueError(f'{place}: "{name}" has a value of another kind')
            if kind is int and not 0 <= entry[name] <= _HIGHEST:
                raise ValueError(f'{place}: "{name}" is no number from 0 to {_HIGHEST}')
        try:
            made.append(make(number, entry))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    return made


def _row_doc(row: RecordedRow) -> dict[str, Any]:
    # The documents are canonical JSON already: they go in as they are.
    return {
        "accepted_at": row.accepted_at,
        "address": str(row.address),
        "doc": orjson.Fragment(row.doc),
        "ordering_id": row.ordering_id,
        "run": row.run,
        "shared": orjson.Fragment(row.shared) if row.shared else None,
        "verified": row.verified,
        "verified_detail": row.verified_detail,
    }


def _row(_number: int, doc: dict[str, Any]) -> RecordedRow:
    if doc["verified"] not in (None, VERIFIED, REJECTED):
        raise ValueError(f'"verified" must be "{VERIFIED}", "{REJECTED}" or null')
    return RecordedRow(
        _address(doc["address"]),
        canonical_json(doc["doc"]),
        b"" if doc["shared"] is None else canonical_json(doc["shared"]),
        doc["ordering_id"],
        doc["accepted_at"],
        doc["run"],
        doc["verified"],
        doc["verified_detail"],
    )


def _entry_doc(entry: JournalEntry) -> dict[str, Any]:
    intent = entry.intent
    return {
        "at": intent.at,
        "call": intent.call,
        "covers": covers_doc(intent.covers),
        "detail": entry.detail,
        "kind": intent.kind,
        "ordering_id": intent.ordering_id,
        "outcome": entry.outcome.value if entry.outcome else None,
        "request_digest": intent.request_digest,
        "run": entry.run,
        "settled_at": entry.settled_at,
    }


def _entry(number: int, doc: dict[str, Any]) -> JournalEntry:
    covers = covers_from_doc(doc["covers"])
    for address, _ in covers:
        _address(address)
    intent = Intent(doc["call"], doc["kind"], doc["request_digest"], doc["ordering_id"], doc["at"], covers)
    outcome = None if doc["outcome"] is None else Outcome(doc["outcome"])
    return JournalEntry(number, doc["run"], intent, outcome, doc["settled_at"], doc["detail"])


def _address(text: str) -> Address:
    parts = text.split("/", 2)
    if len(parts) < 3 or not all(parts) or parts[0] not in set(Kind):
        raise ValueError(f'"{text}" is no address')
    return Address(text)


def _lines(docs: Iterable[dict[str, Any]]) -> bytes:
    lines = [orjson.dumps(doc) for doc in docs]  # keys are in order as written
    return b"[\n" + b",\n".join(lines) + b"\n]" if lines else b"[]"


def _key_trouble(place: str, found: set[str], expected: set[str]) -> str:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    told = [f'"{name}" is missing' for name in missing] + [f'"{name}" is unknown' for name in unknown]
    return f"{place}: {', '.join(told)}"


def _newer(name: str, version: int) -> Problem:
    return Problem(
        code="snapshot-newer-version",
        what=f"it has format version {version}; this reconciler knows versions up to {FORMAT_VERSION}",
        why="reading it by older rules could lose or misread what was accepted.",
        fix="use the version of reconciler that wrote it, or a later one.",
        where=name,
    )


def _broken(where: str, what: str) -> NoReturn:
    raise StateError(
        Problem(
            code="snapshot-broken",
            what=what,
            why="half a state is worse than none: what is missing from it would be sent or deleted wrongly.",
            fix="make it anew from the store it came from:\n    reconciler state pull",
            where=where,
        )
    )
