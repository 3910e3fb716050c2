"""What is wrong with identities: groups without people, members who cannot log in, cycles, and what nobody uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.lints.people import People
from reconciler.lints.rings import rings
from reconciler.lints.subject import Found, Subject, told
from reconciler.model.address import GROUP_KINDS, Kind
from reconciler.model.identity import alias_address, aliased_identity
from reconciler.model.place import Part, Place
from reconciler.model.states import Resource
from reconciler.permissions.facts import How
from reconciler.permissions.readings import is_person

# A cycle is told by so many of its steps at most.
MAX_STEPS = 5


def groups_without_members(subject: Subject, people: People) -> Iterator[Found]:
    """Yield the groups that nobody and no other group belongs to, by whatever way."""
    for resource in subject.identities:
        if resource.address.kind in GROUP_KINDS and not people.below.get(people.number(resource.address)):
            yield Found(
                "group-without-members",
                f"{told(resource.address)} has no members",
                "whom it is to let in does not get in, and whom it is to keep out is not kept out.",
                "list its members, or remove the group and the entries that name it.",
                (Place(resource.address),),
            )


def members_without_alias(subject: Subject, people: People) -> Iterator[Found]:
    """Yield the members of groups who are nobody in the email provider, each once, at the first group they are in.

    People log in by their email address (push-api.md 3.6), so aliases are what makes members of them. Of a
    provider whose people have no alias at all the first one is told, for all of them.
    """
    email = f"user/{subject.readings.email_provider}/"
    bare: dict[str, list[tuple[str, str, Place]]] = {}
    served: set[str] = set()
    seen: set[int] = set()
    for start, end, place in _memberships(subject.identities):
        number = people.number(start)
        if number in seen or not is_person(start):
            continue
        seen.add(number)
        provider = start.split("/", 2)[1]
        if provider not in subject.aliased or provider == subject.readings.email_provider:
            continue
        if any(people.graph.name(mate).startswith(email) for mate in people.graph.mates(number)):
            served.add(provider)
        else:
            bare.setdefault(provider, []).append((start, end, place))
    for provider, members in sorted(bare.items()):
        for start, end, place in members if provider in served else members[:1]:
            rest = len(members) - 1 if provider not in served else 0
            more = f"; {rest:,} more members have none either" if rest else ""
            yield Found(
                "member-without-alias",
                f'{told(start)} is in {told(end)} and has no alias into "{subject.readings.email_provider}"{more}',
                "people log in by their email address: without an alias nobody is this member.",
                "add it under `aliases`: {of: ..., is: [{provider: ..., identity: ...}]}, or `ofEach` for all members.",
                (place,),
            )


def _memberships(resources: Iterable[Resource]) -> Iterator[tuple[str, str, Place]]:
    """Yield who is a member of what, and where that stands."""
    for resource in resources:
        if resource.address.kind in GROUP_KINDS:
            for member in resource.own().get("members", ()):
                yield member, str(resource.address), Place(resource.address, "members", 0, member)
        elif resource.address.kind is Kind.USER:
            for group in (resource.shared_doc() or {}).get("wellKnowns", ())[:1]:
                yield str(resource.address), group, Place(resource.address)


def nested_cycles(people: People) -> Iterator[Found]:
    """Yield the groups that are in themselves, by way of one another, each such ring once."""
    for ring in rings(people.above):
        groups = sorted(name for number in ring if not is_person(name := people.graph.name(number)))
        if not groups:
            continue
        inside = set(ring)
        steps = {
            people.steps[one, other]
            for one in ring
            for other in people.above[one]
            if other in inside
            and (
                one,
                other,
            )
            in people.steps
        }
        places = sorted({_place_of(*step) for step in steps})[:MAX_STEPS]
        shown = ", ".join(told(group) for group in groups[:MAX_STEPS])
        more = f" and {len(groups) - MAX_STEPS:,} more" if len(groups) > MAX_STEPS else ""
        what = f"{shown} is a member of itself" if len(groups) == 1 else f"{shown}{more} are members of one another"
        yield Found(
            "nested-cycle",
            what,
            "the documents do not say what the service makes of a cycle; here all of its groups have the same people.",
            "remove one of the memberships.",
            tuple(places),
        )


def _place_of(start: str, how: How, end: str) -> Place:
    part: Part
    if how is How.MEMBER:
        address, part, identity = end, "members", start
    elif how is How.WELL_KNOWN:
        address, part, identity = start, "wellKnowns", end
    else:
        address, part, identity = alias_address(end if how is How.MAPPING else start), "", ""
    return Place(address, part, 0, identity)


def unused_identities(subject: Subject, people: People) -> Iterator[Found]:
    """Yield what is declared and no permission names, neither itself nor anything that it is in.

    What belongs to a group that is told already is passed over: it is the group that is not used. Where there is
    no permission model at all, items are kept elsewhere, and nothing is known of what they name.
    """
    if not subject.models:
        return
    used = _used(people)
    groups = {
        number
        for resource in subject.identities
        if resource.address.kind in GROUP_KINDS and (number := people.number(resource.address)) not in used
    }
    for resource in subject.identities:
        address = resource.address
        is_alias = address.kind is Kind.ALIAS
        identity = aliased_identity(address) if is_alias else str(address)
        number = people.number(identity)
        if number in used or (address.kind not in GROUP_KINDS and _is_in(number, groups, people)):
            continue
        yield Found(
            "unused-identity",
            f"no permission names {'the alias of ' if is_alias else ''}{told(identity)}, nor anything that it is in",
            "whatever becomes of it, nobody sees more or less.",
            "remove it, or name it where it is meant to count.",
            (Place(address),),
        )


def _is_in(number: int, groups: set[int], people: People) -> bool:
    """Whether somebody is directly in one of these groups, under whatever alias, or the alias of one of them."""
    same = people.graph.mates(number)
    return number in groups or any(not groups.isdisjoint(people.above.get(mate, ())) for mate in same)


def _used(people: People) -> set[int]:
    """Return what permission models and well-knowns name, and all that is in it."""
    used = set(people.numbers.values())
    for _, facts in people.facts:
        used.update(people.number(end) for _, end, how in facts.belongs if how is How.WELL_KNOWN)
    waiting = list(used)
    for number in waiting:
        for other in people.below.get(number, ()):
            if other not in used:
                used.add(other)
                waiting.append(other)
    return used
