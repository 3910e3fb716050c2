"""What formatting keeps: the meaning of every text, its comments, and itself; or it refuses.

The texts are those of `test_yaml_agreement`, made to be read differently, texts made of random values and comments,
and every YAML file of this repository.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_yaml_agreement import manifest_like, nasty

from reconciler.manifest.formatting import Refused, format_yaml
from reconciler.manifest.read import read_documents
from tests.builders import REPOSITORY

SOME = settings(derandomize=True, deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
FILES = [
    path
    for name in ("manifests", "tests", "docs", ".github")
    for path in sorted((REPOSITORY / name).rglob("*.y*ml"))
    if "node_modules" not in path.parts and ".reconciler" not in path.parts
]


def formatted(text: str) -> str | None:
    """Return the formatted text after holding it to the laws; None where it is refused."""
    try:
        made = format_yaml(text.encode(), "a.yaml")
    except Refused as refused:
        assert refused.problems
        return None
    assert read_documents(made, "a.yaml") == read_documents(text.encode(), "a.yaml")
    assert format_yaml(made, "a.yaml") == made
    return made.decode()


@SOME
@given(nasty | manifest_like)
def test_a_text_on_which_parsers_differ_is_the_same_or_refused(text: str) -> None:
    formatted(text)


names = st.text("abcxyz_", min_size=1, max_size=6)
scalars = st.one_of(
    names,
    st.integers(-5, 10**6).map(str),
    st.sampled_from(
        ["~", "null", "true", "no", "1_0", "0x1F", "2024-01-01", "1.50", "'it''s'", '"a\\tb"', "''", '"x: y"', "'#'"]
    ),
    st.text("ab: ,[]{}#&*!|>'\"%@`-?é\\", max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
flows = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda entries: f"[{',  '.join(entries)}]"),
        st.dictionaries(names, inner, max_size=3).map(
            lambda entries: "{" + ", ".join(f"{key}:   {value}" for key, value in entries.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@st.composite
def blocks(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Return the lines of a block, with comments, blank lines and indentation as people write them."""
    indent = draw(st.sampled_from([1, 2, 4]))
    lines: list[str] = []
    remark = st.sampled_from(["", "", "  # why", "     # x: y"])
    between = st.lists(st.sampled_from(["", "# a comment", "#: odd", "  "]), max_size=2)
    is_list = draw(st.booleans())
    for number in range(draw(st.integers(1, 3))):
        lines += draw(between)
        head = "-" if is_list else f"key{number}:"
        kind = draw(st.sampled_from(["scalar", "scalar", "flow", "block", "literal"]))
        if kind == "block" and depth < 3:
            below = draw(blocks(depth=depth + 1))
            lines.append(head + draw(remark))
            lines += [" " * indent + line if line.strip() else line for line in below]
        elif kind == "literal":
            style = draw(st.sampled_from(["|", "|-", "|+", ">", ">-"]))
            lines += [f"{head} {style}", "    first", "      deeper", "", "    # no comment"]
        else:
            lines.append(f"{head}   {draw(scalars if kind == 'scalar' else flows)}{draw(remark)}")
    return lines


@SOME
@given(blocks())
def test_what_people_write_is_formatted_and_keeps_its_meaning_and_comments(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    made = formatted(text)
    if made is None:
        # Refusals are for odd texts; that they are few is held below.
        return
    assert made.count("# a comment") == text.count("# a comment")
    assert made.count("# why") == text.count("# why")
    assert "\n\n\n\n" not in made


def test_most_of_what_people_write_is_not_refused() -> None:
    refused = []

    @settings(derandomize=True, database=None, deadline=None, max_examples=200)
    @given(blocks())
    def look(lines: list[str]) -> None:
        refused.append(formatted("\n".join(lines) + "\n") is None)

    look()
    assert sum(refused) <= len(refused) * 0.2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_file_here_is_given_back_with_the_same_meaning(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if read_documents(text.encode(), path.name)[1]:
        with pytest.raises(Refused):
            format_yaml(text.encode(), path.name)
        return
    assert formatted(text) is not None


def test_an_anchor_that_is_used_twice_is_no_matter() -> None:
    assert formatted("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == "a: &x 1\nb: *x\nc: &x 2\nd: *x\n"


def test_the_worked_manifests_are_formatted() -> None:
    for path in sorted((REPOSITORY / "manifests").glob("*.yaml")):
        assert format_yaml(path.read_bytes(), path.name) == path.read_bytes(), path.name
