"""How much an accepted operation carries: what quotas count, read from a batch's container where it is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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
    names = _LISTS.get(kind)
    file = detail.get("fileId")
    if names is None or file is None or not containers.issued(file):
        return Load()
    try:
        lists = batchfile.read_lists(containers.path(file), names)
    except (BadJson, OSError):
        return Load()
    count = sum(map(len, lists.values()))
    if kind == "identity.batch":
        return Load(0, count)
    return Load(count, 0, tuple(filter(None, map(_uri, lists["addorupdate"]))))


_LISTS = {
    "item.batch": batchfile.ITEM_LISTS,
    "identity.batch": batchfile.IDENTITY_LISTS,
    "stream.update": batchfile.UPDATE_LISTS,
    "stream.merge": batchfile.ITEM_LISTS,
}


def _uri(raw: Any) -> str | None:
    try:
        return text(folded(batchfile.value(raw), "An entry"), "documentid")
    except BadJson:
        return None
