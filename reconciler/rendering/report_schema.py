"""The JSON Schemas of what `validate`, `apply`, `verify`, `drift` and `state history` report, made from models of it.

Only for publishing and for tests, as `rendering.plan_schema`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reconciler.rendering.plan_schema import ProblemDocument, SummaryDocument

_VERSION = r"^1\.[0-9]+$"
_Kind = Literal["item", "group", "virtual-group", "user", "alias"]


class _Model(BaseModel):
    # A later minor version may add keys, and a reader ignores them: so does the schema.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


# -- validate ----------------------------------------------------------------------------------------


class SeveritiesDocument(_Model):
    """How many problems there are of the severities that count."""

    errors: int = Field(ge=0)
    warnings: int = Field(ge=0)


class ValidateReport(_Model):
    """What `reconciler validate` found."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    problems: list[ProblemDocument]
    """Sorted by place."""
    summary: SeveritiesDocument


# -- apply -------------------------------------------------------------------------------------------


class CountsDocument(_Model):
    """What became of the planned calls; those whose outcome is unknown count as `unknown` alone."""

    calls: int = Field(ge=0)
    """How many were to be made."""
    done: int = Field(ge=0)
    failed: int = Field(ge=0)
    unknown: int = Field(ge=0)
    not_started: int = Field(ge=0)


class CallReport(_Model):
    """A call that was started."""

    number: int = Field(ge=1)
    """Its number in the plan."""
    kind: str
    method: Literal["PUT", "POST", "DELETE"]
    path: str
    resources: int = Field(ge=0)
    """How many resources it settles."""
    outcome: Literal["accepted", "refused", "unknown", "stopped"]
    """`unknown`: the remote may have taken it; `stopped`: it was stopped before the remote took it."""
    retries: int = Field(ge=0)
    status: int | None = None
    """The HTTP status that accepted it."""
    seconds: float | None = Field(default=None, ge=0)
    bytes_sent: int | None = Field(default=None, ge=0)
    problem: str | None = None
    """The code of what went wrong; `problems` tells the rest."""


class CallProblemDocument(ProblemDocument):
    """What went wrong with a call."""

    call: int = Field(ge=1)


class AcceptedDocument(_Model):
    """What was accepted of a provider's identities, and when that takes effect."""

    provider: str
    calls: int = Field(ge=0)
    changes: int = Field(ge=0)
    """Identities and aliases; 0 where only a refresh was asked for, of what earlier runs changed."""
    effective: str
    """In words: at the provider's next refresh, within how long, or once the triggered one is done."""
    refresh_every: int | None = Field(ge=1)
    """Seconds between two refreshes; null when the project does not say."""
    refresh: Literal["not-asked", "triggered", "failed"]
    """What came of `--refresh-identities`; `notes` say why one failed."""


class ApplyReport(_Model):
    """What `reconciler apply` or `reconciler destroy` came to."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    environment: str
    run: str | None
    """The run's id in the state; null when there was nothing to do."""
    result: Literal["done", "failed", "interrupted"]
    summary: SummaryDocument
    counts: CountsDocument
    seconds: float = Field(ge=0)
    effective: list[AcceptedDocument]
    """Sorted by provider."""
    calls: list[CallReport]
    """Sorted by number; what was not started is only counted."""
    problems: list[CallProblemDocument]
    notes: list[ProblemDocument]
    """What went otherwise than wished, and hindered nothing."""


# -- verify ------------------------------------------------------------------------------------------


class StatusesDocument(_Model):
    """How many resources are what."""

    verified: int = Field(ge=0)
    rejected: int = Field(ge=0)
    missing: int = Field(ge=0)
    different: int = Field(ge=0)
    waiting: int = Field(ge=0)
    """Accepted identities that are not effective yet: they wait for the refresh of their provider."""
    unresolved: int = Field(ge=0)


class CheckedDocument(_Model):
    """How many resources of a kind were looked at, and how many are as they should be."""

    checked: int = Field(ge=0)
    verified: int = Field(ge=0)


class FindingDocument(ProblemDocument):
    """A resource that is not as it was pushed."""

    address: str = Field(pattern="^[a-z-]+/[^/]*/")
    """`kind/scope/name`."""
    status: Literal["rejected", "missing", "different", "waiting", "unresolved"]
    deleted: bool
    """Whether it was the deletion that did not arrive."""


class ProviderSeenDocument(_Model):
    """What a provider's security cache has taken of the identities, aliases and deletions that were looked at."""

    provider: str
    checked: int = Field(ge=0)
    effective: int = Field(ge=0)
    waiting: int = Field(ge=0)
    """Accepted, and pushed after the cache was refreshed."""
    wrong: int = Field(ge=0)
    """Neither: missing, different or unresolved."""
    pushed_at: str | None
    """When the newest of them was pushed."""
    refreshed_at: str | None
    """The newest update that the cache shows; null where it shows none."""
    refresh_every: int | None = Field(ge=1)
    """Seconds between two refreshes; null when the project does not say."""


class VanishingDocument(_Model):
    """A metadata key that no field and no mapping takes."""

    source: str
    key: str
    items: int = Field(ge=1)
    example: str
    """The uri of an item that has it."""


class MetadataDocument(_Model):
    """What became of the metadata of the items that were looked at."""

    vanishing: list[VanishingDocument]
    visible: int = Field(ge=0)
    """Values that the index shows."""
    invisible: int = Field(ge=0)
    """Values not compared, for want of a field that shows just that."""


class VerifyReport(_Model):
    """What `reconciler verify` found."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    environment: str
    total: int = Field(ge=0)
    """How many resources were looked at."""
    unlooked: int = Field(ge=0)
    """How many nobody came to look at, since it was stopped."""
    stopped: Literal["deadline", "interrupted", "remote"] | None
    """Why it ended before everything was final; null where everything is."""
    summary: StatusesDocument
    kinds: dict[_Kind, CheckedDocument]
    providers: list[ProviderSeenDocument]
    """Those of which identities were looked at, sorted by name."""
    problems: list[FindingDocument]
    """Sorted by address."""
    notes: list[str]
    """What kept it from knowing more."""
    metadata: MetadataDocument | None
    """Null where the organization's fields were not read."""
    seconds: float = Field(ge=0)


# -- drift -------------------------------------------------------------------------------------------


class StandingsDocument(_Model):
    """How many resources stand how to the remote; the first and the last two are no drift."""

    same: int = Field(ge=0)
    drifted: int = Field(ge=0)
    missing: int = Field(ge=0)
    still_there: int = Field(ge=0)
    """Deleted, accepted as such, and still shown."""
    pending: int = Field(ge=0)
    """Accepted and not processed yet, waiting for a refresh, or to be sent again anyway."""
    hidden: int = Field(ge=0)
    """In the index, and not shown by a search."""


class FieldDriftDocument(_Model):
    """One field that differs."""

    field: str
    """As in a manifest: `title`, `metadata.KEY`, `permissions.level N.allowed`, `members`, `wellKnowns`, `is`."""
    expected: Any
    """Null for nothing. Of lists only what the remote lacks."""
    shown: Any
    """Null for nothing. Of lists only what the remote has besides."""
    what: str
    """The same in words."""


class DriftedDocument(_Model):
    """A resource that is not plainly the same."""

    address: str = Field(pattern="^[a-z-]+/[^/]*/")
    """`kind/scope/name`."""
    status: Literal["drifted", "missing", "still-there", "pending", "hidden"]
    drift: bool
    """Whether it counts as drift."""
    what: str
    fields: list[FieldDriftDocument]
    verified_before: bool
    """Whether the recorded push was ever looked for; without that, it may never have arrived."""
    resend: bool
    """Whether it was marked before, so that the next plan sends it again."""
    unapplied: bool
    """Whether the manifests say something else than the state, which nobody applied yet."""


class ForeignDocument(_Model):
    """What a source or provider holds and nobody asked for."""

    place: Literal["source", "provider"]
    name: str
    """The project's name of it."""
    count: int = Field(ge=1)
    examples: list[str]
    """Addresses, sorted; the first hundred."""
    exclusive: bool
    removed: bool
    """Whether the state has them and the manifests do not, so that the next apply deletes them."""
    drift: bool
    """Whether it counts as drift."""


class NotVisibleDocument(_Model):
    """How much of what was compared the read side does not show."""

    bodies: int = Field(ge=0)
    metadata: int = Field(ge=0)
    """Values that no field shows for sure."""
    titles_and_uris: int = Field(ge=0)
    """Titles and clickable uris that no field shows for sure."""
    parents_and_extensions: int = Field(ge=0)
    permissions: int = Field(ge=0)
    """Items without permissions of their own: what the index shows is their source's."""


class ExactnessDocument(_Model):
    """A source whose items carry a digest, and how many of those that the index holds were compared by it."""

    source: str
    field: str
    items: int = Field(ge=0)
    exact: int = Field(ge=0)


class DriftReportDocument(_Model):
    """What `reconciler drift` found."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    environment: str
    of: Literal["recorded", "desired"]
    drifted: bool
    """Whether anything drifted; then the command exits with 3."""
    total: int = Field(ge=0)
    """How many resources were compared."""
    summary: StandingsDocument
    resources: list[DriftedDocument]
    """Sorted by address; those that are the same are only counted."""
    foreign: list[ForeignDocument]
    not_visible: NotVisibleDocument
    exactness: list[ExactnessDocument]
    """By source; of what is compared exactly nothing counts as not visible."""
    unhealthy: int = Field(ge=0)
    """Resources that are the same, and that the remote cannot resolve or update."""
    indexed_again: int = Field(ge=0)
    """Items indexed more than an hour after they were pushed: by a rebuild, or with a body that nobody can see."""
    notes: list[str]
    """What kept it from knowing more."""
    resent: int = Field(ge=0)
    """How many resources this run marked, so that the next plan sends them again."""


# -- state history ------------------------------------------------------------------------------------


class RunCallsDocument(_Model):
    """How the calls of a run ended; unknown are also those that were never answered."""

    accepted: int = Field(ge=0)
    refused: int = Field(ge=0)
    unknown: int = Field(ge=0)


class RunDocument(_Model):
    """A run that changed the state, or meant to; what is not known of it is empty."""

    id: str
    command: str
    started_at: str
    ended_at: str
    """Empty while it is under way, and when it died."""
    result: str
    """`done`, `stopped`, `interrupted`, `failed`, or empty like `ended_at`."""
    detail: str
    user: str
    host: str
    environment: str
    commit: str
    """The git commit of the manifests."""
    plan_digest: str
    tool_version: str
    organization: str
    calls: RunCallsDocument
    lineage: str
    """The lineage that it found; so with `serial_before`."""
    serial_before: int = Field(ge=0)
    serial_after: int = Field(ge=0)
    digest: str
    """Chains it to the run before, in hex; empty while it is under way, or died and no other began since."""


class HistoryReport(_Model):
    """What `reconciler state history` lists."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    lineage: str
    serial: int = Field(ge=0)
    runs: list[RunDocument]
    """Newest first."""


class NamedRunDocument(_Model):
    """Which run is meant, and its digest as it is recorded."""

    id: str
    started_at: str
    digest: str


class MisfitDocument(NamedRunDocument):
    """The oldest record that does not fit its digest."""

    number: int = Field(ge=1)
    """Its place from the first run on."""


class HistoryVerifyReport(_Model):
    """What `reconciler state history verify` found."""

    format_version: str = Field(pattern=_VERSION)
    """`major.minor`. Ignore keys you do not know; refuse a major you do not know."""
    whole: bool
    """Whether every record fits, and none that was asked for is missing; otherwise the command exits with 1."""
    lineage: str
    serial: int = Field(ge=0)
    runs: int = Field(ge=0)
    chained: int = Field(ge=0)
    """How many of the runs have a digest."""
    last: NamedRunDocument | None
    """The newest that has a digest, to be noted down elsewhere."""
    misfit: MisfitDocument | None
    missing: list[str]
    """Digests that were asked for, and that no run has."""


Report = Literal["validate", "apply", "verify", "drift", "history", "history-verify"]


def report_schema(name: Report) -> dict[str, Any]:
    """Return the JSON Schema of one command's report."""
    models: dict[str, type[BaseModel]] = {
        "validate": ValidateReport,
        "apply": ApplyReport,
        "verify": VerifyReport,
        "drift": DriftReportDocument,
        "history": HistoryReport,
        "history-verify": HistoryVerifyReport,
    }
    return models[name].model_json_schema()
