"""Who saw what at a moment of the past, as the state had it recorded then, and what such an answer rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.cli.session import Session
from reconciler.cli.worlds import World, make_world, readings_of
from reconciler.model.address import Kind
from reconciler.model.instant import moment_text
from reconciler.problems import StateError
from reconciler.rendering.values import kind_noun, visible

if TYPE_CHECKING:
    from reconciler.model.states import Resource, Target
    from reconciler.state.journal import RunRecord
    from reconciler.state.past import Past

_ITEM = f"{Kind.ITEM.value}/"
_SHOWN = 3  # addresses in doubt that a line names
_LIMITS = (
    "recorded as accepted by then; whether the index had taken it is another matter",
    "a grant that ends (`expires`) counts until the apply that took it away",
    "visibility and providers of sources are those of reconciler.yaml as it is now: the state does not record them",
)


def past_world(session: Session, moment: int) -> World:
    """Return the world of what was recorded at a moment, in milliseconds since 1970.

    Raises StateError as `past_of` does, and `state-migrated` where nothing was recorded since the state was moved.
    """
    from reconciler.cli.makeplan import recorded_resources
    from reconciler.state.past import past_of
    from reconciler.state.whole import moved_problem

    with session.store.reading():
        if to := session.store.moved_to():
            raise StateError(moved_problem(session.store.where, to))
        now = session.store.fingerprints()
        past = past_of(session.store, moment, now)
        then = past.fingerprints(now)
        named = [address for address in then if not address.startswith(_ITEM)]
        identities = past.resources(recorded_resources(session.store, named), named)

        def resources(addresses: Iterable[str]) -> Mapping[str, Resource]:
            wanted = [address for address in addresses if address in then]
            items = [address for address in wanted if address.startswith(_ITEM)]
            found = past.resources(recorded_resources(session.store, items), items) if items else {}
            return found | {address: identities[address] for address in wanted if address in identities}

        project = session.project
        visibility = {source.name: source.visibility for source in project.sources}
        world = make_world(readings_of(project), visibility, then, resources)
    return replace(world, rests_on=_past_document(session, past))


def _past_document(session: Session, past: Past) -> dict[str, Any]:
    """Return what an answer rests on, as JSON values."""
    return {
        "moment": moment_text(past.moment),
        "run": {**_run_document(past.run), "under_way": past.under_way},
        "applied": _run_document(past.applied) if past.applied else None,
        "unconfirmed": [
            {"address": str(address), "run": entry.run, "sent_at": entry.intent.at}
            for entry in past.doubts
            for address, _ in sorted(entry.intent.covers)
        ],
        "limits": list(_limits(session.target, past)),
    }


def past_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an answer of the past rests on (`World.rests_on`), as text."""
    run, applied = document["run"], document["applied"]
    yield f"as recorded at {document['moment']}, {'amid' if run['under_way'] else 'after'} run {_run_told(run)}"
    if applied is None:
        yield "  no call had been accepted by then"
    elif applied["id"] != run["id"]:
        yield f"  last applied by run {_run_told(applied)}"
    for limit in document["limits"]:
        yield f"  {visible(limit)}"


def _run_document(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.run.id,
        "command": record.run.command,
        "started_at": record.run.started_at,
        "ended_at": record.ended_at,
        "user": record.run.user,
        "host": record.run.host,
        "commit": record.run.commit,
    }


def _run_told(run: Mapping[str, Any]) -> str:
    who = f" by {run['user']}" if run["user"] else ""
    commit = f", commit {run['commit']}" if run["commit"] else ", no commit known"
    ended = f", ended {run['ended_at']}" if run["ended_at"] else ", did not end"
    return visible(f"{run['id']} (`{run['command']}`{who}, begun {run['started_at']}{ended}{commit})")


def _limits(target: Target, past: Past) -> Iterator[str]:
    """Yield what the answer does not say, or may say wrongly."""
    yield from _doubts(past)
    if past.misdated:
        runs = ", ".join(past.misdated)
        yield f"a clock was wrong: run {runs} is dated before this moment, and was recorded after what came later"
    yield from _moved(past.run.target, target)
    yield from _LIMITS


def _doubts(past: Past) -> Iterator[str]:
    addresses = sorted({str(address) for entry in past.doubts for address, _ in entry.intent.covers})
    if not addresses:
        return
    named = ", ".join(addresses[:_SHOWN]) + (", ..." if len(addresses) > _SHOWN else "")
    kinds = Counter(Kind(address.partition("/")[0]) for address in addresses)
    told = ", ".join(f"{number:,} {kind_noun(kind, number)}" for kind, number in sorted(kinds.items()))
    yield f"unconfirmed then: calls for {told} were sent, and nobody knew their outcome: {named}"


def _moved(then: Target, now: Target) -> Iterator[str]:
    if then.organization != now.organization:
        yield f"the organization was {then.organization} then, and is {now.organization} now"
    for word, was, present in (
        ("source", dict(then.sources), dict(now.sources)),
        ("provider", dict(then.providers), dict(now.providers)),
    ):
        for name in sorted(was):
            if name not in present:
                yield f"{word} {name} ({was[name]} then) is no longer in reconciler.yaml"
            elif present[name] != was[name]:
                yield f"{word} {name} was {was[name]} then, and is {present[name]} now"
