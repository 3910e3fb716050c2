"""Which addresses of identities are one and the same where their provider ignores case (push-api.md 2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.manifest.project import Project
from reconciler.model.identity import folded_name


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a project's providers spell names; `case_sensitive` are those that tell upper from lower case."""

    case_sensitive: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, project: Project) -> Spelling:
        """Return how the providers of a project spell names."""
        return cls(frozenset(provider.name for provider in project.providers if provider.case_sensitive))

    def key(self, address: str) -> str:
        """Return what is equal for all spellings of an identity, or of the address of its alias."""
        kind, provider, name = address.split("/", 2)
        return address if provider in self.case_sensitive else f"{kind}/{provider}/{folded_name(name)}"

    def twins(self, addresses: Iterable[str]) -> list[list[str]]:
        """Return the addresses that spell one identity in several ways, those of each together and in order."""
        found: dict[str, list[str]] = {}
        for address in addresses:
            found.setdefault(self.key(address), []).append(address)
        return sorted(sorted(spellings) for spellings in found.values() if len(spellings) > 1)
