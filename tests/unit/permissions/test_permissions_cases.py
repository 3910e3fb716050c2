"""Worked cases of who sees an item, each with the section it comes from; the definition and the fast evaluation
both have to say so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.identity import parse_identity
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.model.states import Resource
from reconciler.permissions.evaluate import Outcome, Visibility, decide, decide_item, unresolved
from reconciler.permissions.expand import Directory
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from tests.builders import alias, group, user

EMAIL = EMAIL_PROVIDER
NOT_LOGGED_IN = ""


def u(name: str) -> str:
    return f"user/corp/{name}"


def g(name: str) -> str:
    return f"group/corp/{name}"


def mail(name: str) -> str:
    return f"user/{EMAIL}/{name}"


def pattern(name: str) -> str:
    return f"group/{EMAIL}/{name}"


def allow(*whos: str, deny: Iterable[str] = (), anonymous: bool = False, name: str = "") -> PermissionSet:
    return PermissionSet(tuple(sorted(whos)), tuple(sorted(deny)), anonymous, name)


def levels(*each: Iterable[PermissionSet]) -> PermissionModel:
    return PermissionModel(tuple(PermissionLevel(tuple(sorted(sets))) for sets in each))


def one(*whos: str, deny: Iterable[str] = (), anonymous: bool = False) -> PermissionModel:
    return levels([allow(*whos, deny=deny, anonymous=anonymous)])


def virtual(name: str, *members: str) -> Resource:
    return Resource(Address.of(Kind.VIRTUAL_GROUP, "corp", name), canonical_json({"members": sorted(members)}))


def mapped_group(name: str, *mappings: str) -> Resource:
    return Resource(Address.of(Kind.ALIAS, "corp", f"group:{name}"), canonical_json({"mappings": sorted(mappings)}))


A, B, C, D = u("a"), u("b"), u("c"), u("d")
G, H, K, V = g("G"), g("H"), g("K"), "virtual-group/corp/V"
NOBODY = u("nobody")
PEOPLE = tuple(map(user, "abcd"))
STANDARD = Readings()
NAMED = Readings(unresolved_allow="named")
GHOST = u("ghost")
ALPHA = (
    group("AlphaTeam", *(u(f"{name}@example.com") for name in ("alice", "bob", "david"))),
    *(alias(f"{name}@example.com", mail(f"{name}@example.com")) for name in ("alice", "bob", "david")),
)


@dataclass(frozen=True)
class Case:
    section: str
    name: str
    identities: tuple[Resource, ...]
    model: PermissionModel | None
    expected: dict[str, bool]
    readings: Readings = STANDARD
    visibility: Visibility = "secured"

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


CASES = [
    Case("3.4", "allowed by name", PEOPLE, one(A), {A: True, B: False}),
    Case("3.4", "no model at all", PEOPLE, None, {A: False, NOT_LOGGED_IN: False}),
    Case("3.4", "a model without levels", PEOPLE, levels(), {A: False}),
    Case("3.4", "a level without sets says nothing", PEOPLE, levels([], [allow(A)]), {A: True, B: False}),
    Case("3.4", "a set without anybody allows nobody", PEOPLE, levels([allow()]), {A: False, NOT_LOGGED_IN: False}),
    Case("3.4", "not open unless it says so", PEOPLE, one(A), {NOT_LOGGED_IN: False}),
    Case(
        "3.4",
        "additional info tells identities of one name apart",
        (*PEOPLE, Resource(Address('user/corp/a?info={"d":"x"}'), b"{}")),
        one('user/corp/a?info={"d":"x"}'),
        {'user/corp/a?info={"d":"x"}': True, 'user/corp/a?info={"d":"X"}': True, A: False},
    ),
    Case("3.4", "a user of another provider is somebody else", PEOPLE, one(A), {"user/other/a": False}),
    Case("3.4", "a group and a virtual group of one name", (group("V"), virtual("V", A)), one(g("V")), {A: False}),
    Case("3.6", "deny beats allow", PEOPLE, one(A, B, deny=[A]), {A: False, B: True}),
    Case("3.6", "in neither list", PEOPLE, one(A, deny=[B]), {C: False}),
    Case("3.6", "a deny alone allows nobody", PEOPLE, one(deny=[B]), {A: False, B: False}),
    Case("3.6", "a member of an allowed group", (*PEOPLE, group("G", A)), one(G), {A: True, B: False}),
    Case("3.6", "a denied member", (*PEOPLE, group("G", A, B)), one(G, deny=[B]), {A: True, B: False}),
    Case("3.6", "allowed by name, denied by group", (*PEOPLE, group("G", A)), one(A, B, deny=[G]), {A: False, B: True}),
    Case("3.6", "nested twice", (group("G", H), group("H", K), group("K", A)), one(G), {A: True, B: False}),
    Case("3.6", "nesting goes one way", (group("G", H), group("H", A), user("b")), one(H), {A: True, B: False}),
    Case(
        "3.6",
        "denied through nesting",
        (group("G", H), group("H", A), user("b")),
        one(A, B, deny=[G]),
        {A: False, B: True},
    ),
    Case("3.6", "a cycle of groups", (group("G", H), group("H", G, A)), one(G), {A: True, B: False}),
    Case("3.6", "a group in itself", (group("G", G, A),), one(G), {A: True, B: False}),
    Case(
        "3.6",
        "a cycle with a tail",
        (group("G", H), group("H", K), group("K", H, A), group("Z", B)),
        one(H),
        {A: True, B: False},
    ),
    Case("3.5", "a virtual group is a group", (virtual("V", A),), one(V), {A: True, B: False}),
    Case("3.5", "a virtual group in a group", (virtual("V", A), group("G", V)), one(G), {A: True}),
    Case("3.5", "a well-known of a user", (user("a", G), group("G")), one(G), {A: True, B: False}),
    Case("3.5", "a well-known of a group", (group("H", A, well_knowns=[G]), group("G")), one(G), {A: True, B: False}),
    Case(
        "3.5",
        "a well-known sent with an alias",
        (alias("a", mail("a@x"), well_knowns=[G]), group("G")),
        one(G),
        {mail("a@x"): True},
    ),
    Case(
        "3.5", "denied by a well-known", (user("a", G), user("b"), group("G")), one(A, B, deny=[G]), {A: False, B: True}
    ),
    Case("3.5", "a well-known's own group", (user("a", H), group("H"), group("G", H)), one(G), {A: True, B: False}),
    Case("3.6", "who logs in by email", (alias("a", mail("a@x.org")), user("a")), one(A), {mail("a@x.org"): True}),
    Case("3.6", "an alias holds both ways", (alias("a", mail("a@x.org")),), one(mail("a@x.org")), {A: True, B: False}),
    Case(
        "3.6",
        "aliases of aliases are one person",
        (
            alias("a", "user/other/a"),
            Resource(Address("alias/other/user:a"), canonical_json({"mappings": [mail("a@x.org")]})),
        ),
        one(A),
        {mail("a@x.org"): True, "user/other/a": True, "user/other/b": False},
    ),
    Case(
        "3.6",
        "denied under another identity",
        (alias("a", mail("a@x.org")), group("G", A)),
        one(G, deny=[mail("a@x.org")]),
        {A: False, mail("a@x.org"): False},
    ),
    Case(
        "3.6",
        "a group of the email provider, by alias",
        (
            alias("a", mail("a@x.org")),
            Resource(Address(f"group/{EMAIL}/Staff"), canonical_json({"members": [mail("a@x.org")]})),
        ),
        one(f"group/{EMAIL}/Staff"),
        {A: True, B: False},
    ),
    Case(
        "3.5",
        "two users with one alias are one person",
        (alias("a", mail("m@x")), alias("b", mail("m@x"))),
        one(A),
        {B: True},
    ),
    Case(
        "3.5",
        "a group mapped to users has them in it",
        (group("G"), mapped_group("G", mail("a@x"), mail("b@x"))),
        one(G),
        {mail("a@x"): True, mail("b@x"): True, mail("c@x"): False},
    ),
    Case(
        "3.5",
        "a group mapped to users does not make them one another",
        (group("G"), mapped_group("G", mail("a@x"), mail("b@x"))),
        one(G, deny=[mail("b@x")]),
        {mail("a@x"): True, mail("b@x"): False},
    ),
    Case(
        "3.5",
        "a user mapped to a group is in it, and the group is not the user",
        (group("G", B), Resource(Address("alias/corp/user:a"), canonical_json({"mappings": [G]}))),
        levels([allow(G)], [allow(A)]),
        {A: True, B: True},
    ),
    Case(
        "3.5",
        "members of a group do not become a user that is mapped to it",
        (group("G", B), Resource(Address("alias/corp/user:a"), canonical_json({"mappings": [G]}))),
        one(A),
        {A: True, B: False},
    ),
    Case("3.6", "several sets intersect", PEOPLE, levels([allow(A, B), allow(B, C)]), {A: False, B: True, C: False}),
    Case(
        "3.6", "three sets", PEOPLE, levels([allow(A, B), allow(B, C), allow(A, B, C)]), {A: False, B: True, C: False}
    ),
    Case("3.6", "a deny in one of the sets", PEOPLE, levels([allow(A, B), allow(A, B, deny=[A])]), {A: False, B: True}),
    Case(
        "3.6",
        "sets by different groups",
        (group("G", A, B), group("H", B, C)),
        levels([allow(G), allow(H)]),
        {A: False, B: True},
    ),
    Case("3.6", "anonymous", PEOPLE, one(anonymous=True), {A: True, NOBODY: True, NOT_LOGGED_IN: True}),
    Case(
        "3.6", "anonymous, but not one", PEOPLE, one(deny=[A], anonymous=True), {A: False, B: True, NOT_LOGGED_IN: True}
    ),
    Case(
        "11",
        "a deny list without effect in a set that is open to everybody",
        PEOPLE,
        one(deny=[A], anonymous=True),
        {A: True, NOT_LOGGED_IN: True},
        Readings(deny_beats_anonymous=False),
    ),
    Case(
        "3.6",
        "public in one set only",
        PEOPLE,
        levels([allow(anonymous=True), allow(A)]),
        {A: True, B: False, NOT_LOGGED_IN: False},
    ),
    Case(
        "3.6",
        "public in every set",
        PEOPLE,
        levels([allow(anonymous=True), allow(A, anonymous=True)]),
        {B: True, NOT_LOGGED_IN: True},
    ),
    Case(
        "3.6",
        "public in a later level",
        PEOPLE,
        levels([allow(A, deny=[B])], [allow(anonymous=True)]),
        {A: True, B: False, C: True, NOT_LOGGED_IN: True},
    ),
    Case("3.6", "the first level allows", PEOPLE, levels([allow(A)], [allow(B, deny=[A])]), {A: True, B: True}),
    Case("3.6", "the first level denies", PEOPLE, levels([allow(deny=[A])], [allow(A, B)]), {A: False, B: True}),
    Case(
        "3.6",
        "an inconclusive level is passed over",
        PEOPLE,
        levels([allow(B)], [allow(A)]),
        {A: True, B: True, C: False},
    ),
    Case("3.6", "no level says anything", PEOPLE, levels([allow(A)], [allow(deny=[B])]), {C: False}),
    Case(
        "3.6", "partly allowed is inconclusive", PEOPLE, levels([allow(A), allow(B)], [allow(A)]), {A: True, B: False}
    ),
    Case(
        "3.6",
        "partly allowed is denied in the other reading",
        PEOPLE,
        levels([allow(A), allow(B)], [allow(A)], [allow(C)]),
        {A: False, B: False, C: True},
        Readings(partial_level="denied"),
    ),
    Case(
        "3.6",
        "partly public is denied to all in the other reading",
        PEOPLE,
        levels([allow(anonymous=True), allow(B)], [allow(A)]),
        {A: False, B: True, NOT_LOGGED_IN: False},
        Readings(partial_level="denied"),
    ),
    Case(
        "3.6",
        "a deny ends a partly allowed level",
        PEOPLE,
        levels([allow(A), allow(B, deny=[A])], [allow(A)]),
        {A: False},
    ),
    Case(
        "3.6",
        "everybody by pattern",
        PEOPLE,
        one(pattern("*@*")),
        {A: True, mail("x@y.org"): True, NOT_LOGGED_IN: True},
    ),
    Case("3.6", "everybody denied by pattern", PEOPLE, one(A, deny=[pattern("*@*")]), {A: False, NOT_LOGGED_IN: False}),
    Case(
        "3.6",
        "everyone of a domain",
        (alias("a", mail("a@x.org")), user("b")),
        one(pattern("*@x.org")),
        {
            A: True,
            mail("new@X.org"): True,
            mail("a@y.org"): False,
            mail("x.org"): False,
            B: False,
            NOT_LOGGED_IN: False,
        },
    ),
    Case(
        "3.6",
        "a domain denied",
        PEOPLE,
        one(pattern("*@*"), deny=[pattern("*@x.org")]),
        {mail("a@x.org"): False, mail("a@y.org"): True, NOT_LOGGED_IN: True},
    ),
    Case(
        "3.6",
        "a pattern as member",
        (group("G", pattern("*@x.org")),),
        one(G),
        {mail("new@x.org"): True, mail("a@y.org"): False},
    ),
    Case(
        "3.6",
        "everybody as member",
        (group("G", pattern("*@*")),),
        one(G),
        {mail("a@x.org"): True, NOBODY: True, NOT_LOGGED_IN: True},
    ),
    Case("3.6", "a pattern in another provider is a name", (group("*@*", A),), one(g("*@*")), {A: True, B: False}),
    Case("2.4", "case means nothing by default", (group("g", u("ACME\\JDoe")),), one(G), {u("acme\\jdoe"): True}),
    Case(
        "2.4",
        "case tells apart where the provider says so",
        (group("G", u("JDoe")),),
        one(G),
        {u("JDoe"): True, u("jdoe"): False},
        Readings(case_sensitive=frozenset({"corp"})),
    ),
    Case("3.6", "an allowed user whom nobody declared", PEOPLE, one(A, GHOST), {A: True, GHOST: False}),
    Case("3.6", "such a user in the other reading", PEOPLE, one(A, GHOST), {A: True, GHOST: True}, NAMED),
    Case("3.6", "an email address needs nobody to declare it", (), one(mail("x@y.org")), {mail("x@y.org"): True}),
    Case("3.6", "an allowed group that nobody declared", PEOPLE, one(A, g("Ghost")), {A: True, B: False}),
    Case("3.6", "an undeclared group in a well-known grants nothing", (user("a", G),), one(G), {A: False}),
    Case(
        "3.6",
        "a denied user whom nobody declared hides the item",
        PEOPLE,
        one(A, deny=[GHOST]),
        {A: False, NOT_LOGGED_IN: False},
    ),
    Case(
        "3.6",
        "hides it from everybody, later levels as well",
        PEOPLE,
        levels([allow(A, deny=[GHOST])], [allow(anonymous=True)]),
        {A: False, NOT_LOGGED_IN: False},
    ),
    Case(
        "3.6",
        "hides nothing in the other reading",
        PEOPLE,
        one(A, deny=[GHOST]),
        {A: True, GHOST: False},
        Readings(unresolved_deny_hides_item=False),
    ),
    Case(
        "3.6",
        "hides nothing below the first level",
        PEOPLE,
        levels([allow(A)], [allow(B, deny=[GHOST])]),
        {A: True, B: True, GHOST: False},
    ),
    Case("3.6", "a denied member is resolved by its group", (group("G", A, B),), one(G, deny=[B]), {A: True, B: False}),
    Case(
        "3.6",
        "not so in the strict reading",
        (group("G", A, B),),
        one(G, deny=[B]),
        {A: False, B: False},
        Readings(members_resolve=False),
    ),
    Case(
        "2.4",
        "a shared source shows everything",
        PEOPLE,
        one(A, deny=[B]),
        {B: True, NOT_LOGGED_IN: True},
        visibility="shared",
    ),
    Case(
        "2.4", "a private source shows what a model allows", PEOPLE, one(A), {A: True, B: False}, visibility="private"
    ),
    Case(
        "2.4", "a private source without a model", PEOPLE, None, {A: False, NOT_LOGGED_IN: False}, visibility="private"
    ),
    Case(
        "seed1",
        "AlphaTeam without Bob",
        ALPHA,
        one(g("AlphaTeam"), deny=[u("bob@example.com")]),
        {
            **{mail(f"{name}@example.com"): name != "bob" for name in ("alice", "bob", "david")},
            **{u(f"{name}@example.com"): name != "bob" for name in ("alice", "bob", "david")},
            mail("eve@example.com"): False,
            NOT_LOGGED_IN: False,
        },
    ),
    Case(
        "seed0",
        "one allowed, one denied",
        (),
        one(mail("allowed@coveo.com"), deny=[mail("denied@coveo.com")]),
        {mail("allowed@coveo.com"): True, mail("denied@coveo.com"): False, mail("other@coveo.com"): False},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_worked_case(case: Case) -> None:
    directory = Directory(case.identities, case.readings)
    for who, expected in case.expected.items():
        person = directory.person(who) if who else directory.anonymous()
        assert decide_item(case.model, case.visibility, person, directory).allowed is expected, who


@pytest.mark.parametrize("case", CASES, ids=str)
def test_worked_case_evaluated_fast(case: Case) -> None:
    relation = Relation(case.readings, {"handbook": case.visibility})
    shared = canonical_json(case.model.to_doc()) if case.model else b""
    item = Resource(Address("item/handbook/x:1"), b"{}", shared)
    relation.load([item, *case.identities])
    viewers = {case.readings.key(name) for name in relation.viewers(item.address)}
    for who, expected in case.expected.items():
        assert relation.sees(who or None, item.address) is expected, who
        if who and relation.graph.find(who) is not None:
            assert (case.readings.key(who) in viewers) is expected, who
    assert relation.audience(item.address).anonymous is relation.sees(None, item.address)


def why(identities: Iterable[Resource], model: PermissionModel, who: str, readings: Readings = STANDARD) -> Any:
    directory = Directory(identities, readings)
    return decide(model, directory.person(who), directory)


def shown(verdict: Any) -> list[tuple[int, str, str, list[str]]]:
    return [
        (
            ground.set,
            ground.says,
            ground.entry,
            [f"{parse_identity(step.start).name} {step.how} {parse_identity(step.end).name}" for step in ground.chain],
        )
        for ground in verdict.grounds
    ]


def test_a_verdict_names_level_set_entry_and_chain() -> None:
    identities = (alias("carol", mail("carol@x.org")), group("Inner", u("carol")), group("Outer", g("Inner")))
    model = PermissionModel(
        (
            PermissionLevel((allow(u("other")),), "board"),
            PermissionLevel((allow(g("Outer"), name="teams"), allow(anonymous=True, name="all")), "staff"),
        )
    )
    verdict = why(identities, model, mail("carol@x.org"))

    assert (verdict.outcome, verdict.level, verdict.name) == (Outcome.ALLOWED, 2, "staff")
    assert shown(verdict) == [
        (
            1,
            "allows",
            "group/corp/Outer",
            ["carol@x.org alias carol", "carol member of inner", "inner member of outer"],
        ),
        (2, "anonymous", "", []),
    ]
    assert [ground.name for ground in verdict.grounds] == ["teams", "all"]


def test_a_denial_names_the_set_that_denies() -> None:
    verdict = why((user("a", G), group("G")), levels([allow(A), allow(A, deny=[G])]), A)

    assert (verdict.outcome, verdict.level) == (Outcome.DENIED, 1)
    assert shown(verdict) == [(2, "denies", G, ["a well-known g"])]


def test_of_several_entries_the_nearest_is_named() -> None:
    identities = (group("B", A), group("A", A), user("a"))

    assert shown(why(identities, one(g("B"), g("A")), A))[0][2] == g("A")
    assert shown(why(identities, one(g("B"), g("A"), A), A)) == [(1, "allows", A, [])]


def test_nothing_said_has_no_grounds() -> None:
    verdict = why(PEOPLE, one(A), B)

    assert (verdict.outcome, verdict.level, verdict.grounds) == (Outcome.UNSPECIFIED, None, ())


def test_a_partly_satisfied_level_that_denies_names_the_silent_sets() -> None:
    verdict = why(PEOPLE, levels([allow(A), allow(B)], [allow(A)]), A, Readings(partial_level="denied"))

    assert (verdict.outcome, verdict.level, shown(verdict)) == (Outcome.DENIED, 1, [(2, "nothing", "", [])])


def test_a_hidden_item_names_the_unresolved_identity() -> None:
    verdict = why(PEOPLE, one(A, deny=[GHOST]), A)

    assert (verdict.outcome, verdict.level, shown(verdict)) == (Outcome.HIDDEN, 1, [(1, "denies", GHOST, [])])


def test_patterns_show_in_chains() -> None:
    assert shown(why((), one(pattern("*@x.org")), mail("a@x.org")))[0][3] == ["a@x.org matches *@x.org"]
    assert shown(why((), one(pattern("*@*")), u("a")))[0][3] == ["a everybody is in *@*"]


def test_chains_can_be_told_as_written() -> None:
    directory = Directory([group("AlphaTeam", u("Carol"))], STANDARD)
    chain = directory.person(u("carol")).chain(directory.key(g("alphateam")))

    assert [(directory.name(step.start), step.how.value, directory.name(step.end)) for step in chain] == [
        (u("Carol"), "member of", g("AlphaTeam"))
    ]
    assert directory.name(u("new")) == u("new")


def test_nesting_may_be_deeper_than_any_stack() -> None:
    depth = 5000
    groups = [group(f"g{number}", g(f"g{number + 1}")) for number in range(depth)]
    identities = [*groups, group(f"g{depth}", A, g("g0"))]
    directory, relation = Directory(identities, STANDARD), Relation(STANDARD, {})
    item = Resource(Address("item/handbook/x:1"), b"{}", canonical_json(one(g("g1")).to_doc()))
    relation.load([item, *identities])

    assert len(directory.person(A).chain(g("g1"))) == depth
    assert relation.viewers(item.address) == [A]


def test_unresolved_identities_are_reported_with_their_place() -> None:
    model = levels([allow(A, GHOST, deny=[g("Ghost")])], [allow(B), allow(A, deny=[GHOST])])
    directory = Directory(PEOPLE, Readings())
    found = unresolved(model, lambda entry: directory.resolved(directory.key(entry)), directory.readings)

    assert [(entry.level, entry.set, entry.denied, entry.identity, entry.hides) for entry in found] == [
        (1, 1, False, GHOST, False),
        (1, 1, True, g("Ghost"), True),
        (2, 1, True, GHOST, False),
    ]
    relation = Relation(Readings(), {})
    item = Resource(Address("item/handbook/x:1"), b"{}", canonical_json(model.to_doc()))
    relation.load([item, *PEOPLE])
    assert relation.unresolved(item.address) == found
