"""The client over a mock transport: what travels, what is tried again, and what is said when it fails."""

from __future__ import annotations

import hashlib
import io
import logging
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

import httpx
import orjson
import pytest

from reconciler.calls.call import Call
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError
from reconciler.pushapi.client import Accepted, CallFailed, PushClient, StatusType
from reconciler.pushapi.network import Network
from reconciler.pushapi.retry import RetryPolicy

BASE = "https://api.example.com/push/v1"
KEY = "xxcanary0-1111-2222-3333-444444444444"
UPLOAD = "https://bucket.example.com/a%20b/f1?X-Amz-Signature=a%2Bb%2f&X-Amz-Expires=3600"
REQUIRED = {"x-amz-server-side-encryption": "AES256", "Content-Type": "application/octet-stream"}
CONTEXT = WireContext("org", {"s": SourceRef("sid", "corp")}, {"corp": "pid"})
TEXT = b"some text"
SHA = hashlib.sha256(TEXT).hexdigest()

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Bodies:
    def __init__(self, raw: bytes = TEXT) -> None:
        self.raw = raw

    def open(self, sha256: str, /) -> BinaryIO:
        assert sha256 == SHA
        return io.BytesIO(self.raw)


class Remote:
    """Answers the listed answers, then accepts, and writes down what came."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.elapsed = 0.0
        self.containers = 0
        self.base = BASE
        self.network = Network()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        kind = self.kind(request)
        queue = self.answers.get(kind, [])
        if queue:
            answer = queue.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer(request) if callable(answer) else answer
        if kind == "files":
            self.containers += 1
            return container(f"file-{self.containers}")
        return httpx.Response(200 if kind == "upload" else 202, json={}, headers={"X-Request-ID": f"r-{kind}"})

    @staticmethod
    def kind(request: httpx.Request) -> str:
        if request.url.host == "bucket.example.com":
            return "upload"
        last = request.url.path.rsplit("/", 1)[1]
        return last if last in ("files", "batch") else "call"

    @property
    def kinds(self) -> list[str]:
        return [self.kind(request) for request in self.requests]

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.elapsed += seconds

    def client(self, policy: RetryPolicy | None = None, key: str = KEY) -> PushClient:
        return PushClient(
            self.base,
            key,
            transport=httpx.MockTransport(self),
            network=self.network,
            policy=policy or RetryPolicy(attempts=4, deadline=1000),
            user_agent="reconciler/test",
            sleep=self.sleep,
            draw=lambda: 0.5,
            clock=lambda: self.elapsed,
        )


def container(file_id: str = "file-1", **changed: Any) -> httpx.Response:
    value = {"uploadUri": UPLOAD, "fileId": file_id, "requiredHeaders": REQUIRED} | changed
    return httpx.Response(201, json=value)


def error(status: int, code: str = "", message: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"errorCode": code, "message": message}, headers=headers)


def item(uri: str) -> Change:
    body = {"encoding": "text", "sha256": SHA, "size": len(TEXT)}
    resource = Resource(Address.of(Kind.ITEM, "s", uri), canonical_json({"metadata": {"a": 1}, "body": body}))
    return Change(resource.address, Action.CREATE, "new", None, resource)


SINGLE = [item("file://folder/mytext.txt")]
BATCH = [item(f"https://x/{n}") for n in range(3)]


def send(remote: Remote, changes: list[Change], bodies: Bodies | None = None, **options: Any) -> Accepted:
    call: Call = compile_calls(changes, CONTEXT).calls[0]
    resources = payload_resources(changes)
    with remote.client(**options) as client:
        return client.send(
            call,
            ordering_id=1700000000000,
            resources=[resources[covered.address] for covered in call.covers],
            bodies=bodies or Bodies(),
            context=CONTEXT,
            where="call 7 of 12, PUT sources/s/documents",
        )


def failing(remote: Remote, changes: list[Change], **options: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        send(remote, changes, **options)
    shown = "".join(traceback.format_exception(caught.value))
    error: BaseException | None = caught.value
    while error is not None:
        shown += repr(error) + str(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    for secret in (KEY, "X-Amz-Signature"):
        assert secret not in shown
    return caught.value


def test_a_single_item_is_the_documented_request() -> None:
    remote = Remote()
    accepted = send(remote, SINGLE)
    [request] = remote.requests
    assert request.method == "PUT"
    assert str(request.url) == (
        f"{BASE}/organizations/org/sources/sid/documents"
        "?documentId=file%3A%2F%2Ffolder%2Fmytext.txt&orderingId=1700000000000"
    )
    assert dict(request.headers) == {
        "host": "api.example.com",
        "authorization": f"Bearer {KEY}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "reconciler/test",
        "content-type": "application/json",
        "content-length": "103",
    }
    assert request.content == (
        b'{"a":1,"permanentid":"30315feb715d8bbed48324532306d5f2f4ef0af8204653b7b6d407416f56","data":"some text"}'
    )
    assert accepted == Accepted(202, ("r-call",), 103)


def test_an_items_deletion_has_no_body() -> None:
    gone = SINGLE[0].after
    assert gone is not None
    remote = Remote()
    send(remote, [Change(gone.address, Action.DELETE, "removed", gone, None)])
    [request] = remote.requests
    assert (request.method, request.content, "content-type" in request.headers) == ("DELETE", b"", False)
    assert request.url.query == (
        b"documentId=file%3A%2F%2Ffolder%2Fmytext.txt&deleteChildren=false&orderingId=1700000000000"
    )


def test_an_identitys_deletion_has_one() -> None:
    gone = Resource(Address("group/corp/g"), b"{}")
    remote = Remote()
    send(remote, [Change(gone.address, Action.DELETE, "removed", gone, None)])
    [request] = remote.requests
    assert (request.method, request.content) == ("DELETE", b'{"identity":{"name":"g","type":"GROUP"}}')
    assert request.headers["content-type"] == "application/json"
    assert request.url.raw_path == (b"/push/v1/organizations/org/providers/pid/permissions?orderingId=1700000000000")


@pytest.mark.parametrize(("reason", "method"), [("removed", "PUT"), ("destroy", "DELETE")])
def test_a_removed_user_is_put_bare_and_a_destroyed_one_deleted(reason: str, method: str) -> None:
    gone = Resource(Address("user/corp/u"), b"{}", canonical_json({"wellKnowns": ["group/corp/g"]}))
    remote = Remote()
    send(remote, [Change(gone.address, Action.DELETE, reason, gone, None)])
    [request] = remote.requests
    assert (request.method, request.content) == (method, b'{"identity":{"name":"u","type":"USER"}}')
    assert request.headers["content-type"] == "application/json"
    assert request.url.raw_path == b"/push/v1/organizations/org/providers/pid/permissions?orderingId=1700000000000"


def test_a_batch_is_three_requests_and_storage_never_sees_the_key() -> None:
    remote = Remote()
    accepted = send(remote, BATCH)
    files, upload, batch = remote.requests
    assert (files.method, str(files.url), files.content) == ("POST", f"{BASE}/organizations/org/files", b"")
    assert "content-type" not in files.headers
    assert files.headers["content-length"] == "0"

    content = orjson.loads(upload.content)
    assert [entry["documentId"] for entry in content["addOrUpdate"]] == [f"https://x/{n}" for n in range(3)]
    assert upload.method == "PUT"
    assert dict(upload.headers) == {
        "host": "bucket.example.com",
        **{name.lower(): value for name, value in REQUIRED.items()},
        "content-length": str(len(upload.content)),
    }
    assert upload.extensions["target"] == UPLOAD.removeprefix("https://bucket.example.com").encode()

    assert (batch.method, batch.content) == ("PUT", b"")
    assert str(batch.url) == (
        f"{BASE}/organizations/org/sources/sid/documents/batch?orderingId=1700000000000&fileId=file-1"
    )
    assert accepted == Accepted(202, ("r-upload", "r-batch"), len(upload.content))


def test_source_status_has_no_ordering_id() -> None:
    remote = Remote()
    with remote.client() as client:
        client.tell("organizations/org/sources/sid/status", StatusType.REBUILD)
    [request] = remote.requests
    assert (request.method, str(request.url)) == (
        "POST",
        f"{BASE}/organizations/org/sources/sid/status?statusType=REBUILD",
    )


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (error(429, **{"Retry-After": "17"}), 17.0),
        (error(503, **{"Retry-After": "3"}), 3.0),
        (error(429, **{"Retry-After": "whenever"}), 0.5),
        (error(500), 0.5),
        (httpx.Response(502, text="<html>"), 0.5),
        (error(504), 0.5),
        (httpx.ConnectError("refused"), 0.5),
        (httpx.ConnectTimeout("slow"), 0.5),
        (httpx.ReadTimeout("slow"), 0.5),
        (httpx.RemoteProtocolError("gone"), 0.5),
        (httpx.WriteError("gone"), 0.5),
    ],
)
def test_what_may_pass_is_tried_again(answer: Answer, wait: float) -> None:
    remote = Remote(call=[answer])
    accepted = send(remote, SINGLE)
    assert (accepted.attempts, remote.waits, len(remote.requests)) == (2, [wait], 2)
    assert remote.requests[0].content == remote.requests[1].content


@pytest.mark.parametrize("changes", [SINGLE, BATCH])
def test_retries_are_told_before_they_are_waited_for(changes: list[Change]) -> None:
    answers: list[Answer] = [error(503), error(429, "TOO_MANY_REQUESTS")]
    remote = Remote(call=answers, batch=answers)
    heard: list[tuple[int, float, str, int]] = []
    with remote.client() as client:
        client.send(
            compile_calls(changes, CONTEXT).calls[0],
            ordering_id=1,
            resources=[change.after for change in changes],
            bodies=Bodies(),
            context=CONTEXT,
            retried=lambda attempt, wait, reason: heard.append((attempt, wait, reason, len(remote.waits))),
        )
    assert heard == [(2, 0.5, "HTTP 503", 0), (3, 1.0, "HTTP 429 TOO_MANY_REQUESTS", 1)]


@pytest.mark.parametrize(
    ("answers", "kinds"),
    [
        ({"files": [error(429)]}, ["files", "files", "upload", "batch"]),
        ({"upload": [httpx.Response(403)]}, ["files", "upload", "files", "upload", "batch"]),
        ({"upload": [httpx.Response(503)]}, ["files", "upload", "files", "upload", "batch"]),
        ({"upload": [httpx.WriteError("gone")]}, ["files", "upload", "files", "upload", "batch"]),
        # Throttled, the container is still there; after anything else it may be used up.
        ({"batch": [error(429)]}, ["files", "upload", "batch", "batch"]),
        ({"batch": [error(503)]}, ["files", "upload", "batch", "files", "upload", "batch"]),
        (
            {"batch": [httpx.ReadTimeout("slow")]},
            ["files", "upload", "batch", "files", "upload", "batch"],
        ),
    ],
)
def test_how_a_batch_is_tried_again(answers: dict[str, list[Answer]], kinds: list[str]) -> None:
    remote = Remote(**answers)
    accepted = send(remote, BATCH)
    assert remote.kinds == kinds
    uploads = [request.content for request, kind in zip(remote.requests, kinds, strict=True) if kind == "upload"]
    assert len(set(uploads)) == 1
    assert remote.requests[-1].url.params["fileId"] == f"file-{remote.containers}"
    assert accepted.attempts == 2


def test_an_expired_container_is_made_anew() -> None:
    remote = Remote(batch=[error(429, **{"Retry-After": "3400"})])
    send(remote, BATCH, policy=RetryPolicy(deadline=10_000))
    assert remote.kinds == ["files", "upload", "batch", "files", "upload", "batch"]


def test_a_batch_is_never_committed_unless_the_upload_was_accepted() -> None:
    remote = Remote(upload=[httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>")] * 9)
    failure = failing(remote, BATCH)
    assert "batch" not in remote.kinds
    assert (failure.outcome, failure.status, failure.exit_code) == ("refused", 403, 4)
    [problem] = failure.problems
    assert (problem.code, problem.where) == ("upload-refused", "call 7 of 12, PUT sources/s/documents")
    assert problem.what == ("uploading to the file container: HTTP 403: AccessDenied after 4 attempts over 4 s")
    assert problem.why == "nothing of this call was accepted."


@pytest.mark.parametrize(
    ("answer", "code", "what"),
    [
        (error(400, "INVALID_JSON", "Invalid JSON."), "call-refused", "HTTP 400 INVALID_JSON: Invalid JSON."),
        (error(400, "ORGANIZATION_IS_PAUSED"), "organization-paused", "HTTP 400 ORGANIZATION_IS_PAUSED"),
        (
            error(401, "INVALID_TOKEN", f"Token {KEY} is\x1b[31m invalid\n."),
            "call-unauthorized",
            "HTTP 401 INVALID_TOKEN: Token *** is [31m invalid .",
        ),
        (httpx.Response(403, json={"message": "Forbidden"}), "call-forbidden", "HTTP 403: Forbidden"),
        (error(404, "ORGANIZATION_NOT_FOUND", "no"), "organization-unknown", "HTTP 404 ORGANIZATION_NOT_FOUND: no"),
        (error(412, "SOURCE_DOES_NOT_EXIST"), "source-unknown", "HTTP 412 SOURCE_DOES_NOT_EXIST"),
        (error(412, "INVALID_PARAMETER"), "call-refused", "HTTP 412 INVALID_PARAMETER"),
        (error(412, "DOCUMENT_LIMIT_EXCEEDED"), "document-limit", "HTTP 412 DOCUMENT_LIMIT_EXCEEDED"),
        (httpx.Response(413, text="Request Entity Too Large"), "call-too-large", "HTTP 413"),
        (error(415, "UNSUPPORTED_MEDIA_TYPE"), "call-refused", "HTTP 415 UNSUPPORTED_MEDIA_TYPE"),
        (httpx.Response(418, content=b"\xff[" * 100), "call-refused", "HTTP 418"),
        (
            httpx.Response(302, headers={"Location": "https://evil.example.com/"}),
            "call-redirected",
            "HTTP 302",
        ),
    ],
)
def test_what_is_permanent_fails_at_once(answer: httpx.Response, code: str, what: str) -> None:
    remote = Remote(call=[answer])
    failure = failing(remote, SINGLE)
    [problem] = failure.problems
    assert (problem.code, problem.what, failure.outcome) == (code, what, "refused")
    assert problem.fix
    assert (len(remote.requests), remote.waits) == (1, [])


@pytest.mark.parametrize(
    ("answers", "outcome", "code"),
    [
        ([error(503)] * 4, "unknown", "remote-failing"),
        ([error(504)] * 4, "unknown", "remote-failing"),
        ([httpx.ReadTimeout("slow")] * 4, "unknown", "call-timed-out"),
        ([httpx.ReadError("gone")] * 4, "unknown", "remote-unreachable"),
        ([error(429)] * 4, "refused", "call-throttled"),
        ([httpx.ConnectError("refused")] * 4, "refused", "remote-unreachable"),
        ([httpx.ConnectTimeout("slow")] * 4, "refused", "call-timed-out"),
        # Once it may have been accepted, nothing later says that it was not.
        ([httpx.ReadTimeout("slow"), error(429), error(429), error(429)], "unknown", "call-throttled"),
        ([error(500), error(401)], "unknown", "call-unauthorized"),
        ([error(500), *[httpx.ConnectError("refused")] * 3], "unknown", "remote-unreachable"),
    ],
)
def test_whether_a_call_may_have_been_accepted(answers: list[Answer], outcome: str, code: str) -> None:
    count = len(answers)
    remote = Remote(call=answers)
    failure = failing(remote, SINGLE)
    assert (failure.outcome, failure.problems[0].code, len(remote.requests)) == (outcome, code, count)
    assert ("nothing of this call" in failure.problems[0].why) is (outcome == "refused")


@pytest.mark.parametrize("step", ["files", "upload"])
@pytest.mark.parametrize("answer", [error(500), httpx.ReadTimeout("slow")])
def test_before_the_batch_is_named_nothing_can_have_been_accepted(step: str, answer: Answer) -> None:
    failure = failing(Remote(**{step: [answer] * 4}), BATCH)
    assert failure.outcome == "refused"


def test_a_wait_beyond_the_deadline_is_not_waited() -> None:
    remote = Remote(call=[error(429, "TOO_MANY_DOCUMENTS_DAILY", "quota", **{"Retry-After": "90000"})])
    failure = failing(remote, SINGLE)
    assert (remote.waits, failure.problems[0].code, failure.status) == ([], "daily-items-used", 429)


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(201, text="<html>"),
        httpx.Response(201, json=[]),
        httpx.Response(201, json={"fileId": "x"}),
        httpx.Response(201, content=b"[" * 900_000),
        container(fileId=""),
        container(fileId=7),
        container(uploadUri=None),
        container(requiredHeaders=[1]),
        container(requiredHeaders={"a": 1}),
        container(requiredHeaders={"a": "b\r\nc: d"}),
        container(requiredHeaders={"Host": "evil"}),
        container(requiredHeaders={"Transfer-Encoding": "chunked"}),
        container(requiredHeaders={str(n): "x" for n in range(100)}),
        httpx.Response(201, content=b"x" * 5_000_000),
    ],
)
def test_a_bad_container_is_no_container(reply: httpx.Response) -> None:
    remote = Remote(files=[reply])
    failure = failing(remote, BATCH)
    assert (failure.problems[0].code, failure.outcome, remote.kinds) == ("bad-reply", "refused", ["files"])


@pytest.mark.parametrize(
    "address",
    [
        "http://bucket.example.com/x",
        "http://10.0.0.1/x",
        "http://127.0.0.1.example.com/x",
        "http://localhost.example.com/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "https:///x",
        "https://user:pw@bucket.example.com/x",
        "https://bucket.example.com/a b",
        "https://bucket.example.com:99999/x",
        "https://[::1/x",
        "https://bucket.example.com/é",
        "",
    ],
)
def test_content_goes_to_https_or_this_machine_only(address: str) -> None:
    remote = Remote(files=[container(uploadUri=address)])
    failure = failing(remote, BATCH)
    assert (failure.problems[0].code, remote.kinds) == ("upload-refused", ["files"])


@pytest.mark.parametrize("host", ["127.0.0.1:81", "localhost:81", "[::1]:81", "127.9.9.9"])
def test_this_machine_may_be_plain_http_for_an_api_on_it(host: str) -> None:
    remote = Remote(files=[container(uploadUri=f"http://{host}/x/batch")])
    remote.base = "http://127.0.0.1:80/push/v1"
    send(remote, BATCH)
    assert "authorization" not in remote.requests[1].headers
    remote = Remote(files=[container(uploadUri=f"http://{host}/x/batch")])
    assert failing(remote, BATCH).problems[0].code == "upload-refused"


AMAZON = "https://bucket.s3.eu-west-1.amazonaws.com/x"


@pytest.mark.parametrize(
    ("base", "allowed", "address", "taken"),
    [
        # The public APIs name Amazon's hosts (push-api.md 2.2).
        ("https://api.cloud.coveo.com/push/v1", (), AMAZON, True),
        ("https://push.cloud.coveo.com/v1", (), "https://s3.amazonaws.com/bucket/x", True),
        ("https://api-eu.cloud.coveo.com/push/v1", (), "https://bucket.example.com/x", False),
        ("https://api.cloud.coveo.com/push/v1", (), "https://amazonaws.com.example.com/x", False),
        ("https://api.cloud.coveo.com/push/v1", (), "https://notamazonaws.com/x", False),
        ("https://api.cloud.coveo.com/push/v1", (), "https://169.254.169.254/x", False),
        ("https://api.cloud.coveo.com/push/v1", (), "https://api.cloud.coveo.com/x", False),
        # What the project says is all there is.
        ("https://api.cloud.coveo.com/push/v1", ("example.com",), "https://bucket.example.com/x", True),
        ("https://api.cloud.coveo.com/push/v1", ("example.com",), "https://EXAMPLE.com./x", True),
        ("https://api.cloud.coveo.com/push/v1", ("example.com",), "http://bucket.example.com/x", False),
        ("https://api.cloud.coveo.com/push/v1", ("example.com",), AMAZON, False),
        ("https://gateway.example.com", ("example.com",), AMAZON, False),
        # Any other API is somebody's own: https to what has a public name, or to where it is itself.
        ("https://gateway.example.com", (), AMAZON, True),
        ("https://10.0.0.5/push/v1", (), "https://10.0.0.5:9000/x", True),
        ("https://10.0.0.5/push/v1", (), "https://10.0.0.6/x", False),
        ("https://10.0.0.5/push/v1", (), "http://10.0.0.5/x", False),
        ("https://gateway.example.com", (), "https://127.0.0.1/x", False),
        ("https://gateway.example.com", (), "https://[::1]/x", False),
        ("https://gateway.example.com", (), "https://[::ffff:127.0.0.1]/x", False),
        ("https://gateway.example.com", (), "https://169.254.169.254/latest/meta-data", False),
        ("https://gateway.example.com", (), "https://127.1/x", False),
        ("https://gateway.example.com", (), "https://0x7f000001/x", False),
        ("https://gateway.example.com", (), "https://localhost/x", False),
        ("https://gateway.example.com", (), "https://storage/x", False),
        ("https://gateway.example.com", (), "https://metadata.google.internal/x", False),
        # On this machine everything is: the emulator, and what is put in front of it.
        ("http://127.0.0.1:8080/push/v1", (), "https://127.0.0.1/x", True),
        ("http://127.0.0.1:8080/push/v1", (), "http://169.254.169.254/x", False),
    ],
)
def test_where_content_may_go(base: str, allowed: tuple[str, ...], address: str, taken: bool) -> None:
    remote = Remote(files=[container(uploadUri=address)])
    remote.base, remote.network = base, Network(upload_hosts=allowed)
    if taken:
        send(remote, BATCH)
        assert remote.requests[1].url.host == httpx.URL(address).host
        return
    problem = failing(remote, BATCH).problems[0]
    assert (problem.code, remote.kinds) == ("upload-refused", ["files"])
    assert "uploadHosts" in problem.fix
    assert "meta-data" not in problem.what


def test_a_key_in_the_name_of_a_host_is_not_shown() -> None:
    remote = Remote(files=[container(uploadUri=f"https://{KEY}.example.com/x")])
    remote.base = "https://api.cloud.coveo.com/push/v1"
    problem = failing(remote, BATCH).problems[0]
    assert 'is at "***.example.com", which is none of amazonaws.com' in problem.what


def test_a_changed_body_stops_the_call_before_anything_is_sent() -> None:
    for changes in (SINGLE, BATCH):
        remote = Remote()
        with pytest.raises(ManifestError) as caught:
            send(remote, changes, Bodies(b"other tex"))
        assert [problem.code for problem in caught.value.problems] == ["body-changed"]
        assert remote.requests == []


def test_a_redirected_upload_is_not_followed() -> None:
    remote = Remote(upload=[httpx.Response(307, headers={"Location": "https://evil.example.com/"})])
    failure = failing(remote, BATCH)
    assert (failure.problems[0].code, remote.kinds) == ("upload-refused", ["files", "upload"])


class Endless(httpx.SyncByteStream):
    def __init__(self, on_read: Callable[[], None]) -> None:
        self.on_read = on_read

    def __iter__(self) -> Any:
        while True:
            self.on_read()
            yield b" " * 1000


def test_an_endless_reply_is_cut() -> None:
    pieces: list[int] = []
    reply = httpx.Response(202, stream=Endless(lambda: pieces.append(1)))
    assert send(Remote(call=[reply]), SINGLE).status == 202
    assert len(pieces) == 1049


def test_a_dripping_reply_ends() -> None:
    remote = Remote()

    def drip() -> None:
        remote.elapsed += 50

    remote.answers["call"] = [httpx.Response(202, stream=Endless(drip))]
    assert send(remote, SINGLE).attempts == 2


def test_a_compressed_reply_is_not_unpacked() -> None:
    reply = httpx.Response(401, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip"))
    assert failing(Remote(call=[reply]), SINGLE).problems[0].what == "HTTP 401"


def test_neither_the_key_nor_an_upload_address_is_shown_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    remote = Remote()
    send(remote, BATCH)
    failing(Remote(call=[error(401, "INVALID_TOKEN", KEY)]), SINGLE)
    client = remote.client()
    shown = caplog.text + repr(client) + str(client) + repr(client._session) + repr(client._storage)
    client.close()
    assert KEY not in shown
    assert "X-Amz" not in shown


@pytest.mark.parametrize("base", ["not a url", "ftp://x", "https://exa mple.com", "http://[", "https://x:y"])
def test_an_address_that_is_none(base: str) -> None:
    call = compile_calls(SINGLE, CONTEXT).calls[0]
    with PushClient(base, KEY, sleep=lambda _: None) as client, pytest.raises(CallFailed) as caught:
        client.send(call, ordering_id=1, resources=[SINGLE[0].after], bodies=Bodies(), context=CONTEXT)
    assert (caught.value.problems[0].code, caught.value.outcome) == ("remote-unreachable", "refused")
    assert caught.value.problems[0].where == "call 1, PUT organizations/org/sources/sid/documents"
