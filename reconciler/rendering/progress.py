"""The events of an apply as lines that are logged or as a bar, and its closing report.

Reporters read no clock and ask nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

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
from reconciler.logs import ERROR, INFO, WARNING, tell
from reconciler.rendering.effective import accepted_lines
from reconciler.rendering.eventdoc import event_document
from reconciler.rendering.problems import problem_lines
from reconciler.rendering.values import count, visible

LISTED_FAILURES = 10

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter(Protocol):
    """Shows events as they come. As a context manager it cleans up, also when the run breaks off."""

    def handle(self, event: Event) -> None:
        """Show one event."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def render_report(finished: RunFinished, *, go_on: str = "", refresh_every: Mapping[str, int] | None = None) -> str:
    """Return how a run ended, in one line of a form that never varies, when what it changed of identities takes
    effect, and how to go on if it is not done.

    `go_on` is the command that does; `refresh_every` are the seconds between two refreshes of providers.
    """
    line = (
        f"Apply: {count(finished.done, 'call')} done, {finished.failed:,} failed, {finished.unknown:,} unknown, "
        f"{finished.not_started:,} not started; {finished.seconds:.1f} s.\n"
    )
    line += "".join(f"{visible(told)}\n" for told in accepted_lines(finished.identities, refresh_every or {}))
    if not (finished.failed or finished.unknown or finished.not_started):
        return line
    parts = [line, *_failures(finished)]
    parts.append("  what is done is recorded in the state; nothing else is.\n")
    if finished.unknown:
        parts.append("  what is unknown is sent again, which is harmless.\n")
    if go_on:
        parts.append(f"  to go on:\n      {visible(go_on)}\n")
    return "".join(parts)


def _failures(finished: RunFinished) -> list[str]:
    """List what failed when it is more than the one thing that was just told."""
    if len(finished.failures) < 2:
        return []
    lines = [
        visible(f"  call {failure.call.number:,}: {failure.outcome}, {failure.problem.code}: {failure.problem.what}")
        for failure in sorted(finished.failures, key=lambda failure: failure.call.number)[:LISTED_FAILURES]
    ]
    if (more := len(finished.failures) - len(lines)) > 0:
        lines.append(f"  and {count(more, 'more call')}")
    return [f"{line}\n" for line in lines]


def event_line(event: Event, *, calls: int) -> str:
    """Return one event as a line without its line break; `calls` is how many the whole run makes."""
    match event:
        case RunStarted():
            return visible(f"run {event.run}: {count(event.calls, 'call')} for {count(event.resources, 'resource')}")
        case StatusTold():
            return visible(f'source "{event.source}": told {event.status}')
        case Noted():
            return visible(f"note[{event.problem.code}]: {event.problem.where}: {event.problem.what}")
        case Stopping():
            these = "this call" if event.in_flight == 1 else f"these {event.in_flight:,} calls"
            return f"stopping after {these}; once more to stop at once"
        case StageStarted():
            return visible(f"stage {event.name}: {count(event.calls, 'call')}")
        case CallStarted():
            return f"{_call(event.call, calls)}: {count(len(event.call.covers), 'resource')}"
        case CallRetried():
            return visible(
                f"{_number(event.call, calls)}: attempt {event.attempt} in {event.wait_seconds:.1f} s, "
                f"after {event.reason}"
            )
        case Paused():
            return visible(f"waiting {event.seconds:.0f} s for {event.limit}")
        case CallAccepted():
            return (
                f"{_number(event.call, calls)}: accepted (HTTP {event.status}), "
                f"{event.bytes_sent:,} B in {event.seconds:.1f} s"
            )
        case CallFailed():
            return f"{_number(event.call, calls)}: {event.outcome}"
        case RefreshRetried():
            return visible(
                f'provider "{event.provider}": attempt {event.attempt} to have its security cache refreshed in '
                f"{event.wait_seconds:.1f} s, after {event.reason}"
            )
        case RefreshTriggered():
            return visible(f'provider "{event.provider}": the refresh of its security cache is triggered')
        case RunFinished():
            return render_report(event).partition("\n")[0]


def event_text(event: Event, *, calls: int) -> str:
    """Return one event as lines with their line breaks: what failed with why, and what to do about it."""
    line = event_line(event, calls=calls) + "\n"
    if isinstance(event, CallFailed):
        return line + _failure(event)
    return line + _remedy(event) if isinstance(event, Noted) else line


def tell_report(finished: RunFinished, *, go_on: str = "", refresh_every: Mapping[str, int] | None = None) -> None:
    """Log how a run ended, as `render_report` has it: as an error when it is not done."""
    name, fields = event_document(finished)
    left = finished.failed or finished.unknown or finished.not_started
    text = render_report(finished, go_on=go_on, refresh_every=refresh_every)
    tell(name, text.removesuffix("\n"), ERROR if left else INFO, **fields)


def _level(event: Event) -> int:
    if isinstance(event, CallFailed):
        return ERROR
    return WARNING if isinstance(event, CallRetried | RefreshRetried | Noted) else INFO


def _number(call: Call, calls: int) -> str:
    return f"call {call.number:,} of {calls:,}"


def _call(call: Call, calls: int) -> str:
    return visible(f"{_number(call, calls)}, {call.method} {call.path}")


class LineReporter:
    """Logs each event: for files, for programs and for terminals that are none."""

    def __init__(self) -> None:
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def handle(self, event: Event) -> None:
        """Log the event; the end of a run is left to the closing report."""
        if isinstance(event, RunFinished):
            return
        if isinstance(event, RunStarted):
            self._calls = event.calls
        name, fields = event_document(event)
        tell(name, event_text(event, calls=self._calls).removesuffix("\n"), _level(event), **fields)


class BarReporter:
    """Draws a bar that counts resources, and lines for what deserves one: retries, notes and failures."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._calls = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def handle(self, event: Event) -> None:
        """Move the bar; the end of a run is left to the closing report."""
        match event:
            case RunStarted():
                self._open(event)
            case StageStarted():
                self._describe(event.name)
            case CallStarted():
                self._describe(_number(event.call, self._calls))
            case CallAccepted():
                self._advance(len(event.call.covers))
            case CallRetried() | Paused() | Stopping() | RefreshRetried() | RefreshTriggered() | Noted() | CallFailed():
                self._print(event_text(event, calls=self._calls))
            case RunFinished():
                self._close()

    def _open(self, event: RunStarted) -> None:
        from rich.console import Console  # 60 ms to import, and only a terminal needs it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._calls = event.calls
        # Descriptions hold names of stages: they are text, never rich's markup.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("resources", markup=False),
            TimeElapsedColumn(),
            console=Console(file=self._stream, highlight=False, markup=False, emoji=False),
        )
        self._task = self._progress.add_task(visible(f"run {event.run}"), total=event.resources)
        self._progress.start()

    def _describe(self, text: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=visible(text))

    def _advance(self, resources: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, resources)

    def _print(self, text: str) -> None:
        if self._progress is None:
            self._stream.write(text)
        else:
            self._progress.console.print(text, end="", markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _failure(event: CallFailed) -> str:
    return "".join(f"{line}\n" for line in problem_lines(event.problem))


def _remedy(event: Noted) -> str:
    """Return how to fix what was noted, in lines of their own."""
    _, *rest = problem_lines(replace(event.problem, why=""))
    return "".join(f"{line}\n" for line in rest)
