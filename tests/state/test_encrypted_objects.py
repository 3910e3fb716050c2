"""An encrypted state in an object store keeps the contract; its objects and its copies show nothing without the key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore
from store_contract import LINEAGE, accept, lock_info, put, running
from test_object_store import ObjectContract

from reconciler.problems import StateError
from reconciler.settings import Secret
from reconciler.state.key import Key
from reconciler.state.objects import store as objects
from reconciler.state.objects import writer as objects_writer
from reconciler.state.objects.bucket import Bucket
from reconciler.state.objects.cipher import MAGIC, Sealer
from reconciler.state.objects.seal import seal, unseal
from reconciler.state.objects.store import ObjectStore
from reconciler.state.snapshot import take
from tests.builders import Folder

KEY, OTHER = Secret("5ea1ed0b" * 8), Secret("0ddba11c" * 8)
WORDS = (b"example.com", b"group/corp", LINEAGE.encode(), b"org-handbook", b"run-1", b"CREATE TABLE")
IN_CLEAR = {"lock", "clock"}
Open = Callable[..., ObjectStore]


class TestInMemory(ObjectContract):
    """The contract, kept by encrypted objects."""

    key = KEY

    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> str:
        stores: dict[str, MemoryStore] = {}
        monkeypatch.setattr(
            objects, "connect", lambda place, *rest: Bucket(stores.setdefault(place.prefix, MemoryStore()), *rest)
        )
        return "s3://bucket/state"


class TestOnS3(ObjectContract):
    key = KEY

    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_copy(memory: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the state in memory with a key and a copy by that name."""
    opened: list[ObjectStore] = []
    monkeypatch.setattr(objects, "connect", lambda _place, *rest: Bucket(memory, *rest))
    monkeypatch.setattr(objects_writer, "DUE_AT_END", 8)

    def open_copy(key: Key | None = KEY, name: str = "copy", *, must_encrypt: bool = False) -> ObjectStore:
        opened.append(ObjectStore("s3://bucket/state", tmp_path / name, key, must_encrypt=must_encrypt))
        return opened[-1]

    yield open_copy
    for store in opened:
        store.close()


def contents(memory: MemoryStore) -> dict[str, bytes]:
    names = sorted(meta["path"] for page in obstore.list(memory) for meta in page)
    return {name: bytes(obstore.get(memory, name).bytes()) for name in names}


def fill(store: ObjectStore, *runs: str) -> None:
    for number, run in enumerate(runs):
        with running(store, run) as writer:
            accept(writer, put(*(f"{run}-{n}" for n in range(30))), 1, 10 + number)
    store.close()


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(StateError) as error:
        act()
    (problem,) = error.value.problems
    assert KEY.reveal() not in repr(problem)
    return problem.code


# --- what is shown -------------------------------------------------------------------------------


def test_neither_objects_nor_copies_show_anything(open_copy: Open, memory: MemoryStore, tmp_path: Path) -> None:
    fill(open_copy(), "run-1", "run-2", "run-3")
    assert len(open_copy(name="other").fingerprints()) == 90
    found = contents(memory)
    assert {name.partition("/")[0] for name in found} - {"clock"} == {"log", "checkpoints", "head", "lock"}
    for name, content in found.items():
        assert content.startswith(MAGIC) is (name not in IN_CLEAR), name
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {"copy", "other"} <= set(files)
    for name, content in {**found, **files}.items():
        assert not [word for word in WORDS if word in content], name


def test_the_same_content_is_never_the_same_bytes() -> None:
    sealer = Sealer(KEY, lambda: "here")
    first, second = (sealer.seal("log/1", b"content", encrypt=True) for _ in range(2))
    assert first != second
    assert sealer.unseal("log/1", first) == sealer.unseal("log/1", second) == b"content"


def test_who_has_no_copy_reads_from_a_checkpoint(open_copy: Open, memory: MemoryStore) -> None:
    fill(open_copy(), "run-1", "run-2", "run-3")
    before = take(open_copy())
    log = sorted(name for name in contents(memory) if name.startswith("log/"))
    memory.delete(log[: len(log) // 2])
    assert take(open_copy(name="other")) == before
    assert open_copy(name="third").check() == ()


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "code"), [(None, "state-encrypted"), (OTHER, "state-key-wrong")])
@pytest.mark.parametrize("name", ["copy", "other"])
def test_without_the_right_key_nothing_is_read_or_written(
    open_copy: Open, memory: MemoryStore, key: Key | None, code: str, name: str
) -> None:
    """Neither from the copy that is there, nor without one."""
    fill(open_copy(), "run-1", "run-2")
    before = contents(memory)
    store = open_copy(key, name)
    assert refused(store.fingerprints) == code
    assert refused(lambda: store.lock(lock_info()).__enter__()) == code
    assert [problem.code for problem in store.check()] == [code]
    assert contents(memory) == before
    assert len(open_copy(name=name).fingerprints()) == 60


def test_a_state_in_clear_stays_so_for_everybody(open_copy: Open, memory: MemoryStore, tmp_path: Path) -> None:
    """One who has a key and one who has none go on with it in turn."""
    fill(open_copy(None), "run-1")
    fill(open_copy(KEY), "run-2", "run-3")
    fill(open_copy(OTHER, "other"), "run-4")
    assert len(open_copy(None, "third").fingerprints()) == 120
    assert not [name for name, content in contents(memory).items() if content.startswith(MAGIC)]
    assert (tmp_path / "other").read_bytes().startswith(b"SQLite format 3")


def test_where_it_must_be_encrypted(open_copy: Open, memory: MemoryStore) -> None:
    assert refused(lambda: fill(open_copy(None, must_encrypt=True), "run-1")) == "state-key-needed"
    assert contents(memory) == {}
    fill(open_copy(None), "run-1")
    before = contents(memory)
    assert len(open_copy(KEY, must_encrypt=True).fingerprints()) == 30
    assert refused(lambda: fill(open_copy(KEY, must_encrypt=True), "run-2")) == "state-not-encrypted"
    assert contents(memory) == before


def test_where_it_must_be_encrypted_and_is(open_copy: Open) -> None:
    fill(open_copy(must_encrypt=True), "run-1", "run-2")
    assert open_copy(must_encrypt=True).check() == ()


def test_the_package_is_missing(open_copy: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(open_copy(), "run-1")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    assert refused(open_copy(name="other").base) == "encryption-package"


# --- objects that were tampered with -------------------------------------------------------------


def newest(memory: MemoryStore) -> str:
    return max(name for name in contents(memory) if name.startswith("log/"))


@pytest.mark.parametrize("at", [0, len(MAGIC), len(MAGIC) + 12, -1])
def test_an_object_that_was_altered_does_not_open(open_copy: Open, memory: MemoryStore, at: int) -> None:
    fill(open_copy(), "run-1")
    name = newest(memory)
    content = bytearray(contents(memory)[name])
    content[at] ^= 1
    obstore.put(memory, name, bytes(content))
    assert refused(open_copy(name="other").base) == ("state-key-wrong" if at else "state-corrupt")


def test_an_object_under_another_name_does_not_open(open_copy: Open, memory: MemoryStore) -> None:
    fill(open_copy(), "run-1")
    found = contents(memory)
    log = sorted(name for name in found if name.startswith("log/"))
    obstore.put(memory, log[-1], found[log[-2]])
    assert refused(open_copy(name="other").base) == "state-key-wrong"


def test_no_record_in_clear_is_slipped_in(open_copy: Open, memory: MemoryStore) -> None:
    """Who can write to the store and has no key adds nothing, though the record itself would fit."""
    fill(open_copy(), "run-1", "run-2")
    name = newest(memory)
    inner = Sealer(KEY, lambda: "here").unseal(name, contents(memory)[name])
    obstore.put(memory, name, seal(name, inner))
    assert unseal(name, contents(memory)[name]) == inner
    assert refused(open_copy(name="other").base) == "state-corrupt"


# --- from outside --------------------------------------------------------------------------------


def test_a_state_moves_into_an_encrypted_store_and_to_another_key(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "project")
    folder.write("a.yaml", "defaults: {source: blog}\nitems: [{uri: 'x:a', title: A}]\n")
    folder.ok("apply", "--auto-approve")
    before = folder.ok("state", "pull").out
    project = folder.root / "reconciler.yaml"
    text = project.read_text()

    def move_to(goal: str, environment: str = "") -> None:
        folder.ok("state", "migrate", "--to", goal)
        project.write_text(text.replace("{target:", f"{{state: '{goal}', {environment} target:"))

    monkeypatch.setenv("RECONCILER_STATE_KEY", KEY.reveal())
    move_to(f"{s3_url}/one", "encryptState: true,")
    assert folder.ok("state", "pull").out == before
    assert "error[encryption-by-migration]" in folder.ok("state", "encrypt", code=1).err
    monkeypatch.delenv("RECONCILER_STATE_KEY")
    assert "error[state-encrypted]" in folder.ok("plan", code=1).err

    monkeypatch.setenv("RECONCILER_STATE_KEY", KEY.reveal())
    monkeypatch.setenv("NEXT", OTHER.reveal())
    move_to("between.db")
    folder.ok("state", "encrypt", "--new-key-env", "NEXT")
    monkeypatch.setenv("RECONCILER_STATE_KEY", OTHER.reveal())
    move_to(f"{s3_url}/two", "encryptState: true,")
    assert folder.ok("state", "pull").out == before
    folder.ok("state", "history", "verify")
    folder.ok("plan", "--exit-code")
