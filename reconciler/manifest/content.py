"""What is known of a content file: digest, size and stat, read in pieces and never kept whole.

One reading serves both the digest and the extraction of fields, which needs only the beginning of a
file. It knows nothing of items.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from reconciler.manifest.paths import FileStat, ProjectFolder, file_stat
from reconciler.problems import ManifestError, Problem

PIECE = 1 << 20
HEAD_SIZE = 256 << 10
# What a file container of 256 MiB holds for certain (push-api.md 4.1): what cannot be compressed grows by a
# 3,000th, and what can may be the next version of the file.
MAX_SIZE = (256 << 20) // 3000 * 2999


class ContentInfo(NamedTuple):
    """A content file as it was read: SHA-256 in hex, size in bytes, stat, and the bytes asked for."""

    sha256: str
    size: int
    stat: FileStat
    head: bytes = b""


def hash_file(folder: ProjectFolder, relative: str, *, head: int = 0) -> ContentInfo | Problem:
    """Read a file of the project once and return its digest, with its first `head` bytes.

    A file that changes while it is read has no digest: that is a problem, not a guess.
    """
    try:
        with folder.open(relative) as file:
            return _hash(file.fileno(), relative, head)
    except ManifestError as error:
        return error.problems[0]
    except OSError as error:
        return Problem(
            "file-unreadable",
            f'"{relative}" cannot be read: {os.strerror(error.errno or 0)}',
            "without its content the plan would not say what is pushed.",
            "make the file readable, or leave it out.",
        )


def _hash(descriptor: int, relative: str, head: int) -> ContentInfo | Problem:
    before = os.fstat(descriptor)
    if before.st_size > MAX_SIZE:
        return Problem(
            "file-too-large",
            f'"{relative}" has {before.st_size:,} bytes, more than the {MAX_SIZE:,} that an item can carry',
            "its content travels in a file container, which holds 256 MiB (push-api.md 4.1).",
            "leave the file out, or split it into several items.",
        )
    digest = hashlib.sha256()
    start = b""
    left = before.st_size
    # One byte more than the file has: a file that grows is noticed, and not followed without end.
    while piece := os.read(descriptor, min(PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        digest.update(piece)
        if len(start) < head:
            start += piece[: head - len(start)]
    after = file_stat(os.fstat(descriptor))
    if left or after != file_stat(before):
        return Problem(
            "file-changed",
            f'"{relative}" changed while it was read',
            "a digest of half the old and half the new content would belong to neither.",
            "wait until nothing writes to the file, then run the command again.",
        )
    return ContentInfo(digest.hexdigest(), before.st_size, after, start)
