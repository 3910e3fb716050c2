"""A manifest file as its sections, whichever way it could be read, with one way to find positions.

Most files split at their entries, so that one entry can be digested, parsed and located alone;
what does not is read as a whole. It knows YAML's shape and no section's meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from reconciler.manifest.read import Doubt, read_documents, read_fast
from reconciler.manifest.record import ENTRY_DIGEST
from reconciler.manifest.split import Section, digests, line_of, read_section, split, try_entries
from reconciler.problems import Position, Problem

Path = tuple[str | int, ...]


class Part(Protocol):
    """One top-level section of one document. Entries are those of a list, numbered from 0."""

    name: str

    @property
    def entries(self) -> int | None:
        """The number of entries, or None for what is no list."""

    def digests(self) -> bytes | None:
        """Return each entry's digest, or None when entries cannot be told apart by their text."""

    def values(self, wanted: Sequence[int] | None = None) -> list[Any]:
        """Return entries as plain values, all or those wanted.

        Raises PieceError when an entry cannot be read alone.
        """

    def whole(self) -> Any:
        """Return the section's value. Raises PieceError when it cannot be read alone."""

    def locate(self, entry: int | None, path: Path, *, on_key: bool = False) -> Position:
        """Return where a value or key inside an entry (None: the section) stands."""

    def locate_name(self) -> Position:
        """Return where the section's own name stands."""


@dataclass(slots=True)
class SplitPart:
    """A section that was cut out of the text, and at its entries where it is a list in block form."""

    name: str
    text: bytes
    section: Section
    file: str

    @property
    def entries(self) -> int | None:
        if self.section.style == "sequence":
            return len(self.section)
        value = self.whole()
        return len(value) if isinstance(value, list) else None

    def digests(self) -> bytes | None:
        if self.section.style != "sequence":
            return None
        return b"".join([digest[:ENTRY_DIGEST] for digest in digests(self.text, self.section)])

    def values(self, wanted: Sequence[int] | None = None) -> list[Any]:
        if self.section.style != "sequence":
            return _chosen(self.whole(), wanted)
        values, problems = try_entries(self.text, self.section, wanted, file=self.file)
        if problems:
            raise PieceError(problems)
        return values

    def whole(self) -> Any:
        value, problems = read_section(self.text, self.section, file=self.file)
        if problems:
            raise PieceError(problems)
        return value

    def locate(self, entry: int | None, path: Path, *, on_key: bool = False) -> Position:
        if entry is None or self.section.style != "sequence":
            start, end = self.section.start, self.section.end
            path = (self.name, *(() if entry is None else (entry,)), *path)
        else:
            start, end = self.section.bounds[entry], self.section.bounds[entry + 1]
            path = (0, *path)
        return self._position(start, end, path, on_key=on_key)

    def locate_name(self) -> Position:
        return self._position(self.section.start, self.section.end, (self.name,), on_key=True)

    def _position(self, start: int, end: int, path: Path, *, on_key: bool) -> Position:
        from reconciler.manifest.locate import position_of

        line = line_of(self.text, start)
        return position_of(self.text[start:end], path, file=self.file, of="key" if on_key else "value", line=line)


@dataclass(slots=True)
class WholePart:
    """A section of a file that was read as a whole."""

    name: str
    text: bytes
    document: int
    value: Any
    file: str

    @property
    def entries(self) -> int | None:
        return len(self.value) if isinstance(self.value, list) else None

    def digests(self) -> bytes | None:
        return None

    def values(self, wanted: Sequence[int] | None = None) -> list[Any]:
        return _chosen(self.value, wanted)

    def whole(self) -> Any:
        return self.value

    def locate(self, entry: int | None, path: Path, *, on_key: bool = False) -> Position:
        return self._position((self.name, *(() if entry is None else (entry,)), *path), on_key=on_key)

    def locate_name(self) -> Position:
        return self._position((self.name,), on_key=True)

    def _position(self, path: Path, *, on_key: bool) -> Position:
        from reconciler.manifest.locate import position_of

        of: Literal["key", "value"] = "key" if on_key else "value"
        return position_of(self.text, path, file=self.file, of=of, document=self.document)


def _chosen(entries: list[Any], wanted: Sequence[int] | None) -> list[Any]:
    return entries if wanted is None else [entries[index] for index in wanted]


class PieceError(Exception):
    """A piece of the text is no YAML by itself; `problems` says why."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


# Above this size a text that the fast way refuses is not read as a whole by the exact way, which
# takes seconds a megabyte: the problems of the pieces tell enough.
EXACT_SIZE = 1 << 20


def parts_of(text: bytes, file: str) -> tuple[list[Part], list[Problem]]:
    """Return the sections of a manifest, and the problems that its YAML has.

    Splitting is a short cut: a caller whose piece does not parse alone asks `whole_parts`.
    """
    sections = split(text)
    if sections is None:
        return whole_parts(text, file)
    return [SplitPart(section.name, text, section, file) for section in sections], []


def whole_parts(text: bytes, file: str, doubts: list[Problem] | None = None) -> tuple[list[Part], list[Problem]]:
    """Return the sections of a text that is read as a whole; `doubts` are the problems of its pieces."""
    if doubts and len(text) > EXACT_SIZE:
        try:
            read_fast(text)
        except Doubt:
            return [], doubts
    documents, problems = read_documents(text, file)
    if problems:
        return [], problems
    parts: list[Part] = []
    for number, value in enumerate(documents):
        if not isinstance(value, dict):
            return [], [_not_a_mapping(value, text, number, file)]
        parts += [WholePart(name, text, number, entry, file) for name, entry in value.items()]
    return parts, []


def _not_a_mapping(value: Any, text: bytes, document: int, file: str) -> Problem:
    from reconciler.manifest.locate import excerpt, position_of

    shown = "a list" if isinstance(value, list) else "a single value"
    position = position_of(text, (), file=file, document=document)
    return Problem(
        "not-a-manifest",
        f"the file holds {shown} where sections are expected",
        why="a manifest is a mapping of sections such as items, groups and permissions.",
        fix="put the entries under a section, for example `items:`.",
    ).at(position, excerpt(text, position))
