"""Whom a failed call concerns: what stands in its line, or every call of the run.

Knows failures only by their problem's code and the status of the last answer.
"""

from __future__ import annotations

from reconciler.problems import Interrupted, ReconcilerError, RemoteError
from reconciler.state.journal import Outcome

# The answers that speak of one call (push-api.md 6); all others, and none at all, would meet every call.
_OF_ONE_CALL = frozenset({400, 404, 412, 413, 415})
# What says of the whole organization that it takes nothing more, with a status of those above.
_OF_ALL = frozenset({"organization-paused", "document-limit"})


def outcome_of(error: ReconcilerError) -> Outcome:
    """Return how a call ended that raised this.

    What keeps us from another attempt, such as a body that is not what the plan says, leaves the doubt
    of the attempts before.
    """
    return Outcome(error.outcome)


def hits_everyone(error: ReconcilerError) -> bool:
    """Whether every other call would fail, too, so that none is to be started any more."""
    if isinstance(error, Interrupted):
        return True
    if not isinstance(error, RemoteError):
        return False
    status: int | None = getattr(error, "status", None)
    return status not in _OF_ONE_CALL or error.problems[0].code in _OF_ALL
