from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.manifest import sets
from reconciler.manifest.paths import FoundFile, ProjectFolder, file_stat
from reconciler.manifest.sets import FileFacts, SetFault, SetMember, expand_set, set_inputs

VARIABLES = {"base": "https://example.com", "docs": "content"}


def put(root: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode() if isinstance(text, str) else text)


def expand(root: Path, spec: dict[str, Any], **known: Any) -> list[SetMember | SetFault]:
    return list(expand_set(spec, ProjectFolder(root), VARIABLES, **known))


def entries(found: Iterable[SetMember | SetFault]) -> list[tuple[str, dict[str, Any]]]:
    members = []
    for member in found:
        assert isinstance(member, SetMember), member
        members.append((member.origin, member.entry))
    return members


def faults(found: Iterable[SetMember | SetFault]) -> list[tuple[tuple[str | int, ...], str, str, str]]:
    wrong = []
    for fault in found:
        assert isinstance(fault, SetFault), fault
        assert fault.problem.why
        assert fault.problem.fix
        wrong.append((fault.path, fault.problem.code, fault.problem.what, fault.origin))
    return wrong


def facts(path: Path, fields: dict[str, Any]) -> FileFacts:
    data = path.read_bytes()
    return FileFacts(file_stat(path.stat()), hashlib.sha256(data).hexdigest(), len(data), fields)


# -- files -----------------------------------------------------------------------------------------


def test_each_file_is_an_item(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "content/b/Zoë #1.html": "<html lang=de><title>Zoë</title><meta name=author content=Bob>",
            "content/a.html": "<p>no title",
            "content/c": "no extension",
            "other/x.html": "",
        },
    )
    spec = {
        "from": {"files": "${docs}/**/*"},
        "item": {
            "uri": "${base}/{url_path}",
            "title": "{html.title|default:'Untitled'}",
            "permissions": {"allowed": ["group:A"]},
            "metadata": {
                "author": "{html.meta.author}",
                "lang": "{html.lang}",
                "bytes": "{size}",
                "path": "{dir}|{name}",
            },
        },
    }
    found = expand(tmp_path, spec)
    assert entries(found) == [
        (
            "content/a.html",
            {
                "uri": "https://example.com/content/a.html",
                "title": "Untitled",
                "permissions": {"allowed": ["group:A"]},
                "metadata": {"bytes": 11, "path": "content|a.html"},
                "body": {"file": "content/a.html"},
                "fileExtension": ".html",
            },
        ),
        (
            "content/b/Zoë #1.html",
            {
                "uri": "https://example.com/content/b/Zo%C3%AB%20%231.html",
                "title": "Zoë",
                "permissions": {"allowed": ["group:A"]},
                "metadata": {"author": "Bob", "lang": "de", "bytes": 63, "path": "content/b|Zoë #1.html"},
                "body": {"file": "content/b/Zoë #1.html"},
                "fileExtension": ".html",
            },
        ),
        (
            "content/c",
            {
                "uri": "https://example.com/content/c",
                "title": "Untitled",
                "permissions": {"allowed": ["group:A"]},
                "metadata": {"bytes": 12, "path": "content|c"},
                "body": {"file": "content/c"},
            },
        ),
    ]
    first = found[0]
    assert isinstance(first, SetMember)
    assert first.content == facts(tmp_path / "content/a.html", {"html": {}})


def test_front_matter_keeps_its_types(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "a.md": "---\ntags: [x, y]\ndraft: false\nowner: {team: Docs}\n---\n# Heading\n",
            "b.md": "# Only a heading\n",
        },
    )
    item = {
        "uri": "${base}/{stem}",
        "title": "{front.title}",
        "fileExtension": ".txt",
        "metadata": {"tags": "{front.tags}", "draft": "{front.draft}", "team": "{front.owner.team}"},
    }
    assert entries(expand(tmp_path, {"from": {"files": ["a.md", "*.md"]}, "item": item})) == [
        (
            "a.md",
            {
                "uri": "https://example.com/a",
                "title": "Heading",
                "fileExtension": ".txt",
                "metadata": {"tags": ["x", "y"], "draft": False, "team": "Docs"},
                "body": {"file": "a.md"},
            },
        ),
        (
            "b.md",
            {
                "uri": "https://example.com/b",
                "title": "Only a heading",
                "fileExtension": ".txt",
                "body": {"file": "b.md"},
            },
        ),
    ]


def test_a_body_of_the_template_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {"a.txt": "content"})
    monkeypatch.setattr(sets, "hash_file", None)  # nothing is read
    spec = {"from": {"files": "*.txt"}, "item": {"uri": "x:{path}", "body": {"text": "see {name}"}}}
    assert expand(tmp_path, spec) == [SetMember("a.txt", {"uri": "x:a.txt", "body": {"text": "see a.txt"}})]


def test_known_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {"a.html": "<title>A</title>", "b.html": "<title>B</title>", "c.html": "<title>C</title>"})
    spec = {"from": {"files": "*.html"}, "item": {"uri": "x:{path}", "title": "{html.title}"}}
    cold = expand(tmp_path, spec)
    known = {member.origin: member.content for member in cold if isinstance(member, SetMember) and member.content}
    known["c.html"] = known["c.html"]._replace(fields={})  # from a time when the template asked for less
    put(tmp_path, {"b.html": "<title>Changed</title>"})
    read: list[str] = []
    hash_file = sets.hash_file

    def counted(folder: ProjectFolder, path: str, *, head: int) -> Any:
        read.append(path)
        return hash_file(folder, path, head=head)

    monkeypatch.setattr(sets, "hash_file", counted)
    warm = expand(tmp_path, spec, known=known)
    assert read == ["b.html", "c.html"]
    assert warm[0] == cold[0]
    assert warm[2] == cold[2]
    assert entries(warm)[1][1]["title"] == "Changed"


def test_entries_do_not_depend_on_times(tmp_path: Path) -> None:
    put(tmp_path, {"a.html": "<title>A</title>"})
    spec = {"from": {"files": "*.html"}, "item": {"uri": "x:{path}", "title": "{html.title}"}}
    before = entries(expand(tmp_path, spec))
    os.utime(tmp_path / "a.html", ns=(1, 1))
    assert entries(expand(tmp_path, spec)) == before
    assert faults(expand(tmp_path, {"from": {"files": "*"}, "item": {"uri": "x:{mtime}"}}))[0][1] == "unknown-field"


def test_inputs_are_all_that_a_set_depends_on(tmp_path: Path) -> None:
    put(tmp_path, {"content/a.html": "a", "content/b.html": "b", "rows.csv": "a\n1\n"})
    folder = ProjectFolder(tmp_path)

    def one(name: str) -> FoundFile:
        return FoundFile(name, file_stat((tmp_path / name).stat()))

    def inputs(origin: dict[str, Any]) -> Any:
        return set_inputs({"from": origin, "item": {}}, folder, VARIABLES)

    assert inputs({"files": "${docs}/*", "exclude": ["${docs}/b*"]}) == ([one("content/a.html")], [])
    assert inputs({"csv": "rows.csv"}) == ([one("rows.csv")], [])
    assert [problem.code for problem in inputs({"csv": "row.csv"}).problems] == ["file-missing"]
    assert [problem.code for problem in inputs({"files": "${no}/*"}).problems] == ["undefined-variable"]
    assert [problem.code for problem in inputs({}).problems] == ["bad-set"]


def test_an_empty_set_is_an_error_unless_allowed(tmp_path: Path) -> None:
    put(tmp_path, {"rows.csv": "a\n", "rows.jsonl": "\n"})
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    item = {"uri": "x:{path|default:'x'}"}
    cases = [
        ({"files": ["content/**", "x/*"]}, 'no file matches "content/**", "x/*"'),
        ({"csv": "rows.csv"}, '"rows.csv" has no rows'),
        ({"jsonl": "rows.jsonl"}, '"rows.jsonl" has no rows'),
        ({"parquet": "rows.parquet"}, '"rows.parquet" has no rows'),
    ]
    for origin, what in cases:
        assert faults(expand(tmp_path, {"from": origin, "item": item})) == [(("from",), "empty-set", what, "")]
        assert expand(tmp_path, {"from": origin, "item": item, "allowEmpty": True}) == []
    gone = {"from": {"csv": "gone.csv"}, "item": item, "allowEmpty": True}
    assert [fault[1] for fault in faults(expand(tmp_path, gone))] == ["file-missing"]


def test_problems_of_a_template_are_gathered(tmp_path: Path) -> None:
    put(tmp_path, {"a.html": ""})
    item = {"uri": "${bas}/{pth}", "title": "{html.titel}", "metadata": {"a": "{", "b": ["{front.}"]}}
    assert faults(expand(tmp_path, {"from": {"files": "*"}, "item": item})) == [
        (("item", "uri"), "undefined-variable", 'the variable "bas" is not defined', ""),
        (("item", "metadata", "a"), "bad-template", 'the template "{" holds a single `{`', ""),
        (("item", "title"), "unknown-field", 'there is no field "html.titel"', ""),
        (("item", "metadata", "b", 0), "unknown-field", 'there is no field "front."', ""),
    ]


def test_a_bad_file_is_named_and_the_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        tmp_path,
        {
            "a.md": "---\nnever closed",
            "b.md": "---\nslug: b\n---\n",
            "c.md": "---\nlist: [1]\nslug: c\n---\n",
            "d.md": "---\nn: .inf\nslug: d\n---\n",
            "e.md": "none",
            "huge.md": "---\n" + "k: v\n" * 60_000,
        },
    )
    os.mkfifo(tmp_path / "fifo.md")
    item = {"uri": "x:{front.slug}", "title": "T {front.list}", "metadata": {"n": "{front.n}"}}
    found = expand(tmp_path, {"from": {"files": "*.md"}, "item": item})
    assert entries(member for member in found if isinstance(member, SetMember)) == [
        ("b.md", {"uri": "x:b", "body": {"file": "b.md"}, "fileExtension": ".md"})
    ]
    assert faults(fault for fault in found if isinstance(fault, SetFault)) == [
        (("from",), "not-a-file", '"fifo.md" is a FIFO, where a file is wanted', ""),
        (("from",), "front-matter", "the front matter is not closed by a line `---`", "a.md"),
        (
            ("item", "title"),
            "not-text",
            'the field "front.list" is a list, which has no place inside a text',
            "c.md",
        ),
        (
            ("from",),
            "front-matter",
            'the front matter cannot be read: the number ".inf" cannot be kept exactly (line 2 of the file)',
            "d.md",
        ),
        (("item", "uri"), "no-uri", 'the uri of the item from "e.md" needs a field that is absent there', "e.md"),
        (("from",), "front-matter", "the front matter is longer than 262144 bytes", "huge.md"),
    ]


def test_a_file_that_vanishes_or_changes_is_no_item(tmp_path: Path) -> None:
    put(tmp_path, {"a.txt": "a", "b.txt": "b"})
    spec = {"from": {"files": "*.txt"}, "item": {"uri": "x:{path}"}}
    inputs = set_inputs(spec, ProjectFolder(tmp_path), VARIABLES)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").unlink()
    os.mkfifo(tmp_path / "b.txt")
    assert faults(expand(tmp_path, spec, inputs=inputs)) == [
        (("from",), "file-missing", 'there is no file "a.txt"', "a.txt"),
        (("from",), "not-a-file", '"b.txt" is a FIFO, where a file is wanted', "b.txt"),
    ]


# -- rows ------------------------------------------------------------------------------------------


def test_rows_of_each_format_give_the_same_items(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "p.csv": "id,First Name,note\n1,Alice,\n2,Bob,x\n",
            "p.jsonl": '{"id": "1", "First Name": "Alice"}\n\n{"id": "2", "First Name": "Bob", "note": "x"}\n',
        },
    )
    pq.write_table(
        pa.table({"id": ["1", "2"], "First Name": ["Alice", "Bob"], "note": [None, "x"]}), tmp_path / "p.parquet"
    )
    item = {"uri": "${base}/{id}", "title": "{row.First Name}", "body": {"text": "{note}"}, "source": "people"}
    for kind, lines in (("csv", (2, 3)), ("jsonl", (1, 3)), ("parquet", (1, 2))):
        assert entries(expand(tmp_path, {"from": {kind: f"p.{kind}"}, "item": item})) == [
            (f"p.{kind}:{lines[0]}", {"uri": "https://example.com/1", "title": "Alice", "source": "people"}),
            (
                f"p.{kind}:{lines[1]}",
                {"uri": "https://example.com/2", "title": "Bob", "body": {"text": "x"}, "source": "people"},
            ),
        ]


def test_json_rows_keep_types_and_nesting(tmp_path: Path) -> None:
    put(tmp_path, {"p.jsonl": '{"id": 7, "tags": ["a"], "a": {"b": true}, "a.c": 1.0, "row": "r"}\n'})
    item = {
        "uri": "x:{id}",
        "metadata": {"t": "{row.tags}", "b": "{a.b}", "c": "{row.a.c}", "r": "{row.row}", "i": "{id}"},
    }
    assert entries(expand(tmp_path, {"from": {"jsonl": "p.jsonl"}, "item": item})) == [
        ("p.jsonl:1", {"uri": "x:7", "metadata": {"t": ["a"], "b": True, "c": 1.0, "r": "r", "i": 7}})
    ]


def test_unknown_columns_are_found(tmp_path: Path) -> None:
    put(tmp_path, {"p.csv": "id,name\n1,A\n", "p.jsonl": '{"id": 1}\n{"id": 2, "name": "x"}\n'})
    item = {"uri": "x:{id}", "title": "{row.nmae}", "fileExtension": "{gone|default:'.txt'}"}
    unknown = (("item", "title"), "unknown-field", 'there is no field "row.nmae"', "")
    assert faults(expand(tmp_path, {"from": {"csv": "p.csv"}, "item": item})) == [unknown]
    found = expand(tmp_path, {"from": {"jsonl": "p.jsonl"}, "item": item})
    assert entries(found[:2]) == [
        ("p.jsonl:1", {"uri": "x:1", "fileExtension": ".txt"}),
        ("p.jsonl:2", {"uri": "x:2", "fileExtension": ".txt"}),
    ]
    assert faults(found[2:]) == [unknown]


def test_bad_rows_are_named_and_the_others_used(tmp_path: Path) -> None:
    put(tmp_path, {"p.csv": "id,name\n1,A\n2\n,C\n4,D\n", "broken.csv": 'id\n1\n"2'})
    item = {"uri": "x:{id}"}
    found = expand(tmp_path, {"from": {"csv": "p.csv"}, "item": item})
    assert entries(member for member in found if isinstance(member, SetMember)) == [
        ("p.csv:2", {"uri": "x:1"}),
        ("p.csv:5", {"uri": "x:4"}),
    ]
    assert faults(fault for fault in found if isinstance(fault, SetFault)) == [
        (("from", "csv"), "bad-row", 'the row at "p.csv:3" has 1 cells, the header 2', "p.csv:3"),
        (("item", "uri"), "no-uri", 'the uri of the item from "p.csv:4" needs a field that is absent there', "p.csv:4"),
    ]
    first, *rest = expand(tmp_path, {"from": {"csv": "broken.csv"}, "item": item})
    assert entries([first]) == [("broken.csv:2", {"uri": "x:1"})]
    assert faults(rest) == [
        (("from", "csv"), "bad-csv", '"broken.csv:3" is no CSV: unexpected end of data', "broken.csv")
    ]


def test_parquet_reads_only_what_the_template_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "raw": [b"x"]}), tmp_path / "p.parquet")
    spec = {"from": {"parquet": "p.parquet"}, "item": {"uri": "x:{row.id}"}}
    assert entries(expand(tmp_path, spec)) == [("p.parquet:1", {"uri": "x:1"})]
    spec["item"] = {"uri": "x:{id}", "title": "{raw}"}
    assert faults(expand(tmp_path, spec)) == [
        (("from", "parquet"), "bad-parquet", 'column "raw" of "p.parquet" is binary', "p.parquet")
    ]
