"""Finds the lines of the manifests that say what a resource is, field by field: what `plan --blame` names.

A value may stand on several lines, and a name may stand for what is written elsewhere: all of those lines are told.
Nothing is known here of who wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.manifest.crossfile import Path, Texts
from reconciler.manifest.parts import Part
from reconciler.manifest.places import entries_of, models_of
from reconciler.manifest.record import FileRecord

Field = tuple[str, ...]

# Fields that manifests or the wire (push-api.md 3.5) call something else; the case of keys means nothing.
_KEYS = {"mappings": ("mappings", "is"), "body": ("body", "data", "compressedbinarydata")}
_METADATA = "metadata"
_PERMISSIONS = ("permissions",)


@dataclass(frozen=True, slots=True, order=True)
class Lines:
    """Lines of a file, from 1, both included."""

    file: str
    first: int
    last: int


def find_origins(
    wanted: Mapping[str, Sequence[Field]],
    files: Sequence[str],
    records: Sequence[FileRecord],
    text_of: Callable[[str], bytes],
) -> dict[tuple[str, Field], list[Lines]]:
    """Return the lines of each wanted field of each address; those of the entry where it does not write the field.

    The empty field is the entry itself. Where an entry gives its permission model by name, the model's lines are told
    as well. What no file says any more is left out.
    """
    texts = Texts(files, records, text_of)
    blocks = _Blocks(texts)
    found: dict[tuple[str, Field], list[Lines]] = {}
    named: dict[str, list[list[Lines]]] = {}
    for address, (file, part, index, start) in entries_of(texts, set(wanted)).items():
        assert index is not None
        [value] = part.values([index])
        for step in start:
            value = value[step]
        for path in wanted[address]:
            told = found[address, path] = [blocks.of(file, part, index, (*start, *_written(path, value)))]
            if path == _PERMISSIONS and (name := _named(texts, file, value)):
                named.setdefault(name, []).append(told)
    for name, (file, part, _, path) in models_of(texts, set(named)).items():
        lines = blocks.of(file, part, None, path)
        for told in named[name]:
            told.append(lines)
    return found


def _named(texts: Texts, file: int, value: Any) -> str:
    """Return the permission model that an entry gives by name, or that its file gives to those without one."""
    key = _key(value, _PERMISSIONS[0]) if isinstance(value, dict) else None
    name = value[key] if key is not None else (texts.defaults(file) or {}).get(_PERMISSIONS[0])
    return name if isinstance(name, str) else ""


def _written(path: Field, value: Any) -> Path:
    """Return the path at which an entry writes a field, as far as it does."""
    if not path or not isinstance(value, dict):
        return ()
    key = _key(value, path[0])
    if path[0] != _METADATA or len(path) == 1:
        return () if key is None else (key,)
    inner = value[key] if key is not None else None
    name = _key(inner, path[1]) if isinstance(inner, dict) else None
    if key is not None and name is not None:
        return (key, name)
    # An entry in the form of the wire writes its metadata beside the rest (push-api.md 3.1).
    name = _key(value, path[1])
    return (name,) if name is not None else () if key is None else (key,)


def _key(value: Mapping[Any, Any], name: str) -> str | None:
    wanted = _KEYS.get(name, (name.lower(),))
    return next((key for key in value if isinstance(key, str) and key.lower() in wanted), None)


class _Blocks:
    """Finds the lines of values, in texts that are cut into lines once."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._lines: dict[int, list[str]] = {}

    def of(self, file: int, part: Part, index: int | None, path: Path) -> Lines:
        """Return the lines of a value, with those of its key."""
        if file not in self._lines:
            self._lines[file] = self._texts.text(file).decode(errors="replace").split("\n")
        lines = self._lines[file]
        on_key = bool(path) and isinstance(path[-1], str)
        position = part.locate(index, path, on_key=on_key)
        indent = position.column - 1
        before = lines[position.line - 1][:indent].rstrip()
        if not on_key and before.endswith("-"):
            # The other keys of an entry stand right below its first one, which follows the dash.
            indent = len(before) - 1
        last = position.line + sum(1 for _ in _below(lines, position.line - 1, indent))
        while last > position.line and not lines[last - 1].strip():
            last -= 1
        return Lines(self._texts.files[file], position.line, last)


def _below(lines: Sequence[str], first: int, indent: int) -> Iterator[str]:
    """Yield the lines after the first that are part of the block which begins there, at a column from 0."""
    opens = lines[first].rstrip().endswith(":")
    for number in range(first + 1, len(lines)):
        line = lines[number]
        inner = len(line) - len(line.lstrip(" "))
        in_list = opens and inner == indent and line.lstrip().startswith("- ")
        if line.strip() and inner <= indent and not in_list:
            return
        yield line
