"""Permission models: ordered levels, each a list of sets that must all agree.

Levels are tried in order; within a level the order of sets and of identities means nothing, so the
canonical form sorts them (push-api.md 3.4 and 3.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class PermissionSet:
    """Who one set allows and denies, as canonical identity strings, sorted and without repeats."""

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    anonymous: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class PermissionLevel:
    """One level: a user passes it when every set allows them and none denies them."""

    sets: tuple[PermissionSet, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class PermissionModel:
    """The levels of an item, the first that decides wins."""

    levels: tuple[PermissionLevel, ...]

    def identities(self) -> Iterator[str]:
        """Yield every identity that the model names, repeats included."""
        for level in self.levels:
            for permission_set in level.sets:
                yield from permission_set.allowed
                yield from permission_set.denied

    def to_doc(self) -> dict[str, Any]:
        """Return the canonical document: only what is set, so that defaults are no difference."""
        return {"levels": [_level_doc(level) for level in self.levels]}

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> PermissionModel:
        """Return the model that a canonical document describes."""
        return cls(
            tuple(
                PermissionLevel(
                    tuple(
                        PermissionSet(
                            tuple(entry.get("allowed", ())),
                            tuple(entry.get("denied", ())),
                            entry.get("anonymous", False),
                            entry.get("name", ""),
                        )
                        for entry in level["sets"]
                    ),
                    level.get("name", ""),
                )
                for level in doc["levels"]
            )
        )


def _level_doc(level: PermissionLevel) -> dict[str, Any]:
    doc: dict[str, Any] = {"sets": [_set_doc(entry) for entry in sorted(level.sets)]}
    if level.name:
        doc["name"] = level.name
    return doc


def _set_doc(entry: PermissionSet) -> dict[str, Any]:
    doc: dict[str, Any] = {}
    if entry.allowed:
        doc["allowed"] = sorted(set(entry.allowed))
    if entry.denied:
        doc["denied"] = sorted(set(entry.denied))
    if entry.anonymous:
        doc["anonymous"] = True
    if entry.name:
        doc["name"] = entry.name
    return doc
