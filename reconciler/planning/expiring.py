"""Grants that end: which are over and still live, which end soon, and which changes come of nothing but that.

It takes what the manifests say of ends (`model.grant`) and both states; it knows nothing of files or clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import DIGEST_SIZE, canonical_json
from reconciler.model.grant import EVERY, MODELS, Grant
from reconciler.model.identity import aliased_identity, parse_identity
from reconciler.model.states import Resource
from reconciler.planning.change import Change, touches_access
from reconciler.planning.plan import Expiring

if TYPE_CHECKING:
    from reconciler.planning.make import Side

_ALIAS = f"{Kind.ALIAS.value}/"
_ITEM = f"{Kind.ITEM.value}/"


@dataclass(frozen=True, slots=True)
class Lapsed:
    """What is over, to tell the changes that it makes from those that somebody made.

    `entries` are the identities over in a group or an alias, by its address, `members` those of any group;
    `aliases` the addresses of aliases that are over, or may be with a mapping, `of_each` the beginnings of such
    addresses; `allowed` who is allowed no more in any permission model.
    """

    entries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    of_each: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()

    def explains_members(self, group: str, members: Iterable[str]) -> bool:
        """Whether all of these members of a group are over by themselves."""
        return self.entries.get(group, frozenset()).issuperset(members)

    def explains_alias(self, address: str) -> bool:
        """Whether an alias may be gone because it is over, or because a member that it was made for is."""
        if address in self.aliases or address.startswith(self.of_each):
            return True
        return aliased_identity(address) in self.members

    def explains(self, change: Change) -> bool:
        """Whether a change takes away what is over, and does nothing else to who sees what."""
        before, after = change.before, change.after
        if change.address.kind is Kind.ITEM and before is None:
            return True  # an item that comes is nobody's loss
        if before is None or after is None:
            return after is None and change.address.kind is Kind.ALIAS and self.explains_alias(change.address)
        if change.address.kind is Kind.ITEM:
            return self._without_lapsed(before) == self._without_lapsed(after) and bool(after.shared)
        if before.shared != after.shared:
            return False
        key = "mappings" if change.address.kind is Kind.ALIAS else "members"
        was, will = set(before.own().get(key, ())), set(after.own().get(key, ()))
        over = self.entries.get(change.address, frozenset())
        return will <= was and (was - will <= over or change.address.startswith(self.of_each))

    def _without_lapsed(self, item: Resource) -> list[Any]:
        """Return an item's permission model without anybody who is allowed no more."""
        model = item.shared_doc() or {"levels": ()}
        return [
            (level.get("name"), sorted(self._set_without(held) for held in level["sets"])) for level in model["levels"]
        ]

    def _set_without(self, held: dict[str, Any]) -> bytes:
        left = [entry for entry in held.get("allowed", ()) if entry not in self.allowed]
        return canonical_json({**held, "allowed": left})


NOTHING_LAPSED = Lapsed()


def lapsed_of(grants: Iterable[Grant], as_of: int) -> Lapsed:
    """Return what of these grants is over at an instant (seconds since 1970)."""
    entries: dict[str, set[str]] = {}
    members, aliases, each, allowed = set(), set(), set(), set()
    for grant in grants:
        if grant.expires > as_of:
            continue
        if grant.kind == "each":
            each.add(grant.address[: -len(EVERY)])
        elif grant.kind == "allowed":
            allowed.add(grant.entry)
        else:
            entries.setdefault(grant.address, set()).add(grant.entry)
            if grant.kind == "member":
                members.add(grant.entry)
            else:
                aliases.add(grant.address)
    return Lapsed(
        {address: frozenset(gone) for address, gone in entries.items()},
        frozenset(members),
        frozenset(aliases),
        tuple(sorted(each)),
        frozenset(allowed),
    )


def only_lapses(changes: Iterable[Change], lapsed: Lapsed) -> bool:
    """Whether nobody but whose grant is over loses sight of anything by these changes."""
    return lapsed != NOTHING_LAPSED and all(lapsed.explains(change) for change in changes if touches_access(change))


def still_live(grants: Iterable[Grant], desired: Side, recorded: Side, models: Mapping[str, bytes]) -> frozenset[Grant]:
    """Return those of these lapsed grants that the recorded state still has and the desired one has not.

    `models` are the documents of the named permission models. What is as recorded is not looked at.
    """
    return frozenset(_still_live(list(grants), desired, recorded, models))


def _still_live(grants: list[Grant], desired: Side, recorded: Side, models: Mapping[str, bytes]) -> Iterator[Grant]:
    changed = _Changed(desired, recorded, models)
    places = {grant: changed.places(grant) for grant in grants}
    wanted = sorted({address for found in places.values() for address in found})
    was, will = (
        recorded.resources(wanted),
        desired.resources([entry for entry in wanted if entry in desired.fingerprints]),
    )
    for grant in grants:
        for address in places[grant]:
            gone = given_by(was.get(address))
            gone.subtract(given_by(will.get(address)))
            if any(gone[entry] > 0 for entry in entries_of(grant, address, gone)):
                yield grant
                break


@dataclass(slots=True)
class _Changed:
    """Where the recorded state is not as desired, found once for all grants that ask."""

    desired: Side
    recorded: Side
    models: Mapping[str, bytes]
    _aliases: list[str] | None = None
    _items: dict[bytes, dict[bytes, str]] | None = None

    def places(self, grant: Grant) -> list[str]:
        """Return the recorded resources that may still hold a grant that is given no more."""
        address = grant.address
        if address.startswith(MODELS):
            return self._items_with(self.models.get(address[len(MODELS) :], b""))
        if grant.kind == "each":
            if self._aliases is None:
                self._aliases = [entry for entry in self.recorded.fingerprints if self._differs(entry, _ALIAS)]
            return [entry for entry in self._aliases if entry.startswith(address[: -len(EVERY)])]
        return [address] if self._differs(address) else []

    def _differs(self, address: str, prefix: str = "") -> bool:
        was = self.recorded.fingerprints.get(address)
        return address.startswith(prefix) and was is not None and was != self.desired.fingerprints.get(address)

    def _items_with(self, model: bytes) -> list[str]:
        """Return an item for each permission model that items have which are to have this one."""
        if self._items is None:
            self._items = {}
            recorded = self.recorded.fingerprints
            for address, fingerprint in self.desired.fingerprints.items():
                was = recorded.get(address)
                if was is not None and was != fingerprint and address.startswith(_ITEM):
                    known = self._items.setdefault(fingerprint[DIGEST_SIZE:], {})
                    known.setdefault(was[DIGEST_SIZE:], address)
        return list(self._items.get(sha256(model).digest(), {}).values())


def given_by(resource: Resource | None) -> Counter[str]:
    """Return whom a resource gives something that may end, how often: members, those allowed, or mappings."""
    if resource is None:
        return Counter()
    if resource.address.kind is Kind.ITEM:
        model: dict[str, Any] = resource.shared_doc() or {"levels": ()}
        return Counter(
            entry for level in model["levels"] for held in level["sets"] for entry in held.get("allowed", ())
        )
    own = resource.own()
    return Counter(own.get("mappings", ()) if resource.address.kind is Kind.ALIAS else own.get("members", ()))


def entries_of(grant: Grant, address: str, given: Iterable[str]) -> list[str]:
    """Return what of that is this grant."""
    if grant.kind == "alias":
        return list(given)
    if grant.kind == "each":
        return [grant.entry.replace("{name}", parse_identity(aliased_identity(address)).name)]
    return [grant.entry]


def shown_entry(entry: Expiring) -> str:
    """Return who is given what, as a person would say it."""
    who = parse_identity(entry.entry).short
    if entry.address.startswith(MODELS):
        return f'{who} in permission model "{entry.address[len(MODELS) :]}"'
    place = Address(entry.address)
    if place.kind is Kind.ALIAS and aliased_identity(entry.address) == entry.entry:
        return f"the alias of {who}"
    return f'{who} in {place.kind.value} "{place.name}"'
