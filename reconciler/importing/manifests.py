"""Imported entries as the files of a folder: one manifest for each source and provider, and content files.

Pure: texts and bytes by path; somebody else writes them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.importing.documents import Gathered
from reconciler.importing.text import comment, mapping, section
from reconciler.importing.tidy import Entry, name_models

TEXT_IN_MANIFEST = 16 * 1024
"""The longest text, in bytes, that stays in a manifest; a longer one becomes a content file, and travels compressed."""

_ITEM_ORDER = (
    "uri",
    "title",
    "clickableUri",
    "fileExtension",
    "parent",
    "permanentId",
    "body",
    "permissions",
    "metadata",
)
_IDENTITY_SECTIONS = ("groups", "virtualGroups", "users", "aliases")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 40
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")
_MANIFESTS = (".yaml", ".yml")  # content with such a name would be read as a manifest


@dataclass(frozen=True, slots=True)
class File:
    """A file to write, its path relative to the folder of the import."""

    path: str
    data: bytes


def files_of(gathered: Gathered, *, prefix: str, origin: Sequence[str], providers: Mapping[str, str]) -> Iterator[File]:
    """Yield the files that say what was gathered, content files before the manifests that name them.

    `prefix` is the path from the project's folder to that of the import, with `/`; `origin` says in lines where
    all of it comes from. `providers` has the provider of each source that has one: identities there leave it out, and
    a permission model with a name does not stand at a source.
    """
    for source in sorted({source for source, _ in gathered.items}):
        entries = []
        for (_, uri), entry in _sorted(gathered.items, source):
            own, content = _with_content(entry, f"content/{source}/{_file_name(uri, entry)}", prefix)
            entries.append(_ordered(own))
            if content is not None:
                yield content
        models = name_models(entries, source)
        defaults = {"source": source}
        if models and source in providers:
            defaults["provider"] = providers[source]
        text = "".join((comment(origin), "\n", *mapping("defaults", defaults), *mapping("permissions", models)))
        yield File(f"items-{source}.yaml", _bytes(text, section("items", entries)))
    for provider in sorted({provider for _, provider, _ in gathered.identities}):
        text = "".join((comment(origin), "\n", *mapping("defaults", {"provider": provider})))
        pieces = (
            piece
            for name in _IDENTITY_SECTIONS
            for piece in section(
                name,
                [entry for key, entry in sorted(gathered.identities.items()) if key[:2] == (name, provider)],
            )
        )
        yield File(f"identities-{provider}.yaml", _bytes(text, pieces))


def _sorted(items: Mapping[tuple[str, str], Entry], source: str) -> list[tuple[tuple[str, str], Entry]]:
    return sorted((pair for pair in items.items() if pair[0][0] == source), key=lambda pair: pair[0])


def _bytes(head: str, pieces: Iterable[str]) -> bytes:
    return b"".join((head.encode(), *(piece.encode() for piece in pieces)))


def _ordered(entry: Entry) -> Entry:
    return {key: entry[key] for key in (*_ITEM_ORDER, *entry) if key in entry}


def _with_content(entry: Entry, path: str, prefix: str) -> tuple[Entry, File | None]:
    """Return an item whose binary or long content stands in a file, and the file."""
    body: dict[str, Any] = entry.get("body") or {}
    text = body.get("text")
    if isinstance(text, str):
        data = text.encode()
        if len(data) <= TEXT_IN_MANIFEST:
            return entry, None
    elif isinstance(body.get("base64"), str):
        data = base64.b64decode(body["base64"])
    else:
        return entry, None
    # A `$` in a path would be read as the start of a variable; there is none in the names that are made here.
    return {**entry, "body": {"file": f"{prefix}{path}"}}, File(path, data)


def _file_name(uri: str, entry: Entry) -> str:
    """Return a name that no other item has; its suffix is the item's extension, or there is none."""
    last = uri.split("?")[0].rstrip("/").rpartition("/")[2]
    extension = entry.get("fileExtension")
    stem = _UNFIT.sub("-", last.removesuffix(extension or "")).strip("-")[:_LONGEST_NAME]
    fits = isinstance(extension, str) and _EXTENSION.fullmatch(extension) and extension.lower() not in _MANIFESTS
    suffix = extension if fits else ""
    return f"{stem or 'item'}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}{suffix}"
