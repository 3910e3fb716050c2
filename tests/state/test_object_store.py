"""The state in object stores: the contracts, on a store in memory and on real servers, and what networks do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from http_proxy import BUSY_AFTER, BUSY_BEFORE, CONFLICT, CUT_AFTER, CUT_BEFORE, LATE, PASS, SLOW, HttpProxy
from obstore.store import MemoryStore
from shared_contract import Place, SharedContract
from state_child import STEPS
from store_contract import (
    LATER,
    LINEAGE,
    TARGET,
    OpenStore,
    StoreContract,
    accept,
    address,
    intent_for,
    lock_info,
    put,
    run_info,
    running,
)

from reconciler.problems import StateError
from reconciler.state.journal import Outcome
from reconciler.state.key import Key
from reconciler.state.objects import store as objects
from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.bucket import Bucket, Network, connect
from reconciler.state.objects.store import ObjectStore
from reconciler.state.objects.url import parse
from reconciler.state.snapshot import take

STRIDE = 1 if os.environ.get("CI") else 9  # of the boundaries to be killed at, all on CI
CHILD = Path(__file__).with_name("objects_child.py")
HASTY = Network(connect=1, silence=1, transfer=5, attempts=1)

Fresh = Callable[[], OpenStore]


class ObjectContract(StoreContract):
    """All instances of a test share a folder for their copies, as processes of one machine do."""

    key: Key | None = None

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def open_fresh_store(self, url: str, tmp_path: Path) -> Iterator[Fresh]:
        opened: list[ObjectStore] = []
        number = 0

        def fresh() -> OpenStore:
            nonlocal number
            number += 1
            where, copy = f"{url}/{number}", tmp_path / f"copy-{number}"

            def open_store() -> ObjectStore:
                opened.append(ObjectStore(where, copy, self.key))
                return opened[-1]

            return open_store

        yield fresh
        for store in opened:
            store.close()

    @pytest.fixture
    def open_store(self, open_fresh_store: Fresh) -> OpenStore:
        return open_fresh_store()


class ServerContract(ObjectContract, SharedContract):
    """Each process has a copy of its own, as on a machine of its own."""

    @pytest.fixture
    def shared(self, url: str, tmp_path: Path) -> Iterator[Place]:
        place = Place(f"{url}/shared", tmp_path)
        yield place
        place.close()

    def test_what_nobody_needs_is_deleted(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objects_writer, "DUE_AT_END", 10)
        bucket = connect(parse(url), lambda: url, Network())
        with ObjectStore(url, tmp_path / "copy") as store:
            for number in range(8):
                with running(store, f"run-{number}") as writer:
                    accept(writer, put("a"), 1, number + 1)
        assert len(bucket.list_after("log")) < 30
        assert len({name.split("/")[1] for name, _ in bucket.list_after("checkpoints")}) == 2
        assert bucket.list_after("probe") == []


class TestInMemory(ObjectContract):
    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> str:
        stores: dict[str, MemoryStore] = {}

        def connect(place, where, network):
            return Bucket(stores.setdefault(place.prefix, MemoryStore()), where, network)

        monkeypatch.setattr(objects, "connect", connect)
        return "s3://bucket/state"


class TestOnS3(ServerContract):
    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url


class TestOnAzure(ServerContract):
    @pytest.fixture
    def url(self, azure_url: str) -> str:
        return azure_url


def code_of(error: pytest.ExceptionInfo[StateError]) -> str:
    (problem,) = error.value.problems
    return problem.code


# --- processes that die --------------------------------------------------------------------------


def test_killed_at_every_boundary_the_state_is_that_after_some_step(s3_url: str, tmp_path: Path) -> None:
    """Of each request that writes, each commit and each file; the next process takes over and goes on."""
    states = []
    model = ObjectStore(f"{s3_url}/model", tmp_path / "model.db")
    states.append(take(model))
    with model.lock(lock_info()) as writer:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
            states.append(take(model))
    model.close()
    command = [sys.executable, str(CHILD), f"{s3_url}/killed", str(tmp_path), str(STRIDE)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900).stdout.splitlines()
    kills = 0
    for line in lines:
        found = json.loads(line)
        for copy in (tmp_path / "nothing yet" / str(found["boundary"]), tmp_path / f"{found['boundary']}.db"):
            with ObjectStore(found["url"], copy) as store:
                assert take(store) in states[found["steps"] : found["steps"] + 2], found
                assert store.check() == ()
        with ObjectStore(found["url"], copy) as store, running(store, "next") as writer:
            accept(writer, put("next"), 90)
        with ObjectStore(found["url"], tmp_path / "last" / str(found["boundary"])) as store:
            assert store.check() == ()
            assert address("next") in store.fingerprints()
        kills += not found["ended"]
    assert kills * STRIDE > 150


def test_sixteen_at_once_on_one_machine_share_a_folder_for_their_copies(s3_url: str, tmp_path: Path) -> None:
    place = Place(s3_url, tmp_path)
    copy = tmp_path / "copies" / "state.db"
    children = [place.child("once", 60, 10, 25, replica=copy) for _ in range(16)]
    found = [json.loads(child.communicate(timeout=100)[0])["started_from"] for child in children]
    assert sorted(found) == list(range(16))
    with ObjectStore(s3_url, copy) as store:
        assert (store.base().serial, len(store.runs()), store.check()) == (16, 16, ())


# --- networks ------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpProxy]:
    """Between the stores that a test opens and the server."""
    server = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    found = HttpProxy(server.hostname or "", server.port or 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{found.port}")
    yield found
    found.close()


LOSSES = (CUT_BEFORE, CUT_AFTER, BUSY_BEFORE, BUSY_AFTER, SLOW)


@pytest.mark.parametrize(
    ("what", "method", "part"),
    [
        *((what, "GET", "/head") for what in LOSSES),
        # Amazon answers 409 where two writes meet, and nothing is written.
        *((what, "PUT", part) for what in (*LOSSES, CONFLICT) for part in ("/log/", "/lock", "/head")),
    ],
)
def test_one_lost_request_or_answer_changes_nothing(
    what: str, method: str, part: str, s3_url: str, proxy: HttpProxy, tmp_path: Path
) -> None:
    proxy.slow_seconds = 2
    with ObjectStore(s3_url, tmp_path / "copy", network=Network(1, 1, 5, 10)) as store:
        with running(store) as writer:
            if (method, part) == ("PUT", "/log/"):
                proxy.once(method, part, what)
            accept(writer, put("a"))
            proxy.once(method, part, what)
        proxy.once(method, part, what)
        with running(store, "run-2") as writer:
            assert accept(writer, put("b"), 2, 8) == 2
    assert any(done == what for _, _, done in proxy.seen)
    with ObjectStore(s3_url, tmp_path / "other") as store:
        assert list(store.fingerprints()) == [address("a"), address("b")]
        assert [entry.outcome for entry in store.journal()] == [Outcome.ACCEPTED] * 2
        assert (len(store.runs()), store.base().serial, store.check()) == (2, 2, ())


def test_what_cannot_be_recorded_is_refused_and_the_run_can_go_on(
    s3_url: str, proxy: HttpProxy, tmp_path: Path
) -> None:
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store, running(store) as writer:
        accept(writer, put("a"))
        proxy.rule = lambda method, path: CUT_BEFORE if method == "PUT" and "/log/" in path else PASS
        with pytest.raises(StateError) as error:
            writer.intent(intent_for(put("b"), 2, 8))
        assert code_of(error) == "state-unreachable"
        proxy.rule = lambda _method, _path: PASS
        with ObjectStore(s3_url, tmp_path / "other") as other:
            assert len(list(other.journal())) == 1
        accept(writer, put("c"), 3, 9)
    with ObjectStore(s3_url, tmp_path / "other") as other:
        assert [entry.intent.call for entry in other.journal()] == [1, 3]
        assert other.check() == ()


@pytest.mark.parametrize("when", ["before the next write", "amid the next write", "after the next write"])
def test_a_record_that_arrives_late_is_ours_all_the_same(
    when: str, s3_url: str, proxy: HttpProxy, tmp_path: Path
) -> None:
    """Given up, and yet it reaches the store: whatever is written next knows of it, or keeps it out."""
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store, running(store) as writer:
        accept(writer, put("a"))
        proxy.rule = lambda method, path: LATE if method == "PUT" and "/log/" in path else PASS
        with pytest.raises(StateError):
            writer.intent(intent_for(put("b"), 2, 8))
        amid = [when == "amid the next write"]

        def rule(method: str, path: str) -> str:
            if method == "PUT" and "/log/" in path and amid and amid.pop():
                assert proxy.let_go()
            return PASS

        proxy.rule = rule
        if when == "before the next write":
            assert proxy.let_go()
        accept(writer, put("c"), 3, 9)
        if when == "after the next write":
            assert proxy.let_go()
        accept(writer, put("d"), 4, 10)
    calls = [1, 3, 4] if when == "after the next write" else [1, 2, 3, 4]
    for copy in ("copy", "other"):
        with ObjectStore(s3_url, tmp_path / copy) as store:
            assert [entry.intent.call for entry in store.journal()] == calls
            assert list(store.fingerprints()) == [address(name) for name in "acd"]
            assert store.check() == ()


def test_a_run_whose_beginning_arrives_late_is_told_of_as_one_that_died(
    s3_url: str, proxy: HttpProxy, tmp_path: Path
) -> None:
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store:
        with store.lock(lock_info()) as writer:
            proxy.rule = lambda method, path: LATE if method == "PUT" and "/log/" in path else PASS
            with pytest.raises(StateError):
                writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
            proxy.rule = lambda _method, _path: PASS
            assert proxy.let_go()
        with running(store, "run-2") as writer:
            accept(writer, put("a"))
        assert [(record.run.id, record.ended_at) for record in store.runs()] == [("run-2", LATER), ("run-1", "")]
        assert store.check() == ()


def test_a_lock_that_cannot_be_given_back_spoils_nothing(s3_url: str, proxy: HttpProxy, tmp_path: Path) -> None:
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store:
        with running(store) as writer:
            accept(writer, put("a"))
            proxy.rule = lambda method, path: CUT_BEFORE if method == "PUT" and path.endswith("/lock") else PASS
        proxy.rule = lambda _method, _path: PASS
        assert store.base().serial == 1


# --- what is refused -----------------------------------------------------------------------------


def test_keys_that_do_not_fit_are_told_of_and_not_shown(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-a-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-of-a-token")
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store:
        for act in (store.base, lambda: store.unlock("x"), lambda: running(store).__enter__()):
            with pytest.raises(StateError) as error:
                act()
            assert code_of(error) == "state-access-denied"
            assert "canary" not in repr(error.value.problems) + str(error.value)
            assert "127.0.0.1" not in repr(error.value.problems)
            assert error.value.__cause__ is None


@pytest.mark.parametrize("fixture", ["s3_url", "azure_url"])
def test_a_missing_bucket_is_no_empty_state(fixture: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    scheme = request.getfixturevalue(fixture).partition(":")[0]
    missing = f"{scheme}://missing-{uuid.uuid4().hex[:8]}/state"
    with ObjectStore(missing, tmp_path / "copy", network=HASTY) as store:
        with pytest.raises(StateError) as error:
            store.base()
        assert code_of(error) == "state-no-bucket"


def test_missing_keys_are_told_of(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # where a machine in the cloud has an identity
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store:
        with pytest.raises(StateError) as error:
            store.base()
        assert code_of(error) == "state-access-denied"


def test_a_server_that_is_not_there_is_told_of(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with ObjectStore(s3_url, tmp_path / "copy", network=HASTY) as store:
        with pytest.raises(StateError) as error:
            store.base()
        assert code_of(error) == "state-unreachable"
        assert "no connection to it can be made" in error.value.problems[0].what
        assert error.value.__cause__ is None
