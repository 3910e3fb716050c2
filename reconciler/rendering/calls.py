"""What a plan's calls cost, as counts and rows for the outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.calls.call import OLDER_THAN, REMOVALS, STREAMS, Call, CallKind, Compiled, Verb
from reconciler.calls.quotas import UNLIMITED, Allowance, Estimate
from reconciler.planning.change import Change

# Minutes that a removal by age waits where nothing is said of it (push-api.md 2.1, 2.3).
_DEFAULT_DELAY = "15"


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call: what is sent where, for how many resources, in at most how many bytes."""

    number: int
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    puts: int
    patches: int
    deletes: int
    size: int
    at_most: bool
    requests: int
    takes_along: str = ""
    """What goes beside the resources that are counted, in words; empty for nothing."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """The calls of one stage."""

    name: str
    calls: tuple[CallRow, ...]


@dataclass(frozen=True, slots=True)
class CallsSummary:
    """All calls: how many, what the API counts, what travels, and what one call per change would cost.

    `stages` is empty when nobody asked for the list. `statuses` are sources with what each is told of its activity:
    two calls each, which `api_calls`, `requests` and `one_by_one` leave out. `quota` is what everything takes of
    what is `allowed`.
    """

    count: int
    api_calls: int
    requests: int
    one_by_one: int
    resources: int
    size: int
    at_most: bool
    stages: tuple[StageRow, ...]
    statuses: tuple[tuple[str, str], ...] = ()
    quota: Estimate | None = None
    allowed: Allowance = UNLIMITED


def summarise_calls(compiled: Compiled, changes: Sequence[Change], *, listed: bool) -> CallsSummary:
    """Return the summary of all calls; sizes are upper bounds where a body or a batch is made while it is sent."""
    with_body = frozenset(change.address for change in changes if _has_body(change))
    calls = compiled.calls
    rows = tuple(
        StageRow(stage.name, tuple(_row(call, at_most=_is_bound(call, with_body)) for call in stage.calls))
        for stage in compiled.stages
        if listed and stage.calls
    )
    return CallsSummary(
        count=len(calls),
        api_calls=sum(call.api_calls for call in calls),
        requests=sum(call.requests for call in calls),
        # A catalog takes no single items: each would be a container and the call that names it (push-api.md 2.5).
        one_by_one=sum(len(call.covers) * (2 if call.kind in STREAMS else 1) + call.containers for call in calls),
        resources=sum(len(call.covers) for call in calls),
        size=compiled.size,
        at_most=any(_is_bound(call, with_body) for call in calls),
        stages=rows,
        statuses=tuple((status.source, status.status) for status in compiled.statuses),
        quota=compiled.estimate(),
        allowed=compiled.allowed,
    )


def _row(call: Call, *, at_most: bool) -> CallRow:
    deletes = sum(entry.verb in REMOVALS or entry.verb is Verb.WITHDRAW for entry in call.covers)
    patches = sum(entry.verb is Verb.PATCH for entry in call.covers)
    return CallRow(
        number=call.number,
        method=call.method,
        path=call.path,
        query=call.query,
        puts=len(call.covers) - patches - deletes,
        patches=patches,
        deletes=deletes,
        size=call.size,
        at_most=at_most,
        requests=call.requests,
        takes_along=_taken_along(call),
    )


def _taken_along(call: Call) -> str:
    """Return what a call removes that no change speaks of (push-api.md 2.1, 2.5, 5.4)."""
    if call.kind in OLDER_THAN:
        minutes = dict(call.query).get("queueDelay", _DEFAULT_DELAY)
        return "whatever was pushed before" + (f", {minutes} minutes later" if minutes != "0" else "")
    if call.kind is CallKind.STREAM_LOAD:
        return "whatever else the source holds"
    trees = sum(covered.verb is Verb.DELETE_TREE for covered in call.covers)
    return "whatever else is below the deleted" if trees else ""


def _is_bound(call: Call, with_body: frozenset[str]) -> bool:
    """Whether the call's size is an upper bound: bodies are escaped or compressed only when sent, and
    a batch is framed then.
    """
    if call.uploads:
        return True
    return any(entry.verb is Verb.PUT and entry.address in with_body for entry in call.covers)


def _has_body(change: Change) -> bool:
    after = change.after
    # The search spares parsing the documents that cannot have one.
    return after is not None and b'"body"' in after.doc and after.own().get("body") is not None
