"""The project as resolved for one environment: sources, providers, variables, limits.

Plain values: reading `reconciler.yaml` happens in `manifest.load`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Visibility = Literal["secured", "shared", "private"]
SourceKind = Literal["push", "catalog"]
FieldsMode = Literal["check", "create", "ignore"]
WidenedMode = Literal["allow", "confirm", "deny"]
TransientMode = Literal["allow", "confirm", "tighten"]
LintLevel = Literal["off", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Source:
    """A source: the project's name, the remote's id, who may see it, and its security provider's name.

    `exclusive` says that nobody else feeds it, `compression` how binary content travels
    (push-api.md 4.5), `status` whether a run tells its activity (push-api.md 5.5). `digest_field` is the metadata
    key in which each item carries a digest of itself, None where it carries none.
    """

    name: str
    id: str
    visibility: Visibility = "secured"
    provider: str | None = None
    kind: SourceKind = "push"
    exclusive: bool = False
    compression: str = "ZLIB"
    status: bool = True
    digest_field: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A security identity provider and the ids of those it cascades to (push-api.md 2.4).

    `exclusive` says that nobody else feeds it, `refresh_every` are the seconds between two refreshes of its
    security cache, None when nobody says (push-api.md 5.1). `case_sensitive` says that names which differ in case
    alone are several identities rather than one.
    """

    name: str
    id: str
    cascades_to: tuple[str, ...] = ()
    exclusive: bool = False
    refresh_every: int | None = None
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Where the API key is found; never the key itself."""

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exemption:
    """Who may gain sight of what without being asked; None is everything and everybody.

    `items` are patterns over uris and addresses. `to` are identities as they are written (`user:*@example.com`), or
    `*` for everybody; `provider` is theirs, empty for any.
    """

    items: tuple[str, ...] | None = None
    to: tuple[str, ...] | None = None
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Guardrails:
    """What a plan may do without being asked: shares from 0 to 1, counts of changes.

    `widened_access` says what happens when somebody would see an item that they do not see now, unless
    `widened_except` has it. At most `max_widened_people` may gain sight, of at most `max_widened_items`.
    `transient_exposure` says what happens when no order of the calls keeps every moment safe.
    """

    deletes: float = 0.10
    updates: float | None = None
    max_changes: int | None = None
    widened_access: WidenedMode = "confirm"
    widened_except: tuple[Exemption, ...] = ()
    max_widened_people: int | None = None
    max_widened_items: int | None = None
    transient_exposure: TransientMode = "confirm"


@dataclass(frozen=True, slots=True)
class Quotas:
    """What the licence allows, as far as the project says; None where it does not.

    `burst_calls` within `burst_seconds`, the rest a day (push-api.md 4.2).
    """

    calls_per_day: int | None = None
    burst_calls: int | None = None
    burst_seconds: int | None = None
    items_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class OverlayScope:
    """What patches may touch: items of these sources whose uri a pattern matches (None: any), and groups."""

    sources: tuple[str, ...] | None = None
    uris: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overlay:
    """Patterns of overlay files, what their patches may touch (None: everything), and whether they may widen access."""

    files: tuple[str, ...]
    scope: OverlayScope | None = None
    may_widen: bool = True


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment: where calls go, where its state lives, and what differs there.

    `target` is `emulator`, a base URL, or empty for the public hosts of `region`. `upload_hosts` are those that content
    may be uploaded to, empty for what the published documents show. `ca_file` is a
    path relative to the project's folder, and so is `state` unless it is the URL of a store; `retry_for` is seconds.
    With `signed_plans`, nothing but a saved plan whose signature is right is applied there; with `encrypt_state` no
    state is written that is not encrypted.
    """

    name: str
    target: str
    organization: str
    state: str
    region: str = "us"
    api_key: ApiKey = field(default_factory=ApiKey)
    proxy: str | None = None
    ca_file: str | None = None
    upload_hosts: tuple[str, ...] = ()
    retry_for: float | None = None
    signed_plans: bool = False
    encrypt_state: bool = False


@dataclass(frozen=True, slots=True)
class Project:
    """What `reconciler.yaml` says, for one environment.

    `variables` are sorted pairs; `sources` and `providers` are sorted by name. `lints` are sorted pairs of a code
    and what is made of its findings, where that is said. `policies` is the folder of the policies that every plan
    must satisfy, relative to the project's, None where there are none. `overlays` are this environment's,
    `overlay_files` the patterns of those of all: what they match is no manifest.
    """

    environment: Environment
    manifests: tuple[str, ...]
    sources: tuple[Source, ...]
    providers: tuple[Provider, ...]
    variables: tuple[tuple[str, str], ...] = ()
    guardrails: Guardrails = field(default_factory=Guardrails)
    quotas: Quotas = field(default_factory=Quotas)
    fields: FieldsMode = "check"
    lints: tuple[tuple[str, LintLevel], ...] = ()
    policies: str | None = None
    overlays: tuple[Overlay, ...] = ()
    overlay_files: tuple[str, ...] = ()

    def source(self, name: str) -> Source | None:
        """Return the source of that name, or None."""
        return next((source for source in self.sources if source.name == name), None)

    def provider(self, name: str) -> Provider | None:
        """Return the provider of that name, or None."""
        return next((provider for provider in self.providers if provider.name == name), None)
