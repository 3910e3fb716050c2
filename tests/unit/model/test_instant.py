"""Instants as people write them, and what is none."""

from __future__ import annotations

import pytest

from reconciler.model.instant import NotAnInstant, instant_text, moment_text, parse_instant, parse_moment, short_instant


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2028-02-29", "2028-02-29T00:00:00Z"),
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31t18:00z", "2027-01-31T18:00:00Z"),
        ("2027-01-31T00:30:00+01:00", "2027-01-30T23:30:00Z"),
        ("2027-01-31 18:00:05 -05:30", "2027-01-31T23:30:05Z"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_an_instant_is_told_in_utc(written: str, told: str) -> None:
    assert instant_text(parse_instant(written)) == told
    assert parse_instant(told) == parse_instant(written)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("", "is neither a date nor a date with a time"),
        ("soon", "is neither a date nor a date with a time"),
        ("20270131", "is neither a date nor a date with a time"),
        ("31.01.2027", "is neither a date nor a date with a time"),
        ("2027-1-31", "is neither a date nor a date with a time"),
        ("2027-01-31\n", "is neither a date nor a date with a time"),
        ("٢٠٢٧-٠١-٣١", "is neither a date nor a date with a time"),
        ("2027-01-31T18:00:00.5Z", "is neither a date nor a date with a time"),
        ("2027-01-31T18:00:00", "has a time without a zone"),
        ("2027-01-31 18:00", "has a time without a zone"),
        ("2027-02-29", "is no day or time that exists"),
        ("2027-13-01", "is no day or time that exists"),
        ("0000-01-01", "is no day or time that exists"),
        ("2027-01-31T24:00Z", "is no day or time that exists"),
        ("2027-01-31T23:59:60Z", "is no day or time that exists"),
        ("2027-01-31T18:00+99:00", "is no day or time that exists"),
        ("9999-12-31T23:00:00-05:00", "is no day or time that exists"),
    ],
)
def test_what_is_no_instant_says_why(written: str, what: str) -> None:
    with pytest.raises(NotAnInstant, match=f"^{what}$"):
        parse_instant(written)


def test_a_first_instant_of_a_day_is_told_as_the_day() -> None:
    assert short_instant("2027-01-31T00:00:00Z") == "2027-01-31"
    assert short_instant("2027-01-31T00:00:01Z") == "2027-01-31T00:00:01Z"


@pytest.mark.parametrize(
    ("written", "told", "milliseconds"),
    [
        ("1970-01-01", "1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.25Z", "1970-01-01T00:00:01.250Z", 1250),
        ("1970-01-01T01:00:01.007+01:00", "1970-01-01T00:00:01.007Z", 1007),
        ("1970-01-01T00:00:01.0079999Z", "1970-01-01T00:00:01.007Z", 1007),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_a_moment_is_exact_to_the_millisecond(written: str, told: str, milliseconds: int) -> None:
    assert (parse_moment(written), moment_text(milliseconds)) == (milliseconds, told)
    assert parse_moment(told) == milliseconds


@pytest.mark.parametrize("written", ["", "soon", "2027-01-31T18:00:00.Z", "2027-01-31T18:00:00.5", "2027-01-31.5"])
def test_what_is_no_moment_is_refused(written: str) -> None:
    with pytest.raises(NotAnInstant):
        parse_moment(written)
