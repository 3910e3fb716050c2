"""`import` from a live remote: what it shows becomes manifests and a state that agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml_rs

from tests.builders import EMAIL, KEY, ORGANIZATION, SOURCE_ID, Folder, Remote, start_remote

MANIFEST = f"""
defaults: {{source: handbook, provider: corp}}
permissions:
  not-bob: {{allowed: [group:Team], denied: [user:bob@example.com]}}
  board-first:
    levels:
      - {{name: board, sets: [{{allowed: [group:Board]}}]}}
      - {{name: team, sets: [{{allowed: [group:Team]}}, {{allowed: [group:Cleared]}}]}}
items:
  - uri: "file:///alpha"
    title: Alpha
    permissions: not-bob
    body: {{text: Secret words}}
    metadata: {{topic: a, n: 7}}
  - {{uri: "file:///beta", permissions: not-bob, clickableUri: "https://example.com/b", permanentId: mine}}
  - {{uri: "file:///board", permissions: board-first}}
  - {{uri: "file:///child", parent: "file:///alpha", permissions: {{anonymous: true}}}}
  - {{uri: "http://post", source: blog, metadata: {{title: Post, day: "2026-01-02T03:04:05Z"}}}}
groups:
  - {{name: Team, members: [user:alice@example.com, user:bob@example.com, group:Inner]}}
  - {{name: Inner, members: [user:carol@example.com]}}
  - {{name: Board, members: []}}
  - {{name: Cleared, members: [user:carol@example.com]}}
virtualGroups:
  - {{name: All, members: [group:Team]}}
users:
  - {{name: alice@example.com}}
  - {{name: bob@example.com}}
  - {{name: dora@example.com, wellKnowns: [group:Board]}}
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: user:alice@mail.example}}]
"""


@pytest.fixture
def adopting(folder: Folder, remote: Remote, tmp_path: Path) -> Iterator[Folder]:
    """A project without manifests, of a remote that another one fed."""
    folder.at(remote).write("reconciler.yaml", (folder.root / "reconciler.yaml").read_text() + "fields: create\n")
    folder.write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    yield Folder(tmp_path / "adopting").at(remote)


def taken(folder: Folder, *arguments: str, code: int = 0) -> Any:
    return folder.ok("import", "--out", str(folder.root / "live"), *arguments, code=code)


def manifest(folder: Folder, name: str) -> Any:
    return yaml_rs.loads((folder.root / "live" / name).read_text(), parse_datetime=False)


def test_what_is_imported_is_planned_as_nothing(adopting: Folder, remote: Remote) -> None:
    since = remote.total
    ran = taken(adopting, "--state")

    assert "Imported 5 items, 4 groups, 1 virtual group" in ran.out
    assert "note: 5 x items whose body, file extension and metadata without a field cannot be read back" in ran.err
    adopting.ok("validate")
    assert "No changes." in adopting.ok("plan", "--exit-code").out
    changing = [entry for entry in remote.requests(since) if "/push/" in entry["path"]]
    assert changing == []


def test_the_manifests_say_what_the_remote_shows(adopting: Folder) -> None:
    taken(adopting)
    handbook = manifest(adopting, "items-handbook.yaml")
    items = {entry["uri"]: entry for entry in handbook["items"]}
    assert handbook["permissions"] == {"handbook-Team": {"allowed": ["group:Team"], "denied": ["user:bob@example.com"]}}
    assert items["file:///alpha"] == {
        "uri": "file:///alpha",
        "title": "Alpha",
        "permissions": "handbook-Team",
        "metadata": {"n": 7, "topic": "a"},
    }
    assert (items["file:///beta"]["permanentId"], items["file:///beta"]["clickableUri"]) == (
        "mine",
        "https://example.com/b",
    )
    assert items["file:///child"]["parent"] == "file:///alpha"
    assert items["file:///board"]["permissions"]["levels"][0] == {
        "name": "board",
        "sets": [{"allowed": ["group:Board"]}],
    }
    identities = manifest(adopting, "identities-corp.yaml")
    groups = {entry["name"]: entry["members"] for entry in identities["groups"]}
    assert groups["Team"] == ["group:Inner", "user:alice@example.com", "user:bob@example.com"]
    assert groups["Board"] == ["user:dora@example.com"], "a well-known shows as a member"
    assert identities["aliases"] == [
        {"of": "user:alice@example.com", "is": [{"provider": EMAIL, "identity": "user:alice@mail.example"}]}
    ]
    (post,) = manifest(adopting, "items-blog.yaml")["items"]
    assert post["title"] == "Post"
    assert post["metadata"]["day"].startswith("2026-01-02")


def test_an_update_that_would_lose_a_body_must_be_allowed_by_name(adopting: Folder, remote: Remote) -> None:
    taken(adopting, "--state")
    path = adopting.root / "live" / "items-handbook.yaml"
    path.write_text(path.read_text().replace("title: Alpha", "title: Renamed"))

    blocked = adopting.ok("apply", "--auto-approve", code=1)
    assert "error[hazard-unread-body]" in blocked.err
    assert "file:///alpha" in adopting.ok("plan").out

    text = path.read_text().replace("title: Renamed", "title: Renamed\n    body: {text: Written anew}")
    path.write_text(text)
    adopting.ok("apply", "--auto-approve")
    path.write_text(text.replace("title: Renamed", "title: Again"))
    adopting.ok("apply", "--auto-approve")


def test_a_rename_that_would_lose_a_body_must_be_allowed_by_name(adopting: Folder) -> None:
    taken(adopting, "--state")
    path = adopting.root / "live" / "items-blog.yaml"
    path.write_text(path.read_text().replace("http://post", "http://new"))
    adopting.write("moved.yaml", "moved: [{from: http://post, to: http://new, source: blog}]\n")
    assert "error[hazard-unread-body]" in adopting.ok("apply", "--auto-approve", code=1).err


def test_drift_and_verify_agree_with_what_was_imported(adopting: Folder) -> None:
    taken(adopting, "--state")
    adopting.ok("drift")
    adopting.ok("verify", "--all")
    assert "No changes." in adopting.ok("plan", "--exit-code").out


def test_what_was_pushed_by_us_since_is_no_import_any_more(adopting: Folder) -> None:
    taken(adopting, "--state")
    path = adopting.root / "live" / "items-handbook.yaml"
    path.write_text(path.read_text().replace("title: Alpha", "title: Renamed"))
    adopting.ok("apply", "--auto-approve", "--allow", "unread-body")
    path.write_text(path.read_text().replace("title: Renamed", "title: Again"))
    adopting.ok("apply", "--auto-approve")


def test_one_source_brings_its_provider_and_no_other_source(adopting: Folder) -> None:
    taken(adopting, "--source", "handbook")
    names = sorted(path.name for path in (adopting.root / "live").iterdir())
    assert names == ["identities-corp.yaml", "items-handbook.yaml"]


def test_a_model_with_a_name_says_its_provider_where_there_are_several(adopting: Folder) -> None:
    project = adopting.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("providers:", "providers:\n  other: {id: other-id}", 1))
    taken(adopting, "--source", "handbook", "--state")

    assert manifest(adopting, "items-handbook.yaml")["defaults"] == {"source": "handbook", "provider": "corp"}
    assert "No changes." in adopting.ok("plan", "--exit-code").out


def test_without_state_nothing_is_recorded(adopting: Folder) -> None:
    taken(adopting)
    assert "nothing is recorded yet" in adopting.ok("state", "list").err


def test_what_is_recorded_already_stays_as_it_is(adopting: Folder) -> None:
    taken(adopting, "--state")
    before = adopting.ok("state", "show", "group/corp/Team").out
    taken(adopting, "--state", "--force")
    assert adopting.ok("state", "show", "group/corp/Team").out == before


def test_a_group_that_is_named_and_was_never_pushed_is_what_the_next_plan_creates(
    adopting: Folder, remote: Remote
) -> None:
    answer = httpx.put(
        f"{remote.url}/push/v1/organizations/{ORGANIZATION}/sources/{SOURCE_ID}/documents",
        params={"documentId": "file:///ghost"},
        json={"permissions": [{"allowedPermissions": [{"identity": "Ghost", "identityType": "Group"}]}]},
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    )
    assert answer.status_code == 202
    remote.flush()

    ran = taken(adopting, "--state")

    assert "note: 1 x groups that are named and were never pushed, so the next plan creates them empty" in ran.err
    changes = adopting.ok("plan", "--format", "json").json["changes"]
    assert [(change["action"], change["address"]) for change in changes] == [("create", "group/corp/Ghost")]


def test_a_source_that_the_remote_does_not_know_is_told_and_nothing_is_written(folder: Folder) -> None:
    with start_remote(sources=()) as empty:
        folder.at(empty)
        ran = taken(folder, "--source", "blog", code=4)
    assert "error[" in ran.err
    assert not (folder.root / "live").exists()


def test_documents_are_not_recorded(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{}")
    ran = taken(folder, "--bodies", str(tmp_path / "one.json"), "--state", code=2)
    assert "error[nothing-to-record]" in ran.err
