"""`make demo`: the first thing that a newcomer runs, twice; and what its manifests show of who sees what."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.builders import EMAIL, REPOSITORY, Ran, child_environment, run_here

POLICIES = [f"{name}.html" for name in ("expenses", "leave", "remote-work", "security", "travel")]


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = child_environment()
    del environment["COVEO_API_KEY"]
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", str(folder)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_does_the_whole_job_and_the_second_time_nothing(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".reconciler"))

    first = demo(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    for command in ("validate", "plan --detail names --exit-code", "apply --auto-approve --detail none", "verify"):
        assert f"\n$ reconciler {command}\n" in first.stdout
    assert "0 failed, 0 unknown, 0 not started" in first.stderr
    assert "Run `make demo` again" in first.stdout

    second = demo(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "no call is needed" in second.stdout
    assert "so no call was made" in second.stdout
    assert "HTTP 202" not in second.stdout + second.stderr


def test_the_demo_stops_where_a_step_fails(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".reconciler"))
    (tmp_path / "manifests" / "blog.yaml").write_text("items: [{}]")

    done = demo(tmp_path)

    assert done.returncode == 1
    assert "The demo stopped: `reconciler validate` ended with exit code 1." in done.stdout
    assert "reconciler plan" not in done.stdout


class Pushed:
    """A copy of the manifests, and its folder's commands."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str, code: int = 0) -> Ran:
        ran = run_here("-C", str(self.root), *arguments)
        assert ran.code == code, f"exit code {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def planned(self, *options: str, code: int = 0) -> Any:
        return self.run("plan", "--format", "json", *options, code=code).json

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(before) == 1
        (self.root / name).write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "manifests"
    shutil.copytree(REPOSITORY / "manifests", root, ignore=shutil.ignore_patterns(".reconciler"))
    Pushed(root).run("apply", "--auto-approve")
    return root


@pytest.fixture
def pushed(applied: Path, tmp_path: Path) -> Pushed:
    """The manifests as they are, applied, to change."""
    return Pushed(Path(shutil.copytree(applied, tmp_path / "manifests")))


def test_its_access_tests_pass_and_speak_of_all_there_is_and_nothing_is_warned_of(pushed: Pushed) -> None:
    assert pushed.run("validate").err == ""
    assert pushed.run("test").out == (
        "7 access tests: 7 passed, 0 failed\nNo test speaks of 0 of 14 items and 0 of 7 people\n"
    )


@pytest.mark.parametrize("side", ["desired", "recorded", "remote"])
def test_what_the_wiki_permits_its_accounts_is_seen_by_the_people_behind_them(pushed: Pushed, side: str) -> None:
    asked = ("user:carol@example.com", "https://wiki.example.com/how-to", "--provider", EMAIL, "--of", side)
    found = pushed.run("access", "why", *asked, "--format", "json").json
    assert (found["allowed"], found["chain"]) == (
        True,
        [
            {"from": f"user/{EMAIL}/carol@example.com", "how": "alias", "to": "user/wiki/cdiaz"},
            {"from": "user/wiki/cdiaz", "how": "member of", "to": "group/wiki/Editors"},
            {"from": "group/wiki/Editors", "how": "member of", "to": "group/wiki/Readers"},
        ],
    )


@pytest.mark.parametrize(
    ("who", "level", "outcome"), [("grace", 1, "allowed"), ("carol", 2, "allowed"), ("eve", 2, "denied")]
)
def test_the_first_level_of_a_guide_that_decides_wins(pushed: Pushed, who: str, level: int, outcome: str) -> None:
    guide = "https://handbook.example.com/content/guides/budget.md"
    decided = pushed.run("access", "why", f"user:{who}@example.com", guide, "--format", "json").json["decided_by"]
    assert (decided["level"], decided["outcome"]) == (level, outcome)


def test_a_deny_that_is_removed_must_be_allowed_by_name_and_fails_the_test_of_it(pushed: Pushed) -> None:
    pushed.edit("example.yaml", "    denied: [user:bob@example.com]\n", "")
    plan = pushed.planned(code=1)
    assert {hazard["name"] for hazard in plan["access"]["hazards"]} == {"deny-removed", "widened-access"}
    assert [(problem["code"], problem["file"]) for problem in plan["problems"]] == [
        ("access-test-failed", "example.yaml")
    ]


def test_who_joins_the_staff_reads_the_policies_without_further_ado(pushed: Pushed) -> None:
    pushed.edit("handbook.yaml", "user:erin@example.com]", "user:erin@example.com, user:frank@example.com]")
    access = pushed.planned()["access"]
    assert access["hazards"] == []
    assert [(entry["people"], entry["items"], entry["because"]) for entry in access["gained"]] == [
        (1, len(POLICIES), ["group/corp/Staff"])
    ]


def test_a_grant_of_it_ends_by_itself(pushed: Pushed) -> None:
    assert pushed.planned()["summary"]["update"] == 0
    access = pushed.planned("--as-of", "2100-01-01")["access"]
    assert [(entry["entry"], entry["expires"][:10], entry["state"]) for entry in access["expiring"]] == [
        ("user/corp/eve@example.com", "2099-12-31", "lapsed-live")
    ]
    assert [[address.rpartition("/")[2] for address in entry["examples"]] for entry in access["lost"]] == [POLICIES]


def test_what_no_order_of_the_calls_keeps_safe_is_tightened_first(pushed: Pushed) -> None:
    # Nobody sees it before or after; between its call and the group's, alice would or bob, by which comes first.
    text = """
defaults: {{source: handbook, provider: corp}}
items:
  - uri: https://handbook.example.com/shift
    permissions: {{sets: [{{allowed: [group:Shift]}}, {{allowed: [group:{room}]}}]}}
groups:
  - {{name: Shift, members: [user:{who}@example.com]}}
  - {{name: North, members: [user:bob@example.com]}}
  - {{name: South, members: [user:alice@example.com]}}
"""
    (pushed.root / "shift.yaml").write_text(text.format(room="North", who="alice"))
    pushed.run("apply", "--auto-approve")
    (pushed.root / "shift.yaml").write_text(text.format(room="South", who="bob"))

    plan = pushed.planned()

    assert plan["access"]["order"]["tightened"] == ["group/corp/Shift"]
    assert plan["access"]["order"]["transients"] == []


def test_a_run_that_widened_access_is_taken_back(pushed: Pushed) -> None:
    def viewers() -> list[str]:
        uri = f"https://handbook.example.com/content/policies/{POLICIES[0]}"
        found: list[str] = pushed.run("access", "who", uri, "--of", "remote", "--format", "json").json["viewers"]
        return found

    before, back = viewers(), str(pushed.root / "back.json")
    pushed.edit("handbook.yaml", "user:erin@example.com]", "user:erin@example.com, user:frank@example.com]")
    told = pushed.run("apply", "--auto-approve", "--refresh-identities").err
    assert "take effect as soon as the refresh that was triggered is done." in told
    assert viewers() == sorted([*before, "user:frank@example.com"])

    pushed.run("rollback", "--access-only", "--out", back)
    pushed.run("apply", back, "--auto-approve")
    assert viewers() == before
