"""What keeps a call from another attempt, and what it leaves unsaid of the attempts before."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

import httpx
import pytest
from test_push_delivery import BASE, IN_CHUNKS, KEY, Bodies, Fake, load, loaded, nth

from reconciler.applying.failing import outcome_of
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import Limits
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError, ReconcilerError, StateError
from reconciler.pushapi.client import PushClient
from reconciler.pushapi.payload import IN_MEMORY, Spool
from reconciler.state.journal import Outcome
from tests.builders import item

RAW = b"what was reviewed"
CONTEXT = WireContext("org", {"handbook": SourceRef("s1")})


class Changing:
    """Holds the body at first, and something else from then on."""

    def __init__(self) -> None:
        self.opened = 0

    def open(self, sha256: str, /) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(RAW if self.opened == 1 else b"somebody wrote it")


def failure_of(answer: Callable[[httpx.Request], httpx.Response]) -> ReconcilerError:
    body = {"encoding": "binary", "sha256": hashlib.sha256(RAW).hexdigest(), "size": len(RAW)}
    wanted = item("file:///a", body=body)
    changes = [Change(wanted.address, Action.CREATE, "new", None, wanted)]
    (call,) = compile_calls(changes, CONTEXT).calls
    with PushClient(BASE, "key", transport=httpx.MockTransport(answer)) as client:
        client._session._sleep = lambda _: None
        with pytest.raises(ReconcilerError) as caught:
            client.send(
                call,
                ordering_id=1,
                resources=[payload_resources(changes)[wanted.address]],
                bodies=Changing(),
                context=CONTEXT,
            )
    return caught.value


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lost, Outcome.UNKNOWN),
        (lambda _: httpx.Response(503), Outcome.UNKNOWN),
        (lambda _: httpx.Response(429), Outcome.REFUSED),
    ],
)
def test_a_body_that_changed_between_two_attempts_leaves_the_first_one_in_doubt(
    answer: Callable[[httpx.Request], httpx.Response], outcome: Outcome
) -> None:
    """Recorded as refused, a manifest that goes back to what is recorded would leave the remote with the other."""
    error = failure_of(answer)

    assert isinstance(error, ManifestError)
    assert outcome_of(error) is outcome


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    spool = Spool()

    with closing(spool), pytest.raises(StateError) as caught:
        spool.write(b"x" * (IN_MEMORY + 1))

    (problem,) = caught.value.problems
    assert problem.code == "payload-unwritable"
    assert "TMPDIR" in problem.fix


def test_a_chunk_that_may_have_arrived_is_uploaded_to_the_same_container_again() -> None:
    """In another one of the load its items would stand twice, and their order be undefined (push-api.md 3.3)."""
    fake, bodies = Fake(), Bodies()

    def lost_after_it_arrived(request: httpx.Request) -> httpx.Response:
        fake.accept(request)
        raise httpx.ReadTimeout("slow", request=request)

    fake.answers["upload"] = nth(2, lost_after_it_arrived)
    fake.send(load(bodies), bodies, IN_CHUNKS)

    assert fake.kinds == ["open", "upload", "chunk", "upload", "upload", "chunk", "upload", "close"]
    assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]


def test_a_chunk_that_may_have_arrived_where_storage_takes_no_more_begins_the_load_anew() -> None:
    fake, bodies = Fake(), Bodies()

    def lost_after_it_arrived(request: httpx.Request) -> httpx.Response:
        fake.accept(request)
        raise httpx.ReadTimeout("slow", request=request)

    fake.answers["upload"] = [None, lost_after_it_arrived, httpx.Response(403)]
    fake.send(load(bodies), bodies, IN_CHUNKS)

    assert fake.kinds[:6] == ["open", "upload", "chunk", "upload", "upload", "open"]
    assert sorted(loaded(fake)) == [f"https://x/{n}" for n in range(6)]


def test_a_call_that_counts_no_container_for_a_body_that_takes_one_is_not_sent() -> None:
    """Only a saved plan that somebody edited and signed anew holds such a call."""
    fake, bodies = Fake(), Bodies()
    wanted = item("https://x/a", source="s", body=bodies.add(bytes(range(256)) * 8))
    changes = [Change(wanted.address, Action.CREATE, "new", None, wanted)]
    context, limits = WireContext("org", {"s": SourceRef("sid")}), Limits(inline_content=300)
    (call,) = compile_calls(changes, context, limits).calls
    assert call.containers == 1
    with (
        PushClient(
            "https://api.example.com/push/v1", KEY, transport=httpx.MockTransport(fake), limits=limits
        ) as client,
        pytest.raises(StateError) as caught,
    ):
        client.send(replace(call, containers=0), ordering_id=1, resources=[wanted], bodies=bodies, context=context)
    assert (caught.value.problems[0].code, fake.kinds) == ("plan-altered", [])
