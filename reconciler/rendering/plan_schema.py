"""The JSON Schema of the plan document (`rendering.jsondoc`), made from models of it.

Only for publishing and for tests: pydantic is imported with this module, so nothing on the way of a
plan imports it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PLAN_SCHEMA_ID = "plan.json"


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
    """A stable word: new, changed, removed, moved, unconfirmed, destroy."""
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
    verb: Literal["put", "patch", "delete", "delete-tree", "swept", "withdraw"]
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
    identities: list[str]
    """The first of them, by each of their identities."""
    because: list[str]
    """Addresses of the changed identities behind it; none when the items changed themselves."""


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


class ExposureHazardDocument(_Model):
    """Items that become public, or that nobody will see any more."""

    name: Literal["item-public", "item-unseen"]
    source: str
    items: int = Field(ge=0)
    examples: list[str]


class AccessDocument(_Model):
    """Who sees what, before and after."""

    evaluated: bool
    """Whether who gains and who loses sight of what was worked out."""
    touched: list[str]
    """Addresses whose change can alter who sees what."""
    gained: list[ShiftDocument] = []
    """Items that people will see and do not see now, what weighs most first."""
    lost: list[ShiftDocument] = []
    totals: ExposureTotalsDocument | None = None
    causes: dict[str, CauseDocument] = {}
    """What the changed identities named under `because` say no longer and say now."""
    hazards: list[ExposureHazardDocument] = []


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


class BodyDocument(_Model):
    """A body that the changes need, by digest."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    path: str | None
    """The content file, relative to the project's folder; null when the manifest holds the body."""


class PlanDocument(_Model):
    """A plan of `reconciler`: what will change, by which calls, from which state."""

    format_version: str = Field(pattern=r"^1\.[0-9]+$")
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    environment: str
    state: StateDocument
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
    state_only: list[str]
    """Addresses whose change takes no call: only the state records it."""
    checksum: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the document's canonical JSON (sorted keys, no spaces) without this key."""


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the plan document."""
    schema = PlanDocument.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": PLAN_SCHEMA_ID,
        **schema,
        "title": "reconciler plan",
    }
