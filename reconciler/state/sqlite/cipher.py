"""[io] A local state that is encrypted: the same tables in a file that SQLCipher reads and writes.

Every page of the file and of its rollback journal is encrypted and authenticated with the key itself, so that no
command waits for one to be derived. Imported only when there is such a file to open or to make.
"""

from __future__ import annotations

from pathlib import Path

from sqlcipher3 import dbapi2  # type: ignore[import-untyped]

from reconciler.state.key import Key
from reconciler.state.packing import READABLE
from reconciler.state.sqlite.schema import PAGE


class CipherConnection(dbapi2.Connection):  # type: ignore[misc]
    """What `sqlite.schema.Connection` is for a plain file; `identity` is the device and number of its file."""

    readable = READABLE
    key: Key | None = None
    identity: tuple[int, int] = (0, 0)

    @property
    def format_version(self) -> int:
        """The version of the tables."""
        (version,) = self.execute("PRAGMA user_version").fetchone()
        return int(version)

    def close(self) -> None:
        """Close the file, whose number may be another one's then."""
        self.identity = (0, 0)
        super().close()


def open_file(path: Path, key: Key | None, *, mode: str, timeout: float) -> CipherConnection:
    """Open a file; None for one that is plain. `mode` is SQLite's: `ro`, `rw` or `rwc`.

    Whether the key is right shows when something is read: SQLITE_NOTADB if it is not, or the beginning is damaged.
    """
    connection: CipherConnection = dbapi2.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=timeout,
        check_same_thread=False,
        factory=CipherConnection,
    )
    try:
        connection.execute("PRAGMA cipher_log_level = NONE")  # it would write to stderr
        # The default, not that of this file alone: what is attached and what VACUUM INTO writes must have it as well.
        connection.execute(f"PRAGMA cipher_default_page_size = {PAGE}")
        if key is not None:
            connection.set_key(raw(key))
            connection.key = key
    except BaseException:
        connection.close()
        raise
    return connection


def raw(key: Key | None) -> str:
    """Return what makes SQLCipher use a key as it is; of None what leaves a file plain."""
    return "" if key is None else f"x'{key.reveal()}'"
