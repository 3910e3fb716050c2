from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.manifest.read import Doubt, needs_exact, read_documents, read_fast


@pytest.mark.parametrize(
    "text",
    [
        "a: 1_000",
        "a: -1_0.5",
        "1_000",
        "-_1",
        "[1_0]",
        "a: " + "1" * 30 + "_0",
        "a: 0b11",
        "{a: 0X1f}",
        "a: -0o7",
        "- 0x1_f",
        "a: !!str 1",
        "- !t\n  a: 1",
        "!t a",
        "a: &x !t b",
        "[!t a]",
        "a:   !t b",
        "<<: {a: 1}",
        "a: 1\n%b",
        "%YAML 1.1\n---\na",
        "a:\n\tb: 1",
        "a:\tb",
        "- &a\tb",
        "a: b\t# c",
        "a: 1\rb: 2",
        "a: \x01",
        "a: b\x7f",
        "a: b\x85c",
        "a: b\x9f",
        "a: b\u2028c",
        "\ufeffa: b",
        "a: \uffff",
        "a: |",
        "a: >-  # c\n  \n\n",
        "a: &x [*x]",
        "a: &x\n  b: *x",
        "&x\na: *x",
        "- " * 5000 + "a",
        " " * 300 + "a",
    ],
)
def test_the_gate_sends_what_parsers_differ_on_the_exact_way(text: str) -> None:
    assert needs_exact(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "- uri: https://example.com/a_1?b=0x1#2\n  title: What now! R & D *all*\n",
        "a: user_1, 2024_01_01_report, v1_2\n",
        "a: 12:30:45\nb: 2024-01-01\nc: 017\nd: no\n",
        "a: |\n  x\n  y\n\n",
        "a: x\ty\n",
        "é: あ 😀 “quoted” \u00a0\n",
        "a: 1\r\nb: 2\r\n",
        "a: &x 1\n",
        "a: &x\n  b: 1\nc: *x\n",
        "- &x a\n- *x\n",
        "",
    ],
)
def test_the_gate_lets_plain_texts_pass(text: str) -> None:
    assert not needs_exact(text.encode())


@pytest.mark.parametrize(
    "text", ["1: a", "~: a", "a: .inf", "a: 1e400", "a: 18446744073709551616", "a: [b", "{k: | t}"]
)
def test_values_that_differ_are_doubted_after_parsing(text: str) -> None:
    with pytest.raises(Doubt):
        read_fast(text.encode())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("# only\n", []),
        ("\n---\n", []),
        ("a: 1", [{"a": 1}]),
        ("\ufeffa: 1\n", [{"a": 1}]),
        ("---\na: no\n", [{"a": "no"}]),
        ("# c\n--- # d\na: 1\n", [{"a": 1}]),
        ("a: 1\n---\nb: 2\n...\n---\n# none\n", [{"a": 1}, {"b": 2}]),
        ("- a: 1\n- b: 2\n", [[{"a": 1}, {"b": 2}]]),
        ("a: 1_000\nb: 0b11\n", [{"a": "1_000", "b": "0b11"}]),
        ("a: 2024-01-01T00:00:00Z\n", [{"a": "2024-01-01T00:00:00Z"}]),
        ("a: [b,\nc]\n", [{"a": ["b", "c"]}]),
        ("a: |\n", [{"a": ""}]),
        ("a: |\n  x", [{"a": "x\n"}]),
        ("a: null\n", [{"a": None}]),
    ],
)
def test_documents(text: str, values: list[object]) -> None:
    assert read_documents(text.encode(), "f") == (values, [])


def test_problems_are_placed_from_the_line_of_the_piece() -> None:
    _, problems = read_documents(b"a: 1\na: 2\n", "f.yaml", line=7)
    assert [(problem.code, str(problem.position)) for problem in problems] == [("duplicate-key", "f.yaml:8:1")]


def test_importing_the_fast_way_imports_no_slow_library() -> None:
    code = (
        "import sys, reconciler.manifest.read, reconciler.manifest.split;"
        "print([name for name in ('ruamel', 'ruamel.yaml', 'pydantic') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert result.stdout == "[]\n"
