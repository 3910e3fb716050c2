"""One story from `init` to the controller: each command as a process of its own, git and the remote for real."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from test_drift import by_hand

from tests.builders import (
    KEY,
    KEY_VARIABLE,
    ORGANIZATION,
    PROVIDER_ID,
    SOURCE_ID,
    Ran,
    Remote,
    child_environment,
    command_line,
)

REPOSITORY = Path(__file__).parents[2]
WELCOME = "https://handbook.example.com/welcome"
INIT = ("--no-input", "--organization", ORGANIZATION, "--source-id", SOURCE_ID, "--provider-id", PROVIDER_ID)


class Tree:
    """A work tree in which somebody runs commands, or a job does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ran(self, *arguments: str) -> Ran:
        done = subprocess.run(
            command_line(*arguments),
            cwd=self.root,
            env=child_environment(**{KEY_VARIABLE: KEY}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert KEY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, code: int = 0) -> Ran:
        ran = self.ran(*arguments)
        assert ran.code == code, f"exit code {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=Alice", "-c", "user.email=alice@example.com")
        done = subprocess.run(["git", *names, *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, text
        path.write_text(text.replace(old, new))


@pytest.fixture
def author(tmp_path: Path) -> Tree:
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(tmp_path / "author")], check=True, capture_output=True)
    return Tree(tmp_path / "author")


def live_at(author: Tree) -> Tree:
    """The work tree of the job that applies; it alone has the state."""
    root = author.root.with_name("live")
    author.git("clone", "-q", author.git("remote", "get-url", "origin"), str(root))
    return Tree(root)


def test_from_an_empty_repository_to_a_controller_that_repairs(author: Tree, remote: Remote, tmp_path: Path) -> None:
    # A new repository, its first apply.
    author.ok("init", *INIT)
    author.edit("reconciler.yaml", "{target: emulator,", f"{{target: {remote.url},")
    policies = author.root / "policies"
    policies.mkdir()
    (policies / "access.rego").write_text((REPOSITORY / "docs/policies/access.rego").read_text())
    with (author.root / "reconciler.yaml").open("a") as file:
        file.write("policies: policies\n")
    author.ok("validate")
    author.ok("test")
    author.commit("A handbook")
    author.git("push", "-q", "origin", "HEAD:main")
    live = live_at(author)
    live.ok("apply", "--auto-approve", "--allow", "widened-access")
    live.ok("verify", "--timeout", "20")
    snapshot = tmp_path / "state.json"
    snapshot.write_text(live.ok("state", "pull").out)

    # A branch that opens it to everybody: the policy stops it, and the reports say so.
    author.git("checkout", "-qb", "open-up")
    author.edit("manifests/handbook.yaml", "permissions: staff\n", "permissions: {anonymous: true}\n")
    author.edit("manifests/handbook.yaml", '  - {items: ["${base}/**"], onlyVisibleTo: [group:Staff]}\n', "")
    comment, page = tmp_path / "comment.md", tmp_path / "plan.html"
    reports = ("--state", str(snapshot), "--report", f"comment={comment}", "--report", f"html={page}")
    refused = author.ok("plan", *reports, code=1)
    assert "policy-denied" in refused.out + refused.err
    for report in (comment.read_text(), page.read_text()):
        assert "would be seen by everybody" in report
    assert len(comment.read_bytes()) <= 65_536

    # The fix lets one person more in, and says whom.
    author.git("checkout", "-q", "--", "manifests")
    author.edit(
        "manifests/handbook.yaml",
        "      - user:bob@example.com\n",
        "      - user:bob@example.com\n      - user:carol@example.com\n",
    )
    author.ok("fmt", "--check")
    planned = author.ok("plan", *reports, "--allow", "widened-access")
    assert "carol@example.com" in planned.out
    assert "policy-denied" not in planned.out + planned.err
    assert "carol@example.com" in comment.read_text()
    assert "carol@example.com" in page.read_text()
    author.commit("Carol may read the handbook")
    author.git("checkout", "-q", "main")
    author.git("merge", "-q", "--ff-only", "open-up")
    author.git("push", "-q", "origin", "main")

    # Merged: the job plans once more, and applies that very plan.
    live.git("pull", "-q", "--ff-only")
    plan = tmp_path / "plan.json"
    live.ok("plan", "--out", str(plan), "--allow", "widened-access")
    live.ok("apply", str(plan), "--auto-approve", "--same-manifests", "--allow", "widened-access")
    live.ok("apply", str(plan), "--auto-approve", "--allow", "widened-access", code=1)  # once
    live.ok("verify", "--timeout", "20")
    assert "carol@example.com" in live.ok("access", "who", WELCOME, "--of", "remote").out
    assert "reconciler apply" in live.ok("state", "history").out

    # Somebody deletes the item by hand; the controller brings it back.
    by_hand(remote, lambda hand: hand.delete_item(WELCOME))
    remote.flush()
    drifted = live.ok("drift", code=3)
    assert WELCOME in drifted.out
    live.ok("run", "--once", "--drift-every", "1s", "--repair-drift", "--verify-timeout", "20")
    live.ok("drift")
    assert len(remote.contents()["items"]) == 1
