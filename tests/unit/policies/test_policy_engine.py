"""The engine itself: every kind of value there and back, and bounds that hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.model.states import StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import Plan
from reconciler.policies import document, engine
from reconciler.policies.document import Occasion, policy_input
from reconciler.policies.engine import evaluate, evaluate_each
from reconciler.policies.rego import Module, read_module
from reconciler.problems import ManifestError
from tests.builders import item


def modules(*texts: str) -> list[Module]:
    read = [read_module(f"policies/{number}.rego", text) for number, text in enumerate(texts)]
    assert not any(problems for _, problems in read)
    return [module for module, _ in read]


def answer(text: str, asked: Any = None, data: Any = None) -> tuple[Any, ...]:
    known, input_ = (json.dumps(value or {}, ensure_ascii=False).encode() for value in (data, asked))
    denied, _ = evaluate(modules(text), known, input_)
    return denied.values


def problem(text: str, asked: Any = None, **terms: int) -> tuple[str, str]:
    with pytest.raises(ManifestError) as error:
        evaluate(modules(text), b"{}", json.dumps(asked or {}).encode(), **terms)
    return error.value.problems[0].code, error.value.problems[0].what


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=5)
@given(st.lists(VALUES, min_size=30, max_size=60))
def test_every_value_comes_back_as_it_went_in(values: list[Any]) -> None:
    """One process for many values: each takes a third of a second."""
    inputs = [(json.dumps({"value": value}, ensure_ascii=False).encode(), None) for value in values]
    asked = evaluate_each(modules("package a\n\ndeny := [input.value]\n"), b"{}", inputs)
    assert [denied.values for denied, _ in asked] == [([value],) for value in values]


@pytest.mark.parametrize(
    "comparison",
    [
        *('input.a == "é\\"\\\\x"', "input.a == data.known.a", 'startswith(input.a, "é\\"")', 'input.b == "\\n"'),
        *('contains(input.a, "\\"")', 'input.a in {"é\\"\\\\x"}', "input[`é`] == 1"),
    ],
)
def test_texts_are_compared_as_they_are(comparison: str) -> None:
    text = f"package a\n\ndeny := {comparison}\n"
    assert answer(text, {"a": 'é"\\x', "b": "\n", "é": 1}, {"known": {"a": 'é"\\x'}}) == (True,)


def test_an_undefined_verdict_is_none() -> None:
    assert answer("package a\n\ndeny := input.nothing\n") == ()
    assert answer('package a\n\ndeny contains "x" if input.nothing\n') == ([],)


def test_verdicts_of_a_package_in_several_files_are_asked_once() -> None:
    found = evaluate(
        modules('package a\n\ndeny contains "x" if true\n', 'package a\n\ndeny contains "y" if true\n'), b"{}", b"{}"
    )
    assert [(asked.module.file, asked.rule, asked.values) for asked in found] == [
        ("policies/0.rego", "deny", (["x", "y"],)),
        ("policies/0.rego", "warn", ()),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'package a\n\n   deny contains "x" if true\n',
        'package a; deny contains "x" if true\n',
        'package a\n\ny if { true }; deny contains "x" if true\n',
        'package a\n\ny := 1 deny contains "x" if true\n',
        '\n# package b\n\tpackage a\n\ndeny["x"] { true }\n',
        'package a\n\ny := `\npackage b\n`\n\ndeny contains "x" if true\n',
    ],
)
def test_a_denial_counts_however_it_is_laid_out(text: str) -> None:
    try:
        values = answer(text)
    except ManifestError:
        return  # what the engine does not read stops the plan as well
    assert values in ((["x"],), ({"x": True},))


def test_what_a_policy_prints_goes_nowhere() -> None:
    assert answer('package a\n\ndeny contains "x" if print("{\\"results\\": []}")\n') == (["x"],)


def test_a_policy_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is refused by name; were it not, it would find nothing."""
    monkeypatch.setenv("COVEO_API_KEY", "xx-canary")
    module = Module("a.rego", "package a\n\ndeny := opa.runtime().env\n", "a", (("deny", 3),))
    denied, _ = evaluate([module], b"{}", b"{}")
    assert denied.values[0].keys() <= {"LC_CTYPE"}


@pytest.mark.parametrize(
    "text",
    [
        'x := "a"',
        *(
            'deny contains "x" if 1 / 0 == 1',
            "deny contains x if { x := to_number(input) }",
            'deny := 1\n\ndeny := "b"',
        ),
        *("f(x) := f(x + 1)\n\ndeny contains f(1) if true", "deny contains http_send({}) if true"),
        *(
            "deny contains x if { x := input.a.b.c[_",
            "deny contains x if",
            "}{",
            "\0",
            "deny contains \U0001f600 if true",
        ),
    ],
)
def test_a_policy_that_is_wrong_never_allows_anything(text: str) -> None:
    module, _ = read_module("a.rego", f"package a\n\n{text}\n")
    try:
        found = evaluate([module], b"{}", b"{}")
    except ManifestError as error:
        assert {problem.code for problem in error.problems} <= {"policy-syntax", "policy-error", "policy-crashed"}
    else:
        assert [asked.values for asked in found] == [
            (),
            (),
        ]  # it has no verdict: `read_policies` refuses a folder without any


def test_a_policy_that_does_not_end_is_ended() -> None:
    text = "package a\n\ndeny contains 1 if regex.match(`^(a+)+$`, input.a)\n"
    assert problem(text, {"a": "a" * 40 + "b"}, seconds=1)[0] in ("policy-timeout", "policy-crashed")


def test_a_policy_that_fills_the_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MEMORY", 150 << 20)
    pairs = "[1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000)]"
    text = f'package a\n\ndeny contains "x" if count({pairs}) > 0\n'
    assert problem(text)[0] == "policy-memory"


def test_a_plan_that_is_too_large_is_refused_before_it_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_INPUT", 5_000)
    created = [item(f"file:///{number}") for number in range(100)]
    changes = tuple(Change(Address(each.address), Action.CREATE, "new", after=each) for each in created)
    with pytest.raises(ManifestError) as error:
        policy_input(Plan("prod", Target("org"), StateBase("", 0), changes=changes), Occasion("plan"))
    assert error.value.problems[0].code == "policy-too-large"
