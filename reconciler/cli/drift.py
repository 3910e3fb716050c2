"""`reconciler drift`: whether the remote still is as recorded, or as the manifests want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.loudness import take_run
from reconciler.cli.options import format_option, project_options, wants_bar
from reconciler.logs import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from reconciler.cli.session import Session
    from reconciler.manifest.load import Loaded
    from reconciler.model.states import Target
    from reconciler.problems import RemoteError
    from reconciler.state.rows import RecordedRow, Verification
    from reconciler.verifying.drift import DriftReport
    from reconciler.verifying.drifting import Question
    from reconciler.verifying.events import Looked, Started

DRIFTED = 3
SETTLE = 900.0
LOCK_SECONDS = 30.0
PAGE = 1000
_FORBIDDEN = 403
# What push-api.md 1.3 asks for.
_PRIVILEGES = (
    "Search - Execute queries, Search - View all content, Sources - View, Organization - View, Security cache - View"
)


@click.command("drift")
@project_options
@click.option(
    "--of",
    type=click.Choice(["recorded", "desired"]),
    default="recorded",
    show_default=True,
    help="What the remote is held against: the state, or the manifests.",
)
@click.option(
    "--target",
    "targets",
    metavar="ADDRESS",
    multiple=True,
    help="Only this address, uri or pattern; nothing foreign is looked for (repeatable).",
)
@click.option("--source", "sources", metavar="NAME", multiple=True, help="Only items of this source (repeatable).")
@click.option("--no-foreign", is_flag=True, help="Do not list what sources and providers hold beside what is ours.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=SETTLE,
    show_default=True,
    metavar="SECONDS",
    help="What was accepted within this time, and was not seen to arrive, is pending and no drift.",
)
@click.option("--resend", is_flag=True, help="Let the next plan send again what drifted or is missing.")
@click.option(
    "--exit-code/--no-exit-code", default=True, show_default=True, help="Exit with 3 when something drifted, or not."
)
@format_option("text", "json")
def command(
    directory: str | None,
    environment: str | None,
    of: str,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    no_foreign: bool,
    settle: float,
    resend: bool,
    exit_code: bool,
    output: str,
) -> int:
    """Compare the remote with what is recorded, by address and field.

    Changes nothing at the remote. What is accepted and not processed yet is told as pending, what nobody can read
    (bodies, metadata without a field) is counted. Exits with 3 when something drifted, with 4 when the remote
    cannot be read.

    Examples:

    \b
        reconciler drift
        reconciler drift -e prod --of desired --source handbook
        reconciler drift --resend --no-exit-code && reconciler apply
    """
    from reconciler.cli.output import show_problems
    from reconciler.cli.session import check_target, open_session
    from reconciler.problems import ReconcilerError

    with open_session(directory, environment, use_cache=of == "desired") as session:
        check_target(session, session.store.target())
        question = _question(session, of, targets, sources, foreign=not no_foreign, settle=settle)
        report, target = _find(session, question)
        marks = tuple(_marks(report)) if resend else ()
        _show(session, report, of=of, output=output, resent=len(marks))
        try:
            _record(session, marks, target)
        except ReconcilerError as error:
            # What was found is told already; that it was not written down comes beside it.
            show_problems([session.placed(problem) for problem in error.problems], None)
            return error.exit_code
    return DRIFTED if exit_code and report.drifted else 0


# -- looking ---------------------------------------------------------------------------------------


def _find(session: Session, question: Question) -> tuple[DriftReport, Target]:
    """Return what was found, and the remote that it was found at."""
    from dataclasses import replace

    from reconciler.problems import RemoteError

    serial = session.store.base().serial
    target = _target(session, question.target)
    try:
        report = _look(session, question, target)
    except RemoteError as error:
        raise explained(error) from None
    if session.store.base().serial != serial:
        note = "the state changed while this was looking; what is foreign may be what that run made"
        report = replace(report, notes=(*report.notes, note))
    return report, target


def _target(session: Session, then: Target | None) -> Target:
    """Return the project's remote, with the names that earlier runs knew besides."""
    from reconciler.model.states import Target

    now = session.target
    if then is None:
        return now
    sources, providers = dict(then.sources) | dict(now.sources), dict(then.providers) | dict(now.providers)
    return Target(now.organization, tuple(sorted(sources.items())), tuple(sorted(providers.items())))


def _question(
    session: Session,
    of: str,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    *,
    foreign: bool,
    settle: float,
) -> Question:
    """Return what to compare. Raises UsageError for a source or target that is unknown, ManifestError for manifests."""
    from datetime import UTC, datetime

    from reconciler.cli.worlds import loaded_manifests
    from reconciler.planning.selection import check_sources, check_targets, matcher
    from reconciler.verifying.drift import Times
    from reconciler.verifying.drifting import Question
    from reconciler.verifying.scope import read_scope

    project = session.project
    check_sources(sources, [source.name for source in project.sources])
    recorded = session.store.fingerprints()
    loaded = loaded_manifests(session) if of == "desired" else None
    known = recorded if loaded is None else loaded.desired.fingerprints
    check_targets(targets, known)
    scope = read_scope(session.store, everything=False)
    named = matcher(targets)
    wide = foreign and not targets
    return Question(
        rows=session.store.rows if loaded is None else _desired_rows(session, loaded, recorded),
        chosen=lambda address: not (targets or sources) or named(address) or _is_in(address, sources),
        times=Times(int(datetime.now(UTC).timestamp() * 1000), int(settle * 1000)),
        target=scope.target,
        deletions={address: sent for address, sent in scope.deletions.items() if address not in known},
        doubtful=frozenset(str(at) for entry in session.store.unsettled() for at, _ in entry.intent.covers),
        unapplied=frozenset(address for address, digest in known.items() if recorded.get(address) != digest),
        removed=frozenset(recorded.keys() - known.keys()),
        sources=(sources or tuple(source.name for source in project.sources)) if wide else (),
        providers=tuple(provider.name for provider in project.providers) if wide and not sources else (),
        exclusive=frozenset(
            [("source", source.name) for source in project.sources if source.exclusive]
            + [("provider", provider.name) for provider in project.providers if provider.exclusive]
        ),
    )


def _is_in(address: str, sources: tuple[str, ...]) -> bool:
    kind, scope, _ = address.split("/", 2)
    return kind == "item" and scope in sources


def _desired_rows(
    session: Session, loaded: Loaded, recorded: Mapping[str, bytes]
) -> Callable[[Iterable[str] | None], Iterator[RecordedRow]]:
    """Return what yields the manifests' resources as rows, with what the state knows of each."""
    from dataclasses import replace

    from reconciler.model.address import Address
    from reconciler.state.rows import RecordedRow

    desired = loaded.desired.fingerprints

    def rows(addresses: Iterable[str] | None) -> Iterator[RecordedRow]:
        wanted = (
            sorted(desired) if addresses is None else sorted(address for address in addresses if address in desired)
        )
        for start in range(0, len(wanted), PAGE):
            page = wanted[start : start + PAGE]
            known = {str(row.address): row for row in session.store.rows(page)}
            changed = loaded.resources(address for address in page if recorded.get(address) != desired[address])
            for address in page:
                row = known.get(address)
                resource = changed.get(address)
                if resource is not None:
                    bare = row or RecordedRow(Address(address), b"", b"", 0, "", "")
                    yield replace(bare, doc=resource.doc, shared=resource.shared)
                elif row is not None:
                    yield row

    return rows


def _look(session: Session, question: Question, target: Target) -> DriftReport:
    from functools import partial

    from reconciler.calls.context import WireContext
    from reconciler.cli.fieldcheck import organization_for_verify
    from reconciler.cli.remote import connect
    from reconciler.verifying.drifting import find_drift
    from reconciler.verifying.look import Look

    context = WireContext.of(target, session.source_providers)
    with connect(session) as remote, remote.reader(target.organization) as reader, Look(reader) as look:
        fields = partial(organization_for_verify, session, reader)
        return _follow(find_drift(question, look=look, context=context, fields=fields))


def _follow(events: Iterator[Started | Looked | DriftReport]) -> DriftReport:
    """Return the report that ends the events, showing the way there on a terminal."""
    import sys
    from contextlib import ExitStack

    from reconciler.verifying.drift import DriftReport
    from reconciler.verifying.events import Looked, Started

    with ExitStack() as stack:
        progress = None
        if wants_bar():
            from rich.console import Console  # 60 ms to import, and only a terminal needs it
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
            columns = (TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            progress = stack.enter_context(Progress(*columns, console=console, transient=True))
            task = progress.add_task("comparing", total=None)
        for event in events:
            match event:
                case DriftReport():
                    return event
                case Started() if progress is not None:
                    progress.update(task, total=event.total)
                case Looked() if progress is not None:
                    progress.update(task, completed=event.settled)
    raise AssertionError("a comparison ended without a report. This is a bug in reconciler.")


def explained(error: RemoteError) -> RemoteError:
    """Return the error of a read, which says of one that is forbidden which privileges it takes."""
    from dataclasses import replace

    from reconciler.problems import RemoteError

    if getattr(error, "status", None) != _FORBIDDEN:
        return error
    fix = f"give the API key the privileges: {_PRIVILEGES}; or use the key of the right organization."
    return RemoteError(replace(error.problems[0], fix=fix))


# -- telling ---------------------------------------------------------------------------------------


def _show(session: Session, report: DriftReport, *, of: str, output: str, resent: int) -> None:
    import shlex
    import sys

    from reconciler.cli.options import wants_color
    from reconciler.cli.output import write
    from reconciler.rendering.driftview import drift_document, drift_text

    if output == "json":
        import orjson

        name = session.project.environment.name
        document = drift_document(report, environment=name, of=of, resent=resent)
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    command = shlex.join(["reconciler", *session.options])
    write(drift_text(report, of=of, resent=resent, command=command, color=wants_color(sys.stdout)))


def refresh_recorded(session: Session) -> None:
    """Read the remote and mark what drifted, so that the next plan sends it again; tells how much that is.

    Raises RemoteError when the remote cannot be read, StateError when the marks cannot be written.
    """
    look_at_recorded(session, resend=True)


def look_at_recorded(session: Session, *, resend: bool, foreign: bool = False) -> DriftReport:
    """Read the remote, tell how it differs from what is recorded, and return that.

    With `resend` what drifted is marked, so that the next plan sends it again; with `foreign` what nobody asked for is
    looked for, too. Raises RemoteError when the remote cannot be read, StateError when the marks cannot be written.
    """
    from reconciler.cli.session import check_target
    from reconciler.rendering.values import count
    from reconciler.verifying.drift import Standing

    check_target(session, session.store.target())
    report, target = _find(session, _question(session, "recorded", (), (), foreign=foreign, settle=SETTLE))
    marks = tuple(_marks(report))
    if resend:
        _record(session, marks, target)
    found = [count(report.total, "resource"), f"{len(marks):,} drifted{' and planned again' if resend else ''}"]
    for standing in (Standing.STILL_THERE, Standing.PENDING, Standing.HIDDEN):
        if number := report.count(standing):
            found.append(f"{number:,} {standing.value.replace('-', ' ')}")
    tell("drift.compared", f"compared with the remote: {', '.join(found)}", resources=report.total, drifted=len(marks))
    return report


# -- sending again ---------------------------------------------------------------------------------


def _marks(report: DriftReport) -> Iterator[Verification]:
    """Yield the marks that make what drifted pending again; what differs from the manifests is so without one."""
    from reconciler.state.rows import REJECTED, Verification
    from reconciler.verifying.drift import Standing
    from reconciler.verifying.findings import DRIFT_MARK

    for drift in report.drifts:
        if drift.standing in (Standing.DRIFTED, Standing.MISSING) and not (drift.unapplied or drift.marked):
            yield Verification(drift.address, drift.ordering_id, REJECTED, (DRIFT_MARK + drift.summary)[:500])


def _record(session: Session, marks: tuple[Verification, ...], target: Target) -> None:
    """Write the marks into the state, in a run of its own; nothing without any."""
    import uuid

    from reconciler import __version__
    from reconciler.cli.identify import iso, lock_info
    from reconciler.state.journal import RunInfo

    if not marks:
        return
    lock = lock_info(iso())
    run = RunInfo(
        id=take_run(),
        command="drift",
        started_at=lock.since,
        host=lock.host,
        user=lock.user,
        tool_version=__version__,
        environment=session.project.environment.name,
    )
    with session.store.lock(lock, timeout=LOCK_SECONDS) as writer:
        writer.begin_run(run, session.store.target() or target, lambda: str(uuid.uuid4()))
        writer.record_verified(marks)
        writer.end_run(at=iso(), result="done")
