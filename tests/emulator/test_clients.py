"""What official clients ask for around a push: privileges, and the fields that there are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.conftest import ORGANIZATION, Remote, Start

EVALUATE = "/rest/privilege/evaluate"
MINE = {"Authorization": "Bearer mine"}


def asked(kind: str, domain: str) -> dict[str, Any]:
    """Return a request as the Node client makes it."""
    privilege = {"type": kind, "targetDomain": domain, "targetId": "*", "owner": "PLATFORM"}
    return {"organizationId": ORGANIZATION, "requestedPrivilege": privilege}


@pytest.mark.parametrize(
    ("kind", "domain", "approved"),
    [
        ("VIEW", "FIELD", True),
        ("CREATE", "FIELD", False),
        ("EDIT", "SOURCE", True),
        ("EXECUTE_QUERY", "SEARCH_API", True),
        ("VIEW_ALL_CONTENT", "SEARCH_API", False),
        ("EDIT", "NOTHING", False),
    ],
)
def test_a_key_has_the_privileges_that_it_was_given(start: Start, kind: str, domain: str, approved: bool) -> None:
    remote = start(keys={"mine": frozenset({"FIELD_VIEW", "SOURCE_EDIT", "EXECUTE_QUERY"})})
    answer = remote.client.post(EVALUATE, json=asked(kind, domain), headers=MINE)
    assert (answer.status_code, answer.json()) == (200, {"approved": approved})


def test_a_question_that_cannot_be_answered(remote: Remote) -> None:
    assert remote.client.post(EVALUATE, json=asked("VIEW", "FIELD"), headers=MINE).status_code == 401
    assert remote.client.post(EVALUATE, json={"requestedPrivilege": "FIELD"}).status_code == 400
    assert remote.client.post(EVALUATE, json=[]).status_code == 400


def test_fields_come_in_pages(remote: Remote) -> None:
    path = f"{remote.platform}/indexes/page/fields"
    found = remote.client.get(path, params={"page": 0, "perPage": 1000}).json()
    names = [field["name"] for field in found["items"]]
    assert "title" in names
    assert names == sorted(names)
    assert (found["totalEntries"], found["totalPages"]) == (len(names), 1)
    second = remote.client.get(path, params={"page": 1, "perPage": 3}).json()
    assert [field["name"] for field in second["items"]] == names[3:6]
