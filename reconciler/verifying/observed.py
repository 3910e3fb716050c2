"""What the remote says of who is who and who may see what, as the resources that would say the same.

Pure. Replies are somebody else's data: whatever is not as documented (push-api.md 2.6) reads as not seen. The
read side shows that one identity has another, and not why: a member, a well-known and what a group's alias expands
to look alike there, so all of them come out as members. Names keep their case, unlike those of `verifying.seen`:
whether it counts is for the provider to say (push-api.md 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.identity import Identity, alias_address, identity_type
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.verifying.seen import DISABLED, UP_TO_DATE

OUT_OF_DATE = "OUT_OF_DATE"
_RESOLVED = frozenset({UP_TO_DATE, OUT_OF_DATE})
_GROUPS = frozenset(kind.value for kind in GROUP_KINDS)

Name = Callable[[str], str]
"""From the remote's id of a provider to the project's name of it, or to the id where the project has none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A canonical identity that a reply names, and its state there; empty when the reply does not say."""

    identity: str
    state: str


@dataclass(frozen=True, slots=True)
class ObservedModel:
    """An item's permission model (None: the index shows no level), its health, and all identities that it names."""

    model: PermissionModel | None
    state: str
    entries: tuple[Entry, ...]


def provider_name(names: Mapping[str, str]) -> Name:
    """Return what names providers, from the project's names by id. A slash would end the provider early."""
    return lambda provider: names.get(provider) or provider.replace("/", "%2F")


def is_group(identity: str) -> bool:
    """Return whether a canonical identity is one that has others in it."""
    return identity.partition("/")[0] in _GROUPS


def observed_entry(document: Mapping[str, Any], provider: str, name: Name) -> Entry | None:
    """Return an identity of the security cache, of the provider (an id) unless it says otherwise."""
    own, kind = document.get("name"), identity_type(_word(document.get("type")))
    if not isinstance(own, str) or not own or kind is None:
        return None
    where = document.get("provider")
    pairs = ((entry.get("key"), entry.get("value")) for entry in _objects(document.get("infos")))
    return Entry(
        str(Identity(kind, name(where if isinstance(where, str) and where else provider), own, _info(pairs))),
        _word(document.get("state")),
    )


def observed_model(document: Mapping[str, Any], provider: str, name: Name) -> ObservedModel:
    """Return an item's permission model; `provider` is the id of the source's own (push-api.md 3.4)."""
    entries: list[Entry] = []
    levels = []
    for level in _objects(document.get("permissionLevels")):
        sets = []
        for shown in _objects(level.get("permissionSets")):
            sides: dict[bool, set[str]] = {True: set(), False: set()}
            for permission in _objects(shown.get("permissions")):
                entry = _permission(permission, provider, name)
                entries.append(entry)
                sides[permission.get("allowed") is True].add(entry.identity)
            sets.append(
                PermissionSet(
                    tuple(sorted(sides[True])),
                    tuple(sorted(sides[False])),
                    shown.get("anonymousAllowed") is True,
                    _text(shown.get("name")),
                )
            )
        levels.append(PermissionLevel(tuple(sets), _text(level.get("name"))))
    model = PermissionModel(tuple(levels)) if levels else None
    return ObservedModel(model, _word(document.get("state")), tuple(entries))


@dataclass(slots=True)
class Observed:
    """Everything that was seen so far of identities; what is seen twice counts once.

    Whatever is disabled grants nothing and passes nothing on (push-api.md 5.3).
    """

    states: dict[str, set[str]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    same: dict[str, set[str]] = field(default_factory=dict)

    def see(self, entry: Entry) -> None:
        """Take in an identity and its state."""
        states = self.states.setdefault(entry.identity, set())
        if entry.state:
            states.add(entry.state)

    def contain(self, group: str, member: str) -> None:
        """Take in that whoever has `member` has `group`."""
        self.members.setdefault(group, set()).add(member)

    def equate(self, one: str, other: str) -> None:
        """Take in that two are the same person."""
        self.same.setdefault(one, set()).add(other)

    def disabled(self, identity: str) -> bool:
        """Return whether the remote calls an identity disabled."""
        return DISABLED in self.states.get(identity, ())

    def unresolved(self, key: Callable[[str], str], email_provider: str) -> frozenset[str]:
        """Return the keys of the identities of which the remote says that it knows no more than the name.

        Those of the email provider need no push, so that one that was never updated is none (push-api.md 3.5).
        """
        found: dict[str, set[str]] = {}
        for identity, states in self.states.items():
            found.setdefault(key(identity), set()).update(states)
        return frozenset(
            name
            for name, states in found.items()
            if not states & _RESOLVED and (name.split("/", 2)[1] != email_provider or DISABLED in states)
        )

    def resources(self) -> Iterator[Resource]:
        """Yield the resources that say of identities what was seen."""
        named = {identity for group in (*self.members.values(), *self.same.values()) for identity in group}
        for identity in sorted({*self.states, *self.members, *self.same, *named}):
            if self.disabled(identity):
                continue
            aliases = self._live(self.same.get(identity, ()))
            if is_group(identity):
                members = self._live(self.members.get(identity, ()))
                yield Resource(Address(identity), canonical_json({"members": members}))
            elif identity.startswith(f"{Kind.USER.value}/"):
                yield Resource(Address(identity), b"{}")
            elif not aliases:
                # A type that nothing but an alias can be declared of.
                yield _alias(identity, [])
            if aliases:
                yield _alias(identity, aliases)

    def _live(self, identities: Iterable[str]) -> list[str]:
        return sorted(identity for identity in identities if not self.disabled(identity))


def observed_item(source: str, uri: str, model: PermissionModel | None) -> Resource:
    """Return the item that has this model; of the rest of it nothing is known."""
    shared = canonical_json(model.to_doc()) if model else b""
    return Resource(Address.of(Kind.ITEM, source, uri), canonical_json({"metadata": {}}), shared)


def _alias(identity: str, mappings: list[str]) -> Resource:
    return Resource(Address(alias_address(identity)), canonical_json({"mappings": mappings}))


def _permission(document: Mapping[str, Any], provider: str, name: Name) -> Entry:
    own, where = document.get("identity"), document.get("securityProvider")
    info = document.get("additionalInfo")
    return Entry(
        str(
            Identity(
                identity_type(_word(document.get("identityType"))) or "unknown",
                name(where if isinstance(where, str) and where else provider),
                own if isinstance(own, str) else "",
                _info(info.items() if isinstance(info, dict) else ()),
            )
        ),
        _word(document.get("state")),
    )


def _info(pairs: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in pairs if isinstance(key, str) and isinstance(value, str)))


def _word(value: Any) -> str:
    return value[:60] if isinstance(value, str) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
