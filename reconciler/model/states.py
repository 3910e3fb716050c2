"""Desired and recorded resources as values.

`Resource` is one resource with its documents; `RecordedRow` is what the state keeps beside them.
Large sets travel as mappings from address to `fingerprint`, 64 bytes, and only what differs is
looked at as a `Resource`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from reconciler.model.address import Address
from reconciler.model.canonical import NO_SHARED, digest


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: its address and its canonical documents as JSON text (`model.canonical`)."""

    address: Address
    doc: bytes
    shared: bytes = b""

    @property
    def fingerprint(self) -> bytes:
        """Digest of the own document, then of the shared one: 64 bytes that say "equal"."""
        return digest(self.doc) + (digest(self.shared) if self.shared else NO_SHARED)

    def own(self) -> dict[str, Any]:
        """Return the own document as plain values."""
        doc: dict[str, Any] = orjson.loads(self.doc)
        return doc

    def shared_doc(self) -> dict[str, Any] | None:
        """Return the shared document as plain values, or None when there is none."""
        return orjson.loads(self.shared) if self.shared else None


@dataclass(frozen=True, slots=True)
class Target:
    """Which remote a state speaks of: the organization and what its sources and providers are called there.

    `sources` and `providers` are sorted pairs (the project's name, the remote's id).
    """

    organization: str
    sources: tuple[tuple[str, str], ...] = ()
    providers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StateBase:
    """Which state something was made from: its history's identity and its version number.

    `serial` grows by one with each recorded outcome; a state that does not exist yet has serial 0
    and an empty lineage.
    """

    lineage: str
    serial: int
