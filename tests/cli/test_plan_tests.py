"""Access tests in plans: every plan that is made from manifests runs them, and one that fails stops an apply."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from reconciler.rendering.plan_schema import plan_schema
from tests.builders import Folder, Remote, run_here

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: file:///alpha/1, permissions: {allowed: [group:AlphaTeam], denied: [user:bob@example.com]}}
  - {uri: file:///alpha/2, permissions: {allowed: [group:AlphaTeam]}}
  - {uri: "http://post", source: blog, title: Post}
groups:
  - {name: AlphaTeam, members: [user:alice@example.com, user:bob@example.com, group:Inner]}
  - {name: Inner, members: [user:carol@example.com]}
"""

HOLDS = "accessTests: [{who: user:alice@example.com, canView: ['file:///alpha/*']}]\n"
FAILS = """accessTests:
  - {who: user:alice@example.com, canView: ["file:///alpha/*"]}
  - {who: user:carol@example.com, cannotView: ["file:///alpha/**"]}
"""

WHAT = "user:carol@example.com sees file:///alpha/1 of handbook; and 1 more pair of somebody and an item that they see"
WHY = (
    "level 1 decides: all of its sets let them in; set 1 allows group:AlphaTeam (corp), "
    "for user:carol@example.com (corp) member of group:Inner (corp), "
    "group:Inner (corp) member of group:AlphaTeam (corp)."
)


def told(folder: Folder, tests: str) -> Folder:
    folder.write("all.yaml", MANIFEST)
    folder.write("tests.yaml", f"defaults: {{provider: corp}}\n{tests}")
    return folder


def test_tests_that_hold_are_counted(folder: Folder) -> None:
    told(folder, HOLDS)
    assert "\n\n1 access test holds.\n\n" in folder.ok("plan").out
    assert "\n\n1 access test holds.\n\n" in folder.ok("plan", "--format", "markdown").out
    assert folder.ok("plan", "--format", "json").json["access"]["tests"] == {"run": 1, "failed": 0}


def test_a_failure_names_its_line_the_item_the_person_and_the_chain(folder: Folder) -> None:
    ran = told(folder, FAILS).ok("plan", code=1)
    assert "\n\n1 of 2 access tests fails.\n\n" in ran.out
    assert f"tests.yaml:4:5: error[access-test-failed]: {WHAT}\n  why: {WHY}\n" in ran.out
    assert ran.out.splitlines()[-1].startswith("Plan: 5 to create, 0 to update, 0 to delete, 0 unchanged;")
    assert "**1 of 2 access tests fails.**" in folder.ok("plan", "--format", "markdown", code=1).out


def test_a_failure_in_json(folder: Folder) -> None:
    document = told(folder, FAILS).ok("plan", "--format", "json", code=1).json
    jsonschema.validate(document, plan_schema())
    assert document["access"]["tests"] == {"run": 2, "failed": 1}
    (problem,) = document["problems"]
    assert (problem["code"], problem["severity"]) == ("access-test-failed", "error")
    assert (problem["file"], problem["line"], problem["column"]) == ("tests.yaml", 4, 5)
    assert (problem["what"], problem["why"]) == (WHAT, WHY)


def test_who_is_denied_is_told_by_what(folder: Folder) -> None:
    ran = told(folder, "accessTests: [{who: user:bob@example.com, canView: [file:///alpha/1]}]\n").ok("plan", code=1)
    assert "user:bob@example.com does not see file:///alpha/1 of handbook\n" in ran.out
    assert "why: level 1 decides: it keeps them out; set 1 denies user:bob@example.com (corp)" in ran.out


def test_a_test_of_nothing_fails(folder: Folder) -> None:
    ran = told(folder, "accessTests: [{who: user:alice@example.com, canView: ['x:*']}]\n").ok("plan", code=1)
    assert "error[access-test-failed]: no item matches x:*: it tests nothing\n" in ran.out
    assert "why: a test of nothing holds whatever changes.\n" in ran.out


def test_whom_nobody_declared_is_noted(folder: Folder) -> None:
    ran = told(folder, "accessTests: [{who: user:cralo@example.com, cannotView: ['file:///alpha/*']}]\n").ok("plan")
    assert "1 access test holds." in ran.out
    assert "tests.yaml:2:15: note[access-test-unknown]: user:cralo@example.com is declared nowhere\n" in ran.out


def test_an_apply_refuses_and_sends_nothing(folder: Folder, remote: Remote) -> None:
    told(folder, FAILS).at(remote)
    since = remote.total
    ran = folder.ok("apply", "--auto-approve", code=1)
    assert f"tests.yaml:4:5: error[access-test-failed]: {WHAT}" in ran.err
    assert "access-test-failed" not in ran.out, "what stops it is told once"
    assert "1 of 2 access tests fails." in ran.out
    assert remote.total == since

    told(folder, HOLDS).ok("apply", "--auto-approve")
    assert remote.total > since


def test_a_saved_plan_tells_them_and_is_refused_alike(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    told(folder, FAILS).at(remote)
    saved = tmp_path / "plan.json"
    planned = folder.ok("plan", "--out", str(saved), code=1)
    assert run_here("show", str(saved)).out == planned.out
    since = remote.total
    assert "error[access-test-failed]" in folder.ok("apply", str(saved), "--auto-approve", code=1).err
    assert remote.total == since


def test_a_saved_plan_runs_no_tests_of_its_own(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    """It was reviewed as it is; what the manifests have come to say since is of the next plan."""
    told(folder, HOLDS).at(remote)
    saved = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(saved))
    told(folder, FAILS)
    assert "1 access test holds." in folder.ok("apply", str(saved), "--auto-approve").out


@pytest.mark.parametrize(("tests", "code"), [(HOLDS, 0), (FAILS, 1)])
def test_a_second_plan_says_the_same(folder: Folder, tests: str, code: int) -> None:
    first = told(folder, tests).ok("plan", "--format", "json", code=code).out
    assert folder.ok("plan", "--format", "json", code=code).out == first
    # A comment before them moves their lines, and nothing else.
    folder.write("tests.yaml", f"# Moved.\ndefaults: {{provider: corp}}\n{tests}")
    moved = folder.ok("plan", "--format", "json", code=code).json
    assert [entry["line"] for entry in moved["problems"]] == [5] * code
    assert folder.ok("plan", "--format", "json", code=code).json == moved


def test_they_run_where_nothing_changes(folder: Folder, remote: Remote) -> None:
    told(folder, "users: []\n").at(remote).ok("apply", "--auto-approve")
    ran = told(folder, FAILS).ok("plan", code=1)
    assert "No changes." in ran.out and "error[access-test-failed]" in ran.out
    folder.ok("apply", "--auto-approve", code=1)


def test_a_narrowed_plan_is_held_against_all_that_is_asked_for(folder: Folder) -> None:
    told(folder, FAILS)
    for narrowed in (("--target", "item/blog/http://post"), ("--source", "blog")):
        document = folder.ok("plan", *narrowed, "--format", "json", code=1).json
        assert document["summary"]["create"] == 1
        assert document["access"]["tests"] == {"run": 2, "failed": 1}


def test_without_tests_nothing_is_said(folder: Folder) -> None:
    told(folder, "users: []\n")
    assert "access test" not in folder.ok("plan").out
    assert folder.ok("plan", "--format", "json").json["access"]["tests"] == {"run": 0, "failed": 0}


def test_without_tests_nobodys_access_is_worked_out(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluated(*_: object) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr("reconciler.cli.worlds.desired_world", evaluated)
    told(folder, "users: []\n").ok("plan")
    assert told(folder, HOLDS).run("plan").err.startswith("error[internal]: AssertionError: evaluated")


def test_destroy_asks_nothing_of_them(folder: Folder, remote: Remote) -> None:
    told(folder, HOLDS).at(remote).ok("apply", "--auto-approve")
    told(folder, FAILS)
    assert "access test" not in folder.ok("destroy", "--auto-approve").out
