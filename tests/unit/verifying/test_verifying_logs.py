"""What a pipeline's log says of a push."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.verifying.logs import Asked, LogBook
from reconciler.verifying.seen import log_moment

KEY = ("sid", "https://example.com/a")
SENT = 1_700_000_000_000
BEFORE, AT, LATER = "2023-11-14T22:13:19.999Z", "2023-11-14T22:13:20Z", "2023-11-14T23:13:21+01:00"


def entry(at: str = AT, result: str = "REJECTED", **changes: Any) -> dict[str, Any]:
    return {
        "datetime": at,
        "id": KEY[1],
        "operation": "ADD",
        "result": result,
        "task": "VALIDATION",
        "sourceId": KEY[0],
        "meta": {"error": "no good"},
        **changes,
    }


def book(*entries: dict[str, Any], deletion: bool = False) -> LogBook:
    found = LogBook({KEY: Asked(SENT, deletion)})
    for one in entries:
        found.add(one)
    return found


COMPLETED = entry(LATER, "COMPLETED", task="INDEXING")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], ""),
        ([entry()], "REJECTED in VALIDATION: no good"),
        ([entry(result="ERROR", task="PROCESSING")], "ERROR in PROCESSING: no good"),
        ([entry(result="SKIPPED", task="", meta={})], "SKIPPED"),
        ([entry(meta={"n": 1, "detail": "said"})], "REJECTED in VALIDATION: said"),
        ([entry(meta="text")], "REJECTED in VALIDATION"),
        ([entry(result="WARNING")], ""),
        ([entry(BEFORE)], ""),
        ([entry(), COMPLETED], ""),
        ([COMPLETED, entry()], ""),
        ([entry(), entry(LATER, "COMPLETED", task="MAPPING")], "REJECTED in VALIDATION: no good"),
        ([COMPLETED, entry(LATER)], "REJECTED in VALIDATION: no good"),
        ([entry(sourceId="other")], ""),
        ([entry(id="https://example.com/b")], ""),
        ([entry(operation="DELETE")], ""),
        ([entry("yesterday")], ""),
        ([entry(datetime=5)], ""),
        ([{}], ""),
    ],
)
def test_the_newest_entry_of_the_push_decides(entries: list[dict[str, Any]], reason: str) -> None:
    assert book(*entries).drop(KEY) == reason


def test_a_deletion_has_entries_of_its_own() -> None:
    assert book(entry(), deletion=True).drop(KEY) == ""
    assert book(entry(operation="DELETE"), deletion=True).drop(KEY) == "REJECTED in VALIDATION: no good"


def test_a_failed_batch_names_no_item() -> None:
    failed = entry(LATER, "ERROR", operation="BATCH_FILE", id="some-file")
    assert book(failed).failed_batch(KEY) == "ERROR in VALIDATION: no good"
    assert book(failed).drop(KEY) == ""
    assert book(entry(BEFORE, "ERROR", operation="BATCH_FILE")).failed_batch(KEY) == ""
    assert book(entry(AT, "COMPLETED", operation="BATCH_FILE")).failed_batch(KEY) == ""
    assert book(failed).failed_batch(("sid", "unasked")) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [(AT, SENT), (LATER, SENT + 1000), ("2023-11-14T22:13:20", None), ("", None), (None, None)],
)
def test_moments(text: Any, expected: int | None) -> None:
    assert log_moment(text) == expected
