"""The metrics of a controller, in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reconciler import __version__
from reconciler.applying.events import CallAccepted, CallFailed, CallRetried, Event
from reconciler.cli.watching import GOOD, Ended, Result, Watcher
from reconciler.planning.change import Action
from reconciler.planning.plan import Plan
from reconciler.verifying.drift import DRIFT, DriftReport
from reconciler.verifying.events import Report
from reconciler.verifying.findings import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)


class Metrics(Watcher):
    """What has been counted since the process began; may be read from another thread."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"reconciler_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"reconciler_{name}", text, labels, registry=registry)

        gauge("info", "The version that runs.", "version").labels(__version__).set(1)
        self._rounds = counter("rounds", "Rounds, by how they ended.", "result")
        self._calls = counter("calls", "Calls to the Push API, by how they ended.", "outcome")
        self._retries = counter("call_retries", "Attempts of calls that were not the first.")
        self._changes = counter("changes", "Resources whose change was accepted.")
        self._planned = gauge("planned_changes", "Changes of the last plan.", "action")
        self._hazards = gauge("blocking_hazards", "Hazards of the last plan that nobody allowed.")
        self._pending = gauge("pending", "Resources that were accepted and not seen to arrive yet.")
        self._rejected = gauge("rejected", "Resources that the remote accepted and then rejected.")
        self._drifted = gauge("drifted", "Resources that were not as recorded when the remote was last compared.")
        self._foreign = gauge("foreign", "What exclusive sources and providers held that nobody asked for.")
        self._compared = gauge("last_drift_check_timestamp_seconds", "When the remote was last compared.")
        self._last = gauge("last_round_timestamp_seconds", "When the last round ended.")
        self._success = gauge("last_success_timestamp_seconds", "When a round last left everything applied.")
        self._failures = gauge("failures_in_a_row", "Rounds that failed since the last one that did not.")
        self._leads = gauge("leader", "Whether this process holds the lock of the state.")
        self._suspended = gauge("suspended", "Whether it is suspended.")
        self._seconds = Histogram(
            "reconciler_phase_seconds", "How long a phase took.", ["phase"], buckets=_SECONDS, registry=registry
        )
        # What never happened is 0 and not absent, so that a rule can compare.
        for result in Result:
            self._rounds.labels(result.value)
        for outcome in ("accepted", "refused", "unknown", "stopped"):
            self._calls.labels(outcome)

    def text(self) -> bytes:
        """Return all of them."""
        return generate_latest(self._registry)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds.labels(name).observe(time.monotonic() - began)

    def planned(self, plan: Plan) -> None:
        for action in Action:
            self._planned.labels(action.value).set(plan.count(action))
        self._hazards.set(len(plan.blocked_by))

    def event(self, event: Event) -> None:
        match event:
            case CallAccepted():
                self._calls.labels("accepted").inc()
                self._changes.inc(len(event.call.covers))
            case CallFailed():
                self._calls.labels(event.outcome).inc()
            case CallRetried():
                self._retries.inc()

    def drifted(self, report: DriftReport) -> None:
        self._drifted.set(sum(entry.standing in DRIFT for entry in report.drifts))
        self._foreign.set(sum(entry.count for entry in report.foreign if entry.is_drift))
        self._compared.set_to_current_time()

    def verified(self, report: Report | None) -> None:
        rejected = 0 if report is None else report.count(Status.REJECTED)
        self._rejected.set(rejected)
        self._pending.set(0 if report is None else len(report.problems) - rejected + report.unlooked)

    def ended(self, ended: Ended) -> None:
        self._rounds.labels(ended.result.value).inc()
        self._last.set_to_current_time()
        if ended.result in GOOD:
            self._success.set_to_current_time()
        self._failures.set(ended.failures)
        self._leads.set(ended.leads)
        self._suspended.set(ended.result is Result.SUSPENDED)
