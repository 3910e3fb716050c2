"""What PostgreSQL reports, said as problems of a state; decided by error classes, never by message texts.

Only the first line of what the server says is repeated, and nothing of what libpq says about a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from reconciler.problems import Problem, StateError

_NOTHING_LOST = "what was recorded before is kept; a call whose answer could not be recorded is in doubt there."

_ACCESS = (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InsufficientPrivilege)
_READ_ONLY = (errors.ReadOnlySqlTransaction,)
_FULL = (errors.DiskFull, errors.ConfigurationLimitExceeded)
_ENDED = (errors.IdleInTransactionSessionTimeout, errors.InFailedSqlTransaction)
_BUSY = (
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.TooManyConnections,
)


def corrupt(where: str, detail: str) -> StateError:
    """Our tables, damaged."""
    return StateError(
        Problem(
            code="state-corrupt",
            what=f"the state is damaged: {detail}",
            why="it can no longer say what was accepted.",
            fix="copy the schema away before anything else (pg_dump); then restore it from a backup.",
            where=where,
        )
    )


def replaced(where: str) -> StateError:
    """The tables under our feet are gone."""
    return StateError(
        Problem(
            code="state-replaced",
            what="the state was removed during this run",
            why="what this run records would go where nobody looks any more.",
            fix="put the tables back that this run began with, then run the same command again.",
            where=where,
        )
    )


def unsuitable(where: str, encoding: str) -> StateError:
    """A database that cannot hold every text."""
    return StateError(
        Problem(
            code="state-encoding",
            what=f"the database is encoded in {encoding}",
            why="addresses and documents are Unicode, and some of them could not be kept.",
            fix="create a database for it: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0.",
            where=where,
        )
    )


@contextmanager
def reported(where: Callable[[], str]) -> Iterator[None]:
    """Turn errors of PostgreSQL inside the block into StateError."""
    try:
        yield
    except psycopg.Error as error:
        raise from_postgres(error, where()) from None  # the cause may hold the connection's parameters


def from_postgres(error: psycopg.Error, where: str) -> StateError:
    """Return the problem that an error amounts to."""
    said = _said(error)
    if isinstance(error, _ACCESS) or (error.sqlstate or "").startswith("28") or _is_refused_login(error):
        return _problem(
            "state-access-denied",
            f"PostgreSQL refuses: {said}",
            "check the role and its rights to the schema, and the password in PGPASSWORD or the password file.",
            where,
        )
    if isinstance(error, _READ_ONLY):
        return _problem(
            "state-read-only",
            f"the state cannot be written: {said}",
            "name the primary server, not a standby, and a role that may write.",
            where,
        )
    if isinstance(error, _FULL):
        return _problem("disk-full", f"the server has no space left: {said}", "free some space there.", where)
    if isinstance(error, _BUSY):
        return _problem("state-busy", f"PostgreSQL is busy: {said}", "try again a little later.", where)
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, *_ENDED)):
        return _problem(
            "state-unreachable",
            f"PostgreSQL cannot be reached: {said}",
            "check the address and the network, then run the same command again.",
            where,
        )
    # Our statements are fixed, so a table, a column or a value that they count on is not there.
    return corrupt(where, said)


def _problem(code: str, what: str, fix: str, where: str) -> StateError:
    return StateError(Problem(code=code, what=what, why=_NOTHING_LOST, fix=fix, where=where))


def _is_refused_login(error: psycopg.Error) -> bool:
    # An error while connecting has no SQLSTATE, only libpq's text.
    return error.sqlstate is None and any(text in str(error) for text in ("authentication failed", "no password"))


def _said(error: psycopg.Error) -> str:
    primary = error.diag.message_primary
    text = primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.strip().rstrip(".")
