"""`import --bodies`: documents become manifests, and those become the same documents again."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml_rs
from hypothesis import given
from hypothesis import strategies as st

from reconciler.importing.text import section
from reconciler.manifest.read import read_documents
from reconciler.manifest.template import substitute
from tests.builders import EMAIL, Folder, Ran, Remote
from tests.test_scenarios import (
    NAMES,
    SCENARIOS,
    _all,
    _documents,
    _entries,
    _in_order,
    _like,
    assert_settled,
    prepared,
    put_manifests,
)

ITEM = {"documentId": "https://example.com/a", "title": "A", "data": "text\n"}
PERMISSIONS = [{"allowAnonymous": False, "allowedPermissions": [{"identity": "Team", "identityType": "Group"}]}]
TEAM = {"identity": {"name": "Team", "type": "GROUP"}, "members": [{"name": "ann@x.org", "type": "USER"}]}
_PACKED = re.compile(r"<ZLIB in base64: (.*)>", re.DOTALL)


def dumped(folder: Folder, name: str, value: Any) -> Path:
    """Write a document beside the project and return the folder of documents."""
    path = folder.root.parent / "dump" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder.root.parent / "dump"


def imported(folder: Folder, place: Path, *arguments: str, code: int = 0) -> Ran:
    out = str(folder.root / "imported")
    return folder.ok("import", "--bodies", str(place), "--out", out, *arguments, code=code)


def refused(folder: Folder, value: Any, *arguments: str) -> str:
    """Import one document that is not understood, and return what is said; nothing is written."""
    place = dumped(folder, "one.json", value)
    ran = imported(folder, place, *arguments, code=1)
    assert not (folder.root / "imported").exists()
    assert [path.name for path in folder.root.iterdir() if path.name.startswith(".import")] == []
    return ran.err


def manifest(folder: Folder, name: str) -> Any:
    text = (folder.root / "imported" / name).read_text()
    assert text.startswith("# Imported from")
    return yaml_rs.loads(text, parse_datetime=False)


def packed(value: Any) -> Any:
    """Return documents with their content as it travels; they show it in clear to be read."""
    if isinstance(value, str) and (found := _PACKED.fullmatch(value)):
        return base64.b64encode(zlib.compress(found[1].encode())).decode()
    if isinstance(value, dict):
        return {key: packed(entry) for key, entry in value.items()}
    return [packed(entry) for entry in value] if isinstance(value, list) else value


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["--no-batch"], []], ids=["calls", "batches"])
@pytest.mark.parametrize("name", [name for name in NAMES if name[:3] in ("000", "001", "002")])
def test_the_documents_of_the_seeds_come_back_as_they_were(
    name: str, flags: list[str], folder: Folder, remote: Remote
) -> None:
    place, _ = prepared(name, folder, remote)
    dump = dumped(folder, "documents.json", packed(json.loads((place / "documents.json").read_text())))

    imported(folder, dump)

    folder.ok("validate")
    folder.ok("apply", "--auto-approve", *flags)
    received = [entry for request in _all(remote) for entry in _entries(request)]
    assert _in_order(_like(_documents(place), received)) == _in_order(_documents(place))
    assert_settled(folder, remote)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *(
            (name, flags)
            for name in ("003-using-the-push-api", "sets-and-levels", "item-sets")
            for flags in ([], ["--no-batch"])
        ),
        ("catalog", ["--no-batch"]),
    ],
)
def test_what_a_run_sent_is_sent_again_from_its_documents(
    name: str, flags: list[str], folder: Folder, remote: Remote, tmp_path: Path
) -> None:
    place, expected = prepared(name, folder, remote)
    put_manifests(place / "manifests-after", folder, expected)
    folder.ok("apply", "--auto-approve", *flags)
    sent = [entry for request in _all(remote) for entry in _entries(request)]
    held = remote.contents()
    again = Folder(tmp_path / "again", (folder.root / "reconciler.yaml").read_text())
    for number, request in enumerate(_all(remote)):
        dump = dumped(again, f"{number:03}.json", as_recorded(request))
    remote.reset()

    imported(again, dump, *(["--source", "shop"] if name == "catalog" else []))
    again.ok("apply", "--auto-approve", *flags)

    assert _in_order([entry for request in _all(remote) for entry in _entries(request)]) == _in_order(sent)
    assert remote.contents() == held
    assert_settled(again, remote)


def as_recorded(request: dict[str, Any]) -> Any:
    """Return a request as a document: a single call with its path, or for the source or provider of its path."""
    container = request["container"]
    if container is None:
        return {key: request[key] for key in ("method", "path", "query", "body")}
    path = request["path"].removesuffix("/batch")
    if "/stream/" in path:
        return container
    return [
        *(
            {"method": "PUT", "path": path, "query": {"documentId": entry["documentId"]}, "body": entry}
            for entry in container.get("addOrUpdate", ())
        ),
        *({"method": "PUT", "path": path, "body": entry} for entry in container.get("members", ())),
        *({"method": "PUT", "path": path, "body": entry} for entry in container.get("mappings", ())),
    ]


def test_batch_files_go_to_the_source_and_the_provider_that_are_named(folder: Folder, remote: Remote) -> None:
    folder.at(remote)
    dumped(folder, "1-items.json", {"AddOrUpdate": [{**ITEM, "Permissions": PERMISSIONS}], "Delete": []})
    mappings = [
        {
            "identity": {"name": "ann@x.org", "type": "USER"},
            "mappings": [{"name": "ann@x.org", "type": "USER"}],
            "wellKnowns": [{"name": "Everyone", "type": "GROUP"}],
        }
    ]
    everyone = {"identity": {"name": "Everyone", "type": "GROUP"}, "members": []}
    dump = dumped(folder, "2-identities.json", {"members": [TEAM, everyone], "mappings": mappings})

    ran = imported(folder, dump, "--source", "handbook")

    assert "Imported 1 item, 2 groups, 1 user, 1 alias into 2 files" in ran.out
    assert manifest(folder, "identities-corp.yaml") == {
        "defaults": {"provider": "corp"},
        "groups": [{"name": "Everyone", "members": []}, {"name": "Team", "members": ["user:ann@x.org"]}],
        "users": [{"name": "ann@x.org", "wellKnowns": ["group:Everyone"]}],
        "aliases": [{"of": "user:ann@x.org", "is": [{"identity": "user:ann@x.org", "provider": EMAIL}]}],
    }
    assert manifest(folder, "items-handbook.yaml")["items"] == [
        {
            "uri": ITEM["documentId"],
            "title": "A",
            "body": {"text": "text\n"},
            "permissions": {"allowed": ["group:Team"]},
        }
    ]
    folder.ok("apply", "--auto-approve")
    assert_settled(folder, remote)


def test_permissions_that_repeat_get_a_name_and_content_gets_files(folder: Folder, remote: Remote) -> None:
    folder.at(remote)
    long = "line\n" * 5_000
    entries = [
        {
            "documentId": f"https://example.com/{number}",
            "permissions": PERMISSIONS,
            "data": long,
            "fileExtension": ".txt",
        }
        for number in range(2)
    ]
    entries.append(
        {
            "documentId": "https://example.com/m",
            "compressedBinaryData": base64.b64encode(b"a: 1").decode(),
            "compressionType": "UNCOMPRESSED",
            "fileExtension": ".yaml",
            "permissions": [{"allowAnonymous": True}],
        }
    )
    dump = dumped(folder, "batch.json", [{"addOrUpdate": entries}, TEAM])
    imported(folder, dump, "--source", "handbook")

    found = manifest(folder, "items-handbook.yaml")
    assert found["permissions"] == {"handbook-Team": {"allowed": ["group:Team"]}}
    assert [entry.get("permissions") for entry in found["items"]] == [
        "handbook-Team",
        "handbook-Team",
        {"anonymous": True},
    ]
    files = [folder.root / entry["body"]["file"] for entry in found["items"]]
    assert [path.read_bytes() for path in files] == [long.encode()] * 2 + [b"a: 1"]
    assert [path.suffix for path in files] == [".txt", ".txt", ""], "content is never taken for a manifest"


def test_documents_count_in_the_order_of_their_names(folder: Folder) -> None:
    dumped(folder, "1.json", [ITEM, {**ITEM, "documentId": "file://f/a"}, {**ITEM, "documentId": "file://f"}])
    dumped(folder, "2.json", {"addOrUpdate": [{**ITEM, "title": "B"}], "delete": [{"documentId": "file://never"}]})
    dump = dumped(folder, "3/last.json", {"delete": [{"documentId": "file://f", "deleteChildren": True}]})

    ran = imported(folder, dump, "--source", "blog")

    assert [entry["title"] for entry in manifest(folder, "items-blog.yaml")["items"]] == ["B"]
    assert "note: 1 x items that a later document pushes again" in ran.err
    assert "note: 1 x deletions of items that no document pushes" in ran.err


def test_lines_of_json_are_documents(folder: Folder) -> None:
    lines = b"\n".join(orjson.dumps({**ITEM, "documentId": f"file://{number}"}) for number in range(3))
    imported(folder, dumped(folder, "items.jsonl", lines + b"\n"), "--source", "blog")
    assert len(manifest(folder, "items-blog.yaml")["items"]) == 3


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_VALUE = _TEXT | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
_SPECIAL = st.sampled_from(
    ["${a}", "$${a}", "$", "{x}", "- a", "a: b", "#", "null", "~", "1_000", "0x1", "2024-01-01", "\n", "|"]
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "n", "y", "on"]), _VALUE | _SPECIAL | st.lists(_VALUE), min_size=1))
)
def test_every_value_reads_back_as_it_was(entries: list[dict[str, Any]]) -> None:
    values, problems = read_documents("".join(section("items", entries)).encode(), "items.yaml")
    assert problems == []
    assert without_variables(values[0]["items"]) == entries if entries else values == []


def without_variables(value: Any) -> Any:
    if isinstance(value, str):
        return substitute(value, {})
    if isinstance(value, dict):
        return {key: without_variables(part) for key, part in value.items()}
    return [without_variables(part) for part in value] if isinstance(value, list) else value


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (b"{", "one.json: error"),
        (b"[" * 5000, "one.json: error"),
        (b"\xff\xfe{}", "one.json: error"),
        (b'{"documentId": "a:b", "title": NaN}', "one.json: error"),
        (b'{"documentId": "a:b", "title": "\\ud800"}', "one.json: error"),
        (b'{"documentId": "a:b", "title": "x", "title": "y"}', "one.json: error"),
        (b'{"documentId": "a:b", "n": 123456789012345678901234567890}', "one.json#/n: error"),
        ("text", "one.json: error"),
        ({}, "one.json: error"),
        ([[]], "one.json#/0: error"),
        ([ITEM, {"title": "no id"}], "one.json#/1: error"),
        ({"documentId": "a:b", "Title": "x", "title": "y"}, "one.json#/title: error"),
        ({"documentId": 7}, "one.json#/documentId: error"),
        ({"documentId": "a:b", "DATA": 7}, "one.json#/DATA: error"),
        ({"documentId": "a:b", "a/b": {"x": 1}}, "one.json#/a~1b: error"),
        ({"documentId": "a:b", "n": None}, "one.json#/n: error"),
        ({"documentId": "a:b", "compressedBinaryDataFileId": "f"}, "one.json#/compressedBinaryDataFileId: error"),
        ({"documentId": "a:b", "compressedBinaryData": "%%%"}, "one.json: error"),
        ({"documentId": "a:b", "permissions": [7]}, "one.json#/permissions: error"),
        ({"addOrUpdate": [ITEM, ITEM]}, "one.json#/addOrUpdate/1: error"),
        ({"addOrUpdate": [ITEM], "delete": [{"documentId": ITEM["documentId"]}]}, "one.json#/delete/0: error"),
        ({"addOrUpdate": {}}, "one.json#/addOrUpdate: error"),
        ({"addOrUpdate": [], "extra": 1}, "one.json#/extra: error"),
        ({"partialUpdate": [{"documentId": "a:b"}]}, "one.json#/partialUpdate: error"),
        ({"members": [{"identity": {"type": "GROUP"}}]}, "one.json#/members/0/identity: error"),
        ({"members": [{"identity": {"name": "x", "type": "UNKNOWN"}}]}, "one.json#/members/0: error"),
        ({"identity": {"name": "x", "type": "USER"}, "members": [{"name": "y"}]}, "one.json#/members: error"),
        ({"method": "GET", "path": "/x"}, "one.json: error"),
        ({"method": "PUT", "path": "/push/v1/organizations/o/sources/zzz/documents", "body": {}}, "one.json: error"),
    ],
)
def test_what_is_not_understood_is_told_with_its_place_and_nothing_is_written(
    value: Any, where: str, folder: Folder
) -> None:
    said = refused(folder, value, "--source", "blog")
    assert where in said
    assert "[import-not-understood]" in said


def test_a_body_in_a_container_that_is_gone_is_told(folder: Folder) -> None:
    place = SCENARIOS / "004-pushing-large-items" / "documents.json"
    said = refused(folder, place.read_bytes())
    assert "one.json#/0/body/CompressedBinaryDataFileId: error[import-not-understood]" in said


def test_what_the_project_declares_already_is_not_declared_twice(folder: Folder) -> None:
    folder.write("mine.yaml", f"items: [{{uri: '{ITEM['documentId']}', source: blog}}]\n")
    said = refused(folder, ITEM, "--source", "blog")
    assert "error[import-undone]" in said
    assert "mine.yaml" in said


def test_everything_that_is_wrong_is_told_at_once(folder: Folder) -> None:
    said = refused(folder, {"addOrUpdate": [{"documentId": 1}, ITEM, {"title": "x"}]}, "--source", "blog")
    assert "one.json#/addOrUpdate/0/documentId: error" in said
    assert "one.json#/addOrUpdate/2: error" in said


def test_an_item_of_no_source_is_refused_where_there_are_several(folder: Folder) -> None:
    assert "--source NAME" in refused(folder, ITEM)


def test_manifests_that_would_not_be_valid_are_taken_back(folder: Folder) -> None:
    said = refused(folder, {"documentId": "no-uri"}, "--source", "blog")
    assert "error[import-undone]" in said
    assert "items-blog.yaml:" in said


def test_files_of_before_come_back_when_the_new_ones_are_taken_back(folder: Folder) -> None:
    mine = folder.write("imported/items-blog.yaml", "# mine\nitems: []\n")
    place = dumped(folder, "one.json", {"documentId": "no-uri"})
    imported(folder, place, "--source", "blog", "--force", code=1)
    assert mine.read_text() == "# mine\nitems: []\n"
    assert sorted(path.name for path in mine.parent.iterdir()) == ["items-blog.yaml"]


def test_files_are_overwritten_only_by_force(folder: Folder) -> None:
    mine = folder.write("imported/items-blog.yaml", "# mine\n")
    place = dumped(folder, "one.json", ITEM)
    ran = imported(folder, place, "--source", "blog", code=2)
    assert "error[file-exists]" in ran.err
    assert mine.read_text() == "# mine\n"
    imported(folder, place, "--source", "blog", "--force")
    assert manifest(folder, "items-blog.yaml")["items"][0]["title"] == "A"


def test_a_file_that_is_no_document_is_refused(folder: Folder) -> None:
    dumped(folder, "one.json", ITEM)
    ran = imported(folder, dumped(folder, "notes.txt", b"hello"), "--source", "blog", code=2)
    assert "notes.txt: error[import-not-understood]" in ran.err


def test_a_folder_outside_of_the_project_is_refused(folder: Folder) -> None:
    place = dumped(folder, "one.json", ITEM)
    ran = folder.ok("import", "--bodies", str(place), "--out", str(place), "--source", "blog", code=2)
    assert "error[outside-project]" in ran.err


def test_what_documents_hold_is_text_and_never_a_variable_or_a_comment(folder: Folder, remote: Remote) -> None:
    folder.at(remote)
    hostile = {"documentId": "file://a:${x}", "title": "${NOPE} $${x} {a}", "data": "# ${y}\n---\n", "author": "yes"}
    imported(folder, dumped(folder, "a\nb.json", hostile), "--source", "blog")
    folder.ok("apply", "--auto-approve")
    (held,) = remote.contents()["items"]["mysourceidb10g"].values()
    assert held["metadata"]["title"] == hostile["title"]
    assert held["metadata"]["author"] == "yes"
    assert_settled(folder, remote)
