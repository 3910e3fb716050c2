"""One Push API call as data: what is sent where, and which resources it settles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.calls.quotas import UNLIMITED, Allowance, Estimate, Usage, estimate
from reconciler.model.address import Address, Kind
from reconciler.model.states import Resource


class CallKind(StrEnum):
    """The calls that we make (push-api.md 2.1, 2.3 and 2.5)."""

    ITEM_PUT = "item-put"
    ITEM_DELETE = "item-delete"
    ITEM_BATCH = "item-batch"
    ITEM_OLDER_THAN = "item-older-than"
    IDENTITY_PUT = "identity-put"
    IDENTITY_DELETE = "identity-delete"
    MAPPING_PUT = "mapping-put"
    IDENTITY_BATCH = "identity-batch"
    IDENTITY_OLDER_THAN = "identity-older-than"
    STREAM_LOAD = "stream-load"
    STREAM_UPDATE = "stream-update"


BATCHES = frozenset({CallKind.ITEM_BATCH, CallKind.IDENTITY_BATCH, CallKind.STREAM_UPDATE})
"""The kinds whose payload travels in one file container that the call then names."""

STREAMS = frozenset({CallKind.STREAM_LOAD, CallKind.STREAM_UPDATE})
"""The kinds that take no ordering id of ours and answer with one of their own (push-api.md 2.5)."""

IDENTITY_CALLS = frozenset(
    {
        CallKind.IDENTITY_PUT,
        CallKind.IDENTITY_DELETE,
        CallKind.MAPPING_PUT,
        CallKind.IDENTITY_BATCH,
        CallKind.IDENTITY_OLDER_THAN,
    }
)
"""The kinds that change identities of a provider: they hold once its security cache is refreshed (push-api.md 5.1)."""

OLDER_THAN = frozenset({CallKind.ITEM_OLDER_THAN, CallKind.IDENTITY_OLDER_THAN})
"""The kinds that remove whatever was last pushed under a lower ordering id than theirs (push-api.md 5.4)."""


class Verb(StrEnum):
    """What a call does to one resource."""

    PUT = "put"
    DELETE = "delete"
    WITHDRAW = "withdraw"
    """Of a user: what was declared of them is taken back, and the person stays. Deleting would disable the
    identity (push-api.md 5.3), and lock out whom an alias, a group or an item still names."""
    PATCH = "patch"
    """Of a catalog item: only the fields that changed are sent (push-api.md 2.5)."""
    DELETE_TREE = "delete-tree"
    """Of an item: it goes together with every item whose uri begins with its own and a slash (push-api.md 2.1)."""
    SWEPT = "swept"
    """Deleted by what the same call does to others: nothing is written of this one."""
    TIGHTEN = "tighten"
    """Put for the time being so that fewer see it, until a later call of the same plan puts it as it is to be
    (`calls.safely`)."""


WHOLE = frozenset({Verb.PUT, Verb.TIGHTEN})
"""The verbs that put a resource whole."""

REMOVALS = frozenset({Verb.DELETE, Verb.DELETE_TREE, Verb.SWEPT})
"""The verbs after which the resource is gone."""


@dataclass(frozen=True, slots=True)
class Covered:
    """One resource that a call settles; `fields` are those that a patch sets, sorted."""

    address: Address
    verb: Verb
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One logical call: a single request, or containers, their uploads and the request that names them.

    `number` counts from 1 over the whole plan. `path` is relative to the Push API base and already
    percent-encoded; `query` holds decoded pairs, without `orderingId` and `fileId`, which are
    chosen when it is sent. `size` is the payload in bytes, an upper bound that is the same on every
    machine (`calls.wire.body_bound`): exact but for the content of bodies, which are escaped or
    compressed while they are sent, and for the few bytes around a batch's entries.

    `after` are the numbers of those calls of the same stage that must be accepted first. `containers`
    counts the covered bodies that are too large to stand in the payload and travel in a file container
    each. `chunks` says, for a load (push-api.md 2.5), how many of `covers` each of its containers holds.
    """

    number: int
    kind: CallKind
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    scope: str
    covers: tuple[Covered, ...]
    size: int
    after: tuple[int, ...] = ()
    containers: int = 0
    chunks: tuple[int, ...] = ()

    @property
    def is_batch(self) -> bool:
        """Whether the payload travels in a file container that the call then names."""
        return self.kind in BATCHES

    @property
    def api_calls(self) -> int:
        """How many calls the API counts: an upload to storage is none (push-api.md 4.2)."""
        if self.kind is CallKind.STREAM_LOAD:
            # Opening, a request for every further container, closing.
            return 1 + len(self.chunks)
        return (2 if self.is_batch else 1) + self.containers

    @property
    def uploads(self) -> int:
        """How many uploads to storage belong to it."""
        if self.kind is CallKind.STREAM_LOAD:
            return len(self.chunks)
        return (1 if self.is_batch else 0) + self.containers

    @property
    def requests(self) -> int:
        """How many HTTP requests travel, uploads included."""
        return self.api_calls + self.uploads


@dataclass(frozen=True, slots=True)
class Stage:
    """Calls that may run once every call of the stage before is accepted.

    Within a stage calls are independent but for what `Call.after` says.
    """

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What the remote is told of a source's activity while a run lasts (push-api.md 5.5).

    `status` is REBUILD when everything of the source is sent, REFRESH when all of it was compared, and
    INCREMENTAL when the plan was narrowed; IDLE follows when the run ends. `path` as in `Call`.
    """

    source: str
    status: str
    path: str


@dataclass(frozen=True, slots=True)
class Transient:
    """Items that people see for some time of a run who could not see them before and may not see them after.

    It begins when call `since` is accepted (0: from the start) and ends with call `until`. `items` counts those
    of `source`, `people` those who see them; `examples` and `identities` are the first of each. `public` says
    that whoever did not log in sees them as well.
    """

    since: int
    until: int
    source: str
    items: int
    examples: tuple[str, ...]
    people: int
    identities: tuple[str, ...]
    public: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What keeping every moment of a run safe took (`calls.safely`).

    `checked` says whether that was looked at, `extra_calls` how many more calls the API counts than the fewest
    would be, `transients` what no order of these calls avoids.
    """

    checked: bool = False
    extra_calls: int = 0
    transients: tuple[Transient, ...] = ()


@dataclass(frozen=True, slots=True)
class Wave:
    """Changes that are settled before any change of the next wave begins.

    `tightened` are resources to put for the time being. With `together`, what can be one call is one, so that
    nothing can be seen between its parts.
    """

    addresses: frozenset[str] = frozenset()
    tightened: tuple[Resource, ...] = ()
    together: bool = False


@dataclass(frozen=True, slots=True)
class IdentityEffect:
    """Identities of one provider that calls change, which comes to hold at the provider's next refresh.

    `changes` counts the identities and aliases, `refresh_every` are the seconds between two refreshes, None when the
    project does not say.
    """

    provider: str
    calls: int
    changes: int
    refresh_every: int | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """The calls of a plan by stage, the addresses that change in the state alone, sorted, and what sources are told.

    `allowed` is what the remote takes of calls and items a day and at once. `tightened` are the resources that calls
    put for the time being (`Verb.TIGHTEN`), sorted by address, `order` what making the order safe took.

    `effects` say of each provider whose identities change when that takes effect.
    """

    stages: tuple[Stage, ...] = ()
    state_only: tuple[Address, ...] = ()
    statuses: tuple[SourceStatus, ...] = ()
    allowed: Allowance = UNLIMITED
    tightened: tuple[Resource, ...] = ()
    order: Order = Order()
    effects: tuple[IdentityEffect, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls, in order."""
        return tuple(call for stage in self.stages for call in stage.calls)

    @property
    def api_calls(self) -> int:
        """How many calls the API counts, those that tell the activity of sources included."""
        return sum(call.api_calls for call in self.calls) + 2 * len(self.statuses)

    @property
    def requests(self) -> int:
        """How many HTTP requests travel, uploads included."""
        return sum(call.requests for call in self.calls) + 2 * len(self.statuses)

    @property
    def size(self) -> int:
        """An upper bound of the bytes of all payloads."""
        return sum(call.size for call in self.calls)

    @property
    def items(self) -> int:
        """How many items the API processes: those that are named, not those that go with others."""
        named = (covered for call in self.calls for covered in call.covers if covered.verb is not Verb.SWEPT)
        return sum(covered.address.kind is Kind.ITEM for covered in named)

    def estimate(self, used: Usage | None = None) -> Estimate:
        """Return what all calls take of what is allowed, after what was used within the last 24 hours."""
        return estimate(self.allowed, calls=self.api_calls, items=self.items, size=self.size, used=used)
