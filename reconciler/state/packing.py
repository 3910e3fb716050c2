"""How the addresses that a call covers, what was there before, and a target are written: in a cell, in JSON.

A call covers one address or a hundred thousand. Short lists stay readable JSON for whoever opens the
file with another tool; long ones are compressed, to about a tenth.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.former import Former
from reconciler.model.states import Target
from reconciler.state.journal import Covers

READABLE = 4096  # bytes of JSON up to which it stays text
LARGEST = 1 << 30  # no cell unpacks to more: a damaged one must not fill the memory


def pack_covers(covers: Covers, readable: int = READABLE) -> str | bytes:
    """Return the covers as JSON text, compressed if longer than `readable` bytes."""
    return _packed(covers_doc(covers), readable)


def unpack_covers(cell: str | bytes) -> Covers:
    """Return what `pack_covers` was given. Raises ValueError for anything it never returns."""
    return covers_from_doc(_unpacked(cell, "covers"))


def pack_formers(formers: Iterable[Former], readable: int = READABLE) -> str | bytes:
    """Return what was recorded before as JSON text, compressed if longer than `readable` bytes.

    Few models are shared by many items, and few are left by many, so each stands there once and the entries
    `[address, existed, own document, shared, left]` name the last two by their number.
    """
    shared: dict[bytes, int] = {}
    left: dict[bytes, int] = {}
    entries = [
        [
            str(former.address),
            former.existed,
            former.doc.decode(),
            shared.setdefault(former.shared, len(shared)),
            left.setdefault(former.left, len(left)),
        ]
        for former in formers
    ]
    return _packed(
        {"shared": [doc.decode() for doc in shared], "left": [key.hex() for key in left], "entries": entries}, readable
    )


def unpack_formers(cell: str | bytes) -> tuple[Former, ...]:
    """Return what `pack_formers` was given. Raises ValueError for anything it never returns."""
    doc = _unpacked(cell, "what was recorded before")
    try:
        shared = [text.encode() for text in doc["shared"]]
        left = [bytes.fromhex(text) for text in doc["left"]]
        return tuple(
            Former(Address(address), existed is True, left[leaves], own.encode(), shared[model])
            for address, existed, own, model, leaves in doc["entries"]
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("what was recorded before does not read") from error


def _packed(doc: Any, readable: int) -> str | bytes:
    text = orjson.dumps(doc)
    return text.decode() if len(text) <= readable else zlib.compress(text, 1)


def _unpacked(cell: str | bytes, what: str) -> Any:
    if isinstance(cell, bytes):
        stream = zlib.decompressobj()
        try:
            cell = stream.decompress(cell, LARGEST)
        except zlib.error as error:
            raise ValueError(f"{what} cannot be unpacked: {error}") from error
        if not stream.eof:
            raise ValueError(f"{what}: cut off or too long")
    return orjson.loads(cell)


def covers_doc(covers: Covers) -> list[Any]:
    """Return covers as plain values, `[[verb, [address, ...]], ...]`, in the same order."""
    grouped = groupby(covers, lambda covered: covered[1])
    return [[str(verb), [address for address, _ in group]] for verb, group in grouped]


def covers_from_doc(doc: Any) -> Covers:
    """Return the covers that plain values describe. Raises ValueError when they describe none."""
    try:
        groups = [(verb, addresses) for verb, addresses in doc]
    except (TypeError, ValueError) as error:
        raise ValueError("covers must be pairs of a verb and its addresses") from error
    for verb, addresses in groups:
        if not isinstance(verb, str) or not isinstance(addresses, list):
            raise ValueError("covers must be pairs of a verb and its addresses")
        if not all(isinstance(address, str) for address in addresses):
            raise ValueError("addresses must be strings")
    return tuple((Address(address), verb) for verb, addresses in groups for address in addresses)


def target_doc(target: Target) -> dict[str, Any]:
    """Return a target as plain values."""
    return {
        "organization": target.organization,
        "providers": dict(target.providers),
        "sources": dict(target.sources),
    }


def target_from_doc(doc: Any) -> Target:
    """Return the target that a document describes. Raises ValueError when it is none."""
    if not isinstance(doc, dict) or set(doc) != {"organization", "providers", "sources"}:
        raise ValueError("must have organization, providers and sources")
    organization, providers, sources = doc["organization"], doc["providers"], doc["sources"]
    if not isinstance(organization, str):
        raise ValueError("organization must be a string")
    return Target(organization, _pairs("sources", sources), _pairs("providers", providers))


def _pairs(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise ValueError(f"{name} must map names to ids")
    return tuple(sorted(value.items()))
