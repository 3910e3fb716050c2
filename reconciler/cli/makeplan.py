"""Makes the plan of an opened project, with its calls, or finds again the one that was made before from the same.

It reads manifests and the state, never the remote, and prints nothing.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.planaccess import access_edits, access_world, ordered_safely, with_access
from reconciler.cli.plandoubts import with_doubts
from reconciler.cli.planexpiry import with_expiring
from reconciler.cli.plantests import with_tests
from reconciler.cli.session import Session, check_target
from reconciler.cli.unread import with_unread
from reconciler.logs import DEBUG, phase, tell
from reconciler.manifest.project import Project
from reconciler.manifest.survey import Survey, survey
from reconciler.model.address import Address
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.plan import BodyRef, Plan
from reconciler.problems import ManifestError, Problem, StateError, errors_in
from reconciler.rendering.values import count
from reconciler.state.store import StateReader

if TYPE_CHECKING:
    from reconciler.calls.call import Compiled, Wave
    from reconciler.calls.compile import Batching
    from reconciler.cli.worlds import World
    from reconciler.manifest.load import Loaded
    from reconciler.planning.hazards import Limits
    from reconciler.planning.make import Side
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
    """What of the state can be seen at once: its version, its target, what is in doubt, and what is to be sent again.

    `rejected` is what the remote dropped, `drifted` what `drift` has marked, `again` what `verify --resend` has.
    """

    base: StateBase
    target: Target | None
    unsettled: frozenset[str]
    rejected: frozenset[str] = frozenset()
    drifted: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()


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
    access_out: Path | None = None,
) -> Planned:
    """Read manifests and state and return the plan between them.

    `access_out` is a file for all who gain and lose sight of something. Raises ManifestError with all problems when
    any is an error, StateError for an unusable state or one of another target.
    """
    from reconciler.planning.selection import check_sources

    check_sources((*wish.sources, *wish.resent), [source.name for source in session.project.sources])
    with session.store.reading():
        seen = _glance(session.store)
        with phase("looking at the manifests"):
            surveyed = survey(session.project, session.folder, session.project_file, session.cache, as_of=session.as_of)
        key = _plan_key(surveyed.key, seen, wish, batching, digest=digest)
        known = _known_plan(session, key)
        # Whoever needs the bodies is about to act on the plan; only a plan of nothing holds none.
        if known is not None and not (keep_bodies and known.plan.changes) and access_out is None:
            tell("cache", "the cache has the plan: nothing changed since it was made", DEBUG, plan=True)
            return known
        with phase("reading the state"):
            recorded = _read_state(session, seen)
    planned, manifests_key, seen = _fresh_plan(
        session, wish, surveyed, recorded, keep_bodies, digest, batching, access_out
    )
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
    access_out: Path | None,
) -> tuple[Planned, bytes | None, _Glance]:
    """Return the plan made from files and state, the key of what the files said, and what was seen of the state."""
    from reconciler.manifest.load import load_surveyed
    from reconciler.manifest.spelling import Spelling
    from reconciler.planning.digestnotes import digest_field_notes
    from reconciler.planning.expiring import lapsed_of, only_lapses
    from reconciler.planning.hazards import declared_removals
    from reconciler.planning.make import Side, make_plan
    from reconciler.planning.respelled import respelled_deletions

    files, kept = len(surveyed.files), sum(entry.row is not None for entry in surveyed.files)
    tell(
        "cache", f"the cache has {kept:,} of {count(files, 'manifest file')}", DEBUG, plan=False, files=files, kept=kept
    )
    with phase("reading the manifests"):
        loaded = load_surveyed(surveyed, recorded=recorded.fingerprints, cache=session.cache, keep_bodies=keep_bodies)
    if errors_in(loaded.problems):
        raise ManifestError(*loaded.problems)
    with phase("planning"), session.store.reading():
        # Another run may have written while the files were read: all that a plan says of the state is of one moment.
        if session.store.base() != recorded.glance.base:
            recorded = _read_state(session, _glance(session.store))
        check_target(session, recorded.glance.target)
        lapsed = lapsed_of((ending.grant for _, ending in loaded.endings()), loaded.as_of)
        desired = Side(loaded.desired.fingerprints, loaded.resources)
        known = Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses))
        plan = make_plan(
            environment=session.project.environment.name,
            target=session.target,
            base=recorded.glance.base,
            desired=desired,
            recorded=known,
            unsettled=recorded.glance.unsettled,
            drifted=recorded.glance.drifted,
            rejected=recorded.glance.rejected,
            again=recorded.glance.again,
            moved=loaded.desired.moved,
            forgotten=loaded.desired.removed,
            limits=_limits(session.project),
            wish=wish,
            problems=(*loaded.problems, *declared_removals(loaded.desired.removed, loaded.desired.fingerprints)),
            bodies=lambda addresses: _bodies(loaded, addresses),
            manifest_digest=loaded.desired.digest() if digest else "",
            lapsed=lapsed,
        )
        respelled = respelled_deletions(plan.changes, loaded.desired.fingerprints, Spelling.of(session.project).key)
        plan = replace(plan, problems=(*plan.problems, *respelled, *digest_field_notes(plan.changes)))
        plan = with_expiring(plan, loaded, desired, known, within=wish.expiring_within)
        plan = with_tests(session, plan, loaded)
        # What nobody sees any more because its last grant ended was meant so when that was granted.
        allowed = (*wish.allowed, *(("item-unseen",) if only_lapses(plan.changes, lapsed) else ()))
        sides = (recorded.fingerprints, loaded.desired.fingerprints)
        planned = _finished(session, plan, wish, batching, sides, allowed=allowed, access_out=access_out)
    return replace(planned, loaded=loaded), loaded.key, recorded.glance


def _plan_key(manifests: bytes | None, seen: _Glance, wish: Wish, batching: Batching, *, digest: bool) -> bytes | None:
    """Return a digest of all that a plan depends on, or None when that is not known yet."""
    if manifests is None:
        return None
    asked = (
        *(sorted(words) for words in (wish.allowed, wish.targets, wish.sources, wish.resent)),
        *(wish.removal, batching, digest, wish.expiring_within),
    )
    marked = (sorted(marks) for marks in (seen.unsettled, seen.rejected, seen.drifted, seen.again))
    shown = (asked, seen.base, *marked, seen.target)
    return hashlib.sha256(manifests + repr(shown).encode()).digest()


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
        return _finished(session, plan, wish, batching, (recorded.fingerprints,))


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to become of some of what is recorded, the rest of which stays as it is.

    `after` has None for what goes. `unsettled` are addresses that are in doubt and to be settled as well, `bodies`
    says where the content of the items at given addresses comes from, `rollback` is for the plan to carry. With
    `only_narrowing`, what takes sight of something away from nobody is left out, but for what the rest names.
    """

    after: Mapping[Address, Resource | None]
    unsettled: frozenset[str]
    bodies: Callable[[Iterable[str]], Iterable[BodyRef]]
    problems: Callable[[Collection[str]], Iterable[Problem]]
    rollback: tuple[str, ...]
    only_narrowing: bool = False


def make_turned_plan(
    session: Session, wish: Wish, turn_of: Callable[[Mapping[str, bytes]], Turn], *, batching: Batching = "auto"
) -> Planned:
    """Return the plan of taking what is recorded to what a turn says; what narrows is settled before what widens.

    `turn_of` is given the recorded fingerprints, at the moment that the plan is made of. The turn's `problems` are
    asked of the addresses that change.
    """
    from reconciler.planning.inverse import with_needed
    from reconciler.planning.make import Side, make_plan

    with session.store.reading():
        recorded = _read_state(session, _glance(session.store))
        check_target(session, recorded.glance.target)
        known = Side(recorded.fingerprints, lambda addresses: recorded_resources(session.store, addresses))
        turn = turn_of(recorded.fingerprints)

        def planned(after: Mapping[Address, Resource | None]) -> Plan:
            return make_plan(
                environment=session.project.environment.name,
                target=session.target,
                base=recorded.glance.base,
                desired=_turned(known, after),
                recorded=known,
                unsettled=turn.unsettled,
                moved={},
                limits=_limits(session.project),
                wish=wish,
                bodies=lambda _addresses: (),
            )

        plan = planned(turn.after)
        first = _first(session, plan, recorded.fingerprints)
        if turn.only_narrowing:
            chosen = with_needed(first, turn.after, recorded.fingerprints.keys())
            plan = planned({address: resource for address, resource in turn.after.items() if address in chosen})
        needed = [change.address for change in plan.changes if change.after is not None]
        problems = turn.problems([change.address for change in plan.changes])
        plan = replace(
            plan,
            bodies=tuple(sorted(turn.bodies(needed), key=lambda body: (body.sha256, body.path or ""))),
            problems=(*plan.problems, *problems),
            rollback=turn.rollback,
        )
        return _finished(session, plan, wish, batching, (recorded.fingerprints,), first=first)


def _first(session: Session, plan: Plan, recorded: Mapping[str, bytes]) -> frozenset[str]:
    """Return the addresses of what narrows, and of what an earlier call may have widened without our knowing."""
    from reconciler.planning.diff import UNCONFIRMED

    doubtful = frozenset(str(change.address) for change in plan.changes if change.reason == UNCONFIRMED)
    world = access_world(session, plan, recorded)
    if world is None:
        return doubtful
    from reconciler.permissions.exposure import expose
    from reconciler.permissions.narrowing import narrowing

    return doubtful | narrowing(expose(world.relation, access_edits(plan, world)))


def _turned(recorded: Side, after: Mapping[Address, Resource | None]) -> Side:
    from reconciler.planning.make import Side

    fingerprints = dict(recorded.fingerprints)
    for address, resource in after.items():
        if resource is None:
            fingerprints.pop(address, None)
        else:
            fingerprints[address] = resource.fingerprint

    def resources(addresses: Iterable[str]) -> Mapping[str, Resource]:
        wanted = list(addresses)
        found = dict(recorded.resources(address for address in wanted if Address(address) not in after))
        found.update({str(at): resource for at in wanted if (resource := after.get(Address(at))) is not None})
        return found

    return Side(fingerprints, resources)


def _glance(store: StateReader) -> _Glance:
    unsettled = frozenset(address for entry in store.unsettled() for address, _ in entry.intent.covers)
    glance = _Glance(store.base(), store.target(), unsettled)
    marked = frozenset(store.rejected()) - unsettled
    if not marked:
        return glance
    from reconciler.verifying.findings import DRIFT_MARK, RESEND

    details = {str(row.address): row.verified_detail for row in store.rows(marked)}
    drifted = frozenset(address for address, detail in details.items() if detail.startswith(DRIFT_MARK))
    again = frozenset(address for address, detail in details.items() if detail.startswith(RESEND)) - drifted
    return replace(glance, rejected=marked - drifted - again, drifted=drifted, again=again)


def _read_state(session: Session, seen: _Glance) -> _Recorded:
    return _Recorded(seen, session.store.fingerprints())


def recorded_resources(store: StateReader, addresses: Iterable[str]) -> Mapping[str, Resource]:
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


def _finished(
    session: Session,
    plan: Plan,
    wish: Wish,
    batching: Batching,
    sides: Sequence[Mapping[str, bytes]],
    *,
    first: frozenset[str] = frozenset(),
    allowed: Collection[str] | None = None,
    access_out: Path | None = None,
) -> Planned:
    """Return a plan with its calls, with what is risky about them, and with who gains and loses sight of what.

    `sides` are what is recorded, then what else there is, by address. What is in `first` is settled before all else,
    unless that would show somebody something for a moment. `allowed` are hazards of access, by default the wish's.
    """
    world = access_world(session, plan, sides[0])
    compiled = _compiled(session, plan, wish, batching, lambda: chain.from_iterable(sides), world, first)
    risky = with_doubts(with_unread(_with_hazards(plan, compiled, wish), session.store, wish), session.store)
    return Planned(
        with_access(session, risky, world, wish.allowed if allowed is None else allowed, out=access_out), compiled, None
    )


def _compiled(
    session: Session,
    plan: Plan,
    wish: Wish,
    batching: Batching,
    addresses: Callable[[], Iterable[str]],
    world: World | None,
    first: frozenset[str],
) -> Compiled:
    """Return the calls of a plan; `addresses` gives all that are desired or recorded, `world` is what is recorded."""
    from reconciler.calls.call import Compiled, Wave

    if not plan.changes:
        return Compiled()
    from reconciler.calls.compile import compile_calls
    from reconciler.calls.effective import effects_of
    from reconciler.cli.remote import quota_allowance

    def standing() -> Iterator[str]:
        changing = {str(change.address) for change in plan.changes}
        return (address for address in addresses() if address not in changing)

    rest = frozenset(str(change.address) for change in plan.changes) - first
    usual = (Wave(first), Wave(rest)) if first and rest else ()

    def compiled_in(waves: Sequence[Wave]) -> Compiled:
        return compile_calls(
            plan.changes,
            session.wire_context(),
            batching=batching,
            body_paths={body.sha256: body.path for body in plan.bodies if body.path},
            standing=standing,
            narrowed=bool(plan.selection or plan.rollback),
            resent=wish.resent,
            waves=waves or usual,
        )

    compiled = ordered_safely(session.project, plan, world, compiled_in)
    schedules = {entry.name: entry.refresh_every for entry in session.project.providers if entry.refresh_every}
    return replace(compiled, allowed=quota_allowance(session.project), effects=effects_of(compiled.calls, schedules))


def _with_hazards(plan: Plan, compiled: Compiled, wish: Wish) -> Plan:
    """Return the plan with what is risky about its calls."""
    from reconciler.calls.hazards import transient_hazards
    from reconciler.calls.quotas import quota_hazards

    hazards = (
        *plan.hazards,
        *quota_hazards(compiled.estimate(), allow=wish.allowed),
        *transient_hazards(compiled.order, allow=wish.allowed),
    )
    return replace(plan, hazards=hazards)
