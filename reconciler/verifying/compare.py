"""From a recorded row and what a read showed to a finding.

Pure, and the only place that decides what "arrived" means. What cannot be told is not guessed: body
and metadata of an item are visible to nobody (push-api.md 5.6), so the date of its indexing stands
for them; where that is not shown, `Finding.arrived` is None and the log has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.canonical import permanent_id
from reconciler.model.digestfield import carried_digest, carried_metadata
from reconciler.planning.fields import Field, Fields
from reconciler.state.rows import RecordedRow
from reconciler.verifying.findings import Finding, Status, listed, rejected
from reconciler.verifying.relations import GROUP_TYPES, Relations, declared, subject_of
from reconciler.verifying.seen import (
    DISABLED,
    NOT_UPDATED,
    Levels,
    Ref,
    SeenIdentity,
    SeenItem,
    SeenModel,
    Who,
    log_moment,
)
from reconciler.verifying.values import differences

_HEALTHY = ("", "VALID")
_NOTHING: tuple[Any, ...] = (None, "", [])
_NOT_COMPARED = frozenset({"permanentid", "source", "uri"})
_LONGEST_CALL = 600_000  # milliseconds, retries included


@dataclass(frozen=True, slots=True)
class SeenRelations:
    """The neighbours of an identity in the security cache: who is in it, and what it is in or the same as."""

    children: tuple[SeenIdentity, ...] = ()
    parents: tuple[SeenIdentity, ...] = ()


# -- items -----------------------------------------------------------------------------------------


def judge_item(
    row: RecordedRow,
    seen: SeenItem | None,
    model: SeenModel | None,
    recorded: Levels | None,
    fields: Fields | None = None,
) -> Finding:
    """Return the finding of an item.

    `recorded` are the levels of the row's permission model, None when it has none: then what the
    index shows is the source's own and is not looked at. `fields` are those of the organization, as far
    as they are known: then the metadata that a field shows is compared. A digest that is the recorded one says that
    the index holds what was pushed, whenever it was indexed.
    """
    earliest, latest = sent_between(row)
    good = Finding(row.address, Status.VERIFIED, row.ordering_id, arrived=False, sent=earliest)
    if seen is None:
        return _not(good, Status.MISSING, "not-indexed", "the index does not hold the item")
    metadata = carried_metadata(row.resource)
    exact = digest_shown(row, seen, fields)
    same = exact is not None and exact.same
    if not same and "indexeddate" not in metadata and seen.indexed_at and is_before(seen.indexed_at, earliest):
        what = f"the index holds the version of {moment(seen.indexed_at)}, not the one pushed at {moment(latest)}"
        return _not(good, Status.MISSING, "outdated", what)
    dated = "indexeddate" not in metadata and seen.indexed_at is not None and not is_before(seen.indexed_at, latest)
    good = replace(good, arrived=True if dated or same else None)
    expected = metadata.get("permanentid") or permanent_id(row.address.name)
    if seen.permanent_id is not None and seen.permanent_id != expected:
        what = f'the field permanentid is "{seen.permanent_id[:80]}", not "{str(expected)[:80]}"'
        return _not(good, Status.DIFFERENT, "fields-differ", what)
    if fields is not None and seen.values is not None:
        expected = expected_values(row.address.scope, metadata, fields)
        if exact is not None:
            del expected[exact.key]
        parts = differences(expected, seen.values)
        if exact is not None and not exact.same:
            parts.append(f"other content than was pushed: {exact.what}")
        if parts:
            rest = len(parts) - 1
            more = f"; {rest} more field{'s differ' if rest > 1 else ' differs'}" if rest else ""
            return _not(good, Status.DIFFERENT, "fields-differ", f"the index shows {parts[0]}{more}")
    if recorded is None:
        return good
    if model is None or model.levels != recorded:
        what = "the index shows " + (difference(recorded, model.levels) if model else "no permissions of it")
        return _not(good, Status.DIFFERENT, "permissions-differ", what)
    if model.state not in _HEALTHY:
        named = listed(f"{who} is {state}" for who, state in model.unresolved)
        what = f"its permissions arrived, but are {model.state}" + (f": {named}" if named else "")
        found = _not(good, Status.UNRESOLVED, "identities-unresolved", what)
        return replace(found, unresolved=tuple(who for who, _ in model.unresolved))
    return good


@dataclass(frozen=True, slots=True)
class Digest:
    """An item's digest: the metadata key, what was recorded, and what the field shows (None: nothing)."""

    key: str
    field: str
    recorded: str
    shown: Any

    @property
    def same(self) -> bool:
        """Whether the index holds exactly what was pushed."""
        return bool(self.shown == self.recorded)

    @property
    def what(self) -> str:
        """How the shown digest differs, in words."""
        found = "gone" if self.shown in _NOTHING else f'"{str(self.shown)[:40]}"'
        return f'the digest in the field "{self.field}" is {found}, not "{self.recorded}"'


def digest_shown(row: RecordedRow, seen: SeenItem, fields: Fields | None) -> Digest | None:
    """Return the digest that the index shows of an item, None where the item carries none or no field shows it."""
    carried = carried_digest(row.resource) if fields is not None and seen.values is not None else None
    if carried is None or fields is None or seen.values is None:
        return None
    field = fields.holder(row.address.scope, carried[0])
    if field is None or field.type != "STRING":
        return None
    return Digest(carried[0], field.name, carried[1], seen.values.get(field.name))


def expected_values(source: str, metadata: Mapping[str, Any], fields: Fields) -> dict[str, tuple[Field, Any]]:
    """Return field and value of each metadata key that a field shows for sure.

    What the pipeline sets itself and what is compared elsewhere is left out.
    """
    out = {}
    for key, value in metadata.items():
        field = None if key in _NOT_COMPARED else fields.holder(source, key)
        if field is not None:
            out[key] = (field, value)
    return out


def _not(good: Finding, status: Status, code: str, what: str) -> Finding:
    return replace(good, status=status, code=code, what=what)


def sent_between(row: RecordedRow) -> tuple[int, int]:
    """Return the earliest and the latest time at which the row's push was sent.

    An ordering id is the time of the push, unless it had to be above an older one that was ahead of
    the clock; then the time of acceptance tells it roughly. One of 0 was never sent.
    """
    accepted = log_moment(row.accepted_at)
    if accepted is None or row.ordering_id <= accepted:
        return row.ordering_id, row.ordering_id
    return accepted - _LONGEST_CALL, accepted


def is_before(date: int, moment: int) -> bool:
    """Whether a date that the remote shows is before a moment of ours, both in epoch milliseconds."""
    # A date that is a whole second may have lost its milliseconds on the way.
    return date + (999 if date % 1000 == 0 else 0) < moment


def difference(recorded: Levels, shown: Levels) -> str:
    """Return how shown permissions differ from the recorded ones, in words."""
    if len(recorded) != len(shown):
        return f"{len(shown)} permission levels in place of {len(recorded)}"
    for number, (before, after) in enumerate(zip(recorded, shown, strict=True), 1):
        if before == after:
            continue
        parts = []
        for word, side in (("allowed", 0), ("denied", 1)):
            wanted: set[Who] = {who for entry in before for who in (entry.allowed, entry.denied)[side]}
            found: set[Who] = {who for entry in after for who in (entry.allowed, entry.denied)[side]}
            parts += _lacks_and_has(wanted, found, word)
        if any(entry.anonymous for entry in before) != any(entry.anonymous for entry in after):
            parts.append("anonymous people " + ("allowed" if any(entry.anonymous for entry in after) else "shut out"))
        return f"level {number} with " + ("; ".join(parts) or "its identities in other sets")
    return "the same permissions"


def _lacks_and_has(wanted: Collection[Who], found: Collection[Who], word: str) -> list[str]:
    parts = []
    if lacking := set(wanted) - set(found):
        parts.append(f"not {word} {listed(lacking)}")
    if extra := set(found) - set(wanted):
        parts.append(f"also {word} {listed(extra)}")
    return parts


def moment(milliseconds: int) -> str:
    """Return a time in epoch milliseconds as people read it, or the number where it is no time."""
    try:
        found = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- identities ------------------------------------------------------------------------------------


def judge_identity(
    row: RecordedRow, seen: SeenIdentity | None, near: SeenRelations, relations: Relations, ref: Ref
) -> Finding:
    """Return the finding of a group, virtual group, user or alias."""

    def finding(status: Status, code: str = "", what: str = "") -> Finding:
        return Finding(row.address, status, row.ordering_id, code, what)

    if seen is None:
        return finding(Status.MISSING, "not-in-cache", "the security cache does not list the identity")
    if seen.state == NOT_UPDATED:
        what = "the security cache knows the identity by name only: it was never resolved"
        return finding(Status.MISSING, "not-in-cache", what)
    if seen.state == DISABLED:
        return finding(Status.DIFFERENT, "identity-disabled", "the security cache lists the identity as disabled")
    subject = subject_of(row.address, ref)
    members, mappings, well_knowns = declared(row, ref)
    if row.address.kind in GROUP_KINDS and (parts := _members(subject, members, near, relations)):
        return finding(Status.DIFFERENT, "members-differ", "in the security cache the group has " + "; ".join(parts))
    if row.address.kind is Kind.ALIAS:
        shown = _shown_aliases(subject, near)
        if mappings and not mappings & shown:
            return finding(Status.MISSING, "not-in-cache", f"the security cache does not show it as {listed(mappings)}")
        if parts := _aliases(subject, mappings, near, relations):
            what = "the security cache shows it " + "; ".join(parts)
            return finding(Status.DIFFERENT, "mappings-differ", what)
    if parts := _well_knowns(subject, well_knowns, near, relations):
        return finding(Status.DIFFERENT, "well-knowns-differ", "in the security cache it is " + "; ".join(parts))
    if seen.state in ("IN_ERROR", "OUT_OF_DATE"):
        said = f": {seen.error}" if seen.error else ""
        return finding(Status.UNRESOLVED, "identity-unhealthy", f"the security cache calls it {seen.state}{said}")
    return finding(Status.VERIFIED)


def members_apart(
    subject: Who, members: frozenset[Who], near: SeenRelations, relations: Relations
) -> tuple[frozenset[Who], frozenset[Who]]:
    """Return the members that a group lacks in the security cache, and those that nobody recorded."""
    lacking = members - {entry.who for entry in near.children}
    # A disabled identity stays related and grants nothing (push-api.md 5.3).
    live = {entry.who for entry in near.children if entry.state != DISABLED}
    return lacking, frozenset(live - members - relations.inside.get(subject, set()))


def _members(subject: Who, members: frozenset[Who], near: SeenRelations, relations: Relations) -> list[str]:
    lacking, extra = members_apart(subject, members, near, relations)
    parts = [f"not the member {listed(lacking)}"] if lacking else []
    return [*parts, f"also the member {listed(extra)}"] if extra else parts


def _shown_aliases(subject: Who, near: SeenRelations) -> frozenset[Who]:
    entries = near.children if subject.type in GROUP_TYPES else near.parents
    return frozenset(entry.who for entry in entries)


def aliases_apart(
    subject: Who, mappings: frozenset[Who], near: SeenRelations, relations: Relations
) -> tuple[frozenset[Who], frozenset[Who]]:
    """Return who an identity is not shown as in the security cache, and as whom it is that nobody recorded."""
    shown = _shown_aliases(subject, near)
    known = relations.inside if subject.type in GROUP_TYPES else relations.same
    # What a user is in is no alias of theirs; what is in a group is told apart by nothing but the state.
    shown_people = {who for who in shown if subject.type in GROUP_TYPES or who.type not in GROUP_TYPES}
    return mappings - shown, frozenset(shown_people - mappings - known.get(subject, set()))


def _aliases(subject: Who, mappings: frozenset[Who], near: SeenRelations, relations: Relations) -> list[str]:
    lacking, extra = aliases_apart(subject, mappings, near, relations)
    parts = [f"not as {listed(lacking)}"] if lacking else []
    return [*parts, f"also as {listed(extra)}"] if extra else parts


def well_knowns_apart(
    subject: Who, well_knowns: frozenset[Who], near: SeenRelations, relations: Relations
) -> tuple[frozenset[Who], frozenset[Who]]:
    """Return the groups that an identity is not in, in the security cache, and those that nobody put it in."""
    shown = frozenset(entry.who for entry in near.parents)
    # Groups of others are not ours to judge, and one that is looked at itself says what is wrong with it.
    ours = (shown & relations.groups) - relations.scope
    return well_knowns - shown, ours - relations.around.get(subject, set())


def _well_knowns(subject: Who, well_knowns: frozenset[Who], near: SeenRelations, relations: Relations) -> list[str]:
    lacking, extra = well_knowns_apart(subject, well_knowns, near, relations)
    parts = [f"not in {listed(lacking)}"] if lacking else []
    return [*parts, f"also in {listed(extra)}"] if extra else parts


# -- deletions and logs ----------------------------------------------------------------------------


def judge_deleted_item(address: Address, sent: int, seen: SeenItem | None) -> Finding:
    """Return the finding of an item whose deletion was sent at this time, in epoch milliseconds."""
    gone = Finding(address, Status.VERIFIED, 0, arrived=True, sent=sent, deletion=True)
    return gone if seen is None else _still_there(gone, "the item was deleted, and the index still holds it")


def judge_deleted_identity(
    address: Address, seen: SeenIdentity | None, near: SeenRelations, relations: Relations, ref: Ref
) -> Finding:
    """Return the finding of an identity or alias that was deleted: gone, or listed as disabled."""
    gone = Finding(address, Status.VERIFIED, 0, arrived=True, deletion=True)
    if seen is None or seen.state in (DISABLED, NOT_UPDATED):
        return gone
    if address.kind is not Kind.ALIAS:
        return _still_there(gone, f"the identity was deleted, and the security cache still lists it as {seen.state}")
    subject = subject_of(address, ref)
    if parts := _aliases(subject, frozenset(), near, relations):
        return _still_there(gone, "the alias was deleted, and the security cache still shows it " + "; ".join(parts))
    return gone


def _still_there(gone: Finding, what: str) -> Finding:
    return replace(gone, status=Status.DIFFERENT, code="still-there", what=what, arrived=False)


def with_log(finding: Finding, drop: str) -> Finding:
    """Return the finding in the light of a log entry that says why the push was dropped (empty: none does).

    A push that has visibly arrived was not dropped: then the entry is about somebody else's.
    """
    return rejected(finding, drop) if drop and finding.arrived is not True else finding
