"""Security identity providers: each row of push-api.md 2.4."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import EMAIL, NAMES, Api

PROVIDERS = f"/rest/organizations/{NAMES['org']}/securityproviders"
MODEL: dict[str, Any] = {
    "id": "newprovider",
    "displayName": "New provider",
    "type": "EXPANDED",
    "nodeRequired": False,
    "caseSensitive": False,
    "referencedBy": [],
    "cascadingSecurityProviders": {EMAIL: {"id": EMAIL, "name": EMAIL, "type": "EMAIL"}},
}


def ids(api: Api) -> list[str]:
    return sorted(entry["id"] for entry in api.call("GET", PROVIDERS).json())


@pytest.mark.row("2.4 create")
def test_create(api: Api) -> None:
    api.replay(
        """
        POST /rest/organizations/$org/securityproviders
        Authorization: Bearer $key
        Content-Type: application/json

        {
          "id": "newprovider",
          "name": "newprovider",
          "displayName": "New provider",
          "type": "EXPANDED",
          "nodeRequired": false,
          "caseSensitive": false,
          "referencedBy": [{"id": "$shared", "type": "SOURCE"}],
          "cascadingSecurityProviders": {
            "$email": {"id": "$email", "name": "$email", "type": "EMAIL"}
          }
        }
        ---
        200

        {"id": "newprovider", "name": "newprovider", "displayName": "New provider", "type": "EXPANDED",
         "nodeRequired": false, "caseSensitive": false, "referencedBy": "*",
         "cascadingSecurityProviders": {"$email": {"id": "$email", "name": "$email", "type": "EMAIL"}}, "...": ""}
        """,
        email=EMAIL,
    )
    assert api.call("POST", PROVIDERS, MODEL).status_code == 409
    identity = {"identity": {"name": "Team", "type": "GROUP"}}
    path = f"/push/v1/organizations/{NAMES['org']}/providers/newprovider/permissions"
    assert api.call("PUT", path, identity).status_code == 202


@pytest.mark.row("2.4 create")
@pytest.mark.parametrize("change", [{"type": "NOTHING"}, {"id": ""}, {"caseSensitive": "yes"}, {"referencedBy": {}}])
def test_a_model_that_cannot_be_read(api: Api, change: dict[str, Any]) -> None:
    assert api.call("POST", PROVIDERS, {**MODEL, **change}).status_code == 400
    assert "newprovider" not in ids(api)


@pytest.mark.row("2.4 create or update")
def test_create_or_update(api: Api) -> None:
    for shown in ("First", "Second"):
        api.replay(
            """
            PUT /rest/organizations/$org/securityproviders/newprovider
            Authorization: Bearer $key
            Content-Type: application/json

            {"id": "newprovider", "displayName": "$shown", "type": "EXPANDED", "nodeRequired": false,
             "caseSensitive": true, "referencedBy": [], "cascadingSecurityProviders": {}}
            ---
            200

            {"id": "newprovider", "displayName": "$shown", "caseSensitive": true, "...": ""}
            """,
            shown=shown,
        )
    assert ids(api).count("newprovider") == 1


@pytest.mark.row("2.4 create or update")
@pytest.mark.parametrize(("sensitive", "count"), [(False, 1), (True, 2)])
def test_case_counts_where_the_provider_says_so(api: Api, sensitive: bool, count: int) -> None:
    path = f"{PROVIDERS}/newprovider"
    assert api.call("PUT", path, {**MODEL, "caseSensitive": sensitive}).status_code == 200
    for name in ("acme\\jdoe", "acme\\JDOE"):
        api.names["new"] = "newprovider"
        api.identity({"identity": {"name": name, "type": "USER"}}, provider="new")
        api.advance(1)
    assert len(api.state()["identities"]["newprovider"]) == count


@pytest.mark.row("2.4 create or update")
def test_a_mapping_names_a_provider_where_there_are_several(api: Api) -> None:
    """With one cascade it is filled in (push-api.md 3.5)."""
    other = {NAMES["prov"]: {"id": NAMES["prov"], "type": "EXPANDED"}}
    cascades = MODEL["cascadingSecurityProviders"]
    mappings = f"/push/v1/organizations/{NAMES['org']}/providers/newprovider/mappings"
    body = {"identity": {"name": "a", "type": "USER"}, "mappings": [{"name": "a@example.com", "type": "USER"}]}
    for found, status in ((cascades, 202), ({**cascades, **other}, 400)):
        model = {**MODEL, "cascadingSecurityProviders": found}
        assert api.call("PUT", f"{PROVIDERS}/newprovider", model).status_code == 200
        assert api.call("PUT", mappings, body).status_code == status


@pytest.mark.row("2.4 get / list")
def test_get_and_list(api: Api) -> None:
    api.replay(
        """
        GET /rest/organizations/$org/securityproviders/$prov
        Authorization: Bearer $key
        ---
        200

        {"id": "$prov", "name": "$prov", "displayName": "*", "type": "EXPANDED", "nodeRequired": false,
         "caseSensitive": false, "referencedBy": [{"id": "$src", "type": "SOURCE"}],
         "cascadingSecurityProviders": "*", "...": ""}
        """
    )
    assert ids(api) == sorted([EMAIL, NAMES["prov"], NAMES["exact"]])
    api.replay(
        """
        GET /rest/organizations/$org/securityproviders/page?filter=mycase&page=0&perPage=10
        Authorization: Bearer $key
        ---
        200

        {"items": [{"id": "$exact", "caseSensitive": true, "...": ""}], "totalEntries": 1, "totalPages": 1, "...": ""}
        """
    )
    assert api.call("GET", f"{PROVIDERS}/nope").status_code == 404


@pytest.mark.row("2.4 get / list")
def test_a_provider_counts_its_identities(api: Api) -> None:
    api.identity({"identity": {"name": "Team", "type": "GROUP"}})
    found = api.call("GET", f"{PROVIDERS}/{NAMES['prov']}").json()
    assert found["statistics"]["totalNumberOfEntities"] == 1
    assert found["currentStatus"]["state"]


@pytest.mark.row("2.4 delete")
def test_delete(api: Api) -> None:
    assert api.call("POST", PROVIDERS, MODEL).status_code == 200
    api.replay(
        """
        DELETE /rest/organizations/$org/securityproviders/newprovider
        Authorization: Bearer $key
        ---
        204
        """
    )
    assert "newprovider" not in ids(api)
    assert api.call("DELETE", f"{PROVIDERS}/newprovider").status_code == 404
    path = f"/push/v1/organizations/{NAMES['org']}/providers/newprovider/permissions"
    assert api.call("PUT", path, {"identity": {"name": "Team", "type": "GROUP"}}).status_code == 412


@pytest.mark.row("2.4 delete")
def test_a_provider_that_a_source_refers_to_stays(api: Api) -> None:
    assert api.call("DELETE", f"{PROVIDERS}/{NAMES['prov']}").status_code == 400
    assert NAMES["prov"] in ids(api)
