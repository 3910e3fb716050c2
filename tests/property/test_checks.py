"""Access tests against the definition: they fail when somebody, known or not, sees or misses what they speak of."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.accesstest import AccessTest
from reconciler.permissions.checks import Checks, Kind, item_matcher
from reconciler.permissions.evaluate import decide_item
from reconciler.permissions.expand import Directory, Person
from reconciler.permissions.readings import Readings, is_person
from tests.builders import lookup
from tests.property.test_permissions import ANYBODY, EMAIL, PEOPLE, VISIBILITY, WORLDS, World, related, some

READINGS = Readings(case_sensitive=frozenset({"exact"}))
STRANGERS = ["user/corp/new", f"user/{EMAIL}/new@x.org", f"user/{EMAIL}/new@y.org", "unknown/corp/u"]


def seen(world: World, readings: Readings) -> tuple[list[tuple[Person, bool]], Directory]:
    """Return everybody who may log in, by the definition, and whether they see each item, item after item."""
    directory, relation = Directory(world.values(), readings), related(world, readings)
    logins = [directory.anonymous(), *map(directory.person, [*PEOPLE, *STRANGERS])]
    pairs = []
    for address, resource in world.items():
        if address.startswith("item/"):
            model = relation.model(address)
            visibility = VISIBILITY[resource.address.scope]
            pairs += [(who, decide_item(model, visibility, who, directory).allowed) for who in logins]
    return pairs, directory


def counts(world: World, test: AccessTest) -> set[Kind]:
    checks = Checks(related(world, READINGS), world, lookup(*world.values()))
    return set(checks.run(test).counts)


@given(WORLDS, some(ANYBODY, 2))
@settings(max_examples=150)
def test_only_visible_fails_when_anybody_else_sees_an_item(world: World, allowed: list[str]) -> None:
    pairs, directory = seen(world, READINGS.widest())
    keys = [directory.key(identity) for identity in allowed]
    exposed = any(sees and not any(who.has(key) for key in keys) for who, sees in pairs)
    assert (Kind.SEEN in counts(world, AccessTest(items=("**",), only_visible_to=tuple(allowed)))) is exposed


@given(WORLDS, st.sampled_from(ANYBODY))
@settings(max_examples=150)
def test_whom_a_test_speaks_of_must_and_must_not_see(world: World, who: str) -> None:
    for readings, kind, wrong, test in (
        (READINGS, Kind.UNSEEN, False, AccessTest(who=(who,), can_view=("**",))),
        (READINGS.widest(), Kind.SEEN, True, AccessTest(who=(who,), cannot_view=("**",))),
    ):
        pairs, directory = seen(world, readings)
        key = directory.key(who)
        meant = [sees for person, sees in pairs if (person.start == key if is_person(key) else person.has(key))]
        assert (kind in counts(world, test)) is (wrong in meant)


PIECES = st.lists(st.sampled_from(["*", "**", "a", "b", "/", "ab", "a/", "***"]), max_size=7).map("".join)


@settings(max_examples=400, deadline=None)
@given(PIECES, st.text("ab/", max_size=9))
def test_a_pattern_matches_what_its_plain_expression_matches(pattern: str, uri: str) -> None:
    parts = (".*" if part == "**" else "[^/]*" if part == "*" else part for part in re.split(r"(\*\*|\*)", pattern))
    plain = re.fullmatch("".join(parts), uri) is not None
    assert item_matcher(pattern)(f"item/handbook/{uri}") is plain


def test_a_pattern_of_many_stars_says_no_in_a_few_steps() -> None:
    """With stars that were tried again this would not end."""
    assert not item_matcher("**a" * 30 + "b")("item/handbook/" + "a" * 2000)
    assert not item_matcher("*a" * 30 + "b")("item/handbook/" + "a" * 2000)
