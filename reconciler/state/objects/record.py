"""Records of the log: one call of a state's writer each, as plain values, and how they are done again.

Doing all of them in order, on an empty state, gives the state. A record says which one came before it by its digest,
so that none can be dropped, swapped or slipped in unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.states import Resource, StateBase, Target
from reconciler.state.journal import Effect, Intent, JournalEntry, Outcome, RunInfo
from reconciler.state.packing import covers_doc, covers_from_doc, target_doc, target_from_doc
from reconciler.state.rows import RecordedRow, Verification
from reconciler.state.store import Writer
from reconciler.state.whole import Part, parts_doc, parts_from_doc

FORMAT = 1
FENCE = "fence"
"""A record that does nothing: it takes the next number, which a holder that lost the lock can then take no more."""

Doc = dict[str, Any]


class NewerFormatError(ValueError):
    """A record of a format that is not known yet."""

    def __init__(self, found: int) -> None:
        super().__init__(f"format {found}")
        self.found = found


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    `previous` is the digest (hex) of the record before, empty for the first. `lock`, `generation` and `count` say who
    wrote it: the lock's id, its generation and how many records that holder had begun before. `tables` is the version
    of the tables (`sqlite.schema.FORMAT_VERSION`) that it was written for. `run` is empty outside a run.
    """

    number: int
    previous: str
    lock: str
    generation: int
    count: int
    tables: int
    run: str
    call: str
    arguments: Doc

    def encode(self) -> bytes:
        """Return the record as JSON."""
        return orjson.dumps({"format": FORMAT, **{name: getattr(self, name) for name in self.__slots__}})


def name_of(number: int) -> str:
    """Return the name of the object that holds a record: names sort as numbers do."""
    return f"log/{number:020}"


def number_of(name: str) -> int | None:
    """Return the number of the record in an object, None if the name is not one of ours."""
    digits = name.removeprefix("log/")
    return int(digits) if len(digits) == 20 and digits.isascii() and digits.isdigit() else None


def decode(content: bytes) -> Record:
    """Return the record. Raises ValueError when it is none, `NewerFormatError` when it is of a later format."""
    doc = orjson.loads(content)
    if not isinstance(doc, dict) or not isinstance(doc.get("format"), int):
        raise ValueError("it is no record")
    if doc.pop("format") > FORMAT:
        raise NewerFormatError(orjson.loads(content)["format"])
    try:
        record = Record(**doc)
    except TypeError as error:
        raise ValueError("it is no record") from error
    numbers = (record.number, record.generation, record.count, record.tables)
    texts = (record.previous, record.lock, record.run, record.call)
    if not all(isinstance(value, int) for value in numbers) or not all(isinstance(value, str) for value in texts):
        raise ValueError("it is no record")
    return record


# --- what a call was given ------------------------------------------------------------------------


def begin_run(run: RunInfo, target: Target, lineage: str) -> Doc:
    """Return what `Writer.begin_run` was given, and the lineage that the state has since."""
    return {"run": asdict(run), "target": target_doc(target), "lineage": lineage}


def intent(entry: Intent) -> Doc:
    """Return what `Writer.intent` was given."""
    return {"intent": _intent_doc(entry)}


def settle(ticket: int, outcome: Outcome, *, at: str, effect: Effect, detail: str, ordering_id: int | None) -> Doc:
    """Return what `Writer.settle` was given."""
    return {
        "ticket": ticket,
        "outcome": outcome.value,
        "at": at,
        "effect": _effect_doc(effect),
        "detail": detail,
        "ordering_id": ordering_id,
    }


def activities(entries: Iterable[tuple[str, str]]) -> Doc:
    """Return what `Writer.record_activities` was given."""
    return {"activities": [list(entry) for entry in entries]}


def state_only(effect: Effect, *, at: str) -> Doc:
    """Return what `Writer.record_state_only` was given."""
    return {"effect": _effect_doc(effect), "at": at}


def verified(entries: Iterable[Verification]) -> Doc:
    """Return what `Writer.record_verified` was given."""
    return {"verified": [[str(e.address), e.ordering_id, e.verified, e.detail] for e in entries]}


def forget(addresses: Iterable[str], *, at: str) -> Doc:
    """Return what `Writer.forget` was given."""
    return {"addresses": list(map(str, addresses)), "at": at}


def move(old: str, new: str, *, at: str) -> Doc:
    """Return what `Writer.move` was given."""
    return {"old": str(old), "new": str(new), "at": at}


def replace(base: StateBase, rows: Iterable[RecordedRow], unsettled: Iterable[JournalEntry]) -> Doc:
    """Return what `Writer.replace` was given."""
    shared: dict[bytes, int] = {}
    cells = [
        [
            *(str(row.address), row.doc.decode(), shared.setdefault(row.shared, len(shared)), row.ordering_id),
            *(row.accepted_at, row.run, row.verified, row.verified_detail),
        ]
        for row in rows
    ]
    return {
        "lineage": base.lineage,
        "serial": base.serial,
        "shared": [doc.decode() for doc in shared],
        "rows": cells,
        "unsettled": [
            [entry.seq, entry.run, _intent_doc(entry.intent), entry.outcome, entry.settled_at, entry.detail]
            for entry in unsettled
        ],
    }


def restore(parts: Iterable[Part]) -> Doc:
    """Return what `Writer.restore` was given."""
    return parts_doc(parts)


def moved(to: str) -> Doc:
    """Return what `Writer.record_moved` was given."""
    return {"to": to}


def end_run(*, at: str, result: str, detail: str) -> Doc:
    """Return what `Writer.end_run` was given."""
    return {"at": at, "result": result, "detail": detail}


# --- doing it again -------------------------------------------------------------------------------


def replay(writer: Writer, record: Record) -> object:
    """Call the writer as the record says; return what it returns.

    Raises ValueError, KeyError, TypeError, IndexError or AttributeError for what was never written down here, and
    what the writer raises for a call that does not fit what came before.
    """
    if record.call == FENCE:
        return None
    return _REPLAYS[record.call](writer, record.arguments)


def _replay_replace(writer: Writer, doc: Doc) -> None:
    shared = [text.encode() for text in doc["shared"]]
    rows = [
        RecordedRow(Address(address), own.encode(), shared[model], *rest) for address, own, model, *rest in doc["rows"]
    ]
    unsettled = [
        JournalEntry(seq, run, _intent(entry), None if outcome is None else Outcome(outcome), settled_at, detail)
        for seq, run, entry, outcome, settled_at, detail in doc["unsettled"]
    ]
    writer.replace(StateBase(doc["lineage"], doc["serial"]), rows, unsettled)


_REPLAYS: MappingProxyType[str, Callable[[Writer, Doc], object]] = MappingProxyType(
    {
        "begin_run": lambda writer, doc: writer.begin_run(
            RunInfo(**doc["run"]), target_from_doc(doc["target"]), lambda: str(doc["lineage"])
        ),
        "intent": lambda writer, doc: writer.intent(_intent(doc["intent"])),
        "settle": lambda writer, doc: writer.settle(
            doc["ticket"],
            Outcome(doc["outcome"]),
            at=doc["at"],
            effect=_effect(doc["effect"]),
            detail=doc["detail"],
            ordering_id=doc["ordering_id"],
        ),
        "record_activities": lambda writer, doc: writer.record_activities(
            (source, path) for source, path in doc["activities"]
        ),
        "record_state_only": lambda writer, doc: writer.record_state_only(_effect(doc["effect"]), at=doc["at"]),
        "record_verified": lambda writer, doc: writer.record_verified(
            Verification(Address(address), *rest) for address, *rest in doc["verified"]
        ),
        "forget": lambda writer, doc: writer.forget(doc["addresses"], at=doc["at"]),
        "move": lambda writer, doc: writer.move(doc["old"], doc["new"], at=doc["at"]),
        "replace": _replay_replace,
        "restore": lambda writer, doc: writer.restore(parts_from_doc(doc)),
        "record_moved": lambda writer, doc: writer.record_moved(doc["to"]),
        "end_run": lambda writer, doc: writer.end_run(at=doc["at"], result=doc["result"], detail=doc["detail"]),
    }
)


def _intent_doc(entry: Intent) -> Doc:
    # Not `dataclasses.asdict`, which would copy every address that it covers.
    return {**{name: getattr(entry, name) for name in entry.__slots__}, "covers": covers_doc(entry.covers)}


def _intent(doc: Doc) -> Intent:
    return Intent(**{**doc, "covers": covers_from_doc(doc["covers"])})


def _effect_doc(effect: Effect) -> Doc:
    # Few models are shared by many items, so each stands there once and the others name it by its number.
    shared: dict[bytes, int] = {}
    upserts = [
        [str(entry.address), entry.doc.decode(), shared.setdefault(entry.shared, len(shared))]
        for entry in effect.upserts
    ]
    return {
        "shared": [doc.decode() for doc in shared],
        "upserts": upserts,
        "deletes": list(map(str, effect.deletes)),
    }


def _effect(doc: Doc) -> Effect:
    shared = [text.encode() for text in doc["shared"]]
    return Effect(
        tuple(Resource(Address(address), own.encode(), shared[model]) for address, own, model in doc["upserts"]),
        tuple(map(Address, doc["deletes"])),
    )
