"""A saved plan that does not fit any more is refused (P6): one row per cause, each with a code of its own.

Nothing is sent and nothing is written; what is told names the file or the state, says why and what to do.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.rendering.jsondoc import checksum
from tests.builders import Folder, Remote

MANIFEST = """\
defaults: {source: blog, provider: corp}
groups:
  - {name: Staff, members: ["user:alice@example.com", {user: tim@example.com, expires: 2021-02-01}]}
items:
  - {uri: "x:a", title: A, body: {file: page.txt}}
  - {uri: "x:b", source: handbook, permissions: {allowed: ["group:Staff"]}}
"""


@dataclass
class Case:
    """A project that was applied once, with a plan of what changed since."""

    folder: Folder
    plan: Path

    def edit(self, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
        """Change the plan's document; sealed again, its checksum is right."""
        document = orjson.loads(self.plan.read_bytes())
        change(document)
        if seal:
            document["checksum"] = checksum(document)
        self.plan.write_bytes(orjson.dumps(document))

    def project(self, old: str, new: str) -> None:
        path = self.folder.root / "reconciler.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def apply_something(self) -> None:
        self.folder.write("other.yaml", "items: [{uri: 'x:other', source: blog}]\n")
        self.folder.ok("apply", "--auto-approve", "--target", "item/blog/x:other")

    def git(self, *arguments: str) -> None:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(self.folder.root))
        subprocess.run(["git", *named, *arguments], check=True, capture_output=True)

    def commit(self, title: str) -> None:
        self.folder.write("all.yaml", MANIFEST.replace("title: A", f"title: {title}"))
        self.git("add", "all.yaml", "reconciler.yaml", "page.txt")
        self.git("commit", "-qm", "m")


def apply_the_plan(case: Case) -> None:
    case.folder.ok("apply", str(case.plan), "--auto-approve")


def begin_a_state_anew(case: Case) -> None:
    shutil.rmtree(case.folder.root / ".reconciler")
    case.folder.ok("apply", "--auto-approve")


def come_from_an_old_branch(case: Case) -> None:
    case.git("init", "-q", "-b", "main")
    case.commit("One")
    case.git("branch", "old")
    case.commit("Two")
    case.folder.ok("apply", "--auto-approve")
    case.git("checkout", "-q", "old")
    case.commit("Three")
    case.folder.ok("plan", "--out", str(case.plan))


def let_a_grant_end(case: Case) -> None:
    case.folder.ok("plan", "--as-of", "2021-01-31", "--out", str(case.plan))


def empty_what_is_ours(case: Case) -> None:
    """What is applied by age takes along what nobody named."""
    case.project("id: mysourceidb10g,", "id: mysourceidb10g, exclusive: true,")
    case.folder.write("all.yaml", "items: [" + ", ".join(f"{{uri: 'y:{n}', source: blog}}" for n in range(5)) + "]")
    case.folder.ok("apply", "--auto-approve", "--allow", "emptied")
    case.folder.write("all.yaml", "items: []\n")
    case.folder.ok("plan", "--allow", "emptied", "--out", str(case.plan))
    case.project("exclusive: true,", "")


def widen_and_deny(case: Case) -> None:
    case.folder.write(
        "all.yaml", MANIFEST.replace('"user:alice@example.com"', '"user:alice@example.com", "user:eve@x"')
    )
    case.folder.ok("plan", "--out", str(case.plan))
    case.project("widenedAccess: allow", "widenedAccess: deny")


def cut(case: Case) -> None:
    case.plan.write_bytes(case.plan.read_bytes()[:-30])


CAUSES: dict[str, tuple[Callable[[Case], object], str]] = {
    "something was applied since": (Case.apply_something, "stale-plan"),
    "the state is another one": (begin_a_state_anew, "foreign-plan"),
    "there is no state any more": (lambda case: shutil.rmtree(case.folder.root / ".reconciler"), "foreign-plan"),
    "the organization is another one": (lambda case: case.project("mycoveocloud", "othercloud"), "foreign-plan"),
    "the environment has another name": (lambda case: case.project("  local:", "  other:"), "foreign-plan"),
    "a source leads elsewhere": (lambda case: case.project("id: mysourceidb10g", "id: elsewhere"), "foreign-plan"),
    "it was applied": (apply_the_plan, "plan-replayed"),
    "it comes from an old branch": (come_from_an_old_branch, "plan-not-descendant"),
    "a grant ended since": (let_a_grant_end, "grant-lapsed"),
    "a content file changed": (lambda case: case.folder.write("page.txt", "other"), "body-changed"),
    "a content file is gone": (lambda case: (case.folder.root / "page.txt").unlink(), "file-missing"),
    "what it empties is not ours alone any more": (empty_what_is_ours, "not-exclusive"),
    "the project denies by now what it does": (widen_and_deny, "hazard-widened-access"),
    "it was edited": (lambda case: case.edit(lambda plan: plan["changes"].clear(), seal=False), "plan-altered"),
    "a later major version made it": (
        lambda case: case.edit(lambda plan: plan.update(format_version="2.0")),
        "plan-newer-version",
    ),
    "it was cut": (cut, "plan-truncated"),
    "plans must be signed": (
        lambda case: case.project("{target:", "{signedPlans: required, target:"),
        "plan-unsigned",
    ),
}
WHEN_ASKED: dict[str, Callable[[Case], object]] = {
    "a manifest says something else": lambda case: case.folder.write("all.yaml", MANIFEST),
    "a manifest is new": lambda case: case.folder.write("more.yaml", "items: [{uri: 'x:new', source: blog}]\n"),
    "content is other than it was": lambda case: case.folder.write("page.txt", "other"),
    "it was made from no manifests": lambda case: case.folder.ok(
        "rollback", "--access-only", "--out", str(case.plan), "--allow", "emptied-group"
    ),
}
WORDS = {
    "stale-plan": "was made from serial",
    "plan-replayed": "the plan was applied already, by run ",
    "grant-lapsed": "2021-02-01",
    "body-changed": "page.txt",
    "file-missing": "page.txt",
}


@pytest.fixture
def case(folder: Folder, remote: Remote, tmp_path: Path) -> Case:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.write("page.txt", "text")
    folder.ok("apply", "--auto-approve")
    folder.write("all.yaml", MANIFEST.replace("title: A", "title: B"))
    case = Case(folder, tmp_path / "plan.json")
    folder.ok("plan", "--out", str(case.plan))
    return case


def written(folder: Folder) -> dict[str, bytes]:
    """Return the files of the state."""
    return {path.name: path.read_bytes() for path in (folder.root / ".reconciler").glob("*.state.db")}


def refused(case: Case, remote: Remote, *options: str) -> str:
    """Apply the plan, which is refused; return what is told."""
    total, before = remote.total, written(case.folder)
    ran = case.folder.ok("apply", str(case.plan), "--auto-approve", *options, code=1)
    assert (remote.total, written(case.folder)) == (total, before)
    assert "fix:" in ran.err
    return ran.err


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_refused_with_its_code_before_anything_is_sent(case: Case, remote: Remote, cause: str) -> None:
    spoil, code = CAUSES[cause]
    spoil(case)
    said = refused(case, remote)
    assert f"error[{code}]" in said
    assert said.count("error[") == 1
    assert "why:" in said
    assert WORDS.get(code, "") in said


@pytest.mark.parametrize("cause", WHEN_ASKED)
def test_manifests_that_moved_are_refused_where_that_is_asked(case: Case, remote: Remote, cause: str) -> None:
    WHEN_ASKED[cause](case)
    assert "error[manifests-moved]" in refused(case, remote, "--same-manifests")


def test_the_same_manifests_are_what_they_mean(case: Case) -> None:
    """Comments, order and files are nothing that moves."""
    (case.folder.root / "all.yaml").rename(case.folder.root / "renamed.yaml")
    text = (case.folder.root / "renamed.yaml").read_text()
    case.folder.write("renamed.yaml", f"# a comment\n{text}")
    case.folder.ok("apply", str(case.plan), "--auto-approve", "--same-manifests")


def test_manifests_that_cannot_be_read_are_told(case: Case, remote: Remote) -> None:
    case.folder.write("all.yaml", "items: [\n")
    assert "all.yaml:" in refused(case, remote, "--same-manifests")


def test_without_a_saved_plan_nothing_can_have_moved(case: Case) -> None:
    assert "error[no-saved-plan]" in case.folder.ok("apply", "--same-manifests", "--auto-approve", code=2).err


def test_without_a_cause_it_is_applied(case: Case, remote: Remote) -> None:
    total = remote.total
    case.folder.ok("apply", str(case.plan), "--auto-approve", "--same-manifests")
    assert remote.total > total
