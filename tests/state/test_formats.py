"""States of every format version, each as the code of its time left it (`formats/make.py`), kept for ever.

Every one of them is read as it is, applied on, and kept beside what it becomes; one that is newer is left alone.
"""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.state import snapshot
from reconciler.state.sqlite.schema import FORMAT_VERSION
from tests.builders import Folder, Remote, start_remote
from tests.state.formats import make

FORMATS = Path(make.__file__).parent
# Whoever changes a file to make a test pass changes its digest here, and somebody reads it.
DIGESTS = {
    "version-1-first": "5fb7c27f07d920df581056192313cc3c9fed9057ca2982997ba087538f06d14d",
    "version-1": "1648f241aa5fdf29203df929285d1d8ec17f46582b117bec8ebd91c906b2a21f",
    "version-2": "386334fb01c6b298a2d7ac54633b37018f15ea6a95b45e27d09c0e746bb79a45",
    "version-3": "f6cf599354d6ea5925a19fb910395e60ce7619b2b09d22ac9b2c032041c1039e",
}
SNAPSHOTS = {"snapshot-1": "69452e98210824654c56ee96d004970b02342f440a2b7100bc4600c8d0c6b7a3"}
EVERY = pytest.mark.parametrize("name", DIGESTS)
IDENTITIES = ["alias/corp/user:alice@example.com", "group/corp/Board", "group/corp/Staff"]
ADDRESSES = [*IDENTITIES, "item/handbook/x:1", "item/handbook/x:3"]


@pytest.fixture
def remote() -> Iterator[Remote]:
    """An organization with what the states name; it holds nothing of what they say that it was sent."""
    from reconciler.emulator.options import ProviderOptions, SourceOptions

    with start_remote(
        organizations=("someorganization",),
        sources=(SourceOptions("handbooksource", "SECURED", "corpprovider"),),
        providers=(ProviderOptions("corpprovider"),),
    ) as remote:
        yield remote


@pytest.fixture
def project(folder: Folder, remote: Remote) -> Folder:
    folder.write("reconciler.yaml", make.PROJECT.replace("TARGET", remote.url))
    folder.write("all.yaml", make.SECOND)
    return folder


def put(folder: Folder, name: str) -> Path:
    text = gzip.decompress((FORMATS / f"{name}.db.gz").read_bytes())
    return folder.write(".reconciler/local.state.db", text)


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)


def dumped(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_every_version_is_kept() -> None:
    kept = {path.name.removesuffix(".db.gz"): path for path in FORMATS.glob("*.db.gz")}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()} == DIGESTS
    assert {f"version-{number}" for number in range(1, FORMAT_VERSION + 1)} <= set(kept)


@EVERY
def test_it_is_read_as_it_is(project: Folder, name: str) -> None:
    state = put(project, name)
    before = state.read_bytes()
    assert version_of(state) == int(name.split("-")[1])

    listed = project.ok("state", "list", "--format", "json").json
    assert [entry["address"] for entry in listed["resources"]] == ADDRESSES
    assert listed["unsettled"] == ["item/handbook/x:1"]
    runs = project.ok("state", "history", "--format", "json").json["runs"]
    assert [run["calls"] for run in runs] == [
        {"accepted": 0, "refused": 0, "unknown": 1},
        {"accepted": 3, "refused": 0, "unknown": 0},
        {"accepted": 2, "refused": 0, "unknown": 0},
    ]
    project.ok("state", "history", "verify")
    project.ok("state", "check")
    project.ok("state", "pull")
    shown = project.ok("access", "who", "x:1").out
    assert "user:alice@example.com" in shown
    # What is in doubt is sent again, and nothing else.
    (change,) = project.ok("plan", "--format", "json").json["changes"]
    assert change["address"] == "item/handbook/x:1"
    assert state.read_bytes() == before


@EVERY
def test_it_is_applied_on_and_what_it_was_is_kept(project: Folder, remote: Remote, name: str) -> None:
    state = put(project, name)
    version, before = version_of(state), dumped(state)

    project.write("all.yaml", make.FIRST)
    project.ok("apply", "--auto-approve", "--allow", "widened-access")

    sent = {entry["path"].rsplit("/", 1)[1] for entry in remote.requests()} - {"status"}
    assert sent, "the item in doubt, the one that is new and the group that changed"
    assert project.ok("plan", "--exit-code").code == 0
    listed = project.ok("state", "list", "--format", "json").json
    assert [entry["address"] for entry in listed["resources"]] == sorted([*ADDRESSES, "item/handbook/x:2"])
    assert listed["unsettled"] == []
    assert "runs: 4," in project.ok("state", "history", "verify").out
    project.ok("state", "check")
    assert version_of(state) == FORMAT_VERSION

    kept = state.with_name(f"{state.name}.version-{version}")
    if version == FORMAT_VERSION:
        assert not kept.exists()
        return
    assert (version_of(kept), dumped(kept)) == (version, before)
    # Whoever goes back to the reconciler of then finds its state as it was.
    kept.replace(state)
    assert len(project.ok("state", "history", "--format", "json").json["runs"]) == 3


def test_a_snapshot_of_every_version_is_taken_up(project: Folder, remote: Remote) -> None:
    kept = sorted(FORMATS.glob("snapshot-*.json"))
    assert [path.name for path in kept] == [f"snapshot-{n}.json" for n in range(1, snapshot.FORMAT_VERSION + 1)]
    for path in kept:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == SNAPSHOTS[path.stem]
        project.ok("state", "push", str(path), "--force")
        listed = project.ok("state", "list", "--format", "json").json
        assert [entry["address"] for entry in listed["resources"]] == ADDRESSES
        assert listed["unsettled"] == ["item/handbook/x:1"]
    assert remote.requests() == []


def test_one_that_is_newer_is_refused_untouched(project: Folder, remote: Remote) -> None:
    state = put(project, f"version-{FORMAT_VERSION}")
    with closing(sqlite3.connect(state)) as connection:
        connection.executescript(f"PRAGMA user_version = {FORMAT_VERSION + 1}; CREATE TABLE what_comes (x);")
    before = {path.name: path.read_bytes() for path in state.parent.iterdir()}

    for command in (
        ("plan",),
        ("apply", "--auto-approve"),
        ("destroy", "--auto-approve"),
        ("verify",),
        ("drift",),
        ("state", "list"),
        ("state", "pull"),
        ("state", "check"),
        ("state", "history"),
        ("state", "rm", "item/handbook/x:1"),
    ):
        ran = project.ok(*command, code=1)
        assert "error[state-newer-version]" in ran.err, command
    assert remote.requests() == []
    after = {path.name: path.read_bytes() for path in state.parent.iterdir() if path.name != "cache.db"}
    assert {name: text for name, text in after.items() if name in before} == before
