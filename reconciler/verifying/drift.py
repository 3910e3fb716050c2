"""Whether the remote is as recorded, or as desired, now: values, and what decides for one resource.

Pure. Verification asks whether a push arrived; this asks whether anybody changed it since. What was accepted a
moment ago, or waits for a refresh of the security cache, is no drift: it is pending. What the read side does not
show (push-api.md 5.6) is counted, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.canonical import permanent_id
from reconciler.model.digestfield import digest_key
from reconciler.model.metadata import WELL_KNOWN
from reconciler.planning.fields import Field, Fields
from reconciler.state.rows import REJECTED, VERIFIED, RecordedRow
from reconciler.verifying.compare import (
    SeenRelations,
    aliases_apart,
    digest_shown,
    expected_values,
    judge_identity,
    judge_item,
    members_apart,
    moment,
    sent_between,
    well_knowns_apart,
)
from reconciler.verifying.findings import RESEND, Finding, Status, listed
from reconciler.verifying.refreshed import SeenCache, in_time
from reconciler.verifying.relations import Relations, declared, subject_of
from reconciler.verifying.seen import DISABLED, Levels, Ref, SeenIdentity, SeenItem, SeenModel, Who, log_moment
from reconciler.verifying.values import same_value

_SHOWN = 60
_LATER = 3_600_000  # milliseconds; a push is indexed within minutes as a rule (push-api.md 5.1)
# What a manifest says outside of the metadata, and the field that shows it.
_OWN_FIELDS = (("title", "title"), ("clickableUri", "clickableuri"))
_UNREADABLE = ("parent", "fileExtension")


class Standing(StrEnum):
    """How a resource stands to the remote. Drifted, missing and still there are drift, the rest is not.

    Hidden is what a search does not show and the index nevertheless has; still there is what was deleted.
    """

    SAME = "same"
    DRIFTED = "drifted"
    MISSING = "missing"
    STILL_THERE = "still-there"
    PENDING = "pending"
    HIDDEN = "hidden"


DRIFT = frozenset({Standing.DRIFTED, Standing.MISSING, Standing.STILL_THERE})


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """One field that differs: JSON values of both sides, None where there is none, and the same in words.

    Of lists the values hold only what the other side lacks.
    """

    field: str
    expected: Any
    shown: Any
    what: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A resource that is not plainly the same.

    `ordering_id` is that of the recorded push, 0 where there is none. `unverified` says that nobody has ever seen
    that push arrive, `marked` that the next plan sends it again, `unapplied` that the manifests say something else
    than the state.
    """

    address: Address
    standing: Standing
    ordering_id: int
    what: str = ""
    fields: tuple[FieldDrift, ...] = ()
    unverified: bool = False
    marked: bool = False
    unapplied: bool = False

    @property
    def summary(self) -> str:
        """All of it in words."""
        return "; ".join((*filter(None, (self.what,)), *(entry.what for entry in self.fields)))


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a source or provider holds and nobody asked for: how many, and the first of them by name.

    `place` is "source" or "provider". Of an `exclusive` one it is drift. `removed` says that the state has them and
    the manifests do not: the next apply deletes them.
    """

    place: str
    name: str
    count: int
    examples: tuple[str, ...]
    exclusive: bool
    removed: bool = False

    @property
    def is_drift(self) -> bool:
        """Whether it is more than something to know."""
        return self.exclusive or self.removed


@dataclass(slots=True)
class Unseen:
    """How much of what was compared the remote does not show; of items that are compared by their digest, nothing.

    `metadata` are values that no field shows for sure, `own` titles and addresses to click that no field shows,
    `models` items that declare no permissions, so that what the index shows is the source's own. `unhealthy` are
    resources that are the same and of which the remote says that it could not resolve or update them,
    `reindexed` items that were indexed again long after they were pushed: by a rebuild, or with another body.
    """

    bodies: int = 0
    metadata: int = 0
    own: int = 0
    parents: int = 0
    models: int = 0
    unhealthy: int = 0
    reindexed: int = 0


@dataclass(slots=True)
class Exactness:
    """How many of a source's items that carry a digest in this field were compared by it.

    The others are held by the index, and no field shows their digest for sure.
    """

    source: str
    field: str
    items: int = 0
    exact: int = 0


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found; `drifts` are sorted by address, and hold nothing that is plainly the same.

    `exactness` has the sources whose items carry a digest, by name and field.
    """

    checked: Counter[Kind]
    drifts: tuple[Drift, ...]
    foreign: tuple[Foreign, ...]
    unseen: Unseen
    notes: tuple[str, ...]
    exactness: tuple[Exactness, ...] = ()

    @property
    def total(self) -> int:
        """How many resources were compared."""
        return sum(self.checked.values())

    @property
    def drifted(self) -> bool:
        """Whether there is any drift."""
        return any(entry.standing in DRIFT for entry in self.drifts) or any(entry.is_drift for entry in self.foreign)

    def count(self, standing: Standing) -> int:
        """Return how many resources stand so."""
        if standing is Standing.SAME:
            return self.total - len(self.drifts)
        return sum(entry.standing is standing for entry in self.drifts)


@dataclass(frozen=True, slots=True)
class Times:
    """When it is now, and how long an accepted push may take to show, both in milliseconds."""

    now: int
    settle: int

    def recent(self, sent: int) -> bool:
        """Whether what was sent then may still be on its way."""
        return self.now - sent < self.settle


@dataclass(frozen=True, slots=True)
class Known:
    """What the organization shows, and what the manifests or the state use of it.

    `fields` is None where the fields could not be read. `keys` are the metadata keys in use, by source.
    """

    fields: Fields | None
    keys: Mapping[str, Collection[str]] = field(default_factory=dict)

    def names(self, source: str) -> tuple[str, ...]:
        """Return the fields to ask a search for."""
        if self.fields is None:
            return ()
        wanted = (*self.keys.get(source, ()), *(name for _, name in _OWN_FIELDS))
        return tuple(sorted({held.name for key in wanted if (held := self.fields.holder(source, key))}))

    def note_exact(self, row: RecordedRow, seen: SeenItem, found: dict[tuple[str, str], Exactness]) -> None:
        """Count an item that the index holds, by source and key, if it carries a digest."""
        key = digest_key(row.resource.own())
        if key is not None:
            place = (row.address.scope, key)
            entry = found.setdefault(place, Exactness(*place))
            entry.items += 1
            entry.exact += digest_shown(row, seen, self.fields) is not None


# -- items -----------------------------------------------------------------------------------------


def item_drift(
    row: RecordedRow, seen: SeenItem | None, model: SeenModel | None, recorded: Levels | None, known: Known
) -> Drift | None:
    """Return how an item differs from the index, None where it does not.

    `recorded` are the levels of its permission model, None when it has none.
    """
    finding = judge_item(row, seen, model, None)
    if seen is None:
        return Drift(row.address, Standing.MISSING, row.ordering_id, finding.what)
    parts = [*_own_drift(row, seen, known)]
    digest = digest_shown(row, seen, known.fields)
    if finding.code == "outdated" and not (digest and digest.same):
        indexed = moment(seen.indexed_at or 0)
        parts.insert(0, FieldDrift("version", moment(sent_between(row)[1]), indexed, finding.what))
    if recorded is not None:
        shown = model.levels if model else ()
        if shown != recorded:
            parts += permission_drift(recorded, shown)
    if digest is not None and not digest.same:
        # A version that did not arrive has another digest; whatever else differs is told beside it.
        hidden = "" if parts else "; the body, or something else that the index does not show, is not what was pushed"
        parts.append(FieldDrift("digest", digest.recorded, digest.shown, digest.what + hidden))
    return Drift(row.address, Standing.DRIFTED, row.ordering_id, fields=tuple(parts)) if parts else None


def _own_drift(row: RecordedRow, seen: SeenItem, known: Known) -> Iterator[FieldDrift]:
    source, own = row.address.scope, row.resource.own()
    metadata = own.get("metadata", {})
    stable = metadata.get("permanentid") or permanent_id(row.address.name)
    if seen.permanent_id is not None and seen.permanent_id != stable:
        yield _value_drift("metadata.permanentid", stable, seen.permanent_id)
    if known.fields is None or seen.values is None:
        return
    for name, (held, value) in sorted(visible_values(source, own, known.fields).items()):
        shown = seen.values.get(held.name)
        if not same_value(held, value, shown):
            yield _value_drift(name, value, shown)
    for key in sorted(set(known.keys.get(source, ())) - metadata.keys() - WELL_KNOWN - {digest_key(own)}):
        other = known.fields.holder(source, key)
        shown = seen.values.get(other.name) if other is not None else None
        if shown not in (None, "", []):
            yield _value_drift(f"metadata.{key}", None, shown)


def visible_values(source: str, own: Mapping[str, Any], fields: Fields) -> dict[str, tuple[Field, Any]]:
    """Return field and value of everything that a field shows for sure, by its name in a manifest."""
    metadata = own.get("metadata", {})
    out = {f"metadata.{key}": held for key, held in expected_values(source, metadata, fields).items()}
    for name, key in _OWN_FIELDS:
        holder = fields.holder(source, key) if name in own else None
        if holder is not None:
            out[name] = (holder, own[name])
    return out


def count_unseen(unseen: Unseen, row: RecordedRow, seen: SeenItem, fields: Fields | None) -> None:
    """Count what of an item that the index holds cannot be compared: nothing where its digest can."""
    if digest_shown(row, seen, fields) is not None:
        return
    own = row.resource.own()
    unseen.bodies += "body" in own
    unseen.parents += sum(name in own for name in _UNREADABLE)
    unseen.models += not row.shared
    shows = visible_values(row.address.scope, own, fields) if fields is not None and seen.values is not None else {}
    metadata = own.get("metadata", {}).keys() - {"permanentid"}
    unseen.metadata += sum(f"metadata.{key}" not in shows for key in metadata)
    unseen.reindexed += (
        row.ordering_id > 0
        and "indexeddate" not in metadata
        and seen.indexed_at is not None
        and seen.indexed_at - sent_between(row)[1] > _LATER
    )
    unseen.own += sum(name in own and name not in shows for name, _ in _OWN_FIELDS)


def _value_drift(name: str, expected: Any, shown: Any) -> FieldDrift:
    if expected is None:
        return FieldDrift(name, None, shown, f"{name} is {_text(shown)}, and was never given")
    return FieldDrift(
        name, expected, shown, f"{name} is {_text(shown) if shown is not None else 'gone'}, not {_text(expected)}"
    )


def _text(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def permission_drift(recorded: Levels, shown: Levels) -> list[FieldDrift]:
    """Return how shown permission levels differ from the recorded ones, which they do not equal."""
    out = []
    for number in range(max(len(recorded), len(shown))):
        before = recorded[number] if number < len(recorded) else frozenset()
        after = shown[number] if number < len(shown) else frozenset()
        if before == after:
            continue
        place = f"permissions.level {number + 1}"
        parts = []
        for word, side in (("allowed", 0), ("denied", 1)):
            wanted = frozenset(who for entry in before for who in (entry.allowed, entry.denied)[side])
            found = frozenset(who for entry in after for who in (entry.allowed, entry.denied)[side])
            parts += _set_drift(f"{place}.{word}", wanted - found, found - wanted)
        open_before, open_after = (any(entry.anonymous for entry in sets) for sets in (before, after))
        if open_before is not open_after:
            parts.append(_value_drift(f"{place}.anonymous", open_before, open_after))
        if not parts:
            parts.append(
                FieldDrift(place, len(before), len(after), f"{place} has the same identities in other permission sets")
            )
        out += parts
    return out


def _set_drift(name: str, lacking: Iterable[Who], extra: Iterable[Who]) -> list[FieldDrift]:
    gone, more = sorted(map(str, lacking)), sorted(map(str, extra))
    words = [f"lacks {listed(gone)}"] * bool(gone) + [f"also has {listed(more)}"] * bool(more)
    return [FieldDrift(name, gone, more, f"{name} {' and '.join(words)}")] if words else []


# -- identities ------------------------------------------------------------------------------------


def identity_drift(
    row: RecordedRow, seen: SeenIdentity | None, near: SeenRelations, relations: Relations, cache: SeenCache, ref: Ref
) -> tuple[Drift | None, bool]:
    """Return how an identity or alias differs from the security cache, None where it does not.

    Also whether the remote calls it unhealthy though it is the same. What the cache was not refreshed for since the
    push is pending, unless somebody saw that push arrive.
    """
    finding = judge_identity(row, seen, near, relations, ref)
    if row.verified != VERIFIED:
        finding = in_time(finding, sent_between(row)[0], seen, cache)
    if finding.status in (Status.VERIFIED, Status.UNRESOLVED):
        return None, finding.status is Status.UNRESOLVED
    if finding.status is Status.WAITING:
        return Drift(row.address, Standing.PENDING, row.ordering_id, finding.what), False
    fields = tuple(_identity_fields(row, seen, near, relations, ref)) if seen is not None else ()
    if finding.status is Status.MISSING:
        return Drift(row.address, Standing.MISSING, row.ordering_id, finding.what), False
    return Drift(row.address, Standing.DRIFTED, row.ordering_id, fields=fields), False


def _identity_fields(
    row: RecordedRow, seen: SeenIdentity, near: SeenRelations, relations: Relations, ref: Ref
) -> Iterator[FieldDrift]:
    if seen.state == DISABLED:
        yield FieldDrift("state", "enabled", "disabled", "it is disabled")
    subject = subject_of(row.address, ref)
    members, mappings, well_knowns = declared(row, ref)
    if row.address.kind in GROUP_KINDS:
        yield from _set_drift("members", *members_apart(subject, members, near, relations))
    if row.address.kind is Kind.ALIAS:
        yield from _set_drift("is", *aliases_apart(subject, mappings, near, relations))
    yield from _set_drift("wellKnowns", *well_knowns_apart(subject, well_knowns, near, relations))


# -- what is pending -------------------------------------------------------------------------------


def settled(drift: Drift, row: RecordedRow, times: Times, doubtful: Collection[str], *, unapplied: bool) -> Drift:
    """Return a drift in the light of what the state knows: pending where an apply or the remote is not done with it.

    `doubtful` are the addresses whose last call has an unknown outcome.
    """
    marked = row.verified == REJECTED and row.verified_detail.startswith(RESEND)
    drift = replace(drift, unverified=row.verified is None, marked=marked, unapplied=unapplied)
    if drift.standing is Standing.PENDING:
        return drift
    reason = ""
    sent = log_moment(row.accepted_at) or sent_between(row)[1]
    if row.address in doubtful:
        reason = "the outcome of its last call is not known, and the next plan sends it again"
    elif row.verified == REJECTED and not marked:
        reason = f"the remote rejected it, and the next plan sends it again: {row.verified_detail}"
    elif row.verified is None and row.ordering_id and times.recent(sent):
        reason = f"accepted at {moment(sent)}, and nobody has seen it arrive yet"
    return replace(drift, standing=Standing.PENDING, what=reason) if reason else drift


def deleted(finding: Finding, sent: int, times: Times) -> Drift | None:
    """Return how a resource stands that was deleted at `sent`, None when it is gone."""
    if finding.status is Status.VERIFIED:
        return None
    pending = finding.status is Status.WAITING or times.recent(sent)
    what = f"{finding.what}; its deletion was accepted at {moment(sent)}" if sent else finding.what
    return Drift(finding.address, Standing.PENDING if pending else Standing.STILL_THERE, 0, what)
