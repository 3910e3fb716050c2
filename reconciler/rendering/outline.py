"""A plan and its calls as headings, counts and rows: walked once here, for every format.

An `Outline` holds shown values in reading order, most important first: hazards, tally, access,
warnings, names, details, calls. Each element stands alone and says how many changes it speaks for and whether
it touches who sees what, so that a format with a budget can drop the least important ones and count
them. Nothing here is escaped; each format does that to every string it did not write itself.

The work is in proportion to the changes, never to the resources that stay as they are; field changes
are worked out only where the detail asked for shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from reconciler.calls.call import Compiled
from reconciler.model.address import Address, Kind
from reconciler.model.digestfield import DIGEST_FIELD
from reconciler.planning.change import (
    ACCESS_FIELDS,
    FORGOTTEN,
    Action,
    Change,
    FieldChange,
    field_changes,
    touches_access,
)
from reconciler.planning.plan import NO_TESTS, AccessTests, Hazard, Plan
from reconciler.problems import Problem
from reconciler.rendering.blame import origins_by_field
from reconciler.rendering.calls import CallsSummary, summarise_calls
from reconciler.rendering.doubts import doubt_lines
from reconciler.rendering.effective import effective_line
from reconciler.rendering.expiring import expiring_lines
from reconciler.rendering.exposure import exposure_lines
from reconciler.rendering.fields import FieldRow, Reader, field_rows
from reconciler.rendering.order import order_lines
from reconciler.rendering.values import count, window

KIND_ORDER = (Kind.ITEM, Kind.GROUP, Kind.VIRTUAL_GROUP, Kind.USER, Kind.ALIAS)
ACTION_ORDER = (Action.CREATE, Action.UPDATE, Action.DELETE)

FOLD_ABOVE = 20
ACCESS_LISTED = 10  # of those who gain and of those who lose
PROBLEMS_LISTED = 20
EXAMPLES = 3
DIFF_LINES = 60
DIFF_CAP = 200

_EXPECTED_REASONS = {Action.CREATE: "new", Action.UPDATE: "changed", Action.DELETE: "removed"}


class Detail(StrEnum):
    """How much a rendered plan says: each word adds to the one before."""

    NONE = "none"
    NAMES = "names"
    FIELDS = "fields"
    FULL = "full"


_LISTED_ENDS = {Detail.NONE: 0, Detail.NAMES: ACCESS_LISTED, Detail.FIELDS: ACCESS_LISTED, Detail.FULL: None}


@dataclass(frozen=True, slots=True)
class TallyRow:
    """How many resources of one kind are created, updated and deleted."""

    kind: Kind
    create: int
    update: int
    delete: int


@dataclass(frozen=True, slots=True)
class Name:
    """One changed resource by name; `note` says what its verb does not: a rename, an odd reason."""

    address: Address
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Many changes of one kind, scope and verb that are alike, told once.

    `paths` are the fields in which all of them differ (empty for creates and deletes). `rows` are
    the same for all when `uniform`, and otherwise those of the first example.
    """

    count: int
    note: str
    paths: tuple[str, ...]
    examples: tuple[Name, ...]
    rows: tuple[FieldRow, ...]
    uniform: bool
    touches_access: bool
    names: tuple[Name, ...] = ()
    """All of them, where they were asked for: a report that has room tells each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One change in detail."""

    name: Name
    fields: tuple[FieldRow, ...]
    body_diff: tuple[str, ...]
    body_diff_hidden: int
    touches_access: bool
    origins: tuple[str, ...] = ()
    """Where the manifests say all of it, where that is new and somebody asked."""


@dataclass(frozen=True, slots=True)
class Group:
    """The changes of one verb to one kind in one scope: patterns first, then what is left by name.

    `rows` are the details of `names`, one for one, or empty when the detail asked for has none.
    """

    action: Action
    kind: Kind
    scope: str
    count: int
    folds: tuple[Fold, ...]
    names: tuple[Name, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A plan as every format tells it. `groups` is empty when only the tally was asked for."""

    detail: Detail
    environment: str
    organization: str
    lineage: str
    serial: int
    selection: tuple[str, ...]
    tally: tuple[TallyRow, ...]
    create: int
    update: int
    delete: int
    unchanged: int
    hazards: tuple[Hazard, ...]
    problems: tuple[Problem, ...]
    groups: tuple[Group, ...]
    calls: CallsSummary
    state_only: int
    hidden_problems: tuple[tuple[str, int], ...] = ()
    """How many more problems there are of a code, by code."""
    access: tuple[str, ...] = ()
    """Who gains and who loses sight of what, as lines."""
    expiring: tuple[str, ...] = ()
    """Grants that are over and still live, and those that end soon, as lines."""
    doubts: tuple[str, ...] = ()
    """Calls of earlier runs whose outcome is unknown, and what the plan does about them, as lines."""
    effective: str = ""
    """When the changes of identities take effect, and who keeps what until then."""
    tests: AccessTests = NO_TESTS
    exposure: Mapping[str, Any] | None = None
    """The same as `access`, as its JSON document (`rendering.exposuredoc`), for formats that lay it out themselves."""
    order: tuple[str, ...] = ()
    """Those lines of `access` that say what it took that no moment of the run shows anybody too much."""
    commit: str = ""
    """The git commit of the manifests, and that they were edited since, where that is known."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.create or self.update or self.delete)


def outline(
    plan: Plan,
    compiled: Compiled,
    *,
    detail: Detail = Detail.FIELDS,
    body_diffs: Mapping[str, Sequence[str]] | None = None,
    source_providers: Mapping[str, str] | None = None,
    fold_above: int = FOLD_ABOVE,
    everybody: bool = False,
) -> Outline:
    """Return the outline of a plan.

    `body_diffs` gives unified diff lines by address
    where the caller made them. `source_providers` says which provider goes without saying for the
    identities in the permissions of a source's items; without it the target's only provider does.
    With `everybody` all who gain and lose sight of something are listed, as far as the plan itself does, at any detail,
    and so is each change that is told by a pattern.
    """
    buckets = _bucketed(plan.changes)
    origins = origins_by_field(plan.blame)
    maker = _Maker(detail, body_diffs or {}, _providers(plan, source_providers or {}), fold_above, origins, everybody)
    tally = tuple(_tally(kind, buckets) for kind in KIND_ORDER)
    shown, hidden = _problems(plan.problems, everything=detail is Detail.FULL)
    order = () if detail is Detail.NONE else tuple(order_lines(compiled))
    return Outline(
        detail=detail,
        environment=plan.environment,
        organization=plan.target.organization,
        lineage=plan.base.lineage,
        serial=plan.base.serial,
        selection=plan.selection,
        tally=tuple(row for row in tally if row.create or row.update or row.delete),
        create=sum(row.create for row in tally),
        update=sum(row.update for row in tally),
        delete=sum(row.delete for row in tally),
        unchanged=plan.no_op,
        hazards=plan.hazards,
        # An excerpt is a line of a manifest, and a plan may be published: bodies stay out of it.
        problems=tuple(replace(entry, excerpt="") for entry in shown),
        hidden_problems=tuple(sorted(hidden.items())),
        groups=() if detail is Detail.NONE else tuple(maker.group(*entry) for entry in buckets.items()),
        calls=summarise_calls(compiled, plan.changes, listed=detail is not Detail.NONE),
        state_only=len(compiled.state_only),
        access=(*_access(plan, detail, None if everybody or detail is Detail.FULL else ACCESS_LISTED), *order),
        order=order,
        commit=f"{plan.commit[:12]}, edited since" if plan.dirty else plan.commit[:12],
        expiring=tuple(expiring_lines(plan, entries=_LISTED_ENDS[detail])),
        doubts=tuple(doubt_lines(plan.doubts, entries=_LISTED_ENDS[detail])),
        effective="" if detail is Detail.NONE else _effective(plan, compiled),
        tests=plan.tests,
        exposure=orjson.loads(plan.access) if plan.access and detail is not Detail.NONE else None,
    )


def _access(plan: Plan, detail: Detail, listed: int | None) -> tuple[str, ...]:
    if detail is Detail.NONE:
        return ()
    touching = sum(map(touches_access, plan.changes))
    if not plan.access:
        return (f"Not worked out for {touching:,} changes that can alter it: `access diff` does.",) if touching else ()
    told = exposure_lines(orjson.loads(plan.access), entries=listed, hazards=False)
    if touching == len(plan.changes):
        return tuple(told)
    return (f"{touching:,} of {count(len(plan.changes), 'change')} can alter who sees what.", *told)


def _effective(plan: Plan, compiled: Compiled) -> str:
    return effective_line(compiled.effects, orjson.loads(plan.access) if plan.access else {})


_Key = tuple[Action, Kind, str]


def _problems(problems: Sequence[Problem], *, everything: bool) -> tuple[list[Problem], Counter[str]]:
    """Return the problems to show, in order, and how many more there are of each code: thousands may be alike."""
    shown = []
    told: Counter[str] = Counter()
    for problem in sorted(problems, key=lambda entry: entry.sort_key):
        told[problem.code] += 1
        if everything or told[problem.code] <= PROBLEMS_LISTED:
            shown.append(problem)
    return shown, told - Counter(problem.code for problem in shown)


def _bucketed(changes: Sequence[Change]) -> dict[_Key, list[Change]]:
    """Return the changes by verb, kind and scope, in reading order."""
    found: dict[tuple[Action, str, str], list[Change]] = {}
    for change in changes:
        kind, scope, _ = change.address.split("/", 2)
        found.setdefault((change.action, kind, scope), []).append(change)
    actions = {action: place for place, action in enumerate(ACTION_ORDER)}
    kinds = {kind.value: place for place, kind in enumerate(KIND_ORDER)}
    ordered = sorted(found, key=lambda key: (actions[key[0]], kinds[key[1]], key[2]))
    return {(key[0], Kind(key[1]), key[2]): sorted(found[key], key=lambda change: change.address) for key in ordered}


def _tally(kind: Kind, buckets: Mapping[_Key, Sequence[Change]]) -> TallyRow:
    counts = {
        action: sum(len(entries) for key, entries in buckets.items() if key[0] is action and key[1] is kind)
        for action in ACTION_ORDER
    }
    return TallyRow(kind, counts[Action.CREATE], counts[Action.UPDATE], counts[Action.DELETE])


def _providers(plan: Plan, given: Mapping[str, str]) -> Mapping[str, str]:
    if len(plan.target.providers) != 1:
        return given
    only = plan.target.providers[0][0]
    return {source: given.get(source, only) for source, _ in plan.target.sources}


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes groups: what to tell, and of whom."""

    detail: Detail
    body_diffs: Mapping[str, Sequence[str]]
    providers: Mapping[str, str]
    fold_above: int
    origins: Mapping[str, Mapping[str, tuple[str, ...]]]
    everybody: bool

    def group(self, key: _Key, changes: Sequence[Change]) -> Group:
        action, kind, scope = key
        reader = Reader(self.providers.get(scope) if kind is Kind.ITEM else scope, full=self.detail is Detail.FULL)
        folds, left = self._folded(action, changes, reader)
        rows = () if self.detail is Detail.NAMES else tuple(self._row(change, reader) for change in left)
        names = tuple(_name(change) for change in left)
        return Group(action, kind, scope, len(changes), folds, names, rows)

    def _folded(
        self, action: Action, changes: Sequence[Change], reader: Reader
    ) -> tuple[tuple[Fold, ...], Sequence[Change]]:
        if self.detail is Detail.FULL or len(changes) <= self.fold_above:
            return (), changes
        if action is Action.UPDATE:
            return self._folded_updates(changes, reader)
        alike: dict[str, list[Change]] = {}
        for change in changes:
            alike.setdefault("" if change.moved_from or change.moved_to else change.reason, []).append(change)
        folded = {reason for reason, entries in alike.items() if reason and len(entries) > self.fold_above}
        folds = tuple(_fold_of_verb(alike[reason], everybody=self.everybody) for reason in sorted(folded))
        return folds, [entry for reason, entries in alike.items() if reason not in folded for entry in entries]

    def _folded_updates(self, changes: Sequence[Change], reader: Reader) -> tuple[tuple[Fold, ...], Sequence[Change]]:
        """Fold what changes alike: first where access changes in the very same way, then by fields alone."""
        exact: dict[tuple[object, ...], list[tuple[Change, tuple[FieldChange, ...]]]] = {}
        for change in changes:
            fields = field_changes(change)
            alike = (
                change.reason,
                tuple(entry.path for entry in fields),
                field_rows([entry for entry in fields if entry.path[0] in ACCESS_FIELDS], reader),
            )
            exact.setdefault(alike, []).append((change, fields))
        folds: list[Fold] = []
        loose: dict[tuple[object, ...], list[tuple[Change, tuple[FieldChange, ...]]]] = {}
        for key, entries in exact.items():
            if len(entries) > self.fold_above:
                folds.append(self._fold(entries, reader, uniform=True))
            else:
                loose.setdefault(key[:2], []).extend(entries)
        left: list[Change] = []
        for entries in loose.values():
            if len(entries) > self.fold_above:
                folds.append(self._fold(entries, reader, uniform=False))
            else:
                left.extend(change for change, _ in entries)
        folds.sort(key=lambda fold: (not fold.touches_access, -fold.count, fold.paths, fold.examples[0].address))
        return tuple(folds), sorted(left, key=lambda change: change.address)

    def _fold(self, entries: list[tuple[Change, tuple[FieldChange, ...]]], reader: Reader, *, uniform: bool) -> Fold:
        entries.sort(key=lambda entry: entry[0].address)
        change, fields = entries[0]
        access = [entry for entry in fields if entry.path[0] in ACCESS_FIELDS]
        same = uniform and bool(access) and len(access) == len(fields)
        return Fold(
            count=len(entries),
            note=_note(change),
            paths=tuple(".".join(entry.path) for entry in fields),
            examples=tuple(_name(entry) for entry, _ in entries[:EXAMPLES]),
            rows=self._with_origins(change, field_rows(fields, reader)) if self.detail is not Detail.NAMES else (),
            uniform=same,
            touches_access=touches_access(change, fields),
            names=tuple(_name(entry) for entry, _ in entries) if self.everybody else (),
        )

    def _row(self, change: Change, reader: Reader) -> Row:
        fields = field_changes(change)
        if change.action is not Action.UPDATE:
            # The same for all items of a source: it is told where it changes.
            fields = tuple(entry for entry in fields if entry.path != (DIGEST_FIELD,))
        diff = self.body_diffs.get(change.address, ())
        limit = len(diff) if reader.full else DIFF_LINES
        return Row(
            name=_name(change),
            fields=self._with_origins(change, field_rows(fields, reader)),
            origins=self.origins.get(change.address, {}).get("", ()),
            body_diff=tuple(window(line, DIFF_CAP) for line in diff[:limit]),
            body_diff_hidden=max(0, len(diff) - limit),
            touches_access=touches_access(change, fields),
        )

    def _with_origins(self, change: Change, rows: tuple[FieldRow, ...]) -> tuple[FieldRow, ...]:
        """Return the rows with where each value comes from, told once for a value that takes several."""
        known = dict(self.origins.get(change.address, {}))
        return tuple(replace(row, origins=known.pop(row.path, ())) for row in rows) if known else rows


def _fold_of_verb(changes: Sequence[Change], *, everybody: bool) -> Fold:
    first = changes[0]
    return Fold(
        count=len(changes),
        note=_note(first),
        paths=(),
        examples=tuple(_name(change) for change in changes[:EXAMPLES]),
        rows=(),
        uniform=False,
        touches_access=touches_access(first),
        names=tuple(map(_name, changes)) if everybody else (),
    )


def _name(change: Change) -> Name:
    return Name(change.address, change.address.name, _note(change))


def _note(change: Change) -> str:
    """Say what the verb alone does not."""
    if change.moved_from is not None:
        return f"moved from {change.moved_from.name}"
    if change.moved_to is not None:
        return f"moved to {change.moved_to.name}"
    if change.reason == _EXPECTED_REASONS[change.action]:
        return ""
    if change.reason == FORGOTTEN:
        return "forgotten: the state alone lets go of it, and it stays at the remote"
    if change.reason == "resent":
        return "sent again, as asked"
    if change.reason == "unconfirmed":
        return "sent again: an earlier call's outcome is unknown"
    if change.reason == "rejected":
        return "sent again: the remote rejected it after it was accepted"
    if change.reason == "drifted":
        return "drifted: the remote is not as recorded"
    return change.reason
