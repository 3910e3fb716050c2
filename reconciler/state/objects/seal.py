"""How the bytes of an object are written and recognised: compressed, with a digest that covers its name.

Every object but the lock passes here on its way out and in, so this is the one place that knows their form. An object
that was cut off, altered, or copied over another one's name does not open.
"""

from __future__ import annotations

from hashlib import sha256

import zstandard

MAGIC = b"RCNLOBJ1"
LEVEL = 3
LARGEST = 1 << 31  # no object unpacks to more: a damaged one must not fill the memory

_HEAD = len(MAGIC) + 32


def digest_of(name: str, content: bytes) -> bytes:
    """Return what says that `content` stands under `name`: 32 bytes."""
    return sha256(name.encode() + b"\0" + content).digest()


def seal(name: str, content: bytes) -> bytes:
    """Return the bytes to store under `name`."""
    return MAGIC + digest_of(name, content) + zstandard.ZstdCompressor(level=LEVEL).compress(content)


def unseal(name: str, sealed: bytes) -> bytes:
    """Return what `seal` was given. Raises ValueError for anything that it never returned for this name."""
    if not sealed.startswith(MAGIC) or len(sealed) < _HEAD:
        raise ValueError("it is none of reconciler's objects")
    packed = sealed[_HEAD:]
    try:
        if not 0 <= zstandard.frame_content_size(packed) <= LARGEST:
            raise ValueError("it is too long, or does not say how long")
        content = zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        raise ValueError("it cannot be unpacked") from error
    if digest_of(name, content) != sealed[len(MAGIC) : _HEAD]:
        raise ValueError("its content is not what was written under this name")
    return content
