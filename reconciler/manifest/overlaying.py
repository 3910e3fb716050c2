"""Patches, and what resources become by them: values in, values out.

The order of patches means nothing: what is set twice in different ways is a conflict, models are replaced before they
are narrowed, and members come and go by name. It knows no file and not who sees what.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.model.canonical import canonical_json
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.problems import Position, Problem, Related

Path = tuple[str | int, ...]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch and the addresses that it patches, none where it only is wrong.

    `subject` is how its target is written, `widens` the reason for which it may widen access, empty where it may not;
    `may_widen` is false where no reason is heard. `fields` are values by path in the own document, `unset` paths that
    go. `permissions` is a document that takes the place of the items' own; `deny` and `disallow` narrow what is there
    then. `add` and `remove` are members. Identities are canonical.
    `said` leads from the fields of the resource to where the patch says them, which `locate` finds in its text.
    """

    position: Position
    excerpt: str
    subject: str
    addresses: tuple[str, ...] = ()
    widens: str = ""
    may_widen: bool = True
    fields: tuple[tuple[tuple[str, ...], Any], ...] = ()
    unset: tuple[tuple[str, ...], ...] = ()
    permissions: bytes | None = None
    deny: tuple[str, ...] = ()
    disallow: tuple[str, ...] = ()
    exclude: bool = False
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    said: tuple[tuple[tuple[str, ...], Path], ...] = ()
    locate: Callable[[Path], Position] | None = field(default=None, compare=False, repr=False)

    def lines_of(self, name: tuple[str, ...]) -> set[int]:
        """Return the lines that say a field of the resource; of the empty one, the line of the patch."""
        if not name:
            return {self.position.line}
        return {self.locate(path).line for known, path in self.said if known == name} if self.locate else set()

    @property
    def touches_access(self) -> bool:
        """Whether the patch can show somebody anything; items that go cannot."""
        return bool(self.permissions is not None or self.deny or self.disallow or self.add or self.remove)


Key = Callable[[str], str]
"""What is equal for all spellings of an identity (`spelling.Spelling.key`)."""


def patched(resource: Resource, patches: Iterable[Patch], key: Key) -> Resource | None:
    """Return what a resource is by all these patches of it, None where it is not there any more."""
    mine = list(patches)
    if any(patch.exclude for patch in mine):
        return None
    doc, shared = resource.own(), resource.shared
    for patch in mine:
        for path, value in patch.fields:
            _holder(doc, path)[path[-1]] = value
        for path in patch.unset:
            _holder(doc, path).pop(path[-1], None)
    if "members" in doc:
        gone = {key(name) for patch in mine for name in patch.remove}
        kept = [name for name in doc["members"] if key(name) not in gone]
        known = {key(name) for name in kept}
        doc["members"] = sorted({*kept, *(name for patch in mine for name in patch.add if key(name) not in known)})
    for patch in mine:
        shared = shared if patch.permissions is None else patch.permissions
    deny = [name for patch in mine for name in patch.deny]
    disallow = {key(name) for patch in mine for name in patch.disallow}
    if deny or disallow:
        shared = _narrowed(shared, deny, disallow, key)
    return replace(resource, doc=canonical_json(doc), shared=shared)


def _holder(doc: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for step in path[:-1]:
        doc = doc.setdefault(step, {})
    return doc


def _narrowed(shared: bytes, deny: Collection[str], disallow: Collection[str], key: Key) -> bytes:
    model = model_of(shared)
    levels = []
    for rank, level in enumerate(model.levels):
        sets = []
        for entry in level.sets:
            allowed = tuple(name for name in entry.allowed if key(name) not in disallow)
            denied = tuple(sorted({*entry.denied, *deny})) if rank == 0 else entry.denied
            sets.append(PermissionSet(allowed, denied, entry.anonymous, entry.name))
        levels.append(PermissionLevel(tuple(sets), level.name))
    return canonical_json(PermissionModel(tuple(levels)).to_doc())


def model_of(shared: bytes) -> PermissionModel:
    """Return the permission model of an item's shared document, which is not empty."""
    import orjson

    return PermissionModel.from_doc(orjson.loads(shared))


# -- mistakes --------------------------------------------------------------------------------------


def mistakes(resources: Mapping[str, Resource], patches: Sequence[Patch], key: Key) -> list[Problem]:
    """Return what is wrong with patches of these resources: what they miss, and where two contradict each other."""
    problems = []
    of: dict[str, list[Patch]] = {}
    for patch in patches:
        for address in patch.addresses:
            of.setdefault(address, []).append(patch)
        here = [resources[address] for address in patch.addresses]
        problems += [_told(patch, problem) for problem in _misses(patch, here, key)]
    told: set[tuple[Position, Position]] = set()
    for address, mine in of.items():
        if len(mine) > 1:
            for first, second, what in _conflicts(mine, key):
                if (first.position, second.position) not in told:
                    told.add((first.position, second.position))
                    problems.append(_told(second, _conflict(address, first, what)))
    return problems


def _misses(patch: Patch, resources: Sequence[Resource], key: Key) -> list[Problem]:
    found = []
    if patch.permissions is None and (patch.deny or patch.disallow):
        bare = next((resource for resource in resources if not resource.shared), None)
        if bare is not None:
            return [_no_permissions(bare.address.name)]
        if patch.disallow:
            models = {resource.shared for resource in resources}
            allowed = {
                key(name) for shared in models for level in model_of(shared).levels for entry in level.sets
                for name in entry.allowed
            }  # fmt: skip
            missing = [name for name in patch.disallow if key(name) not in allowed]
            found += [_not_there(name, "is allowed nowhere in the items of this patch") for name in missing]
    if patch.remove:
        members = {key(name) for resource in resources for name in resource.own()["members"]}
        missing = [name for name in patch.remove if key(name) not in members]
        found += [_not_there(name, f'is no member of "{patch.subject}"') for name in missing]
    if patch.unset:
        docs = [resource.own() for resource in resources]
        for path in patch.unset:
            if not any(_value(doc, path) is not _ABSENT for doc in docs):
                found.append(_nothing(f'no item of "{patch.subject}" has {".".join(path)}'))
    return found


def _value(doc: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = doc
    for step in path:
        value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value


def _conflicts(patches: Sequence[Patch], key: Key) -> Iterable[tuple[Patch, Patch, str]]:
    said: dict[tuple[str, ...], tuple[Patch, Any]] = {}
    for patch in patches:
        for path, value in _sayings(patch, key):
            first, known = said.setdefault(path, (patch, value))
            if known != value or repr(known) != repr(value):  # to Python, `true` is 1
                yield first, patch, ".".join(path)
    excluding = next((patch for patch in patches if patch.exclude), None)
    if excluding is not None:
        for other in patches:
            if not other.exclude:
                first, second = sorted((excluding, other), key=lambda patch: patch.position)
                yield first, second, "whether the item is there"


def _sayings(patch: Patch, key: Key) -> Iterable[tuple[tuple[str, ...], Any]]:
    yield from patch.fields
    for path in patch.unset:
        yield path, _ABSENT
    if patch.permissions is not None:
        yield ("permissions",), patch.permissions
    for names, stays in ((patch.add, True), (patch.remove, False)):
        for name in names:
            yield ("members", key(name)), stays


def _told(patch: Patch, problem: Problem) -> Problem:
    return problem.at(patch.position, patch.excerpt)


def _nothing(what: str) -> Problem:
    return Problem(
        "overlay-matches-nothing",
        what,
        why="a patch that does nothing hides that what it was written for has another name by now.",
        fix="correct it, or take it out.",
    )


def matches_nothing(subject: str, kind: str) -> Problem:
    """Return the problem of a patch whose target no manifest declares."""
    return _nothing(f'no {kind} matches "{subject}"')


def _not_there(identity: str, what: str) -> Problem:
    kind, _, name = identity.split("/", 2)
    return _nothing(f'"{kind}:{name}" {what}')


def _no_permissions(uri: str) -> Problem:
    return Problem(
        "overlay-no-permissions",
        f'item "{uri}" has no permissions that could be narrowed',
        why="there is no set to deny or disallow somebody in.",
        fix="give it `permissions` in the patch, or in its manifest.",
    )


def _conflict(address: str, first: Patch, what: str) -> Problem:
    return Problem(
        "overlay-conflict",
        f'two patches of "{address}" contradict each other: {what}',
        why="files and their order mean nothing, so none of the two could win.",
        fix="keep one of them, or narrow the pattern of the other.",
        related=(Related(first.position, "the other patch"),),
    )
