"""When to try again, and after how long.

Pure: a status or the lack of an answer, a count of attempts and a time go in, a number of seconds
comes out; the clock, the sleep and the randomness are handed in. The loop itself is tenacity's.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")

RETRYABLE = frozenset({429, 500, 502, 503, 504})
"""Statuses that may pass by themselves; all others are permanent (push-api.md 6)."""

YEAR = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to insist: at most `attempts` if given, and no wait that would end more than `deadline` seconds
    after the first failure.

    The wait is drawn between 0 and `base * 2 ** (attempt - 1)` seconds, at most `cap` (full jitter), and
    is as long as a Retry-After asks for where that is longer. Without one the usual attempts take about 45
    seconds and two minutes at most; the deadline leaves room for one that asks to wait for the end of a
    burst's 5 minutes (push-api.md 4.2). It begins with the first failure, because an upload that breaks or
    expires may have taken an hour (push-api.md 2.2) and is to be begun anew all the same.
    """

    attempts: int | None = 8
    deadline: float = 600.0
    base: float = 1.0
    cap: float = 30.0


def policy_for(seconds: float | None) -> RetryPolicy:
    """Return the policy that insists for so many seconds, whatever the count of attempts; None: the usual one."""
    if seconds is None:
        return RetryPolicy()
    return RetryPolicy(attempts=None if seconds > 0 else 1, deadline=seconds)


class Transient(Exception):
    """One attempt failed in a way that may pass; `retry_after` is what the remote asked for, in seconds."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("the attempt failed in a way that may pass")
        self.retry_after = retry_after


def retryable(status: int) -> bool:
    """Whether an answer with this status may pass by itself."""
    return status in RETRYABLE


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, or None when it says nothing usable.

    The unit of a number is presumed to be seconds (push-api.md 11); a date counts from `now`, and
    one in the past is 0. What is longer than a year counts as a year.
    """
    if value is None or len(value) > 100:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), YEAR)
    return min(seconds, YEAR) if math.isfinite(seconds) and seconds >= 0 else None


def wait_seconds(policy: RetryPolicy, attempt: int, asked: float | None, draw: Callable[[], float]) -> float:
    """Return the wait after the `attempt`-th attempt, counted from 1; `draw` gives numbers from 0 to 1.

    It is never shorter than what was asked for. A remote that asks for 0 seconds is not hammered.
    """
    drawn = draw() * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 60))
    return drawn if asked is None else max(drawn, asked)


def gives_up(policy: RetryPolicy, attempt: int, elapsed: float, wait: float) -> bool:
    """Whether the `attempt`-th attempt was the last: none are left, or the wait ends after the deadline.

    `elapsed` are the seconds since the first failure.
    """
    return (policy.attempts is not None and attempt >= policy.attempts) or elapsed + wait > policy.deadline


def run_with_retries(
    attempt: Callable[[], T],
    *,
    policy: RetryPolicy,
    sleep: Callable[[float], None],
    draw: Callable[[], float],
    noticed: Callable[[int, float, Transient], None] | None = None,
    paused: Callable[[], float] = lambda: 0.0,
) -> T:
    """Call `attempt` until it returns; each Transient that it raises is waited out.

    `noticed` hears, before each wait, the number of the attempt to come, the seconds until then and
    the failure. `paused` says how many seconds within attempts were waiting for their turn so far: those
    do not count against the deadline.
    Raises the last Transient when the policy gives up, and at once whatever else `attempt` raises.
    """
    import tenacity

    failed_first: float | None = None

    def wait(state: tenacity.RetryCallState) -> float:
        error: Any = state.outcome.exception() if state.outcome is not None else None
        return wait_seconds(policy, state.attempt_number, error.retry_after, draw)

    def stop(state: tenacity.RetryCallState) -> bool:
        nonlocal failed_first
        now = (state.seconds_since_start or 0.0) - paused()
        failed_first = now if failed_first is None else failed_first
        # The waits count by what was asked for, too, so that a sleep that returns early cannot
        # stretch the deadline.
        elapsed = max(now - failed_first, state.idle_for)
        return gives_up(policy, state.attempt_number, elapsed, state.upcoming_sleep)

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error: Any = state.outcome.exception() if state.outcome is not None else None
        if noticed is not None:
            noticed(state.attempt_number + 1, state.upcoming_sleep, error)

    loop = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=wait,
        stop=stop,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    return loop(attempt)
