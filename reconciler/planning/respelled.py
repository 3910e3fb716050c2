"""Refuses to delete an identity under one spelling that stays under another (push-api.md 2.4).

A provider that ignores case has one identity of both names. Deletions come last, so that the call would disable what
an earlier one of the same run wrote. It knows nothing of which provider ignores case: equal keys are equal identities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reconciler.model.address import Kind
from reconciler.planning.change import Action, Change
from reconciler.problems import Problem


def respelled_deletions(
    changes: Sequence[Change], desired: Iterable[str], key: Callable[[str], str]
) -> tuple[Problem, ...]:
    """Return an error for each deletion of an identity or alias that is desired in another spelling.

    `desired` are all addresses that are asked for; `key` is equal for the spellings of one identity.
    """
    gone = {
        key(change.address): change.address
        for change in changes
        if change.action is Action.DELETE and change.address.kind is not Kind.ITEM
    }
    if not gone:
        return ()
    item = f"{Kind.ITEM.value}/"
    kept = ((address, key(address)) for address in desired if not address.startswith(item))
    return tuple(
        Problem(
            "respelled",
            f'"{gone[found]}" would be deleted, and "{address}" is the same identity',
            why="the provider takes names that differ in case alone for one: the deletion would disable what stays.",
            fix=f'write it as it was accepted, "{gone[found].name}", or write `caseSensitive: true` under '
            f"`providers: {gone[found].scope}` if the provider tells them apart.",
        )
        for address, found in kept
        if found in gone
    )
