"""What is wrong between files is told where it stands, and only when a text bears it out."""

from __future__ import annotations

from pathlib import Path

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import load_manifests
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source

PROJECT = Project(
    Environment("local", "emulator", "local", "x"),
    ("*.yaml",),
    (Source("s", "1", "shared", "corp"),),
    (Provider("corp", "p", ("Email",)), Provider("other", "o")),
    (("team", "Ghost"),),
)


def problems(root: Path, **files: str) -> list[str]:
    (root / "reconciler.yaml").write_text("sources: {}\n")
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text)
    loaded = load_manifests(PROJECT, ProjectFolder(root), "reconciler.yaml", recorded={}, cache=ManifestCache(None, ""))
    return [
        f"{found.position} {found.code}" + "".join(f" {other.position}" for other in found.related)
        for found in loaded.problems
    ]


def test_a_group_is_unknown_only_in_its_own_provider(tmp_path: Path) -> None:
    text = (
        "groups:\n  - {name: A, provider: other, members: []}\nitems:\n"
        "  - {uri: 'x:1', permissions: {allowed: [{group: A, provider: other}]}}\n"
        "  - {uri: 'x:2', permissions: {allowed: [{group: A, provider: corp}]}}\n"
        "  - {uri: 'x:3', permissions: {allowed: ['group:A']}}\n"
        "  - {uri: 'x:4', permissions: {allowed: [{group: Z, provider: Email}]}}\n"
    )
    assert problems(tmp_path, a=text) == ["a.yaml:5:50 unknown-group", "a.yaml:6:42 unknown-group"]


def test_names_in_every_section_and_form(tmp_path: Path) -> None:
    text = (
        "defaults: {provider: corp}\n"
        "groups: [{name: A, members: ['virtualGroup:No']}]\n"
        "users: [{name: u, wellKnowns: ['group:No']}]\n"
        "permissions:\n  m: {levels: [[{denied: ['GROUP:No']}]]}\n"
        "  w: [{PermissionSets: [{DeniedPermissions: [{Identity: No, IdentityType: Group}]}]}]\n"
        "aliases: [{of: 'group:No', is: [{provider: Email, identity: 'user:x'}]}]\n"
        "items: [{uri: 'x:1', permissions: {allowed: ['group:${team}']}}]\n"
    )
    assert problems(tmp_path, a=text) == [
        "a.yaml:2:30 unknown-group",
        "a.yaml:3:32 unknown-group",
        "a.yaml:5:27 unknown-group",
        "a.yaml:6:57 unknown-group",
        "a.yaml:7:16 unknown-group",
        "a.yaml:8:46 unknown-group",
    ]


def test_duplicates_of_every_kind(tmp_path: Path) -> None:
    a = (
        "defaults: {provider: corp}\ngroups: [{name: A, members: []}]\n"
        "permissions: {m: {anonymous: true}}\nusers: [{name: u}, {name: u}]\n"
    )
    b = (
        "defaults: {provider: corp}\ngroups:\n  - name: A\n    members: []\npermissions:\n  m: {anonymous: true}\n"
        "aliases:\n  - {of: 'user:u', is: [{provider: Email, identity: 'user:x'}]}\n"
        "  - {is: [{provider: Email, identity: 'user:y'}], of: {user: u}}\n"
    )
    assert problems(tmp_path, a=a, b=b) == [
        "a.yaml:4:27 duplicate a.yaml:4:16",
        "b.yaml:3:11 duplicate a.yaml:2:17",
        "b.yaml:6:3 duplicate a.yaml:3:15",
        "b.yaml:9:55 duplicate b.yaml:8:10",
    ]


def test_rows_that_clash_with_items_are_shown_at_the_set(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id\n1\n2\n1\n")
    text = "items: [{uri: 'x:2'}]\nitemSets:\n  - from: {csv: r.csv}\n    item: {uri: 'x:{id}'}\n"
    assert problems(tmp_path, a=text) == [
        "a.yaml:4:17 duplicate a.yaml:4:17",
        "a.yaml:4:17 duplicate a.yaml:1:15",
    ]


def test_documents_and_whole_files(tmp_path: Path) -> None:
    text = (
        "groups:\n- {name: &n A, provider: corp, members: []}\n---\n"
        "{groups: [{name: A, provider: corp, members: ['group:Z']}]}\n"
    )
    assert problems(tmp_path, a=text) == ["a.yaml:4:18 duplicate a.yaml:2:13", "a.yaml:4:47 unknown-group"]
