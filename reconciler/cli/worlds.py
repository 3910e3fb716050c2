"""Who sees what in one state of a project: as the manifests ask for it, or as it was accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reconciler.cli.session import Session
from reconciler.manifest.project import Project
from reconciler.model.address import Kind
from reconciler.problems import ManifestError, errors_in

if TYPE_CHECKING:
    from reconciler.model.states import Resource
    from reconciler.permissions.exposure import Exposure
    from reconciler.permissions.readings import Readings
    from reconciler.permissions.relation import Relation

Side = Literal["desired", "recorded"]

_ITEM = f"{Kind.ITEM.value}/"
_DIGEST = 32  # a fingerprint is the digest of the own document and, from here on, that of the shared one


@dataclass(frozen=True, slots=True)
class World:
    """The access relation of one state, and a way to look at the resources it was made of.

    `addresses` gives the fingerprint of each.
    """

    relation: Relation
    addresses: Mapping[str, bytes]
    resources: Callable[[Iterable[str]], Mapping[str, Resource]]

    def items_at(self, uri: str) -> list[str]:
        """Return the addresses of the items with this uri, or this address, sorted by source."""
        found = (address for address in self.addresses if address.startswith(_ITEM) and address.endswith(uri))
        return sorted(address for address in found if uri in (address, address.split("/", 2)[2]))


def world_of(session: Session, side: Side) -> World:
    """Return the world of the manifests or of the state. Raises ManifestError or StateError."""
    if side == "recorded":
        from reconciler.cli.makeplan import recorded_resources

        store = session.store
        return _world(session.project, store.fingerprints(), lambda addresses: recorded_resources(store, addresses))
    from reconciler.manifest.load import load_manifests

    recorded = session.store.fingerprints()
    loaded = load_manifests(
        session.project, session.folder, session.project_file, recorded=recorded, cache=session.cache
    )
    if errors_in(loaded.problems):
        raise ManifestError(*loaded.problems)
    return _world(session.project, loaded.desired.fingerprints, loaded.resources)


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


def readings_of(project: Project) -> Readings:
    """Return how the documents are read for a project."""
    from reconciler.permissions.readings import EMAIL_PROVIDER, Readings

    names = [provider.name for provider in project.providers if provider.id == EMAIL_PROVIDER]
    return Readings(email_provider=names[0] if names else EMAIL_PROVIDER)


def _world(
    project: Project,
    fingerprints: Mapping[str, bytes],
    resources: Callable[[Iterable[str]], Mapping[str, Resource]],
) -> World:
    from reconciler.permissions.relation import Relation

    relation = Relation(readings_of(project), {source.name: source.visibility for source in project.sources})
    identities = [address for address in fingerprints if not address.startswith(_ITEM)]
    relation.add_identities(resources(identities).values())
    relation.add_items(
        (address, fingerprint[_DIGEST:]) for address, fingerprint in fingerprints.items() if address.startswith(_ITEM)
    )
    models = resources(relation.wanted().values())
    relation.add_models(item.shared for item in models.values())
    return World(relation, fingerprints, resources)
