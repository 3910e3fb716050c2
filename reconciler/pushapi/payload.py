"""Builds what a call sends, piece by piece, and checks every body against its promise.

A batch file (push-api.md 3.3 and 3.5) is written to a temporary file, because storage wants a
Content-Length (push-api.md 8) and no batch should sit in memory; so is a body that takes a container
of its own. A body whose bytes are not those that the plan promised stops the call before it can take
effect. It knows nothing of HTTP.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

import orjson

from reconciler.calls.call import Call, Covered
from reconciler.calls.wire import Entry, Section, Wire, section_of
from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.problems import Problem, StateError
from reconciler.pushapi.content import BodySource, write_content, write_packed

PIECE = 1024 * 1024
IN_MEMORY = 4 * 1024 * 1024


class Spool:
    """A file being written: buffered, on disk once it is large, and able to take back its end.

    Raises StateError when the disk takes no more.
    """

    def __init__(self) -> None:
        # S: the file has no name, is readable by us alone and is gone when closed.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._buffer = bytearray()
        self._flushed = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._buffer += data
        if len(self._buffer) >= PIECE:
            self._flush()

    def tell(self) -> int:
        """How many bytes were written."""
        return self._flushed + len(self._buffer)

    def take_back(self, position: int) -> None:
        """Forget everything after `position`, an earlier result of `tell`."""
        self._flush()
        self._file.seek(position)
        self._file.truncate()
        self._flushed = position

    def finish(self) -> IO[bytes]:
        """Return the file at its start; the spool must not be used any more."""
        self._flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Drop everything."""
        self._file.close()

    def _flush(self) -> None:
        if self._buffer:
            try:
                self._file.write(self._buffer)
            except OSError as error:
                raise StateError(_no_room(error)) from None
            self._flushed += len(self._buffer)
            self._buffer.clear()


@dataclass(frozen=True, slots=True)
class Payload:
    """A finished payload of `size` bytes; a context manager that drops its file."""

    file: IO[bytes]
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole payload from its start; may be called again for another attempt."""
        self.file.seek(0)
        while piece := self.file.read(PIECE):
            yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


class Parcel:
    """One call's resources and the wire they take: makes each of the call's payloads.

    `resources` are those of `call.covers` in that order, from `calls.compile.payload_resources`.
    """

    def __init__(
        self,
        call: Call,
        resources: Sequence[Resource | None],
        bodies: BodySource,
        wire: Wire,
    ) -> None:
        self.call = call
        self._pairs = tuple(zip(call.covers, resources, strict=True))
        self._bodies = bodies
        self._wire = wire

    def apart(self) -> Iterator[Covered]:
        """Yield those whose body takes a container of its own."""
        if self.call.containers:
            for covered, resource in self._pairs:
                if section_of(covered.address, covered.verb) is not None and self._entry(covered, resource).apart:
                    yield covered

    def body(self, covered: Covered) -> Payload:
        """Return the compressed body of one of those, for its container. Raises ManifestError."""
        resource = next(resource for other, resource in self._pairs if other is covered)
        spool = Spool()
        try:
            write_packed(spool, self._entry(covered, resource), self._bodies, covered.address)
            return Payload(spool.finish(), spool.tell())
        except BaseException:
            spool.close()
            raise

    def batch(self, file_ids: Mapping[Address, str]) -> Payload:
        """Return the batch file. Raises ManifestError when a body is missing or not what was promised.

        `file_ids` names the container of each body that has its own.
        """
        return self._file(self._pairs, file_ids)

    def chunk(self, number: int) -> Payload:
        """Return the file of one of a load's containers, counted from 0. Raises ManifestError."""
        start = sum(self.call.chunks[:number])
        return self._file(self._pairs[start : start + self.call.chunks[number]], {})

    def single(self, file_ids: Mapping[Address, str]) -> bytes:
        """Return the JSON body of a single call; empty for an item's deletion, which has none."""
        covered, resource = self._pairs[0]
        entry = self._wire.single_entry(covered.address, covered.verb, resource)
        spool = Spool()
        try:
            self._write(spool, entry, covered, file_ids)
            return spool.finish().read()
        finally:
            spool.close()

    def _entry(self, covered: Covered, resource: Resource | None) -> Entry:
        return self._wire.batch_entry(covered, resource)

    def _file(self, pairs: Sequence[tuple[Covered, Resource | None]], file_ids: Mapping[Address, str]) -> Payload:
        spool = Spool()
        try:
            spool.write(b"{")
            current: Section | None = None
            seen: set[Section] = set()
            for covered, resource in pairs:
                section = section_of(covered.address, covered.verb)
                if section is None:
                    continue
                if section is current:
                    spool.write(b",")
                else:
                    if section in seen:
                        raise ValueError(f"call {self.call.number} mixes its lists. This is a bug in reconciler.")
                    spool.write((b"" if current is None else b"],") + b'"' + section.encode() + b'":[')
                    seen.add(section)
                    current = section
                self._write(spool, self._entry(covered, resource), covered, file_ids)
            spool.write(b"}" if current is None else b"]}")
            return Payload(spool.finish(), spool.tell())
        except BaseException:
            spool.close()
            raise

    def _write(self, spool: Spool, entry: Entry, covered: Covered, file_ids: Mapping[Address, str]) -> None:
        if entry.body is None:
            spool.write(entry.head)
            return
        spool.write(entry.head[:-1])
        comma = b"," if len(entry.head) > 2 else b""
        if entry.apart:
            if covered.address not in file_ids:
                raise StateError(_unforeseen(covered.address))
            spool.write(comma + b'"compressedBinaryDataFileId":' + orjson.dumps(file_ids[covered.address]))
        else:
            write_content(spool, entry, self._bodies, covered.address, comma)
        spool.write(b"}")


def _unforeseen(address: Address) -> Problem:
    return Problem(
        "plan-altered",
        f'the call counts no file container for "{address}", whose body takes one',
        why="what was reviewed is what is applied, and nobody reviewed this.",
        fix="make and review a new plan:\n    reconciler plan --out plan.json",
    )


def _no_room(error: OSError) -> Problem:
    return Problem(
        "payload-unwritable",
        f"the folder of temporary files takes no more: {error.strerror or error}",
        why="batches and large bodies are written there before they are sent, since storage wants to know their size.",
        fix="make room there, or name another folder in the environment variable TMPDIR; then run again.",
    )
