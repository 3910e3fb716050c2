"""Who the recorded state puts into which group, and who it says is the same person.

Pure. What the cache shows of one identity is the work of several resources: a group's members come
from its own list and from the well-knowns of others. So what is found too much can only be judged
against all that is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from reconciler.calls.wire import alias_identity
from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.identity import Identity, parse_identity
from reconciler.state.rows import RecordedRow
from reconciler.verifying.seen import Ref, Who, recorded_who, who_of

GROUP_TYPES = ("group", "virtual-group")


def subject_of(address: Address, ref: Ref) -> Who:
    """Return the identity that a resource, other than an item, is about, as the remote knows it."""
    return who_of(identity_of(address), ref)


def identity_of(address: Address) -> Identity:
    """Return the identity that the address of a resource, other than an item, is about."""
    return alias_identity(address) if address.kind is Kind.ALIAS else parse_identity(address)


class Relations:
    """The recorded edges that touch the identities in `scope`; memory follows those edges."""

    def __init__(self, scope: Collection[Who] = ()) -> None:
        self.scope = frozenset(scope)
        self.inside: dict[Who, set[Who]] = defaultdict(set)
        self.around: dict[Who, set[Who]] = defaultdict(set)
        self.same: dict[Who, set[Who]] = defaultdict(set)
        self.groups: set[Who] = set()

    def add(self, rows: Iterable[RecordedRow], ref: Ref) -> None:
        """Take the edges of these rows."""
        for row in rows:
            kind = row.address.kind
            if kind is Kind.ITEM:
                continue
            subject = subject_of(row.address, ref)
            if kind in GROUP_KINDS:
                self.groups.add(subject)
            members, mappings, well_knowns = declared(row, ref)
            for member in members:
                self._contain(subject, member)
            for group in well_knowns:
                self._contain(group, subject)
            for mapped in mappings:
                # A group's alias expands it, a user's is the same person (push-api.md 3.5).
                if subject.type in GROUP_TYPES:
                    self._contain(subject, mapped)
                else:
                    self._equate(subject, mapped)

    def _contain(self, group: Who, member: Who) -> None:
        if group in self.scope:
            self.inside[group].add(member)
        if member in self.scope:
            self.around[member].add(group)

    def _equate(self, one: Who, other: Who) -> None:
        if one in self.scope:
            self.same[one].add(other)
        if other in self.scope:
            self.same[other].add(one)


def declared(row: RecordedRow, ref: Ref) -> tuple[frozenset[Who], frozenset[Who], frozenset[Who]]:
    """Return the members, mappings and well-knowns that an identity's row records."""
    own, shared = row.resource.own(), row.resource.shared_doc() or {}
    found = (own.get("members", ()), own.get("mappings", ()), shared.get("wellKnowns", ()))
    members, mappings, well_knowns = (frozenset(recorded_who(text, ref) for text in texts) for texts in found)
    return members, mappings, well_knowns
