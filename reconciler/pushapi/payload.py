"""Builds what a call sends, piece by piece, and checks every body against its promise.

A batch file (push-api.md 3.3 and 3.5) is written to a temporary file, because storage wants a
Content-Length (push-api.md 8) and no batch should sit in memory. A body whose bytes are not those
that the plan promised stops the call before anything is sent. It knows nothing of HTTP.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from reconciler.calls.call import Call, Covered, Verb
from reconciler.calls.context import WireContext
from reconciler.calls.wire import Entry, Section, Wire, section_of
from reconciler.model.states import Resource
from reconciler.pushapi.content import BodySource, write_content

PIECE = 1024 * 1024
IN_MEMORY = 4 * 1024 * 1024


class Spool:
    """A file being written: buffered, on disk once it is large, and able to take back its end."""

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
            self._file.write(self._buffer)
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


def batch_payload(
    call: Call, resources: Iterable[Resource | None], bodies: BodySource, context: WireContext
) -> Payload:
    """Return the batch file of a call; `resources` are those of `call.covers`, in that order.

    They come from `calls.compile.payload_resources`. Raises ManifestError when a body is missing or
    not what was promised.
    """
    wire = Wire(context)
    spool = Spool()
    try:
        spool.write(b"{")
        current: Section | None = None
        seen: set[Section] = set()
        for covered, resource in zip(call.covers, resources, strict=True):
            section = section_of(covered.address, covered.verb)
            if section is current:
                spool.write(b",")
            else:
                if section in seen:
                    raise ValueError(f"call {call.number} mixes its lists. This is a bug in reconciler.")
                spool.write((b"" if current is None else b"],") + b'"' + section.encode() + b'":[')
                seen.add(section)
                current = section
            entry = wire.batch_entry(covered.address, covered.verb, resource)
            _write_entry(spool, entry, covered, bodies)
        spool.write(b"}" if current is None else b"]}")
        return Payload(spool.finish(), spool.tell())
    except BaseException:
        spool.close()
        raise


def single_payload(call: Call, resources: Iterable[Resource | None], bodies: BodySource, context: WireContext) -> bytes:
    """Return the JSON body of a single call; empty for an item's deletion, which has none."""
    (covered,) = call.covers
    (resource,) = resources
    entry = Wire(context).single_entry(covered.address, covered.verb, resource)
    spool = Spool()
    try:
        _write_entry(spool, entry, covered, bodies)
        return spool.finish().read()
    finally:
        spool.close()


def _write_entry(spool: Spool, entry: Entry, covered: Covered, bodies: BodySource) -> None:
    if entry.body is None or covered.verb is Verb.DELETE:
        spool.write(entry.head)
        return
    spool.write(entry.head[:-1])
    comma = b"," if len(entry.head) > 2 else b""
    write_content(spool, entry.body, bodies, covered.address, comma)
    spool.write(b"}")
