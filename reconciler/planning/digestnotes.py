"""Says why a whole source changes: its `digestField` came, went, or has another name.

Pure. Every item carries the digest, so each of them is sent again; without a word nobody would know why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reconciler.model.address import Kind
from reconciler.model.digestfield import DIGEST_FIELD, digest_key
from reconciler.planning.change import Action, Change, field_changes
from reconciler.problems import Problem, Severity

_MARK = f'"{DIGEST_FIELD}":'.encode()


def digest_field_notes(changes: Iterable[Change]) -> tuple[Problem, ...]:
    """Return a note for each source whose items change in the key that carries their digest, by name."""
    moved: Counter[tuple[str, str, str]] = Counter()
    alone: Counter[tuple[str, str, str]] = Counter()
    for change in changes:
        before, after = change.before, change.after
        if (
            change.action is not Action.UPDATE
            or change.address.kind is not Kind.ITEM
            or before is None
            or after is None
        ):
            continue
        if _MARK not in before.doc and _MARK not in after.doc:
            continue
        old, new = digest_key(before.own()), digest_key(after.own())
        if old == new:
            continue
        place = (change.address.scope, old or "", new or "")
        moved[place] += 1
        alone[place] += [entry.path for entry in field_changes(change)] == [(DIGEST_FIELD,)]
    return tuple(_note(*place, number, alone[place]) for place, number in sorted(moved.items()))


def _note(source: str, old: str, new: str, items: int, alone: int) -> Problem:
    if not old:
        what = f"`digestField: {new}` is new"
    elif not new:
        what = f"`digestField: {old}` is gone"
    else:
        what = f'`digestField` is "{new}" and was "{old}"'
    rest = f", {alone:,} of them for nothing else" if alone < items else " for nothing else"
    sent = "1 item is sent" if items == 1 else f"{items:,} items are sent"
    return Problem(
        "digest-field-changes",
        f'in source "{source}" {what}: {sent} again{rest if alone else ""}',
        why="every item carries the digest of itself, so every item changes once.",
        severity=Severity.NOTE,
    )
