"""What the names in addresses mean at the remote: organization, source ids, provider ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.model.states import Target
from reconciler.problems import ManifestError, Problem


class SourceRef(NamedTuple):
    """A source at the remote: its id, and the project's name of its security provider, if any.

    A `catalog` is fed through the Stream API (push-api.md 2.5), an `exclusive` source by nobody else.
    `compression` is how binary content travels (push-api.md 4.5), `status` whether runs tell the
    source's activity (push-api.md 5.5).
    """

    id: str
    provider: str | None = None
    catalog: bool = False
    exclusive: bool = False
    compression: str = "ZLIB"
    status: bool = False


@dataclass(frozen=True, slots=True)
class WireContext:
    """The organization, and project names of sources and providers with what the remote calls them.

    `exclusive_providers` are the project's names of those that nobody else feeds.
    """

    organization: str
    sources: Mapping[str, SourceRef] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    exclusive_providers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, target: Target, source_providers: Mapping[str, str | None]) -> WireContext:
        """Return the context of a plan's target; `source_providers` maps a source to its provider's name."""
        sources = {name: SourceRef(id_, source_providers.get(name)) for name, id_ in target.sources}
        return cls(target.organization, sources, dict(target.providers))

    def source(self, name: str) -> SourceRef:
        """Return the source of that name. Raises ManifestError when it has no id."""
        try:
            return self.sources[name]
        except KeyError:
            raise ManifestError(_undeclared("source", name)) from None

    def provider_id(self, name: str) -> str:
        """Return the id of a declared provider. Raises ManifestError when it is not declared."""
        try:
            return self.providers[name]
        except KeyError:
            raise ManifestError(_undeclared("provider", name)) from None

    def provider_ref(self, name: str) -> str:
        """Return the id of a provider that an identity names; one outside the project is its own id."""
        return self.providers.get(name, name)


def _undeclared(kind: str, name: str) -> Problem:
    return Problem(
        code=f"unknown-{kind}",
        what=f'the plan changes resources of the {kind} "{name}", which the project does not declare',
        why=f"without the {kind}'s id nobody knows where to send the calls.",
        fix=f'keep "{name}" under `{kind}s:` in reconciler.yaml until its resources are gone',
    )
