"""What reading one manifest file came to: its resources by fingerprint, and what it leans on.

A `FileRecord` is what the cache keeps instead of parsed values. It is small (a digest per entry and
two per resource), and enough to notice every change: resources themselves are read again when a
plan needs to look at them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

from reconciler.manifest.metatypes import Shown
from reconciler.manifest.paths import FileStat
from reconciler.model.grant import Grant

ENTRY_DIGEST = 16  # bytes of an entry's SHA-256 that are kept
FINGERPRINT = 64

SEPARATOR = "\0"
_MARKER = b"permission model named "


class Input(Struct, array_like=True, frozen=True, gc=False):
    """A content file that entry `entry` needs: its path, its stat when it was read, what was learned of it."""

    entry: int
    path: str
    stat: FileStat
    sha256: str
    size: int
    fields: dict[str, Any]


class Pattern(Struct, array_like=True, frozen=True, gc=False):
    """The item set of entry `entry` as plain JSON, and a digest of the files that it found and their stat."""

    entry: int
    spec: bytes
    found: bytes


# In seconds since 1970: before and after every instant that can be written.
EVER, NEVER = -(1 << 40), 1 << 40


class Leans(Struct, array_like=True, frozen=True, gc=False):
    """What a file's meaning depends on beside its own text.

    What was read is true of every instant (seconds since 1970) from `since` on and before `until`, when a
    grant begins to be gone.
    """

    inputs: list[Input]
    patterns: list[Pattern]
    since: int = EVER
    until: int = NEVER

    @property
    def has_grants_that_end(self) -> bool:
        """Whether what the file means depends on the instant that it is read for."""
        return (self.since, self.until) != (EVER, NEVER)

    def holds_at(self, as_of: int) -> bool:
        """Whether what was read is true of an instant."""
        return self.since <= as_of < self.until

    def digest(self) -> bytes:
        """Return a digest of what all this was when it was read."""
        parts = [(entry.path, entry.sha256, entry.size) for entry in self.inputs]
        return hashlib.sha256(_ENCODER.encode((parts, self.patterns))).digest()


class OfEach(Struct, array_like=True, frozen=True, gc=False):
    """An alias for every identity of `type` in `provider` that the groups named like `pattern` list.

    `mappings` are canonical identities; `{name}` in them stands for the name of each.
    """

    entry: int
    pattern: str
    type: str
    provider: str
    mappings: tuple[str, ...]
    protect: bool


class Ending(Struct, array_like=True, frozen=True, gc=False):
    """A grant that ends, gone or not, and where it is written.

    `entry` is the number of its entry, or -1 for the section of permission models; `path` leads on from there.
    """

    entry: int
    path: list[str | int]
    grant: Grant


class Moved(Struct, array_like=True, frozen=True, gc=False):
    """A declared rename: from one address to another."""

    entry: int
    before: str
    after: str


class FileRecord(Struct, array_like=True, gc=False):
    """All that one manifest file says.

    `context` digests what the entries' meaning depends on beside their text. `sections` lists names and
    numbers of entries in file order; entries are numbered through the file. `counts` says how many
    resources each entry gave. `addresses` are joined by NUL; `fingerprints` run parallel. `docs` and
    `shared` hold the documents of groups and of identities with well-knowns, by resource number, since
    other resources follow from them. `models` are the permission models that the file declares,
    `inline` those that its items have of their own, by digest; `removed` are addresses to forget;
    `types` is what its items' metadata show. The entries of a record that is not `reusable` must be
    read again as a whole, and those with `endings` always: only they may mean something else at another
    instant.
    """

    context: bytes
    sections: list[tuple[str, int]]
    entries: bytes
    counts: list[int]
    addresses: str
    fingerprints: bytes
    groups: list[str]
    named: list[str]
    docs: dict[int, bytes]
    shared: dict[int, bytes]
    models: dict[str, bytes]
    of_each: list[OfEach]
    moved: list[Moved]
    leans: Leans
    access_tests: list[bytes]
    types: list[Shown]
    reusable: bool
    endings: list[Ending] = []
    inline: dict[bytes, bytes] = {}
    removed: list[str] = []

    def address_list(self) -> list[str]:
        """Return the addresses, one per resource, in file order."""
        return self.addresses.split(SEPARATOR) if self.addresses else []

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield each resource's address and fingerprint, in file order."""
        blob = self.fingerprints
        for index, address in enumerate(self.address_list()):
            start = index * FINGERPRINT
            yield address, blob[start : start + FINGERPRINT]

    def entry_of(self, resource: int) -> int:
        """Return the number of the entry that gave a resource."""
        for entry, count in enumerate(self.counts):
            resource -= count
            if resource < 0:
                return entry
        raise IndexError(resource)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FileRecord)


def encode_record(record: FileRecord) -> bytes:
    """Return the record as bytes for the cache."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> FileRecord:
    """Return the record that `encode_record` made. Raises msgspec.DecodeError for anything else."""
    return _DECODER.decode(data)


def empty_record(context: bytes) -> FileRecord:
    """Return the record of a file that says nothing, or that could not be read."""
    return FileRecord(context, [], b"", [], "", b"", [], [], {}, {}, {}, [], [], Leans([], []), [], [], False)


@dataclass(frozen=True, slots=True)
class Emitted:
    """A resource that is not as recorded, with its documents and the body that it needs.

    `named` is its permission model where it gives only a name. `body` is the content that the
    manifest itself holds, when it was asked for.
    """

    address: str
    doc: bytes
    shared: bytes
    named: str | None = None
    body_sha256: str = ""
    body_size: int = 0
    content_path: str | None = None
    body: bytes | None = None


@cache
def named_marker(name: str) -> bytes:
    """Return what stands for a permission model in a fingerprint until all files are known."""
    return hashlib.sha256(_MARKER + name.encode()).digest()
