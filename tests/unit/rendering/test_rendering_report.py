"""The report of an apply as JSON."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import rendered_plans as plans

from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    Noted,
    RunFinished,
    RunStarted,
    Stopping,
)
from reconciler.problems import Problem
from reconciler.rendering.report import Recorder
from reconciler.rendering.report_schema import report_schema

SCHEMA = jsonschema.Draft202012Validator(report_schema("apply"))
PLAN = plans.mixed_plan()
STAGES = plans.calls_for(PLAN).stages
FIRST, SECOND = STAGES[0].calls[0], STAGES[1].calls[0]
PROBLEM = Problem("call-refused", "HTTP 400", where="call 2 of 3")
REFUSED = CallFailed(SECOND, PROBLEM, "refused")
UNKNOWN = CallFailed(SECOND, PROBLEM, "unknown")


def document(*events: Event, run: str | None = "r1") -> dict[str, Any]:
    recorder = Recorder(PLAN, run)
    for event in events:
        recorder.handle(event)
    made: dict[str, Any] = json.loads(recorder.text())
    SCHEMA.validate(made)
    return made


def test_calls_counts_and_problems() -> None:
    made = document(
        RunStarted("r1", 3, 4),
        Noted(PROBLEM),
        CallStarted(FIRST),
        CallStarted(SECOND),
        CallRetried(FIRST, 2, 1.5, "HTTP 429"),
        CallAccepted(FIRST, 202, 0.3401, 1234),
        REFUSED,
        RunFinished(1, 1, 0, 1, 2.25, (REFUSED,)),
    )

    assert (made["run"], made["result"], made["seconds"]) == ("r1", "failed", 2.25)
    assert made["counts"] == {"calls": 3, "done": 1, "failed": 1, "unknown": 0, "not_started": 1}
    first, second = made["calls"]
    assert (first["outcome"], first["status"], first["bytes_sent"], first["retries"]) == ("accepted", 202, 1234, 1)
    assert (first["number"], first["kind"], first["resources"]) == (1, FIRST.kind.value, len(FIRST.covers))
    assert (second["outcome"], second["problem"]) == ("refused", "call-refused")
    assert [(entry["call"], entry["code"]) for entry in made["problems"]] == [(SECOND.number, "call-refused")]
    assert [entry["code"] for entry in made["notes"]] == ["call-refused"]


def test_nothing_to_do_is_done() -> None:
    made = document(run=None)

    assert (made["run"], made["result"], made["calls"], made["problems"]) == (None, "done", [], [])
    assert set(made["summary"]) == {"create", "update", "delete", "no_op"}


@pytest.mark.parametrize(
    ("events", "result"),
    [
        ([CallAccepted(FIRST, 202, 0.1, 1), RunFinished(1, 0, 0, 0, 0.1)], "done"),
        ([Stopping(1), RunFinished(0, 0, 0, 1, 0.1)], "interrupted"),
        ([RunFinished(0, 0, 0, 1, 0.1)], "interrupted"),
        ([Stopping(1), UNKNOWN, RunFinished(0, 0, 1, 0, 0.1, (UNKNOWN,))], "interrupted"),
        ([UNKNOWN, RunFinished(0, 0, 1, 0, 0.1, (UNKNOWN,))], "failed"),
        ([Stopping(1), REFUSED, RunFinished(0, 1, 0, 0, 0.1, (REFUSED,))], "failed"),
    ],
)
def test_the_result_in_a_word(events: list[Event], result: str) -> None:
    assert document(RunStarted("r1", 1, 1), *events)["result"] == result
