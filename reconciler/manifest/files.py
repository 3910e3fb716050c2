"""Reads manifest files as bytes, none of them larger than a manifest may be."""

from __future__ import annotations

import os

from reconciler.manifest.paths import ProjectFolder
from reconciler.problems import ManifestError, Problem

MAX_FILE = 1 << 30


def read_text(folder: ProjectFolder, file: str) -> bytes:
    """Return the text of a manifest. Raises ManifestError for what is no readable file, or too large."""
    with folder.open(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_FILE:
            raise ManifestError(_too_large(file, size))
        data = stream.readall() if hasattr(stream, "readall") else stream.read()
    return bytes(data)


def _too_large(file: str, size: int) -> Problem:
    return Problem(
        "file-too-large",
        f'"{file}" has {size:,} bytes; a manifest may have {MAX_FILE:,}',
        why="it would fill the memory.",
        fix="split it, or put the rows in a data file and use itemSets.",
    )
