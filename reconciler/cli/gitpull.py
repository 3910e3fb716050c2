"""Brings a checked-out work tree to where its upstream is, forward only, and holds its commit to a signature.

Nothing is ever reset, merged or thrown away: a tree that was edited, or that went another way than its upstream, is a
problem to be told. Hooks and file monitors are not run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from reconciler.cli.gitinfo import checked_out, git_environment
from reconciler.logs import DEBUG, tell
from reconciler.problems import ManifestError, Problem, RemoteError

FETCH_SECONDS = 120.0

_SETTINGS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_USERINFO = re.compile(r"//[^/@\s'\"]+@")


def bring_up_to_date(root: Path, manifests: Iterable[str], *, pull: bool, signed: bool) -> str:
    """Return the commit that the work tree of `root` is at, after a `pull`; empty where there is no git.

    With `signed` the commit must have a good signature, and one that has none is not checked out. `manifests` are the
    patterns of what counts as an edit though git does not track it. Raises ManifestError for a tree that cannot be
    used, RemoteError when nothing could be fetched.
    """
    head, dirty = checked_out(root, manifests)
    if not (pull or signed):
        return head
    if not head:
        raise _unusable(
            "no-checkout",
            "the project's folder is no work tree of a git repository with a commit",
            fix="clone the repository there; without one, leave --require-signature out and give --no-pull.",
            root=root,
        )
    if dirty:
        raise _unusable(
            "tree-dirty",
            f"the work tree holds something else than commit {head[:12]}",
            fix="see `git status`; commit it elsewhere, or throw it away. This does not.",
            root=root,
        )
    target = _upstream(root, head) if pull else head
    if signed:
        _refuse_unsigned(root, target)
    if target != head:
        code, _, said = _git(root, "merge", "--ff-only", "--quiet", "--no-verify-signatures", target, whole=True)
        if code:
            raise _unusable(
                "tree-not-moved",
                f"the work tree cannot go on to {target[:12]}: {said}",
                fix="see `git status`.",
                root=root,
            )
        tell("git.pulled", f"pulled: {head[:12]} -> {target[:12]}", before=head, commit=target)
    return target


def _upstream(root: Path, head: str) -> str:
    """Fetch, and return the commit that the branch should be at: an ancestor of nothing that we have alone."""
    code, branch, _ = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    if code:
        raise _unusable(
            "not-on-branch",
            "no branch is checked out, so there is nothing to pull",
            fix="check out a branch.",
            root=root,
        )
    code, upstream, _ = _git(root, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
    if code:
        raise _unusable(
            "no-upstream",
            f'branch "{branch}" follows no branch of a remote',
            fix=f"git branch --set-upstream-to=origin/{branch}, or leave pulling to somebody else with --no-pull.",
            root=root,
        )
    try:
        # Without --prune a branch that is gone would pass for one on which nothing happens.
        fetch = ("fetch", "--quiet", "--prune", "--no-recurse-submodules")
        code, _, said = _git(root, *fetch, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        code, said = 1, f"no end after {FETCH_SECONDS:.0f} s"
    if code:
        raise RemoteError(
            Problem(
                "fetch-failed",
                f'"{upstream}" cannot be fetched: {said}',
                why="what is merged by now is not known, so nothing was done.",
                fix="see whether the repository can be reached with the credentials that are there.",
                where=str(root),
            )
        )
    code, target, _ = _git(root, "rev-parse", "--verify", "@{upstream}^{commit}")
    if code:
        raise _unusable(
            "no-upstream",
            f'"{upstream}" is gone from the remote',
            fix="check out the branch that took its place, or push it again.",
            root=root,
        )
    if target == head:
        return head
    code, _, _ = _git(root, "merge-base", "--is-ancestor", head, target)
    if code:
        raise _unusable(
            "tree-diverged",
            f'commit {head[:12]} is none of "{upstream}", which is at {target[:12]}',
            fix="it was rewritten, or somebody committed here. Check out what is wanted; this resets nothing.",
            root=root,
        )
    return target


def _refuse_unsigned(root: Path, commit: str) -> None:
    code, _, said = _git(root, "verify-commit", commit)
    if code:
        said = said or "it has no signature"
        raise _unusable(
            "signature-missing",
            f"commit {commit[:12]} has no good signature: {said}",
            why="--require-signature lets nothing else be applied.",
            fix="sign it with a key that git trusts here (gpg, or gpg.ssh.allowedSignersFile).",
            root=root,
        )
    tell("git.verified", f"commit {commit[:12]} has a good signature", DEBUG, commit=commit)


def _git(root: Path, *arguments: str, timeout: float | None = None, whole: bool = False) -> tuple[int, str, str]:
    """Run git and return its code, what it wrote and the last line of what it said, without anybody's password.

    Whoever interrupts a `whole` one has it finish first: half a checkout is an edited tree. Raises TimeoutExpired.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list, of our words and of hashes
            ["git", *_SETTINGS, "-C", str(root), *arguments],  # noqa: S607 - the git of the PATH, as everywhere
            env={name: value for name, value in git_environment().items() if name != "GIT_NO_LAZY_FETCH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=whole,  # Ctrl-C is for us alone
        )
    except OSError as error:
        return 127, "", f"git cannot be run: {error.strerror}"
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            if whole:
                process.communicate()
            else:
                process.kill()
            raise
    lines = _USERINFO.sub("//...@", err.decode(errors="replace")).strip().splitlines()
    said = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    return process.returncode, out.decode(errors="replace").strip(), said


def _unusable(code: str, what: str, *, why: str = "", fix: str, root: Path) -> ManifestError:
    why = why or "only what is merged is applied, and nobody's work is thrown away for it."
    return ManifestError(Problem(code, what, why=why, fix=fix, where=str(root)))
