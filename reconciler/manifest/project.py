"""The project as resolved for one environment: sources, providers, variables, limits.

Plain values: reading `reconciler.yaml` happens in `manifest.load`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Visibility = Literal["secured", "shared", "private"]


@dataclass(frozen=True, slots=True)
class Source:
    """A source: the project's name, the remote's id, who may see it, and its security provider's name."""

    name: str
    id: str
    visibility: Visibility = "secured"
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A security identity provider and the ids of those it cascades to (push-api.md 2.4)."""

    name: str
    id: str
    cascades_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Where the API key is found; never the key itself."""

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guardrails:
    """What a plan may do without being asked: shares from 0 to 1, counts of changes."""

    deletes: float = 0.10
    updates: float | None = None
    max_changes: int | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment: where calls go, where its state lives, and what differs there.

    `target` is `emulator`, a base URL, or empty for the public hosts of `region`. `state` is a path
    relative to the project's folder.
    """

    name: str
    target: str
    organization: str
    state: str
    region: str = "us"
    api_key: ApiKey = field(default_factory=ApiKey)


@dataclass(frozen=True, slots=True)
class Project:
    """What `reconciler.yaml` says, for one environment.

    `variables` are sorted pairs; `sources` and `providers` are sorted by name.
    """

    environment: Environment
    manifests: tuple[str, ...]
    sources: tuple[Source, ...]
    providers: tuple[Provider, ...]
    variables: tuple[tuple[str, str], ...] = ()
    guardrails: Guardrails = field(default_factory=Guardrails)

    def source(self, name: str) -> Source | None:
        """Return the source of that name, or None."""
        return next((source for source in self.sources if source.name == name), None)

    def provider(self, name: str) -> Provider | None:
        """Return the provider of that name, or None."""
        return next((provider for provider in self.providers if provider.name == name), None)
