"""Finds where the manifests say what a `Place` names: the entry, or the line in one of its lists.

Only the files that hold what is asked for are read, once each. What is not written out, since a row or a
default says it, is found at the nearest thing that is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from reconciler.manifest.crossfile import Path, Texts, filled
from reconciler.manifest.locate import excerpt
from reconciler.manifest.parts import Part
from reconciler.manifest.project import Project
from reconciler.manifest.record import SEPARATOR, FileRecord
from reconciler.model.identity import Identity, identity_type, parse_identity
from reconciler.model.place import Place
from reconciler.problems import Position

# What the lists are called, here and on the wire (push-api.md 3.4, 3.5); the case of keys means nothing there.
_LISTS = {
    "members": ("members",),
    "wellKnowns": ("wellknowns",),
    "allowed": ("allowed", "allowedpermissions"),
    "denied": ("denied", "deniedpermissions"),
    "anonymous": ("anonymous", "allowanonymous"),
}
_NAMES = {"item": ("uri", "documentId"), "alias": ("of",)}
_PERMISSIONS = ("permissions",)
_TYPES = ("identitytype", "type")
_TEXTS = ("identity", "name")


def find_places(
    wanted: Collection[Place],
    files: Sequence[str],
    records: Sequence[FileRecord],
    text_of: Callable[[str], bytes],
    project: Project,
) -> dict[Place, tuple[Position, str]]:
    """Return the position of each place and the whole line there; what is in no file any more is left out."""
    texts = Texts(files, records, text_of)
    variables = dict(project.variables)
    found = {}
    entries = entries_of(texts, {place.address for place in wanted if place.model is None})
    models = models_of(texts, {place.model for place in wanted if place.model is not None})
    for place in sorted(wanted):
        known = entries.get(place.address) if place.model is None else models.get(place.model)
        if known is None:
            continue
        file, part, index, start = known
        [value] = [part.whole()[start[0]]] if index is None else part.values([index])
        for step in start if index is not None else ():
            value = value[step]
        inside = _inside(place, filled(value, variables), project)
        position = part.locate(index, (*start, *inside), on_key=index is None and not inside)
        found[place] = position, excerpt(texts.text(file), position)
    return found


Known = tuple[int, Part, int | None, tuple[str, ...]]


def entries_of(texts: Texts, addresses: set[str]) -> dict[str, Known]:
    """Return of each address the first entry that gives it: file, section, number and the path to it from there."""
    found: dict[str, Known] = {}
    for file, record in enumerate(texts.records):
        hits = addresses.intersection(record.addresses.split(SEPARATOR)) - found.keys()
        if not hits:
            continue
        for resource, address in enumerate(record.address_list()):
            if address in hits and address not in found:
                part, index = texts.entry(file, record.entry_of(resource))
                found[address] = file, part, index, ("item",) if part.name == "itemSets" else ()
    return found


def models_of(texts: Texts, names: set[str]) -> dict[str, Known]:
    """Return of each named permission model where it is declared: file, section, None and the path to it."""
    found: dict[str, Known] = {}
    for file, record in enumerate(texts.records):
        for name in sorted(names.intersection(record.models) - found.keys()):
            for part in texts.parts(file):
                if part.name == "permissions" and name in (part.whole() or {}):
                    found[name] = file, part, None, (name,)
    return found


def _inside(place: Place, value: Any, project: Project) -> Path:
    """Return the path inside an entry or a model to what the place names."""
    if not place.part:
        names = _NAMES.get(place.address.partition("/")[0], ("name",)) if place.model is None else ()
        keys = value if isinstance(value, dict) else {}
        return next(((name,) for name in (*names, "identity") if name in keys), ())
    start: Path = ()
    if place.level and place.model is None:
        key = next((key for key in value if str(key).lower() == "permissions"), "") if isinstance(value, dict) else ""
        if not key:
            return ()
        start, value = (key,), value[key]
    hits = list(_search(place, value, project))
    return (*start, *min(hits, key=lambda hit: hit[0])[1]) if hits else start


def _search(place: Place, value: Any, project: Project) -> Iterator[tuple[int, Path]]:
    """Yield where a list writes the identity, those first that name its provider."""
    who = parse_identity(place.identity) if place.identity else None
    for path, entry in _walk(value, ()):
        if not path or _level_of(path, value) not in (0, place.level):
            continue
        names = [str(step).lower() for step in path if isinstance(step, str)]
        if who is None:
            if names[-1:] and names[-1] in _LISTS[place.part] and entry is True:
                yield 0, path
        elif isinstance(path[-1], int) and names and names[-1] in _LISTS[place.part]:
            yield from _written(who, path, entry, project)


def _written(who: Identity, path: Path, entry: Any, project: Project) -> Iterator[tuple[int, Path]]:
    """Yield the place of an identity in one entry of a list, if that is the one."""
    if isinstance(entry, str):
        word, colon, name = entry.partition(":")
        if colon and name == who.name and identity_type(word) == who.type and not who.info:
            yield 1, path
        return
    if not isinstance(entry, dict):
        return
    keys = {str(key).lower(): key for key in entry}
    wire = next((keys[key] for key in _TEXTS if key in keys), None)
    kind = next((entry[keys[key]] for key in _TYPES if key in keys), None)
    named = wire if kind is not None and identity_type(str(kind)) == who.type else None
    named = next((key for key in entry if identity_type(str(key)) == who.type), named)
    provider = next((entry[keys[key]] for key in ("provider", "securityprovider") if key in keys), None)
    info = entry[keys["additionalinfo"]] if "additionalinfo" in keys else None
    if named is None or entry[named] != who.name or dict(who.info) != (info or {}):
        return
    if provider is None or _canonical(provider, project) == who.provider:
        yield (0 if provider is not None else 1), (*path, named)


def _canonical(provider: Any, project: Project) -> Any:
    return next((known.name for known in project.providers if provider in (known.name, known.id)), provider)


def _level_of(path: Path, value: Any) -> int:
    """Return the level that a path leads into, from 1, or 0 where the model has no levels of its own."""
    if path[0] == "levels" and len(path) > 1 and isinstance(path[1], int):
        return path[1] + 1
    if isinstance(path[0], int) and isinstance(value, list) and isinstance(value[path[0]], Mapping):
        # The complete form of the wire; in the simplified one all elements are sets of one level (push-api.md 3.4).
        inner = {str(key).lower() for key in value[path[0]]}
        return path[0] + 1 if "permissionsets" in inner else 1
    return 0


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, entry in inner:
        yield from _walk(entry, (*path, step))
