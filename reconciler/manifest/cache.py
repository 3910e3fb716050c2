"""What was read before, by file: a SQLite file beside the state that may be deleted at any time.

One row per manifest file: its stat when it was read, the digest of its text, what it leans on and its
`FileRecord`; beside them what reconciler.yaml came to, and the last plans and the last findings of lints,
each by the digest of all that they were made from.
A row is used when the file's stat is unchanged and older than the row itself (git's racy rule: a
file written in the same instant as its row may have changed again unseen); otherwise when the text
has the same digest. Everything is keyed by `edition`: another version of the tool, the schema or the
parser starts afresh. A cache that cannot be read or written is no error: it is only slower. Rows are
sealed: one that is damaged, or half of it newer than the other, counts as none.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from reconciler.manifest.paths import FileStat
from reconciler.manifest.project import Project
from reconciler.manifest.record import FileRecord, Leans, decode_record

# Within this many ns before it was read a file's stat proves nothing: a second write in the same tick
# of the file system's clock leaves no trace. Some file systems count in seconds.
RACY_NS = 100_000_000
COARSE_NS = 2_000_000_000
SECOND_NS = 1_000_000_000

_ENCODE = msgspec.msgpack.Encoder().encode
_STAT = msgspec.msgpack.Decoder(FileStat)
_LEANS = msgspec.msgpack.Decoder(Leans)
_PROJECT = msgspec.msgpack.Decoder(Project)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS edition (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
    path TEXT PRIMARY KEY, stat BLOB NOT NULL, read_at INTEGER NOT NULL, digest BLOB NOT NULL,
    context BLOB NOT NULL, leans BLOB NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS project (
    environment TEXT PRIMARY KEY, file TEXT NOT NULL, stat BLOB NOT NULL, read_at INTEGER NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plan (key BLOB PRIMARY KEY, made_at INTEGER NOT NULL, document BLOB NOT NULL)
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lints (key BLOB PRIMARY KEY, made_at INTEGER NOT NULL, document BLOB NOT NULL)
WITHOUT ROWID;
"""

_Kept = Literal["plan", "lints"]
_FIND = {
    "plan": "SELECT document FROM plan WHERE key = ?",
    "lints": "SELECT document FROM lints WHERE key = ?",
}
_KEEP = {
    "plan": "INSERT OR REPLACE INTO plan VALUES (?, ?, ?)",
    "lints": "INSERT OR REPLACE INTO lints VALUES (?, ?, ?)",
}
_DROP = {
    "plan": "DELETE FROM plan WHERE key NOT IN (SELECT key FROM plan ORDER BY made_at DESC LIMIT 4)",
    "lints": "DELETE FROM lints WHERE key NOT IN (SELECT key FROM lints ORDER BY made_at DESC LIMIT 4)",
}


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A manifest file as it was read.

    `digest` is the SHA-256 of its text, `packed` its record, empty where only the rest was loaded.
    """

    stat: FileStat
    read_at: int
    digest: bytes
    context: bytes
    leans: Leans
    packed: bytes = b""

    def is_fresh(self, stat: FileStat) -> bool:
        """Whether a file with this stat surely still has the text that was read."""
        return self.stat == stat and not is_racy(stat, self.read_at)

    @staticmethod
    def unpack(packed: bytes) -> FileRecord:
        """Return a packed record. Raises msgspec.DecodeError for a damaged one."""
        return decode_record(packed)


def row_context(context: bytes, *, is_project: bool) -> bytes:
    """Return what a row of the project's own file, or of any other, was read under."""
    return context + b"/project" if is_project else context


def _seal(*parts: bytes | str | int) -> bytes:
    """Return a checksum of what belongs together."""
    total = 0
    for part in parts:
        total = zlib.crc32(part if isinstance(part, bytes) else str(part).encode(), total)
        total = zlib.crc32(b"/", total)
    return total.to_bytes(4, "big")


def is_racy(stat: FileStat, read_at: int) -> bool:
    """Whether a file may have changed after `read_at` without its stat showing it."""
    changed = max(stat.mtime_ns, stat.ctime_ns)
    return changed + (COARSE_NS if stat.ctime_ns % SECOND_NS == 0 else RACY_NS) >= read_at


class ManifestCache:
    """The cache file of one project; `path` None keeps nothing."""

    def __init__(self, path: Path | None, edition: str) -> None:
        self._path = path
        self._edition = edition
        self._connection = _open(path, edition) if path is not None else None

    def load(self) -> dict[str, CachedFile]:
        """Return all rows by path, without their records."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute("SELECT path, stat, read_at, digest, context, leans FROM file").fetchall()
        except sqlite3.Error as error:
            self._start_afresh(error)
            return {}
        out = {}
        for path, stat, read_at, digest, context, leans in rows:
            try:
                if leans[:4] == _seal(path, stat, read_at, digest, context, leans[4:]):
                    row = CachedFile(_STAT.decode(stat), read_at, digest, context, _LEANS.decode(leans[4:]))
                    out[path] = row
            except (msgspec.DecodeError, TypeError):
                continue
        return out

    def records(self, rows: Mapping[str, CachedFile]) -> dict[str, bytes]:
        """Return the packed records that belong to these rows."""
        if self._connection is None:
            return {}
        out = {}
        try:
            for path, row in rows.items():
                found = self._connection.execute("SELECT record FROM file WHERE path = ?", (path,)).fetchone()
                # Another process may have written the row anew since it was loaded.
                if found is not None and found[0][:4] == _seal(row.digest, _ENCODE(row.leans), found[0][4:]):
                    out[path] = found[0][4:]
        except (sqlite3.Error, TypeError) as error:
            self._start_afresh(error)
            return {}
        return out

    def save(self, files: Iterable[tuple[str, CachedFile]], gone: Iterable[str]) -> None:
        """Replace the rows of `files` and drop those of `gone`, in one transaction."""
        if self._connection is None:
            return
        rows = [
            (*_sealed_row(path, file), _seal(file.digest, _ENCODE(file.leans), file.packed) + file.packed)
            for path, file in files
        ]
        missing = [(path,) for path in gone]
        if not rows and not missing:
            return
        try:
            with self._connection:
                self._connection.executemany("DELETE FROM file WHERE path = ?", missing)
                self._connection.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._start_afresh(error)

    def touch(self, files: Iterable[tuple[str, CachedFile]]) -> None:
        """Note that files still have the text that was read, and when that was seen."""
        if self._connection is None:
            return
        rows = [_sealed_row(path, file) for path, file in files]
        try:
            with self._connection:
                self._connection.executemany(
                    "UPDATE file SET stat = ?, read_at = ?, leans = ? WHERE path = ? AND digest = ?",
                    [(stat, read_at, leans, path, digest) for path, stat, read_at, digest, _, leans in rows],
                )
        except sqlite3.Error:
            return

    def _start_afresh(self, error: Exception) -> None:
        """Give up a file that is damaged, so that the next run is quick again; one that is only busy stays."""
        if type(error) is not sqlite3.DatabaseError or self._path is None:
            return
        self.close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return
        self._connection = _open(self._path, self._edition)

    def project(self, environment: str, file: str, stat: FileStat) -> Project | None:
        """Return what reconciler.yaml said for an environment when it last had this stat."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(
                "SELECT file, stat, read_at, value FROM project WHERE environment = ?", (environment,)
            ).fetchone()
            if row is None or row[0] != file or _STAT.decode(row[1]) != stat or is_racy(stat, row[2]):
                return None
            sealed = row[3][:4] == _seal(environment, *row[:3], row[3][4:])
            return _PROJECT.decode(row[3][4:]) if sealed else None
        except (sqlite3.Error, msgspec.DecodeError, TypeError):
            return None

    def save_project(self, environment: str, file: str, stat: FileStat, read_at: int, project: Project) -> None:
        """Keep what reconciler.yaml says for an environment."""
        if self._connection is None:
            return
        packed, value = _ENCODE(stat), _ENCODE(project)
        row = (environment, file, packed, read_at, _seal(environment, file, packed, read_at, value) + value)
        try:
            with self._connection:
                self._connection.execute("INSERT OR REPLACE INTO project VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error:
            return

    def plan(self, key: bytes) -> bytes | None:
        """Return the plan document that was made from exactly the inputs that `key` digests."""
        return self._document("plan", key)

    def lints(self, key: bytes) -> bytes | None:
        """Return what lints found in exactly the manifests that `key` digests."""
        return self._document("lints", key)

    def _document(self, table: _Kept, key: bytes) -> bytes | None:
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(_FIND[table], (key,)).fetchone()
        except sqlite3.Error:
            return None
        return bytes(row[0]) if row else None

    def save_plan(self, key: bytes, document: bytes, made_at: int) -> None:
        """Keep a plan document; only the few newest stay."""
        self._save_document("plan", key, document, made_at)

    def save_lints(self, key: bytes, document: bytes, made_at: int) -> None:
        """Keep what lints found; only the few newest stay."""
        self._save_document("lints", key, document, made_at)

    def _save_document(self, table: _Kept, key: bytes, document: bytes, made_at: int) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.execute(_KEEP[table], (key, made_at, document))
                self._connection.execute(_DROP[table])
        except sqlite3.Error:
            return

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _sealed_row(path: str, file: CachedFile) -> tuple[str, bytes, int, bytes, bytes, bytes]:
    stat, leans = _ENCODE(file.stat), _ENCODE(file.leans)
    seal = _seal(path, stat, file.read_at, file.digest, file.context, leans)
    return path, stat, file.read_at, file.digest, file.context, seal + leans


def _open(path: Path, edition: str) -> sqlite3.Connection | None:
    # A link that came with somebody's project must not make us write elsewhere.
    if path.is_symlink() or path.parent.is_symlink():
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(path, edition)
    except (sqlite3.DatabaseError, OSError):
        try:
            path.unlink(missing_ok=True)
            return _connect(path, edition)
        except (sqlite3.Error, OSError):
            return None


def _connect(path: Path, edition: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0.2)
    try:
        # A row lost in a crash costs one slow plan, a torn one a wrong plan: so no waiting for the
        # disk at every write, but never a file in disorder.
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        row = None
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'edition'").fetchone():
            row = connection.execute("SELECT value FROM edition").fetchone()
        if row is None or row[0] != edition:
            for table in ("file", "plan", "lints", "project", "edition"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.executescript(_SCHEMA)
            with connection:
                connection.execute("INSERT INTO edition VALUES (1, ?)", (edition,))
    except sqlite3.Error:
        connection.close()
        raise
    return connection
