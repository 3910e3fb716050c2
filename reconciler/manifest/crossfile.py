"""Looks at what seemed wrong across files, and says where: only texts hold positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reconciler.manifest.desired import Desired, Suspicion
from reconciler.manifest.entries import LIST_SECTIONS
from reconciler.manifest.locate import excerpt
from reconciler.manifest.parts import Part, parts_of
from reconciler.manifest.record import FileRecord
from reconciler.model.address import Address
from reconciler.model.identity import identity_type, parse_identity
from reconciler.problems import Position, Problem, Related, did_you_mean

Path = tuple[str | int, ...]


def confirm(
    desired: Desired, files: Sequence[str], records: Sequence[FileRecord], text_of: Callable[[str], bytes]
) -> list[Problem]:
    """Return the problems behind `desired.suspicions` that the texts bear out, each with its position."""
    texts = _Texts(files, records, text_of)
    problems: list[Problem] = []
    for name in sorted({found.name for found in desired.suspicions if found.kind == "duplicate"}):
        problems += _duplicates(name, list(texts.declarations(name)), texts)
    for name in sorted({found.name for found in desired.suspicions if found.kind == "duplicate-permissions"}):
        problems += _duplicates(name, list(texts.models(name)), texts)
    for found in desired.suspicions:
        if found.kind == "unknown-group":
            problems += _unknown_group(found, desired, texts)
        elif found.kind == "unknown-permissions":
            problems += _unknown_permissions(found, desired, texts)
    return problems


class _Texts:
    """The manifests' sections, read again when something is to be shown."""

    def __init__(self, files: Sequence[str], records: Sequence[FileRecord], text_of: Callable[[str], bytes]) -> None:
        self.files = files
        self.records = records
        self._text_of = text_of
        self._read: dict[int, tuple[bytes, list[Part]]] = {}

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
                    part, index = self._entry(file, record.entry_of(resource))
                    path: Path = ("item", key) if part.name == "itemSets" else (key,)
                    yield file, part.locate(index, path)

    def models(self, name: str) -> Iterator[tuple[int, Position]]:
        """Yield file and position of every declaration of a named permission model."""
        for file, record in enumerate(self.records):
            if name in record.models:
                for part in self.parts(file):
                    if part.name == "permissions" and name in (part.whole() or {}):
                        yield file, part.locate(None, (name,), on_key=True)

    def mentions(self, file: int, sections: Sequence[str], matches: Callable[[Path, Any], bool]) -> Iterator[Position]:
        """Yield the position of every value in these sections of a file for which `matches` is true."""
        for part in self.parts(file):
            if part.name not in sections:
                continue
            if part.name in LIST_SECTIONS:
                for index, value in enumerate(part.values()):
                    for path in _search(value, (), matches):
                        yield part.locate(index, path)
            else:
                for path in _search(part.whole(), (), matches):
                    yield part.locate(None, path)

    def _entry(self, file: int, number: int) -> tuple[Part, int]:
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
            text = self._text_of(self.files[file])
            self._read[file] = text, parts_of(text, self.files[file])[0]
        return self._read[file]


def _search(value: Any, path: Path, matches: Callable[[Path, Any], bool]) -> Iterator[Path]:
    if matches(path, value):
        yield path
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _search(entry, (*path, key), matches)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _search(entry, (*path, index), matches)


def _duplicates(name: str, places: list[tuple[int, Position]], texts: _Texts) -> list[Problem]:
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


def _what(name: str) -> str:
    kind, slash, _ = name.partition("/")
    if not slash or kind not in ("item", "group", "virtual-group", "user", "alias"):
        return f'permission model "{name}"'
    address = Address(name)
    scope = "source" if kind == "item" else "provider"
    return f'{kind} "{address.name}" of {scope} "{address.scope}"'


def _unknown_group(found: Suspicion, desired: Desired, texts: _Texts) -> list[Problem]:
    identity = parse_identity(found.name)
    kinds = {"group": "group", "virtual-group": "virtualGroup"}

    def matches(path: Path, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        if path and path[-1] in ("group", "virtualGroup"):
            return value == identity.name and kinds[identity.type] == path[-1]
        word, colon, name = value.partition(":")
        return bool(colon) and name == identity.name and identity_type(word) == identity.type

    known = [parse_identity(name).name for name in desired.groups if name.split("/", 2)[1] == identity.provider]
    problem = Problem(
        "unknown-group",
        f'no manifest declares {identity.type} "{identity.name}" of provider "{identity.provider}"',
        why="a name that the provider does not know resolves to nobody: the people it stands for would be locked out.",
        fix=did_you_mean(identity.name, known) or f"declare it under `{kinds[identity.type]}s`.",
    )
    sections = ("items", "itemSets", "permissions", "groups", "virtualGroups", "users", "aliases")
    return [texts.placed(problem, found.file, place) for place in texts.mentions(found.file, sections, matches)]


def _unknown_permissions(found: Suspicion, desired: Desired, texts: _Texts) -> list[Problem]:
    problem = Problem(
        "unknown-permissions",
        f'no permission model is named "{found.name}"',
        why="the item would have no permissions, and nobody would see it, or everybody.",
        fix=did_you_mean(found.name, desired.models) or "declare it under `permissions` in any manifest.",
    )

    def matches(path: Path, value: Any) -> bool:
        return value == found.name and path in (("permissions",), ("item", "permissions"))

    sections = ("items", "itemSets", "defaults")
    return [texts.placed(problem, found.file, place) for place in texts.mentions(found.file, sections, matches)]
