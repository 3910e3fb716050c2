"""From a plan to a finished run: show, ask, lock, send, record, report."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType

import click

from reconciler import __version__
from reconciler.applying.apply import Clock, Run, check_base, run_calls
from reconciler.applying.events import Event, RunFinished
from reconciler.bodies import BodyStore, ProjectBodies
from reconciler.calls.call import Compiled
from reconciler.cli.bodydiffs import KEPT_BODY, texts_to_keep
from reconciler.cli.files import read_plan_file
from reconciler.cli.identify import iso, lock_info, this_command
from reconciler.cli.options import is_interactive
from reconciler.cli.planning import refuse_hazards
from reconciler.cli.session import Planned, Session, bodies_store, check_target
from reconciler.planning.plan import Plan
from reconciler.problems import Interrupted, ManifestError, Problem, StateError, UsageError, errors_in
from reconciler.state.journal import RunInfo
from reconciler.state.store import LockInfo, StateReader

DONE, STOPPED, INTERRUPTED = 0, 4, 130

SWEEP_EVERY = 50  # accepted calls after which even a small apply lets go of bodies

# Seconds between two looks at whether to stop, while waiting for another attempt.
_GLANCE = 0.2


@dataclass(frozen=True, slots=True)
class Approval:
    """How a plan is agreed to: asked for on a terminal, or given beforehand."""

    auto: bool
    question: str
    detail: str


def read_saved(session: Session, path: Path, allowed: Collection[str]) -> Planned:
    """Read a saved plan and hold it against the project. Raises StateError for one that does not fit."""
    from reconciler.planfile import load_plan

    saved = load_plan(read_plan_file(path), str(path))
    plan = saved.plan
    if plan.environment != session.project.environment.name or plan.target != session.target:
        raise StateError(
            Problem(
                "foreign-plan",
                f'the plan was made for environment "{plan.environment}", organization "{plan.target.organization}"',
                why=f'this is "{session.project.environment.name}" of "{session.target.organization}".',
                fix="choose its environment with -e, or make a new plan.",
                where=str(path),
            )
        )
    settled = {covered.address for stage in saved.stages for call in stage.calls for covered in call.covers}
    if unknown := settled.union(saved.state_only) - {change.address for change in plan.changes}:
        raise StateError(
            Problem(
                "plan-altered",
                f'the plan would settle "{min(unknown)}", of which no change speaks',
                why="what was reviewed is what is applied, and nobody reviewed this.",
                fix="make and review a new plan:\n    reconciler plan --out plan.json",
                where=str(path),
            )
        )
    hazards = tuple(
        replace(
            hazard, allowed=hazard.allowed or hazard.name in allowed or f"{hazard.name}:{hazard.subject}" in allowed
        )
        for hazard in plan.hazards
    )
    return Planned(replace(plan, hazards=hazards), Compiled(saved.stages, saved.state_only), None, saved.digest)


def go_on_after_saved(path: Path, directory: str | None, environment: str | None) -> str:
    """Return the command that goes on where the apply of a saved plan stopped.

    The state has moved since that plan was made, so it takes a new one, of what is left.
    """
    place = [*(("-C", directory) if directory else ()), *(("-e", environment) if environment else ())]
    return shlex.join(["reconciler", *place, "plan", "--out", str(path)])


def apply_planned(
    session: Session, planned: Planned, approval: Approval, *, lock_timeout: float, go_on: str | None = None
) -> int:
    """Show a plan, have it approved, and run it. Returns the exit code.

    `go_on` is the command that goes on after a stop; without it, the same one does.
    """
    from reconciler.cli.output import show_plan

    show_plan(planned, session, output="text", detail=approval.detail)
    if errors_in(planned.plan.problems):
        raise ManifestError(*errors_in(planned.plan.problems))
    if not planned.plan.changes:
        return DONE
    refuse_hazards(planned.plan)
    _check_base(session, planned.plan, lock_timeout)
    _approve(approval)
    _check_bodies(session, planned)
    # A large plan stays to the end: the cyclic collector need not look at it again and again.
    gc.freeze()
    return _run(session, planned, lock_timeout, go_on or this_command())


def _check_base(session: Session, plan: Plan, lock_timeout: float) -> None:
    """Refuse a plan of another state; while the run that moved the state is still at work, say who that is."""
    try:
        check_base(plan, session.store)
    except StateError:
        with session.store.lock(lock_info(iso()), timeout=lock_timeout, waiting=_waiting):
            raise


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


def _check_bodies(session: Session, planned: Planned) -> None:
    """Make sure that every body is at hand, and unchanged, before the first call."""
    plan = planned.plan
    with bodies_store(session) as store:
        missing = {body.sha256 for body in plan.bodies if body.path is None and not store.has(body.sha256)}
        if missing:
            store.put_many(_bodies_from_manifests(session, missing))
            missing = {sha256 for sha256 in missing if not store.has(sha256)}
    if missing:
        raise ManifestError(
            Problem(
                "body-changed",
                f"{len(missing)} bodies that the plan names are neither kept nor in the manifests any more",
                why="the manifests changed since the plan was made, so what was reviewed cannot be sent.",
                fix="make and review a new plan:\n    reconciler plan --out plan.json",
            )
        )
    for body in plan.bodies:
        if body.path is not None:
            found = session.folder.resolve(body.path)
            if isinstance(found, Problem):
                raise ManifestError(found)
            if found.stat.size != body.size:
                raise ManifestError(_body_changed(body.path))


def _body_changed(path: str) -> Problem:
    return Problem(
        "body-changed",
        f'content file "{path}" is not the one that the plan was made with',
        why="what was reviewed is what is sent, and nothing else.",
        fix="make and review a new plan:\n    reconciler plan --out plan.json",
    )


def _bodies_from_manifests(session: Session, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    from reconciler.manifest.load import load_manifests

    loaded = load_manifests(
        session.project, session.folder, session.project_file, recorded={}, cache=session.cache, keep_bodies=True
    )
    for entry in loaded.entries(loaded.desired.fingerprints).values():
        if entry.body_sha256 in wanted and entry.body is not None:
            yield entry.body_sha256, entry.body


# -- the run ---------------------------------------------------------------------------------------


def _run(session: Session, planned: Planned, lock_timeout: float, go_on: str) -> int:
    from reconciler.cli.remote import connect
    from reconciler.pushapi.client import PushClient

    plan = planned.plan
    now = datetime.now(UTC)
    lock = lock_info(iso(now))
    stop = _Stop()
    run = Run(
        info=_run_info(plan, planned.digest, lock),
        plan=plan,
        stages=planned.compiled.stages,
        state_only=planned.compiled.state_only,
        new_lineage=lambda: str(uuid.uuid4()),
        above=_highest_ordering_id(session.store, plan),
    )
    context = session.wire_context()
    refs = {body.sha256: body.path for body in plan.bodies}
    sizes = {body.sha256: body.size for body in plan.bodies}
    with (
        connect(session) as remote,
        session.store.lock(lock, timeout=lock_timeout, waiting=_waiting) as writer,
        bodies_store(session) as store,
        PushClient(remote.hosts.push, remote.api_key.reveal(), sleep=stop.sleep) as client,
        stop.on_signals(),
    ):
        # Nothing may have moved between the plan and the lock.
        check_base(plan, session.store)
        check_target(session, session.store.target())
        bodies = ProjectBodies(store, session.folder, refs, sizes)

        send = partial(client.send, bodies=bodies, context=context)
        finished = _report(run_calls(run, writer=writer, send=send, clock=_CLOCK, stop=stop.asked), go_on)
        if finished.done == len(planned.compiled.calls):
            _tidy(session, plan, store, bodies)
    if finished.done == len(planned.compiled.calls):
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
        click.echo(f"note: later plans may not show what changes inside bodies: {error}", err=True)


def _highest_ordering_id(store: StateReader, plan: Plan) -> int:
    """Return the highest ordering id of what the plan changes, calls of unknown outcome included."""
    known = [change.address for change in plan.changes if change.before is not None]
    in_doubt = (entry.intent.ordering_id for entry in store.unsettled())
    return max(chain((row.ordering_id for row in store.rows(known)), in_doubt), default=0)


def _kept(session: Session) -> set[str]:
    """Return the digests of all small bodies that the state records."""
    import orjson

    kept = set()
    for row in session.store.rows():
        body = orjson.loads(row.doc).get("body")
        if body and body["size"] <= KEPT_BODY:
            kept.add(body["sha256"])
    return kept


def _report(events: Iterator[Event], go_on: str) -> RunFinished:
    from reconciler.rendering.progress import BarReporter, LineReporter, render_report

    reporter = BarReporter(sys.stderr) if sys.stderr.isatty() and not os.environ.get("CI") else LineReporter(sys.stderr)
    finished = None
    with reporter:
        for event in events:
            reporter.handle(event)
            if isinstance(event, RunFinished):
                finished = event
    assert finished is not None
    click.echo(render_report(finished, go_on=go_on), err=True, nl=False)
    return finished


class _Stop:
    """Remembers that somebody asked to stop; the call in flight is finished and recorded first."""

    def __init__(self) -> None:
        self._asked = False

    def asked(self) -> bool:
        """Whether to start no further call."""
        return self._asked

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt. Raises Interrupted when somebody asks to stop meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._asked:
            time.sleep(min(left, _GLANCE))
        if self._asked:
            raise Interrupted(
                Problem(
                    "interrupted",
                    "stopped before another attempt",
                    why="the last attempt was not answered with success, so this call is sent again next time.",
                    fix="run the same command again to go on.",
                )
            )

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the wish to stop for the length of a `with` block."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self._asked = True
            # The next one ends it at once, and what was in flight is recorded as unknown.
            for other in before:
                signal.signal(other, signal.default_int_handler)
            click.echo("stopping after this call; once more to stop at once", err=True)

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in before:
                signal.signal(number, handle)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _run_info(plan: Plan, digest: str, lock: LockInfo) -> RunInfo:
    return RunInfo(
        id=uuid.uuid4().hex[:12],
        command=lock.command,
        started_at=lock.since,
        host=lock.host,
        user=lock.user,
        plan_digest=digest,
        tool_version=__version__,
        environment=plan.environment,
    )


def _waiting(holder: LockInfo | None, seconds: float) -> None:
    who = f"{holder.user} on {holder.host} since {holder.since}" if holder else "another run"
    click.echo(f"waiting for the lock held by {who} ({seconds:.0f} s)", err=True)


_CLOCK = Clock(
    now=lambda: iso(datetime.now(UTC)),
    milliseconds=lambda: time.time_ns() // 1_000_000,
    seconds=time.monotonic,
    wait=time.sleep,
)
