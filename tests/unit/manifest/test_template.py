from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifest.template import (
    Placeholder,
    compile_template,
    compile_tree,
    lookup,
    render_tree,
    substitute,
    to_text,
    unknown_field,
)
from reconciler.problems import ManifestError, Problem

VARIABLES = {"base": "https://example.com", "brace": "{path} ${base}", "region-1.x": "us", "empty": ""}
FIELDS: dict[str, Any] = {
    "path": "content/A b#1.html",
    "size": 7,
    "whole": 7.0,
    "half": 0.5,
    "yes": True,
    "tags": ["a", "b"],
    "none": None,
    "brace": "{path}",
    "First Name": "Alice",
    "it's": "x",
    "html": {"title": "T", "meta": {"og:title": "Og", "dc.date": "2017"}},
    "front": {"a": {"b": "deep"}, "a.c": "dotted"},
}


def render(text: str) -> Any:
    return compile_template(text, VARIABLES).render(FIELDS)


def problem(text: str) -> Problem:
    with pytest.raises(ManifestError) as caught:
        render(text)
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${base}/{path}", "https://example.com/content/A b#1.html"),
        ("{size}", 7),
        ("{whole}", 7.0),
        ("{yes}", True),
        ("{tags}", ["a", "b"]),
        ("{front.a}", {"b": "deep"}),
        ("{none}", None),
        ("{gone}", None),
        ("x{none}", None),
        ("{size} {whole} {half} {yes}", "7 7 0.5 true"),
        ("{html.title}{html.meta.og:title}{html.meta.dc.date}", "TOg2017"),
        ("{front.a.b} {front.a.c}", "deep dotted"),
        ("{First Name}{ path }", "Alicecontent/A b#1.html"),
        ("{it's}", "x"),
        ("{{path}} {{{size}}}", "{path} {7}"),
        ("$${base} $${ $ $$ $x $$", "${base} ${ $ $$ $x $$"),
        ("${brace}{brace}", "{path} ${base}{path}"),
        ("${region-1.x}${empty}", "us"),
        ("${empty}", ""),
        ("{path|stem}", "A b#1"),
        ("{path|basename|lower}", "a b#1.html"),
        ("{path|dirname}", "content"),
        ("{path|urlencode}", "content/A%20b%231.html"),
        ("{size|lower}", "7"),
        ("{none|default:'x}y|z'}", "x}y|z"),
        ("{gone|default:''}", ""),
        ("{gone|default:'A B'|lower}/{ gone | default : 'z' }", "a b/z"),
        ("{size|default:'x'}", 7),
    ],
)
def test_rendering(text: str, value: Any) -> None:
    rendered = render(text)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        ("{", "bad-template", 'the template "{" holds a single `{`'),
        ("a}", "bad-template", 'the template "a}" holds a single `}`'),
        ("{path", "bad-template", 'the template "{path" holds a single `{`'),
        ("{}", "bad-template", 'the template "{}" holds a single `{`'),
        ("{ }", "bad-template", 'the template "{ }" holds a placeholder without a name'),
        ('{"a": 1}x{', "bad-template", 'the template "{"a": 1}x{" holds a single `{`'),
        ("${base", "bad-template", 'the template "${base" holds `${` without its `}`'),
        ("${bsae}", "undefined-variable", 'the variable "bsae" is not defined'),
        ("${}", "undefined-variable", 'the variable "" is not defined'),
        ("{path|upper}", "bad-template", 'the template "{path|upper}" holds the filter `|upper`, which does not exist'),
        ("{path|}", "bad-template", 'the template "{path|}" holds the filter `|`, which does not exist'),
        (
            "{path|default}",
            "bad-template",
            'the template "{path|default}" holds the filter `|default`, which does not exist',
        ),
        (
            "{path|stem:'x'}",
            "bad-template",
            "the template \"{path|stem:'x'}\" holds the filter `|stem:'x'`, which does not exist",
        ),
        ("a {tags}", "not-text", 'the field "tags" is a list, which has no place inside a text'),
        ("a {front.a}", "not-text", 'the field "front.a" is a mapping, which has no place inside a text'),
        ("{tags|lower}", "not-text", 'the field "tags" is a list, which has no place inside a text'),
    ],
)
def test_errors(text: str, code: str, what: str) -> None:
    found = problem(text)
    assert (found.code, found.what) == (code, what)
    assert found.why
    assert found.fix


def test_errors_name_what_was_meant() -> None:
    assert problem("${bas}").fix == 'did you mean "base"?'
    assert problem("{path|steem}").fix == 'did you mean "stem"?'
    assert unknown_field("html.titel", ["path", "html.title"]) == Problem(
        "unknown-field",
        'there is no field "html.titel"',
        "the fields here are: html.title, path.",
        'did you mean "html.title"?',
    )
    assert unknown_field("q", ["b", "a"], optional=True).fix == (
        "name one of them, or write `{q|default:''}` if it may be absent."
    )


def test_what_has_no_exact_text_is_refused() -> None:
    for value in (float("nan"), float("inf"), 2**70, 10**5000, object()):
        with pytest.raises(ManifestError) as caught:
            to_text(value, "x")
        assert caught.value.problems[0].code == "not-text"


def test_floats_have_one_text() -> None:
    assert [to_text(value, "x") for value in (-0.0, 1e15, 1e300, 0.1)] == ["0", "1000000000000000", "1e+300", "0.1"]


def test_substitute_fills_in_variables_only() -> None:
    text = "no placeholder {path}"
    assert substitute(text, {}) is text
    assert substitute("${base}/{path} $${base} $x {{", VARIABLES) == "https://example.com/{path} ${base} $x {{"
    with pytest.raises(ManifestError) as caught:
        substitute("${bse}", VARIABLES)
    assert caught.value.problems[0].fix == 'did you mean "base"?'
    with pytest.raises(ManifestError):
        substitute("${base", VARIABLES)


@given(st.text(alphabet="${}|'ab:.", max_size=30))
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        value = compile_template(text, {"a": "1"}).render({"b": "2"})
    except ManifestError as error:
        assert error.problems[0].code in {"bad-template", "undefined-variable"}
    else:
        assert value is None or isinstance(value, str)


@given(st.text())
def test_an_escaped_text_means_itself(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}").replace("${", "$ {")
    assert compile_template(escaped, {}).render({}) == text.replace("${", "$ {")


def test_hostile_templates_are_compiled_in_time() -> None:
    for piece in ("{a|", "{a|'", "${", "$${", "{{", "{a|lower", "{a|default:''", "|", "'", "{a "):
        with pytest.raises(ManifestError):
            compile_template(piece * 3000 + "{", {})


def test_lookup_prefers_the_longest_way_that_exists() -> None:
    fields = {"a": {"b.c": 1, "b": {"c": 2, "d": 3}}, "a.b": 4, "x": "text"}
    assert [lookup(fields, name) for name in ("a.b", "a.b.c", "a.b.d", "x.y", "q", "a.")] == [4, 1, 3, None, None, None]


def test_trees_keep_shape_and_types() -> None:
    entry = {
        "uri": "${base}/{path}",
        "title": "{none}",
        "body": {"text": "{gone}"},
        "metadata": {"tags": "{tags}", "n": "{size}", "gone": "{none}", "list": ["{none}", "{size}", "c"], "k": 1},
        "permissions": "alpha",
        "empty": {},
        "null": None,
        "protect": True,
    }
    tree = compile_tree(entry, VARIABLES)
    assert tree.problems == ()
    assert tree.placeholders[:2] == ((("uri",), Placeholder("path")), (("title",), Placeholder("none")))
    assert render_tree(tree.node, FIELDS) == {
        "uri": "https://example.com/content/A b#1.html",
        "metadata": {"tags": ["a", "b"], "n": 7, "list": [7, "c"], "k": 1},
        "permissions": "alpha",
        "empty": {},
        "protect": True,
    }


def test_trees_gather_problems_with_their_path() -> None:
    tree = compile_tree({"a": ["x", "{"], "b": {"c": "${no}"}}, {})
    assert [(path, found.code) for path, found in tree.problems] == [
        (("a", 1), "bad-template"),
        (("b", "c"), "undefined-variable"),
    ]


def test_trees_refuse_what_cannot_be_pushed() -> None:
    deep: Any = "x"
    for _ in range(2000):
        deep = [deep]
    tree = compile_tree("{v}", {})
    for value in (2**64, -(2**63) - 1, float("inf"), float("nan"), [float("nan")], {"a": 2**70}, deep):
        with pytest.raises(ManifestError) as caught:
            render_tree(tree.node, {"v": value})
        assert caught.value.problems[0].code == "bad-value"
    assert render_tree(tree.node, {"v": [2**64 - 1, None, {"a": None, "b": -(2**63)}]}) == [2**64 - 1, {"b": -(2**63)}]
