"""What an emulated organization looks like, and which side to take where the documents leave doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from reconciler.emulator.quotas import Limits

EMAIL_PROVIDER = "Email Security Provider"
"""The provider that every organization has; its identities need not be pushed (push-api.md 2.4, 3.5)."""

Visibility = Literal["SECURED", "SHARED", "PRIVATE"]
SourceKind = Literal["push", "catalog"]
FieldType = Literal["LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR"]

# Privileges by the operations that need them (push-api.md 1.3).
SOURCE_EDIT = "SOURCE_EDIT"
SOURCE_VIEW = "SOURCE_VIEW"
ORGANIZATION_VIEW = "ORGANIZATION_VIEW"
SECURITY_PROVIDER_VIEW = "SECURITY_PROVIDER_VIEW"
SECURITY_PROVIDER_EDIT = "SECURITY_PROVIDER_EDIT"
SECURITY_PROVIDER_CREATE = "SECURITY_PROVIDER_CREATE"
SECURITY_CACHE_VIEW = "SECURITY_CACHE_VIEW"
FIELD_VIEW = "FIELD_VIEW"
FIELD_CREATE = "FIELD_CREATE"
FIELD_EDIT = "FIELD_EDIT"
LOGS_VIEW = "LOGS_VIEW"
EXECUTE_QUERY = "EXECUTE_QUERY"
VIEW_ALL_CONTENT = "VIEW_ALL_CONTENT"
READ_IDENTITIES = frozenset({SECURITY_PROVIDER_VIEW, SECURITY_CACHE_VIEW})
"""Either of them opens providers, identities and their relations for reading."""
PUSH_IDENTITIES = (SECURITY_PROVIDER_EDIT, ORGANIZATION_VIEW)
"""Both of them together are what pushing identities takes."""
Needed = str | frozenset[str] | tuple[str, ...]
"""What an operation needs: one privilege, one of several, or several at once."""
ALL_PRIVILEGES = frozenset(
    {
        SOURCE_EDIT,
        SOURCE_VIEW,
        ORGANIZATION_VIEW,
        SECURITY_PROVIDER_VIEW,
        SECURITY_PROVIDER_EDIT,
        SECURITY_PROVIDER_CREATE,
        SECURITY_CACHE_VIEW,
        FIELD_VIEW,
        FIELD_CREATE,
        FIELD_EDIT,
        LOGS_VIEW,
        EXECUTE_QUERY,
        VIEW_ALL_CONTENT,
    }
)


class SourceOptions(NamedTuple):
    """One source; its identities default to `provider` (push-api.md 3.4).

    A catalog takes the Stream API besides (push-api.md 2.5).
    """

    id: str
    visibility: Visibility = "SECURED"
    provider: str | None = None
    kind: SourceKind = "push"


class ProviderOptions(NamedTuple):
    """One security identity provider and the providers that its aliases may name (push-api.md 2.4)."""

    id: str
    cascades_to: tuple[str, ...] = (EMAIL_PROVIDER,)
    case_sensitive: bool = False


class FieldOptions(NamedTuple):
    """A field that is there without anybody having made it."""

    name: str
    type: FieldType = "STRING"
    multi_value: bool = False


SYSTEM_FIELDS = (
    *(FieldOptions(name) for name in ("attachmentparentid", "author", "clickableuri", "collection", "documenttype")),
    FieldOptions("date", "DATE"),
    *(FieldOptions(name) for name in ("filename", "filetype", "foldingchild", "foldingcollection", "foldingparent")),
    FieldOptions("indexeddate", "DATE"),
    *(FieldOptions(name) for name in ("language", "objecttype", "permanentid", "primaryid")),
    FieldOptions("rowid", "LONG_64"),
    FieldOptions("size", "LONG_64"),
    *(FieldOptions(name) for name in ("source", "sourcetype", "syssource", "sysuri", "title", "topparentid", "uri")),
)
"""The fields that the documents name as an organization's own (push-api.md 2.6, 3.1, 3.2, 4.4)."""


@dataclass(frozen=True)
class Doubts:
    """The questions that the documents leave open, each with the answer that the emulator gives by default.

    A question stands beside its choices, so that it can be listed (`reconciler.emulator.doubts`).
    """

    equal_ordering_id: Annotated[
        Literal["refuse", "accept"],
        "push-api.md 5.4: is an explicit ordering id that equals the stored one higher than it?",
    ] = "refuse"
    watermark: Annotated[
        Literal["immediate", "after delay"],
        "push-api.md 5.4, 9: does an olderthan refuse older pushes at once, or when its delay has passed?",
    ] = "immediate"
    item_ordering_id: Annotated[
        Literal["ignore", "honour"],
        "push-api.md 2.1, 3.1: `orderingId` in an item's body, where the query does not say or is a batch's.",
    ] = "ignore"
    batch_order: Annotated[
        Literal["writes first", "deletes first"], "push-api.md 3.3: the order of the two lists of a batch."
    ] = "writes first"
    bad_batch: Annotated[
        Literal["log", "refuse"],
        "push-api.md 6: a batch whose file is no JSON of its form: 202 and an error in the logs, or 400.",
    ] = "log"
    children: Annotated[
        Literal["prefix", "prefix and parent"],
        "push-api.md 2.1: does `deleteChildren` also delete items elsewhere whose `parentId` is the item?",
    ] = "prefix"
    inline_content: Annotated[
        Literal["reject", "accept"], "push-api.md 4.1: `data` and `compressedBinaryData` above their 5 MB."
    ] = "reject"
    mixed_permissions: Annotated[
        Literal["levels", "refuse"], "push-api.md 3.4: sets beside levels in one model: a level of their own, or none."
    ] = "levels"
    content_keys: Annotated[Literal["refuse", "last"], "push-api.md 3.1: two content keys in one item."] = "refuse"
    nested_metadata: Annotated[
        Literal["refuse", "accept"], "push-api.md 3.1, 4.4: objects as metadata values (dictionary fields)."
    ] = "refuse"
    body_document_id: Annotated[
        Literal["must match", "ignore"],
        "push-api.md 3.1: a `documentId` in a single item's body that differs from the query's.",
    ] = "must match"
    body_compression_type: Annotated[
        Literal["ignore", "honour"],
        "push-api.md 3.1, 7 (3): `compressionType` in a single item's body instead of the query.",
    ] = "ignore"
    unknown_file: Annotated[
        Literal["log", "refuse"],
        "push-api.md 6: a batch whose `fileId` names no container: 202 and an error in the logs, or 412.",
    ] = "log"
    unknown_provider: Annotated[
        Literal["refuse", "accept"],
        "push-api.md 6: a provider id that the organization does not have: 412, or taken as it comes.",
    ] = "refuse"
    identities_must_exist: Annotated[
        bool, "push-api.md 3.6, 4.1: reject items on secured sources that name an identity never pushed."
    ] = False
    uncascaded_alias: Annotated[
        Literal["unresolved", "refuse"],
        "push-api.md 3.5, 7 (18): an alias in a provider that the identity's own does not cascade to.",
    ] = "unresolved"
    empty_mappings: Annotated[
        Literal["remove", "keep"], "push-api.md 2.3: does an alias pushed with no mappings lose those it had?"
    ] = "remove"
    repushed_identity: Annotated[
        Literal["enabled", "disabled"], "push-api.md 5.3: is a deleted identity enabled when it is pushed again?"
    ] = "enabled"
    denied_in_public_set: Annotated[
        Literal["denied", "allowed"], "push-api.md 3.6: somebody denied by a set that allows anonymous users."
    ] = "denied"
    partial_level: Annotated[
        Literal["inconclusive", "denied"],
        "push-api.md 3.6: allowed in one set of a level and unspecified in another, with more levels after it.",
    ] = "inconclusive"
    unresolved_deny_hides_item: Annotated[
        bool, "push-api.md 3.6: is an item invisible while a denied identity of its first level is unresolved?"
    ] = False
    search_page: Annotated[int, "push-api.md 2.6: the most results that one search answers (1,000 or 2,000)."] = 1000
    not_a_catalog: Annotated[
        Literal[412, 400], "push-api.md 2.5: what the Stream API answers for a source that is no catalog."
    ] = 412
    push_to_catalog: Annotated[
        Literal["accept", "refuse"], "push-api.md 2.5: do catalog sources take the calls of the Push API, too?"
    ] = "accept"
    unknown_stream: Annotated[
        Literal[412, 404], "push-api.md 2.5: a chunk or a close for a stream that nobody opened, or that is closed."
    ] = 412
    incomplete_load: Annotated[
        Literal["keep", "remove"],
        "push-api.md 2.5: a load without content, or with a chunk that cannot be read: does what it lacks go?",
    ] = "keep"
    rejected_in_load: Annotated[
        Literal["remove", "keep"],
        "push-api.md 2.5: an item of a load that is rejected: does what the source holds of it go?",
    ] = "remove"
    stream_shard: Annotated[
        Literal["check", "ignore"],
        "push-api.md 2.5: is `shard` (experimental) held against its form? It has no effect.",
    ] = "check"
    item_bytes: Annotated[
        Literal["catalogs", "all"], "push-api.md 4.1, 11: do the 3 MB of a catalog's item hold for push sources?"
    ] = "catalogs"
    merge_null: Annotated[
        Literal["ignore", "remove"], "push-api.md 2.5: what null means for a metadata key in a shallow merge."
    ] = "ignore"
    partial_missing: Annotated[
        Literal["SKIPPED", "REJECTED", "WARNING"],
        "push-api.md 2.5: what the logs say of a partial update of an item that is not there.",
    ] = "SKIPPED"
    partial_before_load: Annotated[
        Literal["accept", "refuse"],
        "push-api.md 2.5: partial updates of items in a source that was never loaded, only updated.",
    ] = "accept"
    array_of_scalar: Annotated[
        Literal["wrap", "reject"], "push-api.md 2.5: `arrayAppend` and `arrayRemove` where the field holds one value."
    ] = "wrap"
    fractional_long: Annotated[
        Literal["truncate", "drop"], "push-api.md 4.4: a number with a fraction in a LONG field."
    ] = "truncate"
    mapping_type_key: Annotated[
        Literal["objecttype", "documenttype", "filetype"],
        "push-api.md 2.6: which metadata key says an item's type, for the mappings of that type.",
    ] = "objecttype"
    existing_field: Annotated[Literal[412, 409, 400], "push-api.md 2.6: creating a field that there is already."] = 412
    existing_provider: Annotated[Literal[409, 400], "push-api.md 2.4: creating a provider that there is already."] = 409
    provider_in_use: Annotated[
        Literal["refuse", "delete"], "push-api.md 2.4: deleting a provider that a source refers to."
    ] = "refuse"
    provider_case: Annotated[
        Literal["change", "refuse"],
        "push-api.md 2.4: `caseSensitive` sent anew to a provider that holds identities.",
    ] = "change"
    cache_view: Annotated[
        Literal["immediate", "on refresh"],
        "push-api.md 5.1, 9: does the security cache follow what was pushed at once, or only when it is refreshed?",
    ] = "immediate"
    required_headers: Annotated[
        tuple[tuple[str, str], ...],
        "push-api.md 2.2, 8: what an upload must carry; another storage asks for other headers.",
    ] = (
        ("x-amz-server-side-encryption", "AES256"),
        ("Content-Type", "application/octet-stream"),
    )


@dataclass(frozen=True)
class EmulatorOptions:
    """Everything that decides how an emulator answers, apart from what it was sent."""

    organizations: tuple[str, ...] = ("emulated",)
    sources: tuple[
        SourceOptions | tuple[str, Visibility, str | None] | tuple[str, Visibility, str | None, SourceKind], ...
    ] = ()
    providers: tuple[ProviderOptions | tuple[str, tuple[str, ...]] | tuple[str, tuple[str, ...], bool], ...] = ()
    api_key: str = ""
    """The key with all privileges; when empty, only those of `keys` are known."""
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Further keys, each with its privileges; `PRIVILEGE:SOURCE` is one on that source alone."""
    data_dir: Path | None = None
    """Where the database and the containers live; None keeps them for as long as the emulator lives."""
    delay: float = 0.0
    """Seconds between acceptance and processing (push-api.md 5.1: minutes on the real remote)."""
    refresh_every: float = 0.0
    """Seconds between two refreshes of the security cache by itself, at whole multiples of them since the epoch; 0 is
    never (push-api.md 5.1: typically daily). A cache that follows at once (`Doubts.cache_view`) needs none."""
    paused: frozenset[str] = frozenset()
    """Organizations that answer ORGANIZATION_IS_PAUSED (push-api.md 6)."""
    doubts: Doubts = field(default_factory=Doubts)
    limits: Limits = field(default_factory=Limits)
    """How much may be sent; without limit unless set."""
    faults: tuple[str, ...] = ()
    """What goes wrong, in the language of `reconciler.emulator.faults`."""
    fault_seed: int = 0
    """Decides which of the faults that are left to chance happen."""
    request_log_entries: int = 2000
    request_log_bytes: int = 64 * 1024 * 1024
    kept_body_bytes: int = 4 * 1024 * 1024
    """A body up to this size is kept whole, so that it can be shown; of a larger one the beginning is."""
    fields: Literal["permissive", "strict"] = "permissive"
    """Which metadata the index shows (push-api.md 4.4): all whose key could name a field, or what existing fields
    and mappings take."""
    system_fields: tuple[FieldOptions, ...] = SYSTEM_FIELDS
    """The fields that every organization has; they cannot be changed."""
    maximum_results: int = 5000
    """How far paging reaches in a search (push-api.md 2.6)."""
    catalog_items: int = 1_000_000
    """The items that a catalog may hold (push-api.md 4.1)."""
    decompressed_bytes: int = 1024 * 1024 * 1024
    """Content that grows beyond this is taken for a decompression bomb (push-api.md 4.1: not published)."""

    @property
    def source_table(self) -> dict[str, SourceOptions]:
        """The sources by their id."""
        return {entry[0]: SourceOptions(*entry) for entry in self.sources}

    @property
    def provider_table(self) -> dict[str, ProviderOptions]:
        """The providers by their id, with the one that every organization has."""
        table = {EMAIL_PROVIDER: ProviderOptions(EMAIL_PROVIDER, ())}
        table.update((entry[0], ProviderOptions(*entry)) for entry in self.providers)
        return table

    def privileges(self, key: str) -> frozenset[str] | None:
        """Return what `key` may do, or None when nobody issued it."""
        if self.api_key and key == self.api_key:
            return ALL_PRIVILEGES
        return self.keys.get(key)
