"""What type of field a metadata value asks for.

The documents name the types LONG, LONG_64, DOUBLE, DATE, STRING and VECTOR (push-api.md 4.4) and leave
their ranges open. Our reading: LONG is a signed integer of 32 bits, LONG_64 one of 64, a larger one and
any fraction is a DOUBLE; a text is a DATE where it has one of the two forms that the documents call for
(push-api.md 4.5), else a STRING; a boolean is a STRING (D162), and so is a list of anything, which
takes a field with a multi-value facet. VECTOR is never inferred. It knows no field and no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class FieldType(IntEnum):
    """A type, in the order of the lattice: within numbers and within texts a later one takes all earlier ones."""

    LONG = 0
    LONG_64 = 1
    DOUBLE = 2
    DATE = 3
    STRING = 4
    MULTI = 5
    """A STRING of several values."""

    @property
    def is_number(self) -> bool:
        """Whether it is one of numbers, which no text fits into."""
        return self <= FieldType.DOUBLE

    @property
    def wire(self) -> str:
        """The type's name in a FieldModel (push-api.md 2.6)."""
        return "STRING" if self is FieldType.MULTI else self.name

    def __str__(self) -> str:
        return "STRING, multi-value" if self is FieldType.MULTI else self.name


# Keys that have a field in every organization (push-api.md 3.1), or that the pipeline fills in itself.
WELL_KNOWN = frozenset(
    {
        *("author", "clickableuri", "date", "documenttype", "filename", "filetype", "indexeddate", "language"),
        *("modifieddate", "objecttype", "permanentid", "size", "source", "sourcetype", "title", "uri"),
    }
)

# What an item says outside of its metadata; no type needs to be inferred for these.
TYPED_ELSEWHERE = frozenset({"title", "clickableuri", "permanentid"})

# `2017-11-08T12:18:41.666Z` (seed1) or `2016-01-11 21:23:14`, in UTC as well (seed2).
_DATE = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z| (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
)
is_date = _DATE.fullmatch

_LONG = 1 << 31
_LONG_64 = 1 << 63


def type_of(value: Any) -> FieldType:
    """Return the least type that takes a metadata value."""
    kind = type(value)
    if kind is str:
        return FieldType.DATE if is_date(value) else FieldType.STRING
    if kind is int:
        if -_LONG <= value < _LONG:
            return FieldType.LONG
        return FieldType.LONG_64 if -_LONG_64 <= value < _LONG_64 else FieldType.DOUBLE
    if kind is float:
        return FieldType.DOUBLE
    return FieldType.MULTI if kind is list else FieldType.STRING


def join(types: Iterable[FieldType]) -> FieldType:
    """Return the least type that takes all these: STRING where numbers meet texts. Raises ValueError for none."""
    found = set(types)
    highest = max(found)
    if not highest.is_number and min(found).is_number:
        return max(highest, FieldType.STRING)
    return highest
