"""[io] A local state made encrypted, plain, or encrypted with another key, with every row as it was.

Each file is written anew beside itself, compared, synced and renamed: killed at any moment it is there in one form or
the other, and the same call goes on. The copies of earlier formats come first, so that an encrypted state has none
beside it in clear.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.problems import StateError
from reconciler.state.key import Key
from reconciler.state.sql.connection import Sql
from reconciler.state.sqlite import faults, schema
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo, Waiting

_COPY = re.compile(r"\.version-[0-9]+\Z")
_LEFT = re.compile(r"(\.version-[0-9]+)?\.new(-journal)?\Z")


@dataclass(frozen=True, slots=True)
class Converted:
    """What was done: the names of the files that were written anew, and whether there is a state at all."""

    files: tuple[str, ...] = ()
    exists: bool = True


def convert(
    store: SqliteStore, info: LockInfo, key: Key | None, *, timeout: float = 0.0, waiting: Waiting | None = None
) -> Converted:
    """Make the state, and its copies of earlier formats, encrypted with `key`, None: plain; nobody writes meanwhile.

    What is so already stays as it is. Serial, history and journal stay what they are. Raises StateError.
    """
    if not store.real.exists():
        return Converted(exists=False)
    store.close()  # closed later, it would take the locks along that SQLCipher has on the same file
    with (
        store.held(info, timeout=timeout, waiting=waiting),
        faults.reported(store.path, lambda: store.path, writing=True),
    ):
        _remove_leftovers(store.real)
        paths = [*sorted(_beside(store.real, _COPY)), store.real]
        done = Converted(tuple(path.name for path in paths if _rewrite(path, store.key, key)))
    store.key = key or store.key
    return done


def _rewrite(path: Path, known: Key | None, key: Key | None) -> bool:
    """Write a file anew unless it is as it should be; return whether that was needed."""
    found, version = _form(path, known, key)
    if (found and found.reveal()) == (key and key.reveal()):
        return False
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.touch(0o600)  # nobody who may not read the state reads it while it is decrypted
        _export(path, found, fresh, key, version)
        fresh.chmod(path.stat().st_mode & 0o7777)
        fresh.replace(path)
    finally:
        for left in (fresh, fresh.with_name(fresh.name + "-journal")):
            left.unlink(missing_ok=True)
    schema.sync_folder(path.parent)
    return True


def _form(path: Path, *keys: Key | None) -> tuple[Key | None, int]:
    """Return which of the keys opens a file, None if it is plain, and the version of its tables. Raises StateError.

    The first key is the one that it should have.
    """
    wrong: StateError | None = None
    given: list[Key | None] = [key for key in keys if key is not None]
    for key in given or [None]:
        try:
            with faults.reported(str(path), lambda: str(path), writing=False):
                connection = schema.connect(path, str(path), key)
        except StateError as error:
            if error.problems[0].code != "state-key-wrong":
                raise
            wrong = error
            continue
        try:
            return connection.key, connection.format_version
        finally:
            connection.close()
    assert wrong is not None
    raise wrong if keys[0] is not None else faults.encrypted(str(path))


def _export(path: Path, found: Key | None, fresh: Path, key: Key | None, version: int) -> None:
    try:
        from reconciler.state.sqlite.cipher import open_file, raw
    except ImportError:
        raise faults.no_cipher(str(path)) from None
    connection = open_file(path, found, mode="rw", timeout=schema.BUSY_SECONDS)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("ATTACH ? AS fresh KEY ?", (fresh.as_uri(), raw(key)))
        connection.execute(f"PRAGMA fresh.page_size = {schema.PAGE}")
        connection.execute("PRAGMA fresh.synchronous = EXTRA")
        # Not IMMEDIATE: with two files open for writing, a commit makes a third one that names both.
        connection.execute("BEGIN")
        _copy(connection)
        connection.execute(f"PRAGMA fresh.application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA fresh.user_version = {version}")
        for detail in _differences(connection):
            raise ValueError(detail)
        connection.execute("COMMIT")
    except ValueError as error:
        raise faults.corrupt(str(path), str(path), str(error)) from error
    finally:
        connection.close()


def _copy(connection: Sql) -> None:
    """Copy all tables and indexes; by statements of ours, since sqlcipher_export says of no error which it was."""
    objects = connection.execute("SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL").fetchall()
    for kind, name, text in sorted(objects, key=lambda entry: entry[0] != "table"):
        head = f"CREATE {kind.upper()} "
        if not text.startswith(head):
            raise ValueError(f'"{name}" is nothing that a state has')
        connection.execute(f"{head}fresh.{text.removeprefix(head)}")
        if kind == "table":
            connection.execute(f'INSERT INTO fresh."{name}" SELECT * FROM main."{name}"')  # noqa: S608


def _differences(connection: Sql) -> Iterator[str]:
    """Say what the copy has otherwise."""
    tables = connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
    same = "SELECT count(*) FROM {}.sqlite_schema"
    for what, query in (("tables", same), *((name, f'SELECT count(*) FROM {{}}."{name}"') for (name,) in tables)):  # noqa: S608
        (before,), (after,) = (connection.execute(query.format(of)).fetchone() for of in ("main", "fresh"))
        if before != after:
            yield f"{what}: {before}, and {after} in a copy of it"
    for (name,) in tables:
        query = f'SELECT 1 FROM (SELECT * FROM main."{name}" EXCEPT SELECT * FROM fresh."{name}") LIMIT 1'  # noqa: S608
        if connection.execute(query).fetchone():
            yield f"{name}: a row is another one in a copy of it"


def _remove_leftovers(path: Path) -> None:
    for left in _beside(path, _LEFT):
        left.unlink(missing_ok=True)


def _beside(path: Path, ending: re.Pattern[str]) -> list[Path]:
    """Return the files whose names go on from the state's with this ending."""
    names = os.listdir(path.parent)  # noqa: PTH208
    return [path.with_name(name) for name in names if name.startswith(path.name) and ending.match(name, len(path.name))]
