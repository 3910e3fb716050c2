"""From a plan to a finished run: show, ask, lock, send, record, report."""

from __future__ import annotations

import gc
import io
import queue
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import click

from reconciler import __version__
from reconciler.applying.apply import Clock, Run, Teller, check_base, run_calls
from reconciler.applying.events import Event, Paused, RunFinished
from reconciler.applying.refreshing import Refresher
from reconciler.bodies import BodyStore, ProjectBodies
from reconciler.calls.call import STREAMS, SourceStatus
from reconciler.cli.bodycheck import check_bodies
from reconciler.cli.bodydiffs import KEPT_BODY, texts_to_keep
from reconciler.cli.fieldcheck import announce_missing_fields, make_fields
from reconciler.cli.identify import iso, lock_info, this_command
from reconciler.cli.loudness import is_plain, take_run
from reconciler.cli.makeplan import Planned
from reconciler.cli.options import is_interactive, wants_bar
from reconciler.cli.planexpiry import refuse_lapsed
from reconciler.cli.planning import refuse_hazards
from reconciler.cli.policing import hold_to_policies, refuse_by_policies
from reconciler.cli.refreshing import announcement, refresh_alone, refresher, to_refresh, unrefreshed
from reconciler.cli.reportoptions import NO_REPORTS, Wanted
from reconciler.cli.saved import refuse_replayed, refuse_unsaved
from reconciler.cli.session import Session, bodies_store, check_target
from reconciler.cli.stopping import Stop
from reconciler.logs import WARNING, tell
from reconciler.planning.plan import Plan
from reconciler.problems import (
    Interrupted,
    ManifestError,
    Problem,
    ReconcilerError,
    RemoteError,
    StateError,
    UsageError,
    errors_in,
)
from reconciler.rendering.values import count
from reconciler.state.journal import Outcome, RunInfo
from reconciler.state.store import LockInfo, StateReader

if TYPE_CHECKING:
    from reconciler.cli.remote import Remote
    from reconciler.pushapi.client import PushClient
    from reconciler.rendering.report import Recorder

DONE, STOPPED, INTERRUPTED = 0, 4, 130

SWEEP_EVERY = 50  # accepted calls after which even a small apply lets go of bodies

# What sources are told is for show: seconds and attempts that it may take.
_TELL_SECONDS, _TELL_ATTEMPTS = 10.0, 2


@dataclass(frozen=True, slots=True)
class Approval:
    """How a plan is agreed to: asked for on a terminal, or given beforehand."""

    auto: bool
    question: str
    detail: str


def _changes_anything(plan: Plan) -> bool:
    return bool(plan.changes)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a plan is carried out.

    `output` is the form of the closing report on stdout (`json`), `text` for the plan there and no report, or `log`
    for nothing there and the plan as an event, if it `is_news`. `saved` says that the plan was reviewed as it
    is, so it is never made anew. `go_on` gives the command that goes on after a stop of a plan; without it, the same
    one does. `refresh_identities` asks for the refresh of every provider whose identities change, or changed unseen.
    `wanted` are the reports of the plan. `watch` is shown each event of the run, and `stopping` hears of a signal that
    asks to stop it.
    """

    approval: Approval
    allowed: Collection[str]
    lock_timeout: float
    parallelism: int
    output: str = "text"
    saved: bool = False
    go_on: Callable[[Plan], str] | None = None
    refresh_identities: bool = False
    wanted: Wanted = NO_REPORTS
    is_news: Callable[[Plan], bool] = _changes_anything
    watch: Callable[[Event], None] | None = None
    stopping: Callable[[], None] | None = None


def apply_planned(session: Session, make: Callable[[], Planned], terms: Terms) -> int:
    """Make a plan, show it, have it approved, and run it. Returns the exit code.

    When the state moves between the plan and the lock, the plan is made, shown and approved anew,
    unless it is a saved one: that is refused as stale.
    """
    if not terms.saved:
        refuse_unsaved(session)
    while True:
        made_at = 0 if terms.saved else time.time_ns()
        planned = make()
        try:
            return _apply_once(session, planned, terms, made_at)
        except StateError as error:
            if terms.saved or error.problems[0].code != "stale-plan":
                raise
        except (KeyboardInterrupt, click.Abort):
            raise Interrupted(_stopped_before(planned, terms)) from None
        tell("plan.anew", "the state moved since the plan was made; this is the plan as of now:")


def _apply_once(session: Session, planned: Planned, terms: Terms, made_at: int) -> int:
    planned = hold_to_policies(session, planned, terms.allowed)
    errors = errors_in(planned.plan.problems)
    # What stops it is told once, as the error that it is.
    told = replace(planned.plan, problems=tuple(entry for entry in planned.plan.problems if entry not in errors))
    waiting = unrefreshed(session) if terms.refresh_identities else ()
    _show(replace(planned, plan=told), session, terms, waiting)
    _write_reports(planned, session, terms)
    if errors:
        raise ManifestError(*errors)
    if not planned.plan.changes:
        _close_left_open(session)
        _run_nothing(session, planned, terms, waiting)
        return DONE
    refuse_hazards(planned.plan)
    refuse_lapsed(planned.plan, time.time())
    _check_quotas(session, planned, terms.allowed)
    _check_base(session, planned.plan, terms.lock_timeout)
    fields = announce_missing_fields(session, planned.plan)
    _approve(terms.approval)
    refuse_lapsed(planned.plan, time.time())  # somebody may have thought about it for a day
    if not terms.approval.auto:
        refuse_by_policies(session, planned, terms.allowed)
    check_bodies(session, planned, made_at)
    make_fields(session, fields)
    # A large plan stays to the end: the cyclic collector need not look at it again and again.
    gc.freeze()
    run_id = take_run()
    try:
        return _run(session, planned, terms, waiting, run_id)
    except KeyboardInterrupt:
        raise Interrupted(_stopped_at_once(session, planned, terms, run_id)) from None


def _stopped_before(planned: Planned, terms: Terms) -> Problem:
    return Problem(
        "interrupted",
        f"stopped before the first of {count(len(planned.compiled.calls), 'call')}",
        why="no call of the plan was sent, and the state is as it was.",
        fix=f"to go on: {_to_go_on(planned.plan, terms)}",
    )


def _to_go_on(plan: Plan, terms: Terms) -> str:
    """Return the command that goes on, with the project and the environment that were given."""
    return terms.go_on(plan) if terms.go_on else this_command()


def _stopped_at_once(session: Session, planned: Planned, terms: Terms, run_id: str) -> Problem:
    """Return the problem of a run that was asked to stop twice, or before it listened: what the journal says of it."""
    outcomes = Counter(entry.outcome or Outcome.UNKNOWN for entry in session.store.journal(run_id))
    done, unknown = outcomes[Outcome.ACCEPTED], outcomes[Outcome.UNKNOWN]
    left = len(planned.compiled.calls) - done - unknown
    return Problem(
        "interrupted",
        f"stopped at once: {count(done, 'call')} done, {unknown:,} unknown, {left:,} not done",
        why="what is done is recorded in the state, and nothing else is; what is unknown is sent again, which is "
        "harmless.",
        fix=f"to go on: {_to_go_on(planned.plan, terms)}",
        where=session.store.where,
    )


def _show(planned: Planned, session: Session, terms: Terms, waiting: Collection[str]) -> None:
    """Show the plan, and what is asked for beside it, where it is not in the way of the report."""
    from reconciler.cli.output import show_plan, write

    def show() -> None:
        show_plan(planned, session, output="text", detail=terms.approval.detail)
        if terms.refresh_identities:
            write("".join(f"{line}\n" for line in announcement(session, to_refresh(planned.compiled, waiting))))

    if terms.output == "text":
        show()
    elif terms.output == "json" and (is_plain() or (is_interactive() and not terms.approval.auto)):
        with redirect_stdout(sys.stderr):
            show()
    elif terms.output == "json" or terms.is_news(planned.plan):
        # An event like others, for whoever reads those.
        shown = io.BytesIO()
        with redirect_stdout(io.TextIOWrapper(shown, encoding="utf-8", write_through=True)):
            show()
            text = shown.getvalue().decode().removesuffix("\n")
        tell("plan", text, changes=len(planned.plan.changes), calls=len(planned.compiled.calls))


def _write_reports(planned: Planned, session: Session, terms: Terms) -> None:
    """Write the reports that are asked for before anything is sent: who cannot be told stops it."""
    if terms.wanted.reports:
        from reconciler.cli.reports import write_reports

        write_reports(planned, session, terms.wanted, detail=terms.approval.detail)


def _check_base(session: Session, plan: Plan, lock_timeout: float) -> None:
    """Refuse a plan of another state; while the run that moved the state is still at work, say who that is."""
    try:
        check_base(plan, session.store)
    except StateError:
        with session.store.lock(lock_info(iso()), timeout=lock_timeout, waiting=_waiting):
            raise


def _check_quotas(session: Session, planned: Planned, allowed: Collection[str]) -> None:
    """Refuse what the rest of a day's quota does not let finish. Raises StateError.

    The plan was held against a whole day already; a saved one, against what the project said then. The
    journal knows of this state's calls alone, so what others sent to the organization is not counted.
    """
    from reconciler.calls.quotas import DAY, Usage, quota_hazards
    from reconciler.cli.remote import quota_allowance

    day_ago = iso(datetime.now(UTC) - timedelta(seconds=DAY))
    known = session.store.usage_since(day_ago)
    compiled = replace(planned.compiled, allowed=quota_allowance(session.project))
    hazards = quota_hazards(compiled.estimate(Usage(known.calls, known.items)), allow=allowed)
    refuse_hazards(replace(planned.plan, hazards=hazards))


def _approve(approval: Approval) -> None:
    if approval.auto:
        return
    if not is_interactive():
        raise UsageError(
            Problem(
                "approval-needed",
                "there is no terminal to ask on",
                why="nothing is changed without somebody's word.",
                fix="add --auto-approve, or apply a saved plan that was reviewed, with --auto-approve.",
            )
        )
    if not click.confirm(approval.question, default=False, err=True):
        raise UsageError(Problem("not-approved", "nothing was done", fix="run it again when you are ready."))


# -- the run ---------------------------------------------------------------------------------------


def _run(session: Session, planned: Planned, terms: Terms, waiting: tuple[str, ...], run_id: str) -> int:
    from reconciler.cli.remote import connect
    from reconciler.pushapi.client import PushClient
    from reconciler.rendering.report import Recorder

    plan = planned.plan
    lock = lock_info(iso(datetime.now(UTC)))
    stop = Stop(terms.stopping)
    pauses: queue.SimpleQueue[Paused] = queue.SimpleQueue()
    context = session.wire_context()
    refs = {body.sha256: body.path for body in plan.bodies}
    sizes = {body.sha256: body.size for body in plan.bodies}
    with (
        # Ends after all others: nothing is to break off the giving back of the lock.
        stop.on_signals() as listen,
        connect(session) as remote,
        session.store.lock(lock, timeout=terms.lock_timeout, waiting=_waiting) as writer,
        bodies_store(session) as store,
        PushClient(
            remote.hosts.push,
            remote.api_key.reveal(),
            network=remote.network,
            pace=remote.pace,
            policy=remote.policy,
            waiting=lambda seconds, limit: pauses.put(Paused(seconds, limit)),
            sleep=stop.sleep,
            proceed=stop.proceed,
        ) as client,
        _status_client(remote, partial(_sleep_unless_stopped, stop)) as status_client,
        _refresher(session, remote, stop, terms) as refresh,
    ):
        listen()
        # Nothing may have moved between the plan and the lock.
        if planned.digest:
            refuse_replayed(session.store, plan, planned.digest)
        check_base(plan, session.store)
        check_target(session, session.store.target())
        refuse_lapsed(plan, time.time())
        bodies = ProjectBodies(store, session.folder, refs, sizes)
        run = Run(
            info=_run_info(run_id, plan, planned.digest, lock),
            plan=plan,
            stages=planned.compiled.stages,
            state_only=planned.compiled.state_only,
            new_lineage=lambda: str(uuid.uuid4()),
            above=_highest_ordering_id(session.store, planned),
            statuses=planned.compiled.statuses,
            tightened=planned.compiled.tightened,
            left_open=_left_open(session.store),
            unrefreshed=waiting,
        )
        recorder = Recorder(plan, run.info.id, _schedules(session))
        events = run_calls(
            run,
            writer=writer,
            send=partial(client.send, bodies=bodies, context=context),
            clock=_CLOCK,
            stop=stop.asked,
            tell=_teller(status_client),
            refresh=refresh,
            remote_time=lambda: _milliseconds(status_client.remote_time()),
            parallelism=terms.parallelism,
            pauses=pauses,
            halt=stop.halt,
        )
        finished = _follow(events, recorder, terms.watch, _to_go_on(plan, terms), _schedules(session))
        done = finished.done == len(planned.compiled.calls)
        if done and not stop.asked():
            _tidy(session, plan, store, bodies)
    if terms.output == "json":
        _write(recorder)
    if done:
        return DONE
    return INTERRUPTED if stop.asked() and not finished.failed else STOPPED


def _tidy(session: Session, plan: Plan, store: BodyStore, bodies: ProjectBodies) -> None:
    """Keep the small texts that were sent, and let go of those that nothing records any more.

    Both are for showing later plans alone: what goes wrong here is told, and the apply is still done.
    """
    try:
        if any(body.path is not None for body in plan.bodies):
            store.put_many(texts_to_keep(plan, bodies))
        # To know what nothing records takes reading every row, which a small apply of a large state
        # leaves to a later one.
        serial = session.store.base().serial
        if len(plan.changes) * 100 >= plan.no_op or serial // SWEEP_EVERY != plan.base.serial // SWEEP_EVERY:
            store.prune({body.sha256 for body in plan.bodies if body.size <= KEPT_BODY} | _kept(session))
    except StateError as error:
        tell("note", f"note: later plans may not show what changes inside bodies: {error}", WARNING)


def _highest_ordering_id(store: StateReader, planned: Planned) -> int:
    """Return the highest ordering id that was ever used for what the plan changes, as far as the state knows.

    The journal knows of what is gone and of what is in doubt, the rows of what another store's journal
    holds. Those of streams were chosen by the remote and mean nothing to ours.
    """
    known = [covered.address for call in planned.compiled.calls if call.kind not in STREAMS for covered in call.covers]
    rows = (row.ordering_id for row in store.rows(known))
    return max(chain(rows, [store.highest_ordering_id()]))


def _kept(session: Session) -> set[str]:
    """Return the digests of all small bodies that the state records."""
    import orjson

    kept = set()
    for row in session.store.rows():
        body = orjson.loads(row.doc).get("body")
        if body and body["size"] <= KEPT_BODY:
            kept.add(body["sha256"])
    return kept


def _follow(
    events: Generator[Event, None, None],
    recorder: Recorder,
    watch: Callable[[Event], None] | None,
    go_on: str,
    schedules: Mapping[str, int],
) -> RunFinished:
    """Show the events of a run as they come and return the last one."""
    from reconciler.rendering.progress import BarReporter, LineReporter, tell_report

    reporter = BarReporter(sys.stderr) if wants_bar() else LineReporter()
    finished, began = None, time.monotonic()
    # Closed at once when showing them fails, and not when somebody collects the garbage: the run ends here.
    with closing(events), reporter:
        try:
            for event in events:
                reporter.handle(event)
                recorder.handle(event)
                if watch is not None:
                    watch(event)
                if isinstance(event, RunFinished):
                    finished = event
        except (KeyboardInterrupt, SystemExit) as error:
            # It may have come while an event was shown: closing would wait for the calls in flight.
            with suppress(KeyboardInterrupt, SystemExit):
                events.throw(error)
            raise
        except StateError as error:
            # What was done until then is recorded; what was in flight may not be.
            if ended := recorder.cut_short(time.monotonic() - began):
                tell_report(ended, go_on=go_on, refresh_every=schedules)
                error.exit_code = STOPPED
            raise
    assert finished is not None
    tell_report(finished, go_on=go_on, refresh_every=schedules)
    return finished


def _run_nothing(session: Session, planned: Planned, terms: Terms, waiting: Collection[str]) -> None:
    """Report that no call is to be made, after having refreshed what waits for it."""
    from reconciler.rendering.progress import LineReporter, tell_report
    from reconciler.rendering.report import Recorder

    recorder = Recorder(planned.plan, None, _schedules(session))
    if waiting:
        from reconciler.cli.remote import connect

        _approve(terms.approval)
        with connect(session) as remote, LineReporter() as reporter:

            def handle(event: Event) -> None:
                reporter.handle(event)
                recorder.handle(event)

            finished = refresh_alone(session, remote, waiting, handle)
        recorder.handle(finished)
        tell_report(finished, refresh_every=_schedules(session))
    if terms.output == "json":
        _write(recorder)


def _schedules(session: Session) -> dict[str, int]:
    return {entry.name: entry.refresh_every for entry in session.project.providers if entry.refresh_every}


def _write(recorder: Recorder) -> None:
    from reconciler.cli.output import write

    write(recorder.text())


# -- what sources are told -------------------------------------------------------------------------


def _status_client(remote: Remote, sleep: Callable[[float], None]) -> PushClient:
    """Return a client that insists little, but waits for its turn: what it says are calls like others."""
    from reconciler.pushapi.client import PushClient
    from reconciler.pushapi.http import Timeouts
    from reconciler.pushapi.retry import RetryPolicy

    return PushClient(
        remote.hosts.push,
        remote.api_key.reveal(),
        network=remote.network,
        timeouts=Timeouts(connect=_TELL_SECONDS / 2, transfer=_TELL_SECONDS, reply=_TELL_SECONDS),
        pace=remote.pace,
        waiting=lambda seconds, limit: tell(
            "run.paused", f"waiting {seconds:.0f} s for {limit}", seconds=round(seconds, 3), limit=limit
        ),
        policy=RetryPolicy(attempts=_TELL_ATTEMPTS, deadline=_TELL_SECONDS),
        sleep=sleep,
    )


def _sleep_unless_stopped(stop: Stop, seconds: float) -> None:
    """Wait; who was asked to stop takes the time that sources are told in, and no longer. Raises Interrupted."""
    if stop.asked() and seconds <= _TELL_SECONDS:
        time.sleep(seconds)
    else:
        stop.sleep(seconds)


def _refresher(session: Session, remote: Remote, stop: Stop, terms: Terms) -> AbstractContextManager[Refresher | None]:
    if not terms.refresh_identities:
        return nullcontext()
    return refresher(session, remote, partial(_sleep_unless_stopped, stop))


def _teller(client: PushClient) -> Teller:
    from reconciler.pushapi.client import StatusType

    def tell_source(source: SourceStatus, status: str) -> int | None:
        return _milliseconds(client.tell(source.path, StatusType(status)))

    return tell_source


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def _left_open(store: StateReader) -> tuple[SourceStatus, ...]:
    return tuple(SourceStatus(source, "", path) for source, path in store.activities())


def _close_left_open(session: Session) -> None:
    """Tell the sources that a run left active when it died that nothing goes on there.

    Only that run can have left any, so after a clean end nothing is asked of anybody. A run that is
    still at work will tell them itself.
    """
    if not session.store.activities():
        return
    from reconciler.applying.apply import IDLE
    from reconciler.cli.remote import connect

    try:
        with (
            connect(session) as remote,
            session.store.lock(lock_info(iso())) as writer,
            _status_client(remote, time.sleep) as client,
        ):
            tell_source = _teller(client)
            still = []
            for entry in _left_open(session.store):
                try:
                    tell_source(entry, IDLE)
                except RemoteError as error:
                    # One that is gone for good must not keep the others active.
                    still.append((entry.source, entry.path))
                    text = f'note: source "{entry.source}" may still be shown as active: {error}'
                    tell("note", text, WARNING, source=entry.source)
            writer.record_activities(still)
    except ReconcilerError as error:
        if error.problems[0].code != "state-locked":
            tell("note", f"note: a source may still be shown as active: {error}", WARNING)


def _run_info(run_id: str, plan: Plan, digest: str, lock: LockInfo) -> RunInfo:
    return RunInfo(
        id=run_id,
        command=lock.command,
        started_at=lock.since,
        host=lock.host,
        user=lock.user,
        plan_digest=digest,
        tool_version=__version__,
        environment=plan.environment,
        commit=plan.commit,
    )


def _waiting(holder: LockInfo | None, seconds: float) -> None:
    who = f"{holder.user} on {holder.host} since {holder.since}" if holder else "another run"
    tell("lock.waiting", f"waiting for the lock held by {who} ({seconds:.0f} s)", seconds=round(seconds, 3), holder=who)


_CLOCK = Clock(
    now=lambda: iso(datetime.now(UTC)),
    milliseconds=lambda: time.time_ns() // 1_000_000,
    seconds=time.monotonic,
    wait=time.sleep,
)
