"""The two ways of reading YAML agree on every text, and so do the whole text and its pieces.

Texts come from two makers: random values dumped in several styles, and snippets on which parsers are
known to differ, joined without regard to sense.
"""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.manifest.locate import read_exact
from reconciler.manifest.read import Doubt, read_documents, read_fast
from reconciler.manifest.split import Section, read_section, split, try_entries
from reconciler.problems import Problem

CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]
MANY = settings(derandomize=True, deadline=None, max_examples=1200, suppress_health_check=CHECKS)
SOME = settings(derandomize=True, deadline=None, max_examples=120, suppress_health_check=CHECKS)

NODES = [
    *("a", "x y", "a:b", "a#b", "a b: c", "user_1", "1_000", "_1", "-_1", "1_", "0x1f", "0X1f", "-0x1f", "0b11"),
    *("0o17", "0O7", "017", "1e3", "1e400", ".inf", "-.inf", ".nan", "-.nan", ".5", "1.", "+1", "-1", "0", "-0"),
    *("99999999999999999999", "18446744073709551615", "1.5.2", "1_0.5", "1e1_0", "0x1_f", "12:30:45", "2024-01-01"),
    *("null", "~", "Null", "true", "TRUE", "no", "on", "y", "=", "<<", "''", '""', "'a''b'", '"a\\n\\tb"'),
    *('"\\u00e9\\U0001F600"', '"\\ud83d\\ude00"', '"\\ud800"', '"a\\\n    b"', "'a\n    b'", '"x\ty"', "x\ty", "1\t2"),
    *("!!str 1", "!t x", "! x", "hey ! you", "&a 1", "*a", "&a [*a]", "&b {c: 1}", "*b", "**b**", "R & D", "&amp;"),
    *("[a, b]", "[a: b]", "{a, b: c}", "{a: 1,}", "{'a':1}", "{a: {b: [c]}}", "[]", "{}", "[[1], [2, [3]]]"),
    *("[a,\n    b]", "[a,\nb]", "{a: 1,\n  b: 2}", "{k: |\n   t}", "[> a]", "|\n    t\n", "|+\n    t\n\n", "|\n"),
    *(
        ">\n    a\n    b\n\n    c\n",
        ">-\n     a\n      b\n",
        "|2\n       t\n",
        "|\n    # t\n    - u\n",
        "| # c\n    t\n",
    ),
    *("x # c", "x\n    y", "é", "あ: い", "😀", "a\u2028b", "a\x85b", "a\u00a0b", "a\ufeffb", "a\x01b", "a\x7fb"),
    *("@a", "`a", "%a", "a % b", "-", "--- a", "...", "- a", "? a", ":", "::", ": a", "a\n", "", "|", ">"),
]
JOINTS = [
    *("k: ", "l: ", "m:\n  ", "- ", "  - ", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", "\nk: ", "\n  k: ", "\n  l: "),
    *("\nitems:\n", "\nitems:\n  - ", "\nusers:\n- ", "\nmap:\n  k: ", "\n# c\n", "\n  # c\n", "  # c", "\n\n", "\r\n"),
    *(
        "\r\n  - ",
        "\n---\n",
        "\n...\n",
        "%YAML 1.2\n---\n",
        "\t",
        "\n\t",
        "\r",
        ", ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        " ",
        "? ",
    ),
    *("'k': ", '"k": ', "1: ", "true: ", "? a\n: ", "<<: ", "? [a]\n: ", "\ufeff", "k:\n  - a\n  - b\n", "\nk:\n- a\n"),
]
nasty = st.lists(st.sampled_from(JOINTS) | st.sampled_from(NODES), min_size=1, max_size=12).map("".join)
manifest_like = st.lists(
    st.tuples(
        st.sampled_from(["items:\n", "users:\n", "map:\n", "'q':\n", "one: ", "---\n", "# c\n", "...\n"]),
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["  - ", "  - a: ", "- ", "  k: ", "  l: ", "    m: ", "  # c ", " - ", "  -\n    n: "]
                ),
                st.sampled_from(NODES),
            ).map("".join),
            max_size=4,
        ).map(lambda lines: "".join(f"{line}\n" for line in lines)),
    ).map("".join),
    min_size=1,
    max_size=4,
).map("".join)

# ruamel.yaml writes the line breaks of YAML 1.1 so that only YAML 1.1 reads them back.
characters = st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029")
texts = st.text(characters, max_size=12) | st.sampled_from(
    ["no", "1_000", "0b11", "~", "1e5", "- a", "a: b", " lead", "trail ", "two\nlines\n", "#c", "é", "!t", "*a"]
)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from(["items", "users", "permissions", "defaults"]), st.lists(values) | st.dictionaries(texts, values)
)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in type and in the order of their keys, too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def dump(value: Any, style: str) -> bytes:
    """Return a value as YAML in one of several styles."""
    if style == "json":
        return json.dumps(value).replace("\x7f", "\\u007f").encode()
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = {"block": False, "flow": True}.get(style)
    yaml.sort_base_mapping_type_on_output = False
    yaml.allow_unicode = style != "flow"
    if style == "indented":
        yaml.default_flow_style = False
        yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.BytesIO()
    yaml.dump(value, out)
    return out.getvalue()


def hold_fast_against_exact(text: bytes) -> None:
    try:
        fast = read_fast(text)
    except Doubt:
        return
    exact, problems = read_exact(text)
    if refused_by_ruamel_alone(problems):
        return
    assert not problems
    assert same(exact, [] if fast is None and not exact else [fast])


def refused_by_ruamel_alone(problems: list[Problem]) -> bool:
    """Return whether the exact way refuses one of the two things that YAML 1.2 allows and ruamel does not.

    They are a key of several lines in a flow mapping, and spaces on a blank line that opens a block scalar.
    """
    return len(problems) == 1 and (
        "has spaces" in problems[0].what or "expected ',' or '}', but got ':'" in problems[0].what
    )


def hold_pieces_against_whole(text: bytes) -> None:
    sections = split(text)
    if sections is None:
        return
    assert all(section.start <= section.end for section in sections)
    read = [read_pieces(text, section) for section in sections]
    if any(problems for _, problems in read):
        return
    assembled: dict[int, dict[str, Any]] = {}
    for section, (value, _) in zip(sections, read, strict=True):
        assembled.setdefault(section.document, {})[section.name] = value
    whole, problems = read_documents(text, "file")
    if refused_by_ruamel_alone(problems):
        return
    assert not problems
    assert same([assembled[document] for document in sorted(assembled)], whole)


def read_pieces(text: bytes, section: Section) -> tuple[Any, list[Any]]:
    """Return a section's value by its entries, read all at once and each alone."""
    if section.style == "opaque":
        return read_section(text, section)
    entries, problems = try_entries(text, section)
    alone = [try_entries(text, section, [index]) for index in range(len(section))]
    if problems or any(found for _, found in alone):
        return None, [*problems, *(found for _, found in alone)]
    assert same([value[0] for value, _ in alone], entries)
    if section.style == "sequence":
        return entries, []
    return {key: value for entry in entries for key, value in entry.items()}, []


@MANY
@given(nasty | manifest_like)
@example("a: |\n")
@example("- a: &x [*x]\n")
@example("a: &x\n  b: *x\n")
@example("- " * 300 + "a")
@example("[" * 255 + "]" * 255)
def test_fast_agrees_with_exact_on_nasty_texts(text: str) -> None:
    lines = text.encode()
    if b"---" not in lines and b"..." not in lines:
        hold_fast_against_exact(lines)


@SOME
@given(values | documents, st.sampled_from(["block", "flow", "mixed", "indented", "json"]))
def test_both_ways_read_back_what_was_dumped(value: Any, style: str) -> None:
    text = dump(value, style).removesuffix(b"...\n")
    hold_fast_against_exact(text)
    documents, problems = read_documents(text, "file")
    if not refused_by_ruamel_alone(problems):
        assert not problems
        assert same(documents, [] if text.strip() == b"" else [value])


@MANY
@given(manifest_like | nasty)
@example("items:\n  - |\n  - b\n")
@example("items:\n- a\n- b\nusers:\n- c")
@example("items:\n  - &a x\n  - *a\n")
@example("items:\n  - a\n---\nitems:\n  - b\n")
def test_pieces_agree_with_the_whole_on_nasty_texts(text: str) -> None:
    hold_pieces_against_whole(text.encode())


@SOME
@given(documents, st.sampled_from(["block", "mixed", "indented"]))
def test_pieces_agree_with_the_whole_on_what_was_dumped(value: Any, style: str) -> None:
    hold_pieces_against_whole(dump(value, style))
