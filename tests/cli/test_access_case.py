"""Names that differ in case alone: manifests, evaluation and emulator agree on whether they are one identity."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from reconciler.emulator.options import Doubts, ProviderOptions
from tests.builders import PROVIDER_ID, SOURCE_ID, Folder, Remote, start_remote

# Each group once in the manifests; what names them spells them otherwise.
MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///by-group", permissions: {allowed: [group:Team]}}
  - {uri: "file:///by-name", permissions: {allowed: [user:ALICE, user:bob]}}
  - {uri: "file:///denied", permissions: {allowed: [group:Team], denied: [user:BOB]}}
groups:
  - {name: Team, members: [user:alice, user:Bob]}
users: [{name: alice}, {name: Bob}]
"""
ITEMS = ("by-group", "by-name", "denied")
PEOPLE = ("alice", "ALICE", "bob", "Bob", "BOB")


@pytest.mark.parametrize("strict", [False, True])
def test_the_emulator_and_the_evaluation_agree(folder: Folder, strict: bool) -> None:
    project = folder.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("corp: {id", f"corp: {{caseSensitive: {str(strict).lower()}, id"))
    # Where case counts nobody declared BOB, and what denies such a one is hidden.
    folder.write("all.yaml", MANIFEST)
    doubts = Doubts(unresolved_deny_hides_item=True)
    with start_remote(providers=(ProviderOptions(PROVIDER_ID, case_sensitive=strict),), doubts=doubts) as remote:
        folder.at(remote).ok("apply", "--auto-approve")
        for item in ITEMS:
            for person in PEOPLE:
                asked = ("access", "why", f"user:{person}", f"file:///{item}", "--format", "json")
                ours = folder.ok(*asked).json["allowed"]
                # The emulator lets in whoever logs in as an allowed name, resolved or not.
                named = strict and item == "by-name" and person in ("ALICE", "bob")
                assert (ours or named) == seen(remote, person, item), (item, person)
    assert (
        (folder.ok("access", "why", "user:ALICE", "file:///by-group", "--format", "json").json["allowed"]) is not strict
    )


def seen(remote: Remote, person: str, item: str) -> bool:
    asked = {"provider": PROVIDER_ID, "type": "USER", "name": person}
    answer = httpx.get(f"{remote.url}/_emulator/visible", params=asked, trust_env=False)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return {"source": SOURCE_ID, "uri": f"file:///{item}"} in found


def test_the_embedded_emulator_is_set_up_as_the_project_says(folder: Folder) -> None:
    project = folder.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("corp: {id", "corp: {caseSensitive: true, id"))
    folder.write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    ran = folder.ok("access", "who", "file:///by-group", "--of", "remote", "--format", "json")
    assert ran.json["viewers"] == ["user:Bob", "user:alice"]
    assert "case-sensitivity" not in ran.err
    assert folder.ok("access", "why", "user:bob", "file:///by-group", "--format", "json").json["allowed"] is False


def test_an_environment_may_have_it_otherwise(folder: Folder) -> None:
    project = folder.root / "reconciler.yaml"
    project.write_text(
        project.read_text().replace(
            "guardrails:", "  strict: {target: emulator, providers: {corp: {caseSensitive: true}}}\nguardrails:"
        )
    )
    folder.write("all.yaml", MANIFEST)
    asked = ("access", "why", "user:BOB", "file:///by-group", "--format", "json")
    assert folder.ok("-e", "local", *asked).json["allowed"] is True
    assert folder.ok("-e", "strict", *asked).json["allowed"] is False


def test_another_spelling_of_what_is_there_does_not_disable_it(folder: Folder, remote: Remote) -> None:
    folder.write("all.yaml", MANIFEST)
    folder.at(remote).ok("apply", "--auto-approve")
    folder.write("all.yaml", MANIFEST.replace("name: Team", "name: TEAM"))
    since = remote.total

    ran = folder.ok("apply", "--auto-approve", code=1)

    assert remote.total == since
    assert 'error[respelled]: "group/corp/Team" would be deleted, and "group/corp/TEAM" is the same identity' in ran.err
    project = folder.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("corp: {id", "corp: {caseSensitive: true, id"))
    folder.write("all.yaml", MANIFEST.replace("Team", "TEAM"))
    assert "respelled" not in folder.run("plan").out
