"""The events of an apply as names and fields, for programs that read what is logged.

Names are stable. What is left out of a field says nothing: a call that was given no request id has none.
"""

from __future__ import annotations

from typing import Any

from reconciler.applying.events import (
    CallAccepted,
    CallFailed,
    CallRetried,
    CallStarted,
    Event,
    Noted,
    Paused,
    RefreshRetried,
    RefreshTriggered,
    RunFinished,
    RunStarted,
    StageStarted,
    StatusTold,
    Stopping,
)
from reconciler.calls.call import Call
from reconciler.problems import Problem


def event_document(event: Event) -> tuple[str, dict[str, Any]]:
    """Return the name of an event and what it holds, as JSON values; seconds and bytes are numbers."""
    match event:
        case RunStarted():
            return "run.started", {"calls": event.calls, "resources": event.resources}
        case StatusTold():
            return "source.told", {"source": event.source, "status": event.status}
        case Noted():
            return "note", _problem(event.problem)
        case StageStarted():
            return "stage.started", {"stage": event.name, "calls": event.calls}
        case Paused():
            return "run.paused", {"seconds": round(event.seconds, 3), "limit": event.limit}
        case Stopping():
            return "run.stopping", {"in_flight": event.in_flight}
        case RefreshRetried():
            return "refresh.retried", {"provider": event.provider, **_again(event)}
        case RefreshTriggered():
            return "refresh.triggered", {"provider": event.provider}
        case RunFinished():
            return "run.finished", _finished(event)
        case _:
            return _call_document(event)


def _call_document(event: CallStarted | CallRetried | CallAccepted | CallFailed) -> tuple[str, dict[str, Any]]:
    known = _call(event.call)
    match event:
        case CallStarted():
            return "call.started", {**known, "resources": len(event.call.covers)}
        case CallRetried():
            return "call.retried", {**known, **_again(event)}
        case CallAccepted():
            answered = {"status": event.status, "seconds": round(event.seconds, 3), "bytes_sent": event.bytes_sent}
            return "call.accepted", {**known, **answered, "request_ids": list(event.request_ids)}
        case CallFailed():
            return "call.failed", {**known, "outcome": event.outcome, **_problem(event.problem)}


def _call(call: Call) -> dict[str, Any]:
    return {"call": call.number, "method": call.method, "path": call.path}


def _again(event: CallRetried | RefreshRetried) -> dict[str, Any]:
    return {"attempt": event.attempt, "wait_seconds": round(event.wait_seconds, 3), "reason": event.reason}


def _problem(problem: Problem) -> dict[str, Any]:
    told = {"code": problem.code, "what": problem.what, "why": problem.why, "fix": problem.fix, "where": problem.where}
    return {key: value for key, value in told.items() if value}


def _finished(event: RunFinished) -> dict[str, Any]:
    return {
        "done": event.done,
        "failed": event.failed,
        "unknown": event.unknown,
        "not_started": event.not_started,
        "seconds": round(event.seconds, 3),
    }
