"""Events as lines and as a bar, and the closing report."""

from __future__ import annotations

import io
import re

import pytest
import rendered_plans as plans

from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    Noted,
    Paused,
    RunFinished,
    RunStarted,
    StageStarted,
    StatusTold,
    Stopping,
)
from reconciler.logs import ERROR, INFO, WARNING
from reconciler.problems import Problem
from reconciler.rendering.eventdoc import event_document
from reconciler.rendering.progress import BarReporter, LineReporter, Reporter, event_line, render_report

STAGES = plans.calls_for(plans.mixed_plan()).stages
FIRST, SECOND = STAGES[0].calls[0], STAGES[1].calls[0]
PROBLEM = Problem(
    "call-refused",
    "HTTP 400: \x1b[2J\nforged",
    why="the remote says so.",
    fix="look at it:\n    reconciler show",
    where="call 2 of 3",
)

EVENTS: tuple[Event, ...] = (
    RunStarted("r\x1b1", 3, 4),
    StatusTold("src\x1b", "REBUILD"),
    Noted(
        Problem("remote-failing", "HTTP 503\n", "it is so.", "wait:\n    reconciler apply\x1b", where="POST a/status")
    ),
    StageStarted("identities", 1),
    CallStarted(FIRST),
    CallRetried(FIRST, 2, 1.5, "HTTP 429\n"),
    Paused(12.4, "250 calls per 300 s"),
    Stopping(1),
    Stopping(3),
    CallAccepted(FIRST, 202, 0.34, 1234, ("r-1",)),
    StageStarted("[bold]items[/bold]", 1),
    CallStarted(SECOND),
    CallFailed(SECOND, PROBLEM, "refused"),
    RunFinished(1, 1, 0, 1, 2.25),
)

LINES = """\
run r\\x1b1: 3 calls for 4 resources
source "src\\x1b": told REBUILD
note[remote-failing]: POST a/status: HTTP 503\\n
  fix: wait:
      reconciler apply\\x1b
stage identities: 1 call
call 1 of 3, PUT organizations/acme/providers/prov1/permissions/batch: 2 resources
call 1 of 3: attempt 2 in 1.5 s, after HTTP 429\\n
waiting 12 s for 250 calls per 300 s
stopping after this call; once more to stop at once
stopping after these 3 calls; once more to stop at once
call 1 of 3: accepted (HTTP 202), 1,234 B in 0.3 s
stage [bold]items[/bold]: 1 call
call 2 of 3, PUT organizations/acme/sources/src1/documents/batch: 1 resource
call 2 of 3: refused
call 2 of 3: error[call-refused]: HTTP 400: \\x1b[2J\\nforged
  why: the remote says so.
  fix: look at it:
      reconciler show
"""


def shown(reporter: Reporter) -> None:
    with reporter:
        for event in EVENTS:
            reporter.handle(event)


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(INFO, "reconciler"):
        shown(LineReporter())
    assert "".join(f"{record.getMessage()}\n" for record in caplog.records) == LINES


def test_every_event_has_a_name_and_fields_for_programs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(INFO, "reconciler"):
        shown(LineReporter())
    told = [(vars(record)["event"], record.levelno, vars(record)["fields"]) for record in caplog.records]
    first = {"call": 1, "method": "PUT", "path": FIRST.path}
    assert told[0] == ("run.started", INFO, {"calls": 3, "resources": 4})
    assert told[4:6] == [
        ("call.started", INFO, {**first, "resources": 2}),
        ("call.retried", WARNING, {**first, "attempt": 2, "wait_seconds": 1.5, "reason": "HTTP 429\n"}),
    ]
    answered = {"status": 202, "seconds": 0.34, "bytes_sent": 1234, "request_ids": ["r-1"]}
    assert told[9] == ("call.accepted", INFO, {**first, **answered})
    assert told[-1][:2] == ("call.failed", ERROR)
    assert told[-1][2]["outcome"] == "refused" and told[-1][2]["code"] == "call-refused"
    assert event_document(EVENTS[-1])[0] == "run.finished"


def test_the_bar_tells_what_deserves_a_line_and_no_markup_is_obeyed() -> None:
    stream = io.StringIO()
    shown(BarReporter(stream))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "call 1 of 3: attempt 2 in 1.5 s, after HTTP 429\\n\n" in text
    assert "call 2 of 3: error[call-refused]: HTTP 400: \\x1b[2J\\nforged\n" in text
    assert "2/4" in text


def test_the_bar_closes_when_the_run_breaks_off() -> None:
    stream = io.StringIO()
    bar = BarReporter(stream)
    try:
        with bar:
            bar.handle(EVENTS[0])
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert bar._progress is None


def test_report_of_a_run_that_is_done() -> None:
    assert render_report(RunFinished(7, 0, 0, 0, 1.04), go_on="x") == (
        "Apply: 7 calls done, 0 failed, 0 unknown, 0 not started; 1.0 s.\n"
    )


def test_report_of_a_run_that_is_not() -> None:
    assert render_report(RunFinished(1, 0, 1, 5, 62.0), go_on="reconciler apply -e prod") == (
        "Apply: 1 call done, 0 failed, 1 unknown, 5 not started; 62.0 s.\n"
        "  what is done is recorded in the state; nothing else is.\n"
        "  what is unknown is sent again, which is harmless.\n"
        "  to go on:\n"
        "      reconciler apply -e prod\n"
    )


def test_several_failures_are_listed_once_more_at_the_end() -> None:
    failures = tuple(CallFailed(FIRST, PROBLEM, "refused") for _ in range(12))

    assert render_report(RunFinished(1, 12, 0, 0, 1.0, failures)).splitlines()[1:12] == [
        *["  call 1: refused, call-refused: HTTP 400: \\x1b[2J\\nforged"] * 10,
        "  and 2 more calls",
    ]


def test_every_event_has_a_line() -> None:
    assert all("\n" not in event_line(event, calls=3) for event in EVENTS)
