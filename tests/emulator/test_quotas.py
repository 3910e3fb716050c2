"""Rates, quotas, the limits API, keys with few privileges, and answers to open questions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx
import orjson
import pytest

from reconciler.emulator.clock import stepped_clock
from reconciler.emulator.doubts import BadAnswer, answered, questions
from reconciler.emulator.options import (
    ORGANIZATION_VIEW,
    SECURITY_PROVIDER_EDIT,
    SOURCE_EDIT,
    SOURCE_VIEW,
    Doubts,
    SourceOptions,
)
from reconciler.emulator.quotas import RATES, Limits, Meter, OverLimit, parse_rate
from tests.emulator.conftest import ORGANIZATION, READABLE, SOURCE, Remote, Start

DAY = 24 * 3600
NOON = 1_700_000_000.0 // DAY * DAY + DAY / 2


def put(remote: Remote, uri: str = "http://a/1") -> httpx.Response:
    return remote.client.put(remote.documents, params={"documentId": uri}, json={"permissions": READABLE})


def batch(remote: Remote, uris: list[str], delete: list[str] | None = None) -> httpx.Response:
    content = {
        "addOrUpdate": [{"documentId": uri, "permissions": READABLE} for uri in uris],
        "delete": [{"documentId": uri} for uri in delete or []],
    }
    file = remote.upload(orjson.dumps(content))
    return remote.client.put(f"{remote.documents}/batch", params={"fileId": file})


def put_identity(remote: Remote, name: str) -> httpx.Response:
    return remote.client.put(remote.identities, json={"identity": {"name": name, "type": "USER"}})


def code(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json().get("errorCode") if answer.status_code >= 400 else None
    return answer.status_code, error, answer.headers.get("Retry-After")


def limit(remote: Remote, key: str) -> Any:
    return remote.client.get(f"{remote.platform}/limits/content/{key}").json()


# -- rates -----------------------------------------------------------------------------------------


def test_by_default_nothing_is_limited(remote: Remote) -> None:
    assert {put(remote).status_code for _ in range(300)} == {202}


def test_a_burst_is_over_and_passes(start: Start) -> None:
    remote = start(limits=Limits(burst_calls=2), clock=stepped_clock(NOON))
    assert put(remote).status_code == 202
    remote.clock.advance(100)
    assert put(remote).status_code == 202
    assert code(put(remote)) == (429, "TOO_MANY_REQUESTS", "200")
    remote.clock.advance(199.5)
    assert code(put(remote)) == (429, "TOO_MANY_REQUESTS", "1")
    remote.clock.advance(0.5)
    assert put(remote).status_code == 202
    assert code(put(remote)) == (429, "TOO_MANY_REQUESTS", "100")


def test_a_burst_has_a_window_of_its_own_length(start: Start) -> None:
    remote = start(limits=Limits(burst_calls=1, burst_seconds=2), clock=stepped_clock(NOON))
    put(remote)
    assert code(put(remote)) == (429, "TOO_MANY_REQUESTS", "2")
    remote.clock.advance(2)
    assert put(remote).status_code == 202


def test_a_day_is_over_and_passes(start: Start) -> None:
    remote = start(limits=Limits(calls_per_day=2), clock=stepped_clock(NOON))
    assert [put(remote).status_code for _ in range(2)] == [202, 202]
    assert code(put(remote)) == (429, "TOO_MANY_REQUESTS", str(DAY // 2))
    remote.clock.advance(DAY / 2)
    assert put(remote).status_code == 202


def test_a_batch_is_two_calls_and_its_upload_is_none(start: Start) -> None:
    remote = start(limits=Limits(calls_per_day=5, burst_calls=100), clock=stepped_clock(NOON))
    batch(remote, ["http://a/1", "http://a/2"])
    assert limit(remote, "pushApiMaximumDailyInvocations") == {
        "actualCount": 2,
        "limit": 5,
        "lastUpdate": "2023-11-14",
    }


@pytest.mark.parametrize("limits", [Limits(calls_per_day=0), Limits(burst_calls=0)])
def test_every_call_of_the_push_api_counts(start: Start, limits: Limits) -> None:
    remote = start(limits=limits, clock=stepped_clock(NOON))
    calls = [
        ("PUT", remote.documents, {"documentId": "http://a"}, {}),
        ("DELETE", remote.documents, {"documentId": "http://a"}, None),
        ("PUT", f"{remote.documents}/batch", {"fileId": "x"}, None),
        ("DELETE", f"{remote.documents}/olderthan", {"orderingId": "1"}, None),
        ("POST", f"{remote.base}/sources/{SOURCE}/status", {"statusType": "IDLE"}, None),
        ("POST", f"{remote.base}/files", {}, None),
        ("PUT", remote.identities, {}, {"identity": {"name": "a", "type": "USER"}}),
        ("DELETE", remote.identities, {}, {"identity": {"name": "a", "type": "USER"}}),
        ("PUT", remote.mappings, {}, {"identity": {"name": "a", "type": "USER"}, "mappings": []}),
        ("PUT", f"{remote.identities}/batch", {"fileId": "x"}, None),
        ("DELETE", f"{remote.identities}/olderthan", {"orderingId": "1"}, None),
    ]
    for method, path, query, body in calls:
        answer = remote.client.request(method, path, params=query, json=body)
        assert code(answer)[:2] == (429, "TOO_MANY_REQUESTS"), (method, path)
    assert remote.state()["sources"][SOURCE]["items"] == []
    assert remote.client.get(f"{remote.platform}/sources").status_code == 200


def test_what_is_refused_is_not_counted(start: Start) -> None:
    remote = start(limits=Limits(calls_per_day=1), clock=stepped_clock(NOON))
    assert remote.client.put(remote.documents, json={}).status_code == 412
    assert put(remote).status_code == 202
    assert put(remote).status_code == 429
    assert limit(remote, "pushApiMaximumDailyInvocations")["actualCount"] == 1


def test_organizations_are_counted_apart(start: Start) -> None:
    remote = start(limits=Limits(calls_per_day=1))
    put(remote)
    assert remote.client.post("/push/v1/organizations/other/files").status_code == 201


def test_a_reset_forgets_what_was_used(start: Start) -> None:
    remote = start(limits=Limits(calls_per_day=1))
    put(remote)
    remote.client.post("/_emulator/reset")
    assert put(remote).status_code == 202


def test_the_published_burst(start: Start) -> None:
    remote = start(limits=RATES["published"], clock=stepped_clock(NOON))
    assert [put(remote).status_code for _ in range(251)] == [202] * 250 + [429]


# -- quotas ----------------------------------------------------------------------------------------


def test_items_a_day(start: Start) -> None:
    remote = start(limits=Limits(items_per_day=3), clock=stepped_clock(NOON))
    assert put(remote).status_code == 202
    assert remote.client.delete(remote.documents, params={"documentId": "http://a/1"}).status_code == 202
    assert batch(remote, ["http://a/2", "http://a/3"], ["http://a/4"]).status_code == 202
    assert limit(remote, "pushApiMaximumDailyDocumentLimit") == {
        "actualCount": 5,
        "limit": 3,
        "lastUpdate": "2023-11-14",
    }
    refused = (429, "TOO_MANY_DOCUMENTS_DAILY", str(DAY // 2))
    assert code(put(remote)) == code(batch(remote, ["http://a/9"])) == refused
    assert put_identity(remote, "alice").status_code == 202
    assert sorted(remote.items()) == ["http://a/2", "http://a/3"]
    remote.clock.advance(DAY)
    assert put(remote).status_code == 202


def test_identities_a_day(start: Start) -> None:
    remote = start(limits=Limits(identities_per_day=3), clock=stepped_clock(NOON))
    assert put_identity(remote, "alice").status_code == 202
    members = [{"identity": {"name": name, "type": "USER"}} for name in ("bob", "carol")]
    file = remote.upload(orjson.dumps({"members": members}))
    assert remote.client.put(f"{remote.identities}/batch", params={"fileId": file}).status_code == 202
    assert code(put_identity(remote, "dave"))[:2] == (429, "TOO_MANY_REQUESTS")
    assert limit(remote, "pushApiMaximumDailyRelationshipLimit")["actualCount"] == 3
    assert put(remote).status_code == 202


def test_an_index_that_is_full(start: Start) -> None:
    remote = start(limits=Limits(items=2))
    assert put(remote, "http://a/1").status_code == 202
    assert code(batch(remote, ["http://a/2", "http://a/3"])) == (412, "DOCUMENT_LIMIT_EXCEEDED", None)
    assert batch(remote, ["http://a/1", "http://a/2"]).status_code == 202
    assert code(put(remote, "http://a/3")) == (412, "DOCUMENT_LIMIT_EXCEEDED", None)
    assert put(remote, "http://a/1").status_code == 202
    assert limit(remote, "numberOfDocumentsLimit")["actualCount"] == 2
    remote.delete("http://a/1")
    assert put(remote, "http://a/3").status_code == 202
    assert sorted(remote.items()) == ["http://a/2", "http://a/3"]


def test_a_batch_that_cannot_be_read_carries_nothing(start: Start) -> None:
    remote = start(limits=Limits(items=0, items_per_day=1))
    for content in (b"{", b'{"addOrUpdate": 5}', b""):
        file = remote.upload(content)
        assert remote.client.put(f"{remote.documents}/batch", params={"fileId": file}).status_code == 202
    assert remote.client.put(f"{remote.documents}/batch", params={"fileId": "../x"}).status_code == 202
    assert limit(remote, "pushApiMaximumDailyDocumentLimit")["actualCount"] == 0
    file = remote.upload(b'{"addOrUpdate": [1, {}]}')
    assert remote.client.put(f"{remote.documents}/batch", params={"fileId": file}).status_code == 202
    assert limit(remote, "pushApiMaximumDailyDocumentLimit")["actualCount"] == 2


# -- the limits API --------------------------------------------------------------------------------


def test_limits_are_listed_by_section(start: Start) -> None:
    remote = start(limits=Limits(items_per_day=7, items=9), clock=stepped_clock(NOON))
    shown = {
        "pushApiMaximumDailyDocumentLimit": {"actualCount": 0, "limit": 7, "lastUpdate": "2023-11-14"},
        "numberOfDocumentsLimit": {"actualCount": 0, "limit": 9, "lastUpdate": "2023-11-14"},
    }
    assert remote.client.get(f"{remote.platform}/limits").json() == {"content": shown}
    assert remote.client.get(f"{remote.platform}/limits/content").json() == shown


@pytest.mark.parametrize("path", ["other", "other/numberOfDocumentsLimit", "content/numberOfDocumentsLimit"])
def test_limits_that_are_not_there(remote: Remote, path: str) -> None:
    assert remote.client.get(f"{remote.platform}/limits/{path}").status_code == 404


def test_limits_need_a_privilege(start: Start) -> None:
    remote = start(keys={"few": frozenset({SOURCE_EDIT})}, limits=Limits(items=1))
    headers = {"Authorization": "Bearer few"}
    assert remote.client.get(f"{remote.platform}/limits", headers=headers).status_code == 403


# -- rates as text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("published", Limits(15_000, 250, 300)),
        ("trial", Limits(10_000, 150, 300)),
        ("20/day", Limits(20)),
        ("5/60", Limits(None, 5, 60)),
        ("20/day, 5/0.5", Limits(20, 5, 0.5)),
        ("5/60,20/day", Limits(20, 5, 60)),
    ],
)
def test_rates_are_read(text: str, limits: Limits) -> None:
    assert parse_rate(text) == limits


@pytest.mark.parametrize("text", ["", "fast", "5", "5/", "/day", "5/0", "5/day,6/day", "5/1,6/2", "-5/day", "5/1,"])
def test_rates_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"no rate|two limits|longer than 0"):
        parse_rate(text)


def test_a_refused_call_changes_no_count() -> None:
    meter = Meter(Limits(calls_per_day=5, burst_calls=5, items_per_day=1), stepped_clock(NOON))
    meter.call("org", items=1)
    with pytest.raises(OverLimit):
        meter.call("org", items=1)
    usage = meter.today("org")
    assert (usage.calls, usage.items, len(usage.recent)) == (1, 1, 1)


def load(remote: Remote, *chunks: list[str]) -> httpx.Response:
    """Open a stream, upload the chunks and close it."""
    stream = f"{remote.base}/sources/catalog/stream"
    opened = remote.client.post(f"{stream}/open").json()
    places = [opened, *(remote.client.post(f"{stream}/{opened['streamId']}/chunk").json() for _ in chunks[1:])]
    for place, uris in zip(places, chunks, strict=True):
        content = orjson.dumps({"addOrUpdate": [{"documentId": uri} for uri in uris]})
        request = remote.client.build_request("PUT", place["uploadUri"], content=content)
        request.headers.update(place["requiredHeaders"])
        del request.headers["authorization"]
        assert remote.client.send(request).status_code == 200
    return remote.client.post(f"{stream}/{opened['streamId']}/close")


CATALOG = (SourceOptions("catalog", "SHARED", None, "catalog"), SourceOptions(SOURCE, "SHARED"))


def test_a_load_counts_the_items_of_all_its_chunks(start: Start) -> None:
    remote = start(sources=CATALOG, limits=Limits(items_per_day=3), clock=stepped_clock(NOON))
    assert load(remote, ["product://1", "product://2"], ["product://3"]).status_code == 200
    assert limit(remote, "pushApiMaximumDailyDocumentLimit")["actualCount"] == 3
    assert code(load(remote, ["product://4"]))[:2] == (429, "TOO_MANY_DOCUMENTS_DAILY")


def test_a_load_takes_the_room_of_what_it_replaces(start: Start) -> None:
    remote = start(sources=CATALOG, limits=Limits(items=3))
    assert load(remote, ["product://1", "product://2"]).status_code == 200
    assert put(remote).status_code == 202
    assert load(remote, ["product://2", "product://3"]).status_code == 200
    assert code(load(remote, ["product://3", "product://4", "product://5"]))[:2] == (412, "DOCUMENT_LIMIT_EXCEEDED")
    assert list(remote.items("catalog")) == ["product://2", "product://3"]


def test_a_refused_load_may_be_closed_later(start: Start) -> None:
    remote = start(sources=CATALOG, limits=Limits(burst_calls=1, burst_seconds=10))
    stream = f"{remote.base}/sources/catalog/stream"
    opened = remote.client.post(f"{stream}/open").json()["streamId"]
    close = f"{stream}/{opened}/close"
    assert remote.client.post(close).status_code == 429
    remote.clock.advance(10)
    assert remote.client.post(close).status_code == 200
    remote.clock.advance(10)
    assert remote.client.post(close).status_code == 412


# -- keys ------------------------------------------------------------------------------------------


def test_the_key_of_a_push_source(start: Start) -> None:
    remote = start(keys={"pusher": frozenset({f"{SOURCE_EDIT}:{SOURCE}"})})
    remote.client.headers["Authorization"] = "Bearer pusher"
    assert put(remote).status_code == 202
    assert code(remote.client.put(remote.shared, params={"documentId": "http://a"}, json={}))[:2] == (
        403,
        "ACCESS_DENIED",
    )
    # push-api.md 1.3 and 7 (20): a container belongs to the organization.
    assert code(remote.client.post(f"{remote.base}/files"))[:2] == (403, "ACCESS_DENIED")
    assert code(put_identity(remote, "alice"))[:2] == (403, "ACCESS_DENIED")
    assert remote.client.get(f"{remote.platform}/sources/{SOURCE}").status_code == 403


@pytest.mark.parametrize(
    ("privileges", "allowed"),
    [
        ({SOURCE_EDIT}, {"item"}),
        ({SOURCE_EDIT, ORGANIZATION_VIEW}, {"item", "files"}),
        ({SECURITY_PROVIDER_EDIT}, set()),
        ({SECURITY_PROVIDER_EDIT, ORGANIZATION_VIEW}, {"files", "identity"}),
        ({SOURCE_VIEW}, {"source"}),
        (set(), set()),
    ],
    ids=lambda value: "+".join(sorted(value)) or "none",
)
def test_privileges_decide(start: Start, privileges: set[str], allowed: set[str]) -> None:
    remote = start(keys={"few": frozenset(privileges)})
    remote.client.headers["Authorization"] = "Bearer few"
    answers = {
        "item": put(remote),
        "files": remote.client.post(f"{remote.base}/files"),
        "identity": put_identity(remote, "alice"),
        "source": remote.client.get(f"{remote.platform}/sources/{SOURCE}"),
    }
    assert {name for name, answer in answers.items() if answer.is_success} == allowed
    assert {answer.status_code for name, answer in answers.items() if name not in allowed} <= {403}


def test_a_paused_organization(start: Start) -> None:
    remote = start(paused=frozenset({ORGANIZATION}))
    assert code(put(remote))[:2] == (400, "ORGANIZATION_IS_PAUSED")
    assert remote.client.post("/push/v1/organizations/other/files").status_code == 201
    assert remote.client.get(f"{remote.platform}/sources").status_code == 400


# -- open questions --------------------------------------------------------------------------------


def test_every_doubt_has_a_question_with_its_section() -> None:
    listed = questions()
    assert [question.name for question in listed] == [entry.name for entry in fields(Doubts)]
    for question in listed:
        assert question.text.startswith("push-api.md "), question.name
        assert question.choices


def test_every_choice_of_every_doubt_can_be_answered() -> None:
    examples = {"<number>": "7", "<Header: value; Header: value>": "x-ms-blob-type: BlockBlob; A: b"}
    for question in questions():
        for choice in question.choices:
            made = answered(Doubts(), f"{question.name}={examples.get(choice, choice)}")
            changed = [entry.name for entry in fields(Doubts) if getattr(made, entry.name) != entry.default]
            assert changed == [] if choice == question.default else [question.name]
        assert answered(Doubts(), f"{question.name}={question.default}") == Doubts()


def test_answers_are_read() -> None:
    assert answered(Doubts(), "watermark=after delay").watermark == "after delay"
    assert answered(Doubts(), " search-page = 2000 ").search_page == 2000
    assert answered(Doubts(), "identities_must_exist=yes").identities_must_exist is True
    made = answered(Doubts(), "required_headers=x-ms-blob-type: BlockBlob")
    assert made.required_headers == (("x-ms-blob-type", "BlockBlob"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("equal_ordering_id", "answers nothing; write equal_ordering_id=refuse or accept"),
        ("equal_ordering_id=perhaps", "answers nothing; write equal_ordering_id=refuse or accept"),
        ("identities_must_exist=1", "answers nothing; write identities_must_exist=no or yes"),
        ("search_page=0", "answers nothing; write search_page=<number>"),
        ("search_page=many", "answers nothing; write search_page=<number>"),
        ("required_headers=x", "answers nothing; write required_headers=<Header: value; Header: value>"),
        ("required_headers=a b: c", "answers nothing"),
        ("required_headers=a:", "answers nothing"),
        ("equal_ordering=accept", '"equal_ordering" is no open question; did you mean "equal_ordering_id"?'),
        ("=accept", '"" is no open question; there are equal_ordering_id, '),
    ],
)
def test_answers_that_say_nothing(text: str, why: str) -> None:
    with pytest.raises(BadAnswer) as caught:
        answered(Doubts(), text)
    assert why in str(caught.value)


def test_an_answer_counts(start: Start) -> None:
    doubts = answered(Doubts(), "equal_ordering_id=accept")
    remote = start(doubts=doubts)
    for title in ("one", "two"):
        remote.put("http://a/1", {"permissions": READABLE, "title": title}, orderingId=5)
    assert remote.items()["http://a/1"]["metadata"]["title"] == "two"
