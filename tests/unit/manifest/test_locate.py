from __future__ import annotations

import pytest

from reconciler.manifest.locate import Path, excerpt, position_of, read_exact
from reconciler.problems import Position, Problem, Related


def found(text: str | bytes) -> list[tuple[str, int, int, int]]:
    """Return code, line, column and length of each problem, in order."""
    data = text.encode() if isinstance(text, str) else text
    _, problems = read_exact(data, "f.yaml")
    places = [(problem.code, problem.position) for problem in problems]
    return [(code, place.line, place.column, place.length) for code, place in places if place]


@pytest.mark.parametrize(
    ("text", "path", "line", "column", "marked"),
    [
        ("a: 1\n", (), 1, 1, "a: 1"),
        ("a: 'x' # c\n", ("a",), 1, 4, "'x'"),
        ("a: [b, {c: 'd'}]\n", ("a", 1), 1, 8, "{c: 'd'}"),
        ("a: [b, {c: 'd'}]\n", ("a", 1, "c"), 1, 12, "'d'"),
        ("a: {b: 1,\n  c: 2}\n", ("a",), 1, 4, "{b: 1,"),
        ("a: {b: 1,\n  c: 2}\n", ("a", "c"), 2, 6, "2"),
        ("a:\n  b: 1\n", ("a",), 2, 3, "b: 1"),
        ("- - a\n  - b\n", (0, 1), 2, 5, "b"),
        ("a: |\n  x\n  y\n", ("a",), 1, 4, "|"),
        ("a: &x {b: 1}\nc: *x\n", ("a",), 1, 7, "{b: 1}"),
        ("a: &x {b: 1}\nc: *x\n", ("a", "b"), 1, 11, "1"),
        ("a: &x {b: 1}\nc: *x\n", ("c",), 2, 4, "*x"),
        ("a: &x {b: 1}\nc: *x\n", ("c", "b"), 2, 4, "*x"),
        ("a: &x\n  b: 1\n", ("a", "b"), 2, 6, "1"),
        ("a: 1\r\nb:\r\n  - x\r\n  - yy # c\r\n", ("b", 1), 4, 5, "yy"),
        ('é: 🎉🎉\n"ü": {あ: い}\n', ("é",), 1, 4, "🎉🎉"),
        ('é: 🎉🎉\n"ü": {あ: い}\n', ("ü", "あ"), 2, 10, "い"),
        ("\ufeffa: b\n", ("a",), 1, 4, "b"),
        ("? a\n: b\n", ("a",), 2, 3, "b"),
        ("a: [?x, http://y?z]\n", ("a", 1), 1, 9, "http://y?z"),
        # an empty value stands at its key, an empty entry at its dash
        ("a:\nb: 1\n", ("a",), 1, 1, "a"),
        ("a: &x\nb: 1\n", ("a",), 1, 1, "a"),
        ("-\n- a\n", (0,), 1, 1, "-"),
        # what the text does not have: the nearest ancestor
        ("a:\n  b: 1\n", ("a", "zz", 3), 2, 3, "b: 1"),
        ("a: [1]\n", ("a", 7), 1, 4, "[1]"),
        # a broken text is located as far as it was read
        ("x: 1\na: [1,\n", ("a", 0), 2, 5, "1"),
    ],
)
def test_position_of_a_value(text: str, path: Path, line: int, column: int, marked: str) -> None:
    position = position_of(text.encode(), path, file="f.yaml")
    assert position == Position("f.yaml", line, column, len(marked))
    source = excerpt(text.encode(), position)
    assert source[column - 1 : column - 1 + len(marked)] == marked


def test_position_of_a_key() -> None:
    text = b"'a b': c\nd: {e: f}\n"
    assert position_of(text, ("a b",), file="f", of="key") == Position("f", 1, 1, 5)
    assert position_of(text, ("d", "e"), file="f", of="key") == Position("f", 2, 5, 1)


def test_position_counts_documents_that_are_not_empty() -> None:
    text = b"---\na: 1\n---\n# nothing\n---\nb: 2\n"
    assert position_of(text, ("b",), file="f", document=1) == Position("f", 6, 4, 1)
    assert position_of(text, ("b",), file="f", document=2) == Position("f", 1, 1, 1)


def test_position_in_a_piece_starts_at_the_line_of_the_piece() -> None:
    piece = b"  - uri: u\n    title: t\n"
    assert position_of(piece, (0, "title"), file="f", line=41) == Position("f", 42, 12, 1)
    assert position_of(b"", ("a",), file="f") == Position("f", 1, 1, 1)


def test_excerpt_is_the_line_without_its_break() -> None:
    text = "\ufeffä: 1\r\nb: 2\rc: 3".encode()
    lines = [excerpt(text, Position("f", line, 1)) for line in range(5)]
    assert lines == ["", "ä: 1", "b: 2", "c: 3", ""]


def test_a_problem_says_where_what_why_and_how_to_fix_it() -> None:
    _, problems = read_exact(b"a: 1\nb: 2\n'a': 3\n", "f.yaml", line=11)
    assert problems == [
        Problem(
            code="duplicate-key",
            what='the key "a" stands twice in one mapping',
            why="only one of the two could count, and readers differ on which.",
            fix="remove one of them, or join their values",
            position=Position("f.yaml", 13, 1, 3),
            excerpt="'a': 3",
            related=(Related(Position("f.yaml", 11, 1, 1), "it stands here first"),),
        )
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!str 1\n", [("yaml-tag", 1, 10, 1)]),
        ("a: !env X\n", [("yaml-tag", 1, 9, 1)]),
        ("!t\na: 1\n", [("yaml-tag", 1, 1, 2)]),
        ("- ! x\n", [("yaml-tag", 1, 5, 1)]),
        ("<<: {a: 1}\n", [("merge-key", 1, 1, 2)]),
        ("1: a\n~: b\ntrue: c\n", [("key-not-text", 1, 1, 1), ("key-not-text", 2, 1, 1), ("key-not-text", 3, 1, 4)]),
        (": d\n[e]: f\n", [("key-not-text", 1, 1, 1), ("key-not-text", 2, 1, 3)]),
        ("a: 18446744073709551616\n", [("number-not-exact", 1, 4, 20)]),
        ("a: -9223372036854775809\n", [("number-not-exact", 1, 4, 20)]),
        ("a: [-.inf, .nan]\n", [("number-not-exact", 1, 5, 5), ("number-not-exact", 1, 12, 4)]),
        ("a: 1e400\n", [("number-not-exact", 1, 4, 5)]),
        ("a: 1" + "0" * 5000, [("number-not-exact", 1, 4, 5001)]),
        ("a:\n\tb: 1\n", [("tab-indent", 2, 1, 1)]),
        ("a:\n  b:\n  \tc: 1\n", [("tab-indent", 3, 3, 1)]),
        ("a: x\x01y\nb: \x7f\n", [("control-character", 1, 5, 1), ("control-character", 2, 4, 1)]),
        ("a: x\ufeffy\n", [("control-character", 1, 5, 1)]),
        ("a: *b\n", [("unknown-alias", 1, 4, 2)]),
        ("a: &a [*a]\n", [("alias-cycle", 1, 8, 2)]),
        ("%YAML 1.1\n---\na: 1\n", [("yaml-directive", 1, 1, 9)]),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", [("yaml-directive", 1, 1, 18)]),
        ("[" * 300 + "]" * 300, [("too-deep", 1, 255, 1)]),
        ("- " * 300 + "a", [("too-deep", 1, 509, 1)]),
        ("a: b: c\n", [("yaml-syntax", 1, 5, 1)]),
        ("a: 'x\nb: 1\n", [("yaml-syntax", 1, 4, 1)]),
        ("a: [b\n", [("yaml-syntax", 1, 4, 1)]),
        ("a: @b\n", [("yaml-syntax", 1, 4, 1)]),
        ("a:\n  b: 1\n c: 2\n", [("yaml-syntax", 3, 2, 1)]),
        ('a: "\\ud800"\n', [("yaml-syntax", 1, 4, 8)]),
        ('a: "\\UFFFFFFFF"\n', [("yaml-syntax", 1, 1, 15)]),
        (b"a: 1\nb\xe9: 2\n", [("not-utf8", 2, 2, 1)]),
        ("a: 1\n".encode("utf-16"), [("not-utf8", 1, 1, 1)]),
        # all of them in one run
        (
            "a: !t 1\n<<: b\n2: c\na: .inf\n",
            [
                ("yaml-tag", 1, 7, 1),
                ("merge-key", 2, 1, 2),
                ("key-not-text", 3, 1, 1),
                ("duplicate-key", 4, 1, 1),
                ("number-not-exact", 4, 4, 4),
            ],
        ),
    ],
)
def test_problems(text: str | bytes, expected: list[tuple[str, int, int, int]]) -> None:
    assert found(text) == expected


def test_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert [code for code, *_ in found("\n".join(lines))] == ["too-many-aliases"]


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300)]
    assert [code for code, *_ in found("\n".join(lines))] == ["too-deep"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, word) for word in ("no", "on", "off", "y", "yes", "tRue", "nULL", "=", "-.nan", "1,0")),
        *((word, word) for word in ("1_000", "_1", "0b11", "0X1f", "0O7", "-0x1f", "+0o7", "0o8", "1.5.2", "1e")),
        *((word, word) for word in ("2024-01-01", "2024-01-01T00:00:00Z", "12:30:45", "1:2", "١٢", "++1", ".")),
        *(("017", 17), ("-08", -8), ("+1", 1), ("0x1F", 31), ("0o17", 15), ("-0", 0)),
        ("18446744073709551615", 2**64 - 1),
        *(("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-.5E-1", -0.05), ("1.0", 1.0), ("9007199254740993", 2**53 + 1)),
        *(("'1'", "1"), ('"true"', "true"), ("|\n  1", "1\n"), ("x\ty", "x\ty"), ("a\u2028b\x85c", "a\u2028b\x85c")),
        *(('"\\ud83d\\ude00"', "😀"), ("? x", None), ("[?x: y]", [{"?x": "y"}])),
    ],
)
def test_scalars_by_the_core_schema(written: str, value: object) -> None:
    if written == "? x":
        assert read_exact(b"? x\n") == ([{"x": None}], [])
        return
    values, problems = read_exact(f"a: {written}\n".encode())
    assert (values, problems, type(values[0]["a"])) == ([{"a": value}], [], type(value))


def test_documents_that_are_empty_are_skipped() -> None:
    assert read_exact(b"# c\n---\n---\na: 1\n...\n---\nb: &x 2\nc: *x\n") == ([{"a": 1}, {"b": 2, "c": 2}], [])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  apiKey: hunter2-xyz, region: eu", "  apiKey: ***********, region: eu"),
        ("  apiKey: 'my secret'  # why", "  apiKey: ***********  # why"),
        ("  {apiKey: {env: COVEO_API_KEY}}", "  {apiKey: {env: COVEO_API_KEY}}"),
        ("  API_KEY: hunter2", "  API_KEY: *******"),
        ("  proxy: http://me:word@proxy.example.com:3128", "  proxy: http://*******@proxy.example.com:3128"),
        ("  uri: https://example.com/@me/a", "  uri: https://example.com/@me/a"),
        ("  note: xx01234567-89ab-cdef-0123-456789abcdef", "  note: " + "*" * 38),
    ],
)
def test_excerpts_cover_what_looks_like_a_secret_and_keep_their_length(line: str, shown: str) -> None:
    assert excerpt(line.encode(), Position("f", 1, 1)) == shown
    assert len(shown) == len(line)
