"""Puts many new files into a folder of the project, all or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from reconciler.problems import Problem, UsageError


class NewFile(Protocol):
    """A file to write: its path relative to the folder, and what it holds."""

    @property
    def path(self) -> str: ...
    @property
    def data(self) -> bytes: ...


def place_files(
    files: Iterable[NewFile], folder: Path, *, force: bool, check: Callable[[list[str]], None]
) -> list[str]:
    """Write files below a folder, which is made if need be; return their paths in it.

    They are written aside and moved into place together; then `check` is called with their paths, and if it raises, or
    anything else goes wrong, everything is as it was before. Raises UsageError when a file is there already,
    without `force`, or cannot be written.
    """
    try:
        parent = _existing(folder)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".import-") as aside:
            return _placed(Path(aside), files, folder, force, check)
    except OSError as error:
        raise UsageError(
            Problem(
                "cannot-write",
                f'nothing can be written to "{folder}": {os.strerror(error.errno or 0)}',
                fix="choose another folder for --out.",
            )
        ) from None


def _placed(
    aside: Path, files: Iterable[NewFile], folder: Path, force: bool, check: Callable[[list[str]], None]
) -> list[str]:
    new, old = aside / "new", aside / "old"
    paths = []
    for file in files:
        target = new / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        paths.append(file.path)
    there = [path for path in paths if os.path.lexists(folder / path)]
    if there and not force:
        raise _there(folder, there)
    made = _missing(folder)
    moved: list[tuple[Path, Path | None]] = []
    try:
        for path in paths:
            target, kept = folder / path, None
            made += [entry for entry in _missing(target.parent) if entry not in made]
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                kept = old / path
                kept.parent.mkdir(parents=True, exist_ok=True)
                target.rename(kept)
            moved.append((target, kept))
            (new / path).rename(target)
        check(paths)
    except BaseException:
        for target, kept in reversed(moved):
            target.unlink(missing_ok=True)
            if kept is not None:
                kept.rename(target)
        for entry in sorted(made, reverse=True):
            with suppress(OSError):  # somebody else has put something there
                entry.rmdir()
        raise
    return paths


def _existing(folder: Path) -> Path:
    """Return the nearest folder that is there, in which what is written aside is on the same disk."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _missing(folder: Path) -> list[Path]:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing


def _there(folder: Path, there: list[str]) -> UsageError:
    others = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
    return UsageError(
        Problem(
            "file-exists",
            f'"{folder / there[0]}"{others} would be overwritten',
            why="what was changed there by hand would be lost.",
            fix="choose another folder for --out, or overwrite with --force.",
        )
    )
