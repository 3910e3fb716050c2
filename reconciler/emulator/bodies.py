"""Turns the content of an item into the bytes that an index would convert, without trusting their size."""

from __future__ import annotations

import binascii
import hashlib
import lzma
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

COMPRESSIONS = frozenset({"UNCOMPRESSED", "DEFLATE", "GZIP", "LZMA", "ZLIB"})
PREVIEW_CHARACTERS = 2000
_PIECE = 1024 * 1024


class BadContent(ValueError):
    """Content that cannot be decoded; the item is not indexed (push-api.md 9)."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is remembered of an item's content."""

    size: int
    sha256: str
    preview: str
    kept: bytes | None
    compression: str | None = None


EMPTY = Body(0, "", "", None)


def body_of_text(content: str, keep: int) -> Body:
    """Return the body of an item that was sent as `data`."""
    data = content.encode()
    kept = data if len(data) <= keep else None
    return Body(len(data), hashlib.sha256(data).hexdigest(), content[:PREVIEW_CHARACTERS], kept)


def body_of_base64(content: str, compression: str, keep: int, limit: int) -> Body:
    """Return the body of an item that was sent as `compressedBinaryData`."""
    try:
        data = b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise BadContent("the content is not base64") from None
    return replace(_collect(decompress([data], compression), keep, limit), compression=compression)


def body_of_file(path: Path, compression: str, keep: int, limit: int) -> Body:
    """Return the body of an item whose compressed bytes lie in a file container."""
    return replace(_collect(decompress(_pieces(path), compression), keep, limit), compression=compression)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _collect(pieces: Iterable[bytes], keep: int, limit: int) -> Body:
    size, digest, kept = 0, hashlib.sha256(), bytearray()
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise BadContent(f"the content decompresses to more than {limit} bytes")
        digest.update(piece)
        if len(kept) <= keep:
            kept += piece[: keep + 1 - len(kept)]
    preview = bytes(kept[: PREVIEW_CHARACTERS * 4]).decode("utf-8", "replace")[:PREVIEW_CHARACTERS]
    return Body(size, digest.hexdigest(), preview, bytes(kept) if size <= keep else None)


def decompress(pieces: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield the decompressed bytes in bounded pieces; raises BadContent for broken or cut off data.

    What DEFLATE means is left open by the documents, whose own sample is zlib data: both are tried
    (push-api.md 4.5).
    """
    source = iter(pieces)
    if compression == "UNCOMPRESSED":
        yield from source
        return
    first = next(source, b"")
    if compression == "LZMA":
        yield from _run_lzma(first, source)
        return
    window = {"GZIP": 31, "ZLIB": 15}.get(compression) or _deflate_window(first)
    yield from _run_zlib(zlib.decompressobj(window), first, source)


def _deflate_window(first: bytes) -> int:
    if len(first) >= 2 and first[0] & 0x0F == 8 and (first[0] << 8 | first[1]) % 31 == 0:
        return 15
    return -15


def _run_zlib(machine: Any, first: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    piece: bytes | None = first
    try:
        while piece is not None and not machine.eof:
            while piece:
                yield machine.decompress(piece, _PIECE)
                if machine.eof:
                    break
                piece = machine.unconsumed_tail
            piece = next(source, None)
        yield machine.flush(_PIECE)
    except zlib.error as error:
        raise BadContent(f"the content does not decompress: {error}") from None
    if not machine.eof:
        raise BadContent("the compressed content is cut off")


def _run_lzma(first: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    machine = lzma.LZMADecompressor(memlimit=256 * 1024 * 1024)
    run: Callable[[bytes, int], bytes] = machine.decompress
    piece: bytes | None = first
    try:
        while piece is not None and not machine.eof:
            yield run(piece, _PIECE)
            while not machine.eof and not machine.needs_input:
                yield run(b"", _PIECE)
            piece = next(source, None)
    except (lzma.LZMAError, EOFError) as error:
        raise BadContent(f"the content does not decompress: {error}") from None
    if not machine.eof:
        raise BadContent("the compressed content is cut off")
