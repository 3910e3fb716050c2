"""A remote that answers anything but what is documented: refused or bounded, told, and truly recorded."""

from __future__ import annotations

import gzip
import logging
import traceback
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from reconciler.calls.compile import compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.planning.change import Action, Change
from reconciler.pushapi.client import Accepted, CallFailed, PushClient, StatusType
from reconciler.pushapi.hosts import hosts_at, is_public_name
from reconciler.pushapi.http import MAX_REPLY, Http, NoReply
from reconciler.pushapi.network import MAX_READ, Timeouts
from reconciler.pushapi.reader import Reader
from reconciler.pushapi.retry import RetryPolicy
from tests.builders import KEY, ORGANIZATION, SHARED_ID, item
from tests.hostile import Answer, Hostile, closing, container, dripping, hostile, http_answer, json_answer

CONTEXT = WireContext(ORGANIZATION, {"blog": SourceRef(SHARED_ID, None)}, {})
TWICE = RetryPolicy(attempts=2)
# What the kernel holds on its way, beside what was read.
BUFFERED = 16 * 1024 * 1024

LOGIN = b"<!DOCTYPE html><html><body>Please log in to the guest network</body></html>"
HEAD = b"HTTP/1.1 202 Accepted\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Making = Callable[[Hostile], Answer]


@pytest.fixture
def remote() -> Iterator[Hostile]:
    with hostile() as server:
        yield server


def sent(remote: Hostile, *, items: int = 1, timeouts: Timeouts | None = None) -> Accepted:
    """Send a call: of one item by itself, of more of them as a batch."""
    made = [item(f"https://x/{number}", source="blog", title="t") for number in range(items)]
    changes = [Change(resource.address, Action.CREATE, "new", None, resource) for resource in made]
    [call] = compile_calls(changes, CONTEXT).calls
    assert call.is_batch is (items > 1)
    by_address = {resource.address: resource for resource in made}
    with client(remote, timeouts) as push:
        return push.send(
            call,
            ordering_id=1_700_000_000_000,
            resources=[by_address[covered.address] for covered in call.covers],
            bodies=mock.Mock(spec=()),
            context=CONTEXT,
        )


def client(remote: Hostile, timeouts: Timeouts | None = None) -> PushClient:
    return PushClient(f"{remote.url}/push/v1", KEY, policy=TWICE, timeouts=timeouts, sleep=lambda _: None)


def failing(remote: Hostile, *, items: int = 1, timeouts: Timeouts | None = None) -> CallFailed:
    """Send a call that fails, and return the failure, which says all that it should and no secret."""
    with pytest.raises(CallFailed) as caught:
        sent(remote, items=items, timeouts=timeouts)
    (problem,) = caught.value.problems
    assert problem.what and problem.why and problem.fix and problem.where
    shown = "".join(traceback.format_exception(caught.value)) + repr(problem)
    assert KEY not in shown
    assert "/upload/" not in shown
    return caught.value


def told(failure: CallFailed) -> tuple[str, str]:
    return failure.problems[0].code, failure.outcome


def always(answer: Answer) -> Making:
    return lambda _: answer


def endless(piece: bytes, head: bytes = b"") -> Making:
    return lambda remote: remote.endless(piece, head)


# An answer, the code of the failure that it is, and whether a call so answered may have been accepted.
BAD: dict[str, tuple[Making, str, str]] = {
    "a page for people": (always(http_answer(LOGIN, 200, "text/html")), "bad-reply", "unknown"),
    "a page with a status": (always(http_answer(LOGIN, 502, "text/html")), "remote-failing", "unknown"),
    "a text": (always(http_answer(b"OK", 202, "text/plain")), "bad-reply", "unknown"),
    "NaN": (always(http_answer(b'{"n": NaN}', 202)), "bad-reply", "unknown"),
    "infinity": (always(http_answer(b"[-Infinity]", 202)), "bad-reply", "unknown"),
    "an endless number": (always(http_answer(b"9" * 100_000, 202)), "bad-reply", "unknown"),
    "a deep nest": (always(http_answer(b'[{"a":' * 100_000, 202)), "bad-reply", "unknown"),
    "another charset": (
        always(http_answer('{"m": "gr\u00fcn"}'.encode("latin-1"), 202, "application/json; charset=latin-1")),
        "bad-reply",
        "unknown",
    ),
    "half of it": (always(http_answer(b'{"message": "acc', 202)), "bad-reply", "unknown"),
    "two values": (always(http_answer(b"{}{}", 202)), "bad-reply", "unknown"),
    "a body of gigabytes": (endless(b"[0,", HEAD + b"Content-Length: 9999999999\r\n\r\n"), "bad-reply", "unknown"),
    "a body without an end": (endless(b"[0,", HEAD + b"\r\n"), "bad-reply", "unknown"),
    "endless chunks": (endless(b"300\r\n" + b"[0," * 256 + b"\r\n", CHUNKED), "bad-reply", "unknown"),
    "endless small chunks": (endless(b"1;" + b"x" * 500 + b"\r\n[\r\n", CHUNKED), "remote-unreachable", "unknown"),
    "a chunk of no size": (always(closing(CHUNKED + b"xyz\r\n")), "remote-unreachable", "unknown"),
    "a chunk of any size": (always(closing(CHUNKED + b"F" * 30 + b"\r\n{}")), "remote-unreachable", "unknown"),
    "a bomb": (
        always(http_answer(gzip.compress(bytes(50_000_000)), 202, Content__Encoding="gzip")),
        "bad-reply",
        "unknown",
    ),
    "heads without an end": (endless(b"X-Header: and so on\r\n", HEAD), "remote-unreachable", "unknown"),
    "one endless header": (endless(b"x", HEAD + b"X: "), "remote-unreachable", "unknown"),
    "nothing but progress": (
        endless(b"HTTP/1.1 102 Processing\r\nX: " + b"x" * 500 + b"\r\n\r\n"),
        "remote-unreachable",
        "unknown",
    ),
    "another protocol": (always(closing(b"SSH-2.0-OpenSSH_9.2\r\n")), "remote-unreachable", "unknown"),
    "a change of protocols": (
        always(closing(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")),
        "remote-unreachable",
        "unknown",
    ),
    "nothing": (always(closing(b"")), "remote-unreachable", "unknown"),
    "half a head": (always(closing(HEAD + b"Content-Len")), "remote-unreachable", "unknown"),
    "less than was said": (always(closing(HEAD + b"Content-Length: 99\r\n\r\n{}")), "remote-unreachable", "unknown"),
    "a negative length": (always(closing(HEAD + b"Content-Length: -1\r\n\r\n{}")), "remote-unreachable", "unknown"),
    "two lengths": (
        always(closing(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")),
        "remote-unreachable",
        "unknown",
    ),
    "a gateway's own status": (always(http_answer(LOGIN, 524, "text/html")), "remote-failing", "unknown"),
    "a status of nobody": (always(http_answer(b"{}", 999)), "remote-failing", "unknown"),
    "a way elsewhere": (
        always(http_answer(b"", 307, Location="http://127.0.0.1:9/push/v1/elsewhere")),
        "call-redirected",
        "refused",
    ),
    "not found, says a page": (always(http_answer(LOGIN, 404, "text/html")), "organization-unknown", "refused"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_call_that_is_answered_with_anything_else_is_not_accepted(remote: Hostile, name: str) -> None:
    making, code, outcome = BAD[name]
    remote.answers["call"] = making(remote)
    assert told(failing(remote)) == (code, outcome)
    assert remote.sent <= 2 * MAX_READ + BUFFERED


@pytest.mark.parametrize("name", BAD)
def test_a_batch_that_is_answered_with_anything_else_is_not_accepted(remote: Hostile, name: str) -> None:
    making, code, outcome = BAD[name]
    remote.answers["batch"] = making(remote)
    assert told(failing(remote, items=3)) == (code, outcome)


@pytest.mark.parametrize("name", BAD)
def test_without_a_container_nothing_was_accepted(remote: Hostile, name: str) -> None:
    making, code, _ = BAD[name]
    remote.answers["files"] = making(remote)
    assert told(failing(remote, items=3)) == (code, "refused")
    assert {"upload", "batch"}.isdisjoint(remote.kinds)


@pytest.mark.parametrize(
    "name",
    [
        *("a page for people", "a page with a status", "endless small chunks", "heads without an end", "half a head"),
        *(
            "nothing but progress",
            "another protocol",
            "nothing",
            "less than was said",
            "two lengths",
            "a way elsewhere",
        ),
    ],
)
def test_what_storage_did_not_take_is_not_named_in_a_batch(remote: Hostile, name: str) -> None:
    remote.answers["upload"] = BAD[name][0](remote)
    failure = failing(remote, items=3)
    assert failure.outcome == "refused"
    assert failure.problems[0].what.startswith("uploading to the file container: ")
    assert "batch" not in remote.kinds


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({}, 202),
        json_answer(None, 202),
        json_answer({}, 200),
        http_answer(b"", 202),
        http_answer(b"", 204),
        http_answer(b" \r\n", 202, "text/html"),
        json_answer({"a": 1, "orderingId": "x"}, 202),
        http_answer(b'{"a": 1, "a": 2}', 202),
        http_answer("{}".encode("utf-16"), 202),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + json_answer({}, 202),
    ],
)
def test_what_is_unusual_and_says_accepted_is_accepted(remote: Hostile, answer: bytes) -> None:
    """Any 2xx without a body, or with one that is JSON (push-api.md 2.1)."""
    remote.answers["call"] = answer
    assert sent(remote).attempts == 1


@pytest.mark.parametrize("step", ["files", "upload", "batch", "call"])
@pytest.mark.parametrize("begun", [b"HTTP/1.1", HEAD, HEAD + b"Content-Length: 1000\r\n\r\n"])
def test_an_answer_a_byte_at_a_time_is_given_up(remote: Hostile, step: str, begun: bytes) -> None:
    remote.answers[step] = dripping(begun)
    failure = failing(remote, items=1 if step == "call" else 3, timeouts=Timeouts(reply=0.15))
    assert told(failure) == ("call-timed-out", "unknown" if step in ("batch", "call") else "refused")
    assert "after 2 attempts" in failure.problems[0].what


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("step", ["files", "upload", "batch", "call"])
def test_no_way_elsewhere_is_followed(remote: Hostile, step: str, status: int) -> None:
    with hostile() as other:
        remote.answers[step] = http_answer(b"", status, Location=f"{other.url}/upload/x")
        failure = failing(remote, items=1 if step == "call" else 3)
        assert other.requests == []
    assert told(failure) == ("upload-refused" if step == "upload" else "call-redirected", "refused")


def test_a_way_in_a_circle_is_not_followed(remote: Hostile) -> None:
    remote.answers["call"] = http_answer(b"", 302, Location="?again")
    failing(remote)
    assert remote.kinds == ["call"]


def test_an_answer_that_came_before_its_request_is_none(remote: Hostile) -> None:
    """Two answers to one request shift all that follow: each call would be told what became of the one before."""
    remote.answers["call"] = json_answer({}, 201) * 2
    with client(remote) as push:
        push.tell("organizations/o/sources/s/status", StatusType.IDLE)
        remote.answers["call"] = json_answer({"errorCode": "INVALID_TOKEN"}, 401)
        with pytest.raises(CallFailed) as caught:
            push.tell("organizations/o/sources/s/status", StatusType.IDLE)
    assert caught.value.status == 401
    assert " after 2 attempts" in caught.value.problems[0].what


def test_an_answer_cut_by_its_own_length_spoils_no_other(remote: Hostile) -> None:
    remote.answers["call"] = HEAD + b"Content-Length: 2\r\n\r\n{}}"
    with client(remote) as push:
        for _ in range(3):
            push.tell("organizations/o/sources/s/status", StatusType.IDLE)


def test_a_key_that_comes_back_is_not_shown(remote: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in (
        http_answer(b"<p>", 200, f"text/{KEY}"),
        json_answer({"errorCode": KEY, "message": f"Bearer {KEY}"}, 400),
        http_answer(b"{}", 400, X__Request__ID=KEY),
        closing(f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
    ):
        remote.answers["call"] = answer
        failing(remote)
    assert KEY not in caplog.text


def test_a_bomb_is_not_unpacked(remote: Hostile) -> None:
    remote.answers["read"] = http_answer(gzip.compress(bytes(100_000_000)), 200, Content__Encoding="gzip")
    http = Http(headers={})
    reply = http.exchange("GET", f"{remote.url}/rest/x")
    http.close()
    assert len(reply.body) < 200_000
    assert reply.foreign


def test_a_body_is_read_up_to_its_bound_and_no_further(remote: Hostile) -> None:
    remote.answers["read"] = remote.endless(b" ", HEAD + b"Content-Length: 9999999999\r\n\r\n")
    http = Http(headers={})
    reply = http.exchange("GET", f"{remote.url}/rest/x")
    http.close()
    assert (len(reply.body), reply.cut) == (MAX_REPLY, True)
    assert remote.sent <= MAX_READ + BUFFERED


def test_what_surrounds_a_body_is_bounded_too(remote: Hostile) -> None:
    remote.answers["read"] = remote.endless(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    http = Http(headers={})
    with pytest.raises(NoReply) as caught:
        http.exchange("GET", f"{remote.url}/rest/x")
    http.close()
    assert (caught.value.kind, caught.value.sent) == ("dropped", True)
    assert remote.sent <= MAX_READ + BUFFERED


# -- containers ------------------------------------------------------------------------------------

_ELSEWHERE = [
    *("http://bucket.example.com/x", "http://10.0.0.1/x", "http://169.254.169.254/x", "http://0.0.0.0/x"),
    *("ftp://127.0.0.1/x", "file:///etc/passwd", "//127.0.0.1/x", "javascript:x", "https:///x", "x", ""),
    *("https://me:pa55word@bucket.example.com/x", "http://me@127.0.0.1/x", "https://@bucket.example.com/x"),
    *("https://bucket.example.com:99999/x", "https://[::1/x", "https://bucket.example.com/\r\nX: y"),
]


@pytest.mark.parametrize("address", _ELSEWHERE)
def test_content_goes_nowhere_else(remote: Hostile, address: str) -> None:
    remote.answers["files"] = json_answer(container(address), 201)
    failure = failing(remote, items=3)
    assert told(failure) == ("upload-refused", "refused")
    assert remote.kinds == ["files"]
    assert "pa55word" not in str(failure.problems[0])


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("s3.amazonaws.com", True),
        ("Bucket.s3.EU-west-1.amazonaws.com.", True),
        ("10.amazonaws.com", True),
        ("127.0.0.1", False),
        ("127.1", False),
        ("0x7f.0.0.0x1", False),
        ("2130706433", False),
        ("169.254.169.254", False),
        ("52.216.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1", False),
        ("localhost", False),
        ("s3.localhost", False),
        ("storage", False),
        ("metadata.google.internal", False),
        ("printer.local.", False),
        ("", False),
    ],
)
def test_names_that_public_dns_may_know(host: str, public: bool) -> None:
    assert is_public_name(host) is public


@pytest.mark.parametrize(
    "changes",
    [
        {"fileId": ""},
        {"fileId": "x" * 129},
        {"fileId": None},
        {"uploadUri": ["x"]},
        {"requiredHeaders": {"Authorization": "x"}},
        {"requiredHeaders": {"Proxy-Authorization": "x"}},
        {"requiredHeaders": {"Expect": "100-continue"}},
        {"requiredHeaders": {"Upgrade": "h2c"}},
        {"requiredHeaders": {"X": "a\r\nY: b"}},
        {"requiredHeaders": {"X": 1}},
        {"requiredHeaders": "X: 1"},
        {"requiredHeaders": {f"x-{number}": "" for number in range(33)}},
    ],
)
def test_a_container_that_asks_for_more_than_it_may_is_none(remote: Hostile, changes: dict[str, object]) -> None:
    remote.answers["files"] = json_answer(container(f"{remote.url}/upload/x", **changes), 201)
    assert told(failing(remote, items=3)) == ("bad-reply", "refused")
    assert remote.kinds == ["files"]


def test_of_an_address_that_comes_twice_the_one_that_was_judged_is_used(remote: Hostile) -> None:
    twice = f'{{"fileId": "f", "uploadUri": "http://10.0.0.1/x", "uploadUri": "{remote.url}/upload/y"}}'
    remote.answers["files"] = http_answer(twice.encode(), 201)
    sent(remote, items=3)
    assert [request.target for request in remote.requests if request.kind == "upload"] == ["/upload/y"]


# -- reading ---------------------------------------------------------------------------------------


def reader(remote: Hostile) -> Reader:
    return Reader(hosts_at(remote.url), ORGANIZATION, KEY, policy=TWICE, sleep=lambda _: None)


@pytest.mark.parametrize("name", BAD)
def test_a_read_is_never_half_understood(remote: Hostile, name: str) -> None:
    making, code, _ = BAD[name]
    remote.answers["read"] = making(remote)
    with reader(remote) as platform, pytest.raises(CallFailed) as caught:
        platform.source("x")
    assert told(caught.value) == (code, "refused")
    assert caught.value.problems[0].why == "reading changes nothing, here or at the remote."


def test_a_refresh_that_a_page_answers_is_not_triggered(remote: Hostile) -> None:
    remote.answers["read"] = http_answer(LOGIN, 200, "text/html")
    with reader(remote) as platform, pytest.raises(CallFailed) as caught:
        platform.refresh("x")
    assert caught.value.problems[0].what == "the answer is not JSON but text/html"


@pytest.mark.parametrize("counted", [{}, {"totalPages": 10**12}])
def test_a_remote_that_knows_no_pages_is_not_asked_for_ever(remote: Hostile, counted: dict[str, int]) -> None:
    page = [{"name": f"u{number}", "type": "USER"} for number in range(100)]
    remote.answers["read"] = json_answer({"items": page, **counted}, 200)
    with reader(remote) as platform, pytest.raises(CallFailed) as caught:
        list(platform.provider_members("x"))
    assert caught.value.problems[0].code == "bad-reply"
    assert remote.kinds == ["read", "read"]


def test_logs_without_an_end_are_not_read_for_ever(remote: Hostile) -> None:
    from datetime import UTC, datetime, timedelta

    entry = {"sourceId": "x", "id": "1"}
    remote.answers["read"] = json_answer({"documentLogEntries": [entry], "hasNextPage": True}, 200)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with reader(remote) as platform, pytest.raises(CallFailed):
        list(platform.logs(["x"], now - timedelta(days=1), now))
    assert remote.kinds == ["read", "read"]
