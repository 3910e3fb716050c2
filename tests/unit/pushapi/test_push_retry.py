"""When to try again: statuses, Retry-After, full jitter, the deadline."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.pushapi.retry import (
    RetryPolicy,
    Transient,
    gives_up,
    retry_after,
    retryable,
    run_with_retries,
    wait_seconds,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(attempts=5, deadline=100, base=2, cap=10)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass(status: int) -> None:
    assert retryable(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 412, 413, 415, 501])
def test_what_is_permanent(status: int) -> None:
    assert not retryable(status)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("9" * 200, None),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:01:00 -0000", 60.0),
        ("Thu, 99 Jan 2026 12:01:00 GMT", None),
        ("Thu, 01 Jan 99999999999 12:01:00 GMT", None),
        ("Thu, 01 Jan 2026 12:01:00 +99999999999999", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_retry_after_takes_any_text(value: str) -> None:
    result = retry_after(value, NOW)
    assert result is None or result >= 0


def test_waits_are_drawn_below_a_doubling_ceiling() -> None:
    assert [wait_seconds(POLICY, attempt, None, lambda: 1.0) for attempt in (1, 2, 3, 4, 5000)] == [
        2,
        4,
        8,
        10,
        10,
    ]
    assert wait_seconds(POLICY, 3, None, lambda: 0.25) == 2
    assert wait_seconds(POLICY, 3, 42.0, lambda: 0.25) == 42


def test_giving_up() -> None:
    assert not gives_up(POLICY, 4, 90, 10)
    assert gives_up(POLICY, 4, 90, 10.1)
    assert gives_up(POLICY, 5, 0, 0)


def test_the_loop_waits_and_ends() -> None:
    waits: list[float] = []
    answers = iter([Transient(), Transient(3.0), None])

    def attempt() -> str:
        answer = next(answers)
        if answer is not None:
            raise answer
        return "done"

    assert run_with_retries(attempt, policy=POLICY, sleep=waits.append, draw=lambda: 0.5) == "done"
    assert waits == [1.0, 3.0]


def test_the_loop_gives_up_with_the_last_failure() -> None:
    waits: list[float] = []

    def attempt() -> None:
        raise Transient(40.0)

    with pytest.raises(Transient):
        run_with_retries(attempt, policy=POLICY, sleep=waits.append, draw=lambda: 0.5)
    assert waits == [40.0, 40.0]


def test_the_loop_lets_everything_else_out_at_once() -> None:
    calls: list[int] = []

    def attempt() -> None:
        calls.append(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_with_retries(attempt, policy=POLICY, sleep=lambda _: None, draw=lambda: 0.5)
    assert calls == [1]
