"""What may be read back: each row of push-api.md 2.6."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.contract.conftest import EMAIL, NAMES, PUBLIC, Api, iso

PERMISSIONS = [
    {
        "allowedPermissions": [
            {"identity": "AlphaTeam", "identityType": "Group"},
            {"identity": "carol@example.com", "identityType": "User", "securityProvider": EMAIL},
        ],
        "deniedPermissions": [{"identity": "bob", "identityType": "User"}],
    }
]
TEAM = {
    "identity": {"name": "AlphaTeam", "type": "GROUP"},
    "members": [{"name": "alice", "type": "USER"}, {"name": "bob", "type": "USER"}, {"name": "Inner", "type": "GROUP"}],
}
INNER = {"identity": {"name": "Inner", "type": "GROUP"}, "members": [{"name": "dave", "type": "USER"}]}
ALIAS = {
    "identity": {"name": "alice", "type": "USER"},
    "mappings": [{"name": "alice@example.com", "type": "USER", "provider": EMAIL}],
}


def fill(api: Api) -> None:
    """Push two groups, one alias and one item that they see."""
    api.identity(TEAM)
    api.identity(INNER)
    api.identity(ALIAS, "mappings")
    api.put("file://folder/a b.txt", {"title": "A", "data": "Some text", "permissions": PERMISSIONS})


@pytest.mark.row("2.6 source summary")
def test_source_summary(api: Api) -> None:
    api.put("http://a", {"data": "1234"})
    api.replay(
        """
        GET /rest/organizations/$org/sources/$src
        Authorization: Bearer $key
        ---
        200

        {"id": "$src", "sourceVisibility": "SECURED", "pushEnabled": true, "streamEnabled": false, "...": "",
         "information": {"sourceStatus": {"type": "PUSH_READY", "...": ""}, "numberOfDocuments": 1,
                         "documentsTotalSize": 4, "rebuildRequired": false, "rebuildRequiredReasons": [], "...": ""}}
        """
    )
    listed = api.call("GET", f"{api.platform}/sources").json()
    assert [entry["id"] for entry in listed] == [
        NAMES["src"],
        NAMES["shared"],
        NAMES["private"],
        NAMES["catalog"],
    ]
    paged = api.call("GET", f"{api.platform}/sources/pages", page=1, perPage=3).json()
    assert [entry["id"] for entry in paged["sourceModels"]] == [NAMES["catalog"]]
    assert (paged["totalEntries"], paged["totalPages"]) == (4, 2)


@pytest.mark.row("2.6 source summary")
def test_a_source_names_its_providers(api: Api) -> None:
    found = api.call("GET", f"{api.platform}/sources/{NAMES['src']}").json()
    assert NAMES["prov"] in json.dumps(found["securityProviderReferences"])


@pytest.mark.row("2.6 items present + field values")
def test_items_and_their_fields(api: Api) -> None:
    fill(api)
    api.replay(
        """
        POST /rest/search/v2?organizationId=$org&viewAllContent=1
        Authorization: Bearer $key
        Content-Type: application/json

        {"aq": "@source==\\"$src\\"", "numberOfResults": 1000, "firstResult": 0,
         "fieldsToInclude": ["permanentid", "uri"], "sortCriteria": "@rowid ascending", "pipeline": ""}
        ---
        200

        {"totalCount": 1, "...": "", "results": [{
          "title": "A", "uri": "file://folder/a b.txt", "clickUri": "*", "printableUri": "*", "uniqueId": "*",
          "excerpt": "*", "raw": {"permanentid": "*", "uri": "file://folder/a b.txt"}, "...": ""}]}
        """
    )


@pytest.mark.row("2.6 items present + field values")
def test_pages_end_at_the_maximum_and_go_on_by_a_sort_key(api: Api) -> None:
    api.batch(addOrUpdate=[{"documentId": f"http://a/{n}", "permissions": PUBLIC} for n in range(5100)])
    query = {"organizationId": NAMES["org"], "viewAllContent": "1"}
    beyond = api.call("POST", "/rest/search/v2", {"numberOfResults": 1000, "firstResult": 4500}, **query)
    assert beyond.status_code == 400
    found: set[str] = set()
    row = 0
    while results := api.search(aq=f"@rowid>{row}", sortCriteria="@rowid ascending", numberOfResults=1000)["results"]:
        found.update(result["uri"] for result in results)
        row = results[-1]["raw"]["rowid"]
    assert len(found) == 5100


@pytest.mark.row("2.6 items present + field values")
def test_results_are_trimmed_without_the_right_to_see_all(api: Api) -> None:
    api.put("http://public")
    api.put("http://secret", {"permissions": PERMISSIONS})
    answer = api.call("POST", "/rest/search/v2", {"numberOfResults": 10}, organizationId=NAMES["org"])
    assert [result["uri"] for result in answer.json()["results"]] == ["http://public"]


@pytest.mark.row("2.6 one item")
def test_one_item(api: Api) -> None:
    fill(api)
    unique = api.search()["results"][0]["uniqueId"]
    api.replay(
        """
        GET /rest/search/v2/document?organizationId=$org&uniqueId=$unique&viewAllContent=1
        Authorization: Bearer $key
        ---
        200

        {"title": "A", "uri": "file://folder/a b.txt", "uniqueId": "*", "raw": "*", "...": ""}
        """,
        unique=quote(unique, safe=""),
    )


@pytest.mark.row("2.6 one item")
def test_one_item_by_its_primary_id(api: Api) -> None:
    api.put("http://a", {"primaryid": "1234"})
    query = {"organizationId": NAMES["org"], "viewAllContent": "1"}
    primary = api.search()["results"][0]["raw"].get("primaryid", "1234")
    path = "/rest/search/v2/document"
    assert api.call("GET", path, **query, primaryId=primary).json()["uri"] == "http://a"
    assert api.call("GET", path, **query).status_code == 400
    assert api.call("GET", path, **query, primaryId=primary, uniqueId="x").status_code == 400
    assert api.call("GET", path, **query, uniqueId="nothing").status_code == 404


@pytest.mark.row("2.6 one item")
@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("text", "text/plain", "Hello you"),
        ("html", "text/html", "<p>Hello you</p>"),
        ("datastream?dataStream=$BODY", "application/octet-stream", "<p>Hello you</p>"),
    ],
)
def test_the_content_of_one_item(api: Api, path: str, kind: str, text: str) -> None:
    api.put("http://a", {"data": "<p>Hello you</p>", "fileExtension": ".html"})
    unique = api.search()["results"][0]["uniqueId"]
    name, _, more = path.partition("?")
    query = {"organizationId": NAMES["org"], "viewAllContent": "1", "uniqueId": unique}
    query |= dict([more.split("=")]) if more else {}
    answer = api.call("GET", f"/rest/search/v2/{name}", **query)
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"].startswith(kind)


@pytest.mark.row("2.6 item permission model")
def test_item_permission_model(api: Api) -> None:
    """The uri is encoded twice in the path."""
    fill(api)
    identity = {"additionalInfo": {}, "...": ""}
    answer = api.replay(
        """
        GET /rest/organizations/$org/indexes/$index/documents/$document/permissions
        Authorization: Bearer $key
        ---
        200

        {"lastUpdatedDate": "*", "state": "*", "permissionLevels": [{"name": "", "permissionSets": [
          {"name": "", "anonymousAllowed": false, "permissions": [
            {"allowed": true, "identity": "AlphaTeam", "identityType": "Group", "securityProvider": "$prov", $rest},
            {"allowed": true, "identity": "carol@example.com", "identityType": "User",
             "securityProvider": "$email", $rest},
            {"allowed": false, "identity": "bob", "identityType": "User", "securityProvider": "$prov", $rest}
          ]}]}]}
        """,
        document=quote(quote("file://folder/a b.txt", safe=""), safe=""),
        email=EMAIL,
        rest=json.dumps(identity)[1:-1],
    )
    assert answer.json()["state"] in ("VALID", "INCOMPLETE", "WARNING", "IN_ERROR", "PENDING")


@pytest.mark.row("2.6 item effective permissions")
@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [("ALL", {True, False}), ("ALLOWED", {True}), ("DENIED", {False})],
)
def test_item_effective_permissions(api: Api, wanted: str, allowed: set[bool]) -> None:
    fill(api)
    answer = api.replay(
        """
        GET /rest/organizations/$org/indexes/$index/documents/$document/permissions/effective?includedEntities=$wanted
        Authorization: Bearer $key
        ---
        200

        {"items": "*", "totalEntries": "*", "totalPages": 1, "anonymousAllowed": false, "...": ""}
        """,
        document=quote(quote("file://folder/a b.txt", safe=""), safe=""),
        wanted=wanted,
    )
    seen = {entry["identity"]: entry["allowed"] for entry in answer.json()["items"]}
    assert set(seen.values()) == allowed
    if wanted == "ALL":
        assert (seen["alice"], seen["dave"], seen["bob"]) == (True, True, False)


@pytest.mark.row("2.6 index ids")
def test_index_ids(api: Api) -> None:
    api.replay(
        """
        GET /rest/organizations/$org/indexes
        Authorization: Bearer $key
        ---
        200

        [{"id": "$index", "...": ""}]
        """
    )


@pytest.mark.row("2.6 identities of a provider")
def test_identities_of_a_provider(api: Api) -> None:
    fill(api)
    answer = api.replay(
        """
        GET /rest/organizations/$org/securitycache/entities/$prov/members?page=0&perPage=100
        Authorization: Bearer $key
        ---
        200

        {"items": "*", "totalEntries": 5, "totalPages": 1, "...": ""}
        """
    )
    found = {entry["name"]: entry for entry in answer.json()["items"]}
    assert sorted(found) == ["AlphaTeam", "Inner", "alice", "bob", "dave"]
    assert found["AlphaTeam"]["type"] == "Group"
    assert (found["AlphaTeam"]["state"], found["AlphaTeam"]["lastUpdateResult"]) == ("UP_TO_DATE", "SUCCESS")
    assert found["AlphaTeam"]["infos"] == []
    path = f"{api.platform}/securitycache/entities/{NAMES['prov']}/members"
    second = api.call("GET", path, page=1, perPage=2).json()
    assert (len(second["items"]), second["totalPages"]) == (2, 3)


@pytest.mark.row("2.6 identities of a provider")
def test_a_disabled_identity_stays_listed(api: Api) -> None:
    fill(api)
    api.advance(1)
    assert api.call("DELETE", api.permissions, {"identity": TEAM["identity"]}).status_code == 202
    path = f"{api.platform}/securitycache/entities/{NAMES['prov']}/members"
    disabled = api.call("GET", path, states="DISABLED").json()["items"]
    assert [(entry["name"], entry["state"]) for entry in disabled] == [("AlphaTeam", "DISABLED")]


@pytest.mark.row("2.6 search identities")
def test_search_identities(api: Api) -> None:
    fill(api)
    api.replay(
        """
        GET /rest/organizations/$org/securitycache/entities/list/is_supported
        Authorization: Bearer $key
        ---
        200

        true
        """
    )
    answer = api.replay(
        """
        POST /rest/organizations/$org/securitycache/entities/list?page=0&perPage=10
        Authorization: Bearer $key
        Content-Type: application/json

        {"providerIds": ["$prov"], "identityTypes": ["USER"], "filterTerm": "lic",
         "filteringMode": "SUBSTRING", "extractPreciseTotalCount": true}
        ---
        200

        {"items": "*", "totalEntries": 1, "totalPages": 1, "...": ""}
        """
    )
    assert [entry["name"] for entry in answer.json()["items"]] == ["alice"]
    body = {"identityTypes": ["GROUP"], "filterTerm": "lpha", "filteringMode": "PREFIX"}
    assert api.call("POST", f"{api.platform}/securitycache/entities/list", body).json()["items"] == []


@pytest.mark.row("2.6 one identity")
def test_one_identity(api: Api) -> None:
    fill(api)
    api.replay(
        """
        POST /rest/organizations/$org/securitycache/entities/$prov/entity
        Authorization: Bearer $key
        Content-Type: application/json

        {"name": "AlphaTeam", "provider": "$prov", "type": "Group", "infos": []}
        ---
        200

        {"name": "AlphaTeam", "type": "Group", "provider": "$prov", "infos": [], "state": "UP_TO_DATE",
         "lastUpdateDate": "*", "lastUpdateResult": "SUCCESS", "lastUpdateErrorDetail": "*", "...": ""}
        """
    )


@pytest.mark.row("2.6 members of a group")
@pytest.mark.parametrize(
    ("recursive", "names"), [("false", ["Inner", "alice", "bob"]), ("true", ["Inner", "alice", "bob", "dave"])]
)
def test_members_of_a_group(api: Api, recursive: str, names: list[str]) -> None:
    fill(api)
    answer = api.replay(
        """
        POST /rest/organizations/$org/securitycache/entities/$prov/members/children?recursive=$recursive&pageSize=10
        Authorization: Bearer $key
        Content-Type: application/json

        {"name": "AlphaTeam", "provider": "$prov", "type": "Group"}
        ---
        200

        {"items": "*", "totalEntries": "*", "totalPages": 1, "...": ""}
        """,
        recursive=recursive,
    )
    assert {entry["name"] for entry in answer.json()["items"]} >= set(names)
    assert ("dave" in str(answer.json())) is (recursive == "true")


@pytest.mark.row("2.6 groups of a member / aliases")
def test_groups_of_a_member_and_its_aliases(api: Api) -> None:
    fill(api)
    answer = api.replay(
        """
        POST /rest/organizations/$org/securitycache/entities/$prov/members/parents?recursive=false
        Authorization: Bearer $key
        Content-Type: application/json

        {"name": "alice", "provider": "$prov", "type": "User"}
        ---
        200

        {"items": "*", "totalEntries": 2, "totalPages": 1, "...": ""}
        """
    )
    found = {(entry["provider"], entry["name"]) for entry in answer.json()["items"]}
    assert found == {(NAMES["prov"], "AlphaTeam"), (EMAIL, "alice@example.com")}


@pytest.mark.row("2.6 force refresh")
@pytest.mark.parametrize("path", ["refresh", "$prov/refresh", "$prov/refresh/cancel"])
def test_force_refresh(api: Api, path: str) -> None:
    api.replay(
        """
        POST /rest/organizations/$org/securitycache/$path
        Authorization: Bearer $key
        ---
        204
        """,
        path=path.replace("$prov", NAMES["prov"]),
    )


@pytest.mark.row("2.6 force refresh")
def test_force_refresh_of_one_identity(api: Api) -> None:
    fill(api)
    api.replay(
        """
        POST /rest/organizations/$org/securitycache/refresh/entity
        Authorization: Bearer $key
        Content-Type: application/json

        {"name": "AlphaTeam", "provider": "$prov", "type": "Group"}
        ---
        204
        """
    )


@pytest.mark.row("2.6 re-enable")
@pytest.mark.parametrize("path", ["disabled/enable", "$prov/disabled/enable"])
def test_re_enable(api: Api, path: str) -> None:
    fill(api)
    api.advance(1)
    assert api.call("DELETE", api.permissions, {"identity": TEAM["identity"]}).status_code == 202
    assert api.identities()["AlphaTeam"]["disabled"] is True
    api.replay(
        """
        POST /rest/organizations/$org/securitycache/$path
        Authorization: Bearer $key
        ---
        204
        """,
        path=path.replace("$prov", NAMES["prov"]),
    )
    assert api.identities()["AlphaTeam"]["disabled"] is False


@pytest.mark.row("2.6 pipeline logs")
def test_pipeline_logs(api: Api) -> None:
    now = api.client.get("/_emulator/state").json()["now"]
    api.put("http://a")
    api.put("b")
    answer = api.replay(
        """
        POST /logs/v1/organizations/$org?from=$start&to=$end&page=0&perPage=10
        Authorization: Bearer $key
        Content-Type: application/json

        {"sourcesIds": ["$src"], "sourceIds": ["$src"], "operations": ["ADD", "UPDATE"], "results": ["REJECTED"]}
        ---
        200

        {"documentLogEntries": [{"datetime": "*", "guid": "*", "id": "b", "operation": "ADD", "result": "REJECTED",
          "task": "VALIDATION", "sourceId": "$src", "resourceId": "*", "meta": "*", "requestId": "*", "...": ""}],
         "hasNextPage": false}
        """,
        start=iso(now - 60),
        end=iso(now + 60),
    )
    assert answer.json()["documentLogEntries"][0]["meta"]["error"]


@pytest.mark.row("2.6 pipeline logs")
@pytest.mark.parametrize(
    ("matching", "document", "found"),
    [
        ("EXACT", "http://a/1", ["http://a/1"]),
        ("PARTIAL", "a/", ["http://a/1", "http://a/2"]),
        ("WILDCARD", "http://*/2", ["http://a/2"]),
    ],
)
def test_pipeline_logs_of_an_item(api: Api, matching: str, document: str, found: list[str]) -> None:
    now = api.client.get("/_emulator/state").json()["now"]
    for uri in ("http://a/1", "http://a/2", "http://b"):
        api.put(uri)
    query = {"from": iso(now - 60), "to": iso(now + 60), "documentId": document, "documentIdMatching": matching}
    answer = api.call("POST", f"/logs/v1/organizations/{NAMES['org']}", {}, **query)
    assert [entry["id"] for entry in answer.json()["documentLogEntries"]] == found


@pytest.mark.row("2.6 pipeline logs")
def test_pipeline_logs_of_more_than_a_week(api: Api) -> None:
    path = f"/logs/v1/organizations/{NAMES['org']}"
    query = {"from": "2024-01-01T00:00:00Z", "to": "2024-01-08T00:00:01Z"}
    assert api.call("POST", path, {}, **query).status_code == 412
    assert api.call("POST", path, {}, **{"from": query["from"]}).status_code == 412
