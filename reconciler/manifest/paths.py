"""The only way to files below the project's folder: names from manifests never lead out of it.

A manifest may come from a stranger's pull request. So a path is refused when it is absolute, when
`..` or a symbolic link takes it out of the folder, and when what it names is no regular file. A
file is opened component by component without following links, and looked at again once it is open:
what was swapped in between cannot be read from elsewhere and cannot make us wait.

Problems come without a position: who asked knows where the path was written.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat as mode_bits
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from reconciler.problems import ManifestError, Problem, did_you_mean

_LEFT_OUT = "a file that is silently left out would look like one that was deleted."
_BY_LINK = " by a symbolic link"
_KINDS = {mode_bits.S_IFDIR: "a folder", mode_bits.S_IFIFO: "a FIFO", mode_bits.S_IFSOCK: "a socket"}
_MAGIC = re.compile(r"[*?\[]")
_LINK_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE_FLAGS = os.O_RDONLY | _LINK_FLAGS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER_FLAGS = os.O_RDONLY | _LINK_FLAGS | getattr(os, "O_DIRECTORY", 0)
_STEPWISE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_States = frozenset[tuple[str, ...]]


class FileStat(NamedTuple):
    """What tells whether a file is still the one that was read."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class SafePath(NamedTuple):
    """A regular file in the project's folder: its name there, its absolute path without links, its stat."""

    relative: str
    real: str
    stat: FileStat


class FoundFile(NamedTuple):
    """A file that a pattern matched, named relative to the project's folder with `/`."""

    path: str
    stat: FileStat


class Globbed(NamedTuple):
    """The files that patterns match, sorted by code point, and what matched but cannot be used."""

    files: list[FoundFile]
    problems: list[Problem]


def file_stat(status: os.stat_result) -> FileStat:
    """Return the part of a stat result that we compare."""
    return FileStat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class ProjectFolder:
    """The project's folder and everything that may be read from it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._root = str(self.root)

    def resolve(self, relative: str) -> SafePath | Problem:
        """Return the regular file that `relative` names, or why it cannot be used."""
        try:
            return self._resolve(relative)
        except ManifestError as error:
            return error.problems[0]

    def open(self, relative: str) -> FileIO:
        """Open the file for reading, unbuffered; raises ManifestError with one problem.

        Never waits: whatever is no regular file is refused before it is opened, and once more after.
        """
        inside = Path(self._resolve(relative).real).relative_to(self.root)
        try:
            descriptor = _open_beneath(self._root, inside.parts)
        except OSError as error:
            raise ManifestError(_os_problem(relative, error)) from None
        status = os.fstat(descriptor)
        if not mode_bits.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ManifestError(_not_a_file(relative, status.st_mode))
        return os.fdopen(descriptor, "rb", buffering=0)

    def glob(self, patterns: Sequence[str], exclude: Sequence[str] = ()) -> Globbed:
        """Return every regular file that one of `patterns` and none of `exclude` matches.

        `*`, `?` and `[abc]` match within a name, `**` any folders; letter case counts. A name that
        begins with a dot is matched only by a pattern that spells the dot. A link to a file in the
        project counts as that file; a link to a folder is followed only where a pattern names it
        without wildcards, so that no circle is walked. An excluded folder excludes all it holds.
        """
        problems = [problem for text in (*patterns, *exclude) if (problem := check_pattern(text))]
        if problems:
            return Globbed([], problems)
        walk = _Walk(self, _split_all(patterns), _split_all(exclude))
        walk.run()
        return Globbed(sorted(walk.files), sorted(walk.problems, key=lambda problem: problem.sort_key))

    def linked_folders(self, below: str) -> list[str]:
        """Return the links to folders that are anywhere in a folder, but for what begins with a dot."""
        found = []
        for path, names, _ in os.walk(self.root / below):
            names[:] = sorted(name for name in names if not name.startswith("."))
            found += [link for name in names if (link := Path(path, name)).is_symlink()]
        return [link.relative_to(self.root).as_posix() for link in found]

    def contains(self, real: str) -> bool:
        """Say whether an absolute path without links is the folder itself or below it."""
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def _resolve(self, relative: str) -> SafePath:
        parts = _parts(relative)
        real = os.path.join(self._root, *parts)  # noqa: PTH118 - this runs once for each file
        steps = accumulate(parts, lambda path, part: f"{path}{os.sep}{part}", initial=self._root)
        if ".." in parts or any(os.path.islink(step) for step in steps):  # noqa: PTH114
            real = os.path.realpath(real)
            if not self.contains(real):
                raise ManifestError(_outside(relative, _BY_LINK))
            if ".." in parts:
                parts = list(Path(real).relative_to(self.root).parts)
        try:
            status = os.lstat(real)
        except OSError as error:
            raise ManifestError(self._with_neighbour(_os_problem(relative, error), parts)) from None
        if mode_bits.S_ISLNK(status.st_mode):  # what is left of a circle
            raise ManifestError(_os_problem(relative, OSError(errno.ELOOP, "")))
        if not mode_bits.S_ISREG(status.st_mode):
            raise ManifestError(_not_a_file(relative, status.st_mode))
        return SafePath("/".join(parts), real, file_stat(status))

    def _with_neighbour(self, problem: Problem, parts: list[str]) -> Problem:
        folder = os.path.realpath(os.path.join(self._root, *parts[:-1]))  # noqa: PTH118
        if problem.code == "file-missing" and self.contains(folder):
            with suppress(OSError):
                names = sorted(filter(_encodable, os.listdir(folder)))  # noqa: PTH208
                return replace(problem, fix=did_you_mean(parts[-1], names[:1000]) or problem.fix)
        return problem


class _Walk:
    """One walk over the folder that serves all patterns: each folder is listed at most once."""

    def __init__(self, folder: ProjectFolder, wanted: _States, excluded: _States) -> None:
        self.folder = folder
        self.files: list[FoundFile] = []
        self.problems: list[Problem] = []
        self._pending = [("", str(folder.root), wanted, excluded)]
        self._step = cache(_Step)

    def run(self) -> None:
        while self._pending:
            prefix, path, wanted, excluded = self._pending.pop()
            try:
                with os.scandir(path) as entries:
                    self._folder(prefix, entries, self._step(wanted, dots=False), self._step(excluded, dots=True))
            except OSError as error:
                if not (prefix and isinstance(error, FileNotFoundError)):
                    self.problems.append(_os_problem(prefix.rstrip("/") or path, error))

    def _folder(self, prefix: str, entries: Iterable[os.DirEntry[str]], step: _Step, skip: _Step) -> None:
        for entry in entries:
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    self._enter(prefix, entry, step.below(name), skip)
                    continue
                if name in step.literal and entry.is_symlink():
                    self._linked_folder(prefix, entry, step, skip)
                if step.matches(name) and not skip.matches(name):
                    self._file(prefix + name, entry)
            except FileNotFoundError:
                continue  # deleted since it was listed: as if the walk had come later

    def _enter(self, prefix: str, entry: os.DirEntry[str], below: _States, skip: _Step) -> None:
        if below and not skip.matches(entry.name):
            self._pending.append((f"{prefix}{entry.name}/", entry.path, below, skip.below(entry.name)))

    def _linked_folder(self, prefix: str, entry: os.DirEntry[str], step: _Step, skip: _Step) -> None:
        real = os.path.realpath(entry.path)
        if not self.folder.contains(real):
            self.problems.append(_outside(prefix + entry.name, _BY_LINK))
        elif Path(real).is_dir():
            self._enter(prefix, entry, step.below_literal(entry.name), skip)

    def _file(self, path: str, entry: os.DirEntry[str]) -> None:
        if not _encodable(path):
            self.problems.append(_bad_name(path))
        elif entry.is_file(follow_symlinks=False):
            self.files.append(FoundFile(path, file_stat(entry.stat(follow_symlinks=False))))
        else:
            found = self.folder.resolve(path)
            if isinstance(found, SafePath):
                self.files.append(FoundFile(path, found.stat))
            elif not (entry.is_symlink() and Path(entry.path).is_dir()):
                self.problems.append(found)


class _Step:
    """What a set of patterns says about the names in one folder; each state is a pattern's rest."""

    def __init__(self, states: _States, *, dots: bool) -> None:
        reached = set(states)
        for state in states:
            while state and state[0] == "**":
                state = state[1:]
                reached.add(state)
        self._dots = dots
        self._deep = frozenset(state for state in reached if state and state[0] == "**")
        self._more = [(state[1:], _matcher(state[0])) for state in reached if len(state) > 1 and state[0] != "**"]
        self._last = [_matcher(state[0]) for state in reached if len(state) == 1 and state[0] != "**"]
        if any(state == ("**",) for state in reached):
            self._last.append(_matcher("*"))
        self._spelled = {state for state in reached if len(state) > 1 and not _MAGIC.search(state[0])}
        self.literal = {state[0] for state in self._spelled}

    def matches(self, name: str) -> bool:
        """Say whether a pattern ends with this name."""
        hidden = name.startswith(".") and not self._dots
        return any(match(name, hidden) for match in self._last)

    def below(self, name: str) -> _States:
        """Return the states for the folder of this name, none when no pattern leads there."""
        hidden = name.startswith(".") and not self._dots
        rest = {state for state, match in self._more if match(name, hidden)}
        return frozenset(rest if hidden else rest | self._deep)

    def below_literal(self, name: str) -> _States:
        """Return the states that spelled this name out."""
        return frozenset(state[1:] for state in self._spelled if state[0] == name)


def _matcher(segment: str) -> Callable[[str, bool], bool]:
    if not _MAGIC.search(segment):
        return lambda name, _hidden: name == segment
    match = re.compile(fnmatch.translate(segment)).match
    if segment.startswith("."):
        return lambda name, _hidden: match(name) is not None
    return lambda name, hidden: not hidden and match(name) is not None


def check_pattern(pattern: str) -> Problem | None:
    """Return what is wrong with a glob pattern, or None."""
    segments = pattern.split("/")
    if pattern.startswith("/") or ".." in segments:
        return _outside(pattern)
    if not pattern or "\0" in pattern:
        what, fix = "names nothing", "name the files, for example `content/**/*.html`."
    elif "\\" in pattern:
        what, fix = "holds a backslash", "separate folders by `/`; write `[*]` for a character that is a wildcard."
    elif any("**" in segment and segment != "**" for segment in segments):
        what, fix = "holds `**` beside other characters", "write `**/` for any folders and `*` within a name."
    elif segments[-1] in ("", "."):
        what, fix = "names a folder", "name its files, for example by adding `**`."
    else:
        return None
    return Problem("bad-pattern", f'the pattern "{pattern}" {what}', _LEFT_OUT, fix)


def _split_all(patterns: Iterable[str]) -> _States:
    return frozenset(tuple(part for part in text.split("/") if part not in ("", ".")) for text in patterns)


def _parts(relative: str) -> list[str]:
    """Return the components of a path that stays inside by its text alone."""
    if not relative or "\0" in relative or not _encodable(relative):
        raise ManifestError(_bad_name(relative))
    if os.path.splitdrive(relative)[0] or relative.startswith(("/", os.sep)):
        raise ManifestError(_outside(relative))
    parts = [part for part in relative.replace(os.sep, "/").split("/") if part not in ("", ".")]
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise ManifestError(_outside(relative))
    if not parts or relative.endswith("/"):
        raise ManifestError(_not_a_file(relative, mode_bits.S_IFDIR))
    return parts


def _open_beneath(root: str, parts: Sequence[str]) -> int:
    if not _STEPWISE:  # Windows: no links without privilege, no FIFOs in folders
        return os.open(os.path.join(root, *parts), _FILE_FLAGS)  # noqa: PTH118
    folder = os.open(root, _FOLDER_FLAGS & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _encodable(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


def _outside(path: str, how: str = "") -> Problem:
    return Problem(
        "path-outside",
        f'"{path}" leads out of the project folder{how}',
        "a manifest may only read what belongs to its project, wherever it came from.",
        "put the file below the folder of reconciler.yaml and name it relative to that folder.",
    )


def _not_a_file(path: str, mode: int) -> Problem:
    return Problem(
        "not-a-file",
        f'"{path}" is {_KINDS.get(mode_bits.S_IFMT(mode), "a device")}, where a file is wanted',
        "only regular files can be read twice with the same result.",
        "name a regular file.",
    )


def _bad_name(path: str) -> Problem:
    return Problem(
        "bad-file-name",
        f"{path!r} is not a file name that a manifest can hold",
        "names are kept as UTF-8 text in plans and states: empty ones, a NUL and other bytes have no such form.",
        "rename the file.",
    )


def _os_problem(path: str, error: OSError) -> Problem:
    if error.errno in (None, errno.ENOENT, errno.ENOTDIR):
        return Problem(
            "file-missing",
            f'there is no file "{path}"',
            "paths are relative to the folder of reconciler.yaml.",
            "create the file, or correct the path.",
        )
    circle = error.errno == errno.ELOOP
    reason = "its symbolic links lead in a circle" if circle else os.strerror(error.errno).lower()
    return Problem("file-unreadable", f'"{path}" cannot be read: {reason}', _LEFT_OUT, "make it readable.")
