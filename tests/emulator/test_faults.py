"""Faults on demand over real sockets, each kind of them, and the language that asks for them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from reconciler.emulator.door import Exchange, Hooks
from reconciler.emulator.faults import BadRule, Faults, names_of, parse_rule
from reconciler.emulator.server import BackgroundEmulator, EmulatorOptions, create_app

OPTIONS = EmulatorOptions(
    organizations=("org",),
    sources=(("docs", "SHARED", None), ("blog", "SHARED", None)),
    providers=(("people", ("Email Security Provider",)),),
    api_key="key",
)
BASE = "/push/v1/organizations/org"
DOCUMENTS = f"{BASE}/sources/docs/documents"
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)


class Remote:
    """An emulator with faults, and a client that trusts nothing but its answers."""

    def __init__(self, emulator: BackgroundEmulator) -> None:
        self.url = emulator.url
        headers = {"Authorization": "Bearer key"}
        self.api = httpx.Client(base_url=emulator.url, headers=headers, trust_env=False, timeout=30)

    def put(self, uri: str = "http://a", source: str = "docs", **query: Any) -> httpx.Response:
        path = f"{BASE}/sources/{source}/documents"
        return self.api.put(path, params={"documentId": uri, **query}, json={"data": "x"})

    def upload(self, content: bytes) -> tuple[str, httpx.Response]:
        container = self.api.post(f"{BASE}/files").json()
        return container["fileId"], self.upload_to(container, content)

    def upload_to(self, container: Any, content: bytes) -> httpx.Response:
        return httpx.put(container["uploadUri"], content=content, headers=container["requiredHeaders"], trust_env=False)

    def statuses(self, count: int, call: Callable[[], httpx.Response] | None = None) -> list[int]:
        """Return the statuses of `count` calls; 0 is a connection that was closed."""
        found = []
        for _ in range(count):
            try:
                found.append((call or self.put)().status_code)
            except BROKEN:
                found.append(0)
        return found

    def items(self, source: str = "docs") -> list[str]:
        state = self.api.get("/_emulator/state").json()
        return [item["uri"] for item in state["organizations"]["org"]["sources"][source]["items"]]

    def log(self) -> list[tuple[str, int, str | None]]:
        entries = self.api.get("/_emulator/requests").json()["requests"]
        return [(entry["method"], entry["status"], entry["fault"]) for entry in entries]

    def pipeline(self) -> list[tuple[str, str, str, str | None]]:
        now = self.api.get("/_emulator/state").json()["now"]
        query = {name: _iso(now + shift) for name, shift in (("from", -3600), ("to", 3600))}
        answer = self.api.post("/logs/v1/organizations/org", params=query, json={}).json()
        return sorted(
            (entry["operation"], entry["id"], entry["result"], entry["meta"].get("error"))
            for entry in answer["documentLogEntries"]
        )


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


Start = Callable[..., Remote]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start emulators with these faults."""
    with ExitStack() as stack:

        def begin(*faults: str, hooks: Hooks | None = None, **changes: Any) -> Remote:
            options = replace(OPTIONS, faults=faults, **changes)
            remote = Remote(stack.enter_context(BackgroundEmulator(options, hooks=hooks)))
            stack.callback(remote.api.close)
            return remote

        yield begin


# -- every kind ------------------------------------------------------------------------------------


def test_a_status_as_often_as_it_is_asked_for(start: Start) -> None:
    remote = start("PUT documents: 503 x2")
    assert remote.statuses(4) == [503, 503, 202, 202]
    assert remote.items() == ["http://a"]
    assert remote.log() == [("PUT", 503, "503"), ("PUT", 503, "503"), ("PUT", 202, None), ("PUT", 202, None)]


def test_a_status_without_a_count_is_for_ever(start: Start) -> None:
    assert start("PUT documents: 500").statuses(4) == [500] * 4
    assert start("PUT documents: 500 x*").statuses(4) == [500] * 4


def test_a_status_with_a_time_to_wait(start: Start) -> None:
    answer = start("PUT documents: 429 retry-after=3 x1").put()
    assert answer.headers["Retry-After"] == "3"
    assert answer.json()["errorCode"] == "TOO_MANY_REQUESTS"


def test_a_status_with_its_own_words(start: Start) -> None:
    answer = start('PUT documents: 412 code=DOCUMENT_LIMIT_EXCEEDED reason="no, it is full"').put()
    assert answer.json() == {"errorCode": "DOCUMENT_LIMIT_EXCEEDED", "message": "no, it is full"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"errorCode": "INTERNAL_SERVER_ERROR"}),
        (401, {"errorCode": "INVALID_TOKEN"}),
        (403, {"errorCode": "ACCESS_DENIED", "message": "Forbidden"}),
        (418, {"errorCode": "REFUSED"}),
        (503, {"message": "Service Unavailable"}),
        (504, {"message": "Endpoint request timed out"}),
    ],
)
def test_a_status_speaks_as_the_documents_do(start: Start, status: int, body: dict[str, str]) -> None:
    answer = start(f"PUT documents: {status}").put()
    assert answer.status_code == status
    assert body.items() <= answer.json().items()
    assert ("errorCode" in answer.json()) == ("errorCode" in body)


@pytest.mark.parametrize("status", [413, 502])
def test_a_gateway_may_answer_no_json(start: Start, status: int) -> None:
    answer = start(f"PUT documents: {status}").put()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")


def test_dropped_before_it_is_accepted(start: Start) -> None:
    remote = start("PUT documents: drop-before x1")
    with pytest.raises(BROKEN):
        remote.put()
    assert remote.items() == []
    assert remote.log() == [("PUT", 0, "drop-before")]
    assert remote.put().status_code == 202


def test_dropped_after_it_is_accepted(start: Start) -> None:
    remote = start("PUT documents: drop-after x1")
    with pytest.raises(BROKEN):
        remote.put()
    assert remote.items() == ["http://a"]
    assert remote.log() == [("PUT", 202, "drop-after")]


def test_a_dropped_batch_is_processed(start: Start) -> None:
    remote = start("PUT documents/batch: drop-after")
    file, _ = remote.upload(b'{"addOrUpdate": [{"documentId": "http://b"}]}')
    with pytest.raises(BROKEN):
        remote.api.put(f"{DOCUMENTS}/batch", params={"fileId": file})
    assert remote.items() == ["http://b"]


def test_no_byte_of_a_dropped_reply_arrives(start: Start) -> None:
    remote = start("POST files: drop-before")
    host, _, port = remote.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        raw.sendall(f"POST {BASE}/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        with suppress(ConnectionResetError):
            assert raw.recv(100) == b""


@pytest.mark.parametrize("path", ["documents", "storage"])
def test_a_reply_that_ends_in_the_middle(start: Start, path: str) -> None:
    remote = start(f"PUT {path}: truncate x1")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        if path == "documents":
            remote.put()
        else:
            remote.upload(b"{}")
    assert [entry[1:] for entry in remote.log()][-1] == (202 if path == "documents" else 200, "truncate")
    assert remote.items() == (["http://a"] if path == "documents" else [])


def test_a_reply_that_arrives_in_pieces(start: Start) -> None:
    remote = start("GET sources: slow=0.2")
    pieces = []
    with remote.api.stream("GET", "/rest/organizations/org/sources") as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 2
    assert b"".join(pieces).startswith(b"[{")
    assert remote.put().status_code == 202


def test_a_slow_reply_without_a_body(start: Start) -> None:
    remote = start("PUT storage: slow=0.05")
    assert remote.upload(b"{}")[1].status_code == 200


def test_slowness_takes_the_time_that_it_says(start: Start) -> None:
    remote = start("PUT documents: delay=0.2 x1", "PUT documents: slow=0.2 x1")
    for _ in range(2):
        before = time.monotonic()
        assert remote.put().status_code == 202
        assert time.monotonic() - before >= 0.2


def test_a_client_that_gives_up_waiting(start: Start) -> None:
    remote = start("PUT documents: delay=0.3 x1")
    with pytest.raises(httpx.ReadTimeout):
        remote.api.put(DOCUMENTS, params={"documentId": "http://a"}, json={}, timeout=0.05)
    assert remote.put("http://b").status_code == 202
    deadline = time.monotonic() + 10
    while len(remote.log()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sorted(entry[2] or "" for entry in remote.log()) == ["", "delay=0.3"]


def test_a_delay_beside_a_status(start: Start) -> None:
    remote = start("PUT documents: delay=0.05 503 x1")
    assert remote.statuses(2) == [503, 202]


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [("403", 403, "AccessDenied"), ("expired", 403, "Request has expired"), ("503", 503, "SlowDown")],
)
def test_the_storage_refuses_in_its_own_words(start: Start, what: str, status: int, code: str) -> None:
    remote = start(f"PUT storage: {what} x1")
    _, answer = remote.upload(b"{}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/xml")
    assert code in answer.text
    assert remote.upload(b"{}")[1].status_code == 200


def test_a_rejection_after_the_202(start: Start) -> None:
    remote = start('PUT documents: reject reason="for a test" x1')
    assert remote.statuses(1) == [202]
    assert remote.items() == []
    assert remote.pipeline() == [("ADD", "http://a", "REJECTED", "for a test")]
    remote.put()
    assert remote.items() == ["http://a"]


def test_each_item_of_a_batch_is_rejected(start: Start) -> None:
    remote = start("PUT documents/batch: reject")
    file, _ = remote.upload(b'{"addOrUpdate": [{"documentId": "http://b"}], "delete": [{"documentId": "http://c"}]}')
    assert remote.api.put(f"{DOCUMENTS}/batch", params={"fileId": file}).status_code == 202
    assert remote.items() == []
    reason = "rejected by a fault of the emulator"
    assert [entry for entry in remote.pipeline() if entry[2] == "REJECTED"] == [
        ("ADD", "http://b", "REJECTED", reason),
        ("DELETE", "http://c", "REJECTED", reason),
    ]


def test_some_items_of_a_batch_are_rejected(start: Start) -> None:
    remote = start("PUT documents/batch: reject=*/bad*")
    entries = b'{"documentId": "http://h/good"}, {"documentId": "http://h/bad1"}'
    file, _ = remote.upload(b'{"addOrUpdate": [' + entries + b"]}")
    remote.api.put(f"{DOCUMENTS}/batch", params={"fileId": file})
    assert remote.items() == ["http://h/good"]


def test_a_rejected_delete_deletes_nothing(start: Start) -> None:
    remote = start("DELETE documents: reject")
    remote.put()
    assert remote.api.delete(DOCUMENTS, params={"documentId": "http://a"}).status_code == 202
    assert remote.items() == ["http://a"]
    assert ("DELETE", "http://a", "REJECTED", "rejected by a fault of the emulator") in remote.pipeline()


def test_a_rejected_olderthan_deletes_nothing_and_refuses_nothing(start: Start) -> None:
    remote = start("DELETE documents/olderthan: reject")
    remote.put(orderingId=5)
    query = {"orderingId": 10, "queueDelay": 0}
    assert remote.api.delete(f"{DOCUMENTS}/olderthan", params=query).status_code == 202
    assert remote.put("http://b", orderingId=6).status_code == 202
    assert remote.items() == ["http://a", "http://b"]


def test_a_rejected_identity_is_not_there(start: Start) -> None:
    remote = start("PUT permissions: reject=al*")
    for name in ("alice", "bob"):
        body = {"identity": {"name": name, "type": "USER"}}
        assert remote.api.put(f"{BASE}/providers/people/permissions", json=body).status_code == 202
    state = remote.api.get("/_emulator/state").json()["organizations"]["org"]["identities"]["people"]
    assert [identity["name"] for identity in state] == ["bob"]


def test_without_a_socket_a_drop_is_an_error() -> None:
    app = create_app(replace(OPTIONS, faults=("POST files: drop-before",)))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            await client.post(f"{BASE}/files")

    with pytest.raises(Exception, match="breaks the connection"):
        asyncio.run(ask())
    app.state.engine.close()


# -- which requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (DOCUMENTS, ["sources/docs/documents", "documents"]),
        (f"{DOCUMENTS}/batch", ["sources/docs/documents/batch", "documents/batch"]),
        ("/v1/organizations/org/files", ["files"]),
        (f"{BASE}/providers/people/permissions", ["providers/people/permissions", "permissions"]),
        ("/_storage/org/123", ["storage"]),
        ("/logs/v1/organizations/org", ["logs"]),
        ("/rest/search/v2", ["search"]),
        ("/rest/search/v2/document", ["search/document"]),
        ("/rest/organizations/org/sources/docs", ["sources/docs"]),
        ("/rest/organizations/org/securitycache/refresh", ["securitycache/refresh"]),
    ],
)
def test_names_of_paths(path: str, names: list[str]) -> None:
    assert ["/".join(name) for name in names_of(path)] == names


def test_a_rule_for_one_source_spares_the_others(start: Start) -> None:
    remote = start("PUT sources/docs/documents: 503")
    assert (remote.put().status_code, remote.put(source="blog").status_code) == (503, 202)


def test_a_star_is_any_segment_or_any_method(start: Start) -> None:
    remote = start("* sources/*/documents: 503")
    assert remote.put(source="blog").status_code == 503
    assert remote.api.delete(DOCUMENTS, params={"documentId": "http://a"}).status_code == 503
    assert remote.api.post(f"{BASE}/files").status_code == 201


def test_reads_meet_faults_too(start: Start) -> None:
    remote = start("POST search: 500", "POST logs: 504", "GET indexes: 403")
    assert remote.api.post("/rest/search/v2", params={"organizationId": "org"}, json={}).status_code == 500
    assert remote.api.post("/logs/v1/organizations/org", json={}).status_code == 504
    assert remote.api.get("/rest/organizations/org/indexes").status_code == 403


def test_the_emulator_itself_has_no_faults(start: Start) -> None:
    remote = start("*: 503")
    assert remote.put().status_code == 503
    for path in ("/_emulator/state", "/_emulator/requests", "/_emulator/faults", "/"):
        assert remote.api.get(path).status_code == 200


def test_the_first_rule_that_is_not_used_up_wins(start: Start) -> None:
    remote = start("PUT documents: 500 after=1 x1", "PUT documents: 503 x2", "PUT documents: 502")
    assert remote.statuses(5) == [503, 500, 503, 502, 502]


def test_some_requests_go_through_first(start: Start) -> None:
    assert start("PUT documents: 503 after=3 x1").statuses(5) == [202, 202, 202, 503, 202]


def test_rules_come_before_the_hooks_of_a_test(start: Start) -> None:
    class Seen(Hooks):
        paths: list[str] = []  # noqa: RUF012

        async def arriving(self, exchange: Exchange) -> None:
            self.paths.append(exchange.path)

    remote = start("PUT documents: 503 x1", hooks=Seen())
    remote.statuses(2)
    assert Seen.paths == [DOCUMENTS]


# -- chance ----------------------------------------------------------------------------------------

RANDOM = "random: 40% of [503, 429 retry-after=1, drop-before, drop-after, delay=0.001]"


def test_the_same_seed_gives_the_same_faults(start: Start) -> None:
    first, second, other = (start(RANDOM, fault_seed=seed).statuses(60) for seed in (7, 7, 8))
    assert first == second
    assert first != other
    assert {0, 202, 429, 503} == set(first)


def test_a_chance_is_about_as_often_as_it_says() -> None:
    faults = Faults(["PUT documents: 503 25%"], 1)
    hit = sum(faults.pick("PUT", DOCUMENTS) is not None for _ in range(4000))
    assert 900 < hit < 1100


def test_rules_draw_apart_from_each_other() -> None:
    alone = Faults(["PUT documents: 503 50%"], 3)
    beside = Faults(["PUT documents: 503 50%", "POST files: 500 50%"], 3)
    picked = []
    for _ in range(50):
        beside.pick("POST", f"{BASE}/files")
        picked.append((alone.pick("PUT", DOCUMENTS) is None, beside.pick("PUT", DOCUMENTS) is None))
    assert all(one == other for one, other in picked)
    assert len(set(picked)) == 2


def test_a_reset_begins_anew(start: Start) -> None:
    remote = start("PUT documents: 503 x1", RANDOM, fault_seed=5)
    first = remote.statuses(30)
    remote.api.post("/_emulator/reset")
    assert remote.statuses(30) == first


# -- the control endpoint --------------------------------------------------------------------------


def test_rules_are_set_added_listed_and_cleared(start: Start) -> None:
    remote = start("POST files: 500")
    faults = "/_emulator/faults"
    assert remote.api.put(faults, json={"rules": ["PUT documents: 503 x2"], "seed": 4}).json() == {
        "seed": 4,
        "rules": [{"rule": "PUT documents: 503 x2", "matched": 0, "fired": 0, "left": 2}],
    }
    added = remote.api.post(faults, json={"rules": ["DELETE documents: 500"]})
    assert [rule["rule"] for rule in added.json()["rules"]] == ["PUT documents: 503 x2", "DELETE documents: 500"]
    assert remote.statuses(3) == [503, 503, 202]
    assert remote.api.get(faults).json()["rules"] == [
        {"rule": "PUT documents: 503 x2", "matched": 2, "fired": 2, "left": 0},
        {"rule": "DELETE documents: 500", "matched": 0, "fired": 0, "left": None},
    ]
    assert remote.api.delete(faults).json() == {"seed": 4, "rules": []}
    assert remote.api.post(f"{BASE}/files").status_code == 201


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "unexpected"),
        (b"[]", '"rules", a list of strings'),
        (b'{"rules": "503"}', '"rules", a list of strings'),
        (b'{"rules": [503]}', '"rules", a list of strings'),
        (b'{"rules": [], "sed": 1}', '"sed" means nothing here'),
        (b'{"rules": [], "seed": "x"}', "whole number"),
        (b'{"rules": ["PUT documents: 503", "PUT documents: sometimes"]}', '"sometimes" is no fault'),
        (b'{"rules": ["PUT documnets: 503"]}', 'did you mean "documents"?'),
    ],
)
def test_what_cannot_be_read_changes_nothing(start: Start, body: bytes, why: str) -> None:
    remote = start("PUT documents: 500")
    answer = remote.api.put("/_emulator/faults", content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_FAULT")
    assert why in answer.json()["message"]
    assert remote.put().status_code == 500


def test_rules_may_change_while_requests_come(start: Start) -> None:
    remote = start()
    stop = threading.Event()

    def toggle() -> None:
        with httpx.Client(base_url=remote.url, trust_env=False) as client:
            while not stop.is_set():
                client.put("/_emulator/faults", json={"rules": ["PUT documents: 503 50%"]})
                client.delete("/_emulator/faults")

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        assert set(remote.statuses(100)) <= {202, 503}
    finally:
        stop.set()
        thread.join()


# -- the language ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not of the form"),
        ("PUT documents", "not of the form"),
        ("PUT documents:", "not of the form"),
        (": 503", "not of the form"),
        ("PUT a b: 503", "before the colon stand a method and a path"),
        ("PTU documents: 503", '"PTU" is no method, did you mean "PUT"?'),
        ("PUT documents//batch: 503", "empty segment"),
        ("PUT documents: x2", "does not say what is done"),
        ("PUT documents: 200", '"200" is no status of an error'),
        ("PUT documents: 99999999999999999999", "no status of an error"),
        ("PUT documents: 503 x0", '"x0" is never'),
        ("PUT documents: 503 0%", '"0%" is never'),
        ("PUT documents: 503 101%", "between 0 and 100"),
        ("PUT documents: 503 nan%", "between 0 and 100"),
        ("PUT documents: 503 x2 x3", '"x3": that is said twice'),
        ("PUT documents: 503 x9999999999", "999999999 at most"),
        ("PUT documents: 503 after=-1", '"after=-1" needs a whole number'),
        ("PUT documents: 503 500", '"500": that is said twice'),
        ("PUT documents: 503 truncate", '"status" and "truncate" are two faults'),
        ("PUT documents: drop-befor", '"drop-befor" is no fault, did you mean "drop-before"?'),
        ("PUT documents: drop-before=1", '"drop-before=1" is no fault'),
        ("PUT documents: slow", '"slow" is no fault'),
        ("PUT documents: slow=x", "needs a number"),
        ("PUT documents: slow=-1", "between 0 and 86400"),
        ("PUT documents: delay=inf", "between 0 and 86400"),
        ("PUT documents: delay=1 delay=2", "said twice"),
        ("PUT documents: truncate retry-after=2", '"retry-after" says nothing of "truncate"'),
        ("PUT documents: drop-after code=X", '"code" says nothing of "drop-after"'),
        ("PUT documents: slow=1 reason=x", '"reason" says nothing of "slow"'),
        ('PUT documents: 429 retry-after="a\u00e9"', "no value of a header"),
        ('PUT documents: 503 reason="x', "a quotation mark is not closed"),
        ("PUT documents: expired", "only the address of an upload expires"),
        ("random: 10% of 503", 'a choice is written "of [a, b]"'),
        ("random: 10% of [503, ]", "the list has an empty place"),
        ("random: 10% of []", "the list has an empty place"),
        ("random: 10% of [503 x2]", '"x2" is no fault'),
        ("random: 10% of [503] 429", '"429" stands outside of the list'),
    ],
)
def test_every_error_of_a_rule(text: str, why: str) -> None:
    with pytest.raises(BadRule) as caught:
        parse_rule(text)
    assert why in str(caught.value)
    assert str(caught.value).startswith(f'the fault "{text.strip()}" cannot be read: ')


@pytest.mark.parametrize("text", ["PUT documents:503", "put documents: 503", " PUT  /documents/:  503 "])
def test_a_rule_may_be_spelled_freely(text: str) -> None:
    rule = parse_rule(text)
    assert (rule.method, rule.path, rule.faults[0].status, rule.count) == ("PUT", ("documents",), 503, None)


def test_a_path_that_does_not_exist_is_told_at_the_start() -> None:
    with pytest.raises(BadRule, match='no path is called "fils", did you mean "files"'):
        create_app(replace(OPTIONS, faults=("POST fils: 503",)))


def test_a_list_may_hold_texts_with_commas() -> None:
    rule = parse_rule('*: of [503 reason="a, b", 500]')
    assert [(fault.status, fault.reason) for fault in rule.faults] == [(503, "a, b"), (500, None)]


@pytest.mark.parametrize("rule", ["PUT documents: delay=3600", "PUT documents: slow=3600"])
def test_the_end_of_the_emulator_ends_every_wait(rule: str, capfd: pytest.CaptureFixture[str]) -> None:
    answers: list[int] = []
    with BackgroundEmulator(replace(OPTIONS, faults=(rule,))) as emulator:
        asking, watching = Remote(emulator), Remote(emulator)
        thread = threading.Thread(target=lambda: answers.append(asking.put().status_code))
        thread.start()
        deadline = time.monotonic() + 10
        while not watching.api.get("/_emulator/faults").json()["rules"][0]["fired"] and time.monotonic() < deadline:
            time.sleep(0.01)
        watching.api.close()
    thread.join(10)
    asking.api.close()
    assert answers == [202]
    assert capfd.readouterr().err == ""


def test_a_request_that_no_endpoint_takes_uses_no_fault_up(start: Start) -> None:
    remote = start("*: 503 x1")
    assert remote.api.post(f"{BASE}/nothing").status_code == 404
    assert remote.api.post(DOCUMENTS).status_code == 405
    assert remote.statuses(2) == [503, 202]
