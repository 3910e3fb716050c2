"""What one pushed identity says about who belongs to what (push-api.md 3.5).

Knows nothing of spelling or of evaluation: identities stay as they were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.address import Kind
from reconciler.model.identity import aliased_identity
from reconciler.model.states import Resource
from reconciler.permissions.readings import is_person


class How(StrEnum):
    """How one identity follows from another."""

    ALIAS = "alias"
    MEMBER = "member of"
    WELL_KNOWN = "well-known"
    MAPPING = "mapped from"
    PATTERN = "matches"
    EVERYBODY = "everybody is in"


@dataclass(frozen=True, slots=True)
class Facts:
    """One resource as relations.

    `belongs` are triples: whoever has the first identity has the second. `same` are pairs that stand for one
    person. `resolved` are the identities that the resource makes known to the remote, itself first;
    `members` those that it only lists.
    """

    resolved: tuple[str, ...]
    belongs: tuple[tuple[str, str, How], ...] = ()
    same: tuple[tuple[str, str], ...] = ()
    members: tuple[str, ...] = ()


def facts_of(resource: Resource) -> Facts:
    """Return what a group, virtual group, user or alias says. Items say nothing of identities: ValueError."""
    kind = resource.address.kind
    if kind is Kind.ITEM:
        raise ValueError(f"an item is no identity: {resource.address}")
    shared = resource.shared_doc() or {}
    if kind is Kind.ALIAS:
        return _alias(aliased_identity(resource.address), resource.own().get("mappings", ()), shared)
    who = str(resource.address)
    members = tuple(resource.own().get("members", ()))
    belongs = tuple((member, who, How.MEMBER) for member in members)
    return Facts((who,), belongs + _well_knowns(who, shared), members=tuple(filter(is_person, members)))


def _alias(who: str, mappings: list[str], shared: dict[str, list[str]]) -> Facts:
    well_knowns = _well_knowns(who, shared)
    if not is_person(who):
        # A group that is mapped to users has them in it; they do not thereby become one another (push-api.md 3.5).
        expanded = tuple((mapped, who, How.MAPPING) for mapped in mappings)
        return Facts((who,), expanded + well_knowns, members=tuple(filter(is_person, mappings)))
    people = tuple(mapped for mapped in mappings if is_person(mapped))
    # Aliases are USER to USER (push-api.md 3.5). A user with a group for an alias is in that group: were they the
    # same, everybody in the group would be that user.
    groups = tuple((who, mapped, How.ALIAS) for mapped in mappings if not is_person(mapped))
    return Facts((who, *people), groups + well_knowns, tuple((who, mapped) for mapped in people))


def _well_knowns(who: str, shared: dict[str, list[str]]) -> tuple[tuple[str, str, How], ...]:
    return tuple((who, group, How.WELL_KNOWN) for group in shared.get("wellKnowns", ()))
