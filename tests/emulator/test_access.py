"""Worked cases of the evaluation rules (push-api.md 3.6), and two ways of evaluating that must agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.emulator.access import (
    EVERYBODY,
    Decision,
    Directory,
    Graph,
    PermissionSet,
    Record,
    Who,
    decide,
    model_state,
    viewers,
)

EMAIL = "Email Security Provider"


def user(name: str) -> Who:
    return Who("p", "USER", name)


def group(name: str) -> Who:
    return Who("p", "GROUP", name)


def email(name: str) -> Who:
    return Who(EMAIL, "USER", name)


def allow(*whos: Who, deny: tuple[Who, ...] = (), anonymous: bool = False) -> PermissionSet:
    return PermissionSet(anonymous, frozenset(whos), frozenset(deny))


A, B, C = user("a"), user("b"), user("c")
G, H, K = group("g"), group("h"), group("k")
NOBODY = user("nobody")

CASES: list[tuple[str, list[Record], tuple[Any, ...], dict[Who, bool]]] = [
    ("allowed by name", [], ((allow(A),),), {A: True, B: False}),
    ("denied beats allowed", [], ((allow(A, deny=(A,)),),), {A: False}),
    ("unspecified is denied", [], ((allow(),),), {A: False}),
    ("a member of an allowed group", [Record(G, (A,))], ((allow(G),),), {A: True, B: False}),
    ("a denied member", [Record(G, (A, B))], ((allow(G, deny=(B,)),),), {A: True, B: False}),
    ("nested groups", [Record(G, (H,)), Record(H, (A,))], ((allow(G),),), {A: True, B: False}),
    ("denied through a nested group", [Record(G, (H,)), Record(H, (A,))], ((allow(A, deny=(G,)),),), {A: False}),
    ("a cycle", [Record(G, (H,)), Record(H, (G, A))], ((allow(G),),), {A: True, B: False}),
    ("a well-known", [Record(A, well_knowns=(G,))], ((allow(G),),), {A: True, B: False}),
    ("a group in a well-known", [Record(H, (A,), (G,))], ((allow(G),),), {A: True}),
    ("an alias", [Record(A, mappings=(email("a"),))], ((allow(A),),), {email("a"): True, email("b"): False}),
    ("an alias, the other way", [Record(A, mappings=(email("a"),))], ((allow(email("a")),),), {A: True}),
    (
        "an alias and a group",
        [Record(G, (A,)), Record(A, mappings=(email("a"),))],
        ((allow(G),),),
        {A: True, email("a"): True},
    ),
    (
        "denied under an alias",
        [Record(A, mappings=(email("a"),))],
        ((allow(A, deny=(email("a"),)),),),
        {A: False, email("a"): False},
    ),
    (
        "a group mapped to users does not make them one another",
        [Record(G, mappings=(email("a"), email("b")))],
        ((allow(G, deny=(email("b"),)),),),
        {email("a"): True, email("b"): False},
    ),
    ("sets intersect", [], ((allow(A, B), allow(B, C)),), {A: False, B: True, C: False}),
    ("a deny in one set", [], ((allow(A, B), allow(A, B, deny=(A,))),), {A: False, B: True}),
    ("anonymous", [], ((allow(anonymous=True),),), {A: True, NOBODY: True}),
    ("anonymous, but not one", [], ((allow(deny=(A,), anonymous=True),),), {A: False, B: True}),
    ("public in one set only", [], ((allow(anonymous=True), allow(A)),), {A: True, B: False}),
    ("the first level decides", [], ((allow(A),), (allow(deny=(A,)),)), {A: True}),
    ("a deny ends the evaluation", [], ((allow(deny=(A,)),), (allow(A),)), {A: False}),
    ("inconclusive goes on", [], ((allow(B),), (allow(A),)), {A: True, B: True, C: False}),
    ("an empty level decides nothing", [], ((), (allow(A),)), {A: True, B: False}),
    ("no levels", [], (), {A: False}),
    ("a disabled group grants nothing", [Record(G, (A,), disabled=True)], ((allow(G),),), {A: False}),
    (
        "a disabled group in between",
        [Record(G, (H,)), Record(H, (A,), disabled=True)],
        ((allow(G),),),
        {A: False},
    ),
    ("the pattern of everybody", [], ((allow(EVERYBODY),),), {email("x@y.org"): True, NOBODY: True}),
    (
        "the pattern of a domain",
        [Record(A, mappings=(email("a@y.org"),))],
        ((allow(Who(EMAIL, "GROUP", "*@y.org")),),),
        {A: True, email("new@y.org"): True, email("a@z.org"): False, NOBODY: False},
    ),
]


@pytest.mark.parametrize(("records", "levels", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_worked_cases(records: list[Record], levels: Any, expected: dict[Who, bool]) -> None:
    graph = Graph(records)
    assert {who: decide(levels, graph.of(who)) is Decision.ALLOWED for who in expected} == expected


def test_a_level_that_is_partly_satisfied_is_a_setting() -> None:
    levels = ((allow(A), allow(B)), (allow(A),))
    assert decide(levels, {A}) is Decision.ALLOWED
    assert decide(levels, {A}, "denied") is Decision.DENIED


def test_providers_may_tell_case() -> None:
    directory = Directory({"exact": True})
    assert directory.who("p", "USER", "ACME\\JDoe") == directory.who("p", "USER", "acme\\jdoe")
    assert directory.who("exact", "USER", "JDoe") != directory.who("exact", "USER", "jdoe")
    assert directory.who("p", "USER", "x", [("a", "1")]) != directory.who("p", "USER", "x")


@pytest.mark.parametrize(
    ("levels", "state"),
    [
        (((allow(G),),), "VALID"),
        (((allow(H),),), "INCOMPLETE"),
        (((allow(G, deny=(H,)),),), "IN_ERROR"),
        (((allow(G),), (allow(deny=(H,)),)), "INCOMPLETE"),
    ],
)
def test_the_health_of_a_model(levels: Any, state: str) -> None:
    assert model_state(levels, Graph([Record(G, (A,))])) == state


users = st.sampled_from([*map(user, "abc"), *map(email, ("a@y", "b@y", "c@z"))])
groups = st.sampled_from([*map(group, "ghk"), EVERYBODY, Who(EMAIL, "GROUP", "*@y")])
anybody = users | groups
some = st.lists(anybody, max_size=3).map(tuple)
records = st.builds(Record, anybody, some, st.lists(groups, max_size=2).map(tuple), some, st.booleans())
sets = st.builds(PermissionSet, st.booleans(), some.map(frozenset), some.map(frozenset))
models = st.lists(st.lists(sets, max_size=3).map(tuple), max_size=3).map(tuple)


@settings(max_examples=100, deadline=None)
@given(st.lists(records, max_size=6, unique_by=lambda record: record.who), models)
def test_up_from_a_person_and_down_from_the_groups_agree(known: list[Record], levels: Any) -> None:
    graph = Graph(known)
    found = viewers(levels, graph)
    anonymous = decide(levels, graph.anonymous)
    for who in {*graph.identities(), *map(user, "abc")}:
        if who.type == "USER":
            assert decide(levels, graph.of(who)) is found.get(who, anonymous)
