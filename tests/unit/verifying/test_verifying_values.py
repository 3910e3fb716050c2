"""Which shown value is the recorded one (push-api.md 4.4, 4.5)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.planning.fields import Field
from reconciler.verifying.values import differences, same_value

DATE = "2017-11-08T12:18:41.666Z"
MOMENT = 1510143521666


@pytest.mark.parametrize(
    ("kind", "recorded", "shown", "same"),
    [
        ("LONG", 5, 5, True),
        ("LONG", 5, "5", True),
        ("LONG", "5", 5, True),
        ("LONG", 5, 6, False),
        ("LONG", 1.5, 1, False),
        ("LONG", 5, None, False),
        ("LONG", "many", 5, False),
        ("LONG_64", 2**60, 2**60, True),
        ("LONG_64", 2**60, 2**60 + 2**40, False),
        ("DOUBLE", 0.1, 0.1, True),
        ("DOUBLE", 0.1, 0.1 + 1e-12, True),
        ("DOUBLE", 1, 1.0, True),
        ("DOUBLE", 0.1, 0.2, False),
        ("DATE", DATE, MOMENT, True),
        ("DATE", DATE, MOMENT - 666, True),
        ("DATE", DATE, str(MOMENT), True),
        ("DATE", DATE, MOMENT + 1000, False),
        ("DATE", DATE, None, False),
        ("DATE", "2016-01-11 21:23:14", 1452547394000, True),
        ("DATE", "2016-01-11 21:23:14", 1452543794000, False),
        ("DATE", "Mon, 11 Jan 2016 21:23:14 GMT", 7, True),
        ("DATE", "2017-02-31T00:00:00Z", 7, True),
        ("DATE", MOMENT, MOMENT, True),
        ("DATE", MOMENT, 7, False),
        ("STRING", "a", "a", True),
        ("STRING", "a  b\n", "a b", True),
        ("STRING", "a", "A", False),
        ("STRING", "a", None, False),
        ("STRING", "", None, True),
        ("STRING", [], None, True),
        ("STRING", True, "true", True),
        ("STRING", True, "True", True),
        ("STRING", True, "false", False),
        ("STRING", 5, "5", True),
        ("STRING", 5.0, "5", True),
        ("STRING", 5, "six", False),
        ("STRING", ["a", "b"], "b;a", True),
        ("STRING", ["a", "b"], ["b", "a"], True),
        ("STRING", ["a", "b"], ["a"], False),
        ("STRING", [1, True], "1;true", True),
        ("STRING", "a", ["a"], True),
        ("VECTOR", [1, 2], [3], True),
        ("VECTOR", [1, 2], None, True),
    ],
)
def test_values(kind: str, recorded: Any, shown: Any, same: bool) -> None:
    assert same_value(Field("k", kind), recorded, shown) is same


def test_a_multi_value_field_splits_a_single_text() -> None:
    assert same_value(Field("k", "STRING", multi=True), "a; b", ["b", "a"])


def test_differences_are_told_by_key() -> None:
    field = Field("k", "STRING")
    expected = {"z": (field, "x" * 100), "same": (Field("s", "LONG"), 1), "a": (Field("n", "LONG"), 2)}
    assert differences(expected, {"k": True, "s": 1}) == [
        'no value in the field "n", not 2 of metadata "a"',
        f'true in the field "k", not "{"x" * 59}... of metadata "z"',
    ]
