"""The part of the query language that a verification needs, compiled to SQL conditions (push-api.md 2.6).

Comparisons on fields joined by AND (or by nothing), OR, NOT and parentheses; values quoted, bare or listed.
"""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

import orjson

from reconciler.emulator.dates import epoch


class BadQuery(ValueError):
    """An expression that this part of the language does not have."""


class Condition(NamedTuple):
    """A condition on the table of items and the values for its placeholders."""

    where: str
    values: list[object]


_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*")
             | (?P<field>@[A-Za-z][A-Za-z0-9_]*)
             | (?P<operator>==|<>|<=|>=|=|<|>)
             | (?P<mark>[(),])
             | (?P<word>[^\s"(),@=<>]+) )""",
    re.VERBOSE,
)
_COLUMNS = {
    "uri": "uri",
    "sysuri": "uri",
    "permanentid": "permanentid",
    "rowid": "row",
    "sysrowid": "row",
    "source": "place",
    "syssource": "place",
    "size": "body_size",
}
_TIMES = {"date": "date", "sysdate": "date", "indexeddate": "indexeddate"}
_VALUES = "coalesce(fields, metadata)"
_WORD = re.compile(r"\w+")
_MOST_TERMS = 2000
_RANGE = re.compile(r"(-?[\w:/@+]+(?:\.\d+)?(?:-\d+)*)\.\.(-?[\w:/@+.-]+)")


def compile_query(text: str, sources: dict[str, int], dates: frozenset[str] = frozenset()) -> Condition:
    """Return the condition for `text`; `sources` gives the numbers of the sources by their names.

    The fields in `dates` hold points in time, which are compared as such.
    """
    return _Parser(text, sources, dates).whole()


def compile_order(criteria: str, dates: frozenset[str] = frozenset()) -> str:
    """Return the order for sort criteria such as `@rowid ascending`, `date descending` or `relevancy`."""
    parts = []
    for criterion in criteria.split(","):
        field, _, direction = criterion.strip().partition(" ")
        if field.lower() in ("", "relevancy", "nosort", "qre"):
            parts.append("row")
            continue
        if direction.strip().lower() not in ("", "ascending", "descending") or not re.fullmatch(
            r"@?[A-Za-z][A-Za-z0-9_]*", field
        ):
            raise BadQuery(f"no sort criterion '{criterion.strip()[:100]}'")
        descending = " DESC" if direction.strip().lower() == "descending" else ""
        parts.append(_column(field.removeprefix("@"), dates) + descending)
    return ", ".join([*parts, "row"])


def install(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that compiled conditions use."""
    connection.create_function("epoch", 1, epoch, deterministic=True)
    connection.create_function("phrase", 2, _holds_phrase, deterministic=True)


def _column(field: str, dates: frozenset[str]) -> str:
    field = field.lower()
    if field in _COLUMNS:
        return _COLUMNS[field]
    if field in _TIMES:
        # An item without a date of its own has that of its last push (push-api.md 3.1).
        return f"coalesce(epoch(json_extract({_VALUES}, '$.{_TIMES[field]}')), CAST(pushed * 1000 AS INTEGER))"
    # The name was matched by a pattern of letters, digits and underscores.
    value = f"json_extract({_VALUES}, '$.{field}')"
    return f"epoch({value})" if field in dates else value


def _holds_phrase(held: object, phrase: object) -> bool:
    """Return whether a value holds the words of a phrase in their order, without regard to case."""
    words, wanted = _WORD.findall(str(held).casefold()), _WORD.findall(str(phrase).casefold())
    count = len(wanted)
    return bool(wanted) and any(words[at : at + count] == wanted for at in range(len(words) - count + 1))


class _Parser:
    def __init__(self, text: str, sources: dict[str, int], dates: frozenset[str]) -> None:
        self._tokens = list(_tokens(text))
        if len(self._tokens) > _MOST_TERMS * 5:
            raise BadQuery("the expression is too long")
        self._sources = sources
        self._dates = dates | _TIMES.keys()
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        if not self._tokens:
            return Condition("1", [])
        condition = self._either()
        if self._at < len(self._tokens):
            raise BadQuery(f"unexpected '{self._tokens[self._at][1]}'")
        return condition

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _either(self) -> Condition:
        parts = [self._all()]
        while self._peek() == ("word", "OR"):
            self._next()
            parts.append(self._all())
        return _joined(" OR ", parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while True:
            token = self._peek()
            if token == ("word", "AND"):
                self._next()
            elif token[0] == "end" or token in (("word", "OR"), ("mark", ")")):
                return _joined(" AND ", parts)
            parts.append(self._one())

    def _one(self) -> Condition:
        kind, text = self._next()
        if (kind, text) == ("word", "NOT"):
            inner = self._one()
            return Condition(f"NOT ({inner.where})", inner.values)
        if (kind, text) == ("mark", "("):
            self._depth += 1
            if self._depth > 50:
                raise BadQuery("the expression is nested too deeply")
            inner = self._either()
            if self._next() != ("mark", ")"):
                raise BadQuery("a parenthesis is not closed")
            self._depth -= 1
            return inner
        if kind == "field":
            return self._comparison(text[1:].lower())
        raise BadQuery(f"unexpected '{text or 'end'}'")

    def _comparison(self, field: str) -> Condition:
        if self._peek()[0] != "operator":
            return Condition(f"{_column(field, self._dates)} IS NOT NULL", [])
        operator = self._next()[1]
        # Only a bare value is a range: a quoted one may be a uri with two dots.
        bare = self._peek()[0] == "word"
        values = self._values()
        if bare and operator in ("=", "==") and (limits := _RANGE.fullmatch(values[0])):
            return self._between(field, *limits.groups())
        if operator in ("<", ">", "<=", ">="):
            if len(values) != 1:
                raise BadQuery(f"'{operator}' takes one value")
            return Condition(f"{_column(field, self._dates)} {operator} ?", [self._limit(field, values[0])])
        if operator == "=" and field not in _COLUMNS and field not in self._dates:
            return self._containing(field, values)
        condition = self._equal(field, values)
        if operator == "<>":
            return Condition(f"NOT ({condition.where})", condition.values)
        return condition

    def _limit(self, field: str, value: str) -> object:
        if field not in self._dates:
            return _number(value)
        moment = epoch(_number(value))
        if moment is None:
            raise BadQuery(f"'{value[:100]}' is no date")
        return moment

    def _between(self, field: str, least: str, most: str) -> Condition:
        column = _column(field, self._dates)
        return Condition(f"{column} BETWEEN ? AND ?", [self._limit(field, least), self._limit(field, most)])

    def _containing(self, field: str, values: list[str]) -> Condition:
        return Condition(
            f"EXISTS (SELECT 1 FROM json_each({_VALUES}, '$.{field}') AS held, json_each(?) AS asked"  # noqa: S608
            " WHERE phrase(held.value, asked.value))",
            [_list(values)],
        )

    def _values(self) -> list[str]:
        kind, text = self._next()
        if (kind, text) != ("mark", "("):
            return [_value(kind, text)]
        values = [_value(*self._next())]
        while (token := self._next()) == ("mark", ","):
            values.append(_value(*self._next()))
        if token != ("mark", ")"):
            raise BadQuery("a list of values is not closed")
        return values

    def _equal(self, field: str, values: list[str]) -> Condition:
        column = _COLUMNS.get(field)
        if column == "place":
            places = [self._sources[value] for value in values if value in self._sources]
            return Condition("place IN (SELECT value FROM json_each(?))", [_list(places)])
        if column in ("row", "body_size"):
            return Condition(f"{column} IN (SELECT value FROM json_each(?))", [_list(map(_number, values))])  # noqa: S608
        if column is not None:
            return Condition(f"{column} IN (SELECT value FROM json_each(?))", [_list(values)])  # noqa: S608
        if field in self._dates:
            moments = [self._limit(field, value) for value in values]
            column = _column(field, self._dates)
            return Condition(f"{column} IN (SELECT value FROM json_each(?))", [_list(moments)])  # noqa: S608
        # A field with several values equals each of them (push-api.md 4.4); text compares without case.
        return Condition(
            f"EXISTS (SELECT 1 FROM json_each({_VALUES}, '$.{field}') AS held, json_each(?) AS asked"  # noqa: S608
            " WHERE CAST(held.value AS TEXT) = asked.value COLLATE NOCASE)",
            [_list(values)],
        )


def _list(values: object) -> str:
    return orjson.dumps(list(values)).decode()  # type: ignore[call-overload]


def _number(value: str) -> object:
    return int(value) if re.fullmatch(r"-?\d{1,18}", value) else value


def _value(kind: str, text: str) -> str:
    if kind == "string":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if kind == "word":
        return text
    raise BadQuery(f"expected a value, found '{text or 'the end'}'")


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadQuery(f"cannot read '{text[at : at + 20]}'")
        kind = str(match.lastgroup)
        found.append((kind, match.group(kind)))
        at = match.end()
    return found


def _joined(word: str, parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return Condition(word.join(f"({part.where})" for part in parts), [value for part in parts for value in part.values])
