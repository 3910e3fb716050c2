"""From changes to the fewest Push API calls that settle them, in a safe order.

Pure and deterministic: the order of the changes given means nothing. Stages, each begun when every
call of the one before is accepted (push-api.md 5.2): identities (groups with their members first,
then users, then aliases), items (puts with parents first, then deletions), what a source that is
sent anew still holds of old, aliases that go, identities that go. Within a stage each source or
provider is packed on its own (`calls.packing`).

Readings of what the documents leave open:

- An alias goes by putting a mapping without entries, even when its identity is deleted too: nothing
  says that deleting an identity takes its mappings along, and a later push of the name might revive
  them (push-api.md 2.3 and 5.3). It goes after the items, like every deletion, and in a call before
  the identity's deletion, because the order of the lists inside one batch is undefined.
- Removal by uri prefix, by age and by a full load takes along what nobody declared, so it is only for
  sources and providers that are declared `exclusive` (push-api.md 5.6, 7 no. 9).
- What is old goes fifteen minutes after a source was sent anew, which is the API's own delay: at once
  it might remove an item whose new version still waits in the queue (push-api.md 2.1, 5.4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from reconciler.calls.call import WHOLE, Call, CallKind, Compiled, SourceStatus, Stage, Verb, Wave
from reconciler.calls.context import WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.calls.order import deletions_in_order, edges_between, identities_in_order, items_in_order
from reconciler.calls.packing import Edges, Group, Load, pack, total_cost
from reconciler.calls.removal import Standing, swept_by_uri
from reconciler.calls.units import Unit, alters_wire, payload_resources, tightening_unit, unit_of
from reconciler.calls.wire import Wire
from reconciler.model.address import Address, Kind
from reconciler.planning.change import Change
from reconciler.problems import ManifestError, Problem

__all__ = ["Batching", "compile_calls", "payload_resources"]

Batching = Literal["auto", "never"]

IDENTITIES = "identities"
ITEMS = "items"
OLD_ITEMS = "old-items"
ALIAS_DELETES = "alias-deletes"
IDENTITY_DELETES = "identity-deletes"
STAGES = (IDENTITIES, ITEMS, OLD_ITEMS, ALIAS_DELETES, IDENTITY_DELETES)

_FRAME = 64
_AFTER_MINUTES = "15"
_SINGLE = {
    Verb.PUT: ("PUT", CallKind.IDENTITY_PUT),
    Verb.TIGHTEN: ("PUT", CallKind.IDENTITY_PUT),
    Verb.DELETE: ("DELETE", CallKind.IDENTITY_DELETE),
    Verb.WITHDRAW: ("PUT", CallKind.IDENTITY_PUT),
}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A call without its number; `after` are indexes of drafts of the same source or provider."""

    kind: CallKind
    method: str
    path: str
    units: Sequence[Unit] = ()
    size: int = 0
    query: tuple[tuple[str, str], ...] = ()
    after: tuple[int, ...] = ()
    chunks: tuple[int, ...] = ()

    def numbered(self, number: int, scope: str, first: int) -> Call:
        return Call(
            number=number,
            kind=self.kind,
            method=self.method,
            path=self.path,
            query=self.query,
            scope=scope,
            covers=tuple(covered for unit in self.units for covered in unit.covers),
            size=self.size + sum(unit.apart for unit in self.units),
            after=tuple(first + index for index in self.after),
            containers=sum(1 for unit in self.units if unit.apart),
            chunks=self.chunks,
        )


def compile_calls(
    changes: Sequence[Change],
    context: WireContext,
    limits: Limits = PUBLISHED,
    *,
    batching: Batching = "auto",
    body_paths: Mapping[str, str] | None = None,
    standing: Callable[[], Iterable[str]] | None = None,
    narrowed: bool = False,
    resent: Collection[str] = (),
    waves: Sequence[Wave] = (),
) -> Compiled:
    """Return the fewest calls that settle `changes`, at most one change for each address.

    `batching="never"` gives one single call for each change instead, except for what is too large
    for a single call, or has none. `body_paths` maps the SHA-256 of a body (hex) to its file, for
    messages. `standing` gives the addresses that are recorded or desired and do not change; without
    it nothing is taken to be gone that no change speaks of. `narrowed` says that the plan left out
    changes that somebody did not select, `resent` names the sources of which everything is sent anew.
    `waves` are settled one after the other, each in all of the stages; a change that none of them names belongs
    to the last one. Then whatever is removed is named, one by one.

    Raises ManifestError with every change that no call can carry: `body-too-large` above a container,
    `catalog-item-too-large`, `too-many-permissions`, `reserved-metadata-key`, `unknown-source` or
    `unknown-provider`.
    """
    state_only, staged = _staged(changes, context, limits, body_paths or {})
    # What only the state records is not sent either, so it must not be swept away.
    stays = None if standing is None else lambda: chain(standing(), state_only)
    fed = frozenset(scope for stage, scope in staged if stage == IDENTITIES)
    whole = _Build(Wire(context, limits), limits, batching, stays, fed)
    phases = [(staged, whole)]
    if waves:
        parts = _in_waves(staged, waves, Wire(context, limits))
        phases = [
            (part, _Build(Wire(context, limits), limits, batching, None, fed, together=wave.together))
            for part, wave in zip(parts, waves, strict=True)
        ]
    stages: list[Stage] = []
    number = 0
    for part, build in phases:
        last = part is phases[-1][0]
        for name in STAGES:
            calls: list[Call] = []
            for scope in sorted(scope for stage, scope in part if stage == name):
                for call in build.calls(name, scope, part[name, scope], number + 1):
                    calls.append(_chained(call, calls) if name != ITEMS else call)
                    number += 1
            if name == OLD_ITEMS and last:
                emptied = {call.scope for stage in stages for call in stage.calls if _empties(call)}
                for scope in sorted(source for source in resent if (ITEMS, source) in staged and source not in emptied):
                    for draft in whole.older(scope):
                        number += 1
                        calls.append(draft.numbered(number, scope, number))
            if calls:
                stages.append(Stage(name, tuple(calls)))
    sources = {scope: units for (stage, scope), units in sorted(staged.items()) if stage == ITEMS}
    statuses = tuple(whole.statuses(sources, narrowed=narrowed))
    tightened = {resource.address: resource for wave in waves for resource in wave.tightened}
    return Compiled(
        tuple(stages), tuple(state_only), statuses, tightened=tuple(tightened[address] for address in sorted(tightened))
    )


def _empties(call: Call) -> bool:
    return call.kind is CallKind.ITEM_OLDER_THAN


def _chained(call: Call, before: Sequence[Call]) -> Call:
    """Return a call of identities that waits for the one before it, of whatever provider that is.

    Who belongs to what decides who sees what, at every moment.
    """
    return replace(call, after=(before[-1].number,)) if before else call


def _in_waves(
    staged: Mapping[tuple[str, str], list[Unit]], waves: Sequence[Wave], wire: Wire
) -> list[dict[tuple[str, str], list[Unit]]]:
    """Return the units of each wave by stage and scope."""
    home = {address: number for number, wave in enumerate(waves) for address in wave.addresses}
    parts: list[dict[tuple[str, str], list[Unit]]] = [defaultdict(list) for _ in waves]
    for place, units in staged.items():
        for unit in units:
            parts[home.get(unit.address, len(waves) - 1)][place].append(unit)
    for wave, part in zip(waves, parts, strict=True):
        for resource in wave.tightened:
            unit = tightening_unit(resource, wire)
            part[_stage_of(unit), unit.address.scope].append(unit)
    return [dict(part) for part in parts]


def _staged(
    changes: Sequence[Change], context: WireContext, limits: Limits, paths: Mapping[str, str]
) -> tuple[list[Address], dict[tuple[str, str], list[Unit]]]:
    """Return what changes in the state alone, and the units of each stage and scope. Raises ManifestError."""
    wire = Wire(context, limits)
    state_only: list[Address] = []
    staged: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    problems: list[Problem] = []
    resources = payload_resources(changes)
    for change in sorted(changes, key=lambda change: change.address):
        if not alters_wire(change):
            state_only.append(change.address)
            continue
        try:
            unit = unit_of(change, resources[change.address], wire)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        problems.extend(_over_limits(unit, wire, limits, paths))
        staged[_stage_of(unit), unit.address.scope].append(unit)
    if problems:
        raise ManifestError(*sorted(set(problems), key=lambda problem: problem.sort_key))
    return state_only, staged


def _stage_of(unit: Unit) -> str:
    if unit.kind is Kind.ITEM:
        return ITEMS
    if unit.verb in WHOLE:
        return IDENTITIES
    return ALIAS_DELETES if unit.kind is Kind.ALIAS else IDENTITY_DELETES


def _over_limits(unit: Unit, wire: Wire, limits: Limits, paths: Mapping[str, str]) -> list[Problem]:
    catalog = unit.kind is Kind.ITEM and wire.context.source(unit.address.scope).catalog
    room = limits.container - _FRAME
    most = min(room, limits.catalog_item) if catalog and unit.verb is not Verb.DELETE else room
    problems = []
    if unit.size > most or unit.apart > limits.container:
        body = wire.batch_entry(unit.covers[0], unit.resource).body
        file = paths.get(body.sha256) if body else None
        what = f'the body of "{unit.address}"' if body else f'"{unit.address}"'
        takes = unit.apart if unit.apart > limits.container else unit.size
        limit = limits.catalog_item if catalog else limits.container
        problems.append(
            Problem(
                code="catalog-item-too-large" if catalog else "body-too-large",
                what=f"{what}{f' ({file})' if file else ''} may take {takes:,} bytes on the wire, "
                f"more than the {limit:,} of {'an item of a catalog source' if catalog else 'a file container'}",
                why="the API takes no larger piece (push-api.md 4.1).",
                fix="leave it out, or split it into several resources",
            )
        )
    if unit.kind is Kind.ITEM and unit.verb is Verb.PUT and unit.resource is not None:
        count = wire.permission_count(unit.resource)
        if count > limits.permission_identities:
            problems.append(
                Problem(
                    code="too-many-permissions",
                    what=f'the permissions of "{unit.address}" name {count:,} identities, '
                    f"more than {limits.permission_identities:,}",
                    why="the API would accept the item and then reject it (push-api.md 4.1).",
                    fix="gather the identities in a group and allow or deny that group",
                )
            )
    return problems


class _Build:
    """Chooses the calls of one stage and scope after the other."""

    def __init__(
        self,
        wire: Wire,
        limits: Limits,
        batching: Batching,
        standing: Callable[[], Iterable[str]] | None,
        fed: frozenset[str],
        *,
        together: bool = False,
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._batching = batching
        self._ask = standing
        self._fed = fed
        self._together = together
        self._standing: Standing | None = None

    def calls(self, stage: str, scope: str, units: list[Unit], first: int) -> Iterator[Call]:
        """Yield the calls that settle these units, numbered from `first` on."""
        for number, draft in enumerate(self._drafts(stage, scope, units), first):
            yield draft.numbered(number, scope, first)

    def _drafts(self, stage: str, scope: str, units: list[Unit]) -> list[_Draft]:
        if stage == ITEMS:
            if self._wire.context.source(scope).catalog:
                return self._catalog(scope, units)
            return self._items(scope, units)
        if stage == IDENTITIES:
            ordered = identities_in_order(units)
        elif stage == IDENTITY_DELETES:
            ordered = deletions_in_order(units)
            if self._may_disable_all(scope, ordered):
                path = f"{self._wire.provider_path(scope)}/permissions/olderthan"
                return [_Draft(CallKind.IDENTITY_OLDER_THAN, "DELETE", path, _swept(ordered))]
        else:
            ordered = units
        return self._batched(ordered, self._identity_batch, self._single_identity)

    def older(self, source: str) -> list[_Draft]:
        """Return the call that removes what a source that was sent anew still holds of old, if it may be made."""
        ref = self._wire.context.source(source)
        if not ref.exclusive or ref.catalog or self._batching == "never":
            return []
        # Whatever was not sent in this run is old as well.
        if self._ask is None or self._stays.items_of(source):
            return []
        path = f"{self._wire.items_path(source)}/olderthan"
        return [_Draft(CallKind.ITEM_OLDER_THAN, "DELETE", path, query=(("queueDelay", _AFTER_MINUTES),))]

    def statuses(self, sources: Mapping[str, Sequence[Unit]], *, narrowed: bool) -> list[SourceStatus]:
        """Return what each source is told of its activity (push-api.md 5.5)."""
        told = []
        for source, units in sources.items():
            if not self._wire.context.source(source).status:
                continue
            status = "INCREMENTAL" if narrowed else "REFRESH"
            put = [unit.verb is Verb.PUT for unit in units if unit.verb is not Verb.DELETE]
            if put and all(put) and self._ask is not None and not self._stays.items_of(source):
                status = "REBUILD"
            told.append(SourceStatus(source, status, f"{self._wire.source_path(source)}/status"))
        return told

    @property
    def _stays(self) -> Standing:
        if self._standing is None:
            self._standing = Standing(self._ask() if self._ask is not None else ())
        return self._standing

    # Items

    def _items(self, scope: str, units: list[Unit]) -> list[_Draft]:
        ordered = items_in_order(units)
        groups = self._grouped(ordered)
        if self._ask is not None and self._wire.context.source(scope).exclusive and self._batching == "auto":
            if total_cost(groups)[0] > 1 and _all_deleted(ordered) and not self._stays.items_of(scope):
                path = f"{self._wire.items_path(scope)}/olderthan"
                query = (("queueDelay", "0"),)
                return [_Draft(CallKind.ITEM_OLDER_THAN, "DELETE", path, _swept(ordered), query=query)]
            if sum(unit.verb is Verb.DELETE for unit in ordered) > 1:
                fewer = items_in_order(swept_by_uri(ordered, self._stays, self._wire))
                fewer_groups = self._grouped(fewer)
                if total_cost(fewer_groups) < total_cost(groups):
                    ordered, groups = fewer, fewer_groups
        return self._drafted(ordered, groups, self._item_batch, self._single_item)

    def _catalog(self, scope: str, units: list[Unit]) -> list[_Draft]:
        """Return a full load where nothing stays that it would remove, and updates otherwise (push-api.md 2.5)."""
        ordered = items_in_order(units)
        source = self._wire.context.source(scope)
        path = f"{self._wire.source_path(scope)}/stream"
        if source.exclusive and self._ask is not None and self._batching == "auto":
            puts = [unit for unit in ordered if unit.verb is Verb.PUT]
            gone = [unit for unit in ordered if unit.verb is Verb.DELETE]
            if len(puts) + len(gone) == len(ordered) and puts and not self._stays.items_of(scope):
                groups = self._full(puts)
                size = sum(unit.size for unit in puts) + _FRAME * len(groups)
                chunks = tuple(len(group.members) for group in groups)
                in_chunks = [puts[index] for group in groups for index in group.members]
                load = [*in_chunks, *_swept(gone)]
                return [_Draft(CallKind.STREAM_LOAD, "POST", f"{path}/open", load, size, chunks=chunks)]
        # Partial updates, then whole items, then deletions: each list stands once in a file.
        ordered.sort(key=lambda unit: (unit.verb is not Verb.PATCH, unit.verb is Verb.DELETE))
        groups = (
            tuple(Group((index,), batch=True) for index in range(len(ordered)))
            if self._batching == "never"
            else self._full(ordered, edges_between(ordered))
        )
        return self._drafted(ordered, groups, self._stream_update, self._single_item)

    def _full(self, units: Sequence[Unit], edges: Edges = ()) -> tuple[Group, ...]:
        """Return the fewest batches, none of them single calls."""
        sizes = [unit.size for unit in units]
        return pack(Load(sizes, [False] * len(units), self._limits.container - _FRAME, edges))

    # Packing

    def _batched(
        self,
        ordered: Sequence[Unit],
        batch: Callable[[Sequence[Unit]], _Draft],
        single: Callable[[Unit], _Draft],
    ) -> list[_Draft]:
        return self._drafted(ordered, self._grouped(ordered), batch, single)

    def _grouped(self, ordered: Sequence[Unit]) -> tuple[Group, ...]:
        # A documentId in a single call stands in the query, so the entry's size is an upper bound.
        alone = [unit.size <= self._limits.single_body for unit in ordered]
        if self._batching == "never":
            return tuple(Group((index,), batch=not fits) for index, fits in enumerate(alone))
        if self._together and len(ordered) > 1:
            alone = [False] * len(alone)
        load = Load(
            [unit.size for unit in ordered],
            alone,
            self._limits.container - _FRAME,
            apart=[unit.apart for unit in ordered] if any(unit.apart for unit in ordered) else (),
            apart_capacity=self._limits.containers_together,
        )
        if not load.fits(range(len(ordered))):
            load = Load(load.sizes, alone, load.capacity, edges_between(ordered), load.apart, load.apart_capacity)
        return pack(load)

    def _drafted(
        self,
        ordered: Sequence[Unit],
        groups: Sequence[Group],
        batch: Callable[[Sequence[Unit]], _Draft],
        single: Callable[[Unit], _Draft],
    ) -> list[_Draft]:
        """Return one draft for each group, each after those that hold what its units need."""
        drafts = []
        for group in groups:
            units = [ordered[index] for index in group.members]
            drafts.append(batch(units) if group.batch else single(units[0]))
        if len(groups) == 1:
            return drafts
        home = {index: number for number, group in enumerate(groups) for index in group.members}
        needed: dict[int, set[int]] = defaultdict(set)
        for first, second in edges_between(ordered):
            if home[first] != home[second]:
                needed[home[second]].add(home[first])
        return [_after(draft, tuple(sorted(needed.get(number, ())))) for number, draft in enumerate(drafts)]

    # Single drafts

    def _item_batch(self, units: Sequence[Unit]) -> _Draft:
        path = f"{self._wire.items_path(units[0].address.scope)}/batch"
        return _Draft(CallKind.ITEM_BATCH, "PUT", path, units, _size_of(units))

    def _stream_update(self, units: Sequence[Unit]) -> _Draft:
        path = f"{self._wire.source_path(units[0].address.scope)}/stream/update"
        return _Draft(CallKind.STREAM_UPDATE, "PUT", path, units, _size_of(units))

    def _identity_batch(self, units: Sequence[Unit]) -> _Draft:
        path = f"{self._wire.provider_path(units[0].address.scope)}/permissions/batch"
        return _Draft(CallKind.IDENTITY_BATCH, "PUT", path, units, _size_of(units))

    def _single_identity(self, unit: Unit) -> _Draft:
        size = self._wire.single_entry(unit.address, unit.verb, unit.resource).size
        path = self._wire.provider_path(unit.address.scope)
        if unit.kind is Kind.ALIAS:
            return _Draft(CallKind.MAPPING_PUT, "PUT", f"{path}/mappings", (unit,), size)
        method, kind = _SINGLE[unit.verb]
        return _Draft(kind, method, f"{path}/permissions", (unit,), size)

    def _single_item(self, unit: Unit) -> _Draft:
        path = self._wire.items_path(unit.address.scope)
        document = ("documentId", unit.address.name)
        if unit.verb is not Verb.PUT:
            tree = str(unit.verb is Verb.DELETE_TREE).lower()
            return _Draft(CallKind.ITEM_DELETE, "DELETE", path, (unit,), 0, (document, ("deleteChildren", tree)))
        entry = self._wire.single_entry(unit.address, unit.verb, unit.resource)
        packed = entry.body is not None and (entry.apart or entry.body.encoding != "text")
        query = (document, ("compressionType", entry.compression)) if packed else (document,)
        return _Draft(CallKind.ITEM_PUT, "PUT", path, (unit,), entry.size, query)

    def _may_disable_all(self, provider: str, units: Sequence[Unit]) -> bool:
        return (
            self._ask is not None
            and self._batching == "auto"
            and len(units) > 1
            and provider in self._wire.context.exclusive_providers
            # What this run put there is to stay, and with it would stay whoever lost an alias in this run.
            and provider not in self._fed
            and all(unit.verb is Verb.DELETE for unit in units)
            and not self._stays.identities_of(provider)
        )


def _all_deleted(units: Sequence[Unit]) -> bool:
    return all(unit.verb is Verb.DELETE for unit in units)


def _swept(units: Iterable[Unit]) -> list[Unit]:
    return [Unit(unit.address, Verb.SWEPT, None, unit.kind, 0) for unit in units]


def _size_of(units: Iterable[Unit]) -> int:
    return _FRAME + sum(unit.size for unit in units)


def _after(draft: _Draft, after: tuple[int, ...]) -> _Draft:
    return replace(draft, after=after) if after else draft
