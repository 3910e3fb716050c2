"""Access tests held against small states: what fails, whom it names, and what no test speaks of."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.accesstest import AccessTest
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.permissions.checks import EXAMPLES, Checks, Kind, Result, item_matcher
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from tests.builders import alias, group, item, lookup, user

ANN, BOB, CAROL, GHOST = (f"user/corp/{name}" for name in ("ann", "bob", "carol", "ghost"))
ALPHA, BOARD = "group/corp/Alpha", "group/corp/Board"
EVERYBODY, PARTNERS = f"group/{EMAIL_PROVIDER}/*@*", f"group/{EMAIL_PROVIDER}/*@partner.example"
PEOPLE = (*map(user, ("ann", "bob", "carol")), group("Alpha", ANN, BOB), group("Board", CAROL))


def model(*, allowed: tuple[str, ...] = (), denied: tuple[str, ...] = (), anonymous: bool = False) -> dict[str, Any]:
    entry: dict[str, Any] = {"allowed": sorted(allowed), "denied": sorted(denied), "anonymous": anonymous}
    return {"levels": [{"sets": [{key: value for key, value in entry.items() if value}]}]}


def secured(uri: str, metadata: dict[str, Any] | None = None, **said: Any) -> Resource:
    made = item(uri, metadata=metadata or {})
    return Resource(made.address, made.doc, canonical_json(model(**said)))


STATE = (
    *PEOPLE,
    secured("x:/a/1", {"classification": "secret", "level": 1, "tags": ["red", "blue"]}, allowed=(BOARD,)),
    secured("x:/a/2", {"classification": "open", "level": True}, allowed=(ALPHA, BOARD)),
    secured("x:/b/c/3", allowed=(ALPHA,), denied=(BOB,)),
)


def checks_of(*resources: Resource) -> Checks:
    relation = Relation(Readings(), {"blog": "shared"})
    relation.load(resources)
    return Checks(relation, [str(resource.address) for resource in resources], lookup(*resources))


def ran(*resources: Resource, **test: Any) -> Result:
    return checks_of(*(resources or STATE)).run(AccessTest(**test))


def told(result: Result) -> list[tuple[str, str, str | None]]:
    return [
        (finding.kind.value, finding.subject.removeprefix("item/handbook/"), finding.identity)
        for finding in result.findings
    ]


def test_what_holds_passes() -> None:
    assert ran(who=(ANN,), can_view=("x:/a/2", "x:/b/**"), cannot_view=("x:/a/1",)).passed
    assert ran(items=("x:/a/1",), only_visible_to=(BOARD,)).passed
    assert ran(items=("x:/a/*",), only_visible_to=(ANN, BOB, CAROL)).passed


def test_each_of_several_must_see() -> None:
    result = ran(who=(ANN, BOB), can_view=("x:/b/c/3",))
    assert told(result) == [("unseen", "x:/b/c/3", BOB)]
    assert result.counts == {Kind.UNSEEN: 1}


def test_each_of_several_must_not_see() -> None:
    assert told(ran(who=(CAROL, ANN), cannot_view=("x:/a/**",))) == [
        ("seen", "x:/a/1", CAROL),
        ("seen", "x:/a/2", CAROL),
        ("seen", "x:/a/2", ANN),
    ]


def test_a_group_stands_for_the_people_in_it() -> None:
    assert told(ran(who=(ALPHA,), can_view=("x:/b/c/3",))) == [("unseen", "x:/b/c/3", BOB)]
    assert told(ran(who=(ALPHA,), cannot_view=("x:/b/c/3",))) == [("seen", "x:/b/c/3", ANN)]


def test_a_star_in_a_name_stands_for_those_of_that_type_and_provider_whatever_their_case() -> None:
    assert told(ran(who=("user/corp/*O*",), can_view=("x:/a/1",))) == [("unseen", "x:/a/1", BOB)]
    assert told(ran(who=("group/corp/Al*",), can_view=("x:/a/1",))) == [
        ("unseen", "x:/a/1", ANN),
        ("unseen", "x:/a/1", BOB),
    ]
    assert told(ran(who=("user/elsewhere/*",), can_view=("x:/a/1",))) == [("nobody", "user/elsewhere/*", None)]


def test_a_group_with_nobody_in_it_tests_nothing() -> None:
    assert told(ran(who=("group/corp/Alhpa",), cannot_view=("x:/a/1",))) == [("nobody", "group/corp/Alhpa", None)]


def test_a_pattern_without_items_tests_nothing() -> None:
    result = ran(who=(BOB,), cannot_view=("x:/a/1", "x:/z/**"))
    assert told(result) == [("no-item", "x:/z/**", None)]
    assert not result.passed
    assert told(ran(items=("y:/*",), only_visible_to=(BOARD,))) == [("no-item", "y:/*", None)]


def test_whom_nobody_declared_is_noted_and_sees_nothing() -> None:
    result = ran(who=(GHOST,), cannot_view=("x:/a/1",))
    assert (result.passed, result.unknown) == (True, [GHOST])
    assert ran(who=(BOB,), cannot_view=("x:/a/1",)).unknown == []


def test_only_visible_names_everybody_else_who_sees() -> None:
    assert told(ran(items=("x:/a/*",), only_visible_to=(BOARD,))) == [
        ("seen", "x:/a/2", ANN),
        ("seen", "x:/a/2", BOB),
    ]
    assert told(ran(items=("x:/a/1",), only_visible_to=())) == [("seen", "x:/a/1", CAROL)]


@pytest.mark.parametrize(
    ("where", "uris"),
    [
        ({"classification": "secret"}, ["x:/a/1"]),
        ({"tags": "red"}, ["x:/a/1"]),
        ({"tags": ["blue", "red"]}, ["x:/a/1"]),
        ({"level": 1}, ["x:/a/1"]),
        ({"level": True}, ["x:/a/2"]),
    ],
)
def test_metadata_narrow_the_items(where: dict[str, Any], uris: list[str]) -> None:
    found = told(ran(items=("x:/a/*",), only_visible_to=(), where=where))
    assert sorted({uri for _, uri, _ in found}) == uris


def test_metadata_alone_speak_of_all_items_and_that_none_has_them_is_told() -> None:
    assert ran(only_visible_to=(BOARD,), where={"classification": "secret"}).passed
    assert told(ran(only_visible_to=(), where={"tags": ["red", "green"]})) == [("no-item", "**", None)]


def test_an_unresolved_deny_hides_nothing_from_a_test() -> None:
    state = (*PEOPLE, secured("x:1", allowed=(ALPHA,), denied=(GHOST,)))
    for result in (ran(*state, who=(ANN,), cannot_view=("x:1",)), ran(*state, items=("x:1",), only_visible_to=(BOB,))):
        assert told(result) == [("seen", "x:1", ANN)]
        assert [finding.certain for finding in result.findings] == [False]
    assert told(ran(*state, who=(ANN,), can_view=("x:1",))) == [("unseen", "x:1", ANN)]


def test_what_is_open_to_everybody_is_seen_by_whoever_did_not_log_in() -> None:
    state = (*PEOPLE, secured("x:1", anonymous=True))
    assert told(ran(*state, items=("x:1",), only_visible_to=(ANN, BOB, CAROL))) == [("seen", "x:1", None)]
    assert ran(*state, items=("x:1",), only_visible_to=(EVERYBODY,)).passed
    assert told(ran(*state, who=(EVERYBODY,), cannot_view=("x:1",)))[0] == ("seen", "x:1", None)


@pytest.mark.parametrize("through_a_group", [False, True])
def test_what_is_open_to_a_domain_is_seen_by_people_whom_nobody_declared(through_a_group: bool) -> None:
    allowed = "group/corp/Partners" if through_a_group else PARTNERS
    state = (*PEOPLE, group("Partners", PARTNERS), secured("x:1", allowed=(allowed, ANN)))
    result = ran(*state, items=("x:1",), only_visible_to=(ANN,))
    assert [(finding.kind, finding.stranger) for finding in result.findings] == [(Kind.SEEN, True)]
    assert ran(*state, items=("x:1",), only_visible_to=(ANN, PARTNERS)).passed
    assert [finding.stranger for finding in ran(*state, who=(PARTNERS,), cannot_view=("x:1",)).findings] == [True]


def test_a_group_that_a_domain_is_in_stands_for_people_whom_nobody_declared_as_well() -> None:
    state = (*PEOPLE, group("Partners", PARTNERS), secured("x:1", allowed=(PARTNERS,)))
    result = ran(*state, who=("group/corp/Partners",), cannot_view=("x:1",))
    assert [(finding.kind, finding.stranger) for finding in result.findings] == [(Kind.SEEN, True)]
    everybody = ran(*state, who=(EVERYBODY,), cannot_view=("x:1",))
    assert [finding.stranger for finding in everybody.findings] == [True]


def test_aliases_are_one_person() -> None:
    mail = f"user/{EMAIL_PROVIDER}/carol@x.example"
    state = (*STATE, alias("carol", mail))
    assert ran(*state, items=("x:/a/1",), only_visible_to=(mail,)).passed
    result = ran(*state, items=("x:/a/1",), only_visible_to=(ANN,))
    assert (told(result), result.counts) == ([("seen", "x:/a/1", CAROL)], {Kind.SEEN: 1})


def test_many_are_counted_and_some_are_named() -> None:
    crowd = [f"user/corp/p{number:02}" for number in range(30)]
    state = (group("Crowd", *crowd), *(secured(f"x:{number}", allowed=("group/corp/Crowd",)) for number in range(4)))
    result = ran(*state, who=("group/corp/Crowd",), cannot_view=("x:*",))
    assert (len(result.findings), result.counts) == (EXAMPLES, {Kind.SEEN: 120})


def test_coverage_is_what_the_tests_that_ran_did_not_speak_of() -> None:
    checks = checks_of(*STATE, alias("carol", f"user/{EMAIL_PROVIDER}/carol@x.example"))
    before = checks.coverage()
    assert (before.items, before.items_untested, before.people, before.people_untested) == (3, 3, 3, 3)
    checks.run(AccessTest(who=(ANN,), can_view=("x:/a/*",)))
    checks.run(AccessTest(items=("x:/a/1",), only_visible_to=(BOARD,)))
    after = checks.coverage()
    assert (after.items_untested, after.people_untested) == (1, 1)


@pytest.mark.parametrize(
    ("pattern", "uri", "matches"),
    [
        ("x:/a/1", "x:/a/1", True),
        ("x:/a/1", "x:/a/11", False),
        ("x:/a/*", "x:/a/1", True),
        ("x:/a/*", "x:/a/b/1", False),
        ("x:/a/**", "x:/a/b/1", True),
        ("x:/*/1", "x:/a/1", True),
        ("x:/**/1", "x:/a/b/1", True),
        ("x:/a.1", "x:/a/1", False),
        ("x:/A/*", "x:/a/1", False),
        ("item/handbook/x:/a/*", "x:/a/1", True),
        ("item/blog/x:/a/*", "x:/a/1", False),
    ],
)
def test_patterns_over_uris(pattern: str, uri: str, matches: bool) -> None:
    assert item_matcher(pattern)(f"item/handbook/{uri}") is matches


def test_a_test_is_the_same_after_it_was_kept() -> None:
    test = AccessTest((ANN,), ("x:1",), (), (), (BOARD,), {"level": [1, "a"]})
    assert AccessTest.from_json(test.to_json()) == test
    assert AccessTest.from_json(AccessTest(who=(ANN,)).to_json()).only_visible_to is None
