"""The bytes behind the digests of a plan: content files, and a store of bodies from manifests.

A plan names bodies only by digest. Those that stand in manifests are kept in one SQLite file, so
that a saved plan can be applied without reading manifests; those in content files stay where they
are. Whatever is handed out has the digest that was asked for, or the reading fails.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import stat as mode_bits
import threading
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from reconciler.manifest.paths import ProjectFolder
from reconciler.problems import ManifestError, Problem, StateError

_SCHEMA = "CREATE TABLE IF NOT EXISTS body (sha256 BLOB PRIMARY KEY NOT NULL, data BLOB NOT NULL)"
# The comparison heals a damaged row and writes nothing where the bytes are already there.
_PUT = (
    "INSERT INTO body VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET data = excluded.data"
    " WHERE body.data IS NOT excluded.data"
)


class BodyStore:
    """Bodies by SHA-256 in one SQLite file, which is made by the first `put_many`.

    May be used from several threads and by several processes at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> BodyStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def put_many(self, bodies: Iterable[tuple[str, bytes]]) -> None:
        """Keep bodies (digest in hex, bytes), all or none. Raises ValueError for a wrong digest."""
        with self._lock:
            try:
                connection = self._open(create=True)
                assert connection is not None
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_PUT, (_checked(sha256, data) for sha256, data in bodies))
            except sqlite3.Error as error:
                raise StateError(_sqlite_problem(self.path, error)) from None

    def open(self, sha256: str) -> BinaryIO:
        """Return the body of that digest. Raises KeyError when it is not kept, StateError when damaged."""
        rows = self._query("SELECT data FROM body WHERE sha256 = ?", sha256)
        if not rows:
            raise KeyError(sha256)
        data: bytes = rows[0][0]
        if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != sha256:
            raise StateError(_store_problem(self.path, f"the body {sha256} has other bytes than its digest says"))
        return io.BytesIO(data)

    def has(self, sha256: str) -> bool:
        """Say whether a body of that digest is kept, without reading it."""
        return bool(self._query("SELECT 1 FROM body WHERE sha256 = ?", sha256))

    def prune(self, keep: Set[str]) -> int:
        """Forget all bodies but these and return how many went."""
        with self._lock:
            try:
                connection = self._open(create=False)
                if connection is None:
                    return 0
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    rows = connection.execute("SELECT sha256 FROM body").fetchall()
                    gone = [row for row in rows if row[0].hex() not in keep]
                    connection.executemany("DELETE FROM body WHERE sha256 = ?", gone)
                return len(gone)
            except sqlite3.Error as error:
                raise StateError(_sqlite_problem(self.path, error)) from None

    def _query(self, sql: str, sha256: str) -> list[tuple[bytes]]:
        with self._lock:
            try:
                connection = self._open(create=False)
                return [] if connection is None else connection.execute(sql, (_key(sha256),)).fetchall()
            except sqlite3.Error as error:
                raise StateError(_sqlite_problem(self.path, error)) from None

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if self._connection is not None:
            return self._connection
        if not self._exists():
            if not create:
                return None
            self._make_folder()
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(_store_problem(self.path, error.strerror or str(error))) from None

    def _exists(self) -> bool:
        """Say whether the file is there. Raises StateError for a link or FIFO that a project may bring along."""
        for path, wanted in ((self.path.parent, mode_bits.S_ISDIR), (self.path, mode_bits.S_ISREG)):
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return False
            if not wanted(mode):
                raise StateError(_store_problem(self.path, f'"{path.name}" is a link or no file of ours'))
        return True


class ProjectBodies:
    """The bodies of a plan: `refs` says for each digest which content file holds it, None for the store.

    With `sizes`, a file of another size is refused before its first byte.
    """

    def __init__(
        self,
        store: BodyStore,
        folder: ProjectFolder,
        refs: Mapping[str, str | None],
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._refs = refs
        self._sizes = sizes or {}

    def open(self, sha256: str) -> BinaryIO:
        """Return the body of that digest, to be read once from its beginning.

        Raises KeyError for a digest that nobody holds, ManifestError for a content file that is gone
        or unsafe. Where its bytes have changed, the read that reaches its end raises ManifestError,
        so whoever reads all of it never takes it for the whole.
        """
        path = self._refs.get(sha256)
        if path is None:
            return self._store.open(sha256)
        file = self._folder.open(path)
        size = os.fstat(file.fileno()).st_size
        if size != self._sizes.get(sha256, size):
            file.close()
            raise ManifestError(_changed(path))
        return cast("BinaryIO", io.BufferedReader(_Verified(file, path, sha256, size), 1 << 16))


class _Verified(io.RawIOBase):
    """Passes the bytes of a file on and fails at its end when they do not add up to the digest."""

    def __init__(self, file: io.FileIO, path: str, sha256: str, size: int) -> None:
        super().__init__()
        self._file = file
        self._path = path
        self._wanted = sha256
        self._digest = hashlib.sha256()
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: self._left + 1]
        count = self._file.readinto(view) or 0
        self._left -= count
        self._digest.update(view[:count])
        at_end = self._left == 0 or (count == 0 and len(view) > 0)
        if self._left < 0 or (at_end and self._digest.hexdigest() != self._wanted):
            raise ManifestError(_changed(self._path))
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _checked(sha256: str, data: bytes) -> tuple[bytes, bytes]:
    key = hashlib.sha256(data).digest()
    if key.hex() != sha256:
        raise ValueError(f"the body has the digest {key.hex()}, not {sha256}. This is a bug in reconciler.")
    return key, data


def _key(sha256: str) -> bytes:
    try:
        return bytes.fromhex(sha256)
    except ValueError:
        return b""


def _sqlite_problem(path: Path, error: sqlite3.Error) -> Problem:
    # Only a damaged file is mended by deleting it; one that cannot be written is as good as ever.
    if isinstance(error, sqlite3.OperationalError):
        return Problem(
            "bodies-unusable",
            f"the bodies that manifests hold cannot be kept: {error}",
            why="a saved plan and an apply need them, since plans hold digests only.",
            fix="make the folder writable, or see whether the disk is full.",
            where=str(path),
        )
    return _store_problem(path, str(error))


def _store_problem(path: Path, reason: str) -> Problem:
    return Problem(
        "bodies-damaged",
        f"the store of bodies cannot be used: {reason}",
        "plans name texts from manifests by digest, and apply finds the texts there.",
        "delete the file; the next plan makes it anew:\n    reconciler plan",
        where=str(path),
    )


def _changed(path: str) -> Problem:
    return Problem(
        "content-changed",
        f'"{path}" has changed since the plan was made',
        "only what the plan shows is pushed.",
        "make and review a new plan:\n    reconciler plan",
    )
