"""The JSON Schema of the plan document (`rendering.jsondoc`), made from models of it.

Only for publishing and for tests: pydantic is imported with this module, so nothing on the way of a
plan imports it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PLAN_SCHEMA_ID = "plan.json"
INSTANT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"


class _Model(BaseModel):
    # A later minor version may add keys, and a reader ignores them: so does the schema.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class StateDocument(_Model):
    """The recorded state that the plan was made from."""

    lineage: str
    """Identity of the state's history; empty when there was no state yet."""
    serial: int = Field(ge=0)
    """The state's version number."""


class SummaryDocument(_Model):
    """How many resources are created, updated, deleted and left as they are."""

    create: int = Field(ge=0)
    update: int = Field(ge=0)
    delete: int = Field(ge=0)
    no_op: int = Field(ge=0)


class ResourceDocument(_Model):
    """A resource in canonical form."""

    doc: dict[str, Any]
    """Its own document. A body stands in it as encoding, size and SHA-256, never as text."""
    shared: dict[str, Any] | None
    """What it shares with others: the permission model of an item, the well-knowns of an identity."""


class FieldDocument(_Model):
    """One field's old and new value; null means absent."""

    path: list[str] = Field(min_length=1)
    before: Any
    after: Any


class ChangeDocument(_Model):
    """What happens to one resource, and why."""

    address: str = Field(pattern="^[a-z-]+/[^/]*/")
    """`kind/scope/name`."""
    kind: Literal["item", "group", "virtual-group", "user", "alias"]
    scope: str
    """The project's name of the source (items) or of the provider (all others)."""
    name: str
    action: Literal["create", "update", "delete"]
    reason: str
    """A stable word: new, changed, removed, moved, unconfirmed, rejected, resent, drifted, forgotten, destroy."""
    fields: list[FieldDocument]
    before: ResourceDocument | None
    """What is recorded; null for a create."""
    after: ResourceDocument | None
    """What is desired; null for a delete."""
    moved_from: str | None = None
    """On the create of a declared rename: the address it had."""
    moved_to: str | None = None
    """On the delete of a declared rename: the address it gets."""


class CoverDocument(_Model):
    """One resource that a call settles."""

    address: str
    verb: Literal["put", "patch", "delete", "delete-tree", "swept", "withdraw", "tighten"]
    fields: list[str] | None = None
    """Of a patch: the fields that are set."""


class CallDocument(_Model):
    """One call to the Push API; a batch is a container, its upload and the call that names it."""

    number: int = Field(ge=1)
    stage: str
    """Calls of a stage run once all calls of the stage before are accepted."""
    stage_number: int = Field(ge=1)
    kind: str
    method: Literal["PUT", "POST", "DELETE"]
    path: str
    """Relative to the Push API, percent-encoded."""
    query: list[tuple[str, str]]
    """Decoded names and values, without orderingId and fileId, which are chosen when it is sent."""
    scope: str
    size: int = Field(ge=0)
    """Bytes of the payload, an upper bound."""
    api_calls: int = Field(ge=1)
    """How many calls the API counts."""
    requests: int = Field(ge=1)
    """How many HTTP requests travel, uploads included."""
    after: list[int]
    """Numbers of calls of the same stage that must be accepted first."""
    containers: int = Field(ge=0)
    """How many large bodies travel in a file container of their own."""
    chunks: list[int]
    """Of a full load: how many of `covers` each container holds."""
    covers: list[CoverDocument]


class SourceStatusDocument(_Model):
    """What a source's activity is said to be while the plan is applied; IDLE follows."""

    source: str
    status: Literal["REBUILD", "REFRESH", "INCREMENTAL"]
    path: str


class QuotaDocument(_Model):
    """What the calls take of what the remote allows; null is no limit."""

    calls: int = Field(ge=0)
    """API calls, those of `statuses` included."""
    items: int = Field(ge=0)
    bytes: int = Field(ge=0)
    seconds: float = Field(ge=0)
    """What the allowed pace makes the calls last at least."""
    calls_per_day: int | None
    burst_calls: int | None
    """The most calls within `burst_seconds`."""
    burst_seconds: int
    items_per_day: int | None


class ShiftDocument(_Model):
    """Items of one source that the same people gain or lose sight of."""

    kind: Literal["created", "deleted", "edited", "affected"]
    source: str
    items: int = Field(ge=0)
    examples: list[str]
    people: int = Field(ge=0)
    """Persons; aliases of one another count once."""
    public: bool = False
    """Whether everybody gains or loses sight of them, also whoever did not log in."""
    domains: list[str] = []
    """Patterns (`*@domain`) of which everybody gains or loses sight, also those of whom nothing else is known."""
    persons: list[str] = []
    """An identity for each of the first few persons."""
    identities: list[str]
    """Each identity of the people; the first ones where the document is not complete."""
    because: list[str]
    """Addresses of the changed identities behind it; none when the items come, go or change themselves."""
    more_causes: int = Field(default=0, ge=0)
    """How many more there are behind it."""


class ExposureTotalsDocument(_Model):
    """Pairs of a person and an item, persons, and items."""

    pairs_gained: int = Field(ge=0)
    pairs_lost: int = Field(ge=0)
    people_gained: int = Field(ge=0)
    people_lost: int = Field(ge=0)
    items_gained: int = Field(ge=0)
    items_lost: int = Field(ge=0)


class CauseDocument(_Model):
    """What a changed identity says no longer, and says now."""

    gone: list[str]
    new: list[str]


class MoreDocument(_Model):
    """How many entries of either side are not listed."""

    gained: int = Field(ge=0)
    lost: int = Field(ge=0)


class ExposureHazardDocument(_Model):
    """One of the plan's hazards that is about who sees what."""

    name: str
    subject: str = ""
    source: str
    items: int = Field(ge=0)
    people: int = Field(default=0, ge=0)
    """Persons who gain sight, or of an item that nobody sees any more, lose it."""
    examples: list[str]
    allowed: bool = False


class TestsDocument(_Model):
    """The access tests that ran on all that the manifests ask for; each that failed is an error among `problems`."""

    run: int = Field(ge=0)
    failed: int = Field(ge=0)


class EffectiveDocument(_Model):
    """Identities of one provider that change, and when that takes effect."""

    provider: str
    calls: int = Field(ge=1)
    changes: int = Field(ge=0)
    """Identities and aliases."""
    effective: str
    """In words: at the provider's next refresh, or within how long."""
    refresh_every: int | None = Field(ge=1)
    """Seconds between two refreshes; null when the project does not say."""


class ExpiringDocument(_Model):
    """A grant that is over and still live, or that ends soon."""

    address: str
    """What gives it: a resource, `permissions/NAME` for a named permission model, or `alias/provider/type:*` for
    the aliases that `ofEach` makes."""
    entry: str
    """The identity that is given it: `type/provider/name`; of a whole alias the one that it is an alias of."""
    expires: str = Field(pattern=INSTANT)
    file: str
    line: int = Field(ge=1)
    state: Literal["lapsed-live", "lapses"]


class TransientDocument(_Model):
    """Items that people see for a time who could not see them before the run and may not see them after it."""

    since: int = Field(ge=0)
    """The call after which it begins; 0 is the start."""
    until: int = Field(ge=1)
    """The call with which it ends."""
    source: str
    items: int = Field(ge=0)
    examples: list[str]
    people: int = Field(ge=0)
    identities: list[str]
    """The first of them; a pattern (`*@domain`) for those whom nobody declared."""
    public: bool
    """Whether whoever did not log in sees them, too."""


class OrderDocument(_Model):
    """What keeping every moment of the run safe took."""

    checked: bool
    """False where that was too much to look at, or not wanted."""
    extra_calls: int = Field(ge=0)
    """API calls beyond the fewest."""
    tightened: list[str]
    """Addresses that are put for the time being, so that fewer see them."""
    transients: list[TransientDocument]
    """What no order of these calls avoids."""


class AccessDocument(_Model):
    """Who sees what, before and after."""

    evaluated: bool
    """Whether who gains and who loses sight of what was worked out."""
    touched: list[str]
    """Addresses whose change can alter who sees what."""
    complete: bool = True
    """Whether all entries and identities are listed; counts always are of all (`plan --access-out` writes all)."""
    gained: list[ShiftDocument] = []
    """Items that people will see and do not see now, what weighs most first."""
    lost: list[ShiftDocument] = []
    more: MoreDocument = MoreDocument(gained=0, lost=0)
    totals: ExposureTotalsDocument | None = None
    causes: dict[str, CauseDocument] = {}
    """What the changed identities named under `because` say no longer and say now."""
    hazards: list[ExposureHazardDocument] = []
    tests: TestsDocument = TestsDocument(run=0, failed=0)
    expiring: list[ExpiringDocument] | None = None
    """By when it ends; only where any grant of the manifests ends."""
    order: OrderDocument | None = None
    effective: list[EffectiveDocument] = []
    """When the changes of identities take effect, by provider: until then those who lose sight by them keep it."""


class DoubtDocument(_Model):
    """A call of an earlier run whose outcome is unknown: the remote may hold either version of these resources."""

    run: str
    """`state history` tells more of it."""
    call: int = Field(ge=0)
    sent_at: str
    answered: bool
    """Whether the run noted why it does not know, in `detail`; else it died, or is under way unless `run_ended`."""
    run_ended: bool
    detail: str
    addresses: list[str]
    """Those that no later call settled."""
    sent_again: int = Field(ge=0)
    """How many of them this plan sends again; what is neither sent nor deleted again stays in doubt."""
    deleted_again: int = Field(ge=0)


class OriginDocument(_Model):
    """Where the manifests say a value of what changes."""

    address: str
    path: list[str]
    """The field, as in `fields` of the change; empty for the resource as a whole."""
    file: str
    """Relative to the project's folder."""
    line: int | None = Field(ge=1)
    """The line of the value that was written last; null where the value is a whole file."""
    commit: str | None = Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")
    """The commit that wrote it; null where git does not know it."""
    edited: bool
    """Whether it is of no commit yet."""


class BlameDocument(_Model):
    """Where what changes comes from."""

    left_out: int = Field(ge=0)
    """Changes of which nobody looked for it: only the first by address are."""
    origins: list[OriginDocument]


class HazardDocument(_Model):
    """A named risk that must be allowed before the plan is applied."""

    name: str
    subject: str
    what: str
    why: str
    fix: str
    count: int = Field(ge=0)
    addresses: list[str]
    """At most a few examples of the `count` it concerns."""
    allowed: bool
    people: int = Field(default=0, ge=0)
    """Persons whom it lets see something, or keeps from it."""
    liftable: bool = True
    """False where no `--allow` lifts it."""


class RelatedDocument(_Model):
    """A second place that a problem speaks of."""

    file: str
    line: int
    column: int
    length: int
    what: str


class ProblemDocument(_Model):
    """Something wrong, or worth a warning, and what to do about it."""

    code: str
    severity: Literal["error", "warning", "note"]
    what: str
    why: str
    fix: str
    where: str
    """The place when it is not in a text file."""
    file: str | None
    line: int | None
    column: int | None
    length: int | None
    related: list[RelatedDocument]


class TargetDocument(_Model):
    """Which remote the plan is for; names are the project's, values the remote's ids."""

    organization: str
    sources: dict[str, str]
    providers: dict[str, str]


class ManifestsDocument(_Model):
    """The manifests that the plan was made from."""

    digest: str
    commit: str | None = Field(default=None, pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")
    """The git commit that the project's folder was of; only where one is known."""
    dirty: bool | None = None
    """Whether the folder held edits, or manifests, that are not in the commit."""


class BodyDocument(_Model):
    """A body that the changes need, by digest."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    path: str | None
    """The content file, relative to the project's folder; null when the manifest holds the body."""


class TightenedDocument(_Model):
    """A resource as it is put for the time being: its address and its canonical documents."""

    address: str
    doc: dict[str, Any]
    shared: dict[str, Any] | None


class PlanDocument(_Model):
    """A plan of `reconciler`: what will change, by which calls, from which state."""

    format_version: str = Field(pattern=r"^1\.[0-9]+$")
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    environment: str
    as_of: str | None = Field(default=None, pattern=INSTANT)
    """The instant that the manifests were read for; only where any of their grants ends."""
    holds_until: str | None = Field(default=None, pattern=INSTANT)
    """The next instant at which one of them ends: from then on the plan is not applied."""
    rollback: list[str] | None = None
    """The options of `rollback` that made it; only where it undoes what runs did."""
    state: StateDocument
    doubts: list[DoubtDocument] | None = None
    """Oldest first; only where the outcome of any call is unknown."""
    blame: BlameDocument | None = None
    """Where what changes comes from; only with `--blame`."""
    summary: SummaryDocument
    changes: list[ChangeDocument]
    """Sorted by address; what stays as it is is only counted."""
    calls: list[CallDocument]
    statuses: list[SourceStatusDocument]
    """What sources are told of their activity: two calls each, beside `calls`."""
    quota: QuotaDocument
    access: AccessDocument
    hazards: list[HazardDocument]
    problems: list[ProblemDocument]
    tool_version: str
    target: TargetDocument
    manifests: ManifestsDocument
    selection: list[str]
    """Addresses or patterns that the plan was narrowed to; empty for all."""
    bodies: list[BodyDocument]
    tightened: list[TightenedDocument]
    """What calls put for the time being (`tighten`), until a later call puts it as it is to be."""
    state_only: list[str]
    """Addresses whose change takes no call: only the state records it."""
    signature: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """HMAC-SHA256 of what `checksum` is of, with the key in RECONCILER_PLAN_KEY; only where one is set."""
    checksum: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the document's canonical JSON (sorted keys, no spaces) without this key and `signature`."""


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the plan document."""
    schema = PlanDocument.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": PLAN_SCHEMA_ID,
        **schema,
        "title": "reconciler plan",
    }
