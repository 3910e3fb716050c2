"""`reconciler verify`: ask the remote whether it took what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.loudness import take_run
from reconciler.cli.options import format_option, project_options, wants_bar
from reconciler.logs import ERROR, tell

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from reconciler.cli.session import Session
    from reconciler.state.rows import Verification
    from reconciler.verifying.events import Event, Report
    from reconciler.verifying.scope import Scope

LOCK_SECONDS = 30.0
TELL_EVERY = 10.0  # seconds, where there is no terminal
INTERRUPTED = 130


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
    arrive and why. What was learned is recorded, also by one that is interrupted; what the remote
    rejected is sent again by the next apply. Exits with 0 when everything is verified, with 1 when
    not, with 4 when the remote cannot be read.

    Examples:

    \b
        reconciler verify
        reconciler verify --all --timeout 0 --format json
    """
    from reconciler.cli.output import show_problems
    from reconciler.cli.session import open_session
    from reconciler.problems import ReconcilerError
    from reconciler.verifying.events import Stopped

    with open_session(directory, environment, use_cache=False) as session:
        looked = look_at_pushed(session, timeout, everything=everything)
        if looked is None:
            _show_nothing(session, output)
            return 0
        scope, report = looked
        _show(report, session, output)
        try:
            record_seen(session, scope, report, resend=resend)
        except ReconcilerError as error:
            # What was found is told already; that it was not written down comes beside it.
            show_problems([session.placed(problem) for problem in error.problems], None)
            return error.exit_code
        if report.failure is not None:
            show_problems([session.placed(problem) for problem in report.failure.problems], None)
            return report.failure.exit_code
    if report.stopped is Stopped.INTERRUPTED:
        tell("interrupted", "interrupted", ERROR)
        return INTERRUPTED
    return 0 if report.good else 1


# -- looking ---------------------------------------------------------------------------------------


def look_at_pushed(session: Session, timeout: float, *, everything: bool = False) -> tuple[Scope, Report] | None:
    """Return what was looked at and what the remote shows of it, None where there is nothing to look at.

    Raises RemoteError when nothing could be read; one that came later stands in the report.
    """
    from dataclasses import replace

    from reconciler.cli.drift import explained
    from reconciler.cli.session import check_target
    from reconciler.problems import RemoteError
    from reconciler.verifying.scope import read_scope

    check_target(session, session.store.target())
    scope = read_scope(session.store, everything=everything)
    if not scope.total:
        return None
    try:
        report = _look(session, scope, timeout)
    except RemoteError as error:
        raise explained(error) from None
    return scope, replace(report, failure=report.failure and explained(report.failure))


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


def _follow(events: Generator[Event, None, None]) -> Report:
    """Return the report that ends the events, showing the way there; whoever interrupts it gets what is known."""
    from reconciler.verifying.events import Report

    watched = _with_bar if wants_bar() else _with_lines
    try:
        return watched(events)
    except KeyboardInterrupt as stop:
        # It came between two events: those who make them have not heard of it.
        event = events.throw(stop)
        assert isinstance(event, Report)
        return event


def _with_lines(events: Generator[Event, None, None]) -> Report:
    """Say on stderr what is waited for, when it begins and every ten seconds, so that a log shows that it lives."""
    import time

    from reconciler.rendering.values import count
    from reconciler.verifying.events import Report, Waiting

    told = None
    for event in events:
        if isinstance(event, Report):
            return event
        if isinstance(event, Waiting) and (told is None or time.monotonic() - told >= TELL_EVERY):
            told = time.monotonic()
            tell(
                "verify.waiting",
                f"verify: waiting for {count(event.pending, 'resource')}, up to {event.left:,.0f} s more",
                pending=event.pending,
                seconds_left=round(event.left, 3),
            )
    raise AssertionError("a verification ended without a report. This is a bug in reconciler.")


def _with_bar(events: Generator[Event, None, None]) -> Report:
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
                    waited = f"waiting for {count(event.pending, 'resource')}, up to {event.left:,.0f} s more"
                    progress.update(task, description=waited)
                case Report():
                    return event
    raise AssertionError("a verification ended without a report. This is a bug in reconciler.")


# -- telling ---------------------------------------------------------------------------------------


def _show_nothing(session: Session, output: str) -> None:
    from collections import Counter

    from reconciler.cli.output import write
    from reconciler.verifying.events import Report

    if output == "json":
        _show(Report(Counter(), Counter(), (), (), (), 0.0), session, output)
        return
    known = session.store.base().serial
    write(
        "Nothing to verify: all that is recorded was verified; `reconciler verify --all` looks again.\n"
        if known
        else "Nothing to verify: nothing was applied yet.\n"
    )


def _show(report: Report, session: Session, output: str) -> None:
    import sys

    from reconciler.cli.options import wants_color
    from reconciler.cli.output import write
    from reconciler.rendering.verifyview import verify_document, verify_text

    schedules = {provider.name: provider.refresh_every for provider in session.project.providers}
    if output == "json":
        import orjson

        name = session.project.environment.name
        document = verify_document(report, environment=name, placed=session.placed, schedules=schedules)
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    write(verify_text(report, placed=session.placed, schedules=schedules, color=wants_color(sys.stdout)))


# -- recording -------------------------------------------------------------------------------------


def record_seen(session: Session, scope: Scope, report: Report, *, resend: bool = False) -> None:
    """Write what was learned into the state; with `resend`, what did not arrive is pending again. Raises StateError."""
    from reconciler.verifying.events import Stopped

    # What a look that was cut short calls missing may only be late.
    waited = report.stopped in (None, Stopped.DEADLINE)
    _record(session, scope, report, _resent(report) if resend and waited else ())


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
    if not learned and not (scope.deletions and report.good):
        return
    assert scope.target is not None
    lock = lock_info(iso())
    run = RunInfo(
        id=take_run(),
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
        whole = report.good and bool(newest) and newest[0].run.id == scope.newest_run
        # The remote that the rows speak of is the one that the last run spoke to.
        writer.begin_run(run, session.store.target() or scope.target, lambda: str(uuid.uuid4()))
        writer.record_verified(learned.values())
        writer.end_run(at=iso(), result=DONE if whole else "failed")


def _version() -> str:
    from reconciler import __version__

    return __version__
