"""Whether every body of a plan is at hand and unchanged, asked before the first call."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from reconciler.cli.makeplan import Planned
from reconciler.cli.planexpiry import remake
from reconciler.cli.session import Session, bodies_store
from reconciler.manifest.cache import is_racy
from reconciler.manifest.content import hash_file
from reconciler.planning.plan import BodyRef, Plan
from reconciler.problems import ManifestError, Problem


def check_bodies(session: Session, planned: Planned, made_at: int) -> None:
    """Make sure that every body is at hand, and unchanged, before the first call. Raises ManifestError.

    `made_at` (epoch nanoseconds) is when the plan began to be made here: a content file that was not
    touched since then needs no second reading. 0 has all of them read.
    """
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
                fix=remake(plan),
            )
        )
    changed = [
        problem
        for body in plan.bodies
        if body.path is not None and (problem := _change_of(session, plan, body, body.path, made_at)) is not None
    ]
    if changed:
        raise ManifestError(*changed)


def _change_of(session: Session, plan: Plan, body: BodyRef, path: str, made_at: int) -> Problem | None:
    """Return what is wrong with a content file, None when it holds what the plan says."""
    found = session.folder.resolve(path)
    if isinstance(found, Problem):
        return found
    if found.stat.size != body.size:
        return _body_changed(path, plan)
    if made_at and not is_racy(found.stat, made_at):
        return None
    info = hash_file(session.folder, path)
    if isinstance(info, Problem):
        return info
    return None if info.sha256 == body.sha256 else _body_changed(path, plan)


def _body_changed(path: str, plan: Plan) -> Problem:
    return Problem(
        "body-changed",
        f'content file "{path}" is not the one that the plan was made with',
        why="what was reviewed is what is sent, and nothing else.",
        fix=remake(plan),
    )


def _bodies_from_manifests(session: Session, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    from reconciler.manifest.load import load_manifests

    loaded = load_manifests(
        session.project,
        session.folder,
        session.project_file,
        recorded={},
        cache=session.cache,
        keep_bodies=True,
        as_of=session.as_of,
    )
    for entry in loaded.entries(loaded.desired.fingerprints).values():
        if entry.body_sha256 in wanted and entry.body is not None:
            yield entry.body_sha256, entry.body
