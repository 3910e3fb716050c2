"""What an apply came to, as a JSON document for programs.

Made from the same events that people are shown. It holds no body, no key and no upload address.
Within one major `format_version` keys are only added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

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
from reconciler.calls.call import Call
from reconciler.planning.change import Action
from reconciler.planning.plan import Plan
from reconciler.rendering.effective import accepted_document
from reconciler.rendering.jsondoc import problem_document

FORMAT_VERSION = "1.0"


class Recorder:
    """Gathers the events of one run; `run` None says that there was nothing to do.

    `result` in the document is `done`, `failed` or `interrupted`; each call that was started stands
    in `calls`, its outcome `accepted`, `refused`, `unknown` or `stopped`. `refresh_every` are the seconds between
    two refreshes of providers.
    """

    def __init__(self, plan: Plan, run: str | None, refresh_every: Mapping[str, int] | None = None) -> None:
        self._plan = plan
        self._run = run
        self._refresh_every = refresh_every or {}
        self._total = 0
        self._calls: dict[int, dict[str, Any]] = {}
        self._problems: list[dict[str, Any]] = []
        self._notes: list[dict[str, Any]] = []
        self._stopping = False
        self._finished = RunFinished(0, 0, 0, 0, 0.0)
        self._cut_short = False

    def handle(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self._total = event.calls
            case CallStarted():
                self._entry(event.call)
            case CallRetried():
                self._entry(event.call)["retries"] += 1
            case CallAccepted():
                self._entry(event.call).update(
                    outcome="accepted",
                    status=event.status,
                    seconds=round(event.seconds, 3),
                    bytes_sent=event.bytes_sent,
                )
            case CallFailed():
                problem = problem_document(event.problem)
                self._entry(event.call).update(outcome=event.outcome, problem=problem["code"])
                self._problems.append({"call": event.call.number, **problem})
            case Noted():
                self._notes.append(problem_document(event.problem))
            case Stopping():
                self._stopping = True
            case RunFinished():
                self._finished = event

    def cut_short(self, seconds: float) -> RunFinished | None:
        """Return how a run ended that broke off after so many seconds; None when no call of it was begun.

        A call that was sent and whose end could not be written down is unknown.
        """
        if not self._calls:
            return None
        self._cut_short = True
        outcomes = Counter(entry["outcome"] for entry in self._calls.values())
        done, unknown = outcomes["accepted"], outcomes["unknown"]
        failed, not_started = len(self._calls) - done - unknown, self._total - len(self._calls)
        self._finished = RunFinished(done, failed, unknown, not_started, seconds)
        return self._finished

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        finished = self._finished
        return {
            "format_version": FORMAT_VERSION,
            "environment": self._plan.environment,
            "run": self._run,
            "result": self._result(),
            "summary": {
                **{action.value: self._plan.count(action) for action in Action},
                "no_op": self._plan.no_op,
            },
            "counts": {
                "calls": self._total,
                "done": finished.done,
                "failed": finished.failed,
                "unknown": finished.unknown,
                "not_started": finished.not_started,
            },
            "seconds": round(finished.seconds, 3),
            "effective": [
                accepted_document(entry, self._refresh_every.get(entry.provider)) for entry in finished.identities
            ],
            "calls": [self._calls[number] for number in sorted(self._calls)],
            "problems": self._problems,
            "notes": self._notes,
        }

    def text(self) -> str:
        """Return the report as JSON text that ends with a line break."""
        return orjson.dumps(self.document(), option=orjson.OPT_INDENT_2).decode() + "\n"

    def _result(self) -> str:
        finished = self._finished
        if finished.done == self._total:
            return "done"
        if self._cut_short:
            return "failed"
        return "interrupted" if not finished.failures or (self._stopping and not finished.failed) else "failed"

    def _entry(self, call: Call) -> dict[str, Any]:
        return self._calls.setdefault(
            call.number,
            {
                "number": call.number,
                "kind": call.kind.value,
                "method": call.method,
                "path": call.path,
                "resources": len(call.covers),
                "outcome": "unknown",
                "retries": 0,
            },
        )
