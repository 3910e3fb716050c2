"""The calls of earlier runs whose outcome nobody knows, and what a plan does about them: lines and JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.planning.plan import Doubt
from reconciler.rendering.values import count


def doubt_lines(doubts: tuple[Doubt, ...], *, entries: int | None) -> Iterator[str]:
    """Yield what is told of calls in doubt, indented by level, of each the first `entries` addresses (None: all)."""
    for doubt in doubts:
        shown = doubt.addresses if entries is None else doubt.addresses[:entries]
        yield (
            f"run {doubt.run}, call {doubt.call} sent at {doubt.at}: {_cause(doubt)}; the remote may "
            f"hold either version of {count(len(doubt.addresses), 'resource')}. This plan {_remedy(doubt)}"
            f"{':' if shown else '.'}"
        )
        yield from (f"  {address}" for address in shown)
        if len(doubt.addresses) > len(shown) > 0:
            yield f"  and {len(doubt.addresses) - len(shown):,} more"


def _cause(doubt: Doubt) -> str:
    if doubt.answered:
        return f"no answer told its outcome ({doubt.detail})" if doubt.detail else "no answer told its outcome"
    if doubt.ended:
        return "the run ended before an answer was recorded"
    return "no answer is recorded, since the run died or is still under way"


def _remedy(doubt: Doubt) -> str:
    left = len(doubt.addresses) - doubt.sent - doubt.deleted
    parts = [f"sends {doubt.sent:,} again"] * bool(doubt.sent)
    parts += [f"deletes {doubt.deleted:,} again"] * bool(doubt.deleted)
    parts += [f"leaves {left:,} as they are" if left > 1 else "leaves 1 as it is"] * bool(left)
    return " and ".join(parts)


def doubt_document(doubt: Doubt) -> dict[str, Any]:
    """Return one of them as JSON values."""
    return {
        "run": doubt.run,
        "call": doubt.call,
        "sent_at": doubt.at,
        "answered": doubt.answered,
        "run_ended": doubt.ended,
        "detail": doubt.detail,
        "addresses": list(doubt.addresses),
        "sent_again": doubt.sent,
        "deleted_again": doubt.deleted,
    }
