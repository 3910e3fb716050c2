"""Security identities: each row of push-api.md 2.3."""

from __future__ import annotations

import json

import pytest

from tests.contract.conftest import EMAIL, Api

TEAM = {"name": "SampleGroup", "type": "GROUP"}
ASMITH = {"name": "asmith@example.com", "type": "USER"}
EVERYONE = {"name": "Everyone", "type": "GROUP"}


def names(entries: list[dict[str, str]]) -> list[str]:
    return [entry["name"] for entry in entries]


@pytest.mark.row("2.3 add/update identity")
def test_add_or_update_a_group(api: Api) -> None:
    api.replay(
        """
        PUT /push/v1/organizations/$org/providers/$prov/permissions
        Authorization: Bearer $key
        Content-Type: application/json
        Accept: application/json

        {
          "identity": {"name": "SampleGroup", "type": "GROUP"},
          "members": [
            {"name": "asmith@example.com", "type": "USER"},
            {"name": "SampleTeam1", "type": "GROUP"}
          ],
          "wellKnowns": [{"name": "Everyone", "type": "GROUP"}]
        }
        ---
        202

        {}
        """
    )
    group = api.identities()["SampleGroup"]
    assert sorted(names(group["members"])) == ["SampleTeam1", "asmith@example.com"]
    assert names(group["wellKnowns"]) == ["Everyone"]


@pytest.mark.row("2.3 add/update identity")
def test_keys_and_types_come_in_any_case(api: Api) -> None:
    api.replay(
        """
        PUT /push/v1/organizations/$org/providers/$prov/permissions
        Authorization: Bearer $key
        Content-Type: application/json

        {"Identity": {"Name": "V", "Type": "VirtualGroup", "AdditionalInfo": {"Key": "Value"}},
         "Members": [{"Name": "u", "Type": "user"}]}
        ---
        202

        {}
        """
    )
    found = api.identities()["V"]
    assert (found["type"], found["additionalInfo"], names(found["members"])) == (
        "VIRTUAL_GROUP",
        {"Key": "Value"},
        ["u"],
    )


@pytest.mark.row("2.3 add/update identity")
def test_a_group_is_replaced_whole(api: Api) -> None:
    api.identity({"identity": TEAM, "members": [ASMITH], "wellKnowns": [EVERYONE]})
    api.identity({"identity": TEAM, "members": [{"name": "bjones@example.com", "type": "USER"}]})
    group = api.identities()["SampleGroup"]
    assert (names(group["members"]), group["wellKnowns"]) == (["bjones@example.com"], [])


@pytest.mark.row("2.3 disable one identity")
def test_disable_one_identity(api: Api) -> None:
    """With a body, although it is a DELETE; what is disabled stays listed (push-api.md 5.3)."""
    api.identity({"identity": TEAM, "members": [ASMITH]})
    api.replay(
        """
        DELETE /push/v1/organizations/$org/providers/$prov/permissions
        Authorization: Bearer $key
        Content-Type: application/json

        {"identity": {"name": "SampleGroup", "type": "GROUP", "additionalInfo": {}}}
        ---
        202

        {}
        """
    )
    assert api.identities()["SampleGroup"]["disabled"] is True
    api.identity({"identity": TEAM, "members": [ASMITH]})
    assert api.identities()["SampleGroup"]["disabled"] is False


@pytest.mark.row("2.3 add/update alias")
def test_add_or_update_an_alias(api: Api) -> None:
    api.replay(
        """
        PUT /push/v1/organizations/$org/providers/$prov/mappings
        Authorization: Bearer $key
        Content-Type: application/json

        {
          "identity": {"name": "asmith", "type": "USER"},
          "mappings": [{"name": "asmith@example.com", "type": "USER", "provider": "$email"}],
          "wellKnowns": [{"name": "Everyone", "type": "GROUP"}]
        }
        ---
        202

        {}
        """,
        email=EMAIL,
    )
    found = api.identities()["asmith"]
    assert [(entry["provider"], entry["name"]) for entry in found["mappings"]] == [(EMAIL, "asmith@example.com")]
    assert names(found["wellKnowns"]) == ["Everyone"]


@pytest.mark.row("2.3 add/update alias")
def test_a_mapping_leaves_the_members_and_replaces_the_well_knowns(api: Api) -> None:
    api.identity({"identity": TEAM, "members": [ASMITH], "wellKnowns": [EVERYONE]})
    api.identity({"identity": TEAM, "mappings": [ASMITH]}, "mappings")
    group = api.identities()["SampleGroup"]
    assert (names(group["members"]), names(group["mappings"])) == (["asmith@example.com"], ["asmith@example.com"])
    assert group["wellKnowns"] == []


@pytest.mark.row("2.3 add/update alias")
def test_an_alias_is_taken_away_by_an_empty_list(api: Api) -> None:
    api.identity({"identity": ASMITH, "mappings": [ASMITH]}, "mappings")
    api.identity({"identity": ASMITH, "mappings": []}, "mappings")
    assert api.identities()["asmith@example.com"]["mappings"] == []


@pytest.mark.row("2.3 batch")
@pytest.mark.parametrize("pascal", [False, True])
def test_batch(api: Api, pascal: bool) -> None:
    api.identity({"identity": EVERYONE})
    lists = {
        "members": [{"identity": TEAM, "members": [ASMITH], "wellKnowns": []}],
        "mappings": [{"identity": {"name": "asmith", "type": "USER"}, "mappings": [{**ASMITH, "provider": EMAIL}]}],
        "deleted": [{"identity": EVERYONE}],
    }
    content = {name.capitalize(): value for name, value in lists.items()} if pascal else lists
    api.advance(1)
    api.replay(
        """
        PUT /push/v1/organizations/$org/providers/$prov/permissions/batch?fileId=$file
        Authorization: Bearer $key
        Content-Type: application/json
        ---
        202

        {}
        """,
        file=api.container(json.dumps(content).encode()),
    )
    found = api.identities()
    assert names(found["SampleGroup"]["members"]) == ["asmith@example.com"]
    assert names(found["asmith"]["mappings"]) == ["asmith@example.com"]
    assert found["Everyone"]["disabled"] is True


@pytest.mark.row("2.3 disable old")
@pytest.mark.parametrize("body", ["", "{}"])
def test_disable_old(api: Api, body: str) -> None:
    api.identity({"identity": {"name": "old", "type": "GROUP"}}, orderingId=9)
    api.identity({"identity": {"name": "new", "type": "GROUP"}}, orderingId=10)
    api.replay(
        """
        DELETE /push/v1/organizations/$org/providers/$prov/permissions/olderthan?orderingId=10
        Authorization: Bearer $key
        Content-Type: application/json

        $body
        ---
        202

        {}
        """,
        body=body,
    )
    assert api.identities()["old"]["disabled"] is False
    api.advance(15 * 60)
    found = api.identities()
    assert (found["old"]["disabled"], found["new"]["disabled"]) == (True, False)


@pytest.mark.row("2.3 disable old")
def test_disable_old_honours_a_delay(api: Api) -> None:
    """Some documents know no such parameter; it is honoured where it is sent (push-api.md 2.3)."""
    api.identity({"identity": {"name": "old", "type": "GROUP"}}, orderingId=9)
    assert api.call("DELETE", f"{api.permissions}/olderthan", orderingId=10, queueDelay=0).status_code == 202
    assert api.identities()["old"]["disabled"] is True


@pytest.mark.row("2.3 disable old")
def test_operation_id_is_the_old_name_of_ordering_id(api: Api) -> None:
    api.identity({"identity": TEAM, "members": [ASMITH]}, operationId=10)
    api.identity({"identity": TEAM, "members": []}, orderingId=9, operationId=11)
    assert names(api.identities()["SampleGroup"]["members"]) == ["asmith@example.com"]
