"""What stands in an object store: how it is read when it is shortened, damaged, replaced, or of another version."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import obstore
import orjson
import pytest
from obstore.store import MemoryStore
from state_child import STEPS
from store_contract import LINEAGE, NOW, TARGET, accept, address, lock_info, put, run_info, running

from reconciler.problems import StateError
from reconciler.state.journal import Intent, Outcome
from reconciler.state.lease import Times
from reconciler.state.objects import record as records
from reconciler.state.objects import store as objects
from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.bucket import Bucket
from reconciler.state.objects.seal import MAGIC, seal, unseal
from reconciler.state.objects.store import ObjectStore

Open = Callable[..., ObjectStore]


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_copy(memory: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the state in memory with a copy by that name."""
    opened: list[ObjectStore] = []
    monkeypatch.setattr(objects, "connect", lambda _place, where, network: Bucket(memory, where, network))

    def open_copy(name: str = "copy", times: Times = Times()) -> ObjectStore:  # noqa: B008
        opened.append(ObjectStore("s3://bucket/state", tmp_path / name, times=times))
        return opened[-1]

    yield open_copy
    for store in opened:
        store.close()


def names(memory: MemoryStore, folder: str = "") -> list[str]:
    return sorted(meta["path"] for page in obstore.list(memory, prefix=folder or None) for meta in page)


def read(memory: MemoryStore, name: str) -> bytes:
    return bytes(obstore.get(memory, name).bytes())


def write_runs(store: ObjectStore, *runs: str) -> None:
    for number, run in enumerate(runs):
        with running(store, run) as writer:
            accept(writer, put(run), 1, 10 + number)


def refused(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(StateError) as error:
        act()
    (problem,) = error.value.problems
    return problem.code, problem.what


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as connection:
        found = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in found if name != "replica"}


def last_record(memory: MemoryStore) -> tuple[records.Record, str]:
    """The last of the five that one run wrote, and its digest."""
    name = records.name_of(5)
    data = read(memory, name)
    return records.decode(unseal(name, data)), data[len(MAGIC) : len(MAGIC) + 32].hex()


# --- what a copy holds ---------------------------------------------------------------------------


def test_the_log_done_again_gives_exactly_the_same_tables(open_copy: Open, tmp_path: Path) -> None:
    store = open_copy("written")
    with store.lock(lock_info()) as writer:
        tickets: list[int] = []
        for step in STEPS:
            step(writer, tickets)
        writer.begin_run(run_info("more"), TARGET, lambda: LINEAGE)
        writer.record_activities([("blog", "organizations/o/sources/b/status")])
        ticket = writer.intent(Intent(1, "item-batch", "digest", 2**62, NOW, put("é\u2028").covers))
        writer.settle(ticket, Outcome.REFUSED, at=NOW, detail="HTTP 400: no")
    with open_copy("read") as other:
        assert other.base() == store.base()
    store.close()
    assert tables(tmp_path / "read") == tables(tmp_path / "written")


def test_a_copy_that_was_deleted_or_damaged_is_made_anew(open_copy: Open, tmp_path: Path) -> None:
    write_runs(open_copy("writer"), "run-1", "run-2")
    path = tmp_path / "copy"
    with open_copy() as store:
        found = store.fingerprints()
    for damage in (
        path.unlink,
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"nonsense" * 1000),
        lambda: path.write_bytes(path.read_bytes()[:100] + bytes(30000)),
    ):
        damage()
        with open_copy() as store:
            assert store.fingerprints() == found
            assert store.check() == ()


def test_damage_that_shows_late_is_told_as_that_of_a_copy(open_copy: Open, tmp_path: Path) -> None:
    write_runs(open_copy("writer"), "run-1")
    with open_copy() as store:
        store.base()
    with sqlite3.connect(tmp_path / "copy") as connection:
        connection.execute("DELETE FROM shared_docs")
    with open_copy() as store:
        code, what = refused(lambda: list(store.rows()))
        assert code == "state-copy-damaged"
        assert "copy" in what
        assert len(list(store.rows())) == 1


def test_a_copy_of_another_history_is_dropped(open_copy: Open, memory: MemoryStore) -> None:
    """Also when the other one has as many records: names alone do not tell."""
    write_runs(open_copy("writer"), "run-1")
    with open_copy() as store:
        assert list(store.fingerprints()) == [address("run-1")]
    obstore.delete(memory, names(memory))
    with open_copy() as store:
        assert store.fingerprints() == {}
    write_runs(open_copy("writer"), "run-1")
    with open_copy() as store:
        assert list(store.fingerprints()) == [address("run-1")]
    obstore.delete(memory, names(memory))
    write_runs(open_copy("writer 2"), "other")
    with open_copy() as store:
        assert list(store.fingerprints()) == [address("other")]
        assert store.check() == ()


def test_copies_are_taken_by_one_at_a_time(open_copy: Open, tmp_path: Path) -> None:
    write_runs(open_copy("writer"), "run-1")
    first, second = open_copy(), open_copy()
    assert first.base() == second.base()
    assert {path.name for path in tmp_path.glob("copy*")} >= {"copy", "copy.1"}
    first.close()
    third = open_copy()
    assert third.base() == second.base()
    assert not (tmp_path / "copy.2").exists()


def test_where_nothing_may_be_written_the_copy_is_elsewhere(open_copy: Open, tmp_path: Path) -> None:
    write_runs(open_copy("writer"), "run-1")
    (tmp_path / "file").write_text("no folder")
    store = open_copy("file/copy")
    assert store.base().serial == 1
    store.close()
    assert store.base().serial == 1


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints after few records."""
    monkeypatch.setattr(objects_writer, "DUE_AT_END", 6)


def test_the_log_is_shortened_and_nobody_is_left_behind(open_copy: Open, memory: MemoryStore, often: None) -> None:
    with open_copy("late") as late:
        write_runs(open_copy("writer"), "run-0")
        assert late.base().serial == 1
    for number in range(1, 12):
        write_runs(open_copy("writer"), f"run-{number}")
        assert open_copy(f"new-{number}").base().serial == number + 1
    fences = set(range(1, 61, 5))
    assert fences.issubset(map(records.number_of, names(memory, "log"))), "numbers that nobody may take again"
    log = [number for number in map(records.number_of, names(memory, "log")) if number not in fences or number > 50]
    assert len(log) < 24
    assert log == list(range(log[0] or 0, 61)), "without gaps, to the last of five records a run"
    assert len({name.split("/")[1] for name in names(memory, "checkpoints")}) == 2
    with open_copy("late") as late:
        assert (late.base().serial, len(late.runs()), late.check()) == (12, 12, ())
    write_runs(open_copy("late"), "run-12")
    assert open_copy("new-0").base().serial == 13


def test_a_long_run_is_kept_before_it_ends(
    open_copy: Open, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_writer, "DUE_AMID", 10)
    with running(open_copy("writer")) as writer:
        for number in range(30):
            accept(writer, put(f"n{number}"), number, number)
        assert len(names(memory, "log")) < 25
        assert open_copy().base().serial == 30
        assert open_copy().check() == ()


def test_a_checkpoint_is_written_in_pieces(
    open_copy: Open, memory: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.state.objects.checkpoint.PIECE", 10_000)
    write_runs(open_copy("writer"), "run-1")
    pieces = names(memory, "checkpoints")
    assert len(pieces) > 5
    assert open_copy().base().serial == 1
    obstore.delete(memory, pieces[2:3])
    code, what = refused(open_copy("new").base)
    assert (code, "piece" in what) == ("state-corrupt", True)
    assert not list(tmp_path.glob("new*.got"))


def test_what_an_interrupted_checkpoint_left_is_swept(open_copy: Open, memory: MemoryStore, often: None) -> None:
    obstore.put(memory, "checkpoints/00000000000000000003-abcabcabcabc/000000", b"cut short")
    write_runs(open_copy("writer"), "run-1", "run-2", "run-3")
    assert not [name for name in names(memory) if "abc" in name]


def test_a_checkpoint_that_fails_does_not_spoil_the_run(
    open_copy: Open, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Bucket.put

    def put_object(self, name, data):
        if name.startswith("checkpoints/"):
            raise objects.faults.unreachable("x", "y")
        whole(self, name, data)

    monkeypatch.setattr(Bucket, "put", put_object)
    write_runs(open_copy("writer"), "run-1")
    assert open_copy().base().serial == 1
    monkeypatch.setattr(Bucket, "put", whole)
    write_runs(open_copy("writer"), "run-2")
    assert "head" in names(memory)
    assert open_copy("new").check() == ()


# --- damage --------------------------------------------------------------------------------------


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("how", ["missing", "flipped", "cut", "empty", "swapped", "text"])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_record_that_is_damaged_is_named(how: str, number: int, open_copy: Open, memory: MemoryStore) -> None:
    write_runs(open_copy("writer"), "run-1")
    obstore.delete(memory, ["head"])  # so that a reader needs all of the log
    name, other = records.name_of(number), records.name_of(4)
    data = read(memory, name)
    if how == "missing":
        obstore.delete(memory, [name])
    else:
        damaged = {
            "flipped": flip(data),
            "cut": data[:-5],
            "empty": b"",
            "swapped": read(memory, other),
            "text": b"<Error>not what was asked for</Error>",
        }
        obstore.put(memory, name, damaged[how])
    if how == "missing" and number == 5:
        # The last one: a reader without a copy cannot miss it, one with a copy does.
        assert open_copy("new").base().serial == 1
        return
    code, what = refused(open_copy("new").base)
    assert (code, name in what) == ("state-corrupt", True), what
    (problem,) = open_copy("newer").check()
    assert problem.code == "state-corrupt"


def test_a_record_written_anew_elsewhere_does_not_pass(open_copy: Open, memory: MemoryStore) -> None:
    """Whole, under the right name, and yet not the one that the next follows."""
    write_runs(open_copy("writer"), "run-1")
    obstore.delete(memory, ["head"])
    name = records.name_of(3)
    record = records.decode(unseal(name, read(memory, name)))
    obstore.put(memory, name, seal(name, replace(record, lock="another").encode()))
    code, what = refused(open_copy("new").base)
    assert (code, records.name_of(4) in what) == ("state-corrupt", True), what


@pytest.mark.parametrize("call", ["settle", "no-such-call", "begin_run"])
def test_a_record_that_fits_nothing_is_damage(call: str, open_copy: Open, memory: MemoryStore) -> None:
    write_runs(open_copy("writer"), "run-1")
    last, digest = last_record(memory)
    name = records.name_of(6)
    strange = replace(last, number=6, previous=digest, call=call, arguments={"at": NOW})
    obstore.put(memory, name, seal(name, strange.encode()))
    code, what = refused(open_copy("new").base)
    assert (code, name in what) == ("state-corrupt", True), what


@pytest.mark.parametrize("damage", [flip, lambda _: b"", lambda data: data[:60]])
@pytest.mark.parametrize("name", ["head", "checkpoint", "lock"])
def test_other_objects_that_are_damaged_are_named(
    name: str, damage: Callable[[bytes], bytes], open_copy: Open, memory: MemoryStore
) -> None:
    write_runs(open_copy("writer"), "run-1")
    found = names(memory, "checkpoints")[0] if name == "checkpoint" else name
    data = damage(read(memory, found))
    obstore.put(memory, found, data if name != "lock" else data[:40])
    act = open_copy("new").base if name != "lock" else lambda: write_runs(open_copy("writer"), "run-2")
    code, what = refused(act)
    assert (code, found in what) == ("state-corrupt", True), what


def test_a_head_without_a_log_is_damage(open_copy: Open, memory: MemoryStore) -> None:
    write_runs(open_copy("writer"), "run-1")
    obstore.delete(memory, names(memory, "log"))
    for name in ("writer", "new"):
        assert refused(open_copy(name).base)[0] == "state-corrupt"


def test_a_state_that_is_emptied_amid_a_run_is_not_written_on(open_copy: Open, memory: MemoryStore) -> None:
    with open_copy("writer").lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        accept(writer, put("a"))
        obstore.delete(memory, names(memory, "log"))
        accept(writer, put("b"), 2, 8)  # cannot be noticed, and does no harm
    assert refused(open_copy("new").base)[0] == "state-corrupt"


def test_a_copy_that_goes_amid_a_run_is_missed(open_copy: Open, tmp_path: Path) -> None:
    with open_copy("writer").lock(lock_info()) as writer:
        writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
        accept(writer, put("a"))
        (tmp_path / "writer").unlink()
        assert refused(lambda: accept(writer, put("b"), 2, 8))[0] == "state-replaced"
    assert open_copy().base().serial == 1
    assert open_copy().check() == ()


# --- versions ------------------------------------------------------------------------------------


def test_what_a_later_version_wrote_is_left_untouched(open_copy: Open, memory: MemoryStore) -> None:
    write_runs(open_copy("writer"), "run-1")
    name = records.name_of(6)
    last, digest = last_record(memory)
    whole = orjson.loads(replace(last, number=6, previous=digest).encode())
    for changed in ({"tables": last.tables + 1}, {"format": records.FORMAT + 1, "more": 1}):
        obstore.put(memory, name, seal(name, orjson.dumps({**whole, **changed})))
        assert refused(open_copy("writer").base)[0] == "state-newer-version"
    obstore.delete(memory, [name])
    head = orjson.loads(unseal("head", read(memory, "head")))
    obstore.put(memory, "head", seal("head", orjson.dumps({**head, "tables": last.tables + 1})))
    assert refused(open_copy("new").base)[0] == "state-newer-version"
    lock = orjson.loads(read(memory, "lock"))
    obstore.put(memory, "lock", orjson.dumps({**lock, "format": 9}))
    assert refused(lambda: write_runs(open_copy("writer"), "run-2"))[0] == "state-newer-version"


# --- the lock ------------------------------------------------------------------------------------


def test_generations_go_on_when_the_lock_was_deleted(open_copy: Open, memory: MemoryStore) -> None:
    write_runs(open_copy("writer"), "run-1", "run-2")
    before = orjson.loads(read(memory, "lock"))["generation"]
    obstore.delete(memory, ["lock"])
    write_runs(open_copy("other"), "run-3")
    assert orjson.loads(read(memory, "lock"))["generation"] == before + 1


def test_a_holder_that_is_late_with_its_fence_writes_nothing(open_copy: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the lock, was paused, and wakes up when the next one has begun."""
    hasty = Times(lease=0.1, renew=600, missed=0.1)
    fence = objects_writer.ObjectWriter.fence
    taken = []

    def late_fence(self):
        if not taken:
            taken.append(self)
            with open_copy("next", hasty).lock(lock_info("lock-2"), timeout=30) as writer:
                writer.begin_run(run_info(), TARGET, lambda: LINEAGE)
                fence(self)
        fence(self)

    monkeypatch.setattr(objects_writer.ObjectWriter, "fence", late_fence)
    with pytest.raises(StateError) as error, open_copy("late", hasty).lock(lock_info()):
        pytest.fail("let in")
    assert error.value.problems[0].code == "lock-lost"


class Deaf(Bucket):
    """A store that does not listen to conditions: on creating, or on replacing."""

    deaf_to = "create"

    def create(self, name, data):
        if self.deaf_to == "create" and name.startswith("probe/"):
            self.put(name, data)
            return '{"e_tag":"x"}'
        return super().create(name, data)

    def swap(self, name, data, version):
        if self.deaf_to == "swap" and name.startswith("probe/"):
            self.put(name, data)
            return '{"e_tag":"x"}'
        return super().swap(name, data, version)


@pytest.mark.parametrize("deaf_to", ["create", "swap"])
def test_a_store_that_does_not_listen_to_conditions_is_refused(
    deaf_to: str, open_copy: Open, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deaf, "deaf_to", deaf_to)
    monkeypatch.setattr(objects, "connect", lambda _place, where, network: Deaf(memory, where, network))
    assert refused(lambda: write_runs(open_copy("writer"), "run-1"))[0] == "state-store-unfit"
    assert names(memory) == []


# --- costs ---------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts requests: what is asked of the library, which sends one each."""
    found: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., object]:
        call = getattr(obstore, name)

        def counts(*given, **options):
            found[name] += 1
            return call(*given, **options)

        return counts

    for name in ("get", "put", "list", "delete"):
        monkeypatch.setattr(obstore, name, counting(name))
    return found


def test_a_call_costs_two_requests_and_a_read_one(open_copy: Open, counted: Counter[str]) -> None:
    write_runs(open_copy("writer"), "run-1")
    with running(open_copy("writer"), "run-2") as writer:
        counted.clear()
        for number in range(10):
            accept(writer, put(f"n{number}"), number, 20 + number)
        assert counted == Counter(put=20)
    store = open_copy()
    store.base()
    counted.clear()
    store.base()
    assert counted == Counter(list=1)
    counted.clear()
    with store.reading():
        store.base()
        assert (len(list(store.rows())), len(store.fingerprints())) == (11, 11)
    assert counted == Counter(list=1)
    counted.clear()
    store.close()
    with open_copy() as again:
        again.base()
    assert counted == Counter(list=1), "a process that comes later begins with the copy"


def test_locking_costs_few_requests(open_copy: Open, counted: Counter[str]) -> None:
    write_runs(open_copy("writer"), "run-1", "run-2")
    store = open_copy("writer")
    store.base()
    counted.clear()
    with store.lock(lock_info()):
        # Look at the state, at the lock, take it, look again, put the fence.
        assert counted == Counter(list=2, get=1, put=2)
    assert counted == Counter(list=2, get=1, put=3)
