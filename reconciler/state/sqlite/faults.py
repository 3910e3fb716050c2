"""What SQLite and the operating system report, said as problems of a state file.

Every error of the local store passes here, so that none reaches the user as a traceback and each
names the file. It decides by error numbers, never by message texts.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.problems import Problem, StateError

KEY_VARIABLE = "RECONCILER_STATE_KEY"

_RESTORE = "restore it from a backup; to begin anew, move it away (then everything is sent again)."
_NOTHING_LOST = "what was recorded before is kept; the state file says exactly what was accepted."

_READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


def not_a_database(path: str, reason: str) -> StateError:
    """Any file that SQLite would not have written."""
    return StateError(
        Problem(
            code="state-not-a-database",
            what=f'"{path}" {reason}',
            why="a state that cannot be read is not an empty one: going on would send everything again "
            "and forget what to delete.",
            fix=f"check the path; if this was the state, {_RESTORE}",
            where=path,
        )
    )


def not_ours(path: str) -> StateError:
    """Another program's database."""
    return StateError(
        Problem(
            code="state-not-ours",
            what=f'"{path}" is a database of another program',
            why="writing to it could damage what it holds, so it was left untouched.",
            fix="name another state file for this environment.",
            where=path,
        )
    )


def corrupt(where: str, path: str, detail: str) -> StateError:
    """Our file, damaged."""
    return StateError(
        Problem(
            code="state-corrupt",
            what=f'"{path}" is damaged: {detail}',
            why="it can no longer say what was accepted.",
            fix=f"copy it away before anything else; then {_RESTORE}",
            where=where,
        )
    )


def encrypted(path: str) -> StateError:
    """No key for what is not plain."""
    return StateError(
        Problem(
            code="state-encrypted",
            what=f'"{path}" is encrypted, and there is no key to read it with',
            why="it may also be no state, or one whose beginning is damaged; without the key nobody can tell.",
            fix=f"put the key into {KEY_VARIABLE}.",
            where=path,
        )
    )


def key_wrong(path: str) -> StateError:
    """A key that does not open it."""
    return StateError(
        Problem(
            code="state-key-wrong",
            what=f'the key in {KEY_VARIABLE} does not open "{path}"',
            why="it was encrypted with another key, or its beginning is damaged; nobody can tell which.",
            fix=f"give the key that it was last encrypted with; if that is this one, {_RESTORE}",
            where=path,
        )
    )


def key_needed(where: str, path: str) -> StateError:
    """A state that must be encrypted would be plain."""
    return StateError(
        Problem(
            code="state-key-needed",
            what=f'{KEY_VARIABLE} is not set, and the environment says `encryptState: true`; "{path}" is not there yet',
            why="the state would be made without encryption.",
            fix=f"put the key into {KEY_VARIABLE}.",
            where=where,
        )
    )


def not_encrypted(where: str, path: str) -> StateError:
    """A state that must be encrypted is plain."""
    return StateError(
        Problem(
            code="state-not-encrypted",
            what=f'"{path}" is not encrypted, and the environment says `encryptState: true`',
            why="what is recorded would be written down in clear.",
            fix=f"put a key into {KEY_VARIABLE}, then encrypt it:\n    reconciler state encrypt",
            where=where,
        )
    )


def no_cipher(where: str, package: str = "sqlcipher3") -> StateError:
    """The library that encrypts is not there."""
    return StateError(
        Problem(
            code="encryption-package",
            what=f"an encrypted state needs the package {package}, and it is not installed",
            fix="install it:\n    pip install 'reconciler[encryption]'",
            where=where,
        )
    )


def replaced(where: str, path: str) -> StateError:
    """The file under our feet is another one now."""
    return StateError(
        Problem(
            code="state-replaced",
            what=f'"{path}" was removed or replaced by another file during this run',
            why="what this run records would go to a file that nobody sees any more.",
            fix="put the file back that this run began with, then run the same command again.",
            where=where,
        )
    )


def unreadable(where: str, path: str, detail: str) -> StateError:
    """The system refuses to hand it over."""
    return StateError(
        Problem(
            code="state-unreadable",
            what=f'"{path}" cannot be read: {detail}',
            fix="check that the path is right and that you may read the file and its folder.",
            where=where,
        )
    )


def read_only(where: str, path: str, detail: str) -> StateError:
    """The system refuses to let us write."""
    return StateError(
        Problem(
            code="state-read-only",
            what=f'"{path}" cannot be written: {detail}',
            why="no call is sent that cannot be recorded.",
            fix="make the file and its folder writable, or name a state file elsewhere.",
            where=where,
        )
    )


def _disk_full(where: str, path: str) -> StateError:
    return StateError(
        Problem(
            code="disk-full",
            what=f'no space is left to write "{path}"',
            why=_NOTHING_LOST,
            fix="free some space, then run the same command again.",
            where=where,
        )
    )


def _busy(where: str, path: str) -> StateError:
    return StateError(
        Problem(
            code="state-busy",
            what=f'another process keeps "{path}" busy',
            why=_NOTHING_LOST,
            fix="find out which program has it open (a database browser, a backup), then try again.",
            where=where,
        )
    )


def _io_error(where: str, path: str, detail: str) -> StateError:
    return StateError(
        Problem(
            code="state-io-error",
            what=f'reading or writing "{path}" failed: {detail}',
            why=_NOTHING_LOST,
            fix="check the disk, then run the same command again.",
            where=where,
        )
    )


@contextmanager
def reported(path: str, where: Callable[[], str], *, writing: bool) -> Iterator[None]:
    """Turn errors of SQLite and of the system inside the block into StateError."""
    try:
        yield
    except errors() as error:
        if type(error).__name__ == "ProgrammingError":
            raise  # a closed connection or a wrong parameter: a bug of ours, to be seen as one
        raise from_sqlite(error, where(), path, writing=writing) from error
    except OSError as error:
        raise from_os(error, where(), path, writing=writing) from error


def errors(name: str = "Error") -> tuple[type[Exception], ...]:
    """Return what SQLite raises in this process: SQLCipher has classes of its own, and is there once it is needed."""
    cipher = sys.modules.get("sqlcipher3.dbapi2")
    return tuple(getattr(module, name) for module in (sqlite3, cipher) if module is not None)


def is_no_database(error: Exception) -> bool:
    """Return whether SQLite, or SQLCipher with the key it has, took the file for none of its own."""
    return isinstance(error, errors()) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB


def from_sqlite(error: Exception, where: str, path: str, *, writing: bool) -> StateError:
    """Return the problem that an error of SQLite amounts to."""
    extended = getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    match extended & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return not_a_database(path, "is not a state file: it is no SQLite database")
        case sqlite3.SQLITE_FULL:
            return _disk_full(where, path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return _busy(where, path)
        case sqlite3.SQLITE_READONLY:
            return read_only(where, path, str(error))
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            if writing:
                return read_only(where, path, str(error))
            return unreadable(where, path, str(error))
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_TOOBIG:
            return _io_error(where, path, str(error))
        case _:
            # SQLITE_CORRUPT, and SQLITE_ERROR or a broken constraint: our statements are fixed, so
            # a table or a value that they count on is not there.
            return corrupt(where, path, str(error))


def from_os(error: OSError, where: str, path: str, *, writing: bool) -> StateError:
    """Return the problem that an error of the operating system amounts to."""
    detail = error.strerror or str(error)
    if error.errno in _FULL_ERRNOS:
        return _disk_full(where, path)
    if writing and error.errno in _READ_ONLY_ERRNOS:
        return read_only(where, path, detail)
    if error.errno == errno.EIO:
        return _io_error(where, path, detail)
    return unreadable(where, path, detail)
