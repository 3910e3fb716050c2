"""One resource's change: what it was, what it will be, and why.

Fields are worked out only when somebody looks: a plan of a hundred thousand creates never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.model.address import Address, Kind
from reconciler.model.states import Resource

IDENTITY_LISTS = frozenset({"members", "mappings", "wellKnowns"})
"""The fields that list identities."""

ACCESS_FIELDS = IDENTITY_LISTS | {"permissions"}
"""The fields that decide who sees what."""

FORGOTTEN = "forgotten"
"""The reason of a deletion from the state alone: what is at the remote stays, and is no longer managed here."""


class Action(StrEnum):
    """What happens to an address."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One address with what is recorded (`before`) and what is desired (`after`).

    `before` is None for a create, `after` for a delete. `reason` is a stable word that says why:
    `new`, `changed`, `removed`, `moved`, `unconfirmed` (an earlier call's outcome is unknown, so it
    is sent again), `rejected` (the remote accepted the last push and dropped it later), `resent` (it is
    sent again because somebody asked for it), `drifted` (`drift` saw that the remote holds something
    else), `forgotten` (the state alone lets go of it) or `destroy`.
    `moved_from` is set on the create and `moved_to` on the delete of a declared rename.
    """

    address: Address
    action: Action
    reason: str
    before: Resource | None = None
    after: Resource | None = None
    moved_from: Address | None = None
    moved_to: Address | None = None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's old and new value; None means that it was or will be absent.

    `path` is `("title",)`, `("metadata", "author")`, `("body",)`, `("permissions",)`,
    `("members",)`, `("mappings",)`, `("wellKnowns",)`, ...
    """

    path: tuple[str, ...]
    before: Any
    after: Any


def field_changes(change: Change) -> tuple[FieldChange, ...]:
    """Return the fields in which `before` and `after` differ, sorted by path."""
    before = dict(_fields(change.before))
    after = dict(_fields(change.after))
    return tuple(
        FieldChange(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if not _alike(before.get(path), after.get(path))
    )


def _alike(before: Any, after: Any) -> bool:
    """Whether two values are the same as JSON, where `true`, `1` and `1.0` are three."""
    return bool(before == after) and (isinstance(before, (str, dict)) or repr(before) == repr(after))


def touches_access(change: Change, fields: Sequence[FieldChange] | None = None) -> bool:
    """Whether a change can alter who sees what.

    It does when anything comes or goes, and when permissions, members, mappings or well-knowns differ. A user of
    whom nothing is said counts, too: being declared resolves the name where a model allows or denies it
    (push-api.md 3.6). `fields` are the change's own, when the caller has them.
    """
    if change.action is not Action.UPDATE:
        return change.reason != FORGOTTEN
    if fields is not None:
        return any(entry.path[0] in ACCESS_FIELDS for entry in fields)
    before, after = change.before, change.after
    if before is None or after is None or before.shared != after.shared:
        return True
    return change.address.kind is not Kind.ITEM and any(
        entry.path[0] in ACCESS_FIELDS for entry in field_changes(change)
    )


def _fields(resource: Resource | None) -> Iterator[tuple[tuple[str, ...], Any]]:
    if resource is None:
        return
    for key, value in resource.own().items():
        if key == "metadata":
            for name, entry in value.items():
                yield ("metadata", name), entry
        else:
            yield (key,), value
    shared = resource.shared_doc()
    if shared is None:
        return
    if resource.address.kind is Kind.ITEM:
        yield ("permissions",), shared
    else:
        for key, value in shared.items():
            yield (key,), value
