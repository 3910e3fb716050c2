"""What a read of the remote showed, and what the state records, brought to the same values.

Pure. Replies are somebody else's data: whatever is not as documented (push-api.md 2.6) reads as not
seen. Names are compared without case, since providers ignore it unless told otherwise (push-api.md
2.4); names of levels and sets are no part of who may see an item, and are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from reconciler.model.identity import Identity, identity_type, parse_identity

_CACHED_MODELS = 4096

Ref = Callable[[str], str]
"""From the project's name of a provider to the remote's id (`WireContext.provider_ref`)."""

UP_TO_DATE = "UP_TO_DATE"
NOT_UPDATED = "NOT_UPDATED"
DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, order=True)
class Who:
    """An identity as the remote knows it: its provider's id, and its name in any case."""

    provider: str
    type: str
    folded: str
    info: tuple[tuple[str, str], ...] = ()
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        info = "".join(f" {key}={value}" for key, value in self.info)
        return f"{self.type}:{self.name or self.folded}{info} ({self.provider})"


def who(type_: str, provider: str, name: str, info: Iterable[tuple[str, str]] = ()) -> Who:
    """Return the value of an identity; `type_` is spelled as in canonical strings."""
    pairs = tuple(sorted((key, value.casefold()) for key, value in info))
    return Who(provider, type_, name.casefold(), pairs, name)


def recorded_who(text: str, ref: Ref) -> Who:
    """Return the value of an identity's canonical string."""
    return who_of(parse_identity(text), ref)


def who_of(identity: Identity, ref: Ref) -> Who:
    """Return the value of an identity."""
    return who(identity.type, ref(identity.provider), identity.name, identity.info)


class AccessSet(NamedTuple):
    """One permission set, comparable."""

    allowed: frozenset[Who]
    denied: frozenset[Who]
    anonymous: bool = False


Levels = tuple[frozenset[AccessSet], ...]
"""The order of levels counts, that of the sets within one does not."""


@dataclass(frozen=True, slots=True)
class SeenItem:
    """An item that the index holds. None is what the index does not show.

    `indexed_at` is in epoch milliseconds. `handle` is what permissions are asked for by. `values` are
    those of the fields that were asked for, by name.
    """

    handle: str
    permanent_id: str | None = None
    indexed_at: int | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SeenModel:
    """An item's permission model and its health; `unresolved` are identities that stand in the way."""

    levels: Levels
    state: str
    unresolved: tuple[tuple[Who, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SeenIdentity:
    """An identity that the security cache lists, with its state and what its last refresh said.

    `updated` is when the cache last updated it, in epoch milliseconds, None where no date is shown.
    """

    who: Who
    state: str
    error: str = ""
    updated: int | None = None


class RecordedModels:
    """The levels of recorded permission models, each worked out once for the many items that share it."""

    def __init__(self) -> None:
        self._levels: dict[bytes, Levels] = {}

    def __contains__(self, shared: bytes) -> bool:
        return shared in self._levels

    def levels_of(self, shared: bytes, ref: Ref) -> Levels:
        """Return the levels of a model, given as an item's shared document; of an empty one there are none."""
        known = self._levels.get(shared)
        if known is None:
            if len(self._levels) >= _CACHED_MODELS:
                self._levels.clear()
            model = orjson.loads(shared) if shared else {"levels": []}
            known = self._levels[shared] = recorded_levels(model, ref)
        return known


def recorded_levels(model: Mapping[str, Any], ref: Ref) -> Levels:
    """Return the levels of a canonical permission model (`model.permission`)."""
    return tuple(
        frozenset(
            AccessSet(
                frozenset(recorded_who(text, ref) for text in entry.get("allowed", ())),
                frozenset(recorded_who(text, ref) for text in entry.get("denied", ())),
                bool(entry.get("anonymous", False)),
            )
            for entry in level["sets"]
        )
        for level in model["levels"]
    )


def read_item(uri: str, document: Mapping[str, Any], fields: Collection[str] = ()) -> SeenItem:
    """Return what a search result's fields show, of `fields` the values."""
    handle, permanent = document.get("uniqueId"), document.get("permanentid")
    return SeenItem(
        handle if isinstance(handle, str) and handle else uri,
        permanent if isinstance(permanent, str) and permanent else None,
        _milliseconds(document.get("indexeddate")),
        {name: document[name] for name in fields if name in document} if fields else None,
    )


def read_model(document: Mapping[str, Any]) -> SeenModel:
    """Return an item's permission model as the index shows it."""
    levels = []
    unresolved: dict[Who, str] = {}
    for level in _objects(document.get("permissionLevels")):
        sets = []
        for entry in _objects(level.get("permissionSets")):
            allowed: set[Who] = set()
            denied: set[Who] = set()
            for permission in _objects(entry.get("permissions")):
                found = _permission(permission)
                (allowed if permission.get("allowed") is True else denied).add(found)
                state = _word(permission.get("state"))
                if state and state != UP_TO_DATE:
                    unresolved[found] = state
            sets.append(AccessSet(frozenset(allowed), frozenset(denied), entry.get("anonymousAllowed") is True))
        levels.append(frozenset(sets))
    return SeenModel(tuple(levels), _word(document.get("state")), tuple(sorted(unresolved.items())))


def read_identity(document: Mapping[str, Any], provider: str) -> SeenIdentity | None:
    """Return an entry of the security cache, None for one without a name or a type."""
    name, kind = document.get("name"), identity_type(_word(document.get("type")))
    if not isinstance(name, str) or kind is None:
        return None
    own = document.get("provider")
    pairs = [(entry.get("key"), entry.get("value")) for entry in _objects(document.get("infos"))]
    info = [(key, value) for key, value in pairs if isinstance(key, str) and isinstance(value, str)]
    found = who(kind, own if isinstance(own, str) and own else provider, name, info)
    error, date = document.get("lastUpdateErrorDetail"), document.get("lastUpdateDate")
    said = error[:300] if isinstance(error, str) and error else _failure(_word(document.get("lastUpdateResult")))
    # The documents do not say in which form the date is: both are taken.
    updated = log_moment(date) if isinstance(date, str) and "-" in date else _milliseconds(date)
    return SeenIdentity(found, _word(document.get("state")), said, updated)


def _failure(result: str) -> str:
    return "" if result in ("NONE", "SUCCESS") else result


def log_moment(value: Any) -> int | None:
    """Return a log's date in epoch milliseconds."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) if moment.tzinfo else None


def _permission(entry: Mapping[str, Any]) -> Who:
    info = entry.get("additionalInfo")
    pairs = info.items() if isinstance(info, dict) else ()
    name, provider = entry.get("identity"), entry.get("securityProvider")
    return who(
        identity_type(_word(entry.get("identityType"))) or "unknown",
        provider if isinstance(provider, str) else "",
        name if isinstance(name, str) else "",
        [(key, value) for key, value in pairs if isinstance(value, str)],
    )


def _milliseconds(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e16:
        return None
    return int(value)


def _word(value: Any) -> str:
    return value[:60] if isinstance(value, str) else ""


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
