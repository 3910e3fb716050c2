"""Turns to call: no more than allowed in any window, shared by threads, and waited for politely."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.problems import Interrupted, Problem
from reconciler.pushapi.failures import CallFailed
from reconciler.pushapi.http import Http
from reconciler.pushapi.pace import OutOfTurn, Pace, Window
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Progress, Session

DAY = 86_400


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.sleeps: list[float] = []
        self.told: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def waiting(self, seconds: float, reason: str) -> None:
        self.told.append((round(seconds, 1), reason))

    def turns(self, pace: Pace, count: int) -> list[float]:
        began = self.now
        taken = []
        for _ in range(count):
            pace.take_turn(self.sleep, self.waiting)
            taken.append(self.now - began)
        return taken


def most_within(moments: Sequence[float], seconds: float) -> int:
    return max(sum(start <= moment < start + seconds for moment in moments) for start in moments)


def test_a_burst_goes_at_once_and_the_next_call_waits_for_the_window() -> None:
    time = Time()
    pace = Pace([Window(250, 300), Window(15_000, DAY)], clock=time.clock)
    assert time.turns(pace, 250) == [0.0] * 250
    assert time.told == []
    assert time.turns(pace, 2) == pytest.approx([300, 300], abs=0.01)
    assert time.told == [(300.0, "250 calls per 300 s")]
    assert len(time.sleeps) == 1


def test_without_windows_nobody_waits() -> None:
    time = Time()
    assert time.turns(Pace(clock=time.clock), 1000) == [0.0] * 1000


windows = st.lists(st.builds(Window, st.integers(1, 12), st.integers(1, 40)), min_size=1, max_size=3)


@given(windows, st.lists(st.floats(0, 5), min_size=1, max_size=60))
@example([Window(250, 300), Window(340, 400)], [0.0] * 60)
@example([Window(2, 3), Window(5, 4)], [0.0] * 20)
@example([Window(5, 10), Window(4, 20), Window(9, 20)], [0.0] * 20)
def test_no_window_ever_holds_more_than_it_may(allowed: list[Window], idle: list[float]) -> None:
    time = Time()
    pace = Pace(allowed, clock=time.clock)
    moments = []
    for seconds in idle:
        time.now += seconds
        pace.take_turn(time.sleep)
        moments.append(time.now)
    for window in allowed:
        assert most_within(moments, window.seconds) <= window.calls
    # Nobody looks again and again: a turn takes at most one wait for each window.
    assert len(time.sleeps) <= len(moments) * len(allowed)


def test_a_days_calls_that_are_made_are_not_waited_for() -> None:
    time = Time()
    pace = Pace([Window(3, DAY)], clock=time.clock)
    time.turns(pace, 3)
    time.now += 3600
    with pytest.raises(OutOfTurn) as caught:
        time.turns(pace, 1)
    assert str(caught.value) == "3 calls a day are allowed and made; the next one may go in 23 h"
    assert (time.sleeps, time.told) == ([], [])
    time.now += 23 * 3600 + 1
    assert time.turns(pace, 1) == [0.0]


def test_waiting_ends_with_what_the_sleep_raises() -> None:
    time = Time()
    pace = Pace([Window(1, 60)], clock=time.clock)
    time.turns(pace, 1)

    def stopped(seconds: float) -> None:
        raise Interrupted(Problem("interrupted", "stopped"))

    with pytest.raises(Interrupted):
        pace.take_turn(stopped)


def test_threads_share_the_turns_and_one_of_them_tells_of_a_wait() -> None:
    now = [0.0]
    pace = Pace([Window(5, 10)], clock=lambda: now[0])
    gate = threading.Condition()
    put_off = [0]
    moments: list[float] = []
    told: list[str] = []

    def sleep(seconds: float) -> None:
        with gate:
            until = now[0] + seconds
            put_off[0] += 1
            gate.notify_all()
            assert gate.wait_for(lambda: now[0] >= until, timeout=30)

    def work() -> None:
        pace.take_turn(sleep, lambda _, reason: told.append(reason))
        with gate:
            moments.append(now[0])
            gate.notify_all()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for state in ((5, 7), (10, 7 + 2), (12, 7 + 2)):
        with gate:
            assert gate.wait_for(lambda: (len(moments), put_off[0]) == state, timeout=30)  # noqa: B023
            now[0] += 10.001
            gate.notify_all()
    for thread in threads:
        thread.join()
    assert [moments.count(moment) for moment in sorted(set(moments))] == [5, 5, 2]
    assert told == ["5 calls per 10 s"] * 2


# -- in a session ----------------------------------------------------------------------------------


def session(
    time: Time, pace: Pace, answer: Callable[[httpx.Request], httpx.Response], policy: RetryPolicy | None = None
) -> Session:
    return Session(
        "xx-key",
        user_agent="test",
        transport=httpx.MockTransport(answer),
        pace=pace,
        waiting=time.waiting,
        policy=policy or RetryPolicy(deadline=100),
        sleep=time.sleep,
        draw=lambda: 0.5,
        clock=time.clock,
        now=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC),
    )


def call(session: Session) -> Progress:
    progress = Progress("call 1")
    session.run(lambda: session.exchange(progress, "call", "PUT", "http://remote/x"), progress)
    return progress


def test_every_attempt_is_a_call() -> None:
    time = Time()
    answers = iter([503, 503, 202, 202])
    api = session(time, Pace([Window(2, 60)], clock=time.clock), lambda _: httpx.Response(next(answers)))
    assert call(api).attempts == 3
    assert sum(time.sleeps) == pytest.approx(60, abs=0.01)
    assert [reason for _, reason in time.told] == ["2 calls per 60 s"]


def test_sessions_share_a_pace_and_storage_takes_no_turn() -> None:
    time = Time()
    pace = Pace([Window(2, 60)], clock=time.clock)
    one, other = (session(time, pace, lambda _: httpx.Response(202)) for _ in range(2))
    storage = Http(headers={}, transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    progress = Progress("call 2")
    call(one)
    for _ in range(5):
        one.settle(progress, "upload", lambda: storage.exchange("PUT", "http://storage/x"), 0)
    call(other)
    assert time.sleeps == []
    call(one)
    assert len(time.sleeps) == 1


def test_waiting_for_a_turn_is_not_held_against_a_calls_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    # tenacity reads the clock of the process.
    monkeypatch.setattr("time.monotonic", time.clock)
    answers = iter([202, 503, 202])
    api = session(time, Pace([Window(1, 300)], clock=time.clock), lambda _: httpx.Response(next(answers)))
    call(api)
    progress = call(api)
    assert (progress.attempts, progress.paused) == (2, pytest.approx(600, abs=1))


def test_a_throttled_call_makes_the_others_wait() -> None:
    time = Time()
    pace = Pace(clock=time.clock)
    answers = iter([httpx.Response(429, headers={"Retry-After": "40"}), httpx.Response(202)])
    slept: list[float] = []

    def while_the_other_sleeps(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            assert time.turns(pace, 1) == [40.0]
        time.now = max(time.now, 1_000_040.0)

    api = session(time, pace, lambda _: next(answers))
    api._sleep = while_the_other_sleeps
    assert call(api).attempts == 2
    # It was told of as a retry already.
    assert (slept, time.told) == ([40.0], [])


def test_a_pause_that_nobody_waits_for_holds_nobody() -> None:
    time = Time()
    pace = Pace(clock=time.clock)
    api = session(time, pace, lambda _: httpx.Response(429, headers={"Retry-After": "604800"}))
    with pytest.raises(CallFailed):
        call(api)
    assert time.turns(pace, 1) == [0.0]


def test_a_call_without_a_turn_was_not_sent() -> None:
    time = Time()
    api = session(time, Pace([Window(1, DAY)], clock=time.clock), lambda _: httpx.Response(202))
    call(api)
    with pytest.raises(CallFailed) as caught:
        call(api)
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.outcome, caught.value.exit_code) == ("quota-used-up", "refused", 4)
    assert problem.what == "1 calls a day are allowed and made; the next one may go in 24 h"
    assert problem.fix == ("run again after 2026-01-02 12:00:00 UTC; if the licence allows more, say so under `quotas`")
