"""What the pipeline's log says of the pushes that are waited for.

Pure, and bounded: it keeps the newest entry for each address asked about, and one error of a whole
batch for each source. Results and operations are spelled as in push-api.md 2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.verifying.seen import log_moment

_PUTS = frozenset({"ADD", "UPDATE", "ADD_BY_REFERENCE"})
_DELETES = frozenset({"DELETE", "DELETE_AND_CHILDREN"})
_DROPS = frozenset({"REJECTED", "ERROR", "SKIPPED"})

Key = tuple[str, str]
"""The remote's id of a source, and a uri."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A push whose log is wanted: when it was sent, in epoch milliseconds, and whether it deleted."""

    since: int
    deletion: bool = False


class LogBook:
    """Takes log entries in any order and answers for the newest; entries older than the push are not its own."""

    def __init__(self, asked: Mapping[Key, Asked]) -> None:
        self._asked = asked
        self._newest: dict[Key, tuple[int, str]] = {}
        self._batches: dict[str, tuple[int, str]] = {}

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one entry."""
        source, uri, operation = entry.get("sourceId"), entry.get("id"), entry.get("operation")
        at = log_moment(entry.get("datetime"))
        if not isinstance(source, str) or not isinstance(uri, str) or at is None:
            return
        result = entry.get("result")
        if operation == "BATCH_FILE":
            if result in ("ERROR", "REJECTED") and at >= self._batches.get(source, (0, ""))[0]:
                self._batches[source] = (at, _reason(entry))
            return
        asked = self._asked.get((source, uri))
        if asked is None or at < asked.since or operation not in (_DELETES if asked.deletion else _PUTS):
            return
        if result not in _DROPS and (result, entry.get("task")) != ("COMPLETED", "INDEXING"):
            return
        if at >= self._newest.get((source, uri), (0, ""))[0]:
            self._newest[source, uri] = (at, _reason(entry) if result in _DROPS else "")

    def drop(self, key: Key) -> str:
        """Return why the push was dropped, empty when no entry says that it was."""
        return self._newest.get(key, (0, ""))[1]

    def failed_batch(self, key: Key) -> str:
        """Return why a whole batch of the source failed after the push, empty when none did."""
        at, reason = self._batches.get(key[0], (0, ""))
        asked = self._asked.get(key)
        return reason if asked is not None and not asked.deletion and at >= asked.since else ""


def _reason(entry: Mapping[str, Any]) -> str:
    meta = entry.get("meta")
    said = ""
    if isinstance(meta, dict):
        first = next((value for value in meta.values() if isinstance(value, str) and value), "")
        said = next((meta[key] for key in ("error", "reason", "message") if isinstance(meta.get(key), str)), first)
    words = " in ".join(str(entry.get(key))[:40] for key in ("result", "task") if entry.get(key))
    return f"{words}: {said[:400]}" if said else words
