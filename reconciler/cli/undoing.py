"""Makes the plan that undoes what runs changed of who sees what: which runs, what of it, and with which bodies.

What has ended since (`expires`) is not given back, as far as the manifests can be read.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.cli.makeplan import Planned, Turn, make_turned_plan, recorded_resources
from reconciler.cli.planexpiry import with_ends_given_back, without_ended
from reconciler.cli.session import Session, bodies_store
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import DIGEST_SIZE
from reconciler.model.former import Former, merge
from reconciler.model.place import Place
from reconciler.model.states import Resource
from reconciler.planning.inverse import Inverse, inverse, unknown_groups
from reconciler.planning.plan import BodyRef
from reconciler.planning.selection import check_targets, matcher
from reconciler.planning.wish import Wish
from reconciler.problems import ManifestError, Problem, Severity, StateError, UsageError, did_you_mean, errors_in

if TYPE_CHECKING:
    from reconciler.calls.compile import Batching
    from reconciler.manifest.load import Loaded
    from reconciler.state.journal import RunRecord
    from reconciler.state.store import StateReader

LAST = "last"
_LISTED = 5  # runs that are named to somebody who named another one


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be undone: one run, or with `since` that run and all later ones, and what of it.

    `run` is an id or `last`: the newest that changed access, or may have.
    """

    run: str = LAST
    since: str = ""
    created: bool = False
    only_widenings: bool = False
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Undoing:
    """The runs that are undone, newest first, what was before them, and what of theirs is in doubt.

    `passed_over` is the newest run of all where the last one was asked for and that one changed nobody's access.
    """

    runs: tuple[RunRecord, ...]
    formers: Mapping[Address, Former]
    doubtful: frozenset[Address]
    passed_over: RunRecord | None = None


def make_rollback_plan(
    session: Session, asked: Asked, wish: Wish, *, keep_bodies: bool = False, batching: Batching = "auto"
) -> Planned:
    """Return the plan that undoes what was asked for; with `keep_bodies`, what it needs of manifests is kept.

    Raises UsageError for an unknown run, StateError for one of which it is not kept what was before it, and
    ManifestError for items whose content is not at hand: permissions travel with the whole item (push-api.md 5.3).
    """
    manifests = _manifests(session)
    bodies = _Bodies(session, manifests)

    def turn_of(recorded: Mapping[str, bytes]) -> Turn:
        undoing = _undoing(session.store, asked)
        check_targets(asked.excluded, {*recorded, *undoing.formers, *undoing.doubtful})
        left_out = matcher(asked.excluded)
        formers = [former for former in undoing.formers.values() if not left_out(former.address)]
        found = inverse(formers, lambda addresses: recorded_resources(session.store, addresses), created=asked.created)
        after, ended = without_ended(manifests, found.after, recorded_resources(session.store, found.after))
        unsure = [
            address
            for address in undoing.doubtful
            if address.kind is Kind.ITEM and address not in recorded and not left_out(address) and not asked.created
        ]
        unsettled = frozenset(
            address for address in undoing.doubtful if not left_out(address) and address not in unsure
        )

        def problems(changing: Collection[str]) -> Iterator[Problem]:
            yield from _runs_told(undoing.runs, any_change=bool(undoing.formers or undoing.doubtful))
            if undoing.passed_over is not None:
                yield _passed_over(undoing.passed_over)
            yield from _left_alone(found, unsure)
            yield from ended
            yield from _unknown_named(session, after, changing, recorded)
            yield from _asked_again(manifests, after, changing)

        return Turn(
            after=after,
            unsettled=unsettled,
            bodies=lambda addresses: bodies.of(recorded_resources(session.store, addresses).values()),
            problems=problems,
            rollback=_words(asked, undoing.runs),
            only_narrowing=asked.only_widenings,
        )

    planned = make_turned_plan(session, wish, turn_of, batching=batching)
    if keep_bodies:
        bodies.keep()
    return replace(planned, plan=with_ends_given_back(planned.plan, manifests, within=wish.expiring_within))


# -- which runs ------------------------------------------------------------------------------------


def _undoing(store: StateReader, asked: Asked) -> _Undoing:
    history = {record.run.id: record for record in store.runs()}
    doubts = store.unsettled()
    wanted = asked.since or asked.run
    kept = store.runs_with_formers()
    if wanted == LAST:
        in_doubt = {entry.run for entry in doubts}
        chosen = next((run for run in kept if run in in_doubt or store.formers(run)), None)
        if chosen is None:
            raise StateError(_nothing(store))
    else:
        chosen = _known_run(store, wanted, history, kept)
    runs = kept[: kept.index(chosen) + 1] if asked.since else (chosen,)
    formers: dict[Address, Former] = {}
    for run in reversed(runs):
        merge(formers, store.formers(run).values())
    doubtful = {address for entry in doubts if entry.run in runs for address, _ in entry.intent.covers}
    newest = next(iter(history))
    passed_over = history[newest] if wanted == LAST and newest != chosen else None
    return _Undoing(tuple(history[run] for run in runs), formers, frozenset(doubtful), passed_over)


def _known_run(store: StateReader, wanted: str, history: Mapping[str, RunRecord], kept: Sequence[str]) -> str:
    if wanted not in history:
        named = "".join(f"\n    {run}  {_told(history[run])}" for run in [*history][:_LISTED])
        raise UsageError(
            Problem(
                "unknown-run",
                f'no run of this state is called "{wanted}"',
                why="" if named else "nothing was applied yet.",
                fix=did_you_mean(wanted, history) or (f"the last runs are:{named}" if named else ""),
                where=store.where,
            )
        )
    if wanted not in kept:
        raise StateError(
            Problem(
                "run-not-kept",
                f'what was before run "{wanted}" is not kept',
                why="an earlier version of reconciler made it, which did not write that down.",
                fix="take the manifests back to what they were, and apply them.",
                where=store.where,
            )
        )
    return wanted


def _nothing(store: StateReader) -> Problem:
    return Problem(
        "nothing-to-undo",
        "no run that is kept changed who sees what",
        why="what was before is not kept of runs that an earlier version of reconciler made.",
        fix="take the manifests back to what they were, and apply them.",
        where=store.where,
    )


def _words(asked: Asked, runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return the options that ask for the same again, whatever is the last run by then."""
    oldest = runs[-1].run.id
    return (
        "--access-only",
        *(("--since", oldest) if asked.since else ("--run", oldest)),
        *(("--created",) if asked.created else ()),
        *(("--widenings-only",) if asked.only_widenings else ()),
        *(word for pattern in sorted(asked.excluded) for word in ("--exclude", pattern)),
    )


def _told(record: RunRecord) -> str:
    who = f" by {record.run.user}" if record.run.user else ""
    return f"{record.run.started_at}, `{record.run.command}`{who}"


# -- what is told ----------------------------------------------------------------------------------


def _runs_told(runs: Sequence[RunRecord], *, any_change: bool) -> Iterator[Problem]:
    for record in runs:
        what = f"run {record.run.id} ({_told(record)}) is undone, as far as it changed who sees what"
        if not any_change:
            what = f"run {record.run.id} ({_told(record)}) changed nothing of who sees what"
        yield Problem("rollback", what, severity=Severity.NOTE)


def _passed_over(record: RunRecord) -> Problem:
    """Return what tells somebody whose last run came to nothing that an earlier one would be undone."""
    return Problem(
        "passed-over",
        f"run {record.run.id} ({_told(record)}) came later and changed nothing of who sees what",
        why="so it is the run before it that is undone; an earlier run may be one that was meant to stay.",
        fix="look which run is undone, or name another with --run.",
        severity=Severity.WARNING,
    )


def _left_alone(found: Inverse, unsure: Iterable[Address]) -> Iterator[Problem]:
    for address in found.conflicts:
        yield Problem(
            "changed-since",
            f'"{address}" was changed again by a later run, and stays as it is',
            why="undoing the one change would undo the other with it.",
            fix="undo all from that run on with --since, or change it in the manifests.",
            severity=Severity.WARNING,
        )
    for address in found.gone:
        yield Problem(
            "not-undone",
            f'"{address}" was deleted, and does not come back',
            why="only who saw it is kept, and not what it held.",
            fix="bring its entry back in the manifests, and apply them.",
            severity=Severity.WARNING,
        )
    for address in found.stay:
        yield Problem(
            "created-stays",
            f'"{address}" was created, and stays with whoever sees it',
            why="it is content, and nothing was there before that it could go back to.",
            fix="delete it as well with --created.",
            severity=Severity.WARNING,
        )
    for address in sorted(unsure):
        yield Problem(
            "created-stays",
            f'"{address}" may be there: the call that creates it was sent, and its outcome is unknown',
            why="it is content, and nothing was there before that it could go back to.",
            fix="delete it as well with --created.",
            severity=Severity.WARNING,
        )


def _unknown_named(
    session: Session, after: Mapping[Address, Resource | None], changing: Collection[str], recorded: Collection[str]
) -> Iterator[Problem]:
    providers = {provider.name for provider in session.project.providers}
    for address, group in unknown_groups(after, recorded, providers):
        if address in changing:
            yield Problem(
                "unknown-group",
                f'"{address}" will name "{group}", which is not there and does not come back',
                why="a name that the provider does not know resolves to nobody: whom it stands for is locked out.",
                fix=f"undo what deleted it as well, or leave this one as it is: --exclude {shlex.quote(address)}",
                severity=Severity.WARNING,
            )


def _asked_again(
    loaded: Loaded | None, after: Mapping[Address, Resource | None], changing: Collection[str]
) -> Iterator[Problem]:
    """Yield what the manifests ask for that is undone, each where it stands."""
    if loaded is None:
        yield Problem(
            "manifests-unread",
            "the manifests have errors, so it is not known which of them still ask for what is undone, nor whether a "
            "grant comes back that has ended",
            fix="see what is wrong with them:\n    reconciler validate",
            severity=Severity.WARNING,
        )
        return
    desired = loaded.desired.fingerprints
    again = [
        Address(address)
        for address in changing
        if Address(address) in after and _differs(after[Address(address)], desired.get(address), Address(address).kind)
    ]
    places = loaded.find_places([Place(str(address)) for address in again if address in desired])
    for address in again:
        position, line = places.get(Place(str(address)), (None, ""))
        does = "ask for what is undone" if address in desired else "do not have what comes back"
        yield Problem(
            "asked-again",
            f'the manifests {does}: "{address}"',
            why="the next plan shows it as a change, and the next apply does it again.",
            fix="change the manifests before anybody applies them.",
            position=position,
            severity=Severity.WARNING,
            excerpt=line,
        )


def _differs(resource: Resource | None, desired: bytes | None, kind: Kind) -> bool:
    if resource is None or desired is None:
        return resource is not None or desired is not None
    start = DIGEST_SIZE if kind is Kind.ITEM else 0
    return resource.fingerprint[start:] != desired[start:]


# -- what is sent along ----------------------------------------------------------------------------


def _manifests(session: Session) -> Loaded | None:
    """Return the manifests, None when they have errors: undoing must not wait until they are mended."""
    from reconciler.manifest.load import load_manifests

    try:
        loaded = load_manifests(
            session.project,
            session.folder,
            session.project_file,
            recorded=session.store.fingerprints(),
            cache=session.cache,
            keep_bodies=True,
            as_of=session.as_of,
        )
    except ManifestError:
        return None
    return None if errors_in(loaded.problems) else loaded


class _Bodies:
    """Finds the recorded content of items: where the manifests still hold it, or among what was kept."""

    def __init__(self, session: Session, loaded: Loaded | None) -> None:
        self._session = session
        self._loaded = loaded
        self._inline: dict[str, bytes] = {}

    def of(self, resources: Iterable[Resource]) -> Iterator[BodyRef]:
        """Yield where the bodies of items are. Raises ManifestError with every item whose body is nowhere."""
        needed: dict[Address, tuple[str, int]] = {}
        for resource in resources:
            body = resource.own().get("body") if resource.address.kind is Kind.ITEM else None
            if body is not None:
                needed[resource.address] = body["sha256"], body["size"]
        found = self._in_manifests(needed)
        missing = {address: body for address, body in needed.items() if body[0] not in found}
        if missing:
            with bodies_store(self._session) as store:
                found.update({body[0]: BodyRef(*body) for body in missing.values() if store.has(body[0])})
        nowhere = [address for address, (sha256, _) in missing.items() if sha256 not in found]
        if nowhere:
            raise ManifestError(*(self._not_found(address) for address in sorted(nowhere)))
        yield from found.values()

    def keep(self) -> None:
        """Keep what stands in manifests, for the apply of a saved plan."""
        if self._inline:
            with bodies_store(self._session) as store:
                store.put_many(self._inline.items())

    def _in_manifests(self, needed: Mapping[Address, tuple[str, int]]) -> dict[str, BodyRef]:
        found: dict[str, BodyRef] = {}
        entries = self._loaded.entries(needed) if self._loaded is not None else {}
        for address, entry in entries.items():
            sha256, size = needed[Address(address)]
            if entry.body_sha256 == sha256:
                found[sha256] = BodyRef(sha256, size, entry.content_path)
                if entry.body is not None:
                    self._inline[sha256] = entry.body
        return found

    def _not_found(self, address: Address) -> Problem:
        held = self._loaded is not None and address in self._loaded.desired.fingerprints
        reason = "holds another one now" if held else "does not have the item" if self._loaded else "cannot be read"
        return Problem(
            "body-not-at-hand",
            f'the content of "{address}" as it was applied is not at hand: the manifest {reason}',
            why="permissions cannot be sent alone: a push replaces the whole item (push-api.md 5.3).",
            fix=f"bring the content back as it was, or do the rest and leave this one out: "
            f"--exclude {shlex.quote(address)}",
        )
