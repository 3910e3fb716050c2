from __future__ import annotations

from hashlib import sha256

import pytest

from reconciler.manifest.split import (
    Entry,
    Section,
    digests,
    line_of,
    read_section,
    shift,
    split,
    try_entries,
)
from reconciler.problems import Position


def pieces(text: str) -> list[tuple[int, str, str, list[str]]] | None:
    """Return document, name, style and the entries' texts of each section."""
    data = text.encode()
    sections = split(data)
    if sections is None:
        return None
    return [
        (one.document, one.name, one.style, [data[entry.start : entry.end].decode() for entry in one.entries])
        for one in sections
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# c\n\n", []),
        ("items:\n  - a\n  - b\n", [(0, "items", "sequence", ["  - a\n", "  - b\n"])]),
        (
            "items:\n- a: 1\n  b: 2\n- c\nu:\n- d",
            [(0, "items", "sequence", ["- a: 1\n  b: 2\n", "- c\n"]), (0, "u", "sequence", ["- d"])],
        ),
        ("items:\n    -\n      a: 1\n    - b\n", [(0, "items", "sequence", ["    -\n      a: 1\n", "    - b\n"])]),
        (
            "a:\n - x\nb:\n   - y\n   - z\n",
            [(0, "a", "sequence", [" - x\n"]), (0, "b", "sequence", ["   - y\n", "   - z\n"])],
        ),
        (
            "m:\n  a: 1\n  'b c': {}\n  u@x.org:\n  - d\n",
            [(0, "m", "mapping", ["  a: 1\n", "  'b c': {}\n", "  u@x.org:\n  - d\n"])],
        ),
        (
            "# c\nitems: # d\n\n# e\n  # f\n  - a\n# g\n\n  - b\n",
            [(0, "items", "sequence", ["  - a\n# g\n\n", "  - b\n"])],
        ),
        ("items:\r\n  - a\r\n  - b\r\n", [(0, "items", "sequence", ["  - a\r\n", "  - b\r\n"])]),
        ("\ufeffitems:  \n  - a\n", [(0, "items", "sequence", ["  - a\n"])]),
        (
            "items:\n  - |\n    - x\n\n    y: z\n  - b\n",
            [(0, "items", "sequence", ["  - |\n    - x\n\n    y: z\n", "  - b\n"])],
        ),
        ("items:\n  - - a\n    - b\n  - c\n", [(0, "items", "sequence", ["  - - a\n    - b\n", "  - c\n"])]),
        (
            "---\na:\n  - x\n---\n# none\n---\na:\n  - y\n...\n",
            [(0, "a", "sequence", ["  - x\n"]), (1, "a", "sequence", ["  - y\n"])],
        ),
        # opaque: no block, an anchor, a scalar, uneven indentation, a name twice, a complex key
        ("a: [b]\nc:\nd: &x\n  - e\nf: |\n  - g\n", [(0, name, "opaque", []) for name in "acdf"]),
        ("a:\n  text\n  more\n", [(0, "a", "opaque", [])]),
        ("a:\n  - x\n - y\n", [(0, "a", "opaque", [])]),
        ("a:\n  - x\n  b: y\n", [(0, "a", "opaque", [])]),
        ("a:\n  x: 1\n  'x': 2\n", [(0, "a", "opaque", [])]),
        ("a:\n  ? x\n  : y\n", [(0, "a", "opaque", [])]),
        ("a:\n  1: x\n", [(0, "a", "opaque", [])]),
        ("a:\n  true: x\n", [(0, "a", "opaque", [])]),
        # anchors
        (
            "a:\n  - &x 1\nb:\n  - [&x 1, *x]\n",
            [(0, "a", "sequence", ["  - &x 1\n"]), (0, "b", "sequence", ["  - [&x 1, *x]\n"])],
        ),
        ("a:\n  - &x 1\n  - *x\n", None),
        # no manifest in plain form
        ("- a\n- b\n", None),
        ("text\n", None),
        ("  items:\n    - a\n", None),
        ("items:\n  - a\nitems:\n  - b\n", None),
        ("{items: [a]}\n", None),
        ("a: [b,\nc]\n", None),
        ("--- {a: 1}\n", None),
        ("---\n- a\n", None),
        ("a: 1\n---\n  text\n", None),
        ("...\n", None),
        ("%YAML 1.2\n---\na: 1\n", None),
        ("a: 1\rb: 2\n", None),
        ("null: 1\n", None),
        ("? a\n: b\n", None),
        ("a: 1\n\tb: 2\n", None),
        ("a: 'x\ny'\n", None),
    ],
)
def test_split(text: str, expected: list[tuple[int, str, str, list[str]]] | None) -> None:
    assert pieces(text) == expected


def test_offsets_and_digests_are_of_bytes() -> None:
    text = "ü: 1\n".replace("ü", "'ü'").encode() + b"items:\n  - a\n  - b\n"
    sections = split(text)
    assert sections is not None
    first, second = sections
    assert (first.name, first.start, first.end) == ("ü", 0, 8)
    assert (second.start, second.end, len(second)) == (8, 27, 2)
    assert second.entries == (Entry(15, 21), Entry(21, 27))
    assert digests(text, second) == [sha256(b"  - a\n").digest(), sha256(b"  - b\n").digest()]
    assert digests(text, first) == []


def section(text: bytes) -> Section:
    sections = split(text)
    assert sections is not None
    return sections[-1]


def test_entries_are_read_by_index() -> None:
    text = b"items:\n" + b"".join(b"  - n: %d\n" % n for n in range(50_000))
    items = section(text)
    assert try_entries(text, items) == ([{"n": n} for n in range(50_000)], [])
    assert try_entries(text, items, [49_999, 3, 4, 5, 9, 3]) == ([{"n": n} for n in (49_999, 3, 4, 5, 9, 3)], [])
    assert try_entries(text, items, []) == ([], [])


def test_entries_of_a_mapping_are_mappings_of_one_key() -> None:
    text = b"permissions:\n  a: {allowed: [x]}\n  b:\n  - y\n"
    assert try_entries(text, section(text)) == ([{"a": {"allowed": ["x"]}}, {"b": ["y"]}], [])
    assert try_entries(text, section(text), [1, 0]) == ([{"b": ["y"]}, {"a": {"allowed": ["x"]}}], [])


def test_one_odd_entry_costs_only_itself() -> None:
    text = b"items:\n  - a: 1_000\n  - b: 1\n  - c: |\n  - d: 1\n    d: 2\n  - *e\n"
    values, problems = try_entries(text, section(text), file="f.yaml")
    assert values == [{"a": "1_000"}, {"b": 1}, {"c": ""}, {"d": 1}, None]
    assert [(problem.code, str(problem.position), problem.excerpt) for problem in problems] == [
        ("duplicate-key", "f.yaml:6:5", "    d: 2"),
        ("unknown-alias", "f.yaml:7:5", "  - *e"),
    ]
    assert try_entries(text, section(text), [0, 2]) == ([{"a": "1_000"}, {"c": ""}], [])


def test_an_entry_that_cannot_be_read_alone_is_a_problem() -> None:
    text = b"items:\n  - 'a\n  - b'\n"
    values, problems = try_entries(text, section(text), file="f")
    assert values == [None, "b'"]
    assert [(problem.code, str(problem.position)) for problem in problems] == [("yaml-syntax", "f:2:5")]


def test_a_section_is_read_whole() -> None:
    text = b"a: 1\nb: [c, 0b1]\nd: !t e\n"
    sections = split(text)
    assert sections is not None
    assert [read_section(text, one)[0] for one in sections] == [1, ["c", "0b1"], "e"]
    assert [str(problem.position) for problem in read_section(text, sections[2], file="f")[1]] == ["f:3:7"]


def test_positions_move_with_their_piece() -> None:
    text = "\ufeffa: ü\nb: [c, d]\n".encode()
    assert [line_of(text, offset) for offset in (0, 7, 8, 9)] == [1, 1, 1, 2]
    assert shift(Position("f", 1, 1, 4), text, text.index(b"b")) == Position("f", 2, 1, 4)
    assert shift(Position("f", 2, 3), text, text.index(b"b")) == Position("f", 3, 3)
    assert shift(Position("f", 1, 2), text, text.index("ü".encode())) == Position("f", 1, 5)
    assert shift(Position("f", 1, 1), text, text.index(b"d")) == Position("f", 2, 8)
