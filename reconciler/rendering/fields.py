"""Field changes as rows: old and new values, identities that come and go, permission models set by set.

Rows hold shown values, not yet escaped for a format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.planning.change import IDENTITY_LISTS, FieldChange
from reconciler.rendering.values import CAP, is_body, shown_bodies, shown_identity, shown_value, window, window_pair

_Set = dict[str, Any]

FULL_CAP = 1000
PARTS_SHOWN = 20
DESCRIBED = 1000  # deepdiff compares lists in more than linear time


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field's change.

    Either `before` and `after` are shown values (empty when absent, so that a row says whether it
    was set, changed or removed by `sign`), or `added` and `removed` are what a list gained and lost,
    of which `hidden` more are not listed. `label` narrows the path: a level and set of a permission
    model. `notes` describe a nested value's change piece by piece.
    """

    path: str
    sign: str
    before: str = ""
    after: str = ""
    label: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    hidden: int = 0
    notes: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    """Where the manifests say it, where somebody asked."""

    @property
    def is_list(self) -> bool:
        """Whether the row tells what a list gained and lost."""
        return bool(self.added or self.removed or self.hidden)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at the fields: the provider that goes without saying, and whether they want everything."""

    own_provider: str | None = None
    full: bool = False

    @property
    def cap(self) -> int:
        """How long a shown value may be."""
        return FULL_CAP if self.full else CAP


def field_rows(fields: Sequence[FieldChange], reader: Reader) -> tuple[FieldRow, ...]:
    """Return the rows of one change's fields, in their order; a permission model may take several."""
    return tuple(row for entry in fields for row in _rows(entry, reader))


def _rows(entry: FieldChange, reader: Reader) -> Iterator[FieldRow]:
    path = ".".join(entry.path)
    sign = "+" if entry.before is None else "-" if entry.after is None else "~"
    if path in IDENTITY_LISTS and _all_lists(entry.before, entry.after):
        row = _list_row(path, sign, "", entry.before or (), entry.after or (), reader)
        yield row if row.is_list else _value_row(path, sign, entry, reader)
    elif path == "permissions" and _all_models(entry.before, entry.after):
        yield from _permission_rows(sign, entry.before, entry.after, reader)
    elif path == "body" and all(value is None or is_body(value) for value in (entry.before, entry.after)):
        before, after = shown_bodies(entry.before, entry.after)
        yield FieldRow(path, sign, before, after)
    else:
        yield _value_row(path, sign, entry, reader)


def _value_row(path: str, sign: str, entry: FieldChange, reader: Reader) -> FieldRow:
    if sign == "+":
        return FieldRow(path, sign, after=window(shown_value(entry.after), reader.cap))
    if sign == "-":
        return FieldRow(path, sign, before=window(shown_value(entry.before), reader.cap))
    before, after = window_pair(shown_value(entry.before), shown_value(entry.after), reader.cap)
    nested = isinstance(entry.before, (list, dict)) and isinstance(entry.after, (list, dict))
    notes = _described(entry.before, entry.after) if reader.full and nested else ()
    return FieldRow(path, sign, before, after, notes=notes)


def _described(before: Any, after: Any) -> tuple[str, ...]:
    if max(len(before), len(after)) > DESCRIBED:
        return ()
    from deepdiff import DeepDiff  # 0.1 s to import, and only the fullest detail asks for it

    found: list[tuple[tuple[str | int, ...], str, Any, Any]] = [
        (tuple(level.path(output_format="list")), report, level.t1, level.t2)
        for report, levels in DeepDiff(before, after, view="tree").items()
        for level in levels
    ]
    found.sort(key=lambda entry: ([(type(step).__name__, step) for step in entry[0]], entry[1]))
    return tuple(_note(*entry) for entry in found)


def _note(path: tuple[str | int, ...], report: str, before: Any, after: Any) -> str:
    where = "".join(f"[{step}]" for step in path) or "value"
    if report.endswith("_added"):
        return f"{where} added {window(shown_value(after))}"
    if report.endswith("_removed"):
        return f"{where} removed {window(shown_value(before))}"
    old, new = window_pair(shown_value(before), shown_value(after))
    return f"{where} {old} -> {new}"


def _all_lists(*values: Any) -> bool:
    return all(
        value is None or (isinstance(value, list) and all(isinstance(entry, str) for entry in value))
        for value in values
    )


def _all_models(*values: Any) -> bool:
    return all(value is None or (isinstance(value, dict) and "levels" in value) for value in values)


def _list_row(
    path: str, sign: str, label: str, before: Sequence[str], after: Sequence[str], reader: Reader
) -> FieldRow:
    old, new = set(before), set(after)
    removed = [shown_identity(entry, reader.own_provider) for entry in sorted(old - new)]
    added = [shown_identity(entry, reader.own_provider) for entry in sorted(new - old)]
    if reader.full:
        return FieldRow(path, sign, label=label, added=tuple(added), removed=tuple(removed))
    shown_added = added[:PARTS_SHOWN]
    shown_removed = removed[:PARTS_SHOWN]
    hidden = len(added) + len(removed) - len(shown_added) - len(shown_removed)
    return FieldRow(path, sign, label=label, added=_short(shown_added), removed=_short(shown_removed), hidden=hidden)


def _short(identities: list[str]) -> tuple[str, ...]:
    return tuple(window(entry) for entry in identities)


def _permission_rows(
    sign: str, before: dict[str, Any] | None, after: dict[str, Any] | None, reader: Reader
) -> Iterator[FieldRow]:
    """Compare level by level, in order, and within a level set by set.

    Sets have no identity: equal ones are matched first, then those of one name, then the rest in
    order. A model with one level of one set is shown without numbering either.
    """
    old = before["levels"] if before else []
    new = after["levels"] if after else []
    simple = max(len(old), len(new)) == 1 and all(len(level["sets"]) == 1 for level in (*old, *new))
    found = False
    for index in range(max(len(old), len(new))):
        was = old[index] if index < len(old) else None
        will = new[index] if index < len(new) else None
        for row in _level_rows(sign, "" if simple else f"level {index + 1}", was, will, reader):
            found = True
            yield row
    if not found:  # an empty model that comes or goes: nothing inside it could tell
        yield FieldRow(
            "permissions",
            sign,
            "" if before is None else window(shown_value(before), reader.cap),
            "" if after is None else window(shown_value(after), reader.cap),
        )


def _level_rows(
    sign: str, prefix: str, before: dict[str, Any] | None, after: dict[str, Any] | None, reader: Reader
) -> Iterator[FieldRow]:
    old_name, new_name = (level.get("name", "") if level else "" for level in (before, after))
    if old_name != new_name:
        yield _single(sign, _joined(prefix, "name"), old_name, new_name, reader)
    old: list[dict[str, Any]] = list(before["sets"]) if before else []
    new: list[dict[str, Any]] = list(after["sets"]) if after else []
    numbered = bool(prefix) and max(len(old), len(new)) > 1
    for position, was, will in _paired(old, new):
        label = _joined(prefix, f"set {position + 1}") if numbered else prefix
        yield from _set_rows(sign, label, was, will, reader)
        if not (was or will):  # nobody in it, but a set that allows nobody hides the item from all
            yield _coming(label, "a set that names nobody", is_new=was is None)
    if not (old or new or old_name or new_name):
        yield _coming(prefix, "a level without sets", is_new=before is None)


def _paired(old: Sequence[_Set], new: Sequence[_Set]) -> list[tuple[int, _Set | None, _Set | None]]:
    """Return the sets that differ, with their place: each pair in the new level's, a lost set in the old one's."""
    equal: dict[str, list[int]] = {}
    for place, entry in enumerate(old):
        equal.setdefault(shown_value(entry), []).append(place)
    new_left = [place for place, entry in enumerate(new) if not _taken(equal, shown_value(entry))]
    old_left = sorted(place for places in equal.values() for place in places)
    named: dict[str, list[int]] = {}
    for place in old_left:
        named.setdefault(old[place].get("name", ""), []).append(place)
    pairs: list[tuple[int, _Set | None, _Set | None]] = []
    rest: list[int] = []
    for place in new_left:
        same = _taken(named, new[place].get("name", "")) if new[place].get("name") else []
        if same:
            pairs.append((place, old[same[0]], new[place]))
        else:
            rest.append(place)
    lost = sorted(place for places in named.values() for place in places)
    pairs += [(there, old[here], new[there]) for here, there in zip(lost, rest, strict=False)]
    pairs += [(there, None, new[there]) for there in rest[len(lost) :]]
    pairs += [(here, old[here], None) for here in lost[len(rest) :]]
    return sorted(pairs, key=lambda pair: pair[0])


def _taken(places: dict[str, list[int]], key: str) -> list[int]:
    left = places.get(key)
    return [left.pop(0)] if left else []


def _set_rows(
    sign: str, label: str, before: dict[str, Any] | None, after: dict[str, Any] | None, reader: Reader
) -> Iterator[FieldRow]:
    old, new = before or {}, after or {}
    if old.get("name", "") != new.get("name", ""):
        yield _single(sign, _joined(label, "name"), old.get("name", ""), new.get("name", ""), reader)
    for side in ("allowed", "denied"):
        if old.get(side, []) != new.get(side, []):
            yield _list_row("permissions", sign, _joined(label, side), old.get(side, []), new.get(side, []), reader)
    if old.get("anonymous", False) != new.get("anonymous", False):
        added, removed = (("everyone",), ()) if new.get("anonymous") else ((), ("everyone",))
        yield FieldRow("permissions", sign, label=_joined(label, "anonymous"), added=added, removed=removed)


def _coming(label: str, what: str, *, is_new: bool) -> FieldRow:
    before, after = ("", what) if is_new else (what, "")
    return FieldRow("permissions", "+" if is_new else "-", before, after, label=label)


def _single(sign: str, label: str, before: str, after: str, reader: Reader) -> FieldRow:
    old, new = window_pair(shown_value(before) if before else "", shown_value(after) if after else "", reader.cap)
    return FieldRow("permissions", sign, old, new, label=label)


def _joined(prefix: str, word: str) -> str:
    return f"{prefix}, {word}" if prefix else word
