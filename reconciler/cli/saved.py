"""Saved plans, read to be applied: whether one fits this project, and what goes on after it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from reconciler.calls.call import IDENTITY_CALLS, OLDER_THAN, Call, CallKind, Compiled, Verb
from reconciler.calls.context import WireContext
from reconciler.calls.wire import Wire
from reconciler.cli.files import read_plan_file
from reconciler.cli.makeplan import Planned
from reconciler.cli.planexpiry import remake
from reconciler.cli.session import Session
from reconciler.manifest.project import Project
from reconciler.planning.plan import Hazard, Plan
from reconciler.planning.wish import SOURCE_WORD
from reconciler.problems import Problem, StateError


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
    settled = {covered.address for call in saved.compiled.calls for covered in call.covers}
    if unknown := settled.union(saved.compiled.state_only) - {change.address for change in plan.changes}:
        raise _altered(f'the plan would settle "{min(unknown)}", of which no change speaks', plan, path)
    _check_calls(plan, saved.compiled, session.wire_context(), path)
    hazards = tuple(
        replace(hazard, allowed=hazard.allowed or (hazard.liftable and _names(allowed, hazard)))
        for hazard in _held_to_guardrails(session.project, plan)
    )
    return Planned(replace(plan, hazards=hazards), saved.compiled, None, saved.digest)


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
