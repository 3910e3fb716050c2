"""Makes the plan of an opened project, with its calls, or finds again the one that was made before from the same.

It reads manifests and the state, never the remote, and prints nothing.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from reconciler.cli.planaccess import with_access
from reconciler.cli.session import Session, check_target
from reconciler.manifest.project import Project
from reconciler.manifest.survey import Survey, survey
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.plan import BodyRef, Plan
from reconciler.problems import ManifestError, StateError, errors_in
from reconciler.state.sqlite import SqliteStore

if TYPE_CHECKING:
    from reconciler.calls.call import Compiled
    from reconciler.calls.compile import Batching
    from reconciler.manifest.load import Loaded
    from reconciler.planning.hazards import Limits
    from reconciler.planning.wish import Wish

# A plan of more changes than this is not kept for next time.
KEPT_CHANGES = 20_000


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with its calls.

    `loaded` is what it was made from, None for a saved plan and for one of nothing. `digest` names a
    saved plan.
    """

    plan: Plan
    compiled: Compiled
    loaded: Loaded | None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Glance:
    """What of the state can be seen at once: its version, its target, and what is in doubt."""

    base: StateBase
    target: Target | None
    unsettled: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Recorded:
    glance: _Glance
    fingerprints: dict[str, bytes]


def make_project_plan(
    session: Session,
    wish: Wish,
    *,
    keep_bodies: bool = False,
    digest: bool = False,
    batching: Batching = "auto",
) -> Planned:
    """Read manifests and state and return the plan between them.

    Raises ManifestError with all problems when any is an error, StateError for an unusable state or
    one of another target.
    """
    from reconciler.planning.selection import check_sources

    check_sources((*wish.sources, *wish.resent), [source.name for source in session.project.sources])
    with session.store.reading():
        seen = _glance(session.store)
        surveyed = survey(session.project, session.folder, session.project_file, session.cache)
        key = _plan_key(surveyed.key, seen, wish, batching, digest=digest)
        known = _known_plan(session, key)
        # Whoever needs the bodies is about to act on the plan; only a plan of nothing holds none.
        if known is not None and not (keep_bodies and known.plan.changes):
            return known
        recorded = _read_state(session, seen)
    planned, manifests_key, seen = _fresh_plan(session, wish, surveyed, recorded, keep_bodies, digest, batching)
    if not (keep_bodies and planned.plan.changes):
        _remember_plan(session, _plan_key(manifests_key, seen, wish, batching, digest=digest), planned)
    return planned


def _fresh_plan(
    session: Session,
    wish: Wish,
    surveyed: Survey,
    recorded: _Recorded,
    keep_bodies: bool,
    digest: bool,
    batching: Batching,
) -> tuple[Planned, bytes | None, _Glance]:
    """Return the plan made from files and state, the key of what the files said, and what was seen of the state."""
    from reconciler.manifest.load import load_surveyed
    from reconciler.planning.make import Side, make_plan

    loaded = load_surveyed(surveyed, recorded=recorded.fingerprints, cache=session.cache, keep_bodies=keep_bodies)
    if errors_in(loaded.problems):
        raise ManifestError(*loaded.problems)
    with session.store.reading():
        # Another run may have written while the files were read: all that a plan says of the state is of one moment.
        if session.store.base() != recorded.glance.base:
            recorded = _read_state(session, _glance(session.store))
        check_target(session, recorded.glance.target)
        plan = make_plan(
            environment=session.project.environment.name,
            target=session.target,
            base=recorded.glance.base,
            desired=Side(loaded.desired.fingerprints, loaded.resources),
            recorded=Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses)),
            unsettled=recorded.glance.unsettled,
            moved=loaded.desired.moved,
            limits=_limits(session.project),
            wish=wish,
            problems=loaded.problems,
            bodies=lambda addresses: _bodies(loaded, addresses),
            manifest_digest=loaded.desired.digest() if digest else "",
        )
        plan = with_access(session, plan, recorded.fingerprints)
    everything = chain(loaded.desired.fingerprints, recorded.fingerprints)
    return _compiled(session, plan, wish, batching, everything, loaded), loaded.key, recorded.glance


def _plan_key(manifests: bytes | None, seen: _Glance, wish: Wish, batching: Batching, *, digest: bool) -> bytes | None:
    """Return a digest of all that a plan depends on, or None when that is not known yet."""
    if manifests is None:
        return None
    asked = (
        *(sorted(words) for words in (wish.allowed, wish.targets, wish.sources, wish.resent)),
        *(wish.removal, batching, digest),
    )
    return hashlib.sha256(manifests + repr((asked, seen.base, sorted(seen.unsettled), seen.target)).encode()).digest()


def _known_plan(session: Session, key: bytes | None) -> Planned | None:
    """Return the plan that was made before from exactly the same, if it is kept."""
    document = session.cache.plan(key) if key is not None else None
    if document is None:
        return None
    from reconciler.planfile import load_plan

    try:
        saved = load_plan(zlib.decompress(document), "cache.db")
    except (StateError, zlib.error):
        return None
    return Planned(saved.plan, saved.compiled, None)


def _remember_plan(session: Session, key: bytes | None, planned: Planned) -> None:
    """Keep a plan for the next time that nothing has changed, unless it is a very large one."""
    if key is None or len(planned.plan.changes) > KEPT_CHANGES:
        return
    from reconciler.planfile import dump_plan

    document = dump_plan(planned.plan, planned.compiled)
    session.cache.save_plan(key, zlib.compress(document, 1), time.time_ns())


def make_destroy_plan(session: Session, wish: Wish, *, batching: Batching = "auto") -> Planned:
    """Return the plan of deleting everything that is recorded; manifests are not read."""
    from reconciler.planning.hazards import Limits
    from reconciler.planning.make import Side, make_plan

    with session.store.reading():
        recorded = _read_state(session, _glance(session.store))
        check_target(session, recorded.glance.target)
        plan = make_plan(
            environment=session.project.environment.name,
            target=session.target,
            base=recorded.glance.base,
            desired=Side({}, lambda _addresses: {}),
            recorded=Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses)),
            unsettled=recorded.glance.unsettled,
            moved={},
            limits=Limits(),
            wish=wish,
            bodies=lambda _addresses: (),
        )
        plan = with_access(session, plan, recorded.fingerprints)
    return _compiled(session, plan, wish, batching, recorded.fingerprints, None)


def _glance(store: SqliteStore) -> _Glance:
    unsettled = {address for entry in store.unsettled() for address, _ in entry.intent.covers}
    return _Glance(store.base(), store.target(), frozenset(unsettled) | frozenset(store.rejected()))


def _read_state(session: Session, seen: _Glance) -> _Recorded:
    return _Recorded(seen, session.store.fingerprints())


def recorded_resources(store: SqliteStore, addresses: Iterable[str]) -> Mapping[str, Resource]:
    """Return the recorded resources at these addresses."""
    return {row.address: row.resource for row in store.rows(addresses)}


def _bodies(loaded: Loaded, addresses: Iterable[str]) -> Iterator[BodyRef]:
    seen: set[str] = set()
    for entry in loaded.entries(addresses).values():
        if entry.body_sha256 and entry.body_sha256 not in seen:
            seen.add(entry.body_sha256)
            yield BodyRef(entry.body_sha256, entry.body_size, entry.content_path)


def _limits(project: Project) -> Limits:
    from reconciler.planning.hazards import Limits

    guardrails = project.guardrails
    return Limits(guardrails.deletes, guardrails.updates, guardrails.max_changes)


def _compiled(
    session: Session, plan: Plan, wish: Wish, batching: Batching, addresses: Iterable[str], loaded: Loaded | None
) -> Planned:
    """Return the plan with its calls; `addresses` are all that are desired or recorded."""
    from reconciler.calls.call import Compiled

    if not plan.changes:
        return Planned(plan, Compiled(), loaded)
    from reconciler.calls.compile import compile_calls
    from reconciler.calls.quotas import quota_hazards
    from reconciler.cli.remote import quota_allowance

    def standing() -> Iterator[str]:
        changing = {str(change.address) for change in plan.changes}
        return (address for address in addresses if address not in changing)

    compiled = compile_calls(
        plan.changes,
        session.wire_context(),
        batching=batching,
        body_paths={body.sha256: body.path for body in plan.bodies if body.path},
        standing=standing,
        narrowed=bool(plan.selection),
        resent=wish.resent,
    )
    compiled = replace(compiled, allowed=quota_allowance(session.project))
    hazards = (*plan.hazards, *quota_hazards(compiled.estimate(), allow=wish.allowed))
    return Planned(replace(plan, hazards=hazards), compiled, loaded)
