"""Addresses that somebody typed: the nearest one of those that are recorded."""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING

from reconciler.problems import Problem, UsageError, did_you_mean

if TYPE_CHECKING:
    from reconciler.cli.session import Session

_NEIGHBOURS = 50


def unknown_address(session: Session, address: str) -> UsageError:
    """Return the problem `unknown-address`, with the nearest address that is recorded."""
    known = list(session.store.fingerprints())
    return UsageError(
        Problem(
            "unknown-address",
            f'nothing is recorded at "{address}"',
            why="" if known else "the state is empty: nothing was applied yet.",
            fix=nearest(address, known) or "list what is recorded:\n    reconciler state list",
            where=session.store.where,
        )
    )


def nearest(address: str, known: list[str]) -> str:
    """Return "did you mean" for the nearest of any number of addresses.

    Comparing with each of a hundred thousand would take minutes, so only those are looked at that
    share the beginning or the end, or the whole name.
    """
    forward = sorted(known)
    backward = sorted(entry[::-1] for entry in known)
    near = set(_around(forward, address)) | {entry[::-1] for entry in _around(backward, address[::-1])}
    named = [entry for entry in near if entry.split("/", 2)[2] == address]
    return did_you_mean(address, near) or (f'did you mean "{min(named)}"?' if named else "")


def _around(entries: list[str], word: str) -> list[str]:
    place = bisect(entries, word)
    return entries[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
