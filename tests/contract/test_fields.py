"""Fields, mappings and limits: the last rows of push-api.md 2.6, and what fields make of metadata (4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.emulator.quotas import Limits
from tests.contract.conftest import NAMES, Api

FIELDS = f"/rest/organizations/{NAMES['org']}/indexes/fields"
MAPPINGS = f"/rest/organizations/{NAMES['org']}/sources/{NAMES['src']}/mappings"


def field(name: str, kind: str = "STRING", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def raw(api: Api) -> dict[str, Any]:
    """Return the fields of the one item that there is."""
    (result,) = api.search()["results"]
    found: dict[str, Any] = result["raw"]
    return found


@pytest.mark.row("2.6 fields")
def test_fields(api: Api) -> None:
    api.replay(
        """
        POST /rest/organizations/$org/indexes/fields
        Authorization: Bearer $key
        Content-Type: application/json

        {"name": "myfield", "type": "STRING", "description": "Mine", "multiValueFacet": true}
        ---
        204
        """
    )
    api.replay(
        """
        POST /rest/organizations/$org/indexes/fields/batch/create
        Authorization: Bearer $key
        Content-Type: application/json

        [{"name": "mynumber", "type": "LONG"}, {"name": "mydate", "type": "DATE"}]
        ---
        204
        """
    )
    api.replay(
        """
        POST /rest/organizations/$org/indexes/fields/search
        Authorization: Bearer $key
        Content-Type: application/json

        {"page": 0, "perPage": 2, "sortBy": "name", "order": "DESC", "filters": {"origin": "USER"}}
        ---
        200

        {"items": [{"name": "mynumber", "type": "LONG", "...": ""}, {"name": "myfield", "type": "STRING", "...": ""}],
         "totalEntries": 3, "totalPages": 2, "...": ""}
        """
    )
    assert api.call("PUT", f"{FIELDS}/batch/update", [field("myfield", facet=True)]).status_code == 204
    assert api.call("GET", f"{FIELDS}/myfield").json()["facet"] is True
    assert api.call("DELETE", f"{FIELDS}/batch/delete", fields="myfield,mydate").status_code == 204
    found = api.call("POST", f"{FIELDS}/search", {"filters": {"origin": "USER"}}).json()
    assert [entry["name"] for entry in found["items"]] == ["mynumber"]


@pytest.mark.row("2.6 fields")
@pytest.mark.parametrize("size", [0, 1001])
def test_a_page_of_fields_has_1_to_1000(api: Api, size: int) -> None:
    assert api.call("POST", f"{FIELDS}/search", {"perPage": size}).status_code == 400


@pytest.mark.row("2.6 mappings")
def test_mappings(api: Api) -> None:
    assert api.call("POST", FIELDS, field("myfield")).status_code == 204
    api.put("http://before", {"one": "1"})
    api.advance(1)
    rule = {"id": "r1", "field": "myfield", "content": ["%[none]", "%[one]", "%[two]"]}
    api.replay(
        """
        PUT /rest/organizations/$org/sources/$src/mappings?rebuild=false
        Authorization: Bearer $key
        Content-Type: application/json

        {"common": {"rules": [{"id": "r1", "field": "myfield", "content": ["%[none]", "%[one]", "%[two]"]}]},
         "types": [{"id": "t1", "type": "Product", "rules": []}]}
        ---
        200

        {"common": {"rules": [{"id": "r1", "field": "myfield", "content": ["%[none]", "%[one]", "%[two]"]}]},
         "types": [{"id": "t1", "type": "Product", "rules": []}]}
        """
    )
    assert api.call("GET", MAPPINGS).json()["common"]["rules"] == [rule]
    assert api.call("GET", f"{MAPPINGS}/common/rules").json() == [rule]
    assert api.call("GET", f"{MAPPINGS}/types/t1/rules").json() == []
    api.put("http://after", {"one": "1", "two": "2"})
    found = {result["uri"]: result["raw"].get("myfield") for result in api.search()["results"]}
    assert found == {"http://before": None, "http://after": "1"}, "items must be pushed again (push-api.md 7, 14)"
    assert api.call("GET", f"{api.platform}/sources/{NAMES['src']}").json()["information"]["rebuildRequired"] is True


@pytest.mark.row("2.6 limits")
def test_limits(start: Callable[..., Api]) -> None:
    api = start(limits=Limits(items_per_day=100))
    api.put("http://a")
    api.replay(
        """
        GET /rest/organizations/$org/limits/content/pushApiMaximumDailyDocumentLimit
        Authorization: Bearer $key
        ---
        200

        {"actualCount": 1, "limit": 100, "...": ""}
        """
    )
    assert api.call("GET", f"{api.platform}/limits/content/nothing").status_code == 404
    section = api.call("GET", f"{api.platform}/limits/content").json()
    assert section["pushApiMaximumDailyDocumentLimit"]["limit"] == 100


@pytest.mark.row("4.4 a key needs a field")
def test_a_key_without_a_field_vanishes(start: Callable[..., Api]) -> None:
    """Nothing says so, neither the answer nor the logs (push-api.md 7, 14)."""
    api = start(fields="strict")
    assert api.call("POST", FIELDS, field("known")).status_code == 204
    api.put("http://a", {"known": "1", "Unknown": "2", "title": "A"})
    found = raw(api)
    assert (found["known"], found["title"], "unknown" in found) == ("1", "A", False)
    assert api.logs() == [("ADD", "COMPLETED", "http://a")]


@pytest.mark.row("4.4 field names")
@pytest.mark.parametrize(
    ("name", "status"),
    [("a", 204), ("a_1", 204), ("a" * 255, 204), ("a" * 256, 400), ("1a", 400), ("_a", 400), ("A", 400), ("a-b", 400)],
)
def test_the_name_of_a_field(api: Api, name: str, status: int) -> None:
    assert api.call("POST", FIELDS, field(name)).status_code == status


@pytest.mark.row("4.4 field types")
@pytest.mark.parametrize("kind", ["LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR"])
def test_the_types_of_fields(api: Api, kind: str) -> None:
    assert api.call("POST", FIELDS, field("f", kind)).status_code == 204
    assert api.call("POST", FIELDS, field("g", kind.lower())).status_code == 400


@pytest.mark.row("4.4 field types")
def test_booleans_lists_and_dictionaries(api: Api) -> None:
    models = [field("flag"), field("many", multiValueFacet=True), field("pairs", keyValue=True)]
    assert api.call("POST", f"{FIELDS}/batch/create", models).status_code == 204
    api.put("http://a", {"flag": True, "many": ["a", "b"], "pairs": {"key": 1}})
    found = raw(api)
    assert found["flag"] == "true"
    assert found["pairs"] == {"key": 1}
    assert found["many"] in (["a", "b"], "a;b")
    answer = api.call("PUT", api.documents, {"other": {"key": 1}}, documentId="http://b")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_JSON")


@pytest.mark.row("4.4 values that do not fit")
@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        ("LONG", "12", 12),
        ("LONG", "twelve", None),
        ("DOUBLE", "1.5", 1.5),
        ("DOUBLE", "much", None),
        ("DATE", "2017-11-08T12:18:41.666Z", 1510143521666),
        ("DATE", "yesterday", None),
        ("STRING", 5, "5"),
    ],
)
def test_values_are_converted_or_dropped(start: Callable[..., Api], kind: str, value: Any, held: Any) -> None:
    api = start(fields="strict")
    assert api.call("POST", FIELDS, field("f", kind)).status_code == 204
    api.put("http://a", {"f": value})
    assert raw(api).get("f") == held
    assert api.logs() == [("ADD", "COMPLETED", "http://a")]
