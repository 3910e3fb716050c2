"""Looks at what seemed wrong across files, and says where: only texts hold positions.

A record may name what its text no longer says, and a text may write a name that only variables, rows or
the form of the wire make what it is. So a file with a doubtful name is read once more, entry by entry,
and each entry that really leads to the name is searched for the place where it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from reconciler.manifest.desired import SEPARATOR, Desired, Suspicion
from reconciler.manifest.entries import Reader
from reconciler.manifest.locate import excerpt
from reconciler.manifest.metatypes import MetadataUse, Shown, first_of_kind
from reconciler.manifest.parts import Part, PieceError, parts_of, whole_parts
from reconciler.manifest.record import FileRecord
from reconciler.manifest.sections import LIST_SECTIONS, SECTIONS
from reconciler.manifest.template import substitute
from reconciler.model.address import Address
from reconciler.model.identity import identity_type, parse_identity
from reconciler.problems import ManifestError, Position, Problem, Related, did_you_mean

Path = tuple[str | int, ...]

_SECTIONS = ("items", "itemSets", "permissions", "groups", "virtualGroups", "users", "aliases")
# A missing group may be named by every item of a file: so many places are shown, the others counted.
MAX_PLACES = 20
_DECLARED_UNDER = {"group": "groups", "virtual-group": "virtualGroups"}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The problems that the texts bear out, and the files whose records name what their texts do not."""

    problems: list[Problem]
    outdated: frozenset[str]


def confirm(
    desired: Desired,
    files: Sequence[str],
    records: Sequence[FileRecord],
    text_of: Callable[[str], bytes],
    reader: Reader,
) -> Confirmed:
    """Return the problems behind `desired.suspicions`, each with its position."""
    texts = Texts(files, records, text_of)
    problems: list[Problem] = []
    for name in sorted({found.name for found in desired.suspicions if found.kind == "duplicate"}):
        problems += _duplicates(name, list(texts.declarations(name)), texts)
    for name in sorted({found.name for found in desired.suspicions if found.kind == "same-identity"}):
        problems += _spelled_otherwise(name.split(SEPARATOR), texts)
    for name in sorted({found.name for found in desired.suspicions if found.kind == "duplicate-permissions"}):
        problems += _duplicates(name, list(texts.models(name)), texts)
    for key in [found.name for found in desired.suspicions if found.kind == "metadata-type-conflict"]:
        problems += _type_conflict(key, texts, reader)
    doubtful: dict[int, list[Suspicion]] = {}
    for found in desired.suspicions:
        if found.kind in _MAKERS:
            doubtful.setdefault(found.file, []).append(found)
    outdated = set()
    for file, suspicions in doubtful.items():
        reading = replace(reader, recorded=None).read(text_of(files[file]), files[file], is_project=True)
        said = {"unknown-group": reading.record.groups, "unknown-permissions": reading.record.named}
        true = [found for found in suspicions if found.name in said[found.kind]]
        if len(true) < len(suspicions):
            outdated.add(files[file])
        problems += _mistaken(texts, file, [_MAKERS[found.kind](found.name, desired) for found in true], reader)
    return Confirmed(problems, frozenset(outdated))


class Texts:
    """The manifests' sections, read again when something is to be shown."""

    def __init__(self, files: Sequence[str], records: Sequence[FileRecord], text_of: Callable[[str], bytes]) -> None:
        self.files = files
        self.records = records
        self._text_of = text_of
        self._read: dict[int, tuple[bytes, list[Part]]] = {}

    def text(self, file: int) -> bytes:
        """Return the text of a file."""
        return self._load(file)[0]

    def parts(self, file: int) -> list[Part]:
        """Return the sections of a file."""
        return self._load(file)[1]

    def placed(self, problem: Problem, file: int, position: Position) -> Problem:
        """Return the problem at its position, with the line it stands on."""
        return problem.at(position, excerpt(self._load(file)[0], position))

    def declarations(self, address: str) -> Iterator[tuple[int, Position]]:
        """Yield file and position of every entry that declares an address."""
        key = {"item": "uri", "alias": "of"}.get(address.partition("/")[0], "name")
        for file, record in enumerate(self.records):
            if f"\0{address}\0" not in f"\0{record.addresses}\0":
                continue
            for resource, known in enumerate(record.address_list()):
                if known == address:
                    part, index = self.entry(file, record.entry_of(resource))
                    path: Path = ("item", key) if part.name == "itemSets" else (key,)
                    yield file, part.locate(index, path)

    def models(self, name: str) -> Iterator[tuple[int, Position]]:
        """Yield file and position of every declaration of a named permission model."""
        for file, record in enumerate(self.records):
            if name in record.models:
                for part in self.parts(file):
                    if part.name == "permissions" and name in (part.whole() or {}):
                        yield file, part.locate(None, (name,), on_key=True)

    def metadata(self, file: int, record: FileRecord, shown: Shown) -> Position:
        """Return where a resource of a file, just read into `record`, writes a metadata value: else its entry."""
        part, index = self.entry(file, record.entry_of(shown.resource))
        [entry] = part.values([index])
        prefix: Path = ("item",) if part.name == "itemSets" else ()
        return part.locate(index, (*prefix, *_path_of_metadata(entry.get("item", {}) if prefix else entry, shown.key)))

    def read(self, file: int, reader: Reader) -> FileRecord:
        """Return what a file says when it is read from its beginning to its end."""
        reading = replace(reader, recorded=None).read(self._load(file)[0], self.files[file], is_project=True)
        return reading.record

    def entries(self, file: int) -> Iterator[tuple[Part, int | None, Any]]:
        """Yield all of a file that may refer to others, piece by piece."""
        for part in self.parts(file):
            if part.name in _SECTIONS:
                for index, value in _entries(part):
                    yield part, index, value

    def defaults(self, file: int) -> Any:
        """Return the file's defaults, or None."""
        return next((part.whole() for part in self.parts(file) if part.name == "defaults"), None)

    def default_model(self, file: int) -> Position | None:
        """Return where the file's defaults name a permission model, if they do."""
        for part in self.parts(file):
            if part.name == "defaults" and (part.whole() or {}).get("permissions") is not None:
                return part.locate(None, ("permissions",))
        return None

    def entry(self, file: int, number: int) -> tuple[Part, int]:
        """Return the section that holds an entry of a file, and its number there. Raises IndexError without one."""
        for part in self.parts(file):
            if part.name not in LIST_SECTIONS:
                continue
            count = part.entries or 0
            if number < count:
                return part, number
            number -= count
        raise IndexError(number)

    def _load(self, file: int) -> tuple[bytes, list[Part]]:
        if file not in self._read:
            text, name = self._text_of(self.files[file]), self.files[file]
            parts, _ = parts_of(text, name)
            try:
                for part in parts:
                    if part.name in SECTIONS:
                        list(_entries(part))
            except PieceError as error:
                parts, _ = whole_parts(text, name, error.problems)
            self._read[file] = text, parts
        return self._read[file]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A doubtful name, what is wrong with it, and whether a value of a text writes it."""

    kind: str
    name: str
    problem: Problem
    written: Callable[[Path, Any], bool]


def _mistaken(texts: Texts, file: int, names: Sequence[_Wanted], reader: Reader) -> list[Problem]:
    """Return a problem for each place where a file writes a name: the value if it can be told, else the entry."""
    if not names:
        return []
    found: dict[str, list[Problem]] = {}
    more: dict[str, int] = {}
    variables = dict(reader.project.variables)
    for part, index, value in texts.entries(file):
        said = _said(part, value, texts.defaults(file), reader)
        for wanted in names:
            if wanted.name not in said[wanted.kind]:
                continue
            problems = found.setdefault(wanted.name, [])
            paths = list(_search(filled(value, variables), (), wanted.written))
            default = texts.default_model(file) if wanted.kind == "unknown-permissions" and not paths else None
            if default is not None:
                if problems[:1] != [texts.placed(wanted.problem, file, default)]:
                    problems.insert(0, texts.placed(wanted.problem, file, default))
            elif len(problems) >= MAX_PLACES:
                more[wanted.name] = more.get(wanted.name, 0) + 1
            else:
                # What is not written out comes from a row, or from a form of the wire.
                paths = paths or [("item", "permissions") if part.name == "itemSets" else ("permissions",)]
                problems += [texts.placed(wanted.problem, file, part.locate(index, path)) for path in paths]
    for name, count in more.items():
        last = found[name][-1]
        found[name][-1] = replace(last, what=f"{last.what}; {count:,} more entries of this file name it")
    return [problem for problems in found.values() for problem in problems]


def _entries(part: Part) -> Iterator[tuple[int | None, Any]]:
    """Yield what can be read alone: entries with their number, each permission model as a section of its own."""
    if part.name in LIST_SECTIONS and part.entries is not None:
        yield from enumerate(part.values())
        return
    value = part.whole()
    if part.name == "permissions" and isinstance(value, dict):
        for name, model in value.items():
            yield None, {name: model}


def _said(part: Part, value: Any, defaults: Any, reader: Reader) -> dict[str, Collection[str]]:
    """Return the groups and permission models that an entry, read alone with the file's defaults, refers to."""
    alone: dict[str, Any] = {part.name: value if part.name == "permissions" else [value]}
    if defaults is not None:
        alone["defaults"] = defaults
    record = replace(reader, recorded=None).read(_as_text(alone), "").record
    return {"unknown-group": record.groups, "unknown-permissions": record.named}


def _as_text(value: Any) -> bytes:
    return orjson.dumps(value)  # JSON is YAML


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a plain value with the variables in its texts filled in, as far as they are defined."""
    if isinstance(value, str):
        try:
            return substitute(value, variables)
        except ManifestError:
            return value
    if isinstance(value, dict):
        return {key: filled(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [filled(entry, variables) for entry in value]
    return value


def _search(value: Any, path: Path, matches: Callable[[Path, Any], bool]) -> Iterator[Path]:
    if matches(path, value):
        yield path
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _search(entry, (*path, key), matches)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _search(entry, (*path, index), matches)


def _duplicates(name: str, places: list[tuple[int, Position]], texts: Texts) -> list[Problem]:
    out = []
    first = places[0][1] if places else None
    for file, position in places[1:]:
        assert first is not None
        problem = Problem(
            "duplicate",
            f"{_what(name)} is declared twice",
            why="which of the two counts would depend on chance.",
            fix="keep one of them.",
            related=(Related(first, "first declared here"),),
        )
        out.append(texts.placed(problem, file, position))
    return out


def _spelled_otherwise(addresses: Sequence[str], texts: Texts) -> list[Problem]:
    """Return a problem for each declaration of an identity that another spelling of it comes before."""
    places = sorted((*place, address) for address in addresses for place in texts.declarations(address))
    out = []
    for file, position, address in places[1:]:
        before = next((place for place in places if place < (file, position) and place[2] != address), None)
        if before is None:
            continue
        provider = Address(address).scope
        problem = Problem(
            "duplicate",
            f'{_what(address)} is declared as "{Address(before[2]).name}", too',
            why="the provider takes names that differ in case alone for one identity: the later call would overwrite "
            "what the earlier one said.",
            fix=f"keep one of them, or write `caseSensitive: true` under `providers: {provider}` if it tells them "
            "apart.",
            related=(Related(before[1], "declared here"),),
        )
        out.append(texts.placed(problem, file, position))
    return out


# -- metadata --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Example:
    """An item that shows something, and where it is written; `origin` is the row or file of a set's member."""

    address: str
    position: Position
    excerpt: str = ""
    origin: str = ""


def examples_of(
    uses: Sequence[MetadataUse],
    files: Sequence[str],
    records: Sequence[FileRecord],
    text_of: Callable[[str], bytes],
    reader: Reader,
) -> list[Example]:
    """Return the first item of each use's file that shows its type."""
    texts = Texts(files, records, text_of)
    fresh = {file: texts.read(file, reader) for file in sorted({use.file for use in uses})}
    out = []
    for use in uses:
        shown = use.shown_in(fresh[use.file].types)
        if shown is None:
            out.append(Example("", Position(files[use.file], 1, 1)))
        else:
            out.append(_example(texts, use.file, fresh[use.file], shown))
    return out


def _example(texts: Texts, file: int, record: FileRecord, shown: Shown) -> Example:
    position = texts.metadata(file, record, shown)
    return Example(record.address_list()[shown.resource], position, excerpt(texts.text(file), position), shown.origin)


def _type_conflict(key: str, texts: Texts, reader: Reader) -> list[Problem]:
    """Return the problem of a key that is a number here and a text there: the first of each.

    There is none when a text lost one of the two since it was read.
    """
    sides = []
    for number in (True, False):
        for file, record in enumerate(texts.records):
            if first_of_kind(record.types, key, number=number) is None:
                continue
            # Which resource is the first is sure only when all of them were looked at.
            fresh = texts.read(file, reader)
            shown = first_of_kind(fresh.types, key, number=number)
            if shown is not None:
                sides.append((file, shown.resource, _example(texts, file, fresh, shown), number))
                break
    if len(sides) < 2:
        return []
    (_, _, first, _), (_, _, second, is_number) = sorted(sides, key=lambda side: side[:2])
    here, there = ("a number", "a text") if is_number else ("a text", "a number")
    told = f" ({first.origin})" if first.origin else ""
    problem = Problem(
        "metadata-type-conflict",
        f'{f"{second.origin}: " if second.origin else ""}metadata "{key}" is {here} here and {there} elsewhere',
        why="a field has one type; values of the other are accepted with the item and then vanish. "
        "A list and a truth value count as text.",
        fix="write it the same way in all items, or give one of the two another key.",
        related=(Related(first.position, f"{there} here{told}"),),
    )
    return [problem.at(second.position, second.excerpt)]


def _path_of_metadata(entry: Any, key: str) -> Path:
    """Return where an entry, ours or in the wire's form, writes a metadata key."""
    if not isinstance(entry, dict):
        return ()
    names = {name.lower(): name for name in entry if isinstance(name, str)}
    own = entry.get(names.get("metadata", ""))
    if isinstance(own, dict):
        for name in own:
            if name.lower() == key:
                return (names["metadata"], name)
    return (names[key],) if key in names else ()


def _what(name: str) -> str:
    kind, slash, _ = name.partition("/")
    if not slash or kind not in ("item", "group", "virtual-group", "user", "alias"):
        return f'permission model "{name}"'
    address = Address(name)
    scope = "source" if kind == "item" else "provider"
    return f'{kind} "{address.name}" of {scope} "{address.scope}"'


def _unknown_group(name: str, desired: Desired) -> _Wanted:
    identity = parse_identity(name)

    def written(path: Path, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        word, colon, rest = value.partition(":")
        if colon and rest == identity.name and identity_type(word) == identity.type:
            return True
        # A long form, ours or the wire's: the name stands alone under a key that says so.
        key = str(path[-1]).lower() if path else ""
        return value == identity.name and (identity_type(key) == identity.type or key in ("identity", "name"))

    known = [parse_identity(group).name for group in desired.groups if group.split("/", 2)[1] == identity.provider]
    problem = Problem(
        "unknown-group",
        f'no manifest declares {identity.type} "{identity.name}" of provider "{identity.provider}"',
        why="a name that the provider does not know resolves to nobody: the people it stands for would be locked out.",
        fix=did_you_mean(identity.name, known) or f"declare it under `{_DECLARED_UNDER[identity.type]}`.",
    )
    return _Wanted("unknown-group", name, problem, written)


def _unknown_permissions(name: str, desired: Desired) -> _Wanted:
    problem = Problem(
        "unknown-permissions",
        f'no permission model is named "{name}"',
        why="the item would have no permissions, and nobody would see it, or everybody.",
        fix=did_you_mean(name, desired.models) or "declare it under `permissions` in any manifest.",
    )

    def written(path: Path, value: Any) -> bool:
        return value == name and path in (("permissions",), ("item", "permissions"))

    return _Wanted("unknown-permissions", name, problem, written)


_MAKERS: dict[str, Callable[[str, Desired], _Wanted]] = {
    "unknown-group": _unknown_group,
    "unknown-permissions": _unknown_permissions,
}
