"""What git says of the project's folder: the commit that it holds, and whether that follows from another.

No hook and no file monitor is run for it, nothing is fetched, and neither the repository nor the work tree is written
to. A filter that cleans content (Git LFS) may be asked whether a file that was touched is still the same. Where there
is no git or no repository, there is no commit; that is no error.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.session import Session
from reconciler.planning.hazards import old_commit
from reconciler.planning.plan import Plan
from reconciler.problems import Problem, Severity
from reconciler.state.journal import RunInfo

if TYPE_CHECKING:
    from reconciler.state.store import StateReader

_SETTINGS = (
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
    # A partial clone would get what it lacks from elsewhere, by programs that its configuration names.
    *("-c", "protocol.allow=never"),
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_ELSEWHERE = frozenset({"GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_WORK_TREE"})
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_OID = "# branch.oid "
_LATELY = 20  # runs that are looked at before all are


def git_command(root: Path, *arguments: str) -> list[str]:
    """Return the command that runs git in a folder, without hooks and file monitors."""
    return ["git", *_SETTINGS, "-C", str(root), *arguments]


def git_environment() -> dict[str, str]:
    """Return the environment of such a command: the repository is that of the folder, also within a git hook."""
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | _ENVIRONMENT


def run_git(root: Path, *arguments: str) -> tuple[int, bytes, str]:
    """Run git and return its exit code, what it wrote and what it said. Raises OSError without a git."""
    ran = subprocess.run(  # noqa: S603 - an argument list, and what is a name there is marked as one
        git_command(root, *arguments),
        env=git_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr.decode(errors="replace").strip()


def checked_out(root: Path, manifests: Iterable[str]) -> tuple[str, bool]:
    """Return the commit that a folder's work tree is of, and whether the folder holds something else by now.

    That is an edit of what the repository tracks below it, or a file that it does not track and that one of the
    patterns `manifests` matches: also one that git ignores, since it is read like any other. The commit is empty where
    there is none or nobody to say.
    """
    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=no", "--ignore-submodules=none", "--no-renames")
    try:
        code, out, _ = run_git(root, "status", *options, "--", ".")
        lines = out.decode(errors="replace").split("\0")
        commit = next((line.removeprefix(_OID) for line in lines if line.startswith(_OID)), "")
        if code or not _COMMIT.fullmatch(commit):
            return "", False
        if any(line and not line.startswith("# ") for line in lines):
            return commit, True
        patterns = [f":(glob){pattern}" for pattern in manifests]
        if not patterns:
            return commit, False
        # Hidden names are no manifests, but where a pattern spells the dot.
        hidden = () if any(":(glob)." in pattern or "/." in pattern for pattern in patterns) else ("--exclude=.*",)
        code, out, _ = run_git(root, "ls-files", "--others", *hidden, "-z", "--", *patterns)
    except OSError:
        return "", False
    return commit, bool(code or out)


def with_commit(session: Session, plan: Plan, allowed: Collection[str]) -> Plan:
    """Return the plan of the manifests that are there with their commit, and with the hazard that this is an old one.

    A plan that undoes what runs did is not one of the manifests, and is returned as it is.
    """
    if plan.rollback:
        return plan
    commit, dirty = checked_out(session.folder.root, session.project.manifests)
    return with_lineage(session, replace(plan, commit=commit, dirty=dirty), allowed)


def with_lineage(session: Session, plan: Plan, allowed: Collection[str]) -> Plan:
    """Return the plan with the hazard of an old commit, if it is one; warn where nobody can tell.

    Held against the newest run that changed anything and knew its commit.
    """
    if plan.rollback or not plan.changes or any(hazard.name == "old-commit" for hazard in plan.hazards):
        return plan
    last = _last_applied(session.store)
    if last is None or last.commit == plan.commit:
        return plan
    follows = _follows(session.folder.root, plan.commit, last.commit)
    if follows is None:
        _warn(plan, last)
        return plan
    if follows:
        return plan
    hazard = old_commit(plan.commit, last.commit, f"run {last.id} of {last.started_at}", allowed)
    return replace(plan, hazards=(*plan.hazards, hazard))


def _last_applied(store: StateReader) -> RunInfo | None:
    """Return the newest run of which anything was accepted, or may have been, and whose commit is known."""
    for limit in (_LATELY, None):
        runs = store.runs(limit)
        for record in runs:
            some = record.result == "done" or record.calls.accepted or record.calls.unknown
            if record.run.commit and some:
                return record.run
        if len(runs) < _LATELY:
            break
    return None


def _follows(root: Path, commit: str, earlier: str) -> bool | None:
    """Return whether a commit has another among its ancestors, None where the repository cannot tell."""
    if not (_COMMIT.fullmatch(commit) and _COMMIT.fullmatch(earlier)):
        return None
    try:
        code, _, _ = run_git(root, "merge-base", "--is-ancestor", earlier, commit)
        if code in (0, 1) and (code == 0 or not _is_shallow(root)):
            return code == 0
        # Where history is cut off, only what leads the other way is certain.
        code, _, _ = run_git(root, "merge-base", "--is-ancestor", commit, earlier)
    except OSError:
        return None
    return False if code == 0 else None


def _is_shallow(root: Path) -> bool:
    code, out, _ = run_git(root, "rev-parse", "--is-shallow-repository")
    return code != 0 or out.strip() != b"false"


def _warn(plan: Plan, last: RunInfo) -> None:
    from reconciler.cli.output import show_problems

    if plan.commit:
        what = f"nobody here can tell whether commit {plan.commit[:12]} follows from {last.commit[:12]}"
        fix = "fetch the whole history (`git fetch --unshallow`), if the two are of one repository."
    else:
        what = f"the manifests are of no commit that git knows, and the last applied ones were of {last.commit[:12]}"
        fix = "plan in a checkout of the repository, where git can be run and trusts the folder."
    show_problems(
        [
            Problem(
                "commit-unknown",
                what,
                why=f"run {last.id} of {last.started_at} applied that one, and an older one would take it back.",
                fix=fix,
                severity=Severity.WARNING,
            )
        ]
    )
