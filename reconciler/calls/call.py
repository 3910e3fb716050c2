"""One Push API call as data: what is sent where, and which resources it settles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.address import Address


class CallKind(StrEnum):
    """The calls that we make (push-api.md 2.1 and 2.3)."""

    ITEM_PUT = "item-put"
    ITEM_DELETE = "item-delete"
    ITEM_BATCH = "item-batch"
    IDENTITY_PUT = "identity-put"
    IDENTITY_DELETE = "identity-delete"
    MAPPING_PUT = "mapping-put"
    IDENTITY_BATCH = "identity-batch"


class Verb(StrEnum):
    """What a call does to one resource."""

    PUT = "put"
    DELETE = "delete"
    WITHDRAW = "withdraw"
    """Of a user: what was declared of them is taken back, and the person stays. Deleting would disable the
    identity (push-api.md 5.3), and lock out whom an alias, a group or an item still names."""


@dataclass(frozen=True, slots=True)
class Covered:
    """One resource that a call settles."""

    address: Address
    verb: Verb


@dataclass(frozen=True, slots=True)
class Call:
    """One logical call: a single request, or a container, its upload and the batch that names it.

    `number` counts from 1 over the whole plan. `path` is relative to the Push API base and already
    percent-encoded; `query` holds decoded pairs, without `orderingId` and `fileId`, which are
    chosen when it is sent. `size` is the payload in bytes, an upper bound that is the same on every
    machine (`calls.wire.body_bound`): exact but for the content of bodies, which are escaped or
    compressed while they are sent, and for the few bytes around a batch's entries.
    """

    number: int
    kind: CallKind
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    scope: str
    covers: tuple[Covered, ...]
    size: int

    @property
    def is_batch(self) -> bool:
        """Whether the payload travels in a file container."""
        return self.kind in (CallKind.ITEM_BATCH, CallKind.IDENTITY_BATCH)

    @property
    def api_calls(self) -> int:
        """How many calls the API counts: the upload to storage is none (push-api.md 4.2)."""
        return 2 if self.is_batch else 1

    @property
    def requests(self) -> int:
        """How many HTTP requests travel, the upload included."""
        return 3 if self.is_batch else 1


@dataclass(frozen=True, slots=True)
class Stage:
    """Calls that may run once every call of the stage before is accepted.

    Calls of one scope run in the order of their numbers; those of different scopes are independent.
    """

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The calls of a plan by stage, and the addresses that change in the state alone, sorted."""

    stages: tuple[Stage, ...] = ()
    state_only: tuple[Address, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls, in order."""
        return tuple(call for stage in self.stages for call in stage.calls)

    @property
    def api_calls(self) -> int:
        """How many calls the API counts."""
        return sum(call.api_calls for call in self.calls)

    @property
    def requests(self) -> int:
        """How many HTTP requests travel, uploads included."""
        return sum(call.requests for call in self.calls)

    @property
    def size(self) -> int:
        """An upper bound of the bytes of all payloads."""
        return sum(call.size for call in self.calls)
