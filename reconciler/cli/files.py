"""Reading and writing the files that are named on the command line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from reconciler.problems import Problem, UsageError

_OWN_FILES = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


def read_plan_file(path: Path) -> bytes:
    """Return the bytes of a saved plan. Raises UsageError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            Problem("no-plan", f'the plan "{path}" cannot be read: {_reason(error)}', fix="check the path.")
        ) from None


def put_in_place(path: Path, pieces: Iterable[bytes], *, mode: int | None = None) -> None:
    """Put a file where another may be, in one step: whoever reads meanwhile, or after a crash, has one of the two.

    Without a `mode` its owner alone may read it. Raises OSError when the disk refuses.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes | Iterable[bytes], what: str, *, option: str = "--out") -> None:
    """Write a file whole or not at all, readable by its owner alone: plans and states name people.

    What is large comes in pieces. `option` is the one that named the file. A pipe or a device is written to as it is.

    Raises UsageError when it cannot be written.
    """
    pieces = (data,) if isinstance(data, bytes) else data
    try:
        if _is_device(path):
            with path.open("ab") as file:
                file.writelines(pieces)
            return
        put_in_place(path, pieces)
    except OSError as error:
        raise UsageError(
            Problem(
                "cannot-write",
                f'the {what} cannot be written to "{path}": {_reason(error)}',
                fix=f"choose another file for {option}.",
            )
        ) from None


def _is_device(path: Path) -> bool:
    """Whether a path is a pipe or a device, or one of the names under which the system gives our own files.

    `/dev/stdout` may lead to a plain file, and yet nothing may be put in its place.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return True
    return path.absolute().parent in _OWN_FILES


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0)
