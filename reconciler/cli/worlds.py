"""Who sees what in one state of a project: as the manifests ask for it, or as it was accepted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from reconciler.cli.session import Session
from reconciler.manifest.project import Project
from reconciler.manifest.readings import readings_of as readings_of
from reconciler.model.address import Kind
from reconciler.model.canonical import canonical_json, digest
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.problems import ManifestError, Problem, UsageError, errors_in

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.model.states import Resource
    from reconciler.permissions.evaluate import Ground, Visibility
    from reconciler.permissions.expand import Directory
    from reconciler.permissions.exposure import Exposure
    from reconciler.permissions.readings import Readings
    from reconciler.permissions.relation import Relation
    from reconciler.rendering.access import Reason

Side = Literal["desired", "recorded"]

_ITEM = f"{Kind.ITEM.value}/"
_DIGEST = 32  # a fingerprint is the digest of the own document and, from here on, that of the shared one


@dataclass(frozen=True, slots=True)
class World:
    """The access relation of one state, and a way to look at the resources it was made of.

    `addresses` gives the fingerprint of each, `visibility` says of each source who may see it. `incomplete` tells
    what could not be seen of a state that is only looked at: answers hold but for that. `rests_on` tells of a past
    state when that was, and what is not known of it (`pastworld.past_lines`).
    """

    relation: Relation
    addresses: Mapping[str, bytes]
    resources: Callable[[Iterable[str]], Mapping[str, Resource]]
    visibility: Mapping[str, Visibility] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    rests_on: Mapping[str, Any] = field(default_factory=dict)

    def items_at(self, uri: str) -> list[str]:
        """Return the addresses of the items with this uri, or this address, sorted by source."""
        found = (address for address in self.addresses if address.startswith(_ITEM) and address.endswith(uri))
        return sorted(address for address in found if uri in (address, address.split("/", 2)[2]))


def world_of(session: Session, side: Side) -> World:
    """Return the world of the manifests or of the state. Raises ManifestError or StateError."""
    if side == "recorded":
        return recorded_world(session, session.store.fingerprints())
    return desired_world(session, loaded_manifests(session))


def loaded_manifests(session: Session) -> Loaded:
    """Return the manifests, read. Raises ManifestError when they have errors."""
    from reconciler.manifest.load import load_manifests

    recorded = session.store.fingerprints()
    loaded = load_manifests(
        session.project,
        session.folder,
        session.project_file,
        recorded=recorded,
        cache=session.cache,
        as_of=session.as_of,
    )
    if errors_in(loaded.problems):
        raise ManifestError(*loaded.problems)
    return loaded


def desired_world(session: Session, loaded: Loaded) -> World:
    """Return the world of manifests that are read."""
    return loaded_world(session.project, loaded)


def loaded_world(project: Project, loaded: Loaded) -> World:
    """Return the world of manifests that were read for a project, which need not be that of the session."""
    return _world(project, loaded.desired.fingerprints, loaded.resources)


def recorded_world(session: Session, fingerprints: Mapping[str, bytes]) -> World:
    """Return the world of the state, whose fingerprints are at hand."""
    from reconciler.cli.makeplan import recorded_resources

    return _world(session.project, fingerprints, lambda addresses: recorded_resources(session.store, addresses))


def expose_change(before: World, after: World, *, examples: int) -> Exposure:
    """Return what becoming `after` does to who sees what in `before`, whose relation is `after`'s from then on."""
    from reconciler.model.address import Address
    from reconciler.permissions.exposure import Edit, expose

    old, new = before.addresses, after.addresses
    changed = [address for address in {*old, *new} if old.get(address) != new.get(address)]
    identities = sorted(address for address in changed if not address.startswith(_ITEM))
    was, will = before.resources(identities), after.resources(identities)
    edits = [Edit(Address(address), was.get(address), will.get(address)) for address in identities]
    moves = [
        (address, new[address][_DIGEST:] if address in new else None)
        for address in sorted(changed)
        if address.startswith(_ITEM) and old.get(address, b"")[_DIGEST:] != new.get(address, b"")[_DIGEST:]
    ]
    relation = before.relation
    missing = {digest: address for address, digest in moves if digest is not None and relation.lacks(digest)}
    relation.add_models(item.shared for item in after.resources(missing.values()).values())
    return expose(relation, edits, items=moves, examples=examples)


def comparable(before: World, after: World) -> tuple[World, World]:
    """Return two worlds, of projects that may differ, as `expose_change` can compare them.

    It takes both to be read alike, and sources to be as visible after as before. So both are read as `after` is, and
    where a source is shared in one of them alone, its items there become such as everybody may see.
    """
    if before.visibility == after.visibility and before.relation.readings == after.relation.readings:
        return before, after
    shared = [{name for name, who in world.visibility.items() if who == "shared"} for world in (before, after)]
    differing = (shared[0] ^ shared[1]) & before.visibility.keys() & after.visibility.keys()
    secured: dict[str, Visibility] = dict.fromkeys(differing, "secured")
    visibility = {**before.visibility, **after.visibility, **secured}
    first, second = (
        make_world(after.relation.readings, visibility, shown.addresses, shown.resources)
        for shown in (_opened(before, shared[0] & differing), _opened(after, shared[1] & differing))
    )
    return first, second


def _opened(world: World, sources: Collection[str]) -> World:
    """Return the same world, with a permission model that lets everybody in for every item of these sources."""
    if not sources:
        return world
    model = canonical_json(PermissionModel((PermissionLevel((PermissionSet(anonymous=True),)),)).to_doc())

    def is_open(address: str) -> bool:
        return address.startswith(_ITEM) and address.split("/", 2)[1] in sources

    def at(addresses: Iterable[str]) -> Mapping[str, Resource]:
        return {
            address: replace(resource, shared=model) if is_open(address) else resource
            for address, resource in world.resources(addresses).items()
        }

    addresses = {
        address: fingerprint[:_DIGEST] + digest(model) if is_open(address) else fingerprint
        for address, fingerprint in world.addresses.items()
    }
    return replace(world, addresses=addresses, resources=at)


def several_items(uri: str, sources: Iterable[str]) -> UsageError:
    """Return the error for a uri that is an item of several sources."""
    return UsageError(
        Problem(
            "several-items",
            f'"{uri}" is an item of several sources: {", ".join(sorted(sources))}',
            why="each has permissions of its own.",
            fix="name one with --source.",
        )
    )


def reason_of(project: Project, world: World, person: str | None, address: str, readings: Readings) -> Reason:
    """Return why somebody (None: who did not log in) does or does not see an item, as these readings have it.

    Looks at what has a say in it and no more; identities come out as they were written.
    """
    from reconciler.permissions.evaluate import Outcome, decide_item, misses
    from reconciler.permissions.expand import Directory
    from reconciler.rendering.access import Reason

    _, name, uri = address.split("/", 2)
    declared = project.source(name)
    visibility = world.visibility.get(name) or (declared.visibility if declared else "secured")
    identity = readings.everybody if person is None else person
    witnesses = set(world.relation.witnesses(identity, address)).intersection(world.addresses)
    known = Directory(world.resources(sorted(witnesses)).values(), readings)
    who = known.anonymous() if person is None else known.person(person)
    model = world.relation.model(address)
    verdict = decide_item(model, visibility, who, known)
    near = misses(model, who, known) if model and verdict.outcome is Outcome.UNSPECIFIED else ()
    return Reason(
        identity,
        uri,
        visibility == "shared",
        replace(verdict, grounds=_spelled(verdict.grounds, known)),
        model=model,
        known=person is None or world.relation.graph.find(person) is not None,
        misses=tuple(replace(miss, grounds=_spelled(miss.grounds, known)) for miss in near),
    )


def _spelled(grounds: Iterable[Ground], known: Directory) -> tuple[Ground, ...]:
    """Return grounds with the identities of their chains as they were written."""
    return tuple(
        replace(
            ground,
            chain=tuple(replace(step, start=known.name(step.start), end=known.name(step.end)) for step in ground.chain),
        )
        for ground in grounds
    )


def _world(
    project: Project,
    fingerprints: Mapping[str, bytes],
    resources: Callable[[Iterable[str]], Mapping[str, Resource]],
) -> World:
    visibility = {source.name: source.visibility for source in project.sources}
    return make_world(readings_of(project), visibility, fingerprints, resources)


def make_world(
    readings: Readings,
    visibility: Mapping[str, Visibility],
    fingerprints: Mapping[str, bytes],
    resources: Callable[[Iterable[str]], Mapping[str, Resource]],
) -> World:
    """Return the world of these resources, whose fingerprints are at hand, under one reading of the documents."""
    from reconciler.permissions.relation import Relation

    relation = Relation(readings, visibility)
    identities = [address for address in fingerprints if not address.startswith(_ITEM)]
    relation.add_identities(resources(identities).values())
    relation.add_items(
        (address, fingerprint[_DIGEST:]) for address, fingerprint in fingerprints.items() if address.startswith(_ITEM)
    )
    models = resources(relation.wanted().values())
    relation.add_models(item.shared for item in models.values())
    return World(relation, fingerprints, resources, visibility)
