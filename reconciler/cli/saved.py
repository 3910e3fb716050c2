"""Saved plans, read to be applied: whether one fits this project, and what goes on after it."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from reconciler.cli.files import read_plan_file
from reconciler.cli.makeplan import Planned
from reconciler.cli.session import Session
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
    return Planned(replace(plan, hazards=hazards), saved.compiled, None, saved.digest)


def go_on_after_saved(path: Path, directory: str | None, environment: str | None) -> str:
    """Return the command that goes on where the apply of a saved plan stopped.

    The state has moved since that plan was made, so it takes a new one, of what is left.
    """
    place = [*(("-C", directory) if directory else ()), *(("-e", environment) if environment else ())]
    return shlex.join(["reconciler", *place, "plan", "--out", str(path)])
