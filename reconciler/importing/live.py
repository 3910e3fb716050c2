"""What the read side of a remote shows of items and identities, as entries of manifests.

Pure. Replies are somebody else's data: what is not as documented (push-api.md 2.6) reads as not there. What the read
side cannot show is not made up: bodies, the file extension, metadata that no field took, and whether a group has
somebody as its member or by that one's well-known (which come out as members).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.importing.tidy import Entry, short_identity, short_model
from reconciler.model.canonical import RESERVED_KEYS, permanent_id
from reconciler.model.identity import Identity, parse_identity
from reconciler.model.permission import PermissionModel

# What the pipeline fills by itself, or an item says in a property of its own (push-api.md 3.1).
OWN_FIELDS = frozenset(
    {
        *("uri", "urihash", "source", "sourcetype", "rowid", "collection", "title", "permanentid", "primaryid"),
        *("topparentid", "attachmentparentid", "clickableuri", "date", "indexeddate", "size", "filetype", "language"),
        *("transactionid", "wordcount", "concepts", "detectedtitle", "printableuri", "parents", "allmetadatavalues"),
    }
)
_KEYS = {"user": "user", "group": "group", "virtual-group": "virtualGroup", "unknown": "unknown"}
_SCALARS = frozenset({str, int, float, bool})


def metadata_fields(models: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the fields that hold what items said as metadata, each with its type, in order of their names."""
    found = {}
    for model in models:
        name, kind = model.get("name"), model.get("type")
        if not isinstance(name, str) or not name.isascii() or model.get("includeInResults") is False:
            continue
        lower = name.lower()
        if lower in OWN_FIELDS or lower in RESERVED_KEYS or lower.startswith("sys"):
            continue
        found[lower] = kind if isinstance(kind, str) else ""
    return dict(sorted(found.items()))


def live_item(
    document: Mapping[str, Any],
    fields: Mapping[str, str],
    model: PermissionModel | None,
    own: str | None,
) -> Entry:
    """Return the item entry that says what a search result and a permission model show.

    `fields` are those of `metadata_fields`, `own` the name of the source's provider.
    """
    uri = document["uri"]
    entry: Entry = {"uri": uri}
    for key, field in (("title", "title"), ("clickableUri", "clickableuri")):
        if isinstance(document.get(field), str):
            entry[key] = document[field]
    parent = document.get("attachmentparentid") or document.get("topparentid")
    if isinstance(parent, str):
        entry["parent"] = parent
    known = document.get("permanentid")
    if isinstance(known, str) and known and known != permanent_id(uri):
        entry["permanentId"] = known
    if model is not None:
        entry["permissions"] = live_model(model, own)
    raw = {name.lower(): value for name, value in document.items()}
    metadata = {name: _value(raw[name], kind) for name, kind in fields.items() if _is_plain(raw.get(name))}
    if metadata:
        entry["metadata"] = metadata
    return entry


def live_model(model: PermissionModel, own: str | None) -> Any:
    """Return a permission model as somebody would write it; `own` is the provider that goes without saying."""
    levels = [
        {
            "name": level.name,
            "sets": [
                {
                    "name": each.name,
                    "anonymous": each.anonymous,
                    "allowed": [_written(who) for who in each.allowed],
                    "denied": [_written(who) for who in each.denied],
                }
                for each in level.sets
            ],
        }
        for level in model.levels
    ]
    return short_model({"levels": levels}, own, _same)


def live_group(identity: str, members: Collection[str]) -> Entry:
    """Return the entry of a group; both are canonical identities."""
    group = parse_identity(identity)
    return {
        "name": group.name,
        "members": [short_identity(_written(member), group.provider, _same) for member in sorted(members)],
        **_info(group),
    }


def live_user(identity: str) -> Entry:
    """Return the entry of a user."""
    user = parse_identity(identity)
    return {"name": user.name, **_info(user)}


def live_alias(identity: str, targets: Collection[str]) -> Entry:
    """Return the entry of an alias; `targets` are identities of other providers."""
    found = [parse_identity(target) for target in sorted(targets)]
    return {
        "of": short_identity(_written(identity), parse_identity(identity).provider, _same),
        "is": [
            {"provider": target.provider, "identity": f"{_KEYS[target.type]}:{target.name}", **_info(target)}
            for target in found
        ],
    }


def _written(identity: str) -> Entry:
    parsed = parse_identity(identity)
    return {_KEYS[parsed.type]: parsed.name, "provider": parsed.provider, **_info(parsed)}


def _info(identity: Identity) -> Entry:
    return {"additionalInfo": dict(identity.info)} if identity.info else {}


_same: Callable[[str], str] = str


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(type(part) in _SCALARS for part in value)
    return type(value) in _SCALARS


def _value(value: Any, kind: str) -> Any:
    """Return what metadata would say; a DATE field shows milliseconds since 1970 (push-api.md 4.5)."""
    if kind == "DATE" and type(value) is int:
        try:
            return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        except (OverflowError, ValueError, OSError):
            return value
    return value
