"""A project's folder -> its desired state: what is read, what is trusted, what is handed out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.manifest import content, filebase, load, manyfiles, sets, survey
from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.problems import ManifestError

LATER = 10_000_000_000  # as if everything had been read long after it was written
FILES = {
    "reconciler.yaml": "sources: {}\n",
    "a.yaml": "groups:\n  - {name: A, members: [user:a]}\n  - {name: B, members: [group:A]}\n"
    "permissions: {m: {allowed: [group:A]}}\n",
    "b.yaml": "items:\n  - {uri: 'x:1', permissions: m}\n  - {uri: 'x:2', body: {file: c/one.txt}}\n"
    "itemSets:\n  - from: {files: 'c/*.txt'}\n    item: {uri: 'x:{path}'}\n",
    "c/one.txt": "one",
    "c/two.txt": "two",
}


def project(**changes: Any) -> Project:
    values: dict[str, Any] = {
        "environment": Environment("local", "emulator", "local", "state.db"),
        "manifests": ("**/*.yaml",),
        "sources": (Source("s", "1", "shared", "corp"),),
        "providers": (Provider("corp", "p", ("Email",)),),
    }
    return Project(**values | changes)


class Place:
    """A folder with a cache, and a record of what is opened in it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.read: list[str] = []
        self.cache = ManifestCache(root / ".reconciler" / "cache.db", "1")
        for module in (manyfiles, load, survey):
            self._note(module, "read_text", monkeypatch)
        for module in (filebase, sets, content):
            self._note(module, "hash_file", monkeypatch)
        for name, text in FILES.items():
            self.write(name, text)

    def _note(self, module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(module, name)

        def noted(folder: ProjectFolder, file: str, **more: Any) -> Any:
            self.read.append(file)
            return original(folder, file, **more)

        monkeypatch.setattr(module, name, noted)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def load(self, recorded: dict[str, bytes] | None = None, *, later: int = LATER, **changes: Any) -> Loaded:
        self.read.clear()
        return load_manifests(
            project(**changes),
            ProjectFolder(self.root),
            "reconciler.yaml",
            recorded={} if recorded is None else recorded,
            cache=self.cache,
            clock=lambda: time.time_ns() + later,
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, monkeypatch)
    yield made
    made.cache.close()


ADDRESSES = [
    "group/corp/A",
    "group/corp/B",
    "item/s/x:1",
    "item/s/x:2",
    "item/s/x:c/one.txt",
    "item/s/x:c/two.txt",
]


def test_a_second_reading_with_nothing_changed_opens_nothing(place: Place) -> None:
    first = place.load()
    assert first.problems == ()
    assert sorted(first.desired.fingerprints) == ADDRESSES
    assert set(place.read) == set(FILES)
    second = place.load()
    assert place.read == []
    assert second.desired.fingerprints == first.desired.fingerprints
    assert (second.key, second.files) == (first.key, first.files)


def test_what_is_wanted_is_read_again_and_only_its_file(place: Place) -> None:
    place.load()
    loaded = place.load()
    [resource] = loaded.resources(["item/s/x:1", "item/s/nothing"]).values()
    assert place.read == ["b.yaml"]
    assert (orjson.loads(resource.doc), resource.shared_doc()) == (
        {"metadata": {}},
        {"levels": [{"sets": [{"allowed": ["group/corp/A"]}]}]},
    )
    assert resource.fingerprint == loaded.desired.fingerprints["item/s/x:1"]


def test_one_changed_file_is_read_alone(place: Place) -> None:
    before = place.load().desired.fingerprints
    place.write("a.yaml", FILES["a.yaml"].replace("user:a", "user:b"))
    after = place.load(before)
    assert place.read == ["a.yaml"]
    assert {a for a, f in after.desired.fingerprints.items() if before[a] != f} == {"group/corp/A"}
    assert set(after.desired.emitted) == {"group/corp/A"}


def test_a_touched_file_is_read_once(place: Place) -> None:
    place.load()
    os.utime(place.root / "a.yaml")
    place.load()
    assert place.read == ["a.yaml"]
    place.load()
    assert place.read == []


def test_an_edit_in_the_same_instant_and_of_the_same_size_is_seen(place: Place) -> None:
    now = time.time_ns() + LATER
    path = place.root / "a.yaml"
    os.utime(path, ns=(now, now))
    place.load()
    status = path.stat()
    path.write_text(FILES["a.yaml"].replace("user:a", "user:z"))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    [member] = orjson.loads(place.load().resources(["group/corp/A"])["group/corp/A"].doc)["members"]
    assert member == "user/corp/z"


def test_a_row_as_young_as_its_file_is_not_trusted(place: Place) -> None:
    place.load(later=0)
    place.load(later=0)
    assert {"a.yaml", "b.yaml"} <= set(place.read)


@pytest.mark.parametrize("name", ["c/one.txt", "c/two.txt"])
def test_a_changed_content_file_is_hashed_alone(place: Place, name: str) -> None:
    before = place.load().desired.fingerprints
    place.write(name, "ONE")
    after = place.load().desired.fingerprints
    assert set(place.read) == {"b.yaml", name}
    changed = {address for address in after if before[address] != after[address]}
    assert changed == {f"item/s/x:{name}"} | ({"item/s/x:2"} if name == "c/one.txt" else set())


def test_files_that_come_to_a_set_and_leave_it(place: Place) -> None:
    place.load()
    place.write("c/three.txt", "three")
    assert "item/s/x:c/three.txt" in place.load().desired.fingerprints
    assert place.read == ["b.yaml", "c/three.txt"]
    (place.root / "c" / "three.txt").unlink()
    assert sorted(place.load().desired.fingerprints) == ADDRESSES


def test_added_removed_and_moved_entries(place: Place) -> None:
    place.load()
    place.write("a.yaml", "groups:\n  - {name: C, members: []}\n  - {name: A, members: [user:a]}\n")
    place.write("d.yaml", "virtualGroups:\n  - {name: B, members: [group:A]}\npermissions: {m: {anonymous: true}}\n")
    assert {a for a in place.load().desired.fingerprints if "item" not in a} == {
        "group/corp/A",
        "group/corp/C",
        "virtual-group/corp/B",
    }
    (place.root / "d.yaml").unlink()
    assert [problem.code for problem in place.load().problems] == ["unknown-permissions"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sources": (Source("s", "2", "shared", "corp"),)},
        {"providers": (Provider("corp", "p2", ("Email",)),)},
        {"variables": (("v", "1"),)},
    ],
)
def test_other_names_and_variables_read_everything_anew(place: Place, changes: dict[str, Any]) -> None:
    place.load()
    place.load(**changes)
    assert {"a.yaml", "b.yaml", "reconciler.yaml"} <= set(place.read)


def test_other_guardrails_read_nothing(place: Place) -> None:
    place.load()
    place.load(environment=Environment("prod", "", "o", "x"))
    assert place.read == []


def test_a_reference_that_an_edit_took_away_is_forgotten(place: Place) -> None:
    place.load()
    place.write(
        "a.yaml",
        FILES["a.yaml"]
        .replace("[group:A]}\nperm", "[]}\nperm")
        .replace("name: A", "name: Z")
        .replace("[group:A]}}", "[group:Z]}}"),
    )
    assert place.load().problems == ()
    assert place.load().problems == ()
    assert place.read == ["a.yaml"]
    place.load()
    assert place.read == []


def test_a_problem_stays_until_it_is_mended(place: Place) -> None:
    place.write("z.yaml", "groups:\n  - {name: Q, membres: []}\n")
    for _ in range(3):
        assert [problem.code for problem in place.load().problems] == ["missing-key", "unknown-key"]
    place.write("z.yaml", "groups:\n  - {name: Q, members: []}\n")
    assert place.load().problems == ()


def test_a_manifest_that_changes_while_a_plan_is_made(place: Place) -> None:
    loaded = place.load()
    loaded.desired.emitted.clear()
    place.write("a.yaml", FILES["a.yaml"].replace("user:a", "user:b"))
    with pytest.raises(ManifestError) as caught:
        loaded.resources(["group/corp/A"])
    assert caught.value.problems[0].code == "changed-meanwhile"


def test_no_manifest_is_no_wish(place: Place) -> None:
    for name in ("a.yaml", "b.yaml"):
        (place.root / name).unlink()
    with pytest.raises(ManifestError) as caught:
        place.load()
    assert caught.value.problems[0].code == "no-manifests"


def test_the_project_file_alone_may_hold_everything(place: Place) -> None:
    for name in ("a.yaml", "b.yaml"):
        (place.root / name).unlink()
    place.write("reconciler.yaml", "sources: {}\ngroups: [{name: A, members: []}]\n")
    assert list(place.load().desired.fingerprints) == ["group/corp/A"]


def test_a_file_that_becomes_an_ordinary_manifest_is_read_as_one(place: Place) -> None:
    place.load()
    loaded = load_manifests(
        project(),
        ProjectFolder(place.root),
        "a.yaml",
        recorded={},
        cache=place.cache,
        clock=lambda: time.time_ns() + LATER,
    )
    assert [problem.code for problem in loaded.problems] == ["misplaced-section"]


def test_without_a_state_nothing_is_handed_out(place: Place) -> None:
    loaded = load_manifests(
        project(), ProjectFolder(place.root), "reconciler.yaml", recorded=None, cache=ManifestCache(None, "1")
    )
    assert loaded.desired.emitted == {}
    assert sorted(loaded.desired.fingerprints) == ADDRESSES
