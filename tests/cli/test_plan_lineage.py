"""Plans and the git history that they come from: an old branch takes back no merge, and a plan is applied once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from starlette.responses import Response

from reconciler.cli.session import open_session
from reconciler.emulator.door import Exchange, Hooks
from reconciler.rendering.jsondoc import checksum
from reconciler.state.journal import RunInfo, RunRecord
from tests.builders import Folder, Ran, Remote, start_remote

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///alpha", title: A, permissions: {allowed: [user:alice@example.com]}}
  - {uri: "file:///beta", title: B, permissions: {allowed: [user:alice@example.com]}}
"""
OLD_COMMIT = "old-commit"


class Repository:
    """A git repository with a project in a folder of it."""

    def __init__(self, root: Path, remote: Remote | None = None) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.project = Folder(root / "config")
        if remote is not None:
            self.project.at(remote)

    def git(self, *arguments: str) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        ran = subprocess.run(["git", *named, "-C", str(self.root), *arguments], capture_output=True, check=True)
        return ran.stdout.decode().strip()

    def commit(self, title: str) -> str:
        """Commit the manifest with another title for `alpha`; return the commit."""
        self.project.write("all.yaml", MANIFEST.replace("title: A", f"title: {title}"))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "m", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def apply(self, *options: str, code: int = 0) -> Ran:
        return self.project.ok("apply", "--auto-approve", *options, code=code)

    def history(self) -> tuple[RunRecord, ...]:
        with open_session(str(self.project.root), None) as session:
            return session.store.runs()

    def newest(self) -> RunInfo:
        return self.history()[0].run


@pytest.fixture
def repository(tmp_path: Path, remote: Remote) -> Repository:
    """A project that was applied at its first commit, `one`, and has a branch `old` there."""
    made = Repository(tmp_path / "repository", remote)
    made.commit("One")
    made.git("tag", "one")
    made.git("branch", "old")
    made.apply()
    return made


def merged(repository: Repository) -> str:
    """Apply a second commit; return it, with the branch `old` beside it checked out."""
    commit = repository.commit("Two")
    repository.apply()
    repository.git("checkout", "--quiet", "old")
    return commit


def test_a_run_and_a_plan_tell_their_commit(repository: Repository) -> None:
    one = repository.git("rev-parse", "one")
    assert repository.newest().commit == one
    two = repository.commit("Two")
    document = repository.project.ok("plan", "--format", "json").json
    assert document["manifests"] == {**document["manifests"], "commit": two, "dirty": False}
    saved = repository.root / "plan.json"
    repository.project.ok("plan", "--out", str(saved))
    repository.apply(str(saved))
    assert (repository.newest().commit, repository.newest().plan_digest) == (two, document["checksum"])


@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        ("config/all.yaml", True),  # tracked
        ("config/new.yaml", True),  # a manifest that nobody added
        ("config/notes.txt", False),  # no manifest
        ("config/plan.json", False),
        ("elsewhere.yaml", False),  # not of the project
        ("tracked.txt", False),
    ],
)
def test_what_is_not_committed_is_told_where_it_can_matter(repository: Repository, file: str, dirty: bool) -> None:
    (repository.root / "tracked.txt").write_text("x")
    repository.commit("Two")
    path = repository.root / file
    path.write_text(f"{path.read_text() if path.exists() else 'items: []'}\n# edited\n")
    assert repository.project.ok("plan", "--format", "json").json["manifests"]["dirty"] is dirty


def test_a_plan_is_the_same_bytes_in_every_clone(repository: Repository, tmp_path: Path) -> None:
    repository.commit("Two")
    copy = tmp_path / "copy"
    repository.git("clone", "--quiet", str(repository.root), str(copy))
    shutil.copytree(repository.project.root / ".reconciler", copy / "config" / ".reconciler")
    plans = [Folder.run(folder, "plan", "--format", "json").out for folder in (repository.project, at(copy / "config"))]
    assert plans[0] == plans[1]


def at(root: Path) -> Folder:
    """Return an existing project's folder as it is."""
    folder = Folder.__new__(Folder)
    folder.root = root
    return folder


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("text", "from serial 2 of its state, at commit {commit}"),
        ("markdown", "commit {commit}"),
        ("html", "commit <code>{commit}</code>"),
    ],
)
def test_whoever_reviews_a_plan_sees_its_commit(repository: Repository, form: str, told: str) -> None:
    commit = repository.commit("Two")[:12]
    assert told.format(commit=commit) in repository.project.ok("plan", "--format", form).out
    repository.project.write("all.yaml", MANIFEST.replace("title: A", "title: Edited"))
    assert told.format(commit=f"{commit}, edited since") in repository.project.ok("plan", "--format", form).out


@pytest.mark.parametrize("place", ["no-repository", "no-commit", "no-git"])
def test_without_a_commit_none_is_told(
    tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "no-commit":
        folder = Repository(tmp_path / "repository").project
    elif place == "no-git":
        repository = Repository(tmp_path / "repository")
        repository.commit("One")
        folder = repository.project
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    folder.write("all.yaml", MANIFEST)
    ran = folder.ok("plan", "--format", "json")
    assert list(ran.json["manifests"]) == ["digest"]
    assert ran.err == ""


def test_an_old_branch_takes_back_no_merge(repository: Repository, remote: Remote) -> None:
    two = merged(repository)
    one = repository.git("rev-parse", "one")
    run, total = repository.newest(), remote.total

    planned = repository.project.ok("plan", "--format", "json")
    (hazard,) = planned.json["hazards"]
    assert (hazard["name"], hazard["allowed"]) == (OLD_COMMIT, False)
    assert hazard["what"] == (
        f"commit {one[:12]} does not descend from {two[:12]}, which was applied by run {run.id} of {run.started_at}"
    )
    refused = repository.apply(code=1).err
    assert "error[plan-not-descendant]" in refused
    assert "--allow old-commit" in refused
    assert remote.total == total

    repository.apply("--allow", OLD_COMMIT)
    assert repository.newest().commit == one


def test_a_branch_that_took_up_what_was_applied_is_none_of_old(repository: Repository) -> None:
    two = merged(repository)
    repository.git("merge", "--quiet", two)
    repository.commit("Three")
    repository.apply()


def test_an_old_commit_without_changes_takes_back_nothing(repository: Repository) -> None:
    repository.commit("One")
    repository.project.write("all.yaml", MANIFEST.replace("title: A", "title: Two"))
    repository.apply()
    repository.git("checkout", "--quiet", "--force", "old")
    repository.project.write("all.yaml", MANIFEST.replace("title: A", "title: Two"))
    repository.apply()


def test_a_saved_plan_of_an_old_branch_is_refused_as_such(repository: Repository, remote: Remote) -> None:
    """Saved before the merge was applied it is stale as well; made anew from where it came it would still be old."""
    two = merged(repository)
    repository.git("checkout", "--quiet", "main")
    repository.git("checkout", "--quiet", "-b", "other", "one")
    repository.commit("Other")
    saved, allowed = str(repository.root / "plan.json"), str(repository.root / "allowed.json")
    repository.project.ok("plan", "--out", saved)
    repository.project.ok("plan", "--allow", OLD_COMMIT, "--out", allowed)
    repository.git("checkout", "--quiet", two)
    total = remote.total
    assert "error[plan-not-descendant]" in repository.apply(saved, code=1).err
    assert remote.total == total
    repository.apply(allowed)
    assert "error[plan-not-descendant]" in repository.apply(saved, code=1).err


def test_a_plan_saved_before_a_merge_was_applied_is_refused_after_it(repository: Repository) -> None:
    saved = str(repository.root / "plan.json")
    repository.git("checkout", "--quiet", "old")
    repository.commit("Other")
    repository.project.ok("plan", "--out", saved)
    repository.git("checkout", "--quiet", "main")
    repository.commit("Two")
    repository.apply()
    assert "error[plan-not-descendant]" in repository.apply(saved, code=1).err
    assert "error[stale-plan]" in repository.apply(saved, "--allow", OLD_COMMIT, code=1).err


def test_what_a_shallow_clone_cannot_tell_is_a_warning(repository: Repository, tmp_path: Path) -> None:
    repository.commit("Two")
    repository.commit("Three")
    copy = tmp_path / "copy"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(copy))
    shutil.copytree(repository.project.root / ".reconciler", copy / "config" / ".reconciler")
    ran = at(copy / "config").ok("plan", "--format", "json")
    assert ran.json["hazards"] == []
    assert "warning[commit-unknown]" in ran.err and "git fetch --unshallow" in ran.err
    at(copy / "config").ok("apply", "--auto-approve")


def test_a_shallow_clone_still_tells_what_is_certainly_old(repository: Repository, tmp_path: Path) -> None:
    two = repository.commit("Two")
    repository.commit("Three")
    repository.apply()
    copy = tmp_path / "copy"
    repository.git("clone", "--quiet", "--depth=2", f"file://{repository.root}", str(copy))
    shutil.copytree(repository.project.root / ".reconciler", copy / "config" / ".reconciler")
    repository.git("-C", str(copy), "checkout", "--quiet", two)
    assert "error[plan-not-descendant]" in at(copy / "config").ok("apply", "--auto-approve", code=1).err


def test_outside_of_the_repository_there_is_a_warning(repository: Repository, tmp_path: Path) -> None:
    repository.commit("Two")
    copy = tmp_path / "copy"
    shutil.copytree(repository.project.root, copy)
    ran = at(copy).ok("plan")
    assert "warning[commit-unknown]: the manifests are of no commit that git knows" in ran.err


def test_a_run_that_changed_nothing_does_not_count(repository: Repository) -> None:
    """It was refused by the remote at its first call, so there is nothing of its commit to take back."""
    two = repository.commit("Two")
    ran = repository.project.run("apply", "--auto-approve", key="xx-another-key")
    assert ran.code == 4
    assert repository.newest().commit == two
    repository.git("checkout", "--quiet", "old")
    repository.project.write("all.yaml", MANIFEST.replace("title: A", "title: Edited"))
    repository.apply()


def test_a_rollback_is_of_no_commit_and_none_forgets_the_last(repository: Repository) -> None:
    saved = str(repository.root / "back.json")
    repository.project.write("all.yaml", MANIFEST.replace("[user:alice@example.com]", "[user:dora@example.com]", 1))
    repository.git("commit", "--quiet", "--all", "--message", "m")
    two = repository.git("rev-parse", "HEAD")
    repository.apply("--allow", "item-unseen")
    repository.git("checkout", "--quiet", "old")
    repository.project.ok("rollback", "--access-only", "--out", saved)
    assert "commit" not in orjson.loads(Path(saved).read_bytes())["manifests"]
    repository.apply(saved)
    assert repository.newest().commit == ""
    repository.commit("Old")
    assert two[:12] in repository.apply(code=1).err


def test_within_a_hook_the_repository_is_still_that_of_the_project(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells a hook its repository by these, relative to where it starts it."""
    other = Repository(tmp_path / "other")
    other.commit("Other")
    commit = repository.commit("Two")
    for place in (".git", str(other.root / ".git")):
        monkeypatch.setenv("GIT_DIR", place)
        monkeypatch.setenv("GIT_INDEX_FILE", f"{place}/index")
        found = repository.project.ok("plan", "--format", "json").json["manifests"]
        assert (found["commit"], found["dirty"]) == (commit, False)


def test_no_program_of_the_repository_is_run(repository: Repository, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    hooks = repository.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
        shutil.copy(script, hooks / name)
    repository.git("config", "core.fsmonitor", str(script))
    trap.unlink(missing_ok=True)
    index = (repository.root / ".git" / "index").read_bytes()
    os.utime(repository.project.root / "all.yaml")
    assert repository.project.ok("plan", "--format", "json").json["manifests"]["dirty"] is False
    assert not trap.exists()
    assert (repository.root / ".git" / "index").read_bytes() == index


# -- plans that were applied already ---------------------------------------------------------------


def test_a_plan_that_was_applied_is_not_applied_again(repository: Repository, remote: Remote) -> None:
    repository.commit("Two")
    saved = str(repository.root / "plan.json")
    repository.project.ok("plan", "--out", saved)
    repository.apply(saved)
    run, total = repository.newest(), remote.total
    refused = repository.apply(saved, code=1).err
    assert f"error[plan-replayed]: the plan was applied already, by run {run.id} of {run.started_at} (" in refused
    repository.commit("Three")
    repository.apply()
    assert f"run {run.id} " in repository.apply(saved, code=1).err
    assert remote.total > total
    assert len([entry for entry in repository.history() if entry.run.plan_digest == run.plan_digest]) == 1


def test_a_plan_that_was_sealed_again_is_stale_and_no_replay(repository: Repository) -> None:
    repository.commit("Two")
    saved = repository.root / "plan.json"
    repository.project.ok("plan", "--out", str(saved))
    repository.apply(str(saved))
    document = orjson.loads(saved.read_bytes())
    document["tool_version"] = "0.0.0"
    document["checksum"] = checksum(document)
    saved.write_bytes(orjson.dumps(document))
    assert "error[stale-plan]" in repository.apply(str(saved), code=1).err


class Refusing(Hooks):
    """Answers 403 instead of the emulator from the n-th call on; 0 is never."""

    def __init__(self) -> None:
        self.calls = self.refused_from = 0

    async def arriving(self, exchange: Exchange) -> Response | None:
        if not exchange.path.startswith("/push/") or exchange.path.endswith("/status"):
            return None
        self.calls += 1
        refused = self.refused_from and self.calls >= self.refused_from
        return Response(b"{}", 403, media_type="application/json") if refused else None


@pytest.mark.parametrize(
    ("refused_from", "said"),
    [
        (1, "the plan was tried already, by run {run} of {at} ({who}), and nothing of it was accepted"),
        (2, "the plan was applied already in part, by run {run} of {at} ({who}), which failed with 1 call accepted"),
    ],
)
def test_a_plan_that_was_applied_in_part_is_not_begun_again(tmp_path: Path, refused_from: int, said: str) -> None:
    refusing = Refusing()
    with start_remote(hooks=refusing) as remote:
        repository = Repository(tmp_path / "repository", remote)
        repository.commit("One")
        saved = str(repository.root / "plan.json")
        repository.project.ok("plan", "--no-batch", "--out", saved)
        refusing.refused_from = refused_from
        repository.apply(saved, "--parallelism", "1", code=4)
        run, calls = repository.newest(), refusing.calls
        refused = repository.apply(saved, code=1).err
        told = said.format(run=run.id, at=run.started_at, who=f"{run.user} on {run.host}")
        assert f"error[plan-replayed]: {told}\n" in refused
        assert "plan --out plan.json" in refused
        assert refusing.calls == calls
        refusing.refused_from = 0
        repository.apply()


def test_a_plan_whose_run_was_killed_is_not_begun_again(repository: Repository) -> None:
    """Its end is not recorded, and what it sent may have been accepted."""
    repository.commit("Two")
    saved = str(repository.root / "plan.json")
    repository.project.ok("plan", "--out", saved)
    repository.apply(saved)
    run = repository.newest()
    with closing(sqlite3.connect(repository.project.root / ".reconciler" / "local.state.db")) as state, state:
        state.execute("UPDATE runs SET ended_at = '', result = '' WHERE id = ?", (run.id,))
    assert f"in part, by run {run.id} " in (refused := repository.apply(saved, code=1).err)
    assert "error[plan-replayed]" in refused and "of which no end is recorded" in refused


def test_of_two_that_apply_the_same_plan_at_once_one_does(repository: Repository, remote: Remote) -> None:
    repository.commit("Two")
    saved = str(repository.root / "plan.json")
    repository.project.ok("plan", "--out", saved)
    total = remote.total
    arguments = ("apply", saved, "--auto-approve", "--lock-timeout", "20")
    both = [repository.project.start(*arguments) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    (refused,) = (text for text, process in zip(said, both, strict=True) if process.returncode)
    assert "error[plan-replayed]" in refused
    calls = [entry for entry in remote.requests(total) if not entry["path"].endswith("/status")]
    assert len(calls) == 1
