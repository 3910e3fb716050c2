"""What `verify` found, as text and as a document: its words, and no more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from reconciler.calls.effective import effective_words
from reconciler.model.address import Kind
from reconciler.problems import Problem
from reconciler.rendering.jsondoc import problem_document
from reconciler.rendering.problems import problem_lines
from reconciler.rendering.styles import paint
from reconciler.rendering.values import count, kind_count, visible
from reconciler.verifying.compare import moment
from reconciler.verifying.events import Metadata, Report, Stopped
from reconciler.verifying.findings import Finding, Status, problem_of

FORMAT_VERSION = "1.0"
# So many resources of which the same is said are named as text, and so many different things are said under one code;
# JSON tells all.
NAMED = 5
SAID = 10
_KINDS = (Kind.ITEM, Kind.GROUP, Kind.VIRTUAL_GROUP, Kind.USER, Kind.ALIAS)
_BAD = (Status.REJECTED, Status.MISSING, Status.DIFFERENT, Status.WAITING, Status.UNRESOLVED)

Placed = Callable[[Problem], Problem]
"""Gives a problem the commands to copy that mean the project at hand."""
Schedules = Mapping[str, int | None]
"""The seconds between two refreshes of each provider; None, or missing, where the project does not say."""


# -- as a document -----------------------------------------------------------------------------------


def verify_document(report: Report, *, environment: str, placed: Placed, schedules: Schedules) -> dict[str, Any]:
    """Return the report as JSON values (`report_schema.VerifyReport`)."""
    return {
        "format_version": FORMAT_VERSION,
        "environment": environment,
        "total": report.total,
        "unlooked": report.unlooked,
        "stopped": report.stopped,
        "summary": {status.value: report.count(status) for status in Status},
        "kinds": {
            kind.value: {"checked": checked, "verified": report.verified[kind]}
            for kind, checked in sorted(report.checked.items())
        },
        "providers": [
            {
                "provider": entry.provider,
                "checked": entry.checked,
                "effective": entry.effective,
                "waiting": entry.waiting,
                "wrong": entry.wrong,
                "pushed_at": entry.pushed and moment(entry.pushed),
                "refreshed_at": entry.refreshed and moment(entry.refreshed),
                "refresh_every": schedules.get(entry.provider),
            }
            for entry in report.providers
        ],
        "problems": [
            {
                "address": finding.address,
                "status": finding.status.value,
                "deleted": finding.deletion,
                **problem_document(placed(problem_of(finding))),
            }
            for finding in report.problems
        ],
        "notes": list(report.notes),
        "metadata": _metadata_document(report.metadata),
        "seconds": round(report.seconds, 3),
    }


def _metadata_document(metadata: Metadata | None) -> dict[str, Any] | None:
    if metadata is None:
        return None
    return {
        "vanishing": [
            {"source": entry.source, "key": entry.key, "items": entry.items, "example": entry.example}
            for entry in metadata.vanishing
        ],
        "visible": metadata.visible,
        "invisible": metadata.invisible,
    }


# -- as text -----------------------------------------------------------------------------------------


def verify_text(report: Report, *, placed: Placed, schedules: Schedules, color: bool = False) -> str:
    """Return the report as text: each kind and provider, what is wrong by its cause, and the tally last."""
    lines = [*_kind_lines(report), *map(visible, _provider_lines(report, schedules))]
    for findings in _by_advice(report.problems):
        lines += ["", *_told(findings, placed, color)]
    notes = [*report.notes, *_metadata_notes(report.metadata)]
    lines += [""] * bool(notes and report.problems)
    lines += [f"note: {visible(note)}" for note in notes]
    lines += [""] * bool(report.problems or notes or report.stopped)
    lines += _stopped(report)
    lines.append(_tally(report))
    return "\n".join(lines) + "\n"


def _kind_lines(report: Report) -> Iterator[str]:
    bad: dict[Kind, dict[Status, int]] = {}
    for finding in report.problems:
        found = bad.setdefault(finding.address.kind, {})
        found[finding.status] = found.get(finding.status, 0) + 1
    for kind in _KINDS:
        if report.checked[kind]:
            parts = [f"{report.verified[kind]:,} verified"]
            parts += [f"{number:,} {status.value}" for status in _BAD if (number := bad.get(kind, {}).get(status))]
            yield f"{kind_count(kind, report.checked[kind])}: {', '.join(parts)}"


def _provider_lines(report: Report, schedules: Schedules) -> Iterator[str]:
    """Yield, for each provider, what its security cache has taken, and what waits for the next refresh."""
    for entry in report.providers:
        start = f"provider {entry.provider}: "
        if entry.effective == entry.checked:
            yield f"{start}its security cache has taken {count(entry.checked, 'identity change')}"
            continue
        parts = [
            f"{start}its security cache has taken {entry.effective:,} of {count(entry.checked, 'identity change')}"
        ]
        if entry.waiting:
            takes = "was accepted and takes" if entry.waiting == 1 else "were accepted and take"
            words = effective_words(schedules.get(entry.provider))
            when = f"last one {moment(entry.refreshed)}" if entry.refreshed else "there was none"
            pushed = f", pushed {moment(entry.pushed)}" if entry.pushed else ""
            parts.append(f"{entry.waiting:,} {takes} effect {words} ({when}{pushed})")
        if entry.wrong:
            parts.append(f"{entry.wrong:,} {'is' if entry.wrong == 1 else 'are'} not as pushed")
        yield "; ".join(parts)


def _by_advice(findings: Iterable[Finding]) -> Iterator[list[Finding]]:
    """Yield the findings that are explained and mended in the same way, the first by address first."""
    alike: dict[tuple[str, bool, Status], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.code, finding.deletion, finding.status), []).append(finding)
    yield from alike.values()


def _told(findings: list[Finding], placed: Placed, color: bool) -> Iterator[str]:
    """Yield what is said of findings that are mended alike: what is wrong with whom, then once why and how."""
    said: dict[str, list[Finding]] = {}
    for finding in findings:
        said.setdefault(finding.what, []).append(finding)
    problem = placed(problem_of(findings[0]))
    start, *advice = problem_lines(problem, color=color)
    if len(findings) == 1:
        yield start
    else:
        label = paint(f"error[{visible(problem.code)}]", "red", color=color)
        for what, alike in list(said.items())[:SAID]:
            if len(alike) == 1:
                yield f"{visible(str(alike[0].address))}: {label}: {visible(what)}"
                continue
            yield f"{label}: {count(len(alike), 'resource')}: {visible(what)}"
            yield from (f"    {visible(str(finding.address))}" for finding in alike[:NAMED])
            if len(alike) > NAMED:
                yield f"    ... and {len(alike) - NAMED:,} more; --format json shows all"
        hidden = sum(len(alike) for alike in list(said.values())[SAID:])
        if hidden:
            yield f"... and {hidden:,} more [{visible(problem.code)}]; --format json shows all"
    yield from advice


def _metadata_notes(metadata: Metadata | None) -> Iterator[str]:
    if metadata is None:
        return
    for entry in metadata.vanishing:
        yield (
            f'metadata "{entry.key}" of {count(entry.items, "item")} of source "{entry.source}" vanishes: '
            f"no field and no mapping takes it (such as that of {entry.example})"
        )
    if metadata.invisible:
        yield f"{count(metadata.invisible, 'metadata value')} not compared, for want of a field that shows just that"


def _stopped(report: Report) -> Iterator[str]:
    """Yield why it ended before everything was final; what was found until then is recorded."""
    open_ = sum(not finding.final for finding in report.problems)
    if report.stopped is Stopped.DEADLINE:
        yield f"The time was over after {report.seconds:,.0f} s: {count(open_, 'resource')} may still change."
    elif report.stopped is not None:
        cause = "Interrupted" if report.stopped is Stopped.INTERRUPTED else "The remote failed"
        left = f"{count(report.unlooked, 'resource')} not looked at, " if report.unlooked else ""
        yield f"{cause} after {report.seconds:,.0f} s: {left}{count(open_, 'resource')} may still change."


def _tally(report: Report) -> str:
    rare = [(report.count(status), status.value) for status in (Status.WAITING, Status.UNRESOLVED)]
    return (
        f"Verified: {report.count(Status.VERIFIED):,} of {report.total + report.unlooked:,} resources; "
        f"{report.count(Status.MISSING):,} missing, {report.count(Status.REJECTED):,} rejected, "
        f"{report.count(Status.DIFFERENT):,} different"
        + "".join(f", {number:,} {word}" for number, word in rare if number)
        + "."
    )
