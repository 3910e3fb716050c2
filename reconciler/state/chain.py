"""The history as a chain: each run's record is hashed together with the hash of the one before.

Whoever changes, removes or inserts a record breaks every later link, unless all of them are made anew; a digest that
was written down elsewhere shows that, too. Pure: knows nothing of how a store keeps records and digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from reconciler.model.canonical import canonical_json, digest
from reconciler.state.journal import RunRecord
from reconciler.state.packing import target_doc


def link(previous: str, record: RunRecord) -> str:
    """Return the digest of a record that follows the one with the digest `previous` (empty: the first), in hex."""
    return digest(
        canonical_json(
            {
                "previous": previous,
                "run": asdict(record.run),
                "target": target_doc(record.target),
                "lineage": record.base.lineage,
                "base_serial": record.base.serial,
                "serial": record.serial,
                "ended_at": record.ended_at,
                "result": record.result,
                "detail": record.detail,
                "calls": asdict(record.calls),
            }
        )
    ).hex()


def first_misfit(history: Sequence[RunRecord]) -> RunRecord | None:
    """Return the oldest record that does not fit, of a history as `StateReader.runs` returns it (newest first).

    The newest may be without digest while it has not ended, and all of them in a state that was written before there
    were digests.
    """
    if not any(record.digest for record in history):
        return None
    previous = ""
    for place, record in enumerate(reversed(history), 1):
        under_way = place == len(history) and not record.ended_at and not record.digest
        if not under_way and record.digest != link(previous, record):
            return record
        previous = record.digest
    return None


def misfit_told(history: Sequence[RunRecord], misfit: RunRecord) -> str:
    """Return the sentence that names a record that does not fit, and its place from the first on."""
    place = len(history) - history.index(misfit)
    run = misfit.run
    return f"run {run.id} of {run.started_at}, number {place} of {len(history)}, does not fit its digest"
