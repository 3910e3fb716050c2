"""Saved plans, read to be applied: whether one fits this project, and what goes on after it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.calls.call import IDENTITY_CALLS, OLDER_THAN, Call, CallKind, Compiled, Verb
from reconciler.calls.context import WireContext
from reconciler.calls.wire import Wire
from reconciler.cli.files import read_plan_file
from reconciler.cli.makeplan import Planned
from reconciler.cli.planexpiry import remake
from reconciler.cli.session import Session
from reconciler.manifest.project import Project
from reconciler.model.instant import parse_instant
from reconciler.planning.plan import Hazard, Plan
from reconciler.planning.wish import SOURCE_WORD
from reconciler.problems import ManifestError, Problem, StateError, UsageError, errors_in
from reconciler.settings import PLAN_KEY_VARIABLE, find_plan_key
from reconciler.state.journal import RunRecord
from reconciler.state.store import StateReader

if TYPE_CHECKING:
    from reconciler.planfile import SavedPlan


def read_saved(session: Session, path: Path, allowed: Collection[str], *, same_manifests: bool = False) -> Planned:
    """Read a saved plan and hold it against the project, its history and that of the state.

    With `same_manifests` also against what the manifests say by now. Raises StateError for one that does not fit,
    UsageError where its signature cannot be checked, ManifestError for manifests that cannot be read.
    """
    from reconciler.cli.gitinfo import with_lineage

    saved = _read(session, path)
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
    refuse_replayed(session.store, plan, saved.digest)
    settled = {covered.address for call in saved.compiled.calls for covered in call.covers}
    if unknown := settled.union(saved.compiled.state_only) - {change.address for change in plan.changes}:
        raise _altered(f'the plan would settle "{min(unknown)}", of which no change speaks', plan, path)
    _check_calls(plan, saved.compiled, session.wire_context(), path)
    if same_manifests:
        _refuse_other_manifests(session, plan, path)
    plan = with_lineage(session, plan, allowed)
    hazards = tuple(
        replace(hazard, allowed=hazard.allowed or (hazard.liftable and _names(allowed, hazard)))
        for hazard in _held_to_guardrails(session.project, plan)
    )
    return Planned(replace(plan, hazards=hazards), saved.compiled, None, saved.digest)


def _read(session: Session, path: Path) -> SavedPlan:
    from reconciler.planfile import load_plan, unsigned_refusal

    key = find_plan_key()
    saved = load_plan(read_plan_file(path), str(path), key.sign if key else None)
    if key is None and session.project.environment.signed_plans:
        if not saved.signed:
            raise unsigned_refusal(f'"{path}" bears no signature', str(path))
        raise UsageError(
            Problem(
                "plan-key-needed",
                f"the environment variable {PLAN_KEY_VARIABLE} is not set",
                why=f'the signature of "{path}" cannot be checked without the key, and this environment takes only '
                "plans whose signature is right (`signedPlans: required`).",
                fix="set it to the key that the plan was made with.",
            )
        )
    return saved


def refuse_unsaved(session: Session) -> None:
    """Refuse to make and apply a plan at once where only signed ones are applied. Raises StateError."""
    from reconciler.planfile import unsigned_refusal

    environment = session.project.environment
    if environment.signed_plans:
        what = f'environment "{environment.name}" takes only signed plans (`signedPlans: required`)'
        raise unsigned_refusal(what, session.project_file)


def refuse_replayed(store: StateReader, plan: Plan, digest: str) -> None:
    """Refuse a saved plan that a run has applied already, at least in part. Raises StateError.

    One whose run ended before its first call may be applied: the state is the one that it was made from.
    """
    if store.base() == plan.base:
        return
    runs = [record for record in store.runs() if record.run.plan_digest == digest]
    if not runs:
        return
    record = next((record for record in runs if record.calls.accepted or record.calls.unknown), runs[0])
    by = f"run {record.run.id} of {record.run.started_at}"
    if who := " on ".join(filter(None, (record.run.user, record.run.host))):
        by = f"{by} ({who})"
    if record.result == "done":
        what = f"the plan was applied already, by {by}"
    elif not (record.calls.accepted or record.calls.unknown):
        what = f"the plan was tried already, by {by}, and nothing of it was accepted"
    else:
        what = f"the plan was applied already in part, by {by}, {_ending(record)}"
    raise StateError(
        Problem(
            "plan-replayed",
            what,
            why="a plan is applied once: what it started from is gone, and doing it again could undo what came after.",
            fix=remake(plan),
            where=store.where,
        )
    )


def _ending(record: RunRecord) -> str:
    """Return how a run ended that did not get through, or that it did not end."""
    if not record.ended_at:
        return "of which no end is recorded"
    calls = record.calls
    doubtful = f", and {calls.unknown:,} in doubt" if calls.unknown else ""
    how = "was interrupted" if record.result == "interrupted" else "failed"
    return f"which {how} with {calls.accepted:,} {'call' if calls.accepted == 1 else 'calls'} accepted{doubtful}"


def _refuse_other_manifests(session: Session, plan: Plan, path: Path) -> None:
    """Refuse a plan that was made from other manifests, or from none, as that of a rollback. Raises StateError."""
    from reconciler.manifest.load import load_manifests

    loaded = load_manifests(
        session.project,
        session.folder,
        session.project_file,
        recorded=None,
        cache=session.cache,
        as_of=parse_instant(plan.as_of) if plan.as_of else session.as_of,
    )
    if errors := errors_in(loaded.problems):
        raise ManifestError(*errors)
    if loaded.desired.digest() != plan.manifest_digest:
        raise StateError(
            Problem(
                "manifests-moved",
                "the plan was made from other manifests than these",
                why="--same-manifests asks for a plan of what the manifests say by now.",
                fix=remake(plan),
                where=str(path),
            )
        )


def _held_to_guardrails(project: Project, plan: Plan) -> Iterator[Hazard]:
    """Yield the plan's hazards; what the project has come to deny since is not to be lifted by any name."""
    for hazard in plan.hazards:
        # As `planning.accesshazards` calls it; naming it here spares the import of all that evaluates access.
        if hazard.name == "widened-access" and hazard.liftable and project.guardrails.widened_access == "deny":
            fix = f"narrow the change, or name it under guardrails.widenedAccess.except; then {remake(plan)}"
            yield replace(hazard, allowed=False, liftable=False, fix=fix)
        else:
            yield hazard


def _names(allowed: Collection[str], hazard: Hazard) -> bool:
    return hazard.name in allowed or f"{hazard.name}:{hazard.subject}" in allowed


def _check_calls(plan: Plan, compiled: Compiled, context: WireContext, path: Path) -> None:
    """Hold each call to the source or provider that it is for. Raises StateError, or ManifestError for an unknown one.

    What takes along things that nobody named is only for what the project still declares exclusive.
    """
    wire = Wire(context)
    for call in compiled.calls:
        identities = call.kind in IDENTITY_CALLS
        place = wire.provider_path(call.scope) if identities else wire.source_path(call.scope)
        within = call.path.startswith(f"{place}/") and all(
            covered.address.scope == call.scope for covered in call.covers
        )
        written = sum(covered.verb is not Verb.SWEPT for covered in call.covers)
        whole = call.kind is not CallKind.STREAM_LOAD or (all(call.chunks) and sum(call.chunks) == written > 0)
        if not within or not whole:
            raise _altered(f'call {call.number} is not one that settles what it names in "{call.scope}"', plan, path)
        exclusive = call.scope in context.exclusive_providers if identities else context.source(call.scope).exclusive
        if _takes_along(call) and not exclusive:
            raise StateError(
                Problem(
                    "not-exclusive",
                    f'call {call.number} removes from "{call.scope}" what the plan does not name as well',
                    why="the project does not declare it exclusive any more, so that may belong to somebody else.",
                    fix=remake(plan),
                    where=str(path),
                )
            )
    for status in compiled.statuses:
        if status.path != f"{wire.source_path(status.source)}/status":
            raise _altered(f'the plan would tell another source than "{status.source}" what it is doing', plan, path)


def _takes_along(call: Call) -> bool:
    removes_unnamed = call.kind in OLDER_THAN or call.kind is CallKind.STREAM_LOAD
    return removes_unnamed or any(covered.verb is Verb.DELETE_TREE for covered in call.covers)


def _altered(what: str, plan: Plan, path: Path) -> StateError:
    why = "what was reviewed is what is applied, and nobody reviewed this."
    return StateError(Problem("plan-altered", what, why=why, fix=remake(plan), where=str(path)))


def go_on_after_saved(path: Path, directory: str | None, environment: str | None, plan: Plan) -> str:
    """Return the command that goes on where the apply of a saved plan stopped.

    The state has moved since that plan was made, so it takes a new one, of what is left: narrowed as
    that one was. A plan that undoes something takes a new one that undoes the rest of it: one of the manifests would
    do it again.
    """
    place = [*(("-C", directory) if directory else ()), *(("-e", environment) if environment else ())]
    if plan.rollback:
        return shlex.join(["reconciler", *place, "rollback", *plan.rollback, "--out", str(path)])
    chosen = chain.from_iterable(
        ("--source", word.removeprefix(SOURCE_WORD)) if word.startswith(SOURCE_WORD) else ("--target", word)
        for word in plan.selection
    )
    return shlex.join(["reconciler", *place, "plan", *chosen, "--out", str(path)])
