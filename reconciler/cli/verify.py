"""`reconciler verify`: ask the remote whether it took what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import format_option, project_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.cli.session import Session
    from reconciler.state.rows import Verification
    from reconciler.verifying.events import Event, Metadata, Report
    from reconciler.verifying.scope import Scope

FORMAT_VERSION = "1.0"
LOCK_SECONDS = 30.0
# So many problems of one code are told as text; JSON tells all.
SHOWN = 20


@click.command("verify")
@project_options
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for what has not arrived; 0 looks once.",
)
@click.option("--all", "everything", is_flag=True, help="Look at all that is recorded, also what was verified before.")
@click.option("--resend", is_flag=True, help="Let the next plan send again what is missing or different.")
@format_option("text", "json")
def command(
    directory: str | None, environment: str | None, timeout: float, everything: bool, resend: bool, output: str
) -> int:
    """Ask the remote whether it took what was accepted.

    Waits until the index and the security cache show what the state records, and says what did not
    arrive and why. What the remote rejected is sent again by the next apply. Exits with 1 unless
    everything is verified.
    """
    from reconciler.cli.output import show_problems
    from reconciler.cli.session import check_target, open_session
    from reconciler.problems import ReconcilerError
    from reconciler.verifying.findings import Status
    from reconciler.verifying.scope import read_scope

    with open_session(directory, environment, use_cache=False) as session:
        check_target(session, session.store.target())
        scope = read_scope(session.store, everything=everything)
        if not scope.total:
            _show_nothing(session, output)
            return 0
        report = _look(session, scope, timeout)
        good = report.count(Status.VERIFIED) == report.total
        _show(report, session, output)
        try:
            _record(session, scope, report, _resent(report) if resend else ())
        except ReconcilerError as error:
            # What was found is told already; that it was not written down comes beside it.
            show_problems([session.placed(problem) for problem in error.problems], None)
            return error.exit_code
    return 0 if good else 1


# -- looking ---------------------------------------------------------------------------------------


def _look(session: Session, scope: Scope, timeout: float) -> Report:
    import time
    from dataclasses import replace
    from datetime import UTC, datetime

    from reconciler.calls.context import WireContext
    from reconciler.cli.fieldcheck import organization_for_verify
    from reconciler.cli.remote import connect
    from reconciler.pushapi.retry import RetryPolicy
    from reconciler.verifying.events import Clock
    from reconciler.verifying.look import Look
    from reconciler.verifying.verify import verify

    assert scope.target is not None
    context = WireContext.of(scope.target, session.source_providers)
    clock = Clock(now=lambda: datetime.now(UTC), seconds=time.monotonic, sleep=time.sleep)
    # A read that fails is tried again, but not for longer than the user wants to wait.
    policy = RetryPolicy(deadline=max(3.0, timeout))
    sources = {address.split("/", 2)[1] for address in scope.rows if address.startswith("item/")}
    with (
        connect(session) as remote,
        remote.reader(scope.target.organization, policy) as reader,
        Look(reader) as look,
    ):
        fields, note = organization_for_verify(session, reader, sources)
        report = _follow(
            verify(
                scope,
                rows=session.store.rows,
                look=look,
                context=context,
                clock=clock,
                timeout=timeout,
                fields=fields,
            )
        )
    return replace(report, notes=(*report.notes, note)) if note else report


def _follow(events: Iterator[Event]) -> Report:
    """Return the report that ends the events, showing the way there on a terminal."""
    import os
    import sys

    from reconciler.verifying.events import Report

    if sys.stderr.isatty() and not os.environ.get("CI"):
        return _follow_with_bar(events)
    for event in events:
        if isinstance(event, Report):
            return event
    raise AssertionError("a verification ended without a report. This is a bug in reconciler.")


def _follow_with_bar(events: Iterator[Event]) -> Report:
    import sys

    from rich.console import Console  # 60 ms to import, and only a terminal needs it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from reconciler.rendering.values import count
    from reconciler.verifying.events import Looked, Report, Started, Waiting

    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("verifying", total=None)
        for event in events:
            match event:
                case Started():
                    progress.update(task, total=event.total)
                case Looked():
                    progress.update(task, completed=event.settled, description="verifying")
                case Waiting():
                    progress.update(task, description=f"waiting for {count(event.pending, 'resource')}")
                case Report():
                    return event
    raise AssertionError("a verification ended without a report. This is a bug in reconciler.")


# -- telling ---------------------------------------------------------------------------------------


def _show_nothing(session: Session, output: str) -> None:
    from reconciler.cli.output import write
    from reconciler.verifying.findings import Status

    if output == "json":
        nothing = dict.fromkeys((status.value for status in Status), 0)
        _write_json(
            session,
            {
                "total": 0,
                "summary": nothing,
                "kinds": {},
                "providers": [],
                "problems": [],
                "notes": [],
                "metadata": None,
                "seconds": 0.0,
            },
        )
        return
    known = session.store.base().serial
    write(
        "Nothing to verify: all that is recorded was verified; `reconciler verify --all` looks again.\n"
        if known
        else "Nothing to verify: nothing was applied yet.\n"
    )


def _show(report: Report, session: Session, output: str) -> None:
    from reconciler.cli.output import write

    if output == "json":
        _write_json(session, _document(report, session))
    else:
        write(_text(report, session))


def _write_json(session: Session, document: dict[str, Any]) -> None:
    import orjson

    from reconciler.cli.output import write

    head = {"format_version": FORMAT_VERSION, "environment": session.project.environment.name}
    write(orjson.dumps(head | document, option=orjson.OPT_INDENT_2).decode() + "\n")


def _document(report: Report, session: Session) -> dict[str, Any]:
    from reconciler.rendering.jsondoc import problem_document
    from reconciler.verifying.compare import moment
    from reconciler.verifying.findings import Status, problem_of

    return {
        "total": report.total,
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
                "refresh_every": _schedule(session, entry.provider),
            }
            for entry in report.providers
        ],
        "problems": [
            {
                "address": finding.address,
                "status": finding.status.value,
                "deleted": finding.deletion,
                **problem_document(session.placed(problem_of(finding))),
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


def _metadata_notes(metadata: Metadata | None) -> Iterator[str]:
    from reconciler.rendering.values import count

    if metadata is None:
        return
    for entry in metadata.vanishing:
        yield (
            f'metadata "{entry.key}" of {count(entry.items, "item")} of source "{entry.source}" vanishes: '
            f"no field and no mapping takes it (such as that of {entry.example})"
        )
    if metadata.invisible:
        yield f"{count(metadata.invisible, 'metadata value')} not compared, for want of a field that shows just that"


def _schedule(session: Session, provider: str) -> int | None:
    """Return the seconds between two refreshes of a provider, None when the project does not say."""
    known = session.project.provider(provider)
    return known.refresh_every if known else None


def _provider_lines(report: Report, session: Session) -> Iterator[str]:
    """Yield, for each provider, what its security cache has taken, and what waits for the next refresh."""
    from reconciler.calls.effective import effective_words
    from reconciler.rendering.values import count
    from reconciler.verifying.compare import moment

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
            words = effective_words(_schedule(session, entry.provider))
            when = f"last one {moment(entry.refreshed)}" if entry.refreshed else "there was none"
            pushed = f", pushed {moment(entry.pushed)}" if entry.pushed else ""
            parts.append(f"{entry.waiting:,} {takes} effect {words} ({when}{pushed})")
        if entry.wrong:
            parts.append(f"{entry.wrong:,} {'is' if entry.wrong == 1 else 'are'} not as pushed")
        yield "; ".join(parts)


def _text(report: Report, session: Session) -> str:
    import sys
    from collections import Counter

    from reconciler.cli.options import wants_color
    from reconciler.model.address import Kind
    from reconciler.rendering.problems import problem_lines
    from reconciler.rendering.values import kind_count, visible
    from reconciler.verifying.findings import Status, problem_of

    lines = [
        f"{kind_count(kind, report.checked[kind])}: {report.verified[kind]:,} verified"
        for kind in (Kind.ITEM, Kind.GROUP, Kind.VIRTUAL_GROUP, Kind.USER, Kind.ALIAS)
        if report.checked[kind]
    ]
    lines += map(visible, _provider_lines(report, session))
    told: Counter[str] = Counter()
    for finding in report.problems:
        problem = session.placed(problem_of(finding))
        told[problem.code] += 1
        if told[problem.code] <= SHOWN:
            lines += ["", *problem_lines(problem, color=wants_color(sys.stdout))]
    hidden = {code: number - SHOWN for code, number in sorted(told.items()) if number > SHOWN}
    lines += [""] * bool(hidden)
    lines += [f"... and {number:,} more [{code}]; --format json shows all" for code, number in hidden.items()]
    notes = [*report.notes, *_metadata_notes(report.metadata)]
    lines += [f"note: {visible(note)}" for note in notes]
    rare = [(report.count(status), status.value) for status in (Status.WAITING, Status.UNRESOLVED)]
    lines += [""] * bool(report.problems or notes)
    lines.append(
        f"Verified: {report.count(Status.VERIFIED):,} of {report.total:,} resources; "
        f"{report.count(Status.MISSING):,} missing, {report.count(Status.REJECTED):,} rejected, "
        f"{report.count(Status.DIFFERENT):,} different"
        + "".join(f", {number:,} {word}" for number, word in rare if number)
        + "."
    )
    return "\n".join(lines) + "\n"


# -- recording -------------------------------------------------------------------------------------


def _resent(report: Report) -> Iterator[Verification]:
    """Yield the marks that make what did not arrive pending again."""
    from reconciler.state.rows import REJECTED, Verification
    from reconciler.verifying.findings import RESEND, Status

    for finding in report.problems:
        if finding.status in (Status.MISSING, Status.DIFFERENT) and not finding.deletion:
            yield Verification(finding.address, finding.ordering_id, REJECTED, (RESEND + finding.what)[:500])


def _record(session: Session, scope: Scope, report: Report, resent: Iterable[Verification]) -> None:
    """Write what was learned into the state, in a run of its own; nothing if nothing is new."""
    import uuid

    from reconciler.cli.identify import iso, lock_info
    from reconciler.state.journal import RunInfo
    from reconciler.verifying.scope import COMMAND, DONE

    learned = {entry.address: entry for entry in (*report.verifications, *resent)}
    if not learned and not (scope.deletions and not report.problems):
        return
    assert scope.target is not None
    lock = lock_info(iso())
    run = RunInfo(
        id=uuid.uuid4().hex[:12],
        command=COMMAND,
        started_at=lock.since,
        host=lock.host,
        user=lock.user,
        tool_version=_version(),
        environment=session.project.environment.name,
    )
    with session.store.lock(lock, timeout=LOCK_SECONDS) as writer:
        # "done" also says that all deletions before it are confirmed: not those of a run that came between.
        newest = session.store.runs(1)
        whole = not report.problems and bool(newest) and newest[0].run.id == scope.newest_run
        # The remote that the rows speak of is the one that the last run spoke to.
        writer.begin_run(run, session.store.target() or scope.target, lambda: str(uuid.uuid4()))
        writer.record_verified(learned.values())
        writer.end_run(at=iso(), result=DONE if whole else "failed")


def _version() -> str:
    from reconciler import __version__

    return __version__
