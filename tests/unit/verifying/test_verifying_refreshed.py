"""What waits for a refresh, and what is wrong: told by the dates that the cache shows, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.address import Address
from reconciler.verifying.findings import Finding, Status, problem_of
from reconciler.verifying.refreshed import SeenCache, in_time
from reconciler.verifying.seen import NOT_UPDATED, SeenIdentity, read_identity, who

TEAM = Address("group/corp/Team")
PUSHED = 1_700_000_000_500
BEFORE, AFTER = PUSHED - 400, PUSHED + 400
DIFFERENT = Finding(TEAM, Status.DIFFERENT, PUSHED, "members-differ", "the group differs")
MISSING = Finding(TEAM, Status.MISSING, PUSHED, "not-in-cache", "the cache does not list it")


def seen(updated: int | None, state: str = "UP_TO_DATE") -> SeenIdentity:
    return SeenIdentity(who("group", "pid", "Team"), state, updated=updated)


def cache_of(*entries: SeenIdentity) -> SeenCache:
    cache = SeenCache()
    for entry in entries:
        cache.add(entry)
    return cache


@pytest.mark.parametrize("status", [Status.VERIFIED, Status.REJECTED, Status.UNRESOLVED])
def test_what_is_neither_missing_nor_different_stays_as_it_is(status: Status) -> None:
    finding = replace(DIFFERENT, status=status)
    assert in_time(finding, PUSHED, seen(BEFORE), cache_of(seen(BEFORE))) is finding


@pytest.mark.parametrize(
    ("updated", "waits"),
    [
        (BEFORE, True),
        (AFTER, False),
        (PUSHED, False),
        # A date without milliseconds may have been any moment of its second.
        (PUSHED - 500, False),
        (PUSHED - 1500, True),
        (None, False),
    ],
)
def test_an_identity_waits_while_its_date_is_before_its_push(updated: int | None, waits: bool) -> None:
    # Others were refreshed since, each for itself (push-api.md 2.6): that says nothing of this one.
    found = in_time(DIFFERENT, PUSHED, seen(updated), cache_of(seen(updated), seen(AFTER)))
    assert (found.status is Status.WAITING) is waits
    assert waits or found is DIFFERENT


@pytest.mark.parametrize("known", [None, seen(None, NOT_UPDATED)])
@pytest.mark.parametrize(
    ("others", "waits"),
    [
        ((), True),
        ((seen(None, NOT_UPDATED),), True),
        ((seen(BEFORE),), True),
        ((seen(BEFORE), seen(AFTER)), False),
        ((seen(None),), False),
    ],
)
def test_one_that_is_not_listed_waits_while_nothing_was_refreshed_since(
    known: SeenIdentity | None, others: tuple[SeenIdentity, ...], waits: bool
) -> None:
    found = in_time(MISSING, PUSHED, known, cache_of(*others))
    assert (found.status is Status.WAITING) is waits


def test_what_waits_is_told_with_both_times_and_what_ends_it() -> None:
    found = in_time(DIFFERENT, PUSHED, seen(BEFORE), cache_of(seen(BEFORE)))
    assert (found.code, found.final) == ("not-refreshed", False)
    assert found.what == (
        "the group differs: pushed at 2023-11-14T22:13:20.500Z, and the cache was last refreshed at "
        "2023-11-14T22:13:20.100Z"
    )
    assert in_time(MISSING, PUSHED, None, SeenCache()).what.endswith("and the cache was never refreshed")
    for finding in (found, replace(found, deletion=True)):
        problem = problem_of(finding)
        assert "those who lose sight keep it" in problem.why
        assert "reconciler apply --refresh-identities" in problem.fix


@pytest.mark.parametrize(
    ("date", "updated"),
    [
        ("2023-11-14T22:13:20.500Z", PUSHED),
        (PUSHED, PUSHED),
        (str(PUSHED), PUSHED),
        (None, None),
        ("soon", None),
        ("2023-11-14T22:13:20", None),
        (-1, None),
    ],
)
def test_the_date_of_the_last_update_may_be_text_or_milliseconds(date: object, updated: int | None) -> None:
    found = read_identity({"name": "Team", "type": "Group", "lastUpdateDate": date}, "pid")
    assert found is not None
    assert found.updated == updated


@pytest.mark.parametrize(
    ("detail", "result", "said"),
    [
        ("no answer", "TIMED_OUT", "no answer"),
        ("", "TIMED_OUT", "TIMED_OUT"),
        (None, "SECURITY_PROVIDER_IS_NOT_READY", "SECURITY_PROVIDER_IS_NOT_READY"),
        ("", "SUCCESS", ""),
        ("", "NONE", ""),
    ],
)
def test_a_refresh_that_failed_says_why(detail: str | None, result: str, said: str) -> None:
    entry = {"name": "Team", "type": "Group", "lastUpdateErrorDetail": detail, "lastUpdateResult": result}
    found = read_identity(entry, "pid")
    assert found is not None
    assert found.error == said
