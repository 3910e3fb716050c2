"""When identity changes take effect, and in which words."""

from __future__ import annotations

import pytest

from reconciler.calls.call import Call, CallKind, Covered, IdentityEffect, Verb
from reconciler.calls.effective import duration, effective_words, effects_of
from reconciler.model.address import Address


def call(number: int, kind: CallKind, scope: str, *addresses: str) -> Call:
    covers = tuple(Covered(Address(address), Verb.PUT) for address in addresses)
    return Call(number, kind, "PUT", "organizations/org/x", (), scope, covers, 10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "1 min"),
        (5400, "90 min"),
        (3600, "1 h"),
        (86_400, "24 h"),
        (129_600, "36 h"),
        (172_800, "2 d"),
        (604_800, "7 d"),
        (61, "61 s"),
    ],
)
def test_a_duration_in_the_largest_unit_that_tells_it_exactly(seconds: int, words: str) -> None:
    assert duration(seconds) == words


def test_when_a_change_takes_effect() -> None:
    assert effective_words(None) == "at the provider's next refresh"
    assert effective_words(86_400) == "within 24 h, at the provider's next refresh"


def test_each_provider_counts_its_calls_and_each_identity_once() -> None:
    calls = [
        call(1, CallKind.IDENTITY_BATCH, "corp", "group/corp/A", "group/corp/B"),
        # Put for the time being by the first call, and as it is to be by this one.
        call(2, CallKind.IDENTITY_PUT, "corp", "group/corp/A"),
        call(3, CallKind.MAPPING_PUT, "other", "alias/other/user:a"),
        call(4, CallKind.ITEM_PUT, "handbook", "item/handbook/file:///a"),
        call(5, CallKind.IDENTITY_OLDER_THAN, "other"),
    ]
    assert effects_of(calls, {"corp": 3600, "unused": 60}) == (
        IdentityEffect("corp", 2, 2, 3600),
        IdentityEffect("other", 2, 1, None),
    )
    assert effects_of(calls[3:4], {"handbook": 60}) == ()
