"""[io] From the setting `state` to the store it names: a local file, a schema of a database, a prefix of a bucket.

What a team store needs beside the rest is imported when one is opened, and only then.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from reconciler.problems import Problem, StateError
from reconciler.state.sqlite import SqliteStore
from reconciler.state.store import Store

_POSTGRES = ("postgresql", "postgres")


def open_store(state: str, root: Path, work: Path) -> Store:
    """Return the store that `state` names: a path below `root`, or a URL. Nothing is read or made yet.

    An object store keeps a replica of what it holds below `work`. Raises StateError for a URL that leads nowhere, and
    when the package that speaks to such a store is not installed.
    """
    scheme, separator, _ = state.partition("://")
    if not separator:
        return SqliteStore(root / state)
    if scheme in _POSTGRES:
        return _postgres(state)
    return _objects(state, work / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.replica.db")


def _postgres(url: str) -> Store:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise _missing("postgresql", "psycopg", "postgres") from None
    from reconciler.state.postgres import PostgresStore

    return PostgresStore(url)


def _objects(url: str, replica: Path) -> Store:
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise _missing(url.partition("://")[0], "obstore", "objects") from None
    from reconciler.state.objects import ObjectStore

    return ObjectStore(url, replica)


def _missing(scheme: str, package: str, extra: str) -> StateError:
    return StateError(
        Problem(
            "store-package",
            f"the state is kept at a {scheme}:// store, and {package} is not installed",
            why="only those who share a state need it, so it comes when it is asked for.",
            fix=f"install it:\n    pip install 'reconciler[{extra}]'",
            where=f"{scheme}://",
        )
    )
