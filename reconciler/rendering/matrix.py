"""Who gains and who loses sight of what as a table: people by items that change alike, before and after.

Made from the document of an exposure (`rendering.exposuredoc`). Nothing here is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.model.identity import parse_identity
from reconciler.rendering.exposure import KINDS
from reconciler.rendering.exposureview import Listed, listed_items
from reconciler.rendering.values import count

COLUMNS, ROWS = 24, 200

Side = Literal["gained", "lost"]
Cell = Literal["", "gained", "lost"]
SIDES: tuple[Side, ...] = ("gained", "lost")
EVERYBODY = "everybody, also whoever did not log in"


@dataclass(frozen=True, slots=True)
class Column:
    """Items whose access changes alike: how many of which source, what becomes of them, and some of them by name."""

    number: int
    told: str
    kind: str
    items: Listed


@dataclass(frozen=True, slots=True)
class Row:
    """Somebody, or everybody of a domain, or so many `others`; a cell for each column, empty where nothing changes.

    `others` has for each column how many more gain or lose, whom no other row names.
    """

    who: str
    cells: tuple[Cell, ...]
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    """The table. What is in none of its columns and rows is counted."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    hidden_columns: int
    hidden_rows: int


def access_matrix(document: Mapping[str, Any], *, columns: int = COLUMNS, rows: int = ROWS) -> Matrix:
    """Return the table of what is gained and lost, what weighs most first."""
    entries: dict[tuple[object, ...], list[tuple[Side, Mapping[str, Any]]]] = {}
    for side in SIDES:
        for entry in document[side]:
            # What some gain others may lose of the same items: one column says both.
            alike = (entry["kind"], entry["source"], entry["items"], *entry["examples"])
            entries.setdefault(alike, []).append((side, entry))
    weighed = sorted(entries.values(), key=lambda told: -sum(_weight(entry) for _, entry in told))
    shown = weighed[:columns]
    cells: dict[str, list[Cell]] = {}
    others: dict[Side, list[int]] = {side: [0] * len(shown) for side in SIDES}
    for place, told in enumerate(shown):
        for side, entry in told:
            for name in _people(entry):
                cells.setdefault(name, [""] * len(shown))[place] = side
            others[side][place] += max(0, entry["people"] - len(_known(entry)))
    named = sorted(cells.items(), key=lambda row: (row[0] != EVERYBODY, -sum(map(bool, row[1])), row[0]))
    rest = [
        Row(f"others who {verb} sight", tuple(side if number else "" for number in others[side]), tuple(others[side]))
        for side, verb in zip(SIDES, ("gain", "lose"), strict=True)
        if any(others[side])
    ]
    return Matrix(
        tuple(_column(number, told[0][1]) for number, told in enumerate(shown, 1)),
        (*(Row(name, tuple(row)) for name, row in named[:rows]), *rest),
        len(weighed) - len(shown) + sum(document.get("more", {}).values()),
        max(0, len(named) - rows),
    )


def _weight(entry: Mapping[str, Any]) -> int:
    return int(entry["items"] * max(1, entry["people"]))


def _people(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("public"):
        yield EVERYBODY
    for domain in entry.get("domains", ()):
        yield f"everybody of {domain.rpartition('@')[2]}"
    for name in _known(entry):
        yield parse_identity(name).short


def _known(entry: Mapping[str, Any]) -> Sequence[str]:
    # A plan of before persons were told names their identities alone.
    named: Sequence[str] = entry.get("persons") or entry["identities"][: entry["people"]]
    return named


def _column(number: int, entry: Mapping[str, Any]) -> Column:
    told = f"{count(entry['items'], 'item')} in {entry['source']}"
    return Column(number, told, KINDS[entry["kind"]], listed_items(entry))
