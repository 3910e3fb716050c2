"""The cache: what it keeps it returns, and whatever is wrong with it, it only forgets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from reconciler.manifest.cache import CachedFile, ManifestCache, is_racy, row_context
from reconciler.manifest.paths import FileStat
from reconciler.manifest.project import ApiKey, Environment, Exemption, Guardrails, Project, Provider, Source
from reconciler.manifest.record import Input, Leans, Pattern

STAT = FileStat(5, 1_000_000_001, 1_000_000_002, 7)
LEANS = Leans([Input(0, "c.txt", STAT, "ab", 3, {"html": {"title": "é"}})], [Pattern(0, b"{}", b"digest")])
ROW = CachedFile(STAT, 99, b"digest", b"context", LEANS)
PACKED = CachedFile(STAT, 99, b"digest", b"context", LEANS, b"record")
PROJECT = Project(
    Environment("prod", "", "org", "state.db", "eu", ApiKey(command=("pass", "key"))),
    ("**/*.yaml",),
    (Source("s", "1", "private", "p"),),
    (Provider("p", "2", ("a", "b")),),
    (("v", "1"),),
    Guardrails(0.5, 0.1, 7, "deny", (Exemption(("a*",), ("user:*",), "p"), Exemption()), 3, 4),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "cache.db"


def kept(path: Path, edition: str = "1") -> tuple[dict[str, CachedFile], dict[str, bytes]]:
    cache = ManifestCache(path, edition)
    rows = cache.load()
    records = cache.records(rows)
    cache.close()
    return rows, records


def fill(path: Path) -> None:
    cache = ManifestCache(path, "1")
    cache.save([("a.yaml", PACKED), ("b.yaml", PACKED)], [])
    cache.save_project("prod", "reconciler.yaml", STAT, 10**18, PROJECT)
    cache.save_plan(b"key", b"plan", 1)
    cache.close()


def test_what_is_saved_comes_back(path: Path) -> None:
    fill(path)
    assert kept(path) == ({"a.yaml": ROW, "b.yaml": ROW}, {"a.yaml": b"record", "b.yaml": b"record"})
    cache = ManifestCache(path, "1")
    assert cache.project("prod", "reconciler.yaml", STAT) == PROJECT
    assert cache.project("local", "reconciler.yaml", STAT) is None
    assert cache.project("prod", "reconciler.yml", STAT) is None
    assert cache.project("prod", "reconciler.yaml", STAT._replace(inode=8)) is None
    assert (cache.plan(b"key"), cache.plan(b"other")) == (b"plan", None)
    cache.save([], ["a.yaml"])
    cache.touch([("b.yaml", CachedFile(STAT, 100, b"digest", b"context", LEANS))])
    assert cache.load() == {"b.yaml": CachedFile(STAT, 100, b"digest", b"context", LEANS)}
    cache.close()


def test_another_edition_starts_afresh(path: Path) -> None:
    fill(path)
    assert kept(path, "2") == ({}, {})
    assert kept(path, "1") == ({}, {})


def test_no_file_keeps_nothing() -> None:
    cache = ManifestCache(None, "1")
    cache.save([("a.yaml", PACKED)], [])
    cache.touch([("a.yaml", ROW)])
    cache.save_project("", "f", STAT, 1, PROJECT)
    cache.save_plan(b"k", b"p", 1)
    assert (cache.load(), cache.records({"a.yaml": ROW}), cache.project("", "f", STAT), cache.plan(b"k")) == (
        {},
        {},
        None,
        None,
    )
    cache.close()


@pytest.mark.parametrize("junk", [b"", b"no database" * 500, bytes(8192)])
def test_a_file_that_is_no_database_is_replaced(path: Path, junk: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(junk)
    fill(path)
    assert kept(path)[1] == {"a.yaml": b"record", "b.yaml": b"record"}


def test_torn_pages_are_forgotten_and_mended(path: Path) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    for _ in range(3):
        rows, records = kept(path)
        assert (rows, records) in (
            ({}, {}),
            ({"a.yaml": ROW, "b.yaml": ROW}, {"a.yaml": b"record", "b.yaml": b"record"}),
        )
    fill(path)
    assert kept(path)[1] == {"a.yaml": b"record", "b.yaml": b"record"}


@pytest.mark.parametrize(
    ("column", "value", "remains"),
    [
        ("record", b"xxxxrecord", (["a.yaml", "b.yaml"], ["b.yaml"])),
        ("record", b"", (["a.yaml", "b.yaml"], ["b.yaml"])),
        ("record", 7, (["a.yaml", "b.yaml"], ["b.yaml"])),
        ("leans", b"", (["b.yaml"], ["b.yaml"])),
        ("leans", "text", (["b.yaml"], ["b.yaml"])),
        ("stat", b"\x94\x01\x02\x03\x04", (["b.yaml"], ["b.yaml"])),
        ("stat", 5, (["b.yaml"], ["b.yaml"])),
        ("read_at", 10**15, (["b.yaml"], ["b.yaml"])),
        ("read_at", "soon", (["b.yaml"], ["b.yaml"])),
        ("digest", b"other", (["b.yaml"], ["b.yaml"])),
        ("context", b"other", (["b.yaml"], ["b.yaml"])),
    ],
)
def test_a_damaged_row_is_none(path: Path, column: str, value: object, remains: tuple[list[str], list[str]]) -> None:
    fill(path)
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE file SET {column} = ? WHERE path = 'a.yaml'", (value,))
    connection.execute("UPDATE project SET value = substr(value, 1, 20)")
    connection.commit()
    connection.close()
    rows, records = kept(path)
    assert (sorted(rows), sorted(records)) == remains or (column == "record" and sorted(rows) == remains[0])
    cache = ManifestCache(path, "1")
    assert cache.project("prod", "reconciler.yaml", STAT) is None
    cache.close()


def test_a_record_that_was_written_anew_meanwhile_belongs_to_another_row(path: Path) -> None:
    fill(path)
    mine, other = ManifestCache(path, "1"), ManifestCache(path, "1")
    rows = mine.load()
    other.save([("a.yaml", CachedFile(STAT, 99, b"newer", b"context", LEANS, b"newer record"))], [])
    assert mine.records(rows) == {"b.yaml": b"record"}
    mine.close()
    other.close()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "theirs.db"
    sqlite3.connect(target).close()
    path.parent.mkdir()
    path.symlink_to(target)
    fill(path)
    assert (kept(path), target.read_bytes()) == (({}, {}), b"")


def test_an_unwritable_place_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kept(tmp_path / "file" / "cache.db") == ({}, {})


def test_the_racy_rule() -> None:
    fine, coarse = FileStat(1, 5_000_000_001, 5_000_000_001, 1), FileStat(1, 5_000_000_000, 5_000_000_000, 1)
    assert [is_racy(fine, read_at) for read_at in (5_000_000_001, 5_100_000_001, 5_100_000_002)] == [True, True, False]
    assert [is_racy(coarse, read_at) for read_at in (7_000_000_000, 7_000_000_001)] == [True, False]
    assert is_racy(FileStat(1, 9_000_000_001, 1, 1), 8_000_000_000)  # a time in the future proves nothing


def test_the_projects_own_file_is_read_under_a_context_of_its_own() -> None:
    assert row_context(b"c", is_project=True) != row_context(b"c", is_project=False) == b"c"
