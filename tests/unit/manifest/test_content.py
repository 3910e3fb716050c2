from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.manifest import content
from reconciler.manifest.content import ContentInfo, hash_file
from reconciler.manifest.paths import ProjectFolder, file_stat
from reconciler.problems import Problem


def test_digest_size_stat_and_head(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(data)
    stat = file_stat((tmp_path / "x").stat())
    sha256 = hashlib.sha256(data).hexdigest()
    folder = ProjectFolder(tmp_path)
    assert hash_file(folder, "x") == ContentInfo(sha256, len(data), stat)
    assert hash_file(folder, "x", head=1000) == ContentInfo(sha256, len(data), stat, data[:1000])
    assert hash_file(folder, "x", head=(1 << 20) + 5) == ContentInfo(sha256, len(data), stat, data[: (1 << 20) + 5])
    assert hash_file(folder, "x", head=1 << 30) == ContentInfo(sha256, len(data), stat, data)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    stat = file_stat((tmp_path / "x").stat())
    empty = hashlib.sha256(b"").hexdigest()
    assert hash_file(ProjectFolder(tmp_path), "x", head=10) == ContentInfo(empty, 0, stat)


def test_unsafe_files_are_problems(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    folder = ProjectFolder(tmp_path)
    found = [hash_file(folder, name) for name in ("fifo", "../x", "/dev/zero", "gone")]
    assert [item.code for item in found if isinstance(item, Problem)] == [
        "not-a-file",
        "path-outside",
        "path-outside",
        "file-missing",
    ]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    found = hash_file(ProjectFolder(tmp_path), "sparse")
    assert isinstance(found, Problem)
    assert found.code == "file-too-large"
    assert found.what.startswith('"sparse" has 1,099,511,627,776 bytes, more than')


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 3)


def rewrite(path: Path) -> None:
    path.write_bytes(b"y" * path.stat().st_size)
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
def test_a_file_that_changes_has_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    reads: list[int] = []

    def read(descriptor: int, size: int) -> bytes:
        reads.append(size)
        change(path)
        return os.pread(descriptor, size, 10 * (len(reads) - 1))

    monkeypatch.setattr(content.os, "read", read)
    found = hash_file(ProjectFolder(tmp_path), "x")
    assert isinstance(found, Problem)
    assert (found.code, found.what) == ("file-changed", '"x" changed while it was read')
    assert len(reads) <= 2


def test_a_read_error_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"x")

    def fail(_descriptor: int, _size: int) -> bytes:
        raise OSError(5, "no")

    monkeypatch.setattr(content.os, "read", fail)
    found = hash_file(ProjectFolder(tmp_path), "x")
    assert isinstance(found, Problem)
    assert (found.code, found.what) == ("file-unreadable", '"x" cannot be read: Input/output error')
