"""A holder of an object store's lock that sleeps at an awkward moment, while others cut the log off behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore
from store_contract import LINEAGE, NOW, TARGET, accept, intent_for, lock_info, put, run_info

from reconciler.problems import StateError
from reconciler.state.journal import Outcome
from reconciler.state.lease import Times
from reconciler.state.objects import store as objects
from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.bucket import Bucket
from reconciler.state.objects.checkpoint import Checkpoints
from reconciler.state.objects.store import ObjectStore
from reconciler.state.store import Writer

# By its own clock, which may have stood still meanwhile, the sleeper lost nothing.
SLEEPER, HASTY = Times(lease=600, renew=600, missed=600), Times(lease=0.1, renew=600, missed=0.1)

Open = Callable[..., ObjectStore]


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_copy(memory: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the state in memory with a copy by that name; a checkpoint is due at the end of each run."""
    opened: list[ObjectStore] = []
    monkeypatch.setattr(objects, "connect", lambda _place, where, network: Bucket(memory, where, network))
    monkeypatch.setattr(objects_writer, "DUE_AT_END", 1)

    def open_copy(name: str, times: Times = SLEEPER) -> ObjectStore:
        opened.append(ObjectStore("s3://bucket/state", tmp_path / name, times=times))
        return opened[-1]

    yield open_copy
    for store in opened:
        store.close()


def run(store: ObjectStore, name: str) -> None:
    with store.lock(lock_info(f"lock-{name}"), timeout=30) as writer:
        begin(writer, name)
        end(writer)


def begin(writer: Writer, name: str) -> None:
    writer.begin_run(run_info(name), TARGET, lambda: LINEAGE)
    accept(writer, put(name))


def end(writer: Writer) -> None:
    writer.end_run(at=NOW, result="done")


def lost(act: Callable[[], object]) -> None:
    with pytest.raises(StateError) as error:
        act()
    assert error.value.problems[0].code == "lock-lost"


def test_the_next_number_is_taken_also_when_the_log_was_cut_off_behind_it(open_copy: Open) -> None:
    with open_copy("late").lock(lock_info("late")) as late:
        begin(late, "late")
        ticket = late.intent(intent_for(put("x"), 2))
        for number in range(4):
            run(open_copy("next", HASTY), f"next-{number}")
        lost(lambda: late.settle(ticket, Outcome.ACCEPTED, at=NOW, effect=put("x")))
        lost(lambda: late.intent(intent_for(put("y"), 3)))
    new = open_copy("new")
    assert (new.base().serial, len(new.runs()), new.check()) == (5, 5, ())


@pytest.mark.parametrize("call", ["head", "_store", "_sweep"])
def test_who_sleeps_amid_a_checkpoint_spoils_none_of_the_next(
    call: str, open_copy: Open, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(Checkpoints, call)
    slept = []

    def sleepy(self: Checkpoints, *args: object, **more: object) -> object:
        if not slept:
            slept.append(True)
            for number in range(3):
                run(open_copy("next", HASTY), f"next-{number}")
        return whole(self, *args, **more)

    run(open_copy("first"), "first")
    with open_copy("late").lock(lock_info("late")) as late:
        begin(late, "late")
        monkeypatch.setattr(Checkpoints, call, sleepy)
        end(late)
    assert slept
    new = open_copy("new")
    assert (new.base().serial, len(new.runs()), new.check()) == (5, 5, ())


def test_only_what_is_ours_is_swept(open_copy: Open, memory: MemoryStore) -> None:
    """Another state may be kept in a folder of this one, and anybody may put a file there."""
    theirs = ["checkpoints/head", "checkpoints/log/00000000000000000001", "checkpoints/README", "log/notes.txt"]
    for name in theirs:
        obstore.put(memory, name, b"theirs")
    for number in range(4):
        run(open_copy("writer"), f"run-{number}")
    found = {meta["path"] for page in obstore.list(memory) for meta in page}
    assert found.issuperset(theirs)
    assert open_copy("new").check() == ()
