"""What was processed, seen from outside: search results, permissions, identities. Values only, no HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import orjson

from reconciler.emulator.access import Decision, Graph, Levels, Who, decide, model_state, viewers
from reconciler.emulator.dates import epoch
from reconciler.emulator.engine import Engine
from reconciler.emulator.items import Item
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.wire import FIELD_NAME

_TYPES = {"USER": "User", "GROUP": "Group", "VIRTUAL_GROUP": "VirtualGroup", "UNKNOWN": "Unknown"}


def iso(seconds: float) -> str:
    """Return a time as the W3C date that the read side speaks."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def identifier(kind: int, number: int) -> str:
    """Return a number as an identifier of the form that the remote uses."""
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


def request_id(number: int) -> str:
    """Return how the remote calls an accepted operation, in answers and in logs (push-api.md 2.5, 2.6)."""
    return identifier(2, number)


def milliseconds(value: Any, fallback: float) -> int:
    """Return what a DATE field holds for a metadata value: epoch milliseconds (push-api.md 4.5)."""
    found = epoch(value)
    return int(fallback * 1000) if found is None else found


def raw_fields(item: Item, source: SourceOptions) -> dict[str, Any]:
    """Return the fields of an item: what its metadata came to, under valid names, and what the pipeline adds."""
    metadata = item.field_values()
    fields = {key: _field(value) for key, value in metadata.items() if FIELD_NAME.match(key)}
    fields["date"] = milliseconds(metadata.get("date"), item.pushed)
    fields.setdefault("indexeddate", int(item.pushed * 1000))
    if isinstance(fields["indexeddate"], str):
        fields["indexeddate"] = milliseconds(fields["indexeddate"], item.pushed)
    fields.setdefault("size", item.body_size)
    fields.setdefault("title", item.uri.rstrip("/").rpartition("/")[2] or item.uri)
    if item.extension:
        fields.setdefault("filetype", item.extension.lstrip(".").lower())
    if item.parent:
        fields["topparentid"] = item.parent
        if item.parent != item.uri:
            fields["attachmentparentid"] = item.parent
    fields.update(
        uri=item.uri,
        sysuri=item.uri,
        source=source.id,
        syssource=source.id,
        permanentid=item.permanentid,
        primaryid=item.primary_id,
        rowid=item.row,
        collection="default",
    )
    return fields


def _field(value: Any) -> Any:
    # Booleans go to STRING fields, which hold text (push-api.md 4.4).
    return str(value).lower() if isinstance(value, bool) else value


def search_result(item: Item, source: SourceOptions, wanted: Iterable[str] | None) -> dict[str, Any]:
    """Return an item as a search result (push-api.md 2.6)."""
    raw = raw_fields(item, source)
    if wanted is not None:
        names = {name.lower().removeprefix("@") for name in wanted}
        kept = {key: value for key, value in raw.items() if key in names}
    else:
        kept = raw
    clickable = raw.get("clickableuri")
    return {
        "title": str(raw["title"]),
        "uri": item.uri,
        "printableUri": item.uri,
        "clickUri": clickable if isinstance(clickable, str) else item.uri,
        "uniqueId": item.unique_id,
        "excerpt": item.preview[:200],
        "raw": kept,
    }


class Permitted(Protocol):
    """Whatever has a stored permission model (JSON text, None for none): an item, or a `Model` by itself."""

    @property
    def permissions(self) -> str | None: ...


class Model(NamedTuple):
    """A stored permission model that any number of items may share."""

    permissions: str | None


class Access:
    """Evaluates stored permission models for one organization at one moment."""

    def __init__(self, engine: Engine, organization: str) -> None:
        self._doubts = engine.options.doubts
        self._directory = engine.identities.directory_of(organization)
        self.graph: Graph = engine.identities.graph(organization)
        self._levels = lru_cache(maxsize=4096)(self._read)

    def _read(self, permissions: str) -> Levels:
        levels = self._directory.levels(orjson.loads(permissions))
        if self._doubts.denied_in_public_set == "denied":
            return levels
        none = frozenset[Who]()
        return tuple(
            tuple(entry if not entry.anonymous else replace(entry, denied=none) for entry in level) for level in levels
        )

    def levels(self, item: Permitted) -> Levels:
        return () if item.permissions is None else self._levels(item.permissions)

    def state(self, item: Permitted) -> str:
        return model_state(self.levels(item), self.graph)

    def _hidden(self, item: Permitted) -> bool:
        return self._doubts.unresolved_deny_hides_item and self.state(item) == "IN_ERROR"

    def decision(self, item: Permitted, source: SourceOptions, identities: frozenset[Who]) -> Decision:
        """Return whether somebody with `identities` sees an item; the source's visibility comes first."""
        if source.visibility == "SHARED":
            return Decision.ALLOWED
        if source.visibility == "PRIVATE" and item.permissions is None:
            return Decision.UNSPECIFIED
        if self._hidden(item):
            return Decision.DENIED
        return decide(self.levels(item), identities, self._doubts.partial_level)

    def sees(self, item: Permitted, source: SourceOptions, identities: frozenset[Who]) -> bool:
        return self.decision(item, source, identities) is Decision.ALLOWED

    def public(self, item: Permitted, source: SourceOptions) -> bool:
        """Return whether somebody who did not log in sees an item."""
        return self.sees(item, source, self.graph.anonymous)

    def viewers(self, item: Permitted) -> dict[Who, Decision]:
        """Return what the model of an item says about every user it concerns, in order."""
        if self._hidden(item):
            return dict.fromkeys(sorted(viewers(self.levels(item), self.graph)), Decision.DENIED)
        return dict(sorted(viewers(self.levels(item), self.graph, self._doubts.partial_level).items()))

    def identity_state(self, who: Who) -> str:
        """Return what the security cache says about an identity (push-api.md 3.6)."""
        if who in self.graph.disabled:
            return "DISABLED"
        return "UP_TO_DATE" if self.graph.resolved(who) else "NOT_UPDATED"

    def permission_model(self, item: Item) -> dict[str, Any]:
        """Return the permission model of an item as the read side shows it (push-api.md 2.6)."""
        return {
            "lastUpdatedDate": iso(item.pushed),
            "state": self.state(item),
            "permissionLevels": [
                {"name": level["name"], "permissionSets": [self._shown(entry) for entry in level["permissionSets"]]}
                for level in item.levels() or []
            ],
        }

    def _shown(self, entry: dict[str, Any]) -> dict[str, Any]:
        allowed = [(True, permission) for permission in entry["allowedPermissions"]]
        denied = [(False, permission) for permission in entry["deniedPermissions"]]
        return {
            "name": entry["name"],
            "anonymousAllowed": entry["allowAnonymous"],
            "permissions": [
                {
                    "allowed": verdict,
                    **permission,
                    **self._health(self._directory.permission(permission)),
                }
                for verdict, permission in allowed + denied
            ],
        }

    def _health(self, who: Who) -> dict[str, Any]:
        """Return what the security cache says of an identity that a permission names."""
        record = self.graph.records.get(who)
        return {
            "state": self.identity_state(who),
            **last_update(None if record is None else record.updated),
        }

    def effective(self, item: Item) -> list[dict[str, Any]]:
        """Return every user that the model decides on, allowed or denied (push-api.md 2.6)."""
        return [
            {"allowed": decision is Decision.ALLOWED, **permission_of(who), **self._health(who)}
            for who, decision in self.viewers(item).items()
            if decision is not Decision.UNSPECIFIED
        ]


def permission_of(who: Who) -> dict[str, Any]:
    """Return an identity as item permissions spell it."""
    return {
        "identity": who.name,
        "identityType": _TYPES[who.type],
        "securityProvider": who.provider,
        "additionalInfo": dict(who.info),
    }


def member_of(who: Who, state: str, updated: float | None, name: str | None = None) -> dict[str, Any]:
    """Return an identity as the security cache spells it (push-api.md 2.6)."""
    return {
        "name": name or who.name,
        "type": _TYPES[who.type],
        "provider": who.provider,
        "infos": [{"key": key, "value": value} for key, value in who.info],
        "state": state,
        **last_update(updated),
    }


def last_update(updated: float | None) -> dict[str, Any]:
    """Return when and how an identity was last updated; None stands for never."""
    return {
        "lastUpdateDate": None if updated is None else iso(updated),
        "lastUpdateResult": "NONE" if updated is None else "SUCCESS",
        "lastUpdateErrorDetail": "",
    }
