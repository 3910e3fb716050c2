"""Problems as workflow commands: one line each, which no name can end or begin."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from rendered_plans import HOSTILE

from reconciler.problems import Position, Problem, Severity
from reconciler.rendering.annotations import render_annotations
from reconciler.rendering.values import visible

COMMAND = re.compile(r"::(error|warning|notice) ((?:[A-Za-z]+=[^,:\n\r]*,?)+)::([^\n\r]*)")
TEXTS = st.one_of(st.text(), st.text(alphabet="%:,\n\r0123456789ABCDEF=: "), st.just(HOSTILE))


def unescaped(text: str) -> str:
    """Undo what the format says (https://docs.github.com/actions/reference/workflow-commands), last rule first."""
    for code, character in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_a_problem_is_a_command_at_its_line() -> None:
    problem = Problem("odd", "it is odd", "why not", "do\n    this", Position("a,b.yaml", 3, 5, 2))
    assert render_annotations([problem], folder="config/") == (
        "::error file=config/a%2Cb.yaml,line=3,col=5,endColumn=7,title=odd::it is odd%0Awhy: why not%0Afix: do this\n"
    )


def test_the_worst_comes_first_and_what_has_no_line_says_where_it_is() -> None:
    problems = [
        Problem("c", "note", position=Position("a.yaml", 1, 1), severity=Severity.NOTE),
        Problem("b", "warn", position=Position("b.yaml", 1, 1), severity=Severity.WARNING),
        Problem("a", "stop", where="state (serial 3)"),
    ]
    lines = render_annotations(problems).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    assert lines[0] == "::error title=a::state (serial 3): stop"
    assert render_annotations([]) == ""


@given(what=TEXTS, why=TEXTS, file=TEXTS)
def test_any_name_stays_in_its_place(what: str, why: str, file: str) -> None:
    told = render_annotations([Problem("code", what, why, position=Position(file, 1, 2))])
    match = COMMAND.fullmatch(told.removesuffix("\n"))
    assert match is not None
    properties = dict(part.split("=", 1) for part in match[2].split(","))
    assert unescaped(properties["file"]) == visible(file).strip("/") or "/" in file
    assert properties["line"] == "1"
    assert unescaped(match[3]).split("\n")[0] == visible(what)
