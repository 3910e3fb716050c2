"""Writes one body: into JSON as escaped text or compressed and in base64, or compressed into a container.

Bodies are read in pieces; small ones, which are nearly all, in one. What is written never exceeds
the bounds of `calls.wire`, whatever the content and whichever zlib is installed: text that needs too
many escapes is compressed instead, and a compressor that inflates is replaced by stored blocks.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import orjson

from reconciler.calls.wire import ZLIB, Body, Entry, body_bound, packed_bound
from reconciler.model.address import Address
from reconciler.problems import ManifestError, Problem

SMALL = 256 * 1024

# Measured here on source text: level 3 nearly as fast as 1 with a tenth fewer bytes, and more than
# twice as fast as 6, whose bytes are a sixth fewer.
LEVEL = 3
LZMA_PRESET = 1
_STORED_BLOCK = 65_535
_WINDOWS = {ZLIB: 15, "GZIP": 31, "DEFLATE": -15}  # RFC 1950, 1952 and 1951, as zlib counts them


class BodySource(Protocol):
    """Where the bytes of bodies are."""

    def open(self, sha256: str, /) -> BinaryIO:
        """Return a stream of the body with this digest (hex), which the caller closes.

        Raises KeyError when there is none, or ManifestError when it is there and of no use. The
        bytes need no check: whoever reads them compares the digest. A stream's `name`, when it is
        a string, is used in messages.
        """


class Sink(Protocol):
    """What content is written to."""

    def write(self, data: bytes) -> None:
        """Append."""

    def tell(self) -> int:
        """How many bytes were written."""

    def take_back(self, position: int) -> None:
        """Forget everything after `position`."""


class _BoundExceeded(Exception):
    """The form being written takes more than was promised; the other one will not."""


def write_content(sink: Sink, entry: Entry, bodies: BodySource, address: Address, comma: bytes) -> None:
    """Write the content key of an entry and its value, `comma` before it.

    Raises ManifestError: `body-missing`, `body-changed` when the bytes are not the promised ones,
    `body-not-text` when promised text is not UTF-8. What was written then is of no use.
    """
    assert entry.body is not None
    body, compression = entry.body, entry.compression
    reader = _Reader(body, bodies, address)
    if body.size <= SMALL:
        _write_small(sink, reader, compression, comma)
        return
    start = sink.tell()
    if body.encoding == "text":
        try:
            _stream_text(sink, reader, comma)
            return
        except _BoundExceeded:
            sink.take_back(start)
    sink.write(comma + b'"compressedBinaryData":"')
    _write_packed(sink, reader, compression, _stream_base64)
    sink.write(b'"')


def write_packed(sink: Sink, entry: Entry, bodies: BodySource, address: Address) -> None:
    """Write what an entry's own container holds: the compressed bytes themselves (push-api.md 3.1, 4.5).

    Raises ManifestError as `write_content` does.
    """
    assert entry.body is not None
    _write_packed(sink, _Reader(entry.body, bodies, address), entry.compression, _stream_raw)


def _write_packed(
    sink: Sink, reader: _Reader, compression: str, write: Callable[[Sink, Iterator[bytes]], None]
) -> None:
    start = sink.tell()
    try:
        write(sink, _packed(reader, compression))
    except _BoundExceeded:
        sink.take_back(start)
        write(sink, _stored(reader, compression))


class _Reader:
    """Reads one body from its start, as often as needed, and vouches for its digest and size."""

    def __init__(self, body: Body, bodies: BodySource, address: Address) -> None:
        self.body = body
        self._bodies = bodies
        self._address = address

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield the body in pieces of `length` bytes. Raises ManifestError when it is not as promised."""
        digest = hashlib.sha256()
        left = self.body.size
        with self._open() as stream:
            name = getattr(stream, "name", None)
            # One byte more than promised is asked for, never the whole of a file that has grown.
            while piece := _read(stream, min(length, left + 1)):
                left -= len(piece)
                if left < 0:
                    break
                digest.update(piece)
                yield piece
        if left or digest.hexdigest() != self.body.sha256:
            raise ManifestError(self._changed(name))

    def not_text(self, error: UnicodeDecodeError) -> ManifestError:
        """Return the error for promised text that is none."""
        return ManifestError(
            Problem(
                code="body-not-text",
                what=f'the body of "{self._address}" is not UTF-8 text: {error.reason}',
                why="a text body travels inside JSON, which holds nothing else.",
                fix="save the file as UTF-8",
            )
        )

    def _open(self) -> BinaryIO:
        try:
            return self._bodies.open(self.body.sha256)
        except KeyError:
            raise ManifestError(
                Problem(
                    code="body-missing",
                    what=f'the body of "{self._address}" (sha256 {self.body.sha256[:12]}...) cannot be found',
                    why="nothing of this call was sent.",
                    fix="make a new plan, or bring back the content that the plan was made from",
                )
            ) from None

    def _changed(self, name: object) -> Problem:
        file = f" ({name})" if isinstance(name, str) else ""
        return Problem(
            code="body-changed",
            what=f'the body of "{self._address}"{file} is not what the plan was made from',
            why="what was approved is what is applied; nothing of this call was sent.",
            fix="make and review a new plan",
        )


def _read(stream: BinaryIO, length: int) -> bytes:
    """Read `length` bytes unless the stream ends: a short read is no end."""
    piece = stream.read(length)
    while len(piece) < length and (more := stream.read(length - len(piece))):
        piece += more
    return piece


def _write_small(sink: Sink, reader: _Reader, compression: str, comma: bytes) -> None:
    if reader.body.encoding == "text":
        raw = b"".join(reader.pieces(SMALL))
        try:
            value = orjson.dumps(raw.decode())
        except UnicodeDecodeError as error:
            raise reader.not_text(error) from None
        key = comma + b'"data":'
        if len(key) + len(value) <= body_bound(len(raw)):
            sink.write(key)
            sink.write(value)
            return
    try:
        packed = b"".join(_packed(reader, compression))
    except _BoundExceeded:
        packed = b"".join(_stored(reader, compression))
    sink.write(comma + b'"compressedBinaryData":"' + base64.b64encode(packed) + b'"')


def _stream_text(sink: Sink, reader: _Reader, comma: bytes) -> None:
    end = sink.tell() + body_bound(reader.body.size) - 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    failed: UnicodeDecodeError | None = None
    sink.write(comma + b'"data":"')
    for piece in reader.pieces(SMALL):
        # After bytes that are no text the rest is still read: a changed file is to be called changed.
        if failed is None:
            try:
                sink.write(orjson.dumps(decoder.decode(piece))[1:-1])
            except UnicodeDecodeError as error:
                failed = error
            if sink.tell() > end:
                raise _BoundExceeded
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        failed = failed or error
    if failed is not None:
        raise reader.not_text(failed)
    sink.write(b'"')


def _packed(reader: _Reader, compression: str) -> Iterator[bytes]:
    """Yield the compressed body. Raises _BoundExceeded when it takes more than was promised."""
    left = packed_bound(reader.body.size, compression)
    for piece in _compressed(reader.pieces(SMALL), compression):
        left -= len(piece)
        if left < 0:
            raise _BoundExceeded
        yield piece


def _compressed(pieces: Iterator[bytes], compression: str) -> Iterator[bytes]:
    if compression == "UNCOMPRESSED":
        yield from pieces
        return
    # The documents name LZMA without saying in which file format; `.lzma` is what that name stands for.
    compressor = (
        lzma.LZMACompressor(format=lzma.FORMAT_ALONE, preset=LZMA_PRESET)
        if compression == "LZMA"
        else zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOWS[compression])
    )
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _stored(reader: _Reader, compression: str) -> Iterator[bytes]:
    """Yield the body in stored blocks: no compression, the least possible growth.

    Raises ValueError for a kind that has no such blocks, whose bound nothing real exceeds.
    """
    if compression not in _WINDOWS:
        raise ValueError(f"{compression} took more than its bound. This is a bug in reconciler.")
    yield {ZLIB: b"\x78\x01", "GZIP": b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "DEFLATE": b""}[compression]
    adler, crc = 1, 0
    left = reader.body.size
    if not left:
        yield b"\x01\x00\x00\xff\xff"
    for piece in reader.pieces(_STORED_BLOCK):
        left -= len(piece)
        length = len(piece)
        final = b"\x01" if not left else b"\x00"
        yield final + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + piece
        if compression == ZLIB:
            adler = zlib.adler32(piece, adler)
        elif compression == "GZIP":
            crc = zlib.crc32(piece, crc)
    if compression == ZLIB:
        yield adler.to_bytes(4, "big")
    elif compression == "GZIP":
        yield crc.to_bytes(4, "little") + (reader.body.size & 0xFFFFFFFF).to_bytes(4, "little")


def _stream_raw(sink: Sink, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        sink.write(piece)


def _stream_base64(sink: Sink, pieces: Iterator[bytes]) -> None:
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % 3
        sink.write(base64.b64encode(rest[:whole]))
        rest = rest[whole:]
    sink.write(base64.b64encode(rest))
