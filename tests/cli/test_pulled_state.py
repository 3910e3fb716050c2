"""`plan --state FILE`: what a snapshot records stands in for the state, which is neither asked nor changed."""

from __future__ import annotations

import pytest

from tests.builders import SOURCE_ID, Folder, Remote

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    folder.ok("state", "pull", "--out", str(folder.root / "state.json"))
    folder.write("all.yaml", MANIFEST.replace("title: B", "title: C"))
    return folder


def out_of_reach(folder: Folder) -> Folder:
    """Point the state where nothing answers, as it is for whoever has no credentials."""
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("target: http", "state: 'postgresql://localhost:1/none', target: http"))
    return folder


def test_a_plan_against_a_snapshot_is_that_against_the_state_it_was_pulled_from(applied: Folder) -> None:
    snapshot = str(applied.root / "state.json")
    wanted = applied.ok("plan", "--format", "json", "--as-of", "2026-01-01").json

    found = out_of_reach(applied).ok("plan", "--format", "json", "--as-of", "2026-01-01", "--state", snapshot).json

    assert [change["name"] for change in found["changes"]] == ["https://example.com/b"]
    assert (found["changes"], found["calls"]) == (wanted["changes"], wanted["calls"])
    assert found["state"] == wanted["state"]


def test_the_state_is_left_as_it_is_and_the_plan_is_applied_to_it(applied: Folder) -> None:
    before = applied.ok("state", "pull").out
    saved = str(applied.root / "plan.json")

    applied.ok("plan", "--state", str(applied.root / "state.json"), "--out", saved)

    assert applied.ok("state", "pull").out == before
    assert len(applied.ok("state", "history", "--format", "json").json["runs"]) == 1
    applied.ok("apply", saved, "--auto-approve")
    assert applied.ok("plan", "--exit-code").code == 0


def test_a_plan_against_an_older_snapshot_is_refused_as_stale(applied: Folder) -> None:
    saved = str(applied.root / "plan.json")
    applied.ok("apply", "--auto-approve")
    applied.ok("plan", "--state", str(applied.root / "state.json"), "--out", saved)

    ran = applied.run("apply", saved, "--auto-approve")

    assert ran.code == 1 and "error[stale-plan]" in ran.err


def test_the_snapshot_of_an_empty_state_plans_everything_as_new(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    folder.ok("state", "pull", "--out", str(folder.root / "state.json"))
    ran = folder.ok("plan", "--state", str(folder.root / "state.json"), "--format", "json")
    assert [change["action"] for change in ran.json["changes"]] == ["create"] * 3


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": 99}'])
def test_what_is_no_snapshot_is_refused_without_a_plan(applied: Folder, text: str) -> None:
    applied.write("broken.json", text)
    ran = applied.run("plan", "--state", str(applied.root / "broken.json"))
    assert ran.code == 1 and ran.err.startswith(str(applied.root / "broken.json")) and ran.out == ""


def test_a_snapshot_of_another_remote_and_one_that_is_not_there_are_refused(applied: Folder) -> None:
    snapshot = applied.root / "state.json"
    other = applied.root / "other.json"
    other.write_text(snapshot.read_text().replace(SOURCE_ID, "elsewhere"))

    assert "error[other-target]" in applied.run("plan", "--state", str(other)).err
    gone = applied.run("plan", "--state", str(applied.root / "none.json"))
    assert gone.code == 2 and "error[no-snapshot]" in gone.err
