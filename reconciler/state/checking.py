"""What is looked at in any store to say whether its state is whole.

Pure: reads by the methods of `StateReader` alone. Pages, tables and objects are each store's own concern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reconciler.problems import Problem, StateError
from reconciler.state.chain import first_misfit, misfit_told

if TYPE_CHECKING:
    from reconciler.state.store import StateReader

Corrupt = Callable[[str], StateError]
"""Makes the store's own error of a sentence that says what is damaged."""


def trouble_in(state: StateReader, corrupt: Corrupt) -> tuple[Problem, ...]:
    """Return what is wrong: rows against their digests, serial and lineage, the journal, the chain of runs."""
    found: list[Problem] = []
    for look in (_base, _rows, _journal, _formers, _history):
        try:
            for detail in look(state):
                found += corrupt(detail).problems
        except StateError as error:
            found += (problem for problem in error.problems if problem not in found)
    return tuple(found)


def _base(state: StateReader) -> Iterator[str]:
    base = state.base()
    runs = state.runs()
    if base.serial < 0:
        yield f"its serial is {base.serial}"
    if runs and not base.lineage:
        yield "runs are recorded and no lineage"
    if not runs and (base.lineage or base.serial):
        yield "it has a lineage or a serial, and no run that gave it one"


def _rows(state: StateReader) -> Iterator[str]:
    kept = state.fingerprints()
    for row in state.rows():
        if row.fingerprint != kept.get(row.address):
            yield f'the row of "{row.address}" does not match its digest'


def _journal(state: StateReader) -> Iterator[str]:
    highest = 0
    for entry in state.journal():
        highest = max(highest, entry.intent.ordering_id)
    if highest != state.highest_ordering_id():
        yield f"the journal's highest ordering id is {highest}, and {state.highest_ordering_id()} is found as such"


def _formers(state: StateReader) -> Iterator[str]:
    known = {record.run.id for record in state.runs()}
    for run in state.runs_with_formers():
        for _ in state.steps(run):  # raises for what does not read
            pass
        if run not in known:
            yield f'what was before run "{run}" is kept, and the run is not in the history'


def _history(state: StateReader) -> Iterator[str]:
    history = state.runs()
    misfit = first_misfit(history)
    if misfit is not None:
        yield misfit_told(history, misfit)
