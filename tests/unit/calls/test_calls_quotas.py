"""What a plan takes of the licence's quotas, and how long the allowed pace makes it last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.quotas import (
    DAY,
    PUBLISHED,
    UNLIMITED,
    Allowance,
    Estimate,
    Usage,
    allowance,
    estimate,
    quota_hazards,
)
from reconciler.manifest.project import Quotas


def seconds(allowed: Allowance, calls: int, used: int = 0) -> float:
    return estimate(allowed, calls=calls, items=0, size=0, used=Usage(used)).seconds


def test_the_published_figures() -> None:
    """push-api.md 4.2: 15,000 calls a day, 250 per 5 minutes; items depend on the licence."""
    assert Allowance(15_000, 250, 300, None) == PUBLISHED
    assert PUBLISHED.windows == ((250, 300), (15_000, DAY))
    assert UNLIMITED.windows == ()


@pytest.mark.parametrize(
    ("settings", "published", "expected"),
    [
        (Quotas(), True, PUBLISHED),
        (Quotas(), False, UNLIMITED),
        (Quotas(burst_calls=150), True, Allowance(15_000, 150, 300)),
        (Quotas(burst_calls=150), False, Allowance(None, 150, 300)),
        (Quotas(10_000, 150, 60, 5), True, Allowance(10_000, 150, 60, 5)),
        (Quotas(items_per_day=7), True, Allowance(15_000, 250, 300, 7)),
    ],
)
def test_what_the_project_says_goes_before_what_is_published(
    settings: Quotas, published: bool, expected: Allowance
) -> None:
    assert allowance(settings, published=published) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (0, 0),
        (1, 0),
        (250, 0),
        (251, 300),
        (500, 300),
        (501, 600),
        (15_000, 59 * 300),
        (15_001, DAY),
        (30_001, 2 * DAY),
    ],
)
def test_the_time_that_the_published_pace_takes(calls: int, expected: float) -> None:
    assert seconds(PUBLISHED, calls) == expected


def test_what_was_used_makes_the_rest_wait_for_tomorrow() -> None:
    assert seconds(PUBLISHED, 1000, used=14_000) == 3 * 300
    assert seconds(PUBLISHED, 1001, used=14_000) == DAY
    assert seconds(PUBLISHED, 251, used=20_000) == DAY + 300
    assert seconds(UNLIMITED, 10**6, used=10**6) == 0


@given(
    day=st.integers(1, 40),
    burst=st.integers(1, 12),
    per=st.sampled_from([DAY // 8, DAY // 30, DAY // 90]),
    used=st.integers(0, 60),
    calls=st.integers(1, 120),
)
def test_no_schedule_within_the_windows_is_faster(day: int, burst: int, per: int, used: int, calls: int) -> None:
    """Calls are placed one by one, each as early as both windows let it."""
    placed: list[int] = []
    earlier = min(used, day)
    for number in range(calls):
        at = placed[-1] if placed else 0
        if number >= burst:
            at = max(at, placed[number - burst] + per)
        if number + earlier >= day:
            before = number + earlier - day
            at = max(at, (0 if before < earlier else placed[before - earlier]) + DAY)
        placed.append(at)
    found = seconds(Allowance(day, burst, per), calls, used)
    assert found <= placed[-1]
    if ((day - 1) // burst + 1) * per <= DAY and used == 0:
        # A day's calls fit into a day, as they do with all real figures: then it is exact.
        assert found == placed[-1]


def test_an_estimate_says_what_is_taken_of_a_day() -> None:
    allowed = Allowance(1000, None, 300, 50_000)
    assert estimate(allowed, calls=300, items=10_000, size=77, used=Usage(200, 15_000)) == Estimate(
        calls=300, items=10_000, size=77, seconds=0.0, share_of_calls=0.5, share_of_items=0.5
    )
    free = estimate(UNLIMITED, calls=300, items=10_000, size=77)
    assert (free.share_of_calls, free.share_of_items, free.exceeded) == (None, None, ())


def test_exactly_a_day_is_not_too_much() -> None:
    allowed = Allowance(100, None, 300, 1000)
    assert estimate(allowed, calls=60, items=400, size=0, used=Usage(40, 600)).exceeded == ()
    # What is over already is no concern of a plan that takes nothing.
    assert estimate(allowed, calls=0, items=0, size=0, used=Usage(400, 6000)).exceeded == ()


def test_what_is_more_than_a_day_allows_is_a_hazard() -> None:
    found = estimate(Allowance(100, None, 300, 1000), calls=61, items=401, size=0, used=Usage(40, 600))
    calls, items = quota_hazards(found)
    assert (calls.name, calls.subject, calls.count, calls.allowed) == ("over-quota", "calls", 61, False)
    assert calls.what == ("more than a day's quota: 61 calls on top of 40 of the last 24 hours; 100 a day are allowed")
    assert (items.name, items.subject, items.count) == ("over-quota", "items", 401)
    assert "--allow over-quota" in items.fix
    assert calls.why == items.why != ""


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [((), [False, False]), (("over-quota",), [True, True]), (("over-quota:items", "emptied"), [False, True])],
)
def test_a_hazard_is_allowed_by_its_name(allow: tuple[str, ...], allowed: list[bool]) -> None:
    found = estimate(Allowance(1, None, 300, 1), calls=2, items=2, size=0)
    assert found.exceeded == (("calls", "2 calls; 1 a day are allowed"), ("items", "2 items; 1 a day are allowed"))
    assert [hazard.allowed for hazard in quota_hazards(found, allow=allow)] == allowed


def test_what_fits_is_no_hazard() -> None:
    assert quota_hazards(estimate(PUBLISHED, calls=15_000, items=10**9, size=0)) == ()
