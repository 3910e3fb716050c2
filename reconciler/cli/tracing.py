"""The traces of a controller, by OTLP over HTTP, where the standard OTEL_* variables name a collector.

A span for each round, in it one for each phase, and in that of `apply` one for each call: method, path, how many
resources, how it ended. No body, no key and no address of an upload is in any.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.applying.events import CallAccepted, CallFailed, CallRetried, CallStarted, Event
from reconciler.cli.watching import Ended, Watcher
from reconciler.logs import LOGGER
from reconciler.problems import ReconcilerError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def wants_traces() -> bool:
    """Whether the environment names a collector and does not turn traces off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


class Tracing(Watcher):
    """Makes spans of what it is told."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # What it says of itself comes in the form of all other lines.
        theirs = logging.getLogger("opentelemetry")
        theirs.handlers, theirs.propagate = list(LOGGER.handlers), False
        name = os.environ.get("OTEL_SERVICE_NAME") or "reconciler"
        resource = Resource.create({"service.name": name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("reconciler", __version__)
        self._calls: dict[int, Span] = {}
        self._round: Span | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        from opentelemetry.trace import Status, StatusCode

        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            if name == "reconcile":
                self._round = span
            try:
                yield
            except BaseException as error:
                # The code says what it was; texts may quote manifests.
                code = error.problems[0].code if isinstance(error, ReconcilerError) else type(error).__name__
                span.set_status(Status(StatusCode.ERROR, code))
                raise
            finally:
                for call in self._calls.values():
                    call.end()
                self._calls.clear()

    def event(self, event: Event) -> None:
        match event:
            case CallStarted():
                call = event.call
                self._calls[call.number] = self._tracer.start_span(
                    "call",
                    attributes={
                        "http.request.method": call.method,
                        "url.path": call.path,
                        "reconciler.call.number": call.number,
                        "reconciler.call.kind": call.kind.value,
                        "reconciler.call.resources": len(call.covers),
                    },
                )
            case CallRetried() if event.call.number in self._calls:
                self._calls[event.call.number].add_event("retry", {"attempt": event.attempt, "reason": event.reason})
            case CallAccepted():
                self._end(event.call.number, "accepted", event.status)
            case CallFailed():
                self._end(event.call.number, event.outcome, None)

    def _end(self, number: int, outcome: str, status: int | None) -> None:
        from opentelemetry.trace import Status, StatusCode

        span = self._calls.pop(number, None)
        if span is None:
            return
        span.set_attribute("reconciler.call.outcome", outcome)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        else:
            span.set_status(Status(StatusCode.ERROR, outcome))
        span.end()

    def ended(self, ended: Ended) -> None:
        if self._round is not None:
            self._round.set_attributes({"reconciler.result": ended.result.value, "reconciler.commit": ended.commit})
            self._round = None

    def close(self) -> None:
        self._provider.shutdown()
