"""The Stream API of catalogs: each row of push-api.md 2.5, and the size of what it takes (4.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.conftest import NAMES, Api

STREAM = f"/push/v1/organizations/{NAMES['org']}/sources/{NAMES['catalog']}/stream"


def item(name: str, **metadata: Any) -> dict[str, Any]:
    return {"documentId": f"product://{name}", "objecttype": "Product", **metadata}


def content(*items: dict[str, Any], **lists: Any) -> bytes:
    return json.dumps({"addOrUpdate": list(items), **lists}).encode()


def upload(api: Api, made: dict[str, Any], data: bytes) -> None:
    answer = api.client.put(made["uploadUri"], content=data, headers=made["requiredHeaders"])
    assert answer.status_code == 200


def load(api: Api, *files: bytes) -> None:
    """Replace the whole catalog."""
    opened = api.call("POST", f"{STREAM}/open").json()
    upload(api, opened, files[0])
    for data in files[1:]:
        upload(api, api.call("POST", f"{STREAM}/{opened['streamId']}/chunk").json(), data)
    assert api.call("POST", f"{STREAM}/{opened['streamId']}/close").status_code == 200
    api.advance(1)


def update(api: Api, data: bytes, call: str = "update") -> None:
    assert api.call("PUT", f"{STREAM}/{call}", fileId=api.container(data)).status_code == 202
    api.advance(1)


def metadata(api: Api, name: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = api.items("catalog")[f"product://{name}"]["metadata"]
    return found


def names(api: Api) -> list[str]:
    return sorted(uri.removeprefix("product://") for uri in api.items("catalog"))


@pytest.mark.row("2.5 open")
@pytest.mark.parametrize("place", ["sources", "data-collections"])
@pytest.mark.parametrize("base", ["/push/v1", "/v1"])
def test_open(api: Api, place: str, base: str) -> None:
    api.replay(
        """
        POST $base/organizations/$org/$place/$catalog/stream/open
        Authorization: Bearer $key
        Content-Type: application/json

        {}
        ---
        201

        {"streamId": "*", "fileId": "*", "uploadUri": "*", "requiredHeaders": {
           "x-amz-server-side-encryption": "AES256", "Content-Type": "application/octet-stream"}}
        """,
        place=place,
        base=base,
    )


@pytest.mark.row("2.5 open")
def test_a_plain_push_source_has_no_streams(api: Api) -> None:
    answer = api.call("POST", STREAM.replace(NAMES["catalog"], NAMES["src"]) + "/open")
    assert answer.status_code == 412


@pytest.mark.row("2.5 next chunk")
def test_next_chunk(api: Api) -> None:
    opened = api.call("POST", f"{STREAM}/open").json()
    answer = api.replay(
        """
        POST /push/v1/organizations/$org/sources/$catalog/stream/$stream/chunk
        Authorization: Bearer $key
        ---
        200

        {"fileId": "*", "uploadUri": "*", "requiredHeaders": "*"}
        """,
        stream=opened["streamId"],
    )
    assert answer.json()["fileId"] != opened["fileId"]


@pytest.mark.row("2.5 next chunk")
@pytest.mark.row("2.5 close")
@pytest.mark.parametrize("call", ["chunk", "close"])
def test_a_stream_that_nobody_opened(api: Api, call: str) -> None:
    assert api.call("POST", f"{STREAM}/nobody/{call}").status_code == 412


@pytest.mark.row("2.5 close")
def test_what_was_streamed_is_all_there_is(api: Api) -> None:
    load(api, content(item("a"), item("b")))
    assert names(api) == ["a", "b"]
    opened = api.call("POST", f"{STREAM}/open").json()
    upload(api, opened, content(item("b", title="B")))
    chunk = api.call("POST", f"{STREAM}/{opened['streamId']}/chunk").json()
    upload(api, chunk, content(item("c")))
    assert names(api) == ["a", "b"]
    answer = api.replay(
        """
        POST /push/v1/organizations/$org/sources/$catalog/stream/$stream/close
        Authorization: Bearer $key
        ---
        200

        {"orderingId": "*", "requestId": "*"}
        """,
        stream=opened["streamId"],
    )
    assert isinstance(answer.json()["orderingId"], str)
    assert names(api) == ["b", "c"]
    assert metadata(api, "b")["title"] == "B"
    assert api.call("POST", f"{STREAM}/{opened['streamId']}/close").status_code == 412


@pytest.mark.row("2.5 update")
def test_an_update_replaces_items_whole_and_leaves_the_others(api: Api) -> None:
    load(api, content(item("a", title="A", color="red"), item("b"), item("c")))
    file = api.container(content(item("a", title="New"), item("d"), delete=[{"documentId": "product://c"}]))
    answer = api.replay(
        """
        PUT /push/v1/organizations/$org/sources/$catalog/stream/update?fileId=$file
        Authorization: Bearer $key
        Content-Type: application/json

        {}
        ---
        202

        {"orderingId": "*", "requestId": "*"}
        """,
        file=file,
    )
    assert answer.json()["orderingId"].isdigit()
    assert names(api) == ["a", "b", "d"]
    assert metadata(api) == {"objecttype": "Product", "title": "New"}


@pytest.mark.row("2.5 update")
@pytest.mark.parametrize(("query", "status"), [({}, 412), ({"shard": "a1"}, 202), ({"shard": "a-1"}, 412)])
def test_the_parameters_of_an_update(api: Api, query: dict[str, str], status: int) -> None:
    given = {"fileId": api.container(content()), **query} if query else {}
    assert api.call("PUT", f"{STREAM}/update", **given).status_code == status


@pytest.mark.row("2.5 shallow merge")
def test_a_merge_keeps_what_it_does_not_mention_and_makes_what_is_missing(api: Api) -> None:
    load(api, content(item("a", title="A", color="red", data="text"), item("b")))
    api.replay(
        """
        PUT /push/v1/organizations/$org/sources/$catalog/stream/merge?fileId=$file
        Authorization: Bearer $key
        ---
        202

        {"orderingId": "*", "requestId": "*"}
        """,
        file=api.container(content({"documentId": "product://a", "color": "blue"}, item("c"))),
    )
    assert names(api) == ["a", "b", "c"]
    assert metadata(api) == {"objecttype": "Product", "title": "A", "color": "blue"}
    assert api.items("catalog")["product://a"]["body"]["preview"] == "text"


@pytest.mark.row("2.5 delete old")
def test_delete_old(api: Api) -> None:
    load(api, content(item("a")))
    between = api.items("catalog")["product://a"]["orderingId"] + 1
    update(api, content(item("b")))
    api.replay(
        """
        POST /push/v1/organizations/$org/sources/$catalog/stream/deleteolderthan/$number?queueDelay=0
        Authorization: Bearer $key
        ---
        201

        {"orderingId": "$number", "requestId": "*"}
        """,
        number=str(between),
    )
    assert names(api) == ["b"]


def partial(api: Api, operator: str, field: str, value: Any) -> dict[str, Any]:
    """Load one item, change it in part, and return its metadata."""
    load(api, content(item("a", title="A", tags=["x", "y"])))
    change = {"documentId": "product://a", "operator": operator, "field": field, "value": value}
    update(api, json.dumps({"partialUpdate": [change]}).encode())
    return metadata(api)


@pytest.mark.row("2.5 fieldValueReplace")
@pytest.mark.parametrize("operator", ["fieldValueReplace", "FIELDVALUEREPLACE"])
@pytest.mark.parametrize("value", ["B", 5, ["a", "b"]])
def test_field_value_replace(api: Api, operator: str, value: Any) -> None:
    assert partial(api, operator, "title", value) == {"objecttype": "Product", "title": value, "tags": ["x", "y"]}


@pytest.mark.row("2.5 fieldValueReplace")
def test_field_value_replace_by_null(api: Api) -> None:
    assert partial(api, "fieldValueReplace", "title", None) == {"objecttype": "Product", "tags": ["x", "y"]}


@pytest.mark.row("2.5 fieldValueReplace")
def test_a_partial_update_makes_no_item(api: Api) -> None:
    change = {"documentId": "product://z", "operator": "fieldValueReplace", "field": "title", "value": "Z"}
    load(api, content(item("a")))
    update(api, json.dumps({"partialUpdate": [change]}).encode())
    assert names(api) == ["a"]
    assert ("UPDATE", "SKIPPED", "product://z") in api.logs()


@pytest.mark.row("2.5 arrayAppend, arrayRemove")
@pytest.mark.parametrize(("operator", "left"), [("arrayAppend", ["x", "y", "y", "z"]), ("arrayRemove", ["x"])])
def test_array_append_and_remove(api: Api, operator: str, left: list[str]) -> None:
    assert partial(api, operator, "tags", ["y", "z"])["tags"] == left


def dictionary(api: Api, operator: str, value: Any) -> Any:
    """Change the dictionary field of one item, and return it."""
    field = {"name": "stock", "type": "STRING", "keyValue": True}
    assert api.call("POST", f"{api.platform}/indexes/fields", field).status_code == 204
    load(api, content(item("a", stock={"north": 1, "south": 2})))
    change = {"documentId": "product://a", "operator": operator, "field": "stock", "value": value}
    update(api, json.dumps({"partialUpdate": [change]}).encode())
    return metadata(api)["stock"]


@pytest.mark.row("2.5 dictionaryPut")
def test_dictionary_put(api: Api) -> None:
    assert dictionary(api, "dictionaryPut", {"south": 3, "west": 4}) == {"north": 1, "south": 3, "west": 4}


@pytest.mark.row("2.5 dictionaryRemove")
@pytest.mark.parametrize("value", ["south", ["south", "east"]])
def test_dictionary_remove(api: Api, value: Any) -> None:
    assert dictionary(api, "dictionaryRemove", value) == {"north": 1}


@pytest.mark.row("2.5 arrayAppend, arrayRemove")
@pytest.mark.row("2.5 dictionaryPut")
@pytest.mark.row("2.5 dictionaryRemove")
@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("arrayAppend", "z"),
        ("arrayRemove", {"a": 1}),
        ("dictionaryPut", ["a"]),
        ("dictionaryRemove", 5),
        ("dictionaryRemove", [5]),
        ("increment", 1),
    ],
)
def test_a_value_that_an_operator_does_not_take(api: Api, operator: str, value: Any) -> None:
    assert partial(api, operator, "tags", value)["tags"] == ["x", "y"]
    assert ("UPDATE", "REJECTED", "product://a") in api.logs()


@pytest.mark.row("4.1 Catalog/Stream item")
@pytest.mark.parametrize(("size", "there"), [(3 * 1024 * 1024 - 1000, True), (3 * 1024 * 1024 + 1, False)])
def test_an_item_of_a_catalog_has_3_mb(api: Api, size: int, there: bool) -> None:
    load(api, content(item("a", data="x" * size), item("b")))
    assert names(api) == (["a", "b"] if there else ["b"])


@pytest.mark.row("4.1 Catalog/Stream item")
def test_an_item_of_a_push_source_may_be_larger(api: Api) -> None:
    api.put("http://a", {"data": "x" * (4 * 1024 * 1024)})
    assert list(api.items()) == ["http://a"]
