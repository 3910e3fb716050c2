"""Every identity of an organization under the name that it was pushed with, and who sees what as one of them."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from reconciler.emulator.access import Decision, Graph, Levels, Who
from reconciler.emulator.engine import Engine


class Roll:
    """The identities of one graph: pushed, or named by one that was pushed."""

    def __init__(self, engine: Engine, organization: str, graph: Graph) -> None:
        self.graph = graph
        self._spelled: dict[Who, str] = {}
        self._providers: dict[str, list[Who]] = {}
        directory = engine.identities.directory_of(organization)
        for place, provider in engine.providers(organization):
            for row in engine.identities.rows(place):
                for listed in (row.members, row.mappings, row.well_knowns):
                    for owner, kind, name, info in orjson.loads(listed):
                        self._spelled.setdefault(directory.who(owner, kind, name, info.items()), name)
                self._spelled[directory.who(provider.id, row.type, row.name, orjson.loads(row.info).items())] = row.name
        for who in sorted(self._spelled, key=lambda who: (who.type, who.name, who.info)):
            self._providers.setdefault(who.provider, []).append(who)

    def name(self, who: Who) -> str:
        """Return how `who` was spelled, or its folded name when nobody pushed or named it."""
        return self._spelled.get(who, who.name)

    def knows(self, who: Who) -> bool:
        return who in self._spelled or who in self.graph.parents

    def of(self, provider: str) -> list[Who]:
        """Return the identities of a provider by type and name; patterns such as `*@example.com` are not listed."""
        return self._providers.get(provider, [])


class Reason(NamedTuple):
    """Why a permission model decides about somebody as it does.

    `level` counts from 1, None when no level is conclusive; `through` are the identities that decided, those
    that denied or one or more of each set that allowed; `anyone` says that a set let anonymous users in.
    """

    decision: Decision
    level: int | None = None
    through: tuple[Who, ...] = ()
    anyone: bool = False


def explain(levels: Levels, identities: frozenset[Who] | set[Who], partial_level: str = "inconclusive") -> Reason:
    """Return the reason behind `access.decide` for the same arguments (push-api.md 3.6)."""
    for rank, level in enumerate(levels, 1):
        denied = {who for entry in level for who in entry.denied & identities}
        if denied:
            return Reason(Decision.DENIED, rank, tuple(sorted(denied)))
        allowed = [entry.allowed & identities for entry in level]
        satisfied = [bool(found) or entry.anonymous for found, entry in zip(allowed, level, strict=True)]
        if satisfied and all(satisfied):
            through = {who for found in allowed for who in found}
            anyone = any(not found for found in allowed)
            return Reason(Decision.ALLOWED, rank, tuple(sorted(through)), anyone)
        if any(satisfied) and partial_level == "denied":
            return Reason(Decision.DENIED, rank)
    return Reason(Decision.UNSPECIFIED)


class Viewer(NamedTuple):
    """The identity that pages are looked at as, in any provider unless it names one.

    Without a name it is somebody who did not log in.
    """

    type: str = "USER"
    name: str = ""
    provider: str = ""
    info: tuple[tuple[str, str], ...] = ()

    @property
    def query(self) -> dict[str, str]:
        """Return the viewer as parameters of an address; `read_viewer` reads them."""
        if not self.name:
            return {"as": ANONYMOUS}
        found = {"as": f"{KINDS[self.type]}:{self.name}"}
        if self.provider:
            found["as-provider"] = self.provider
        if self.info:
            found["as-info"] = orjson.dumps(dict(self.info)).decode()
        return found


ANONYMOUS = "anonymous"
KINDS = {"USER": "user", "GROUP": "group", "VIRTUAL_GROUP": "virtual-group", "UNKNOWN": "unknown"}
"""The types of identities as addresses and pages write them."""
_TYPES = {kind: type_ for type_, kind in KINDS.items()}


def type_of(kind: str) -> str | None:
    """Return the type that a page calls `kind`, None for none."""
    return _TYPES.get(kind.strip().lower().replace("_", "-"))


def read_viewer(query: dict[str, str]) -> Viewer | None:
    """Return whom to look as: `as=user:alice@example.com`, with `as-provider` and `as-info` where they matter."""
    said = query.get("as", "").strip()
    if not said:
        return None
    if said == ANONYMOUS:
        return Viewer()
    kind, colon, name = said.partition(":")
    type_ = type_of(kind) if colon else None
    if type_ is None:
        type_, name = "USER", said
    return Viewer(type_, name.strip(), query.get("as-provider", ""), read_info(query.get("as-info", "")))


def read_info(value: str) -> tuple[tuple[str, str], ...]:
    """Return additional information from JSON; what is none counts for nothing."""
    try:
        found = orjson.loads(value or "{}")
    except ValueError:
        return ()
    return tuple(sorted((key, str(text)) for key, text in found.items())) if isinstance(found, dict) else ()
