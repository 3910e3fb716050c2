"""Where changed values come from, as text and as JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.planning.plan import Blame, Origin

SHORT = 12  # digits of a commit that people are shown


def origins_by_field(blame: Blame | None) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return what is told of each field, by address and the field's dotted path (empty: the resource)."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for origin in blame.origins if blame is not None else ():
        fields = found.setdefault(origin.address, {})
        path = ".".join(origin.path)
        fields[path] = (*fields.get(path, ()), origin_text(origin))
    return found


def origin_text(origin: Origin) -> str:
    """Return `handbook.yaml:14, commit 3f2b1c9d0a1b`."""
    place = f"{origin.file}:{origin.line}" if origin.line else origin.file
    if origin.edited:
        return f"{place}, not committed"
    return f"{place}, commit {origin.commit[:SHORT]}" if origin.commit else place


def from_text(origins: Iterable[str]) -> str:
    """Return one line of several origins."""
    return f"from {'; '.join(origins)}"


def blame_document(blame: Blame) -> dict[str, Any]:
    """Return the origins as JSON values."""
    return {
        "left_out": blame.left_out,
        "origins": [
            {
                "address": origin.address,
                "path": origin.path,
                "file": origin.file,
                "line": origin.line or None,
                "commit": origin.commit or None,
                "edited": origin.edited,
            }
            for origin in blame.origins
        ],
    }
