"""A remote as small as it can be, written from push-api.md 2.1, 2.3, 2.5, 5.3 and 5.4: what calls leave behind.

It takes the payloads themselves. Ordering ids are given as a run gives them: rising, except that a removal by age
takes the lowest that the run gave to something of the same place that stays, so that it spares what the run sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from reconciler.calls.call import OLDER_THAN, REMOVALS, STREAMS, Call, CallKind, Compiled
from reconciler.calls.context import WireContext
from reconciler.calls.wire import Wire
from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.pushapi.payload import Parcel

BEFORE = 1000
"""The ordering id of all that was there before a run."""


class NoBodies:
    def open(self, sha256: str, /) -> BinaryIO:
        raise KeyError(sha256)


@dataclass
class Held:
    """An item or an identity: its document, and the ordering id of its last push."""

    doc: dict[str, Any]
    ordering: int = BEFORE


@dataclass
class ModelledRemote:
    """Items by source id, identities that are not disabled by provider id."""

    items: dict[str, dict[str, Held]] = field(default_factory=dict)
    identities: dict[str, dict[str, Held]] = field(default_factory=dict)

    def run(
        self,
        compiled: Compiled,
        resources: Mapping[Address, Resource | None],
        context: WireContext,
        seed: int = 0,
    ) -> None:
        """Take all calls: stage after stage, and within one in any order that `after` allows."""
        draw = random.Random(seed)
        last = BEFORE
        spared: dict[str, int] = {}
        for stage in compiled.stages:
            left = list(stage.calls)
            while left:
                waiting = {call.number for call in left}
                call = draw.choice([call for call in left if not waiting & set(call.after)])
                left.remove(call)
                last += 1
                ordering = last
                place = "/".join(call.path.split("/")[:4])
                if call.kind in OLDER_THAN:
                    ordering = spared.get(place, last)
                elif call.kind not in STREAMS and any(covered.verb not in REMOVALS for covered in call.covers):
                    spared.setdefault(place, ordering)
                given = [resources[covered.address] for covered in call.covers]
                self._take(call, Parcel(call, given, NoBodies(), Wire(context)), ordering)

    def _take(self, call: Call, parcel: Parcel, ordering: int) -> None:
        kind, place = call.path.split("/")[2:4]
        held = (self.items if kind == "sources" else self.identities).setdefault(place, {})
        if call.kind in OLDER_THAN:
            # Strictly lower goes (5.4).
            for name in [name for name, one in held.items() if one.ordering < ordering]:
                del held[name]
        elif call.kind is CallKind.STREAM_LOAD:
            held.clear()
            for number in range(len(call.chunks)):
                with parcel.chunk(number) as payload:
                    self._file(held, orjson.loads(payload.file.read()), ordering)
        elif call.is_batch:
            with parcel.batch({}) as payload:
                self._file(held, orjson.loads(payload.file.read()), ordering)
        else:
            self._single(call, held, parcel.single({}), ordering)

    def _single(self, call: Call, held: dict[str, Held], raw: bytes, ordering: int) -> None:
        query = dict(call.query)
        if call.kind is CallKind.ITEM_PUT:
            held[query["documentId"]] = Held(orjson.loads(raw), ordering)
        elif call.kind is CallKind.ITEM_DELETE:
            _remove(held, query["documentId"], tree=query["deleteChildren"] == "true")
        elif call.kind is CallKind.IDENTITY_DELETE:
            held.pop(_name(orjson.loads(raw)), None)
        else:
            assert call.kind is CallKind.IDENTITY_PUT
            held[_name(orjson.loads(raw))] = Held(orjson.loads(raw), ordering)

    def _file(self, held: dict[str, Held], lists: dict[str, list[dict[str, Any]]], ordering: int) -> None:
        named = [entry["documentId"] for key in ("addOrUpdate", "delete") for entry in lists.get(key, ())]
        # In both lists or twice in one: the order is undefined (3.3).
        assert len(named) == len(set(named))
        takers: dict[str, Callable[[dict[str, Any]], None]] = {
            "addOrUpdate": lambda entry: held.update({entry.pop("documentId"): Held(entry, ordering)}),
            "delete": lambda entry: _remove(held, entry["documentId"], tree=entry["deleteChildren"]),
            "partialUpdate": lambda entry: _patch(held, entry),
            "members": lambda entry: held.update({_name(entry): Held(entry, ordering)}),
            "deleted": lambda entry: held.update() if held.pop(_name(entry), None) else None,
        }
        # Nothing says in which order lists are taken, so one that breaks everything else is tried: backwards.
        for key in reversed(lists):
            for entry in lists[key]:
                takers[key](entry)


def _remove(held: dict[str, Held], uri: str, *, tree: bool) -> None:
    held.pop(uri, None)
    if tree:
        for name in [name for name in held if name.startswith(uri + "/")]:
            del held[name]


def _patch(held: dict[str, Held], entry: dict[str, Any]) -> None:
    assert entry["operator"] == "fieldValueReplace"
    # A partial update creates no item (2.5).
    if entry["documentId"] in held:
        held[entry["documentId"]].doc[entry["field"]] = entry["value"]


def _name(entry: dict[str, Any]) -> str:
    return str(entry["identity"]["name"])
