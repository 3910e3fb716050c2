"""Fields, from the command line: what would vanish, what is made, what the index shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from reconciler.cli.fieldcheck import make_fields
from reconciler.cli.session import open_session
from reconciler.emulator.options import ALL_PRIVILEGES, FIELD_CREATE, FIELD_VIEW
from reconciler.model.metadata import FieldType
from reconciler.problems import RemoteError
from tests.builders import (
    KEY,
    KEY_VARIABLE,
    ORGANIZATION,
    PROJECT,
    SHARED_ID,
    Folder,
    Remote,
    as_yaml,
    start_remote,
)

REST = f"/rest/organizations/{ORGANIZATION}"


@pytest.fixture
def remote() -> Iterator[Remote]:
    with start_remote(fields="strict") as started:
        yield started


def ask(remote: Remote, method: str, path: str, body: Any = None) -> httpx.Response:
    with httpx.Client(base_url=remote.url, trust_env=False, headers={"Authorization": f"Bearer {KEY}"}) as client:
        answer = client.request(method, f"{REST}/{path}", json=body)
    answer.raise_for_status()
    return answer


def add_fields(remote: Remote, *fields: dict[str, Any]) -> None:
    ask(remote, "POST", "indexes/fields/batch/create", list(fields))


def fields_of(remote: Remote) -> dict[str, tuple[str, bool]]:
    """Return type and multi-value facet of the fields that are not the system's own."""
    page = ask(remote, "POST", "indexes/fields/search", {"page": 0, "perPage": 1000}).json()
    return {
        entry["name"]: (entry["type"], entry["multiValueFacet"]) for entry in page["items"] if not entry.get("system")
    }


def map_rules(remote: Remote, source: str, *rules: tuple[str, str]) -> None:
    listed = [{"id": str(number), "field": field, "content": [text]} for number, (field, text) in enumerate(rules)]
    ask(remote, "PUT", f"sources/{source}/mappings?rebuild=false", {"common": {"rules": listed}, "types": []})


def items(*metadata: dict[str, Any], source: str = "blog", name: str = "x") -> str:
    entries = [
        {"uri": f"{name}:{number}", "body": {"text": "t"}, "metadata": entry} for number, entry in enumerate(metadata)
    ]
    return as_yaml({"defaults": {"source": source}, "items": entries})


def project(root: Path, remote: Remote, mode: str = "check") -> Folder:
    return Folder(root, f"{PROJECT}fields: {mode}\n").at(remote)


def told(document: Any) -> list[str]:
    return [f"{entry['severity']} {entry['code']}: {entry['what']}" for entry in document["problems"]]


# -- conflicts, of every plan and of validate --------------------------------------------------------


def test_a_conflict_stops_validate_and_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "items:\n  - uri: x:1\n    source: blog\n    metadata: {price: 12}\n")
    folder.ok("plan")
    folder.write("b.yaml", 'items:\n  - uri: x:2\n    source: blog\n    metadata: {price: "12 EUR"}\n')
    monkeypatch.chdir(tmp_path)
    for command in ("validate", "plan"):
        err = folder.ok(command, code=1).err
        assert 'b.yaml:4:23: error[metadata-type-conflict]: metadata "price" is a text here' in err
        assert "a.yaml:4:23: a number here" in err
    folder.write("a.yaml", "items:\n  - uri: x:1\n    source: blog\n    metadata: {price: '12'}\n")
    folder.ok("validate")
    assert told(folder.ok("plan", "--format", "json").json) == []


# -- plan --check-fields -----------------------------------------------------------------------------


def test_a_plan_says_what_would_vanish(tmp_path: Path, remote: Remote) -> None:
    add_fields(
        remote,
        {"name": "price", "type": "LONG"},
        {"name": "labels", "type": "STRING"},
        {"name": "when", "type": "DATE"},
        {"name": "paint", "type": "STRING"},
    )
    map_rules(remote, SHARED_ID, ("paint", "%[color]"))
    folder = project(tmp_path, remote)
    folder.write(
        "a.yaml",
        items({"price": 1, "labels": ["a", "b"]}, {"price": 1.5, "when": 7, "color": "red", "taste": "sweet"}),
    )
    assert told(folder.ok("plan", "--format", "json").json) == []
    assert told(folder.ok("plan", "--check-fields", "--format", "json").json) == [
        'warning field-not-multi-value: metadata "labels" of source "blog" has several values, the field "labels" that '
        "takes it is no multi-value facet, such as that of item/blog/x:0",
        'warning field-type-mismatch: metadata "price" of source "blog" is DOUBLE, the field "price" that takes it is '
        "LONG, such as that of item/blog/x:1",
        'warning metadata-unmapped: no field and no mapping takes metadata "taste" of source "blog", such as that of '
        "item/blog/x:1",
        'warning field-type-mismatch: metadata "when" of source "blog" is LONG, the field "when" that takes it is '
        "DATE, such as that of item/blog/x:1",
    ]
    text = folder.ok("plan", "--check-fields").out
    assert 'warning[metadata-unmapped]: no field and no mapping takes metadata "taste"' in text


def test_each_problem_stands_where_the_value_is_written(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote)
    folder.write("a.yaml", "items:\n  - {uri: 'x:1', source: blog}\n  - {uri: 'x:2', source: blog, metadata: {K: v}}\n")
    [problem] = folder.ok("plan", "--check-fields", "--format", "json").json["problems"]
    assert (problem["code"], problem["file"], problem["line"], problem["column"]) == (
        "metadata-unmapped",
        "a.yaml",
        3,
        46,
    )


def test_a_known_plan_is_checked_as_well(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote)
    folder.write("a.yaml", items({"k": "v"}))
    first = folder.ok("plan", "--check-fields", "--format", "json").out
    assert folder.ok("plan", "--check-fields", "--format", "json").out == first
    add_fields(remote, {"name": "k", "type": "STRING"})
    assert told(folder.ok("plan", "--check-fields", "--format", "json").json) == []


def test_sources_narrow_what_is_checked(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote)
    folder.write("a.yaml", items({"k": "v"}))
    options = ("plan", "--check-fields", "--format", "json", "--source")
    assert told(folder.ok(*options, "handbook").json) == []
    assert len(told(folder.ok(*options, "blog").json)) == 1


def test_a_check_needs_the_remote_and_a_plain_plan_does_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path).at("http://127.0.0.1:9")
    folder.write("a.yaml", items({"k": "v"}))
    folder.ok("plan")
    assert folder.run("plan", key=None).code == 0
    asked = folder.run("plan", "--check-fields", key=None)
    assert (asked.code, "COVEO_API_KEY" in asked.err) == (2, True)


# -- apply with `fields: create` ---------------------------------------------------------------------


def test_missing_fields_are_made_before_the_first_item(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote, "create")
    folder.write("a.yaml", items({"n": 1, "tags": ["a"], "author": "A"}, {"n": 2.5, "on": "2017-11-08T12:18:41Z"}))
    planned = told(folder.ok("plan", "--check-fields", "--format", "json").json)
    assert planned == [
        'note field-to-create: apply will create the field "n" of type DOUBLE for metadata of source "blog", such as '
        "that of item/blog/x:1",
        'note field-to-create: apply will create the field "on" of type DATE for metadata of source "blog", such as '
        "that of item/blog/x:1",
        'note field-to-create: apply will create the field "tags" of type STRING, multi-value for metadata of source '
        '"blog", such as that of item/blog/x:0',
    ]
    assert fields_of(remote) == {}
    done = folder.ok("apply", "--auto-approve")
    assert (
        'before the first item, this creates 3 fields: "n" (DOUBLE), "on" (DATE), "tags" (STRING, multi-value)\n'
        in done.err
    )
    assert fields_of(remote) == {"n": ("DOUBLE", False), "on": ("DATE", False), "tags": ("STRING", True)}
    report = folder.ok("verify", "--timeout", "5", "--format", "json").json
    assert report["metadata"] == {"vanishing": [], "visible": 5, "invisible": 0}


def test_a_saved_plan_makes_them_as_well(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote, "create")
    folder.write("a.yaml", items({"n": 1}))
    plan = str(tmp_path / "plan.json")
    folder.ok("plan", "--out", plan)
    folder.ok("apply", plan, "--auto-approve")
    assert fields_of(remote) == {"n": ("LONG", False)}


def test_the_type_takes_items_that_do_not_change(tmp_path: Path, remote: Remote) -> None:
    check = project(tmp_path, remote)
    check.write("a.yaml", items({"n": 1.5}))
    check.ok("apply", "--auto-approve")
    assert fields_of(remote) == {}
    create = project(tmp_path, remote, "create")
    create.write("b.yaml", items({"n": 1}, name="y"))
    create.ok("apply", "--auto-approve")
    assert fields_of(remote) == {"n": ("DOUBLE", False)}


def test_nothing_is_made_where_nothing_is_missing(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote, "create")
    folder.write("a.yaml", items({"n": 1}))
    folder.ok("apply", "--auto-approve")
    folder.write("a.yaml", items({"n": 2}))
    assert "creates" not in folder.ok("apply", "--auto-approve").err
    assert fields_of(remote) == {"n": ("LONG", False)}


def test_check_mode_makes_none_and_asks_for_none(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote)
    folder.write("a.yaml", items({"n": 1}))
    folder.ok("apply", "--auto-approve")
    assert fields_of(remote) == {}


# -- verify ------------------------------------------------------------------------------------------


def test_verify_says_what_vanished(tmp_path: Path, remote: Remote) -> None:
    add_fields(remote, {"name": "n", "type": "LONG"})
    folder = project(tmp_path, remote)
    folder.write("a.yaml", items({"n": 1, "k": "v"}, {"k": "w"}, {}))
    folder.ok("apply", "--auto-approve")
    assert folder.ok("verify", "--timeout", "5").out == (
        "3 items: 3 verified\n"
        'note: metadata "k" of 2 items of source "blog" vanishes: no field and no mapping takes it '
        "(such as that of item/blog/x:0)\n"
        "note: 2 metadata values not compared, for want of a field that shows just that\n"
        "\n"
        "Verified: 3 of 3 resources; 0 missing, 0 rejected, 0 different.\n"
    )
    document = folder.ok("verify", "--all", "--timeout", "5", "--format", "json").json
    assert document["metadata"] == {
        "vanishing": [{"source": "blog", "key": "k", "items": 2, "example": "item/blog/x:0"}],
        "visible": 1,
        "invisible": 2,
    }


def test_verify_says_what_the_index_shows_instead(tmp_path: Path, remote: Remote) -> None:
    add_fields(remote, {"name": "n", "type": "LONG"}, {"name": "on", "type": "DATE"})
    map_rules(remote, SHARED_ID, ("on", "%[moment]"))
    folder = project(tmp_path, remote)
    folder.write("a.yaml", items({"n": 1.5, "moment": "2017-11-08T12:18:41Z"}, {"n": 3}))
    folder.ok("apply", "--auto-approve")
    document = folder.ok("verify", "--timeout", "0", "--format", "json", code=1).json
    assert [(entry["address"], entry["code"], entry["what"]) for entry in document["problems"]] == [
        ("item/blog/x:0", "fields-differ", 'the index shows 1 in the field "n", not 1.5 of metadata "n"')
    ]


def test_verify_goes_on_where_fields_cannot_be_read(tmp_path: Path) -> None:
    with start_remote(api_key="", keys={KEY: ALL_PRIVILEGES - {FIELD_VIEW}}) as closed:
        folder = project(tmp_path, closed)
        folder.write("a.yaml", items({"n": 1}))
        folder.ok("apply", "--auto-approve")
        document = folder.ok("verify", "--timeout", "5", "--format", "json").json
        refused = folder.ok("plan", "--check-fields", code=4)
    [note] = document["notes"]
    assert note.startswith("the fields cannot be read, so metadata was not compared: HTTP 403")
    assert document["metadata"] is None
    assert "HTTP 403" in refused.err


def test_apply_sends_nothing_where_fields_cannot_be_made(tmp_path: Path) -> None:
    with start_remote(fields="strict", api_key="", keys={KEY: ALL_PRIVILEGES - {FIELD_CREATE}}) as closed:
        folder = project(tmp_path, closed, "create")
        folder.write("a.yaml", items({"n": 1}))
        refused = folder.ok("apply", "--auto-approve", code=4)
        assert (
            'error[fields-not-created]: the organization lacks 1 field: "n" (LONG); creating them failed: HTTP 403'
            in refused.err
        )
        assert closed.contents()["items"] == {}


def test_fields_that_somebody_else_just_made_are_no_failure(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote, "create")
    folder.write("a.yaml", items({"n": 1}))
    with open_session(str(tmp_path), None) as session:
        add_fields(remote, {"name": "n", "type": "LONG"})
        with mock.patch.dict(os.environ, {KEY_VARIABLE: KEY}):
            make_fields(session, {"n": FieldType.LONG})
            with pytest.raises(RemoteError, match="the organization lacks 1 field"):
                make_fields(session, {"n": FieldType.LONG, "_bad": FieldType.LONG})


def test_ignored_fields_are_not_asked_for(tmp_path: Path, remote: Remote) -> None:
    folder = project(tmp_path, remote, "ignore")
    folder.write("a.yaml", items({"n": 1}, {"n": "a"}))
    folder.ok("apply", "--auto-approve")
    assert folder.ok("verify", "--timeout", "5", "--format", "json").json["metadata"] is None
