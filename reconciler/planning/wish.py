"""What is asked of a plan beside what the manifests say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

SOURCE_WORD = "source "
"""What a source's name follows among the words of a selection."""

EXPIRING_WITHIN = 14


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of a plan beside the manifests: hazards allowed by name, and what to narrow it to.

    `resent` are sources of which every item is sent, whether or not it changed. Grants that end within
    `expiring_within` days are told of.
    """

    allowed: Collection[str] = ()
    targets: Collection[str] = ()
    sources: Collection[str] = ()
    removal: str = "removed"
    resent: Collection[str] = ()
    expiring_within: int = EXPIRING_WITHIN

    @property
    def selection(self) -> tuple[str, ...]:
        """The words of the selection, for display."""
        return (*sorted(self.targets), *(f"{SOURCE_WORD}{name}" for name in sorted(self.sources)))
