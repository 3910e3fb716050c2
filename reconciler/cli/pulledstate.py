"""A state as a snapshot tells it, for who plans where the state itself cannot be reached; nothing comes back to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from reconciler.cli.statepush import read_snapshot
from reconciler.state.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from reconciler.cli.session import Session


class _Pulled(SqliteStore):
    """A store that goes by the name of the file that it was made from."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path)
        self._name = name

    @property
    def where(self) -> str:
        return self._name


@contextmanager
def state_of(session: Session, file: Path) -> Iterator[None]:
    """Have the session see what a snapshot (`state pull`) records in place of its state, which nobody asks anything.

    A snapshot holds no history: neither the commit that was applied last, nor what the calls of the last day came to.
    Raises UsageError or StateError for what is no snapshot, or one of another remote.
    """
    from reconciler.cli.session import check_target
    from reconciler.cli.stateedit import editing
    from reconciler.state.snapshot import decode

    snapshot = decode(read_snapshot(file), str(file))
    real = session.store
    with TemporaryDirectory(prefix="reconciler-state-") as folder:
        session.store = _Pulled(Path(folder) / "state.db", str(file))
        try:
            check_target(session, snapshot.target)
            if snapshot.base.lineage:
                with editing(session, (), 0.0, snapshot.target, snapshot.base.lineage) as writer:
                    writer.replace(snapshot.base, snapshot.rows, snapshot.unsettled)
            yield
        finally:
            session.store.close()
            session.store = real
