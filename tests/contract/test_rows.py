"""The list of rows is whole, and each row has a test that names it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import REPOSITORY
from tests.contract.rows import ROWS, RULES, TABLES

FOLDER = Path(__file__).parent
DOCUMENT = REPOSITORY.parent / "shared" / "push-api.md"


def named() -> Counter[str]:
    """Return the rows that tests name in `pytest.mark.row`, on the test itself or on one of its parameters."""
    found: Counter[str] = Counter()
    for path in sorted(FOLDER.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.update(row for decorator in node.decorator_list for row in _marks(decorator))
    return found


def _marks(decorator: ast.expr) -> Iterator[str]:
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
            (row,) = node.args
            assert isinstance(row, ast.Constant) and isinstance(row.value, str)
            yield row.value


def test_rows_have_ids_of_their_own() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_row_is_named_by_a_test_and_no_other() -> None:
    rows = {row.id for row in ROWS}
    assert rows - named().keys() == set(), "rows without a test"
    assert named().keys() - rows == set(), "tests of rows that are not there"


def _plain(text: str) -> str:
    return re.sub(r"[`*]", "", text.replace("\\|", "|")).strip()


def _sections() -> Iterator[tuple[str, str, str]]:
    """Yield each line of the document with the number of its section and the line after it."""
    section = ""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if heading := re.match(r"#{2,3} (\d+(?:\.\d+)?)\.? ", line):
            section = heading.group(1)
        yield section, line, after


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="push-api.md is not beside the checkout")
def test_the_tables_of_the_document_are_listed() -> None:
    written = []
    for section, line, after in _sections():
        is_row = line.startswith("|") and not re.match(r"\|[-| ]+\|$", line) and not re.match(r"\|[-| ]+\|$", after)
        if is_row and section.partition(".")[0] in ("2", "4", "6"):
            first, second = (_plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:3])
            written.append((section, f"{first} {second}" if section == "6" else first))
    assert written == [(row.section, row.words) for row in TABLES]


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="push-api.md is not beside the checkout")
def test_the_rules_of_the_document_are_listed() -> None:
    written = [
        (section, _plain(line.removeprefix("- ")))
        for section, line, _ in _sections()
        if section in ("4.3", "4.4", "4.5") and line.startswith("- ")
    ]
    assert len(written) == len(RULES)
    for (section, text), row in zip(written, RULES, strict=True):
        assert section == row.section
        assert text.startswith(row.words), text
