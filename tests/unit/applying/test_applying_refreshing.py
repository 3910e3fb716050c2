"""The refresh of providers at the end of a run: of whom, how often, and however the run ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.applying.apply import Run, run_calls
from reconciler.applying.events import (
    Event,
    Noted,
    ProviderAccepted,
    RefreshRetried,
    RefreshTriggered,
    RunFinished,
)
from reconciler.applying.patience import Patience
from reconciler.applying.refreshing import Refreshing
from reconciler.problems import Problem, RemoteError, StateError
from reconciler.pushapi.failures import CallFailed as RemoteFailure
from tests.unit.applying.test_applying_run import CHANGES, PROBLEM, Book, Ticks, Wire, run_of


@dataclass
class Cache:
    """A refresher that remembers whom it was asked for, and raises for some."""

    refuses: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def __call__(self, provider: str, *, retried: Callable[[int, float, str], None]) -> None:
        self.asked.append(provider)
        if provider in self.refuses:
            raise RemoteError(Problem("refresh-not-allowed", "no", where=provider))


def events_of(cache: Cache, wire: Wire, run: Run | None = None, **more: Any) -> list[Event]:
    arguments: dict[str, Any] = {"stop": lambda: False, "writer": Book(), **more}
    return list(run_calls(run or run_of(), send=wire, clock=Ticks().clock(), refresh=cache, **arguments))


def finished(events: list[Event]) -> tuple[ProviderAccepted, ...]:
    assert isinstance(events[-1], RunFinished)
    return events[-1].identities


def test_a_refresh_that_is_tried_again_is_told_while_it_is_waited_for() -> None:
    waits, going = threading.Event(), threading.Event()

    def refresh(provider: str, *, retried: Callable[[int, float, str], None]) -> None:
        retried(2, 0.5, "HTTP 503")
        going.set()
        assert waits.wait(30)

    refreshing = Refreshing(Patience(lambda: False, lambda: 0.0), refresh, ["corp"])
    events = refreshing.events()
    assert next(events) == RefreshRetried("corp", 2, 0.5, "HTTP 503")
    assert going.wait(30)
    assert refreshing.outcome()[0].refresh == "failed", "nothing is done yet"
    waits.set()
    assert list(events) == [RefreshTriggered("corp")]


def test_a_provider_is_refreshed_once_after_the_last_call() -> None:
    cache, wire = Cache(), Wire()
    events = events_of(cache, wire)
    assert cache.asked == ["corp"]
    assert events[-2] == RefreshTriggered("corp")
    assert finished(events) == (ProviderAccepted("corp", 1, 1, "triggered"),)


def test_without_identity_calls_nobody_is_refreshed() -> None:
    cache = Cache()
    assert finished(events_of(cache, Wire(), run_of(CHANGES[1:]))) == ()
    assert cache.asked == []


def test_without_a_refresher_what_was_accepted_is_counted() -> None:
    events = list(run_calls(run_of(), writer=Book(), send=Wire(), clock=Ticks().clock(), stop=lambda: False))
    assert finished(events) == (ProviderAccepted("corp", 1, 1, "not-asked"),)


@pytest.mark.parametrize("status", [403, 504])
def test_a_run_that_fails_after_identity_calls_refreshes_them(status: int) -> None:
    cache = Cache()
    events = events_of(cache, Wire([None, RemoteFailure(PROBLEM, outcome="refused", status=status)]))
    assert cache.asked == ["corp"]
    assert finished(events) == (ProviderAccepted("corp", 1, 1, "triggered"),)


def test_so_does_one_that_was_asked_to_stop() -> None:
    cache, wire = Cache(), Wire()
    events_of(cache, wire, stop=lambda: len(wire.sent) >= 1)
    assert (len(wire.sent), cache.asked) == (1, ["corp"])


def test_what_may_have_been_accepted_is_refreshed_and_not_counted() -> None:
    cache = Cache()
    events = events_of(cache, Wire([RemoteFailure(PROBLEM, outcome="unknown", status=504)]))
    assert finished(events) == (ProviderAccepted("corp", 0, 0, "triggered"),)


def test_what_was_refused_is_not_refreshed() -> None:
    cache = Cache()
    assert finished(events_of(cache, Wire([RemoteFailure(PROBLEM, outcome="refused", status=400)]))) == ()
    assert cache.asked == []


def test_a_refresh_that_fails_is_a_note_and_the_others_are_asked_for() -> None:
    cache, book = Cache(refuses=("corp",)), Book()
    events = events_of(cache, Wire(), run_of(unrefreshed=("other", "corp", "elder")), writer=book)
    assert cache.asked == ["corp", "elder", "other"]
    assert [event.problem.code for event in events if isinstance(event, Noted)] == ["refresh-not-allowed"]
    assert finished(events) == (
        ProviderAccepted("corp", 1, 1, "failed"),
        ProviderAccepted("elder", 0, 0, "triggered"),
        ProviderAccepted("other", 0, 0, "triggered"),
    )
    assert book.lines[-1] == ("end", "t", "done", "")


def test_a_state_that_cannot_be_written_does_not_keep_a_narrowing_waiting() -> None:
    cache = Cache()
    with pytest.raises(StateError):
        events_of(cache, Wire(), writer=Book(fail_at="settle"))
    assert cache.asked == ["corp"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_who_ends_it_at_once_waits_for_no_refresh(error: BaseException) -> None:
    cache = Cache()
    with pytest.raises(type(error)):
        events_of(cache, Wire([None, error]))
    assert cache.asked == []
