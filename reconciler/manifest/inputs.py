"""What an item set is made of: the files that it matches, found without reading them.

Apart from `sets`, since a plan that finds nothing changed needs no more than this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from reconciler.manifest.paths import FoundFile, Globbed, ProjectFolder
from reconciler.problems import ManifestError, Problem

ROW_FORMATS = ("csv", "jsonl", "parquet")


def set_inputs(spec: Mapping[str, Any], folder: ProjectFolder, variables: Mapping[str, str]) -> Globbed:
    """Return the files that a set is made of, with their stat, and what is wrong with them.

    Together with the set's own text this is all that its members depend on.
    """
    from reconciler.manifest.template import substitute

    origin = spec.get("from") or {}
    try:
        if "files" in origin:
            wanted = [substitute(text, variables) for text in texts_of(origin["files"])]
            exclude = [substitute(text, variables) for text in texts_of(origin.get("exclude"))]
            return folder.glob(wanted, exclude)
        kind = next((name for name in ROW_FORMATS if name in origin), None)
        if kind is None:
            return Globbed([], [_no_origin()])
        found = folder.resolve(substitute(origin[kind], variables))
    except ManifestError as error:
        return Globbed([], list(error.problems))
    return Globbed([], [found]) if isinstance(found, Problem) else Globbed([FoundFile(found.relative, found.stat)], [])


def found_digest(inputs: Globbed) -> bytes:
    """Return a digest of the files that a set found and their stat: what the set depends on beside its text."""
    return hashlib.sha256(orjson.dumps([(entry.path, *entry.stat) for entry in inputs.files])).digest()


def texts_of(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _no_origin() -> Problem:
    return Problem(
        "bad-set",
        "an item set does not say where its members come from",
        "without files or rows there is nothing to make items of.",
        "give exactly one of files, csv, jsonl, parquet under `from`.",
    )
