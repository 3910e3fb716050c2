"""What an emulated organization looks like, and which side to take where the documents leave doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

EMAIL_PROVIDER = "Email Security Provider"
"""The provider that every organization has; its identities need not be pushed (push-api.md 2.4, 3.5)."""

Visibility = Literal["SECURED", "SHARED", "PRIVATE"]

# Privileges by the operations that need them (push-api.md 1.3).
SOURCE_EDIT = "SOURCE_EDIT"
SOURCE_VIEW = "SOURCE_VIEW"
ORGANIZATION_VIEW = "ORGANIZATION_VIEW"
SECURITY_PROVIDER_EDIT = "SECURITY_PROVIDER_EDIT"
SECURITY_CACHE_VIEW = "SECURITY_CACHE_VIEW"
LOGS_VIEW = "LOGS_VIEW"
EXECUTE_QUERY = "EXECUTE_QUERY"
VIEW_ALL_CONTENT = "VIEW_ALL_CONTENT"
ALL_PRIVILEGES = frozenset(
    {
        SOURCE_EDIT,
        SOURCE_VIEW,
        ORGANIZATION_VIEW,
        SECURITY_PROVIDER_EDIT,
        SECURITY_CACHE_VIEW,
        LOGS_VIEW,
        EXECUTE_QUERY,
        VIEW_ALL_CONTENT,
    }
)


class SourceOptions(NamedTuple):
    """One Push source; its identities default to `provider` (push-api.md 3.4)."""

    id: str
    visibility: Visibility = "SECURED"
    provider: str | None = None


class ProviderOptions(NamedTuple):
    """One security identity provider and the providers that its aliases may name (push-api.md 2.4)."""

    id: str
    cascades_to: tuple[str, ...] = (EMAIL_PROVIDER,)
    case_sensitive: bool = False


@dataclass(frozen=True)
class Doubts:
    """The questions that the documents leave open, each with the answer that the emulator gives by default."""

    equal_ordering_id: Literal["refuse", "accept"] = "refuse"
    """push-api.md 5.4: is an explicit ordering id that equals the stored one higher than it?"""
    watermark: Literal["immediate", "after delay"] = "immediate"
    """push-api.md 5.4, 9: does an olderthan refuse older pushes at once, or when its delay has passed?"""
    content_keys: Literal["refuse", "last"] = "refuse"
    """push-api.md 3.1: two content keys in one item."""
    nested_metadata: Literal["refuse", "accept"] = "refuse"
    """push-api.md 3.1, 4.4: objects as metadata values (dictionary fields)."""
    body_document_id: Literal["must match", "ignore"] = "must match"
    """push-api.md 3.1: a `documentId` in a single item's body that differs from the query's."""
    body_compression_type: Literal["ignore", "honour"] = "ignore"
    """push-api.md 3.1, 7 (3): `compressionType` in a single item's body instead of the query."""
    unknown_file: Literal["log", "refuse"] = "log"
    """push-api.md 6: a batch whose `fileId` names no container: 202 and an error in the logs, or 412."""
    unknown_provider: Literal["refuse", "accept"] = "refuse"
    """push-api.md 6: a provider id that the organization does not have: 412, or taken as it comes."""
    identities_must_exist: bool = False
    """push-api.md 3.6, 4.1: reject items on secured sources that name an identity never pushed."""
    partial_level: Literal["inconclusive", "denied"] = "inconclusive"
    """push-api.md 3.6: allowed in one set of a level and unspecified in another, with more levels after it."""
    unresolved_deny_hides_item: bool = False
    """push-api.md 3.6: is an item invisible while a denied identity of its first level is unresolved?"""
    search_page: int = 1000
    """push-api.md 2.6: the most results that one search answers (1,000 or 2,000)."""
    required_headers: tuple[tuple[str, str], ...] = (
        ("x-amz-server-side-encryption", "AES256"),
        ("Content-Type", "application/octet-stream"),
    )
    """push-api.md 2.2, 8: what an upload must carry; another storage asks for other headers."""


@dataclass(frozen=True)
class EmulatorOptions:
    """Everything that decides how an emulator answers, apart from what it was sent."""

    organizations: tuple[str, ...] = ("emulated",)
    sources: tuple[SourceOptions | tuple[str, Visibility, str | None], ...] = ()
    providers: tuple[ProviderOptions | tuple[str, tuple[str, ...]] | tuple[str, tuple[str, ...], bool], ...] = ()
    api_key: str = ""
    """The key with all privileges; when empty, only those of `keys` are known."""
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Further keys, each with its privileges."""
    data_dir: Path | None = None
    """Where the database and the containers live; None keeps them for as long as the emulator lives."""
    delay: float = 0.0
    """Seconds between acceptance and processing (push-api.md 5.1: minutes on the real remote)."""
    paused: frozenset[str] = frozenset()
    """Organizations that answer ORGANIZATION_IS_PAUSED (push-api.md 6)."""
    doubts: Doubts = field(default_factory=Doubts)
    request_log_entries: int = 2000
    request_log_bytes: int = 64 * 1024 * 1024
    kept_body_bytes: int = 4 * 1024 * 1024
    """A body up to this size is kept whole, so that it can be shown; of a larger one the beginning is."""
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
