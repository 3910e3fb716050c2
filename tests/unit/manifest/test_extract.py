from __future__ import annotations

import codecs
from typing import Any

import pytest

from reconciler.manifest.extract import MAX_VALUE, extract_fields, html_fields, markdown_fields
from reconciler.problems import Problem


def test_title_lang_and_meta() -> None:
    page = b"""<!doctype html><html lang="de-CH"><head>
      <title>  A &amp; B
        again </title>
      <meta name="Author" content="Alice  Smith"><meta name=author content=second>
      <meta property="og:title" content="Og"><meta name=DC.date content=2017>
      <meta http-equiv=refresh content=5><meta name=empty content=""><meta name=none>
    </head><body><title>other</title></body></html>"""
    assert html_fields(page) == {
        "title": "A & B again",
        "lang": "de-CH",
        "meta": {"author": "Alice Smith", "og:title": "Og", "dc.date": "2017"},
    }


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (b"", {}),
        (b"just text", {}),
        (b"<!--", {}),
        (b"<title>", {}),
        (b"<title> \n </title>", {}),
        (b"<title>never closed", {"title": "never closed"}),
        (b"<p>x<title>in the body</title>", {}),
        (b"<body><title>in the body</title>", {"title": "in the body"}),
        (b"<body><svg><title>drawing</title></svg>", {}),
        (b"<title>a <script>alert(1)</script> b</title>", {"title": "a <script>alert(1)</script> b"}),
        (b"<script>document.write('<title>x</title>')</script>", {}),
        (b"<title>a\0b</title>", {"title": "a\ufffdb"}),
        (b"<title>" + b"x" * 200_000, {"title": "x" * MAX_VALUE}),
        (b"\xff\xfe\x00\x01\x02", {}),
        (b"<meta name=a content='<div></head>'><title>x</title>", {"title": "x", "meta": {"a": "<div></head>"}}),
        (b"<!-- <body> --><script>'</head><body>'</script><title>x</title>", {"title": "x"}),
        (b"<head><div></div><title>late</title><meta name=a content=b>", {"title": "late", "meta": {"a": "b"}}),
        (b"<head><title>x</title></head><body><meta name=a content=b>", {"title": "x"}),
        (b'<title>x</title><meta name="a', {"title": "x"}),
    ],
)
def test_odd_pages(page: bytes, fields: dict[str, Any]) -> None:
    assert html_fields(page) == fields


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title>é</title>".encode(), "é"),
        (codecs.BOM_UTF8 + '<meta charset="latin1"><title>é</title>'.encode(), "é"),
        (codecs.BOM_UTF16_LE + "<title>é</title>".encode("utf-16-le"), "é"),
        (codecs.BOM_UTF16_BE + "<title>é</title>".encode("utf-16-be"), "é"),
        ('<meta charset="iso-8859-1"><title>é “x”</title>'.encode("cp1252"), "é “x”"),
        ('<meta http-equiv=content-type content="text/html; charset=koi8-r"><title>Я</title>'.encode("koi8-r"), "Я"),
        ("<meta charset=Shift_JIS><title>日本</title>".encode("cp932"), "日本"),
        ("<meta charset=latin1><title>é</title>".encode(), "Ã©"),
        (b"<title>\xe9</title>", "\ufffd"),
        # Names that Python would decode in its own way are no charsets.
        (b"<meta charset=unicode_escape><title>\\x41</title>", "\\x41"),
        (b"<meta charset=zlib><title>a</title>", "a"),
        (b"<meta charset=utf-7><title>+AGE-</title>", "+AGE-"),
        (b"<meta charset=utf-16><title>a</title>", "a"),
        (b" " * 5000 + b"<meta charset=latin1><title>\xe9</title>", "\ufffd"),
    ],
)
def test_charsets(page: bytes, title: str) -> None:
    assert html_fields(page)["title"] == title


def test_hostile_markup_is_read_in_time() -> None:
    size = 256 << 10
    for piece in (
        b"<div>",
        b"<svg><title>",
        b"<meta charset",
        b"<meta name=a content=b>",
        b"<table><td>",
        b"<a b=",
        b"&",
    ):
        html_fields(piece * (size // len(piece)))


def test_front_matter() -> None:
    text = b"""---
title: The handbook
date: 2024-05-01
tags: [a, b]
draft: no
owner: {team: {name: Docs}}
"7": seven
---
# Heading
"""
    assert markdown_fields(text) == (
        {
            "title": "The handbook",
            "date": "2024-05-01",
            "tags": ["a", "b"],
            "draft": "no",
            "owner": {"team": {"name": "Docs"}},
            "7": "seven",
        },
        [],
    )


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"", {}),
        (b"# Title\ntext", {"title": "Title"}),
        (b"\xef\xbb\xbf---\r\nkey: 1\r\n---\r\n\r\n#  A  b ## \r\n", {"key": 1, "title": "A b"}),
        (b"---\n---\n# x", {"title": "x"}),
        (b"---\n# only a comment\n...\ntext", {}),
        (b"---\ntitle: null\n---\n# x", {"title": "x"}),
        (b"text\n---\nkey: 1\n---\n", {}),
        (b"----\nkey: 1\n", {}),
        (b"```\n# code\n```\n# Real", {"title": "Real"}),
        (b"~~~sh\n# code\n```\n# code\n~~~~\n# Real", {"title": "Real"}),
        (b"```\n# never closed", {}),
        (b"## Second\n#hashtag\n    # code\n#\n# #\n   # C# #", {"title": "C#"}),
        (b"# C#", {"title": "C#"}),
        (b"# " + b"x" * 9000, {"title": "x" * MAX_VALUE}),
        (b"# caf\xe9", {"title": "caf\ufffd"}),
        (b"#" + b" " * 200_000 + b"x#", {"title": "x#"}),
    ],
)
def test_markdown(text: bytes, fields: dict[str, Any]) -> None:
    assert markdown_fields(text) == (fields, [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"---", "the front matter is not closed by a line `---`"),
        (b"---\nkey: 1\n", "the front matter is not closed by a line `---`"),
        (b"---\n- a\n---\n", "the front matter is not a mapping"),
        (b"---\ntext\n---\n", "the front matter is not a mapping"),
        (
            b"---\na: 1\na: 2\n---\n",
            'the front matter cannot be read: the key "a" stands twice in one mapping (line 3 of the file)',
        ),
        (
            b"---\nk: v\na: [\n---\n",
            "the front matter cannot be read: the text ends where a bracket is still open (line 3 of the file)",
        ),
        (b"---\na: \xff\n---\n", "the front matter is not UTF-8"),
        (b"---\na: \x00\n---\n", "the front matter holds a control character"),
    ],
)
def test_bad_front_matter(text: bytes, what: str) -> None:
    fields, problems = markdown_fields(text)
    assert fields == {}
    assert [(problem.code, problem.what) for problem in problems] == [("front-matter", what)]


def test_front_matter_that_is_too_long() -> None:
    text = b"---\n" + b"k: " + b"x" * 1000
    assert markdown_fields(text, whole=False)[1][0].what == "the front matter is longer than 1007 bytes"


def test_a_bomb_of_aliases_is_refused_in_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12)]
    fields, problems = markdown_fields(("---\n" + "\n".join(lines) + "\n---\n").encode())
    assert (fields, problems[0].code) == ({}, "front-matter")
    deep = markdown_fields(b"---\na: " + b"[" * 100_000 + b"\n---\n")
    assert (deep[0], deep[1][0].code) == ({}, "front-matter")


def test_each_kind_of_file_has_its_fields() -> None:
    page, text = b"<title>T</title>", b"---\nkey: 1\n---\n"
    both = {"html", "front"}
    assert extract_fields("a.html", page, both, whole=True) == {"html": {"title": "T"}, "front": {}}
    assert extract_fields("a.html", text, {"front"}, whole=True) == {"front": {}}
    assert extract_fields("a.MD", text, both, whole=True) == {"html": {}, "front": {"key": 1}}
    assert extract_fields("a.php", page, both, whole=True) == {"html": {"title": "T"}, "front": {}}
    assert extract_fields("a.bin", b"\0" + page, both, whole=True) == {"html": {}, "front": {}}
    assert extract_fields("a.html", page, set(), whole=True) == {}
    problem = extract_fields("a.md", b"---\n", {"front"}, whole=True)
    assert isinstance(problem, Problem)
    assert problem.code == "front-matter"
