"""Finding a project and reading its file, once as long as it stays the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reconciler.manifest import opening
from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.opening import find_project, open_project, read_project
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Source
from reconciler.problems import ManifestError, UsageError


def test_where_a_project_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for missing in (None, "gone"):
        with pytest.raises(UsageError):
            find_project(missing)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "reconciler.yml").write_text("")
    folder, file = find_project(None)
    assert (folder.root, file) == (tmp_path / "manifests", "reconciler.yml")
    (tmp_path / "reconciler.yaml").write_text("")
    folder, file = find_project(str(tmp_path))
    assert (folder.root, file) == (tmp_path, "reconciler.yaml")


def test_sections_of_several_documents_join(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("sources: {a: {id: '1'}}\n---\nvars: {v: 1}\nitems: []\n")
    project = read_project(ProjectFolder(tmp_path), "p", None)
    assert (project.sources, project.variables) == ((Source("a", "1"),), (("v", "1"),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vars: {a: 1}\n---\nvars: {b: 1}\n", ["3:1 repeated-section"]),
        ("vars: {a: 1}\nvars: {b: 1}\n", ["2:1 duplicate-key"]),
        ("vars: {a: [1]}\n", ["1:11 wrong-type"]),
        (
            "environments:\n  local: {target: emulator, tagret: x}\n  prod: {regoin: us, region: moon}\n",
            ["2:29 unknown-key", "3:10 unknown-key", "3:30 bad-value"],
        ),
        ("environments: {local: {target: emulator, apiKey: {env: A, file: b}}}\n", ["1:50 bad-value"]),
        ("guardrails: {deletes: 10}\n", ["1:23 wrong-type"]),
        ("guardrails: {deletes: '10'}\n", ["1:23 bad-value"]),
        ("sources: {'a b': {id: '1'}}\n", ["1:11 bad-value"]),
        ("sources: {a: {id: ''}}\n", ["1:19 bad-value"]),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_project(ProjectFolder(tmp_path), "p", None)
    places = [(found.position, found.code) for found in caught.value.problems]
    assert [f"{position.line}:{position.column} {code}" for position, code in places if position] == said


def test_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reconciler.yaml"
    path.write_text("vars: {v: 1}\nenvironments: {local: {target: emulator}, b: {organization: o}}\n")
    cache = ManifestCache(tmp_path / "cache.db", "1")
    folder = ProjectFolder(tmp_path)

    def later() -> int:
        return time.time_ns() + 10**10

    first = open_project(folder, "reconciler.yaml", None, cache, later)
    other = open_project(folder, "reconciler.yaml", "b", cache, later)
    monkeypatch.setattr(opening, "read_text", None)
    assert open_project(folder, "reconciler.yaml", None, cache, later) == first
    assert open_project(folder, "reconciler.yaml", "b", cache, later) == other != first
    monkeypatch.undo()
    path.write_text(path.read_text().replace("v: 1", "v: 2"))
    assert open_project(folder, "reconciler.yaml", None, cache, later).variables == (("v", "2"),)
    cache.close()
