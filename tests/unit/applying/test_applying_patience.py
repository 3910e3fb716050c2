"""How long a run waits once it was asked to stop: the clock is told, the answers are held back."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from reconciler.applying.patience import FOR_ALL, FOR_CALLS, Patience
from reconciler.problems import Interrupted


def jumping(*moments: float) -> Callable[[], float]:
    """Return a clock that shows these moments one after the other, and then the last one for good."""
    left = list(moments)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_nobody_who_was_not_asked_loses_patience() -> None:
    patience = Patience(lambda: False, jumping(0.0, 1e9))
    assert not patience.asked()
    assert not patience.over(0.0)


def test_it_is_counted_from_the_moment_when_the_wish_is_noticed() -> None:
    patience = Patience(lambda: True, jumping(100.0, 100.0 + FOR_CALLS - 0.1, 100.0 + FOR_CALLS))
    assert patience.asked()
    assert not patience.over(FOR_CALLS)
    assert patience.over(FOR_CALLS)


def test_an_answer_is_handed_over_and_so_is_what_it_raises() -> None:
    patience = Patience(lambda: True, lambda: 0.0)
    assert patience.answer("it", lambda: 7) == 7
    with pytest.raises(KeyError, match="x"):
        patience.answer("it", lambda: {}["x"])


def test_what_is_told_meanwhile_comes_at_once_and_in_order() -> None:
    go_on = threading.Event()

    def ask(tell: Callable[[int], None]) -> None:
        tell(1)
        assert go_on.wait(30)
        tell(2)

    heard = Patience(lambda: False, lambda: 0.0).listen("it", ask)
    assert next(heard) == 1
    go_on.set()
    assert list(heard) == [2]


def test_an_answer_that_takes_too_long_is_left_once_somebody_asked_to_stop() -> None:
    held = threading.Event()
    patience = Patience(lambda: True, jumping(0.0, FOR_ALL))
    try:
        with pytest.raises(Interrupted, match="the weather was not answered"):
            patience.answer("the weather", lambda: held.wait(30))
    finally:
        held.set()
