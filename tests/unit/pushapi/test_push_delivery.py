"""One call's requests in their order, what is done anew when a step fails, and what is never committed."""

from __future__ import annotations

import hashlib
import io
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.call import Call, CallKind
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import Limits
from reconciler.emulator.options import SourceOptions
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError
from reconciler.pushapi.client import Accepted, CallFailed, PushClient
from reconciler.pushapi.retry import RetryPolicy
from tests.builders import KEY as EMULATOR_KEY
from tests.builders import ORGANIZATION, SHARED_ID, Remote, start_remote

BASE = "https://api.example.com/push/v1"
KEY = "xxcanary0-1111-2222-3333-444444444444"
STORAGE = "bucket.example.com"
CONTEXT = WireContext(
    "org", {"s": SourceRef("sid"), "c": SourceRef("cid", catalog=True, exclusive=True)}, {"corp": "pid"}
)
# Bodies above a hundred bytes and a bit travel in a container of their own.
LIMITS = Limits(inline_content=300)
HOUR = 3600.0

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response] | None


class Bodies:
    def __init__(self) -> None:
        self.raws: dict[str, bytes] = {}

    def add(self, raw: bytes) -> dict[str, object]:
        digest = hashlib.sha256(raw).hexdigest()
        self.raws[digest] = raw
        return {"encoding": "binary", "sha256": digest, "size": len(raw)}

    def open(self, sha256: str, /) -> BinaryIO:
        return io.BytesIO(self.raws[sha256])


class Fake:
    """A remote that keeps what is uploaded under the container's id, and what is committed with what."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = answers
        self.kinds: list[str] = []
        self.containers: dict[str, bytes | None] = {}
        self.commits: list[tuple[httpx.Request, dict[str, bytes | None]]] = []
        self.now = 0.0
        self.takes: dict[str, float] = {}
        self.streams: dict[str, list[str]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        kind = self.kind(request)
        self.kinds.append(kind)
        self.now += self.takes.get(kind, 0.0)
        on_storage = request.url.host == STORAGE
        assert ("authorization" in request.headers) is not on_storage
        assert on_storage or request.headers["authorization"] == f"Bearer {KEY}"
        queue = self.answers.get(kind, [])
        answer = queue.pop(0) if queue else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            # A copy: one answer may be given several times.
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        if answer is not None:
            return answer(request)
        return self.accept(request)

    def accept(self, request: httpx.Request) -> httpx.Response:
        kind = self.kind(request)
        if on := {"files": 201, "chunk": 200, "open": 201}.get(kind):
            file_id = f"f{len(self.containers) + 1}"
            self.containers[file_id] = None
            value = {"fileId": file_id, "uploadUri": f"https://{STORAGE}/{file_id}?X-Amz-Signature=s"}
            if kind == "open":
                value["streamId"] = f"stream {len(self.streams) + 1}"
                self.streams[value["streamId"]] = []
            if kind != "files":
                self.streams[value.get("streamId") or request.url.path.split("/")[-2]].append(file_id)
            return httpx.Response(on, json=value)
        if kind == "upload":
            self.containers[request.url.path.strip("/")] = request.content
            return httpx.Response(200)
        # What was uploaded when it was committed: a later upload does not count, nor that of another stream.
        mine = self.streams[request.url.path.split("/")[-2]] if kind == "close" else list(self.containers)
        self.commits.append((request, {file_id: self.containers[file_id] for file_id in mine}))
        return httpx.Response(202, json={"orderingId": "1700000000777", "requestId": "r"})

    @staticmethod
    def kind(request: httpx.Request) -> str:
        if request.url.host == STORAGE:
            return "upload"
        last = request.url.path.rsplit("/", 1)[1]
        return last if last in ("files", "batch", "open", "chunk", "close", "update") else "call"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, changes: list[Change], bodies: Bodies, limits: Limits = LIMITS, **options: Any) -> Accepted:
        call = the_call(changes, limits)
        resources = payload_resources(changes)
        with PushClient(
            BASE,
            KEY,
            transport=httpx.MockTransport(self),
            policy=options.get("policy", RetryPolicy(attempts=4, deadline=100_000)),
            limits=limits,
            sleep=self.sleep,
            draw=lambda: 0.5,
            clock=lambda: self.now,
        ) as client:
            return client.send(
                call,
                ordering_id=1700000000000,
                resources=[resources[covered.address] for covered in call.covers],
                bodies=bodies,
                context=CONTEXT,
            )

    @property
    def batch(self) -> dict[str, Any]:
        """The batch file that the only commit names."""
        [(request, containers)] = self.commits
        content = containers[request.url.params["fileId"]]
        assert content is not None
        found: dict[str, Any] = orjson.loads(content)
        return found

    def bodies_of(self, batch: dict[str, Any]) -> list[bytes | None]:
        """What stands in the containers that the entries of a batch name, when it was committed."""
        [(_, containers)] = self.commits
        found = []
        for entry in batch["addOrUpdate"]:
            packed = containers[entry["compressedBinaryDataFileId"]] if "compressedBinaryDataFileId" in entry else None
            found.append(None if packed is None else zlib.decompress(packed))
        return found


def the_call(changes: list[Change], limits: Limits = LIMITS) -> Call:
    [call] = compile_calls(changes, CONTEXT, limits, standing=list).calls
    return call


def put(uri: str, source: str = "s", **own: Any) -> Change:
    resource = Resource(Address.of(Kind.ITEM, source, uri), canonical_json({"metadata": {}, **own}))
    return Change(resource.address, Action.CREATE, "new", None, resource)


LARGE = [bytes([65 + n]) * (1000 + n) for n in range(3)]


def single(bodies: Bodies) -> list[Change]:
    return [put("https://x/a", body=bodies.add(LARGE[0]))]


def batch(bodies: Bodies) -> list[Change]:
    """Two large bodies, a small one, an item without any, and another large one."""
    return [
        put("https://x/a", body=bodies.add(LARGE[0])),
        put("https://x/b", body=bodies.add(LARGE[1])),
        put("https://x/c", body=bodies.add(b"small")),
        put("https://x/d"),
        put("https://x/e", body=bodies.add(LARGE[2])),
    ]


BODIES_OF_BATCH = [LARGE[0], LARGE[1], None, None, LARGE[2]]


def load(_bodies: Bodies) -> list[Change]:
    return [put(f"https://x/{n}", "c", title="t" * 200) for n in range(6)]


IN_CHUNKS = Limits(container=900)
"""Two or three items of `load` in each container."""


def error(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"errorCode": "", "message": ""}, headers=headers)


# -- the order of requests -------------------------------------------------------------------------

FILL = ["files", "upload"]


def test_a_single_call_names_the_container_that_was_filled_before() -> None:
    fake, bodies = Fake(), Bodies()
    accepted = fake.send(single(bodies), bodies)
    assert fake.kinds == [*FILL, "call"]
    [(request, containers)] = fake.commits
    assert dict(request.url.params) == {
        "documentId": "https://x/a",
        "compressionType": "ZLIB",
        "orderingId": "1700000000000",
    }
    entry = orjson.loads(request.content)
    assert entry.keys() == {"permanentid", "compressedBinaryDataFileId"}
    packed = containers[entry["compressedBinaryDataFileId"]]
    assert packed is not None
    # Raw compressed bytes, not base64 (push-api.md 3.1).
    assert zlib.decompress(packed) == LARGE[0]
    assert accepted.bytes_sent == len(packed) + len(request.content)
    assert accepted.ordering_id is None


def test_a_batch_is_filled_after_the_containers_that_it_names() -> None:
    fake, bodies = Fake(), Bodies()
    fake.send(batch(bodies), bodies)
    assert fake.kinds == [*FILL * 4, "batch"]
    [(request, containers)] = fake.commits
    assert (request.content, dict(request.url.params)) == (b"", {"fileId": "f4", "orderingId": "1700000000000"})
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
    assert [entry.get("compressionType") for entry in fake.batch["addOrUpdate"]] == ["ZLIB"] * 3 + [None, "ZLIB"]
    assert [entry.get("compressedBinaryDataFileId") for entry in fake.batch["addOrUpdate"]] == [
        "f1",
        "f2",
        None,
        None,
        "f3",
    ]
    assert all(content is not None for content in containers.values())


def test_an_update_of_a_catalog_names_its_file_and_no_ordering_id() -> None:
    fake, bodies = Fake(), Bodies()
    [first, *_] = load(bodies)
    assert first.after is not None
    gone = Change(first.address, Action.DELETE, "removed", first.after, None)
    accepted = fake.send([gone], bodies)
    assert fake.kinds == [*FILL, "update"]
    [(request, _)] = fake.commits
    assert dict(request.url.params) == {"fileId": "f1"}
    assert accepted.ordering_id == 1700000000777


def loaded(fake: Fake) -> list[str]:
    """The uris in the containers of the stream that was closed last."""
    request, containers = fake.commits[-1]
    assert request.url.path.endswith("/close")
    return [
        entry["documentId"]
        for content in containers.values()
        for entry in orjson.loads(content or b"{}").get("addOrUpdate", ())
    ]


def test_a_load_opens_fills_chunk_after_chunk_and_closes() -> None:
    fake, bodies = Fake(), Bodies()
    call = the_call(load(bodies), IN_CHUNKS)
    assert (call.kind, len(call.chunks)) == (CallKind.STREAM_LOAD, 3)
    accepted = fake.send(load(bodies), bodies, IN_CHUNKS)
    assert fake.kinds == ["open", "upload", "chunk", "upload", "chunk", "upload", "close"]
    [(request, containers)] = fake.commits
    assert request.url.raw_path == b"/push/v1/organizations/org/sources/cid/stream/stream%201/close"
    assert (request.method, request.content) == ("POST", b"")
    assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]
    assert all(content is not None and len(content) <= IN_CHUNKS.container for content in containers.values())
    assert accepted.ordering_id == 1700000000777


def test_what_was_counted_is_what_travels() -> None:
    for changes_of, limits in ((single, LIMITS), (batch, LIMITS), (load, IN_CHUNKS)):
        fake, bodies = Fake(), Bodies()
        changes = changes_of(bodies)
        call = the_call(changes, limits)
        accepted = fake.send(changes, bodies, limits)
        assert len(fake.kinds) == call.requests
        assert fake.kinds.count("upload") == call.uploads
        assert len(fake.kinds) - fake.kinds.count("upload") == call.api_calls
        assert accepted.bytes_sent <= call.size


# -- steps that fail -------------------------------------------------------------------------------


def nth(number: int, answer: Answer) -> list[Answer]:
    """Let all requests before the `number`-th be accepted, and answer that one so."""
    return [*[None] * (number - 1), answer]


@pytest.mark.parametrize("status", [400, 403, 404, 412, 503])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_refused_upload_redoes_that_container_only(number: int, status: int) -> None:
    fake, bodies = Fake(upload=nth(number, httpx.Response(status, text="<Code>AccessDenied</Code>"))), Bodies()
    accepted = fake.send(batch(bodies), bodies)
    assert fake.kinds == [*FILL * 4, *FILL, "batch"]
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
    assert accepted.attempts == 2
    # The refused container is named nowhere.
    named = {entry.get("compressedBinaryDataFileId") for entry in fake.batch["addOrUpdate"]}
    assert f"f{number}" not in named | {fake.commits[0][0].url.params["fileId"]}


def test_a_dropped_upload_redoes_that_container_only() -> None:
    fake, bodies = Fake(upload=nth(2, httpx.WriteError("gone"))), Bodies()
    fake.send(batch(bodies), bodies)
    assert fake.kinds == [*FILL * 5, "batch"]
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH


def test_a_container_that_is_not_given_leaves_the_others_as_they_are() -> None:
    fake, bodies = Fake(files=nth(3, error(429))), Bodies()
    fake.send(batch(bodies), bodies)
    assert fake.kinds == [*FILL * 2, "files", *FILL * 2, "batch"]
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH


@pytest.mark.parametrize("answer", [error(500), error(503), error(504), httpx.ReadTimeout("slow")])
def test_a_commit_that_may_have_been_taken_redoes_everything(answer: Answer) -> None:
    """Containers are gone once they were forwarded (push-api.md 2.2)."""
    for changes_of, step, count in ((single, "call", 1), (batch, "batch", 4)):
        fake, bodies = Fake(**{step: [answer]}), Bodies()
        accepted = fake.send(changes_of(bodies), bodies)
        assert fake.kinds == [*FILL * count, step] * 2
        assert accepted.attempts == 2
        named = {f"f{number}" for number in range(count + 1, 2 * count + 1)}
        [(request, containers)] = fake.commits
        assert {file_id for file_id in containers if file_id in str(request.url) + request.content.decode()} <= named
        if step == "batch":
            assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
            assert {entry.get("compressedBinaryDataFileId") for entry in fake.batch["addOrUpdate"]} <= named | {None}


def test_a_commit_that_was_throttled_redoes_nothing() -> None:
    for changes_of, step, count in ((single, "call", 1), (batch, "batch", 4)):
        fake, bodies = Fake(**{step: [error(429, **{"Retry-After": "60"})]}), Bodies()
        fake.send(changes_of(bodies), bodies)
        assert fake.kinds == [*FILL * count, step, step]


def test_a_body_that_changed_stops_the_call_whatever_was_uploaded() -> None:
    for number, uploads in ((0, 0), (1, 1), (2, 2)):
        fake, bodies = Fake(), Bodies()
        changes = batch(bodies)
        digest = hashlib.sha256(LARGE[number]).hexdigest()
        bodies.raws[digest] = LARGE[number][:-1] + b"!"
        with pytest.raises(ManifestError, match="is not what the plan was made from"):
            fake.send(changes, bodies)
        assert (fake.commits, fake.kinds) == ([], FILL * uploads)


def test_the_small_body_of_a_batch_is_looked_at_before_its_container_is_asked_for() -> None:
    fake, bodies = Fake(), Bodies()
    changes = batch(bodies)
    bodies.raws[hashlib.sha256(b"small").hexdigest()] = b"Small"
    with pytest.raises(ManifestError, match="is not what the plan was made from"):
        fake.send(changes, bodies)
    assert (fake.commits, fake.kinds) == ([], FILL * 3)


# -- nothing is committed unless storage took all of it ---------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403),
        httpx.Response(500),
        httpx.Response(302, headers={"Location": "https://evil.example.com/"}),
        httpx.Response(413),
        httpx.Response(101),
        httpx.WriteError("gone"),
        httpx.ReadTimeout("slow"),
    ],
)
@pytest.mark.parametrize("changes_of", [single, batch, load])
def test_nothing_is_committed_unless_every_upload_was_taken(
    changes_of: Callable[[Bodies], list[Change]], answer: Answer
) -> None:
    limits = IN_CHUNKS if changes_of is load else LIMITS
    uploads = the_call(changes_of(Bodies()), limits).uploads
    for number in range(1, uploads + 1):
        fake, bodies = Fake(), Bodies()
        fake.answers["upload"] = [*nth(number, answer), *[answer] * 20]
        with pytest.raises(CallFailed) as caught:
            fake.send(changes_of(bodies), bodies, limits)
        assert fake.commits == []
        assert caught.value.outcome == "refused"
        assert not {"call", "batch", "close", "update"} & set(fake.kinds)


def every_fault() -> Iterator[tuple[str, Answer]]:
    for step in ("files", "upload", "call", "batch", "open", "chunk", "close"):
        for answer in (error(503), error(429), httpx.ReadTimeout("slow"), httpx.ConnectError("refused")):
            yield step, answer
    yield "upload", httpx.Response(403)


@pytest.mark.parametrize(("step", "answer"), list(every_fault()))
@pytest.mark.parametrize("changes_of", [single, batch, load])
def test_whatever_fails_once_what_is_committed_in_the_end_is_whole(
    changes_of: Callable[[Bodies], list[Change]], step: str, answer: Answer
) -> None:
    limits = IN_CHUNKS if changes_of is load else LIMITS
    for number in range(1, 5):
        fake, bodies = Fake(**{step: nth(number, answer)}), Bodies()
        fake.send(changes_of(bodies), bodies, limits)
        if changes_of is load:
            assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]
        elif changes_of is batch:
            assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
        else:
            [(request, containers)] = fake.commits
            packed = containers[orjson.loads(request.content)["compressedBinaryDataFileId"]]
            assert packed is not None
            assert zlib.decompress(packed) == LARGE[0]


# -- containers that expire ------------------------------------------------------------------------


def test_an_expired_body_is_uploaded_again_with_the_batch_that_names_it() -> None:
    """Asked to wait for 50 minutes: the first container is over its time, the others are not."""
    fake, bodies = Fake(batch=[error(429, **{"Retry-After": "3000"})]), Bodies()
    waits = iter([400.0, 0.0, 0.0, 0.0])

    def slow(request: httpx.Request) -> httpx.Response:
        fake.now += next(waits, 0.0)
        return fake.accept(request)

    fake.answers["upload"] = [slow] * 4
    fake.send(batch(bodies), bodies)
    assert fake.kinds == [*FILL * 4, "batch", *FILL * 2, "batch"]
    # Only the first body and the batch file were made anew.
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
    assert [entry.get("compressedBinaryDataFileId") for entry in fake.batch["addOrUpdate"]] == [
        "f5",
        "f2",
        None,
        None,
        "f3",
    ]
    assert fake.commits[0][0].url.params["fileId"] == "f6"


def test_an_expired_batch_file_alone_is_uploaded_again_as_it_was() -> None:
    fake, bodies = Fake(batch=[error(429, **{"Retry-After": "3400"})]), Bodies()
    fake.send([put(f"https://x/{n}") for n in range(3)], bodies)
    assert fake.kinds == [*FILL, "batch", *FILL, "batch"]
    assert fake.containers["f1"] == fake.containers["f2"]


def test_the_container_of_a_single_call_expires_too() -> None:
    fake, bodies = Fake(call=[error(429, **{"Retry-After": "3400"})]), Bodies()
    fake.send(single(bodies), bodies)
    assert fake.kinds == [*FILL, "call", *FILL, "call"]
    assert orjson.loads(fake.commits[0][0].content)["compressedBinaryDataFileId"] == "f2"


def test_what_expires_while_others_are_uploaded_is_not_committed() -> None:
    """Each upload takes 20 minutes, so the first container is gone when the fourth is full."""
    fake, bodies = Fake(), Bodies()
    fake.takes["upload"] = 1200.0
    # The second attempt is fast: what expired is renewed, and the rest still lasts.
    fake.answers["upload"] = [*([fake.accept] * 4), lambda request: hurry(fake, request)]
    fake.send(batch(bodies), bodies)
    assert fake.kinds[:8] == FILL * 4
    assert fake.kinds[8] == "files"
    assert fake.bodies_of(fake.batch) == BODIES_OF_BATCH
    assert len(fake.commits) == 1


def hurry(fake: Fake, request: httpx.Request) -> httpx.Response:
    fake.takes.clear()
    return fake.accept(request)


@pytest.mark.parametrize("changes_of", [batch, load])
def test_a_connection_too_slow_for_containers_is_said_to_be(changes_of: Callable[[Bodies], list[Change]]) -> None:
    fake, bodies = Fake(), Bodies()
    fake.takes["upload"] = 0.5 * HOUR
    with pytest.raises(CallFailed) as caught:
        fake.send(changes_of(bodies), bodies, IN_CHUNKS if changes_of is load else LIMITS)
    assert (fake.commits, caught.value.outcome) == ([], "refused")
    [problem] = caught.value.problems
    assert problem.code == "call-timed-out"
    assert "it took longer than a container lasts (push-api.md 2.2) after 4 attempts" in problem.what


# -- loads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [httpx.ReadTimeout("slow"), error(503), error(504)])
def test_a_lost_reply_of_a_close_is_asked_for_again(answer: Answer) -> None:
    fake, bodies = Fake(close=[answer]), Bodies()
    fake.send(load(bodies), bodies, IN_CHUNKS)
    assert fake.kinds == ["open", "upload", "chunk", "upload", "chunk", "upload", "close", "close"]


@pytest.mark.parametrize("gone", [404, 412])
def test_a_stream_that_is_gone_after_a_lost_reply_is_loaded_again(gone: int) -> None:
    """It may have been taken or not, and a load is harmless to repeat."""
    fake, bodies = Fake(close=[httpx.ReadTimeout("slow"), error(gone)]), Bodies()
    fake.send(load(bodies), bodies, IN_CHUNKS)
    whole = ["open", "upload", "chunk", "upload", "chunk", "upload", "close"]
    assert fake.kinds == [*whole, "close", *whole]
    assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]
    assert fake.commits[-1][0].url.raw_path.endswith(b"/stream/stream%202/close")


def test_a_stream_that_is_gone_for_no_reason_of_ours_is_a_failure() -> None:
    fake, bodies = Fake(close=[error(412)] * 3), Bodies()
    with pytest.raises(CallFailed) as caught:
        fake.send(load(bodies), bodies, IN_CHUNKS)
    assert (fake.kinds.count("close"), caught.value.outcome) == (1, "refused")


def test_a_lost_close_that_stays_refused_is_unknown() -> None:
    fake, bodies = Fake(close=[httpx.ReadTimeout("slow"), *[error(412)] * 9]), Bodies()
    with pytest.raises(CallFailed) as caught:
        fake.send(load(bodies), bodies, IN_CHUNKS)
    assert (fake.kinds.count("open"), caught.value.outcome) == (2, "unknown")


def test_a_failed_first_upload_opens_another_stream_and_a_later_one_asks_for_another_chunk() -> None:
    fake, bodies = Fake(upload=nth(1, httpx.Response(403))), Bodies()
    fake.send(load(bodies), bodies, IN_CHUNKS)
    assert fake.kinds[:4] == ["open", "upload", "open", "upload"]
    fake, bodies = Fake(upload=nth(2, httpx.Response(403))), Bodies()
    fake.send(load(bodies), bodies, IN_CHUNKS)
    assert fake.kinds == ["open", *["upload", "chunk"] * 2, "upload", "chunk", "upload", "close"]
    assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]


@pytest.mark.parametrize("reply", [{"fileId": "f"}, {"streamId": ""}, {"streamId": 7}, [], None])
def test_an_answer_that_opens_no_stream_is_none(reply: object) -> None:
    fake, bodies = Fake(open=[httpx.Response(201, json=reply)]), Bodies()
    with pytest.raises(CallFailed) as caught:
        fake.send(load(bodies), bodies, IN_CHUNKS)
    assert (caught.value.problems[0].code, fake.kinds) == ("bad-reply", ["open"])


# -- any faults at all -----------------------------------------------------------------------------

FAULTS = ["none", "none", "none", "429", "403", "503", "refused", "dropped", "lost"]


class Faulty(Fake):
    """Meets each request with the next of these faults; `lost` is accepted without a reply."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self.faults = iter(faults)

    def accept(self, request: httpx.Request) -> httpx.Response:
        fault = next(self.faults, "none")
        if fault == "403" and self.kind(request) != "upload":
            fault = "none"
        if fault == "refused":
            raise httpx.ConnectError("refused")
        if fault == "dropped":
            raise httpx.ReadError("gone")
        if fault in ("403", "429", "503"):
            return error(int(fault))
        reply = super().accept(request)
        if fault == "lost":
            raise httpx.ReadTimeout("slow")
        return reply


@given(st.lists(st.sampled_from(FAULTS), max_size=24), st.sampled_from(["single", "batch", "load"]))
def test_what_is_committed_is_whole_and_what_is_refused_was_never_committed(faults: list[str], what: str) -> None:
    fake, bodies = Faulty(faults), Bodies()
    changes = {"single": single, "batch": batch, "load": load}[what](bodies)
    failed: CallFailed | None = None
    try:
        fake.send(changes, bodies, IN_CHUNKS if what == "load" else LIMITS)
    except CallFailed as error:
        failed = error
    if failed is None:
        assert fake.commits
    elif failed.outcome == "refused":
        assert fake.commits == []
    for request, containers in fake.commits:
        if what == "load":
            names = [
                entry["documentId"]
                for content in containers.values()
                for entry in orjson.loads(content or b"{}").get("addOrUpdate", ())
            ]
            assert sorted(names) == [f"https://x/{n}" for n in range(6)]
            continue
        file = request.content if what == "single" else containers[request.url.params["fileId"]]
        assert file is not None
        entries = [orjson.loads(file)] if what == "single" else orjson.loads(file)["addOrUpdate"]
        named = [entry["compressedBinaryDataFileId"] for entry in entries if "compressedBinaryDataFileId" in entry]
        packed = [containers[file_id] for file_id in named]
        assert [zlib.decompress(content) for content in packed if content is not None] == LARGE[: len(named)]
        assert None not in packed
    # A container is used for one commit that may have been taken, never for a second (push-api.md 2.2).
    used = [request.url.params["fileId"] for request, _ in fake.commits if what == "batch"]
    assert len(used) == len(set(used))


# -- over HTTP, to the emulator --------------------------------------------------------------------

EMULATED = WireContext(
    ORGANIZATION, {"s": SourceRef(SHARED_ID), "c": SourceRef("mycatalog", catalog=True, exclusive=True)}
)
SOURCES = (SourceOptions(SHARED_ID, "SHARED"), SourceOptions("mycatalog", "SHARED", kind="catalog"))


def sent_to(remote: Remote, changes: list[Change], bodies: Bodies, limits: Limits, context: WireContext) -> Accepted:
    [call] = compile_calls(changes, context, limits, standing=list).calls
    resources = payload_resources(changes)
    with PushClient(f"{remote.url}/push/v1", EMULATOR_KEY, limits=limits, sleep=lambda _: None) as client:
        return client.send(
            call,
            ordering_id=int(time.time() * 1000),
            resources=[resources[covered.address] for covered in call.covers],
            bodies=bodies,
            context=context,
        )


@pytest.mark.parametrize(
    "faults",
    [
        (),
        ("PUT storage: 403 x1 after=1",),
        ("PUT storage: expired x1",),
        ("POST files: 503 x1 after=2",),
        ("PUT documents/batch: 503 x1", "PUT documents: 503 x1"),
        ("PUT documents/batch: drop-after x1", "PUT documents: drop-after x1"),
        ("POST stream/*/close: drop-after x1",),
        ("POST stream/*/close: drop-before x1",),
        ("POST stream/*/chunk: truncate x1", "PUT storage: drop-before x1 after=2"),
    ],
)
def test_the_emulator_holds_exactly_the_bytes_whatever_failed_once(faults: tuple[str, ...]) -> None:
    with start_remote(sources=SOURCES, providers=(), faults=faults) as remote:
        bodies = Bodies()
        for changes, limits in (
            ([put("https://x/single", body=bodies.add(LARGE[0]))], LIMITS),
            (batch(bodies), LIMITS),
            (load(bodies), IN_CHUNKS),
        ):
            sent_to(remote, changes, bodies, limits, EMULATED)
        held = remote.contents()["items"]
        # What was taken without a reply is sent again under the same ordering id, and passed over as a repetition.
        repeated = any("documents/batch: drop-after" in fault for fault in faults)
        assert {entry["result"] for entry in remote.logs()} == ({"SKIPPED"} if repeated else set())
    sizes = {"https://x/single": LARGE[0], "https://x/c": b"small"} | dict(
        zip(("https://x/a", "https://x/b", "https://x/e"), LARGE, strict=True)
    )
    assert {uri: item["body"] for uri, item in held[SHARED_ID].items() if item["body"]} == {
        uri: {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for uri, raw in sizes.items()
    }
    assert sorted(held["mycatalog"]) == [f"https://x/{n}" for n in range(6)]


@pytest.mark.parametrize("compression", ["ZLIB", "GZIP", "DEFLATE", "LZMA", "UNCOMPRESSED"])
def test_the_emulator_unpacks_every_compression_inline_and_in_containers(compression: str) -> None:
    context = WireContext(ORGANIZATION, {"s": SourceRef(SHARED_ID, compression=compression)})
    with start_remote(sources=SOURCES, providers=()) as remote:
        bodies = Bodies()
        sent_to(remote, [put("https://x/single", body=bodies.add(LARGE[0]))], bodies, LIMITS, context)
        sent_to(remote, [put("https://x/inline", body=bodies.add(b"\xff\x00"))], bodies, LIMITS, context)
        sent_to(remote, batch(bodies), bodies, LIMITS, context)
        held = remote.contents()["items"][SHARED_ID]
        assert remote.logs() == []
    found = {uri.removeprefix("https://x/"): item["body"] and item["body"]["sha256"] for uri, item in held.items()}
    assert found == {
        "single": hashlib.sha256(LARGE[0]).hexdigest(),
        "inline": hashlib.sha256(b"\xff\x00").hexdigest(),
        "a": hashlib.sha256(LARGE[0]).hexdigest(),
        "b": hashlib.sha256(LARGE[1]).hexdigest(),
        "c": hashlib.sha256(b"small").hexdigest(),
        "d": None,
        "e": hashlib.sha256(LARGE[2]).hexdigest(),
    }
