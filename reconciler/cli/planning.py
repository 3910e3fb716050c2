"""Making, showing and saving plans, for the commands that do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.files import write_whole
from reconciler.cli.makeplan import Planned, make_project_plan
from reconciler.cli.session import Session, bodies_store
from reconciler.planning.plan import Hazard, Plan
from reconciler.planning.wish import Wish
from reconciler.problems import ManifestError, Problem, StateError

if TYPE_CHECKING:
    from reconciler.calls.compile import Batching


def plan_or_report(
    session: Session,
    wish: Wish,
    *,
    output: str = "text",
    keep_bodies: bool = False,
    batching: Batching = "auto",
    access_out: Path | None = None,
) -> Planned:
    """Return the plan of the project; what is wrong with the manifests is told as `validate` would.

    Raises ManifestError, which knows the project's folder.
    """
    try:
        planned = make_project_plan(
            session,
            wish,
            keep_bodies=keep_bodies,
            digest=keep_bodies or output == "json",
            batching=batching,
            access_out=access_out,
        )
    except ManifestError as error:
        error.folder = str(session.folder.root)
        raise
    if planned.plan.changes or keep_bodies or output == "json":
        from reconciler.cli.gitinfo import with_commit

        planned = replace(planned, plan=with_commit(session, planned.plan, wish.allowed))
    if keep_bodies:
        _store_bodies(planned, session)
    return planned


def _store_bodies(planned: Planned, session: Session) -> None:
    if planned.loaded is None:
        return
    entries = planned.loaded.entries(
        change.address for change in planned.plan.changes if change.after is not None
    ).values()
    inline: Iterable[tuple[str, bytes]] = (
        (entry.body_sha256, entry.body) for entry in entries if entry.body is not None
    )
    with bodies_store(session) as store:
        store.put_many(inline)


def save_plan(planned: Planned, path: Path) -> None:
    """Write the plan to a file, whole or not at all, signed where a key for that is set.

    Raises UsageError when it cannot be written.
    """
    from reconciler.planfile import dump_plan
    from reconciler.settings import find_plan_key

    key = find_plan_key()
    data = dump_plan(planned.plan, planned.compiled, key.sign if key else None)
    write_whole(path, data, "plan")


def refuse_hazards(plan: Plan) -> None:
    """Refuse a plan that is blocked by hazards that nobody allowed. Raises StateError."""
    if plan.blocked_by:
        raise StateError(*map(hazard_problem, plan.blocked_by))


def hazard_problem(hazard: Hazard) -> Problem:
    """Return a hazard as the problem that it is for a plan that it blocks."""
    return Problem(_code(hazard), hazard.what, why=hazard.why, fix=hazard.fix, where=hazard.subject)


def _code(hazard: Hazard) -> str:
    """Return what a refusal is called: that of an old plan has a name of its own, like that of a stale one."""
    return "plan-not-descendant" if hazard.name == "old-commit" else f"hazard-{hazard.name}"
