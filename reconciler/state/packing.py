"""How the addresses that a call covers, and a target, are written: in a cell of a database, in JSON.

A call covers one address or a hundred thousand. Short lists stay readable JSON for whoever opens the
file with another tool; long ones are compressed, to about a tenth.
"""

from __future__ import annotations

import zlib
from itertools import groupby
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.states import Target
from reconciler.state.journal import Covers

READABLE = 4096  # bytes of JSON up to which it stays text
LARGEST = 1 << 30  # no cell unpacks to more: a damaged one must not fill the memory


def pack_covers(covers: Covers) -> str | bytes:
    """Return the covers as JSON text, compressed if long."""
    text = orjson.dumps(covers_doc(covers))
    return text.decode() if len(text) <= READABLE else zlib.compress(text, 1)


def unpack_covers(cell: str | bytes) -> Covers:
    """Return what `pack_covers` was given. Raises ValueError for anything it never returns."""
    if isinstance(cell, bytes):
        stream = zlib.decompressobj()
        try:
            cell = stream.decompress(cell, LARGEST)
        except zlib.error as error:
            raise ValueError(f"covers do not unpack: {error}") from error
        if not stream.eof:
            raise ValueError("covers are cut off or too long")
    return covers_from_doc(orjson.loads(cell))


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
