"""Who leads: of all controllers of one state, the one that holds its lock from round to round.

The lock is the state's own, so that whoever loses it can record nothing, and therefore sends nothing. Everything that
a round does under "the lock" it does under this holding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

from reconciler.cli.identify import iso, lock_info
from reconciler.cli.session import Session
from reconciler.problems import StateError
from reconciler.state.store import LockInfo, Store, Waiting, Writer


class Lead:
    """The holding of a state's lock, kept over many sessions; `release` gives it back."""

    def __init__(self) -> None:
        self._holding = ExitStack()
        self._of: tuple[str, ...] = ()
        self._led: Store | None = None

    @property
    def held(self) -> bool:
        """Whether we hold the lock, as far as we know."""
        return self._led is not None

    def take(self, session: Session) -> bool:
        """Have the session work under the lock, taking it first where it is not held; return whether it was taken.

        A project that names another state by now lets go of the old one. Raises StateError `state-locked` when somebody
        else holds it.
        """
        environment = session.project.environment
        of = (str(session.folder.root), environment.name, environment.state, str(environment.encrypt_state))
        if self._led is not None and self._of == of:
            session.store.close()
            session.store = self._led
            return False
        self.release()
        store = session.store
        with ExitStack() as stack:
            stack.callback(store.close)
            writer = stack.enter_context(store.lock(lock_info(iso())))
            self._holding = stack.pop_all()
        self._of, self._led = of, cast("Store", _Led(store, writer))
        session.store = self._led
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held, or lost."""
        self._led = None
        with suppress(StateError):  # whoever lost it has nothing to give back
            self._holding.close()


class _Led:
    """A store whose lock is held already: whoever takes it writes under that."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def lock(self, info: LockInfo, *, timeout: float = 0.0, waiting: Waiting | None = None) -> Iterator[Writer]:
        """Give the writer that there is."""
        del info, timeout, waiting
        yield self._writer

    def close(self) -> None:
        """Stay open: the lock is held by this very store."""
