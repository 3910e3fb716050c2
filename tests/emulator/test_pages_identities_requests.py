"""The content browser's pages of identities and of requests."""

from __future__ import annotations

import pytest

from reconciler.emulator.pages import requests as page_requests
from tests.emulator.conftest import EMAIL, KEY, PROVIDER, SOURCE, Remote, Start
from tests.emulator.filled import allowed, fill
from tests.emulator.pagereader import (
    ASKED,
    PEOPLE,
    Seen,
    identity,
    item,
)


@pytest.fixture
def filled(start: Start) -> Remote:
    remote = start()
    fill(remote)
    return remote


# Identities


def test_a_provider_lists_its_identities_with_their_state(filled: Remote) -> None:
    page = Seen(filled, PEOPLE)

    rows = {row[0]: row[1:] for row in page.rows()}
    assert rows["group Managers"] == [
        "up to date",
        "user carol user erin unresolved",
        "none",
        "none",
    ]
    assert rows["group Contractors"][2] == "group Guests unresolved"
    assert rows["group Retired"][0] == "disabled"
    assert rows["user erin"][:2] == ["unresolved", "named only"]
    assert rows["user alice"][3] == f"user alice@example.com {EMAIL}"
    assert page.facts()["Pushed"] == "13"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "STAFF"}, ["group All Staff"]),
        ({"state": "DISABLED"}, ["group Retired"]),
        ({"type": "group", "state": "NOT_UPDATED"}, ["group Guests"]),
        ({"q": "%"}, ["user 100%"]),
    ],
)
def test_identities_are_searched(filled: Remote, query: dict[str, str], expected: list[str]) -> None:
    assert [row[0] for row in Seen(filled, PEOPLE, **query).rows()] == expected


def test_an_identity_says_its_relations_in_both_directions(filled: Remote) -> None:
    staff = Seen(filled, identity("all staff", "group")).facts()
    assert staff["Members"].startswith("group Managers")
    assert "user erin" in staff["Members through others"]
    contractors = Seen(filled, identity("Contractors", "group")).facts()
    assert contractors["Well-knowns pushed with it"] == "group Guests unresolved"
    bob = Seen(filled, identity("bob")).facts()
    assert bob["Belongs to"] == "group All Staff group Contractors"
    assert "group Guests" in bob["Belongs to through others"]
    assert bob["Aliases pushed with it"] == f"user bob@example.com {EMAIL}"
    email = Seen(filled, identity("bob@example.com", provider=EMAIL)).facts()
    assert f"user bob {PROVIDER}" in email["Named as an alias by"]


def test_an_identity_says_what_it_sees(filled: Remote) -> None:
    page = Seen(filled, identity("carol"))

    assert [row[:3] for row in page.rows()] == [[SOURCE, "secured", "63 of 69"], ["shared", "shared", "1 of 1"]]
    (look,) = (link for link in page.links() if "/identity?" in link and "as=" in link)
    assert Seen(filled, look).texts(".as p")[0].startswith("Viewing as user carol")


def test_an_identity_that_nobody_pushed_has_a_page(filled: Remote) -> None:
    page = Seen(filled, identity("Ghosts", "group", "no such provider"))

    assert page.heading == "group Ghosts"
    assert page.facts()["State"] == "unresolved"
    assert page.facts()["Provider"] == "no such provider (none of this name)"


# Requests


def test_looking_leaves_no_trace_in_the_request_log(filled: Remote) -> None:
    before = filled.client.get("/_emulator/requests").json()["total"]
    assert filled.client.get("/favicon.ico").status_code == 204
    Seen(filled, "/browse/nothing", 404)
    Seen(filled, ASKED)
    assert filled.client.get("/_emulator/requests").json()["total"] == before


def test_requests_come_newest_first_and_by_status(filled: Remote) -> None:
    page = Seen(filled, ASKED)
    numbers = [int(row[4]) for row in page.rows()]
    assert numbers == sorted(numbers, reverse=True)
    assert [row[2] for row in Seen(filled, ASKED, status="4").rows()] == ["400 INVALID_JSON", "404 NOT_FOUND"]
    assert len(Seen(filled, ASKED, path="DOCUMENTS/batch").rows()) == 1
    assert "No request is like that." in Seen(filled, ASKED, status="5").main


def test_requests_of_another_organization_are_not_listed(filled: Remote) -> None:
    page = Seen(filled, "/browse/other/requests")

    assert "No request has come yet." in page.main
    Seen(filled, "/browse/other/requests/1", 404)


def test_a_fault_on_demand_is_told_from_an_answer_of_the_emulator(start: Start) -> None:
    remote = start(faults=("PUT documents/batch: 503",))
    remote.client.put(f"{remote.documents}/batch", params={"fileId": "x"})

    (row,) = Seen(remote, ASKED).rows()
    assert row[2].startswith("503")
    assert row[2].endswith("fault")
    assert "503" in Seen(remote, f"{ASKED}/1").facts()["Fault on demand"]


def test_requests_come_fifty_to_a_page(start: Start) -> None:
    remote = start()
    for rank in range(51):
        remote.put(f"https://example.com/{rank}")

    first = Seen(remote, ASKED)
    assert first.texts("nav.pages") == ["1 to 50 of 51 Next Last"]
    assert [row[4] for row in Seen(remote, ASKED, page="2").rows()] == ["1"]


def test_keys_and_signatures_are_not_shown(filled: Remote) -> None:
    filled.client.put(filled.documents, params={"documentId": "https://example.com/k"}, json={"data": f"key {KEY}"})
    numbers = range(1, len(Seen(filled, ASKED).rows()) + 1)
    pages = [Seen(filled, ASKED), *(Seen(filled, f"{ASKED}/{number}") for number in numbers)]

    upload = next(page for page in pages[1:] if "/_storage/" in page.main)
    assert upload.facts()["X-Amz-Signature"] == "(not shown)"
    assert all(KEY not in page.source for page in pages)
    assert sum("key (not shown)" in page.main for page in pages) == 1


def test_a_batch_shows_its_container_and_its_items(filled: Remote) -> None:
    (row,) = Seen(filled, ASKED, path="documents/batch").rows()
    page = Seen(filled, f"{ASKED}/{row[4]}")

    shown = page.all("pre")[0].text()
    assert shown.startswith('{\n  "addOrUpdate": [\n    {\n      "documentId": "https://wiki.example.com/page/0000"')
    assert "and 51 more" in page.section("Items")
    assert Seen(filled, item("https://wiki.example.com/page/0000")).facts()["Last request for it"] == f"number {row[4]}"


def test_a_large_body_is_shown_as_it_came_and_not_whole(filled: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_requests, "PARSED_BYTES", 10_000)
    filled.put("https://example.com/large", {"data": "x" * 100_000, "permissions": [allowed("user:a")]})
    page = Seen(filled, Seen(filled, ASKED).all("main table a")[0].attributes["href"] or "")

    assert len(page.all("pre")[0].text()) == page_requests.SHOWN_CHARACTERS
    assert "Too much to be laid out, so as it came. The first 65,536 characters are shown." in page.main


def test_a_body_that_is_no_json_is_shown_as_text(filled: Remote) -> None:
    page = Seen(filled, Seen(filled, ASKED).all("main table a")[0].attributes["href"] or "")
    assert page.all("pre")[0].text() == '{"broken": (not shown)'
    assert "Not JSON." in page.main


def test_a_body_that_left_the_log_is_said_to_be_gone(start: Start) -> None:
    remote = start(request_log_bytes=10)
    remote.put("https://example.com/x")

    assert "It is no longer kept." in Seen(remote, f"{ASKED}/1").main
