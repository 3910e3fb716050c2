from __future__ import annotations

import pytest

from reconciler.policies.rego import line_with, position_of_range, read_module
from reconciler.problems import Position


def refused(text: str) -> list[tuple[str, Position | None]]:
    return [(problem.code, problem.position) for problem in read_module("p.rego", f"package a\n{text}\n")[1]]


def test_a_module_tells_its_package_and_its_rules() -> None:
    text = """\
# package wrong
package reconciler.access # not "this"

import data.x

default allow := false

deny contains "x" if {
	input.a
}
"""
    module, problems = read_module("p.rego", text)
    assert (module.package, problems) == ("reconciler.access", [])
    assert module.rules == (("allow", 6), ("deny", 8))
    assert (module.line("deny"), module.line("warn")) == (8, 1)


@pytest.mark.parametrize(
    "call",
    [
        *(
            "time.now_ns()",
            "time . now_ns()",
            'time["now_ns"]()',
            "time[`now_ns`]()",
            "opa.runtime()",
            "rand.intn(`a`, 3)",
        ),
        *('uuid.rfc4122("x")', "http.send({})", 'net.lookup_ip_addr("x")'),
    ],
)
def test_what_depends_on_the_moment_or_the_machine_is_refused_at_its_place(call: str) -> None:
    assert refused(f"x := {call}") == [("policy-forbidden-call", Position("p.rego", 2, 6, len(call.partition("(")[0])))]


def test_the_time_may_be_reckoned_with() -> None:
    assert refused("x := time.weekday(time.parse_rfc3339_ns(input.as_of))") == []


@pytest.mark.parametrize("text", ['x := "time.now_ns()"', "# http.send", "x := `opa.runtime`", "my_http.send_it := 1"])
def test_a_name_in_prose_is_no_call(text: str) -> None:
    assert refused(text) == []


def test_replacing_the_input_is_refused() -> None:
    assert refused('t if { "é"; count(deny) == 1 with input as {"a": 1} }') == [
        ("policy-forbidden-call", Position("p.rego", 2, 30, 4))
    ]
    assert refused('x := "with input as"') == []


@pytest.mark.parametrize(
    "text", ["deny contains 1 if true", 'package a["b"]', "packages a", "# package a", "package 1"]
)
def test_a_module_without_a_plain_package_is_refused(text: str) -> None:
    assert [problem.code for problem in read_module("p.rego", text)[1]] == ["policy-syntax"]


def test_a_nul_would_end_the_text_for_the_engine() -> None:
    assert refused("x := 1\0\ndeny contains 1 if true") == [("policy-syntax", Position("p.rego", 2, 7, 1))]


def test_a_place_is_counted_in_characters_though_the_engine_counts_bytes() -> None:
    assert position_of_range("é\nüx := ?", "p.rego", len("é\nüx := ".encode()), 1) == Position("p.rego", 2, 7, 1)


def test_the_first_line_of_code_with_a_name() -> None:
    assert line_with('# foo\nx := "foo"\ny := foo(1)\n', "foo") == 3
    assert line_with("x := my.foo\n", "foo") is None
