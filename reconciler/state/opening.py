"""[io] From the setting `state` to the store it names: a local file, a schema of a database, a prefix of a bucket.

What a team store needs beside the rest is imported when one is opened, and only then.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

from reconciler.problems import Problem, StateError
from reconciler.state.key import Key
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import Store

_POSTGRES = ("postgresql", "postgres")


def open_store(state: str, root: Path, work: Path, key: Key | None = None, *, must_encrypt: bool = False) -> Store:
    """Return the store that `state` names: a path below `root`, or a URL. Nothing is read or made yet.

    An object store keeps a replica of what it holds below `work`. Raises StateError for a URL that leads nowhere, and
    when the package that speaks to such a store is not installed. With a `key` a new state is encrypted where stores do
    that; with `must_encrypt` no other is written, and a store that does not encrypt is refused.
    """
    scheme, separator, _ = state.partition("://")
    if not separator:
        return SqliteStore(root / state, key, must_encrypt=must_encrypt)
    if must_encrypt and scheme in _POSTGRES:
        raise not_by_us(f"{scheme}://")
    if scheme in _POSTGRES:
        return _postgres(state)
    replica = work / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.replica.db"
    return _objects(state, replica, key, must_encrypt=must_encrypt)


def _postgres(url: str) -> Store:
    _need("postgres", "psycopg")
    from reconciler.state.postgres.store import PostgresStore

    return PostgresStore(url)


def _objects(url: str, replica: Path, key: Key | None, *, must_encrypt: bool) -> Store:
    _need("objects", "obstore", "zstandard")
    from reconciler.state.objects.store import ObjectStore

    return ObjectStore(url, replica, key, must_encrypt=must_encrypt)


def not_by_us(where: str) -> StateError:
    """A database server is asked to keep what it cannot read."""
    return StateError(
        Problem(
            "encryption-unsupported",
            "reconciler does not encrypt a state in PostgreSQL",
            why="the server must read the tables to answer; at rest it encrypts by its own means: an encrypted disk, "
            "or transparent data encryption where it has that.",
            fix="have the server's storage encrypted, or keep the state in a file; "
            "leave `encryptState` out of this environment.",
            where=where,
        )
    )


def _need(extra: str, *packages: str) -> None:
    for package in packages:
        try:
            import_module(package)
        except ImportError:
            raise StateError(
                Problem(
                    "store-package",
                    f"a store that a team shares needs {package}, which is not installed",
                    why="a local state does not need it, so it comes only when it is asked for.",
                    fix=f"install it:\n    pip install 'reconciler[{extra}]'",
                )
            ) from None
