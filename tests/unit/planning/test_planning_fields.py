"""What an organization's fields and mappings make of metadata: values in, problems out."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.model.metadata import FieldType
from reconciler.planning.fields import (
    Field,
    Fields,
    Key,
    Rule,
    fields_to_create,
    problems_of,
    read_fields,
    read_rules,
)
from reconciler.problems import Problem, Severity

L, L64, D, T, S, M = FieldType


def known(*fields: Field, rules: tuple[Rule, ...] = ()) -> Fields:
    return Fields({field.name: field for field in fields}, {"handbook": rules})


def codes(kind: FieldType, *fields: Field, key: str = "k", rules: tuple[Rule, ...] = ()) -> list[str]:
    found = problems_of(Key("handbook", key, kind), known(*fields, rules=rules), create=False)
    return [problem.code for problem in found]


# -- documents -------------------------------------------------------------------------------------


def test_fields_are_read_from_their_models() -> None:
    documents: list[dict[str, Any]] = [
        {"name": "Price", "type": "double", "includeInResults": False},
        {"name": "tags", "type": "STRING", "multiValueFacet": True, "more": 1},
        {"name": 1, "type": "STRING"},
        {"name": "n"},
    ]
    assert read_fields(documents) == {
        "price": Field("price", "DOUBLE", shown=False),
        "tags": Field("tags", "STRING", multi=True),
    }


def test_rules_are_read_from_a_sources_mappings() -> None:
    document = {
        "common": {"rules": [{"id": "1", "field": "Price", "content": ["%[cost]", "0"]}, {"field": 2}, 3]},
        "types": [{"type": "Page", "rules": [{"field": "kind", "content": "%[what]"}]}, 4, {"rules": 5}],
    }
    assert read_rules(document) == (Rule("price", ("%[cost]", "0")), Rule("kind", ("%[what]",), common=False))


@pytest.mark.parametrize("document", [{}, {"common": 1, "types": 2}, {"common": {"rules": {}}, "types": [[]]}])
def test_odd_mappings_are_none(document: Any) -> None:
    assert read_rules(document) == ()


# -- what takes a key ------------------------------------------------------------------------------

F, G = Field("k", "STRING"), Field("g", "STRING")


@pytest.mark.parametrize(
    ("content", "mentions", "only"),
    [
        ("%[k]", True, True),
        (" %[K] ", True, True),
        ("%[k:crawler]", True, True),
        ("%[a] by %[k]", True, False),
        ("%[kk]", False, False),
        ("k", False, False),
    ],
)
def test_a_rule_mentions_keys(content: str, mentions: bool, only: bool) -> None:
    rule = Rule("g", (content,))
    assert (rule.mentions("k"), rule.is_only("k")) == (mentions, only)
    assert not Rule("g", (content, "%[z]")).is_only("k")
    assert not Rule("g", (content,), common=False).is_only("k")


def test_a_key_goes_to_the_field_of_its_name_and_where_rules_lead() -> None:
    both = known(F, G, rules=(Rule("g", ("%[k] x",)), Rule("absent", ("%[k]",))))
    assert both.takers("handbook", "k") == (G, F)
    assert both.takers("blog", "k") == (F,)
    assert both.takers("blog", "z") == ()
    assert (both.vanishes("handbook", "k"), both.vanishes("blog", "g"), both.vanishes("blog", "z")) == (
        False,
        False,
        True,
    )


def test_a_rule_to_a_field_that_does_not_exist_takes_nothing() -> None:
    assert known(rules=(Rule("absent", ("%[k]",)),)).vanishes("handbook", "k")


def test_well_known_keys_never_vanish() -> None:
    assert not known().vanishes("handbook", "author")
    assert codes(S, key="author") == []
    assert codes(S, Field("date", "DATE"), key="date") == ["field-type-mismatch"]


@pytest.mark.parametrize(
    ("fields", "rules", "expected"),
    [
        ((F,), (), "k"),
        ((F, G), (Rule("g", ("%[k]",)),), "g"),
        ((F,), (Rule("k", ("%[other]",)),), None),
        ((F,), (Rule("k", ("%[k]",)),), "k"),
        ((F,), (Rule("k", ("%[k]",)), Rule("k", ("%[z]",), common=False)), None),
        ((Field("k", "STRING", shown=False),), (), None),
        ((), (), None),
    ],
)
def test_a_field_holds_a_key_only_for_sure(fields: Any, rules: Any, expected: str | None) -> None:
    field = known(*fields, rules=rules).holder("handbook", "k")
    assert (field.name if field else None) == expected


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fitting"),
    [
        (L, "LONG LONG_64 DOUBLE STRING"),
        (L64, "LONG_64 DOUBLE STRING"),
        (D, "DOUBLE STRING"),
        (T, "DATE STRING"),
        (S, "STRING"),
        (M, "VECTOR"),
    ],
)
def test_which_field_holds_which_type(kind: FieldType, fitting: str) -> None:
    for name in ("LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR"):
        if (kind, name) == (M, "STRING"):
            continue
        assert codes(kind, Field("k", name)) == ([] if name in fitting.split() else ["field-type-mismatch"])


def test_several_values_want_a_multi_value_facet() -> None:
    assert codes(M, Field("k", "STRING")) == ["field-not-multi-value"]
    assert codes(M, Field("k", "STRING", multi=True)) == []
    assert codes(M, Field("language", "STRING"), key="language") == []


def test_an_unknown_type_proves_nothing() -> None:
    assert codes(S, Field("k", "QUATERNION")) == []


# -- texts -----------------------------------------------------------------------------------------


def problem(kind: FieldType, *fields: Field, create: bool = False) -> Problem:
    [found] = problems_of(Key("handbook", "k", kind, "item/handbook/x:1"), known(*fields), create=create)
    return found


def test_what_is_told_of_a_key_that_nothing_takes() -> None:
    assert problem(S) == Problem(
        "metadata-unmapped",
        'no field and no mapping takes metadata "k" of source "handbook", such as that of item/handbook/x:1',
        why="it is accepted with the item and then vanishes: nobody can search for it or see it.",
        fix='add a field "k" of type STRING, or write `fields: create` in reconciler.yaml; '
        "items pushed before that must be pushed again.",
        severity=Severity.WARNING,
    )
    made = problem(M, create=True)
    assert (made.code, made.severity) == ("field-to-create", Severity.NOTE)
    assert made.what == (
        'apply will create the field "k" of type STRING, multi-value for metadata of source "handbook", '
        "such as that of item/handbook/x:1"
    )


def test_what_is_told_of_a_field_that_does_not_fit() -> None:
    found = problem(D, Field("k", "DATE"))
    assert (found.code, found.severity) == ("field-type-mismatch", Severity.WARNING)
    assert found.what == (
        'metadata "k" of source "handbook" is DOUBLE, the field "k" that takes it is DATE, '
        "such as that of item/handbook/x:1"
    )
    assert problem(M, Field("k", "STRING")).what == (
        'metadata "k" of source "handbook" has several values, the field "k" that takes it is no multi-value facet, '
        "such as that of item/handbook/x:1"
    )


# -- creating --------------------------------------------------------------------------------------


def test_a_missing_field_takes_the_values_of_all_sources() -> None:
    keys = [
        Key("handbook", "n", L),
        Key("blog", "n", D),
        Key("handbook", "author", S),
        Key("handbook", "k", S),
        Key("handbook", "a", T),
    ]
    assert fields_to_create(keys, known(F)) == {"a": T, "n": D}
    assert list(fields_to_create(keys, known(F))) == ["a", "n"]


def test_a_key_that_one_source_maps_needs_a_field_for_the_other() -> None:
    keys = [Key("handbook", "k", L), Key("blog", "k", M)]
    assert fields_to_create(keys, known(G, rules=(Rule("g", ("%[k]",)),))) == {"k": M}
