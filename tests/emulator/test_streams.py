"""The Stream API of catalog sources: loads, updates, merges, partial updates (push-api.md 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.emulator.options import Doubts, ProviderOptions, SourceOptions
from tests.emulator.conftest import ORGANIZATION, PROVIDER, Remote, Start

CATALOG = "catalog"
SOURCES = (SourceOptions(CATALOG, "SHARED", None, "catalog"), SourceOptions("plain", "SHARED"))


class Catalog:
    """A catalog source of an emulator."""

    def __init__(self, remote: Remote, place: str = "sources") -> None:
        self.remote = remote
        self.base = f"{remote.base}/{place}/{CATALOG}/stream"

    def call(self, method: str, path: str, status: int, **query: Any) -> Any:
        answer = self.remote.client.request(method, f"{self.base}/{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, container: Any, content: bytes) -> None:
        request = self.remote.client.build_request(
            "PUT", container["uploadUri"], content=content, headers=container["requiredHeaders"]
        )
        del request.headers["authorization"]
        assert self.remote.client.send(request).status_code == 200

    def load(self, *chunks: list[Any] | bytes) -> Any:
        """Open a stream, send one chunk after the other and close it."""
        container = stream = self.call("POST", "open", 201)
        for number, items in enumerate(chunks):
            if number:
                container = self.call("POST", f"{stream['streamId']}/chunk", 200)
            content = items if isinstance(items, bytes) else orjson.dumps({"addOrUpdate": items})
            self.upload(container, content)
        return self.call("POST", f"{stream['streamId']}/close", 200)

    def update(self, kind: str = "update", **lists: Any) -> Any:
        return self.call("PUT", kind, 202, fileId=self.remote.upload(orjson.dumps(lists)))

    def partial(self, uri: str, operator: str, field: str, value: Any) -> None:
        self.update(partialUpdate=[{"documentId": uri, "operator": operator, "field": field, "value": value}])

    def metadata(self) -> dict[str, Any]:
        return {uri: item["metadata"] for uri, item in self.remote.items(CATALOG).items()}


def item(number: int, **metadata: Any) -> dict[str, Any]:
    return {"documentId": f"product://{number}", "title": f"Product {number}", **metadata}


Open = Callable[..., Catalog]


@pytest.fixture
def opened(start: Start) -> Open:
    return lambda **changes: Catalog(start(sources=SOURCES, **changes))


@pytest.fixture
def catalog(opened: Open) -> Iterator[Catalog]:
    yield opened()


class TestLoads:
    def test_open_and_chunk_give_containers(self, catalog: Catalog) -> None:
        stream = catalog.call("POST", "open", 201)
        assert stream.keys() == {"streamId", "fileId", "uploadUri", "requiredHeaders"}
        chunk = catalog.call("POST", f"{stream['streamId']}/chunk", 200)
        assert chunk.keys() == {"fileId", "uploadUri", "requiredHeaders"}
        assert chunk["fileId"] != stream["fileId"]

    def test_a_load_overwrites_the_whole_source(self, catalog: Catalog) -> None:
        catalog.load([item(1), item(2)])
        catalog.remote.clock.advance(1)
        closed = catalog.load([item(2, color="red")], [item(3)])
        assert catalog.metadata() == {
            "product://2": {"title": "Product 2", "color": "red"},
            "product://3": {"title": "Product 3"},
        }
        assert closed["orderingId"] == str(int(catalog.remote.clock.now() * 1000))

    def test_also_within_one_millisecond(self, catalog: Catalog) -> None:
        catalog.load([item(1)])
        catalog.load([item(2)])
        assert list(catalog.metadata()) == ["product://2"]

    def test_a_fault_rejects_items_of_a_load(self, opened: Open) -> None:
        catalog = opened(faults=("POST stream/*/close: reject=*/1 x1",))
        catalog.load([item(1)], [item(2)])
        assert list(catalog.metadata()) == ["product://2"]
        assert [entry[:3] for entry in catalog.remote.logs(results=["REJECTED"])] == [
            ("ADD", "REJECTED", "product://1")
        ]
        catalog.load([item(1)])
        assert list(catalog.metadata()) == ["product://1"]

    def test_the_request_id_is_that_of_the_logs(self, catalog: Catalog) -> None:
        closed = catalog.load([item(1)])
        answer = catalog.remote.client.post(
            f"/logs/v1/organizations/{ORGANIZATION}", params={"from": "2023-11-14", "to": "2023-11-15"}
        )
        entries = answer.json()["documentLogEntries"]
        assert {entry["requestId"] for entry in entries} == {closed["requestId"]}
        assert entries[-1]["task"] == "STREAMING_BATCH"

    def test_an_unused_first_container_is_no_chunk(self, catalog: Catalog) -> None:
        """Some clients always ask for a chunk (push-api.md 2.5)."""
        stream = catalog.call("POST", "open", 201)
        chunk = catalog.call("POST", f"{stream['streamId']}/chunk", 200)
        catalog.upload(chunk, orjson.dumps({"addOrUpdate": [item(1)]}))
        catalog.call("POST", f"{stream['streamId']}/close", 200)
        assert list(catalog.metadata()) == ["product://1"]

    def test_an_open_stream_changes_nothing(self, catalog: Catalog) -> None:
        catalog.load([item(1)])
        stream = catalog.call("POST", "open", 201)
        catalog.upload(stream, orjson.dumps({"addOrUpdate": [item(2)]}))
        catalog.remote.clock.advance(7200)
        assert list(catalog.metadata()) == ["product://1"]

    @pytest.mark.parametrize("status", [412, 404])
    def test_unknown_and_closed_streams_are_refused(self, opened: Open, status: Any) -> None:
        catalog = opened(doubts=Doubts(unknown_stream=status))
        stream = catalog.call("POST", "open", 201)["streamId"]
        catalog.call("POST", f"{stream}/close", 200)
        for name in (stream, "nope"):
            catalog.call("POST", f"{name}/chunk", status)
            catalog.call("POST", f"{name}/close", status)

    @pytest.mark.parametrize(
        ("answer", "left"), [("keep", ["product://1", "product://2"]), ("remove", ["product://2"])]
    )
    def test_a_load_with_a_broken_chunk(self, opened: Open, answer: Any, left: list[str]) -> None:
        catalog = opened(doubts=Doubts(incomplete_load=answer))
        catalog.load([item(1)])
        catalog.load([item(2)], b"{")
        assert list(catalog.metadata()) == left
        assert ("BATCH_FILE", "ERROR") in [entry[:2] for entry in catalog.remote.logs()]

    @pytest.mark.parametrize(("answer", "left"), [("remove", []), ("keep", ["product://1"])])
    def test_a_load_with_a_rejected_item(self, opened: Open, answer: Any, left: list[str]) -> None:
        catalog = opened(doubts=Doubts(rejected_in_load=answer))
        catalog.load([item(1)])
        catalog.load([item(1, nested={"a": 1})])
        assert list(catalog.metadata()) == left

    def test_what_was_pushed_after_the_close_stays(self, opened: Open) -> None:
        catalog = opened(delay=60.0)
        catalog.load([item(1)])
        catalog.remote.put(
            "product://9", {}, path=f"{catalog.remote.base}/sources/{CATALOG}/documents", orderingId=2**60
        )
        catalog.remote.clock.advance(60)
        assert list(catalog.metadata()) == ["product://1", "product://9"]

    def test_streams_outlive_a_restart(self, start: Start, tmp_path: Path) -> None:
        first = Catalog(start(sources=SOURCES, data_dir=tmp_path))
        stream = first.call("POST", "open", 201)
        first.upload(stream, orjson.dumps({"addOrUpdate": [item(1)]}))
        first.remote.client.close()
        second = Catalog(start(sources=SOURCES, data_dir=tmp_path, clock=first.remote.clock))
        second.call("POST", f"{stream['streamId']}/close", 200)
        assert list(second.metadata()) == ["product://1"]

    def test_items_of_three_megabytes_are_rejected_in_the_logs(self, catalog: Catalog) -> None:
        catalog.load([item(1, data="x" * (3 * 1024 * 1024)), item(2)])
        assert list(catalog.metadata()) == ["product://2"]
        rejected = [entry for entry in catalog.remote.logs() if entry[1] == "REJECTED"]
        assert [entry[2] for entry in rejected] == ["product://1"]

    @pytest.mark.parametrize(("answer", "kept"), [("catalogs", True), ("all", False)])
    def test_whether_that_holds_for_push_sources(self, opened: Open, answer: Any, kept: bool) -> None:
        remote = opened(doubts=Doubts(item_bytes=answer)).remote
        remote.put("http://x/1", {"data": "x" * (3 * 1024 * 1024)}, path=f"{remote.base}/sources/plain/documents")
        assert bool(remote.items("plain")) is kept

    def test_a_catalog_is_full_at_its_limit(self, opened: Open) -> None:
        catalog = opened(catalog_items=2)
        catalog.load([item(1), item(2), item(3)])
        assert len(catalog.metadata()) == 2
        catalog.update(addOrUpdate=[item(1, color="red")])
        assert catalog.metadata()["product://1"]["color"] == "red"

    def test_data_collections_are_the_same(self, catalog: Catalog) -> None:
        Catalog(catalog.remote, "data-collections").load([item(1)])
        assert list(catalog.metadata()) == ["product://1"]


class TestWhere:
    @pytest.mark.parametrize("status", [412, 400])
    def test_sources_that_are_no_catalogs_refuse(self, opened: Open, status: Any) -> None:
        remote = opened(doubts=Doubts(not_a_catalog=status)).remote
        base = f"{remote.base}/sources/plain/stream"
        for method, path in (
            *(("POST", name) for name in ("open", "x/chunk", "x/close", "deleteolderthan/1")),
            *(("PUT", f"{name}?fileId=x") for name in ("update", "merge")),
        ):
            assert remote.client.request(method, f"{base}/{path}").status_code == status, path

    def test_unknown_sources(self, catalog: Catalog) -> None:
        answer = catalog.remote.client.post(f"{catalog.remote.base}/sources/nope/stream/open")
        assert (answer.status_code, answer.json()["errorCode"]) == (412, "SOURCE_DOES_NOT_EXIST")

    @pytest.mark.parametrize(("answer", "status"), [("accept", 202), ("refuse", 412)])
    def test_pushes_to_a_catalog(self, opened: Open, answer: Any, status: int) -> None:
        remote = opened(doubts=Doubts(push_to_catalog=answer)).remote
        path = f"{remote.base}/sources/{CATALOG}/documents?documentId=product://1"
        assert remote.client.put(path, json={}).status_code == status
        shown = remote.client.get(f"{remote.platform}/sources/{CATALOG}").json()
        assert shown["pushEnabled"] is (answer == "accept")

    def test_the_read_side_tells_a_catalog(self, catalog: Catalog) -> None:
        platform, client = catalog.remote.platform, catalog.remote.client
        shown = client.get(f"{platform}/sources/{CATALOG}").json()
        assert (shown["sourceType"], shown["streamEnabled"]) == ("CATALOG", True)
        plain = client.get(f"{platform}/sources/plain").json()
        assert (plain["sourceType"], plain["streamEnabled"]) == ("PUSH", False)


class TestUpdates:
    def test_update_replaces_whole_items_and_leaves_the_others(self, catalog: Catalog) -> None:
        catalog.load([item(1, color="red"), item(2), item(3)])
        accepted = catalog.update(addOrUpdate=[item(1, size="L")], delete=[{"documentId": "product://3"}])
        assert accepted.keys() == {"orderingId", "requestId"}
        assert catalog.metadata() == {
            "product://1": {"title": "Product 1", "size": "L"},
            "product://2": {"title": "Product 2"},
        }

    def test_a_file_is_required(self, catalog: Catalog) -> None:
        for kind in ("update", "merge"):
            assert catalog.call("PUT", kind, 412)["errorCode"] == "MISSING_PARAMETER"

    @pytest.mark.parametrize(("answer", "status"), [("check", 412), ("ignore", 202)])
    def test_the_form_of_a_shard(self, opened: Open, answer: Any, status: int) -> None:
        catalog = opened(doubts=Doubts(stream_shard=answer))
        catalog.call("PUT", "update", status, fileId="x", shard="not-a-shard")
        catalog.call("PUT", "update", 202, fileId="x", shard="a1")

    def test_merge_keeps_what_is_not_mentioned(self, catalog: Catalog) -> None:
        catalog.load([item(1, color="red", data="text")])
        catalog.update("merge", addOrUpdate=[{"documentId": "product://1", "size": "L"}, item(2)])
        merged = catalog.remote.items(CATALOG)["product://1"]
        assert merged["metadata"] == {"title": "Product 1", "color": "red", "size": "L"}
        assert merged["body"]["preview"] == "text"
        assert list(catalog.metadata()) == ["product://1", "product://2"], "a merge creates what is missing"

    def test_merge_is_shallow(self, opened: Open) -> None:
        catalog = opened(doubts=Doubts(nested_metadata="accept"))
        catalog.load([item(1, sizes={"s": 1, "m": 2})])
        catalog.update("merge", addOrUpdate=[{"documentId": "product://1", "sizes": {"l": 3}}])
        assert catalog.metadata()["product://1"]["sizes"] == {"l": 3}

    def test_merge_keeps_permissions(self, start: Start) -> None:
        sources = (SourceOptions(CATALOG, "SECURED", PROVIDER, "catalog"),)
        catalog = Catalog(start(sources=sources, providers=(ProviderOptions(PROVIDER),)))
        catalog.load([item(1, permissions=[{"allowAnonymous": True}])])
        catalog.update("merge", addOrUpdate=[{"documentId": "product://1", "size": "L"}])
        (level,) = catalog.remote.items(CATALOG)["product://1"]["permissions"]
        assert level["permissionSets"][0]["allowAnonymous"] is True

    @pytest.mark.parametrize(("answer", "kept"), [("ignore", True), ("remove", False)])
    def test_null_in_a_merge(self, opened: Open, answer: Any, kept: bool) -> None:
        catalog = opened(doubts=Doubts(merge_null=answer))
        catalog.load([item(1, color="red")])
        catalog.update("merge", addOrUpdate=[{"documentId": "product://1", "color": None}])
        assert ("color" in catalog.metadata()["product://1"]) is kept

    def test_delete_older_than(self, catalog: Catalog) -> None:
        catalog.load([item(1)])
        catalog.remote.clock.advance(10)
        now = int(catalog.remote.clock.now() * 1000)
        catalog.update(addOrUpdate=[item(2)])
        accepted = catalog.call("POST", f"deleteolderthan/{now}", 201, queueDelay=1)
        assert accepted["orderingId"] == str(now)
        assert len(catalog.metadata()) == 2
        catalog.remote.clock.advance(60)
        assert list(catalog.metadata()) == ["product://2"]
        assert catalog.call("POST", "deleteolderthan/soon", 412)["errorCode"] == "INVALID_PARAMETER"


class TestPartialUpdates:
    @pytest.mark.parametrize(
        "spelled", [str, str.upper, lambda name: "".join(f"_{c}" if c.isupper() else c for c in name)]
    )
    @pytest.mark.parametrize(
        ("operator", "field", "value", "after"),
        [
            ("fieldValueReplace", "color", "blue", {"color": "blue"}),
            ("fieldValueReplace", "Color", None, {}),
            ("fieldValueReplace", "price", 5, {"price": 5}),
            ("arrayAppend", "tags", ["c"], {"tags": ["a", "b", "c"]}),
            ("arrayAppend", "newtags", ["c"], {"newtags": ["c"]}),
            ("arrayRemove", "tags", ["a", "z"], {"tags": ["b"]}),
            ("dictionaryPut", "stock", {"m": 2}, {"stock": {"m": 2}}),
            ("arrayRemove", "none", ["a"], {}),
            ("dictionaryRemove", "none", "a", {}),
        ],
    )
    def test_operators(
        self, catalog: Catalog, spelled: Callable[[str], str], operator: str, field: str, value: Any, after: Any
    ) -> None:
        """The case of an operator, and the ENUM form of some clients, make no difference."""
        catalog.load([item(1, color="red", tags=["a", "b"], data="kept")])
        catalog.partial("product://1", spelled(operator), field, value)
        expected = {"title": "Product 1", "color": "red", "tags": ["a", "b"], **after}
        if value is None:
            del expected["color"]
        assert catalog.metadata() == {"product://1": expected}
        assert catalog.remote.items(CATALOG)["product://1"]["body"]["preview"] == "kept"

    def test_dictionaries_lose_one_key_or_several(self, catalog: Catalog) -> None:
        catalog.load([item(1)])
        catalog.partial("product://1", "dictionaryPut", "stock", {"s": 1, "m": 2, "l": 3, "xl": 4})
        catalog.partial("product://1", "dictionaryRemove", "stock", "s")
        catalog.partial("product://1", "dictionaryRemove", "stock", ["m", "l"])
        assert catalog.metadata()["product://1"]["stock"] == {"xl": 4}

    def test_several_of_one_item_count_in_their_order(self, catalog: Catalog) -> None:
        catalog.load([item(1)])
        change = {"documentId": "product://1", "field": "tags"}
        catalog.update(
            partialUpdate=[
                {**change, "operator": "arrayAppend", "value": ["a", "b"]},
                {**change, "operator": "arrayRemove", "value": ["a"]},
            ]
        )
        assert catalog.metadata()["product://1"]["tags"] == ["b"]

    @pytest.mark.parametrize("result", ["SKIPPED", "REJECTED", "WARNING"])
    def test_no_item_is_created(self, opened: Open, result: Any) -> None:
        catalog = opened(doubts=Doubts(partial_missing=result))
        catalog.partial("product://1", "fieldValueReplace", "color", "red")
        assert catalog.metadata() == {}
        assert ("UPDATE", result, "product://1", "there is no such item") in catalog.remote.logs()

    @pytest.mark.parametrize(("answer", "color"), [("accept", "red"), ("refuse", None)])
    def test_before_the_first_load(self, opened: Open, answer: Any, color: str | None) -> None:
        catalog = opened(doubts=Doubts(partial_before_load=answer))
        catalog.update(addOrUpdate=[item(1)])
        catalog.partial("product://1", "fieldValueReplace", "color", "red")
        assert catalog.metadata()["product://1"].get("color") == color
        catalog.load([item(1)])
        catalog.partial("product://1", "fieldValueReplace", "color", "red")
        assert catalog.metadata()["product://1"]["color"] == "red"

    @pytest.mark.parametrize(("answer", "after"), [("wrap", ["red", "blue"]), ("reject", "red")])
    def test_an_array_operator_on_one_value(self, opened: Open, answer: Any, after: Any) -> None:
        catalog = opened(doubts=Doubts(array_of_scalar=answer))
        catalog.load([item(1, color="red")])
        catalog.partial("product://1", "arrayAppend", "color", ["blue"])
        assert catalog.metadata()["product://1"]["color"] == after

    @pytest.mark.parametrize(
        "change",
        [
            {"operator": "explode", "field": "color", "value": "x"},
            {"operator": "arrayAppend", "field": "color", "value": "x"},
            {"operator": "dictionaryPut", "field": "color", "value": ["x"]},
            {"operator": "dictionaryPut", "field": "color", "value": {"a": "x"}},
            {"operator": "dictionaryRemove", "field": "color", "value": 5},
            {"operator": "fieldValueReplace", "field": "permissions", "value": "x"},
            {"operator": "fieldValueReplace", "value": "x"},
            {"operator": "fieldValueReplace", "field": "color", "value": {"a": {"b": 1}}},
        ],
    )
    def test_what_fits_no_operator_is_rejected_in_the_logs(self, catalog: Catalog, change: Any) -> None:
        catalog.load([item(1, color="red")])
        catalog.update(partialUpdate=[{"documentId": "product://1", **change}])
        assert catalog.metadata()["product://1"]["color"] == "red"
        assert ("UPDATE", "REJECTED", "product://1") in [entry[:3] for entry in catalog.remote.logs()]
