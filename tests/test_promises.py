"""docs/promises.md names a test for each promise, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
ROWS = {row[1]: row[2] for row in re.finditer(r"^\| (P\d+) \|(.*)\|$", PAGE, re.MULTILINE)}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_has_a_row() -> None:
    assert list(ROWS) == [f"P{number}" for number in range(1, 26)]


@pytest.mark.parametrize("promise", ROWS)
def test_the_tests_that_hold_it_exist(promise: str) -> None:
    named = NAMED.findall(ROWS[promise])
    assert named and len(named) == ROWS[promise].count("::")
    missing = [f"{file}::{name}" for file, name in named if name not in functions_in(ROOT / file)]
    assert missing == []
