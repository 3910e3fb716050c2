"""Whether the value that the index shows is the one that was recorded.

Pure. The pipeline converts values to the field's type (push-api.md 4.4, 4.5): dates come back as epoch
milliseconds, several values as a list or joined by semicolons, truth values and numbers in a STRING as
text. What this tool cannot convert with certainty counts as the same: a difference is only told where
it is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from reconciler.model.metadata import is_date
from reconciler.planning.fields import Field

_NUMBERS = frozenset({"LONG", "LONG_64", "DOUBLE"})
_SHOWN = 60


def differences(expected: Mapping[str, tuple[Field, Any]], shown: Mapping[str, Any]) -> list[str]:
    """Return what is different, a phrase for each field; `expected` holds field and recorded value by key."""
    out = []
    for key, (field, recorded) in sorted(expected.items()):
        value = shown.get(field.name)
        if not same_value(field, recorded, value):
            found = "no value" if value is None else _text(value)
            out.append(f'{found} in the field "{field.name}", not {_text(recorded)} of metadata "{key}"')
    return out


def same_value(field: Field, recorded: Any, shown: Any) -> bool:
    """Whether a field shows a recorded metadata value; `shown` is None where it shows none."""
    if shown is None:
        return recorded in ("", []) or field.type not in (_NUMBERS | {"DATE", "STRING"})
    if field.type == "DATE":
        return _same_date(recorded, shown)
    if field.type in _NUMBERS:
        return _same_number(recorded, shown)
    if field.type == "STRING":
        return _same_text(field, recorded, shown)
    return True


def _same_date(recorded: Any, shown: Any) -> bool:
    moment = _number(shown)
    if type(recorded) is not str:
        return _same_number(recorded, shown)
    if is_date(recorded) is None or moment is None:
        # One of the many forms that the pipeline reads and we do not.
        return True
    parsed = _milliseconds(recorded)
    return parsed is None or moment == parsed or (moment % 1000 == 0 and moment == parsed // 1000 * 1000)


def _milliseconds(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def _same_number(recorded: Any, shown: Any) -> bool:
    wanted, found = _number(recorded), _number(shown)
    if wanted is None or found is None:
        return bool(recorded == shown)
    return wanted == found or math.isclose(wanted, found, rel_tol=1e-9)


def _number(value: Any) -> int | float | None:
    if type(value) in (int, float):
        number: int | float = value
        return number
    if type(value) is not str or len(value) > 40:
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return None


def _same_text(field: Field, recorded: Any, shown: Any) -> bool:
    if type(recorded) is list or type(shown) is list or field.multi:
        return _parts(recorded) == _parts(shown)
    if type(recorded) is bool:
        return str(shown).casefold() == str(recorded).casefold()
    if type(recorded) in (int, float):
        return _same_number(recorded, shown)
    return " ".join(str(shown).split()) == " ".join(str(recorded).split())


def _parts(value: Any) -> set[str]:
    """Return the single values, without order and repeats: a facet knows neither."""
    values = value if type(value) is list else [value]
    return {part.strip() for entry in values for part in _plain(entry).split(";")} - {""}


def _plain(value: Any) -> str:
    if type(value) is bool:
        return str(value).lower()
    return str(int(value)) if type(value) is float and value.is_integer() else str(value)


def _text(value: Any) -> str:
    text = _plain(value) if type(value) in (bool, int, float) else orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
