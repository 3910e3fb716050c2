from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.bodies import BodyStore, ProjectBodies
from reconciler.manifest.paths import ProjectFolder
from reconciler.problems import ManifestError, StateError


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pair(data: bytes) -> tuple[str, bytes]:
    return sha(data), data


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BodyStore]:
    with BodyStore(tmp_path / ".reconciler/bodies.db") as store:
        yield store


def test_bodies_are_found_by_digest(store: BodyStore) -> None:
    bodies = [pair(data) for data in (b"", b"a", b"\0\xff" * 100_000)]
    store.put_many(bodies)
    store.put_many(bodies[:2])
    for sha256, data in bodies:
        assert store.has(sha256)
        assert store.open(sha256).read() == data
    store.close()
    assert store.open(sha(b"a")).read() == b"a"


def test_an_absent_body_is_a_key_error_and_makes_no_file(store: BodyStore) -> None:
    for sha256 in (sha(b"a"), "", "no digest"):
        assert not store.has(sha256)
        with pytest.raises(KeyError):
            store.open(sha256)
    assert store.prune(set()) == 0
    assert not store.path.parent.exists()


def test_prune_keeps_what_is_named(store: BodyStore) -> None:
    store.put_many(pair(data) for data in (b"a", b"b", b"c"))
    assert store.prune({sha(b"b"), sha(b"never kept")}) == 2
    assert [store.has(sha(data)) for data in (b"a", b"b", b"c")] == [False, True, False]


def test_all_or_none_is_put(store: BodyStore) -> None:
    with pytest.raises(ValueError, match="This is a bug in reconciler"):
        store.put_many([pair(b"a"), (sha(b"b"), b"other")])
    assert not store.has(sha(b"a"))


def damage(path: Path, data: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE body SET data = ?", (data,))
    connection.close()


@pytest.mark.parametrize("data", [b"other", "text", 7])
def test_a_damaged_body_is_refused_and_healed_by_the_next_put(store: BodyStore, data: object) -> None:
    store.put_many([pair(b"a")])
    damage(store.path, data)
    with pytest.raises(StateError) as caught:
        store.open(sha(b"a"))
    (problem,) = caught.value.problems
    assert problem.code == "bodies-damaged"
    assert problem.where == str(store.path)
    store.put_many([pair(b"a")])
    assert store.open(sha(b"a")).read() == b"a"


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".reconciler/bodies.db"
    path.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def codes() -> list[str]:
        found = []
        with BodyStore(path) as store:
            for attempt in (
                lambda: store.put_many([pair(b"a")]),
                lambda: store.has(sha(b"a")),
                lambda: store.prune(set()),
            ):
                with pytest.raises(StateError) as caught:
                    attempt()
                found.append(caught.value.problems[0].code)
        return found

    path.write_bytes(b"not a database" * 100)
    assert codes() == ["bodies-damaged"] * 3
    path.unlink()
    os.mkfifo(path)
    assert codes() == ["bodies-damaged"] * 3
    path.unlink()
    path.symlink_to(elsewhere / "bodies.db")
    assert codes() == ["bodies-damaged"] * 3
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(elsewhere)
    assert codes() == ["bodies-damaged"] * 3
    assert list(elsewhere.iterdir()) == []


def test_threads_and_stores_share_a_file(store: BodyStore) -> None:
    store.put_many([pair(b"first")])
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with BodyStore(store.path) as own:
                own.put_many(pair(f"{number} {n}".encode()) for n in range(20))
            assert store.open(sha(b"first")).read() == b"first"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert all(store.has(sha(f"{number} {n}".encode())) for number in range(4) for n in range(20))


DATA = bytes(range(256)) * 1000


def project_bodies(store: BodyStore, folder: Path, *, sized: bool = False) -> ProjectBodies:
    (folder / "x.bin").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    store.put_many([pair(b"inline")])
    refs = {sha(DATA): "x.bin", sha(b"inline"): None, sha(b""): "empty", sha(b"1"): "../out", sha(b"2"): "fifo"}
    return ProjectBodies(store, ProjectFolder(folder), refs, {sha(DATA): len(DATA)} if sized else None)


def test_bodies_come_from_files_or_the_store(store: BodyStore, tmp_path: Path) -> None:
    bodies = project_bodies(store, tmp_path)
    with bodies.open(sha(DATA)) as file:
        assert file.read() == DATA
    with bodies.open(sha(DATA)) as file:
        assert b"".join(iter(lambda: file.read(1000), b"")) == DATA
    with bodies.open(sha(b"")) as file:
        assert file.read() == b""
    assert bodies.open(sha(b"inline")).read() == b"inline"
    with pytest.raises(KeyError):
        bodies.open(sha(b"unknown"))


def test_unsafe_content_files_are_refused(store: BodyStore, tmp_path: Path) -> None:
    bodies = project_bodies(store, tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for data, code in ((b"1", "path-outside"), (b"2", "not-a-file")):
        with pytest.raises(ManifestError) as caught:
            bodies.open(sha(data))
        assert caught.value.problems[0].code == code


@pytest.mark.parametrize("changed", [b"", DATA[:-1], DATA[:-1] + b"x", DATA + b"x", b"x" + DATA])
@pytest.mark.parametrize("size", [-1, 1000, len(DATA) + 2])
def test_changed_content_is_never_taken_for_the_whole(
    store: BodyStore, tmp_path: Path, changed: bytes, size: int
) -> None:
    for sized in (False, True):
        bodies = project_bodies(store, tmp_path, sized=sized)
        (tmp_path / "x.bin").write_bytes(changed)
        with pytest.raises(ManifestError) as caught, bodies.open(sha(DATA)) as file:
            while file.read(size):
                pass
        assert caught.value.problems[0].code == "content-changed"


def test_reading_exactly_the_planned_bytes_is_checked_too(store: BodyStore, tmp_path: Path) -> None:
    bodies = project_bodies(store, tmp_path, sized=True)
    (tmp_path / "x.bin").write_bytes(DATA[:-1] + b"x")
    with bodies.open(sha(DATA)) as file, pytest.raises(ManifestError):
        file.read(len(DATA))
    (tmp_path / "x.bin").write_bytes(b"x" + DATA)
    with pytest.raises(ManifestError):
        bodies.open(sha(DATA))


def test_a_file_that_grows_while_it_is_read_is_not_followed(store: BodyStore, tmp_path: Path) -> None:
    bodies = project_bodies(store, tmp_path)
    with bodies.open(sha(DATA)) as file, pytest.raises(ManifestError):
        while file.read(1 << 16):
            with (tmp_path / "x.bin").open("ab") as more:
                more.write(b"x" * (1 << 17))
