"""Reconciles again and again: pull, compare, plan, hold to policies, apply, verify, on the functions of the commands.

A round does what `plan`, `apply --auto-approve` and `verify` do, in this process. Nothing is allowed that is not
allowed by name, so a hazard blocks until somebody decides. One controller of a state works at a time: the one that
holds its lock.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from reconciler.cli import loudness
from reconciler.cli.applying import INTERRUPTED, STOPPED, Approval, Terms, apply_planned
from reconciler.cli.gitpull import bring_up_to_date
from reconciler.cli.leading import Lead
from reconciler.cli.output import show_problems
from reconciler.cli.planning import plan_or_report
from reconciler.cli.session import CACHE_EDITION, Session, open_session
from reconciler.cli.watching import Ended, Result, Watcher
from reconciler.logs import DEBUG, INFO, WARNING, tell
from reconciler.planning.wish import Wish
from reconciler.problems import (
    Interrupted,
    ManifestError,
    Problem,
    ReconcilerError,
    RemoteError,
    UsageError,
)
from reconciler.rendering.values import count

if TYPE_CHECKING:
    from reconciler.cli.makeplan import Planned
    from reconciler.model.states import StateBase
    from reconciler.planning.plan import Plan

DRIFTED, NOT_GOOD = 3, 1
LONGEST_BACKOFF = 900.0
_GLANCE = 0.2
# What is wrong with a state or a plan, and does not pass by itself.
_FOR_SOMEBODY = frozenset({"plan-not-descendant", "plan-unsigned", "other-target", "state-migrated"})


@dataclass(frozen=True, slots=True)
class Task:
    """What each round does. Seconds are seconds; `drift_every` None never compares with the remote."""

    directory: str | None
    environment: str | None
    pull: bool = True
    signed: bool = False
    allowed: tuple[str, ...] = ()
    parallelism: int = 4
    refresh_identities: bool = False
    verify_timeout: float = 60.0
    drift_every: float | None = None
    repair: bool = False
    suspend_file: Path | None = None


@dataclass(slots=True)
class _Round:
    """What has come of a round so far; `code` is what a single one exits with."""

    result: Result = Result.UNCHANGED
    code: int = 0
    commit: str = ""
    planned: Planned | None = None


class Asked:
    """What signals have asked for: to `stop`, or to begin the next round `now`.

    While a round is `working` a wish to stop interrupts it, as it would any command.
    """

    def __init__(self) -> None:
        self.stop = self.now = self.working = False

    def note_stop(self) -> None:
        """Take note of a wish to stop that somebody else has heard."""
        self.stop = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGTERM, SIGINT and SIGHUP for the length of a `with` block."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            # While calls are under way another handler stands here, which finishes and records them.
            self.stop = True
            if self.working:
                raise KeyboardInterrupt

        def now(_number: int, _frame: FrameType | None) -> None:
            self.now = True

        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = now
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Controller:
    """Runs rounds: `once`, or `serve` until it is asked to stop."""

    def __init__(self, task: Task, watch: Watcher, asked: Asked) -> None:
        self._task = task
        self._asked = asked
        self._watch = watch
        self._lead = Lead()
        self._failures = 0
        self._told: tuple[Result, str] | None = None
        self._shown: tuple[str, StateBase] | None = None
        self._next_look = time.monotonic()

    # -- one round -----------------------------------------------------------------------------

    def once(self) -> int:
        """Run one round and return its exit code. Raises what stops it."""
        came = _Round()
        try:
            with self._watch.phase("reconcile"):
                try:
                    self._reconcile(came)
                except BaseException as error:
                    came.result = result_of(error)
                    raise
                finally:
                    self._end(came)
        finally:
            self._lead.release()
        return came.code

    def _reconcile(self, came: _Round) -> None:
        task = self._task
        if task.suspend_file is not None and task.suspend_file.exists():
            self._lead.release()
            came.result = Result.SUSPENDED
            return
        came.commit = self._pull()
        with open_session(task.directory, task.environment) as session:
            if self._lead.take(session):
                tell("leader", "leading: this process holds the lock of the state", DEBUG)
            drifted = self._compare(session)
            self._apply(session, came)
            if not self._asked.stop and came.code in (0, NOT_GOOD):
                self._verify(session, came)
        if drifted and not came.code:
            came.code = DRIFTED

    def _pull(self) -> str:
        from reconciler.manifest.cache import ManifestCache
        from reconciler.manifest.opening import find_project, open_project

        task = self._task
        folder, file = find_project(task.directory)
        if not (task.pull or task.signed):
            return ""
        with self._watch.phase("pull"):
            cache = ManifestCache(None, CACHE_EDITION)
            try:
                manifests = open_project(folder, file, task.environment, cache).manifests
            except ReconcilerError:
                manifests = ()  # what is pulled may mend it
            finally:
                cache.close()
            return bring_up_to_date(folder.root, manifests, pull=task.pull, signed=task.signed)

    def _compare(self, session: Session) -> bool:
        """Compare with the remote when it is time, and return whether something drifted that is left as it is."""
        from reconciler.cli.drift import look_at_recorded
        from reconciler.verifying.drift import Standing

        task = self._task
        if task.drift_every is None or time.monotonic() < self._next_look or not session.store.base().serial:
            return False
        with self._watch.phase("drift"):
            report = look_at_recorded(session, resend=task.repair, foreign=True)
        self._next_look = time.monotonic() + task.drift_every
        self._watch.drifted(report)
        if not task.repair:
            return report.drifted
        # What nobody asked for, or was deleted before, is not sent again.
        return report.count(Standing.STILL_THERE) > 0 or any(entry.is_drift for entry in report.foreign)

    def _apply(self, session: Session, came: _Round) -> None:
        task = self._task

        def make() -> Planned:
            with self._watch.phase("plan"):
                planned = plan_or_report(session, Wish(allowed=task.allowed), output="text", keep_bodies=True)
            self._refuse_other(planned, came.commit)
            self._watch.planned(planned.plan)
            came.planned = planned
            came.commit = came.commit or planned.plan.commit
            return planned

        terms = Terms(
            approval=Approval(auto=True, question="", detail="fields"),
            allowed=task.allowed,
            lock_timeout=0.0,
            parallelism=task.parallelism,
            output="log",
            is_news=self._is_news,
            refresh_identities=task.refresh_identities,
            watch=self._watch.event,
            stopping=self._asked.note_stop,
        )
        try:
            with self._watch.phase("apply"):
                came.code = apply_planned(session, make, terms)
        finally:
            gc.unfreeze()  # an apply keeps its plan to the end of the process, and this one goes on
        if came.planned is not None and came.planned.plan.changes:
            came.result = Result.APPLIED
        if came.code == STOPPED:
            came.result = Result.FAILED
        elif came.code == INTERRUPTED:
            came.result = Result.STOPPED

    def _is_news(self, plan: Plan) -> bool:
        """Whether a plan changes something and is another than the last: one that is blocked is made in each round."""
        shown, self._shown = self._shown, (plan.manifest_digest, plan.base)
        return bool(plan.changes) and shown != self._shown

    def _refuse_other(self, planned: Planned, commit: str) -> None:
        """Refuse a plan of anything but the commit that was pulled or verified."""
        plan, task = planned.plan, self._task
        if (task.pull or task.signed) and plan.changes and (plan.dirty or plan.commit != commit):
            raise ManifestError(
                Problem(
                    "tree-moved",
                    f"the work tree is no longer what commit {commit[:12]} holds",
                    why=f"only what {'was signed' if task.signed else 'is merged'} is applied.",
                    fix="keep others from writing to the work tree.",
                )
            )

    def _verify(self, session: Session, came: _Round) -> None:
        from reconciler.cli.verify import look_at_pushed, record_seen
        from reconciler.verifying.events import Stopped
        from reconciler.verifying.findings import Status

        # What was sent earlier and is late is looked at again, and not waited for in each round.
        timeout = self._task.verify_timeout if came.result is Result.APPLIED else 0.0
        with self._watch.phase("verify"):
            looked = look_at_pushed(session, timeout)
            self._watch.verified(looked[1] if looked else None)
            if looked is None:
                return
            scope, report = looked
            record_seen(session, scope, report)
        if report.failure is not None:
            raise report.failure
        if report.stopped is Stopped.INTERRUPTED:
            self._asked.stop = True
            came.result, came.code = Result.STOPPED, INTERRUPTED
            return
        rejected = report.count(Status.REJECTED)
        late = len(report.problems) - rejected
        if rejected:
            # The next round sends it again, after a while that grows.
            came.result, came.code = Result.FAILED, NOT_GOOD
        if rejected or late:
            tell(
                "verify.finished",
                f"verify: {count(report.total, 'resource')} looked at, {rejected:,} rejected, {late:,} not seen to "
                "arrive yet; `reconciler verify` says which",
                WARNING if rejected else INFO,
                resources=report.total,
                rejected=rejected,
                pending=late,
            )

    def _end(self, came: _Round) -> None:
        """Tell how a round ended, what is as it was before quietly."""
        self._failures = self._failures + 1 if came.result is Result.FAILED else 0
        self._watch.ended(Ended(came.result, self._lead.held, self._failures, came.commit))
        now = (came.result, came.commit)
        level = DEBUG if now == self._told and came.result is not Result.APPLIED else INFO
        at = f" at {came.commit[:12]}" if came.commit else ""
        tell("round.finished", f"round: {came.result.value}{at}", level, result=came.result.value, commit=came.commit)
        self._told = now

    # -- again and again -----------------------------------------------------------------------

    def serve(self, interval: float) -> int:
        """Run rounds, `interval` seconds apart and further apart after failures, until SIGTERM or SIGINT.

        SIGHUP has the next one begin at once. Returns 0.
        """
        try:
            while not self._asked.stop:
                self._guarded_round()
                self._wait(backoff(interval, self._failures) if self._failures else interval)
        except KeyboardInterrupt:
            self._asked.stop = True
        finally:
            self._lead.release()
        tell("stopped", "stopped: the lock is given back")
        return 0

    def _guarded_round(self) -> None:
        """Run one round, and tell what stopped it."""
        loudness.new_run()
        came = _Round()
        with self._watch.phase("reconcile"):
            self._asked.working = True
            try:
                if not self._asked.stop:
                    self._reconcile(came)
            except (ReconcilerError, KeyboardInterrupt) as error:
                came.result = result_of(error)
                self._tell(error, came)
            finally:
                self._asked.working = False
            if self._asked.stop:
                came.result = Result.STOPPED
            if came.result in (Result.FAILED, Result.STOPPED):
                # Another may do better; and a run that broke off has left its holding unusable.
                self._lead.release()
            self._end(came)

    def _tell(self, error: BaseException, came: _Round) -> None:
        if not isinstance(error, ReconcilerError):
            return
        if came.result is Result.STANDBY:
            problem = error.problems[0]
            level = DEBUG if self._told == (Result.STANDBY, came.commit) else INFO
            tell("standby", f"standby: {problem.what}", level)
            return
        folder = getattr(error, "folder", None)
        show_problems(error.problems, Path(folder) if folder else None)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not (self._asked.stop or self._asked.now) and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _GLANCE))
        self._asked.now = False


def backoff(interval: float, failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: doubling up to 15 minutes, with jitter."""
    import tenacity

    doubling = tenacity.wait_exponential(multiplier=interval, max=max(LONGEST_BACKOFF, interval))
    wait = doubling + tenacity.wait_random(0, interval / 2)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = min(failures, 60)
    return wait(state)


def result_of(error: BaseException) -> Result:
    """Return how a round ended that an error stopped."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return Result.STOPPED
    if not isinstance(error, ReconcilerError) or isinstance(error, RemoteError):
        return Result.FAILED
    code = error.problems[0].code
    if code == "state-locked":
        return Result.STANDBY
    if isinstance(error, ManifestError | UsageError) or code.startswith("hazard-") or code in _FOR_SOMEBODY:
        return Result.BLOCKED
    return Result.FAILED
