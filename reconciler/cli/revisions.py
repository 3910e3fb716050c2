"""The manifests of a git revision, brought into a folder of their own to be read there.

Objects are listed and read as git stores them (`ls-tree`, `cat-file`), not with `git archive`: that expands
`export-subst`, leaves out what `export-ignore` names and pipes content through smudge filters, which are programs of
the repository's configuration. So no filter, hook or file monitor runs, nothing is fetched, and neither the
repository nor the work tree is written to. What a filter would make of content (a file in Git LFS, other line ends)
stays as it is stored.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from reconciler.cli.gitinfo import git_command, git_environment, run_git
from reconciler.cli.session import Session
from reconciler.problems import ManifestError, Problem, Related, Severity, UsageError, errors_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.manifest.load import Loaded
    from reconciler.manifest.project import Project

_CHUNK = 1 << 20
_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision as it was given, its commit, and the project's folder in it, relative to the repository."""

    name: str
    commit: str
    folder: str

    @property
    def short(self) -> str:
        """The beginning of the commit's name."""
        return self.commit[:12]


class _Blob(NamedTuple):
    mode: str
    object: str
    path: str


@contextmanager
def manifests_at(
    session: Session, name: str, recorded: Mapping[str, bytes]
) -> Iterator[tuple[Revision, Project, Loaded]]:
    """Give the project and the manifests of a revision for the length of a `with` block, read against `recorded`.

    Nothing of it is cached. Raises UsageError for what is no revision here, ManifestError with all problems of the
    manifests in it.
    """
    from reconciler.manifest.cache import ManifestCache
    from reconciler.manifest.load import load_manifests
    from reconciler.manifest.opening import open_project
    from reconciler.manifest.paths import ProjectFolder

    root = session.folder.root
    revision, tree = _revision(root, name)
    with tempfile.TemporaryDirectory(prefix="reconciler-revision-") as temporary:
        place = Path(temporary)
        submodules = _check_out(root, revision, tree, place)
        if submodules:
            _warn_of_submodules(revision, submodules)
        folder, cache = ProjectFolder(place), ManifestCache(None, "")
        file = next((name for name in ("reconciler.yaml", "reconciler.yml") if (place / name).is_file()), None)
        if file is None:
            raise _not_there(revision, "it has no reconciler.yaml there")
        try:
            project = open_project(folder, file, session.project.environment.name, cache)
            loaded = load_manifests(project, folder, file, recorded=recorded, cache=cache, as_of=session.as_of)
            if errors_in(loaded.problems):
                raise ManifestError(*loaded.problems)
        except (ManifestError, UsageError) as error:
            raise type(error)(*(_placed(problem, revision, submodules) for problem in error.problems)) from None
        yield revision, project, loaded


# -- git -------------------------------------------------------------------------------------------


def _git(root: Path, *arguments: str) -> tuple[int, bytes, str]:
    """Run git and return its exit code, what it wrote and what it said. Raises UsageError without a git."""
    try:
        return run_git(root, *arguments)
    except OSError as error:
        raise _no_git(error) from None


def _no_git(error: OSError) -> UsageError:
    return UsageError(
        Problem(
            "no-git",
            f"git cannot be run: {os.strerror(error.errno or 0)}",
            why="the manifests of a revision are read with it.",
            fix="install git, or leave out --from and --to.",
        )
    )


def _revision(root: Path, name: str) -> tuple[Revision, str]:
    """Return a revision and the tree of the project's folder in it. Raises UsageError when there is none."""
    code, out, said = _git(root, "rev-parse", "--show-prefix")
    if code:
        raise UsageError(
            Problem(
                "no-repository",
                f'"{root}" is in no git repository that can be read: {_last_line(said)}',
                why="a revision is one of the repository that holds the project's folder.",
                fix="go to the project's repository, or leave out --from and --to.",
            )
        )
    folder = os.fsdecode(out).rstrip("\n").rstrip("/")
    code, out, _ = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if code:
        raise UsageError(
            Problem(
                "unknown-revision",
                f'the repository has no revision "{name}"',
                why="a shallow clone lacks older ones, and branches that were never fetched.",
                fix="name a commit, branch or tag; `git fetch --unshallow` gets what a shallow clone lacks.",
            )
        )
    revision = Revision(name, out.decode().strip(), folder)
    place = f"{revision.commit}:{folder}" if folder else f"{revision.commit}^{{tree}}"
    code, out, _ = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", place)
    tree = out.decode().strip()
    if code or _git(root, "cat-file", "-t", tree)[1].strip() != b"tree":
        raise _not_there(revision, f'it has no folder "{folder}"')
    return revision, tree


def _not_there(revision: Revision, why: str) -> UsageError:
    return UsageError(
        Problem(
            "project-not-in-revision",
            f'revision "{revision.name}" ({revision.short}) does not hold the project: {why}',
            why="the project is looked for in the folder where it is now.",
            fix="name a revision that has it there.",
        )
    )


def _last_line(said: str) -> str:
    return said.splitlines()[-1].removeprefix("fatal: ") if said else "git does not say why"


# -- files -----------------------------------------------------------------------------------------


def _check_out(root: Path, revision: Revision, tree: str, place: Path) -> list[str]:
    """Write the files of a tree below an empty folder; return its submodules, which are not in it."""
    code, out, said = _git(root, "ls-tree", "-r", "-z", "--full-tree", tree)
    if code:
        raise _unreadable(revision, _last_line(said))
    blobs = []
    for entry in filter(None, out.split(b"\0")):
        head, _, path = entry.partition(b"\t")
        mode, _kind, name = head.decode().split(" ")[:3]
        blobs.append(_Blob(mode, name, os.fsdecode(path)))
    for blob in blobs:
        if not _is_inside(blob.path):
            raise _unreadable(revision, f'it names a file "{blob.path}"')
    try:
        _write_all(root, revision, [blob for blob in blobs if blob.mode != _SUBMODULE], place)
    except OSError as error:
        raise _unreadable(revision, os.strerror(error.errno or 0)) from None
    return [blob.path for blob in blobs if blob.mode == _SUBMODULE]


def _is_inside(path: str) -> bool:
    """Return whether a path leads to a place below where it begins; git writes no other, but a tree may hold one."""
    return not set(path.split("/")) & {"", ".", ".."} and "\0" not in path


def _write_all(root: Path, revision: Revision, blobs: list[_Blob], place: Path) -> None:
    try:
        process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            git_command(root, "cat-file", "--batch"),
            env=git_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise _no_git(error) from None
    assert process.stdin and process.stdout
    try:
        # Links come last, so that nothing is ever written through one.
        for blob in sorted(blobs, key=lambda blob: blob.mode == _LINK):
            process.stdin.write(f"{blob.object}\n".encode())
            process.stdin.flush()
            _write(process.stdout, revision, blob, place)
    except BrokenPipeError:
        raise _unreadable(revision, "git ended early") from None
    finally:
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


def _write(source: IO[bytes], revision: Revision, blob: _Blob, place: Path) -> None:
    """Write the next object that git tells of."""
    words = source.readline().decode().split()
    if len(words) != 3 or words[1] != "blob":
        raise _unreadable(revision, f'the content of "{blob.path}" is not in the repository')
    path, rest = place / blob.path, int(words[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    if blob.mode == _LINK:
        path.symlink_to(os.fsdecode(source.read(rest)))
    else:
        with path.open("xb") as file:
            while rest:
                data = source.read(min(rest, _CHUNK))
                if not data:
                    raise _unreadable(revision, "git ended early")
                file.write(data)
                rest -= len(data)
    source.read(1)


def _unreadable(revision: Revision, why: str) -> UsageError:
    return UsageError(
        Problem(
            "revision-unreadable",
            f'revision "{revision.name}" ({revision.short}) cannot be read: {why}',
            why="its manifests are read whole or not at all.",
            fix="fetch what the repository lacks (a partial clone has not all content), or name another revision.",
        )
    )


def _warn_of_submodules(revision: Revision, submodules: list[str]) -> None:
    """Say what is left out: a manifest that a pattern finds in the work tree is missed in a revision by nobody."""
    from reconciler.cli.output import show_problems

    show_problems(
        [
            Problem(
                "submodules-not-read",
                f'of revision "{revision.name}" ({revision.short}) these submodules are not read: '
                f"{', '.join(sorted(submodules))}",
                why="their content is in other repositories: what they declare is not there in this revision, so it "
                "may seem to come or to go.",
                fix="compare what stands beside them, or keep manifests and content in this repository.",
                severity=Severity.WARNING,
            )
        ]
    )


def _placed(problem: Problem, revision: Revision, submodules: list[str]) -> Problem:
    """Return a problem of a revision's files: where as git writes it, and why a file may be missing there."""

    def name(file: str) -> str:
        return f"{revision.name}:{revision.folder}/{file}" if revision.folder else f"{revision.name}:{file}"

    if problem.code == "file-missing":
        inside = f"; the submodules {', '.join(submodules)} are not read" if submodules else ""
        problem = replace(
            problem,
            why=f'revision "{revision.name}" holds only what was committed, not what git ignores{inside}.',
            fix="commit the file, or name a revision that has it.",
        )
    return replace(
        problem,
        position=replace(problem.position, file=name(problem.position.file)) if problem.position else None,
        where=problem.where if problem.position else problem.where or f"{revision.name} ({revision.short})",
        related=tuple(
            Related(replace(entry.position, file=name(entry.position.file)), entry.what) for entry in problem.related
        ),
    )
