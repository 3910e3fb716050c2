"""`reconciler access diff --from --to`: who gains and loses sight of what between git revisions of the manifests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.builders import PROJECT, Folder

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///team", permissions: {allowed: [group:Team]}}
  - {uri: "file:///board", permissions: {allowed: [group:Board]}}
  - {uri: "http://post", source: blog}
groups:
  - {name: Team, members: [user:alice@example.com]}
  - {name: Board, members: [user:dora@example.com]}
"""
JOINED = MANIFEST.replace("[user:alice@example.com]", "[user:alice@example.com, user:bob@example.com]")


class Repository:
    """A git repository with a project in a folder of it."""

    def __init__(self, root: Path, folder: str = "config") -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.project = Folder(root / folder)

    def git(self, *arguments: str, data: bytes | None = None) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        ran = subprocess.run(
            ["git", *named, "-C", str(self.root), *arguments], input=data, capture_output=True, check=True
        )
        return ran.stdout.decode().strip()

    def commit(self, *, tag: str = "") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "m", "--allow-empty")
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")

    def diff(self, *options: str) -> Any:
        return self.project.ok("access", "diff", *options, "--format", "json").json

    def refused(self, *options: str, code: int = 2) -> str:
        return self.project.ok("access", "diff", *options, code=code).err


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A project of two revisions: `one`, and `two`, where bob joined the team."""
    made = Repository(tmp_path / "repository")
    made.project.write("all.yaml", MANIFEST)
    made.commit(tag="one")
    made.project.write("all.yaml", JOINED)
    made.commit(tag="two")
    return made


def gained(document: Any) -> list[tuple[list[str], list[str]]]:
    return [(entry["examples"], entry["identities"]) for entry in document["gained"]]


TEAM, BOARD = ["item/handbook/file:///team"], ["item/handbook/file:///board"]
BOB = ["user/corp/bob@example.com"]


def test_between_two_revisions(repository: Repository) -> None:
    found = repository.diff("--from", "one", "--to", "two")
    assert gained(found) == [(TEAM, BOB)]
    assert (found["lost"], found["totals"]["pairs_gained"]) == ([], 1)
    commits = [repository.git("rev-parse", "--short=12", name) for name in ("one", "two")]
    assert [found["from"], found["to"]] == [f"one ({commits[0]})", f"two ({commits[1]})"]
    back = repository.diff("--from", "two", "--to", "one")
    assert ([entry["identities"] for entry in back["lost"]], back["gained"]) == ([BOB], [])


def test_from_a_revision_to_the_manifests_as_they_are(repository: Repository) -> None:
    repository.project.write("all.yaml", JOINED.replace("[user:dora@example.com]", "[user:eve@example.com]"))
    found = repository.diff("--from", "two")
    assert gained(found) == [(BOARD, ["user/corp/eve@example.com"])]
    assert [entry["identities"] for entry in found["lost"]] == [["user/corp/dora@example.com"]]
    text = repository.project.ok("access", "diff", "--from", "two").out
    commit = repository.git("rev-parse", "--short=12", "two")
    assert text.startswith(f"From two ({commit}) to what the manifests ask for:\n1 user gains sight of 1 item")
    page = repository.project.ok("access", "diff", "--from", "two", "--format", "html").out
    assert f"two ({commit})" in page


def test_from_the_state_to_a_revision(repository: Repository) -> None:
    found = repository.diff("--to", "one")
    assert (found["from"], found["totals"]["items_gained"]) == ("recorded", 3)
    assert repository.diff()["to"] == "desired"


def test_a_project_at_the_root_of_its_repository(tmp_path: Path) -> None:
    made = Repository(tmp_path / "repository", ".")
    made.project.write("all.yaml", MANIFEST)
    commit = made.commit()
    made.project.write("all.yaml", JOINED)
    assert gained(made.diff("--from", commit)) == [(TEAM, BOB)]
    assert made.diff("--from", commit)["from"] == commit


def test_content_and_rows_come_along_as_committed(repository: Repository) -> None:
    repository.project.write(
        "sets.yaml",
        "defaults: {source: handbook, provider: corp}\n"
        "itemSets:\n  - from: {csv: data/rows.csv}\n"
        "    item: {uri: 'file:///{row.id}', permissions: {allowed: ['user:{row.who}']}}\n",
    )
    repository.project.write("data/rows.csv", "id,who\nx1,alice@example.com\n")
    repository.commit(tag="rows")
    repository.project.write("data/rows.csv", "id,who\nx1,dora@example.com\n")
    found = repository.diff("--from", "rows")
    assert gained(found) == [(["item/handbook/file:///x1"], ["user/corp/dora@example.com"])]


def test_what_git_ignores_is_not_there_and_is_told(repository: Repository) -> None:
    repository.root.joinpath(".gitignore").write_text("*.csv\n")
    repository.project.write("data/rows.csv", "id\nx1\n")
    repository.project.write(
        "sets.yaml",
        "itemSets: [{from: {csv: data/rows.csv}, item: {uri: 'file:///{row.id}', source: blog}}]\n",
    )
    repository.commit(tag="ignored")
    said = repository.refused("--from", "ignored", code=1)
    assert "ignored:config/sets.yaml:1:" in said
    assert 'revision "ignored" holds only what was committed, not what git ignores' in said


def test_submodules_are_not_read_and_that_is_told(repository: Repository) -> None:
    assert repository.project.ok("access", "diff", "--from", "two").err == ""
    entry = f"160000,{repository.git('rev-parse', 'HEAD')},config/shared"
    repository.git("update-index", "--add", "--cacheinfo", entry)
    repository.git("commit", "--quiet", "--message", "m")
    repository.git("tag", "three")
    warned = repository.project.ok("access", "diff", "--from", "three").err
    assert 'warning[submodules-not-read]: of revision "three"' in warned and "are not read: shared" in warned


def test_manifests_that_are_wrong_there_are_told_with_the_revision(repository: Repository) -> None:
    repository.project.write("all.yaml", MANIFEST.replace("members:", "mebmers:", 1))
    repository.commit(tag="wrong")
    repository.project.write("all.yaml", MANIFEST)
    said = repository.refused("--from", "wrong", code=1)
    assert "wrong:config/all.yaml:8:18: error[unknown-key]" in said
    asked = repository.project.run("access", "diff", "--from", "wrong", "--format", "json")
    assert asked.code == 1 and asked.json["problems"][0]["file"].startswith("wrong:config/")


@pytest.mark.parametrize(
    ("revision", "code"),
    [
        ("nothing", "unknown-revision"),
        ("--output=x", "unknown-revision"),
        ("HEAD:config", "unknown-revision"),
        ("", "unknown-revision"),
    ],
)
def test_what_is_no_revision_is_told(repository: Repository, revision: str, code: str) -> None:
    assert f"error[{code}]: " in repository.refused(f"--from={revision}")
    assert not (repository.root / "x").exists()


def test_a_revision_without_the_project_is_told(tmp_path: Path) -> None:
    made = Repository(tmp_path / "repository")
    (made.root / "config" / "reconciler.yaml").rename(made.root / "kept")
    made.commit(tag="empty")
    made.project.write("notes.txt", "none yet")
    made.commit(tag="early")
    (made.root / "kept").rename(made.root / "config" / "reconciler.yaml")
    made.project.write("all.yaml", MANIFEST)
    for revision, says in (("empty", 'no folder "config"'), ("early", "no reconciler.yaml there")):
        said = made.refused("--from", revision)
        assert "error[project-not-in-revision]" in said and says in said


def test_an_environment_that_was_not_there_is_told(repository: Repository) -> None:
    project = repository.project.root / "reconciler.yaml"
    project.write_text(PROJECT.replace("guardrails:", "  new: {target: emulator}\nguardrails:"))
    said = repository.refused("-e", "new", "--from", "one")
    assert "error[unknown-environment]" in said and "one (" in said


def test_a_folder_in_no_repository_is_told(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    said = folder.ok("access", "diff", "--from", "HEAD", code=2).err
    assert "error[no-repository]" in said


def test_no_program_of_the_repository_runs_and_nothing_is_written(repository: Repository) -> None:
    trap, caught = repository.root / "trap.sh", repository.root.parent / "caught"
    trap.write_text(f"#!/bin/sh\ntouch {caught}\ncat\n")
    trap.chmod(0o755)
    repository.root.joinpath(".gitattributes").write_text(
        "*.yaml filter=trap diff=trap export-subst\nall.yaml export-ignore\n"
    )
    repository.project.write("all.yaml", JOINED.replace("file:///team", "file:///$Format:%H$"))
    commit = repository.commit()
    for key, value in (
        ("filter.trap.smudge", str(trap)),
        ("filter.trap.process", str(trap)),
        ("diff.trap.textconv", str(trap)),
        ("core.fsmonitor", str(trap)),
        ("core.hooksPath", str(repository.root)),
    ):
        repository.git("config", key, value)
    caught.unlink(missing_ok=True)
    before = snapshot(repository.root)

    found = repository.diff("--from", "two", "--to", commit)

    assert [entry["examples"] for entry in found["gained"]] == [["item/handbook/file:///$Format:%H$"]]
    assert not caught.exists()
    assert snapshot(repository.root) == before


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in root.rglob("*") if path.is_file() and ".reconciler" not in path.parts)
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_link_out_of_the_project_leads_nowhere(repository: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("id\nx1\n")
    (repository.project.root / "rows.csv").symlink_to(secret)
    repository.project.write(
        "sets.yaml", "itemSets: [{from: {csv: rows.csv}, item: {uri: 'file:///{row.id}', source: blog}}]\n"
    )
    repository.commit(tag="linked")
    (repository.project.root / "rows.csv").unlink()
    repository.project.write("rows.csv", "id\nx2\n")
    said = repository.refused("--from", "linked", code=1)
    assert "linked:config/sets.yaml" in said and "x1" not in said


def test_a_tree_that_leads_out_of_itself_is_refused(repository: Repository) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", data=b"x")
    inner = repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", data=entry("100644", "f", blob))
    outer = repository.git(
        *("hash-object", "-t", "tree", "-w", "--literally", "--stdin"), data=entry("40000", "..", inner)
    )
    top = repository.git("mktree", data=f"040000 tree {outer}\tconfig\n".encode())
    commit = repository.git("commit-tree", top, "-m", "m")
    assert "error[revision-unreadable]" in repository.refused("--from", commit)


def entry(mode: str, name: str, object_name: str) -> bytes:
    return f"{mode} {name}".encode() + b"\0" + bytes.fromhex(object_name)


def test_content_that_the_repository_lacks_is_told_and_not_fetched(repository: Repository) -> None:
    blob = repository.git("rev-parse", "one:config/all.yaml")
    (repository.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    said = repository.refused("--from", "one")
    assert "error[revision-unreadable]" in said and 'the content of "all.yaml" is not in the repository' in said


def test_a_partial_clone_fetches_nothing(repository: Repository, tmp_path: Path) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    copy = tmp_path / "partial"
    repository.git("clone", "--quiet", "--filter=blob:none", f"file://{repository.root}", str(copy))
    said = Folder(copy / "config").ok("access", "diff", "--from", "HEAD~1", code=2).err
    assert "error[revision-unreadable]" in said
    missing = repository.git("-C", str(copy), "rev-list", "--objects", "--all", "--missing=print")
    assert "\n?" in f"\n{missing}"


def test_a_source_that_opens_is_told_item_by_item(repository: Repository) -> None:
    project = repository.project.root / "reconciler.yaml"
    project.write_text(PROJECT.replace("visibility: secured", "visibility: shared"))
    found = repository.diff("--from", "two")
    assert {entry["name"] for entry in found["hazards"]} >= {"item-public"}
    assert found["totals"]["items_gained"] == 2
    back = repository.diff("--from", "desired", "--to", "two")
    assert back["totals"]["items_lost"] == 2


def test_names_are_read_as_the_later_side_has_them(repository: Repository) -> None:
    # Until then the provider took both for one; now nobody is left in what the item names.
    repository.project.write("all.yaml", MANIFEST.replace("allowed: [group:Team]", "allowed: [user:ALICE@example.com]"))
    repository.commit(tag="insensitive")
    project = repository.project.root / "reconciler.yaml"
    project.write_text(PROJECT.replace("corp: {id", "corp: {caseSensitive: true, id"))
    assert repository.diff("--from", "insensitive")["totals"]["pairs_lost"] == 0
    viewers = repository.project.ok("access", "who", "file:///team", "--format", "json").json["viewers"]
    assert viewers == []


def test_the_cache_of_the_manifests_is_not_mixed_up(repository: Repository) -> None:
    repository.project.ok("plan")
    known = repository.diff("--from", "one")
    assert gained(known) == [(TEAM, BOB)]
    assert repository.diff("--from", "one") == known
    assert repository.diff("--from", "two")["gained"] == []
    assert not [name for name in os.listdir(repository.project.root / ".reconciler") if "revision" in name]
