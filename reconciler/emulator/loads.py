"""How much an accepted operation carries: what quotas count, read from a batch's container where it is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from reconciler.emulator import batchfile
from reconciler.emulator.containers import Containers
from reconciler.emulator.wire import BadJson, folded, text


class Load(NamedTuple):
    """The entries of an operation."""

    items: int = 0
    """Items that are added, updated or deleted."""
    identities: int = 0
    uris: tuple[str, ...] = ()
    """The items that are added or updated."""


def load_of(containers: Containers, kind: str, detail: Mapping[str, Any]) -> Load:
    """Return what an operation carries; a batch that cannot be read carries nothing."""
    if kind == "item.put":
        return Load(1, 0, (detail["documentId"],))
    if kind == "item.delete":
        return Load(1)
    if kind in ("identity.put", "identity.map", "identity.delete"):
        return Load(0, 1)
    names = LISTS.get(kind)
    if names is None:
        return Load()
    files = detail["files"] if kind == "stream.load" else [detail["fileId"]]
    parts = [_read(containers, file, names) for file in files]
    count = sum(len(entries) for lists in parts for entries in lists.values())
    if kind == "identity.batch":
        return Load(0, count)
    raws = (raw for lists in parts for raw in lists.get("addorupdate", ()))
    return Load(count, 0, tuple(filter(None, map(_uri, raws))))


def _read(containers: Containers, file: str, names: tuple[str, ...]) -> Mapping[str, list[msgspec.Raw]]:
    if not containers.issued(file):
        return {}
    try:
        return batchfile.read_lists(containers.path(file), names)
    except (BadJson, OSError):
        return {}


LISTS = {
    # Of a load only what it adds counts (push-api.md 2.5).
    "stream.load": ("addorupdate",),
    "item.batch": batchfile.ITEM_LISTS,
    "identity.batch": batchfile.IDENTITY_LISTS,
    "stream.update": batchfile.UPDATE_LISTS,
    "stream.merge": batchfile.ITEM_LISTS,
}
"""The lists of entries that the file of an operation has."""


def _uri(raw: msgspec.Raw) -> str | None:
    try:
        return text(folded(batchfile.value(raw), "An entry"), "documentid")
    except BadJson:
        return None
