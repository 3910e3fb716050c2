"""Bodies on their way: the same bytes come out of every compression, within the bounds, and none but the promised."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import itertools
import lzma
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.calls.wire import Body, Entry, body_bound, packed_bound
from reconciler.model.address import Address
from reconciler.problems import ManifestError
from reconciler.pushapi import content
from reconciler.pushapi.payload import Spool

ADDRESS = Address("item/s/https://x/a")
SIZES = [0, 1, 5, 1000, 70_000, content.SMALL, content.SMALL + 1, 3 * content.SMALL + 7]

# What a reader of RFC 1950, 1952, 1951 and of a `.lzma` file makes of it (push-api.md 4.5).
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "ZLIB": zlib.decompress,
    "GZIP": gzip.decompress,
    "DEFLATE": lambda data: zlib.decompress(data, -15),
    "LZMA": lambda data: lzma.decompress(data, lzma.FORMAT_ALONE),
    "UNCOMPRESSED": bytes,
}
EVERY = pytest.mark.parametrize("compression", sorted(UNPACK))


class Bodies:
    """Bodies in memory, under the digest that was promised, which need not be theirs."""

    def __init__(self, by_digest: dict[str, bytes]) -> None:
        self.by_digest = by_digest

    def open(self, sha256: str, /) -> BinaryIO:
        return io.BytesIO(self.by_digest[sha256])


def promised(raw: bytes, encoding: str = "text") -> Body:
    return Body(encoding, hashlib.sha256(raw).hexdigest(), len(raw))


def inline(body: Body, bodies: content.BodySource, compression: str = "ZLIB") -> dict[str, Any]:
    """The keys that the body adds to an entry, within its bound."""
    spool = Spool()
    try:
        spool.write(b"{")
        content.write_content(spool, Entry(b"{}", body, compression), bodies, ADDRESS, b"")
        assert spool.tell() - 1 <= body_bound(body.size, compression)
        spool.write(b"}")
        value: dict[str, Any] = orjson.loads(spool.finish().read())
    finally:
        spool.close()
    return value


def apart(body: Body, bodies: content.BodySource, compression: str = "ZLIB") -> bytes:
    """What stands in the body's own container, within its bound."""
    spool = Spool()
    try:
        content.write_packed(spool, Entry(b"{}", body, compression, apart=True), bodies, ADDRESS)
        raw = spool.finish().read()
    finally:
        spool.close()
    assert len(raw) <= packed_bound(body.size, compression)
    return raw


def arrived(value: dict[str, Any], compression: str = "ZLIB") -> bytes:
    if "data" in value:
        assert list(value) == ["data"]
        return str(value["data"]).encode()
    assert list(value) == ["compressedBinaryData"]
    return UNPACK[compression](base64.b64decode(value["compressedBinaryData"], validate=True))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


CONTENTS: dict[str, Callable[[int], bytes]] = {
    "noise": noise,
    "zeros": bytes,
    "prose": lambda size: (b"The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size],
    # Long enough matches to tempt a compressor, broken where it would gain.
    "nearly noise": lambda size: b"".join(
        piece for seed in range(size // 600 + 1) for piece in (noise(590), bytes([seed % 256]) * 10)
    )[:size],
}


@EVERY
@pytest.mark.parametrize("kind", sorted(CONTENTS))
@pytest.mark.parametrize("size", SIZES)
def test_every_compression_gives_the_same_bytes_back(compression: str, kind: str, size: int) -> None:
    raw = CONTENTS[kind](size)
    body = promised(raw, "binary")
    bodies = Bodies({body.sha256: raw})
    packed = apart(body, bodies, compression)
    assert UNPACK[compression](packed) == raw
    value = inline(body, bodies, compression)
    assert base64.b64decode(value["compressedBinaryData"]) == packed
    assert arrived(value, compression) == raw
    if kind == "zeros" and size > 100 and compression != "UNCOMPRESSED":
        assert len(packed) < size


@EVERY
@given(st.binary(), st.sampled_from([1, 7, 40_000]))
def test_any_bytes_arrive_within_their_bound(compression: str, part: bytes, times: int) -> None:
    raw = part * times
    body = promised(raw, "binary")
    bodies = Bodies({body.sha256: raw})
    assert arrived(inline(body, bodies, compression), compression) == raw
    assert UNPACK[compression](apart(body, bodies, compression)) == raw


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from([1, 5, 4000, 30_000]))
def test_any_text_arrives_within_its_bound(text: str, times: int) -> None:
    raw = (text * times).encode()
    body = promised(raw)
    assert arrived(inline(body, Bodies({body.sha256: raw}))) == raw


@pytest.mark.parametrize("size", [*SIZES, 200_001])
@pytest.mark.parametrize("unit", [b"a", b'"', b"\x01", "é".encode(), "😀".encode()])
def test_text_around_the_sizes_where_its_handling_changes(unit: bytes, size: int) -> None:
    raw = unit * (size // len(unit))
    body = promised(raw)
    value = inline(body, Bodies({body.sha256: raw}))
    assert arrived(value) == raw
    if unit == b"a":
        assert "data" in value
    if unit == b"\x01" and size > 1000:
        # Six characters for each would go beyond the bound.
        assert "compressedBinaryData" in value


@EVERY
def test_text_in_a_container_of_its_own_is_compressed_like_anything_else(compression: str) -> None:
    raw = "naïve \x01".encode() * 100_000
    body = promised(raw)
    assert UNPACK[compression](apart(body, Bodies({body.sha256: raw}), compression)) == raw


COMPRESSOBJ = zlib.compressobj


class Inflating:
    """A compressor that is valid but worse than promised, as some builds are at low levels."""

    def __init__(self, level: int, method: int = zlib.DEFLATED, window: int = 15) -> None:
        self._inner = COMPRESSOBJ(0, method, window)

    def compress(self, data: bytes) -> bytes:
        return b"".join(
            self._inner.compress(data[at : at + 10]) + self._inner.flush(zlib.Z_FULL_FLUSH)
            for at in range(0, len(data), 10)
        )

    def flush(self) -> bytes:
        return self._inner.flush()


@pytest.mark.parametrize("compression", ["ZLIB", "GZIP", "DEFLATE"])
@pytest.mark.parametrize("size", [*SIZES, 500_000])
def test_the_bound_holds_whatever_the_zlib(compression: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content.zlib, "compressobj", Inflating)  # type: ignore[attr-defined]
    raw = noise(size)
    body = promised(raw, "binary")
    bodies = Bodies({body.sha256: raw})
    value, packed = inline(body, bodies, compression), apart(body, bodies, compression)
    monkeypatch.undo()
    assert arrived(value, compression) == raw
    assert UNPACK[compression](packed) == raw
    if size >= 70_000:
        # Nothing but the headers of stored blocks was added.
        assert len(packed) <= size + 5 * (size // 65_535 + 1) + 18


@pytest.mark.parametrize("text", [b"\x01" * 300_000, b"\x01" * 1000])
def test_text_that_needs_escapes_and_a_zlib_that_inflates(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content.zlib, "compressobj", Inflating)  # type: ignore[attr-defined]
    body = promised(text)
    value = inline(body, Bodies({body.sha256: text}))
    monkeypatch.undo()
    assert arrived(value) == text


class Dripping(io.RawIOBase):
    """Gives fewer bytes than it is asked for, as pipes and some file systems do, and counts what it gave."""

    def __init__(self, raw: bytes) -> None:
        self.rest = raw
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        length = min(size, 100_003)
        piece, self.rest = self.rest[:length], self.rest[length:]
        self.given += len(piece)
        return piece


@EVERY
def test_a_short_read_is_no_end(compression: str) -> None:
    raw = noise(3 * content.SMALL)

    class Slow:
        def open(self, sha256: str, /) -> BinaryIO:
            return Dripping(raw)  # type: ignore[return-value]

    assert UNPACK[compression](apart(promised(raw, "binary"), Slow(), compression)) == raw


class Named(io.BytesIO):
    name = "content/page.html"


class Changed:
    """A file that is no longer what was promised."""

    def __init__(self, now: bytes) -> None:
        self.now = now

    def open(self, sha256: str, /) -> BinaryIO:
        return Named(self.now)


@EVERY
@pytest.mark.parametrize("encoding", ["text", "binary"])
@pytest.mark.parametrize("size", [10, content.SMALL + 10])
@pytest.mark.parametrize("changed", ["other", "other end", "longer", "shorter", "nothing left", "not text"])
@pytest.mark.parametrize("write", [inline, apart])
def test_a_body_that_changed_is_named(
    write: Callable[[Body, content.BodySource, str], object], encoding: str, size: int, changed: str, compression: str
) -> None:
    raw = b"a" * size
    now = {
        "other": b"b" + raw[1:],
        "other end": raw[:-1] + b"b",
        "longer": raw + b"a" * 1_000_000,
        "shorter": raw[:-1],
        "nothing left": b"",
        "not text": b"\xff" * size,
    }[changed]
    with pytest.raises(ManifestError) as caught:
        write(promised(raw, encoding), Changed(now), compression)
    [problem] = caught.value.problems
    assert problem.code == "body-changed"
    assert problem.what == 'the body of "item/s/https://x/a" (content/page.html) is not what the plan was made from'


def test_a_body_that_should_be_empty_and_grew() -> None:
    for encoding in ("text", "binary"):
        with pytest.raises(ManifestError, match="is not what the plan was made from"):
            inline(promised(b"", encoding), Changed(b"x"))


def test_a_file_that_grows_without_end_is_not_read_to_its_end() -> None:
    raw = bytes(content.SMALL * 2)
    growing = Dripping(raw + bytes(50_000_000))

    class Growing:
        def open(self, sha256: str, /) -> BinaryIO:
            return growing  # type: ignore[return-value]

    with pytest.raises(ManifestError, match="is not what the plan was made from"):
        apart(promised(raw, "binary"), Growing())
    assert growing.given == len(raw) + 1


def test_what_is_read_twice_is_checked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes between a first attempt that was too long and the second one."""
    monkeypatch.setattr(content.zlib, "compressobj", Inflating)  # type: ignore[attr-defined]
    raw = noise(content.SMALL + 5)
    versions = itertools.chain([raw], itertools.repeat(raw[:-1] + b"!"))

    class Changing:
        def open(self, sha256: str, /) -> BinaryIO:
            return io.BytesIO(next(versions))

    with pytest.raises(ManifestError, match="is not what the plan was made from"):
        apart(promised(raw, "binary"), Changing())


@pytest.mark.parametrize("size", [10, content.SMALL + 10])
@pytest.mark.parametrize("end", [b"\xff", "é".encode()[:1]])
def test_promised_text_that_is_none(size: int, end: bytes) -> None:
    raw = b"a" * size + end
    with pytest.raises(ManifestError) as caught:
        inline(promised(raw), Bodies({promised(raw).sha256: raw}))
    assert [problem.code for problem in caught.value.problems] == ["body-not-text"]


def test_a_character_may_be_cut_by_the_pieces() -> None:
    raw = b"a" * (content.SMALL - 1) + "é😀".encode() * content.SMALL
    body = promised(raw)
    assert arrived(inline(body, Bodies({body.sha256: raw}))) == raw


def test_a_body_that_is_nowhere() -> None:
    for write in (inline, apart):
        with pytest.raises(ManifestError) as caught:
            write(promised(b"a"), Bodies({}))
        assert [problem.code for problem in caught.value.problems] == ["body-missing"]


@EVERY
def test_a_large_body_is_compressed_in_little_memory(compression: str) -> None:
    size, piece = 24_000_000, noise(1_000_000)
    digest = hashlib.sha256(piece * (size // len(piece))).hexdigest()

    class Repeated(io.RawIOBase):
        left = size

        def read(self, length: int = -1) -> bytes:
            at = (size - self.left) % len(piece)
            given = piece[at : at + min(length, self.left)]
            self.left -= len(given)
            return given

    class Large:
        def open(self, sha256: str, /) -> BinaryIO:
            return Repeated()  # type: ignore[return-value]

    class Counted:
        """A sink that keeps nothing."""

        def __init__(self) -> None:
            self.size = 0

        def write(self, data: bytes) -> None:
            self.size += len(data)

        def tell(self) -> int:
            return self.size

        def take_back(self, position: int) -> None:
            self.size = position

    sink, entry = Counted(), Entry(b"{}", Body("binary", digest, size), compression, apart=True)
    tracemalloc.start()
    try:
        content.write_packed(sink, entry, Large(), ADDRESS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.size <= packed_bound(size, compression)
    # An LZMA encoder takes nine by itself.
    assert peak < 12_000_000
