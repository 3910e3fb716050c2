"""What every store reads that keeps its state in tables; which file, which server and which moment are the store's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from reconciler.model.address import Address
from reconciler.model.former import Former, merge
from reconciler.model.states import StateBase, Target
from reconciler.problems import Problem, StateError
from reconciler.state.checking import trouble_in
from reconciler.state.journal import JournalEntry, RunRecord, Step, Usage
from reconciler.state.rows import RecordedRow
from reconciler.state.sql import read
from reconciler.state.sql.chain import lost_runs
from reconciler.state.sql.connection import MOVED_TO, Sql, read_meta
from reconciler.state.sql.whole import dump
from reconciler.state.store import EMPTY_BASE
from reconciler.state.whole import Part


class SqlReader:
    """Fulfils `state.store.StateReader` but for `reading` and `where`, which are a matter of files and servers."""

    _serial: int | None = None

    @property
    def where(self) -> str:
        """The state's name for messages."""
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[None]:
        """Make all reads inside see one moment."""
        raise NotImplementedError

    def _read(self) -> AbstractContextManager[Sql | None]:
        """Give the tables as they are at one moment, None when there is no state; report what goes wrong."""
        raise NotImplementedError

    def _corrupt(self, detail: str) -> StateError:
        """Return the error for tables that hold what we never write."""
        raise NotImplementedError

    def _misfits(self, sql: Sql) -> Iterable[str]:  # noqa: ARG002
        """Return what the database itself finds wrong, where it looks at all."""
        return ()

    @contextmanager
    def sense(self) -> Iterator[None]:
        """Report values that we never write as damage."""
        try:
            yield
        except ValueError as error:
            raise self._corrupt(str(error)) from error

    def base(self) -> StateBase:
        """Return lineage and serial."""
        with self._read() as sql:
            found = read.base(sql) if sql else EMPTY_BASE
            self._serial = found.serial
            return found

    def target(self) -> Target | None:
        """Return the remote that the last run spoke to."""
        with self._read() as sql:
            return read.target(sql) if sql else None

    def fingerprints(self) -> dict[str, bytes]:
        """Return the fingerprint of every recorded address, in address order."""
        with self._read() as sql:
            return read.fingerprints(sql) if sql else {}

    def rows(self, addresses: Iterable[str] | None = None) -> Iterator[RecordedRow]:
        """Yield the recorded rows, sorted by address; of `addresses` those that are recorded."""
        if addresses is None:
            return self._all_rows()
        return self._rows_of(sorted({str(address) for address in addresses}))

    def rejected(self) -> tuple[Address, ...]:
        """Return the addresses that were found rejected."""
        with self._read() as sql:
            return read.rejected(sql) if sql else ()

    def unsettled(self) -> tuple[JournalEntry, ...]:
        """Return the intents that are in doubt, narrowed to the addresses in doubt."""
        with self._read() as sql:
            return read.unsettled(sql) if sql else ()

    def highest_ordering_id(self) -> int:
        """Return the highest ordering id that any call was ever given here."""
        with self._read() as sql:
            return read.highest_ordering_id(sql) if sql else 0

    def usage_since(self, at: str) -> Usage:
        """Return what the calls since a moment came to at least."""
        with self._read() as sql:
            return read.usage_since(sql, at) if sql else Usage()

    def activities(self) -> tuple[tuple[str, str], ...]:
        """Return the sources that were told of an activity and not of its end."""
        with self._read() as sql:
            return read.activities(sql) if sql else ()

    def runs(self, limit: int | None = None) -> tuple[RunRecord, ...]:
        """Return the history, newest run first."""
        with self._read() as sql:
            return read.history(sql, limit) if sql else ()

    def journal(self, run: str | None = None, *, after: int = 0) -> Iterator[JournalEntry]:
        """Yield the journal after the entry `after` in the order in which it was written."""
        return self._entries(lambda sql, seq: read.entries_after(sql, seq, run), after)

    def unsure(self) -> Iterator[JournalEntry]:
        """Yield the intents that were never answered, and what replaced the state, oldest first."""
        return self._entries(read.unsure_after, 0)

    def _entries(self, page_after: Callable[[Sql, int], list[tuple[Any, ...]]], seq: int) -> Iterator[JournalEntry]:
        while True:
            with self._read() as sql:
                page = page_after(sql, seq) if sql else []
            if not page:
                return
            for cells in page:
                with self.sense():
                    entry = read.entry(cells)
                yield entry
                seq = entry.seq

    def runs_with_formers(self) -> tuple[str, ...]:
        """Return the runs whose changes of access can be looked up, newest first."""
        with self._read() as sql:
            return read.runs_with_formers(sql) if sql else ()

    def formers(self, run: str) -> Mapping[Address, Former]:
        """Return what was recorded before a run, of each address whose access it changed, in address order."""
        found: dict[Address, Former] = {}
        seq = 0
        while True:
            with self._read() as sql:
                page = read.formers_after(sql, seq, run) if sql else None
            if page is None:
                return dict(sorted(found.items()))
            seq, formers = page
            merge(found, formers)

    def steps(self, run: str) -> Iterator[Step]:
        """Yield each change of a run that may have changed access, oldest first."""
        seq = 0
        while True:
            with self._read() as sql:
                step = read.step_after(sql, seq, run) if sql else None
            if step is None:
                return
            yield step
            seq = step.seq

    def dump(self) -> Iterator[Part]:
        """Yield all that is kept, to be restored elsewhere."""
        with self._read() as sql:
            if sql is not None:
                with self.sense():
                    yield from dump(sql)

    def moved_to(self) -> str:
        """Return where the state was moved to, empty if it was not."""
        with self._read() as sql:
            return str(read_meta(sql, MOVED_TO).get(MOVED_TO, "")) if sql else ""

    def check(self) -> tuple[Problem, ...]:
        """Return what is wrong: what the database says, and what `checking.trouble_in` finds."""
        problems: list[Problem] = []
        try:
            with self.reading():
                with self._read() as sql:
                    found = [*self._misfits(sql), *lost_runs(sql)] if sql is not None else []
                for detail in found:
                    problems += self._corrupt(detail).problems
                problems += trouble_in(self, self._corrupt)
        except StateError as error:
            problems += error.problems
        return tuple(problems)

    def _all_rows(self) -> Iterator[RecordedRow]:
        address = ""
        while True:
            with self._read() as sql:
                page = read.page_after(sql, address) if sql else []
            if not page:
                return
            yield from page
            address = page[-1].address

    def _rows_of(self, addresses: Sequence[str]) -> Iterator[RecordedRow]:
        for start in range(0, len(addresses), read.PAGE // 2):
            with self._read() as sql:
                if sql is None:
                    return
                page = read.page_of(sql, addresses[start : start + read.PAGE // 2])
            yield from page
