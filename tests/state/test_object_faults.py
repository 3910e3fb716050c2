"""A nasty object store and careless writers: whatever happens, what was said to be recorded is, and runs do not mix."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError
from obstore.store import MemoryStore
from store_contract import LATER, LINEAGE, TARGET, accept, address, lock_info, put, run_info

from reconciler.problems import StateError
from reconciler.state.lease import Times
from reconciler.state.objects import store as objects
from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.bucket import Bucket, Network
from reconciler.state.objects.store import ObjectStore

WRITERS, RUNS, CALLS = 4, 4, 4
CARELESS = Times(lease=0.2, renew=600, missed=0.2)


class Nasty:
    """Loses requests and answers, and lets some writes arrive long after they were given up."""

    def __init__(self, seed: int, share: float) -> None:
        self.on = True
        self.faults = 0
        self._source = random.Random(seed)
        self._share = share
        self._late: list[Callable[[], object]] = []

    def around(self, name: str) -> Callable[..., object]:
        call: Callable[..., object] = getattr(obstore, name)

        def request(*given: object, **options: object) -> object:
            if not self.on:
                return call(*given, **options)
            self._let_some_arrive()
            # What is written under a condition is tried again here, the rest by the library, which is not asked.
            share = self._share if options.get("mode") else self._share / 5
            chance = self._source.random() / share
            if chance >= 1:
                return call(*given, **options)
            self.faults += 1
            if chance < 0.4 and name in ("put", "delete"):
                call(*given, **options)
            elif chance < 0.7 and options.get("mode"):
                self._late.append(lambda: call(*given, **options))
            raise GenericError("operation timed out")

        return request

    def _let_some_arrive(self) -> None:
        if self._late and self._source.random() < 0.1:
            with suppress(BaseError):  # its condition may not hold any more
                self._late.pop()()


@pytest.mark.parametrize(("seed", "share"), [(1, 0.1), (2, 0.25)])
def test_runs_on_a_nasty_store_lose_nothing_and_do_not_mix(
    seed: int, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, nasty = MemoryStore(), Nasty(seed, share)
    for name in ("get", "put", "list", "delete"):
        monkeypatch.setattr(obstore, name, nasty.around(name))
    hasty = Network(attempts=0.5)
    monkeypatch.setattr(objects, "connect", lambda _place, where, _network: Bucket(memory, where, hasty))
    monkeypatch.setattr(objects_writer, "DUE_AT_END", 8)
    monkeypatch.setattr(objects_writer, "DUE_AMID", 12)
    recorded: list[str] = []
    unsure: list[str] = []
    strange: list[BaseException] = []

    def run(store: ObjectStore, run_id: str) -> None:
        with store.lock(lock_info(run_id), timeout=20) as writer:
            writer.begin_run(run_info(run_id), TARGET, lambda: LINEAGE)
            for number in range(CALLS):
                name = f"{run_id}-{number}"
                if nasty.faults % 17 == 16:
                    time.sleep(2)  # longer than the lease
                try:
                    accept(writer, put(name), number)
                    recorded.append(name)
                except StateError:
                    unsure.append(name)
            writer.end_run(at=LATER, result="done")

    def work(who: int) -> None:
        with ObjectStore("s3://bucket/state", tmp_path / str(who), times=CARELESS) as store:
            for number in range(RUNS):
                try:
                    run(store, f"{who}-{number}")
                except StateError as error:
                    allowed = {"state-unreachable", "lock-lost", "state-locked"}
                    if error.problems[0].code not in allowed:
                        strange.append(error)
                except BaseException as error:
                    strange.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    nasty.on = False
    assert strange == []
    assert recorded
    assert nasty.faults > 3
    with ObjectStore("s3://bucket/state", tmp_path / "new") as store:
        found = set(store.fingerprints())
        assert {address(name) for name in recorded} <= found <= {address(name) for name in recorded + unsure}
        turns = [run_id for run_id, _ in groupby(entry.run for entry in store.journal())]
        assert len(turns) == len(set(turns)), "a run wrote on after another had begun"
        assert store.check() == ()
        for who in range(WRITERS):
            with ObjectStore("s3://bucket/state", tmp_path / str(who)) as other:
                assert list(other.rows()) == list(store.rows())
