"""Writes one body into JSON: escaped text, or ZLIB and base64, within the promised bound.

Bodies are read in pieces; small ones, which are nearly all, in one. What is written never exceeds
`calls.wire.body_bound`, whatever the content and whichever zlib is installed: text that needs too
many escapes is compressed instead, and a compressor that inflates is replaced by stored blocks.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import orjson

from reconciler.calls.wire import Body, body_bound, zlib_bound
from reconciler.model.address import Address
from reconciler.problems import ManifestError, Problem

SMALL = 256 * 1024

# Measured here on source text: level 3 nearly as fast as 1 with a tenth fewer bytes, and more than
# twice as fast as 6, whose bytes are a sixth fewer.
LEVEL = 3
_STORED_BLOCK = 65_535


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


def write_content(sink: Sink, body: Body, bodies: BodySource, address: Address, comma: bytes) -> None:
    """Write the content key and its value, `comma` before it.

    Raises ManifestError: `body-missing`, `body-changed` when the bytes are not the promised ones,
    `body-not-text` when promised text is not UTF-8. What was written then is of no use.
    """
    reader = _Reader(body, bodies, address)
    if body.size <= SMALL:
        _write_small(sink, reader, comma)
        return
    start = sink.tell()
    if body.encoding == "text":
        try:
            _stream_text(sink, reader, comma)
            return
        except _BoundExceeded:
            sink.take_back(start)
    sink.write(comma + b'"compressedBinaryData":"')
    start = sink.tell()
    try:
        _stream_base64(sink, _deflated(reader))
    except _BoundExceeded:
        sink.take_back(start)
        _stream_base64(sink, _stored(reader))
    sink.write(b'"')


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


def _write_small(sink: Sink, reader: _Reader, comma: bytes) -> None:
    raw = b"".join(reader.pieces(SMALL))
    if reader.body.encoding == "text":
        try:
            value = orjson.dumps(raw.decode())
        except UnicodeDecodeError as error:
            raise reader.not_text(error) from None
        key = comma + b'"data":'
        if len(key) + len(value) <= body_bound(len(raw)):
            sink.write(key)
            sink.write(value)
            return
    packed = zlib.compress(raw, LEVEL)
    if len(packed) > zlib_bound(len(raw)):
        packed = b"".join(_stored(reader))
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


def _deflated(reader: _Reader) -> Iterator[bytes]:
    """Yield the body as one ZLIB stream (RFC 1950, push-api.md 4.5)."""
    compressor = zlib.compressobj(LEVEL)
    left = zlib_bound(reader.body.size)
    for piece in reader.pieces(SMALL):
        packed = compressor.compress(piece)
        left -= len(packed)
        if left < 0:
            raise _BoundExceeded
        yield packed
    packed = compressor.flush()
    if len(packed) > left:
        raise _BoundExceeded
    yield packed


def _stored(reader: _Reader) -> Iterator[bytes]:
    """Yield the body as a ZLIB stream of stored blocks: no compression, the least possible growth."""
    yield b"\x78\x01"
    check = 1
    left = reader.body.size
    if not left:
        yield b"\x01\x00\x00\xff\xff"
    for piece in reader.pieces(_STORED_BLOCK):
        left -= len(piece)
        length = len(piece)
        final = b"\x01" if not left else b"\x00"
        yield final + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + piece
        check = zlib.adler32(piece, check)
    yield check.to_bytes(4, "big")


def _stream_base64(sink: Sink, pieces: Iterator[bytes]) -> None:
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % 3
        sink.write(base64.b64encode(rest[:whole]))
        rest = rest[whole:]
    sink.write(base64.b64encode(rest))
