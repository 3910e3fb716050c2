"""Which type each metadata key has, gathered while items are read, and kept with what a file says.

A field takes numbers or texts, never both (push-api.md 4.4), and what does not fit vanishes after the
202. So every value counts, at the price of one look-up an item: the keys of an item and the kinds of
their values are remembered together, and a value is looked at only while it could still change its
key's type. It knows no field; positions are found in `crossfile`, when there is something to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from reconciler.model.metadata import TYPED_ELSEWHERE, FieldType, is_date, join, type_of

KNOWN_SHAPES = 1_000
SCALARS = frozenset({str, int, float, bool})
_LONG = 1 << 31


class Shown(Struct, array_like=True, frozen=True, gc=False):
    """A resource that shows a type of a metadata key, higher than all before it in its file.

    `type` is a `FieldType`, `resource` a number within the file, `origin` the row or file that a member
    of an item set comes from.
    """

    source: str
    key: str
    type: int
    resource: int
    origin: str = ""

    @property
    def is_number(self) -> bool:
        """Whether the type is one of numbers."""
        return self.type <= FieldType.DOUBLE


class Shape:
    """The keys of some item's metadata with the kinds of their values.

    `lists` are the keys whose values are no scalars. `doubtful` are those, by source, whose values may
    still raise a type.
    """

    __slots__ = ("doubtful", "lists")

    def __init__(self, lists: tuple[str, ...]) -> None:
        self.lists = lists
        self.doubtful: dict[str, list[str]] = {}


class TypeWatch:
    """Watches the metadata of one file's items; `resource` tells the number of the item at hand.

    `shapes` are known by the keys and then the kinds of their values.
    """

    __slots__ = ("_joined", "_resource", "origin", "shapes", "shown")

    def __init__(self, resource: Callable[[], int]) -> None:
        self.shown: list[Shown] = []
        self.shapes: dict[tuple[Any, ...], Shape] = {}
        self.origin = ""
        self._resource = resource
        self._joined: dict[tuple[str, str, bool], FieldType] = {}

    def new_shape(self, metadata: dict[str, Any]) -> Shape:
        """Return the shape of metadata that has none yet."""
        if len(self.shapes) >= KNOWN_SHAPES:
            self.shapes.clear()
        shape = Shape(tuple(key for key, value in metadata.items() if type(value) not in SCALARS))
        self.shapes[(*metadata, *map(type, metadata.values()))] = shape
        return shape

    def note(self, source: str, metadata: dict[str, Any], shape: Shape) -> None:
        """Take the metadata of the next item, which is of this shape, into account."""
        doubtful = shape.doubtful.get(source)
        if doubtful is None:
            shape.doubtful[source] = self._unknown(source, metadata)
            return
        for key in doubtful:
            value = metadata[key]
            if is_date(value) is None if type(value) is str else not -_LONG <= value < _LONG:
                self._raise(source, key, value)

    def _unknown(self, source: str, metadata: dict[str, Any]) -> list[str]:
        """Note an item of a shape not seen before; return the keys whose values may still raise a type."""
        doubtful = []
        for key, value in metadata.items():
            if key in TYPED_ELSEWHERE:
                continue
            joined = self._raise(source, key, value)
            kind = type(value)
            if (kind is str and joined is FieldType.DATE) or (kind is int and joined is not FieldType.DOUBLE):
                doubtful.append(key)
        return doubtful

    def _raise(self, source: str, key: str, value: Any) -> FieldType:
        """Return the joined type of a key among numbers or texts, of which `value` is one."""
        found = type_of(value)
        place = (source, key, found.is_number)
        joined = self._joined.get(place)
        if joined is not None and found <= joined:
            return joined
        self._joined[place] = found
        self.shown.append(Shown(source, key, int(found), self._resource(), self.origin))
        # What a shape leaves in doubt follows from the types so far.
        for shape in self.shapes.values():
            shape.doubtful.clear()
        return found


def carried(
    old: Sequence[Shown], taken: Iterable[tuple[int, int, int]], fresh: Sequence[Shown]
) -> tuple[list[Shown], bool]:
    """Return what a file shows of which parts were taken over, and whether that is sure.

    `taken` are runs of the old record's resources, first, end and how far they moved; `fresh` is what
    the other resources show. It is not sure when a resource that showed a type went, and what stays
    was never asked for it.
    """
    runs = list(taken)
    rows = list(fresh)
    for row in old:
        for first, end, shift in runs:
            if first <= row.resource < end:
                rows.append(Shown(row.source, row.key, row.type, row.resource + shift, row.origin))
                break
    first_of: dict[tuple[str, str, int], Shown] = {}
    for row in sorted(rows, key=lambda row: row.resource):
        first_of.setdefault((row.source, row.key, row.type), row)
    highest = _highest(rows)
    sure = not runs or all(highest.get(place, -1) >= known for place, known in _highest(old).items())
    return list(first_of.values()), sure


def _highest(rows: Iterable[Shown]) -> dict[tuple[str, str, bool], int]:
    out: dict[tuple[str, str, bool], int] = {}
    for row in rows:
        place = (row.source, row.key, row.is_number)
        out[place] = max(out.get(place, row.type), row.type)
    return out


def conflicts(files: Iterable[Sequence[Shown]]) -> list[str]:
    """Return the keys that are a number in one place and a text in another, over all sources."""
    kinds: dict[str, set[bool]] = {}
    for rows in files:
        for row in rows:
            kinds.setdefault(row.key, set()).add(row.is_number)
    return sorted(key for key, found in kinds.items() if len(found) > 1)


def first_of_kind(rows: Iterable[Shown], key: str, *, number: bool) -> Shown | None:
    """Return the first resource of a file that shows a key as a number, or as a text."""
    found = [row for row in rows if row.key == key and row.is_number is number]
    return min(found, key=lambda row: row.resource, default=None)


@dataclass(frozen=True, slots=True)
class MetadataUse:
    """A metadata key of a source, the type that takes all its values, and the first file that shows it."""

    source: str
    key: str
    type: FieldType
    file: int

    def shown_in(self, rows: Iterable[Shown]) -> Shown | None:
        """Return the first of a file's resources that shows this very type."""
        found = [row for row in rows if (row.source, row.key, row.type) == (self.source, self.key, self.type)]
        return min(found, key=lambda row: row.resource, default=None)


def uses_of(files: Sequence[Sequence[Shown]]) -> tuple[MetadataUse, ...]:
    """Return every metadata key of every source, sorted."""
    found: dict[tuple[str, str], list[tuple[FieldType, int]]] = {}
    for number, rows in enumerate(files):
        for row in rows:
            found.setdefault((row.source, row.key), []).append((FieldType(row.type), number))
    out = []
    for (source, key), places in sorted(found.items()):
        joined = join(kind for kind, _ in places)
        file = next((number for kind, number in places if kind is joined), places[0][1])
        out.append(MetadataUse(source, key, joined, file))
    return tuple(out)
