"""Brings the three accepted shapes of an item's `permissions` to one: ordered levels of sets (push-api.md 3.4)."""

from __future__ import annotations

from typing import Any

from reconciler.emulator.wire import BadJson, folded, identity_type, read_info, text

MAXIMUM = 5000
"""Identities that an item's permissions may name (push-api.md 4.1)."""

_WIRE_TYPES = {"USER": "User", "GROUP": "Group", "VIRTUAL_GROUP": "VirtualGroup", "UNKNOWN": "Unknown"}


class InvalidPermissions(ValueError):
    """Permissions that are accepted with a 202 and rejected later."""


def read_levels(permissions: list[Any], default_provider: str | None, *, mixed: bool = True) -> list[dict[str, Any]]:
    """Return the levels of a permission model, highest first, each identity with its provider.

    Elements without `permissionSets` are sets: neighbours among them make up one level, beside
    others if they may be `mixed`. Raises BadJson for another shape than the documents', InvalidPermissions for
    values that only processing refuses.
    """
    levels: list[dict[str, Any]] = []
    open_level: list[dict[str, Any]] | None = None
    open_sets = False
    for element in permissions:
        keys = folded(element, "An element of 'permissions'")
        if "permissionsets" in keys:
            sets = keys["permissionsets"]
            if not isinstance(sets, list):
                raise BadJson("'permissionSets' must be an array.")
            read = [_read_set(folded(entry, "A permission set"), default_provider) for entry in sets]
            levels.append({"name": text(keys, "name") or "", "permissionSets": read})
            open_level = None
            continue
        if open_level is None:
            open_level, open_sets = [], True
            levels.append({"name": "", "permissionSets": open_level})
        open_level.append(_read_set(keys, default_provider))
    _check_count(levels)
    if not mixed and open_sets and len(levels) > 1:
        raise InvalidPermissions("'permissions' holds sets beside levels")
    return levels


def _read_set(keys: dict[str, Any], default_provider: str | None) -> dict[str, Any]:
    anonymous = keys.get("allowanonymous")
    if anonymous is not None and not isinstance(anonymous, bool):
        raise BadJson("'allowAnonymous' must be true or false.")
    return {
        "name": text(keys, "name") or "",
        "allowAnonymous": bool(anonymous),
        "allowedPermissions": _read_list(keys, "allowedpermissions", default_provider),
        "deniedPermissions": _read_list(keys, "deniedpermissions", default_provider),
    }


def _read_list(keys: dict[str, Any], key: str, default_provider: str | None) -> list[dict[str, Any]]:
    value = keys.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadJson(f"'{key}' must be an array.")
    return [_read_permission(folded(entry, "A permission"), default_provider) for entry in value]


def _read_permission(keys: dict[str, Any], default_provider: str | None) -> dict[str, Any]:
    name, kind = text(keys, "identity"), text(keys, "identitytype")
    provider = text(keys, "securityprovider")
    info = read_info(keys.get("additionalinfo"))
    if not name:
        raise InvalidPermissions("a permission has no identity")
    canonical = identity_type(kind or "unknown")
    if canonical is None:
        raise InvalidPermissions(f"'{(kind or '')[:100]}' is no identity type")
    return {
        "identity": name,
        "identityType": _WIRE_TYPES[canonical],
        "securityProvider": provider or default_provider or "",
        "additionalInfo": dict(info),
    }


def _check_count(levels: list[dict[str, Any]]) -> None:
    count = sum(
        len(entry["allowedPermissions"]) + len(entry["deniedPermissions"])
        for level in levels
        for entry in level["permissionSets"]
    )
    if count > MAXIMUM:
        raise InvalidPermissions(f"{count} permissions, more than the {MAXIMUM} that an item may have")
