"""Rows of CSV, JSON Lines and Parquet files, one at a time, never a whole file.

Each row is a mapping of plain values as JSON has them, so that a template cannot tell where it came
from. What is wrong with one row is said with its line, and the rows after it are still read; what is
wrong with the file ends it.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Collection, Iterator
from io import BufferedReader, FileIO
from typing import Any, Literal, NamedTuple, NoReturn

from reconciler.manifest.paths import ProjectFolder
from reconciler.problems import ManifestError, Problem

RowFormat = Literal["csv", "jsonl", "parquet"]

MAX_CELL = 16 << 20
MAX_LINE = 64 << 20
MAX_PROBLEMS = 20
BUFFER = 256 << 10
MISSING_ROWS = "a row that is left out would look like an item that was deleted."
_KEY = re.compile(rb'"[ \t\r]*:')
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


class Row(NamedTuple):
    """One row: the line it begins at (Parquet: its number), and its values by column."""

    line: int
    values: dict[str, Any]


class BadRow(NamedTuple):
    """A row that cannot be used."""

    line: int
    problem: Problem


def iter_rows(
    folder: ProjectFolder, path: str, row_format: RowFormat, columns: Collection[str] | None = None
) -> Iterator[Row | BadRow]:
    """Yield the rows of a file in their order, those that cannot be used as `BadRow`.

    An empty CSV cell is an absent value (None). `columns` spares a Parquet file the columns that
    nobody asks for. After `MAX_PROBLEMS` bad rows the rest is not looked at. Raises ManifestError
    when the file itself cannot be used; that problem names the line in its text.
    """
    bad = 0
    with BufferedReader(folder.open(path), BUFFER) as file:
        for row in _READERS[row_format](file, path, columns):
            yield row
            bad += isinstance(row, BadRow)
            if bad >= MAX_PROBLEMS:
                _refuse(
                    "too-many-bad-rows", f'"{path}" has {bad} bad rows up to line {row.line}', "correct these first."
                )


def column_names(folder: ProjectFolder, path: str, row_format: RowFormat) -> list[str] | None:
    """Return the columns that every row of the file has, or None where each row has its own (JSON Lines)."""
    if row_format == "jsonl":
        return None
    with BufferedReader(folder.open(path), BUFFER) as file:
        if row_format == "csv":
            return _Csv(file, path).header()
        return list(_parquet(file, path).schema_arrow.names)


def _csv_rows(file: BufferedReader[FileIO], path: str, _columns: Collection[str] | None) -> Iterator[Row | BadRow]:
    source = _Csv(file, path)
    header = source.header()
    while True:
        line = source.line + 1
        cells = source.next_cells()
        if cells is None:
            return
        if len(cells) == len(header):
            yield Row(line, {name: cell or None for name, cell in zip(header, cells, strict=True)})
        elif cells:
            what = f'the row at "{path}:{line}" has {len(cells)} cells, the header {len(header)}'
            yield BadRow(line, _row_problem(what, "a cell with a comma or a line break needs double quotes."))


class _Csv:
    """A CSV file as records; one record, with all the lines that its quotes span, is bounded too."""

    def __init__(self, file: BufferedReader[FileIO], path: str) -> None:
        import csv

        # The limit is one for the whole process and not ours to lower again: another thread may be reading.
        if csv.field_size_limit() < MAX_CELL:
            csv.field_size_limit(MAX_CELL)
        self._error = csv.Error
        self._path = path
        self._taken = 0
        self._reader = csv.reader(self._lines(file), strict=True)

    @property
    def line(self) -> int:
        """The number of the last line read."""
        return self._reader.line_num

    def next_cells(self) -> list[str] | None:
        """Return the next record, empty for a blank line, None at the end."""
        self._taken = 0
        try:
            return next(self._reader, None)
        except self._error as error:
            reason = str(error).partition(" - ")[0]  # the rest is advice to programmers, another one in each Python
            _refuse("bad-csv", f'"{self._path}:{max(self.line, 1)}" is no CSV: {reason}', "correct the line.")

    def header(self) -> list[str]:
        """Return the column names."""
        cells = self.next_cells()
        while cells == []:
            cells = self.next_cells()
        path = self._path
        if cells is None:
            _refuse("bad-csv", f'"{path}" has no header line', "name the columns in the first line.")
        names = [name.strip() for name in cells]
        if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
            _refuse("bad-csv", f'"{path}" separates its cells by something else than commas', "save it with commas.")
        seen: set[str] = set()
        for number, name in enumerate(names, start=1):
            if not name:
                _refuse("bad-csv", f'column {number} of "{path}" has no name', "name every column in the header line.")
            if name in seen:
                _refuse("bad-csv", f'"{path}" has two columns "{name}"', "give each column a name of its own.")
            seen.add(name)
        return names

    def _lines(self, file: BufferedReader[FileIO]) -> Iterator[str]:
        for number, line in _lines(file, self._path, MAX_CELL, "bad-csv"):
            self._taken += len(line)
            where = f'"{self._path}:{number}"'
            if self._taken > MAX_LINE:
                _refuse("bad-csv", f"the row that ends after {where} is too long", "is a double quote not closed?")
            if b"\0" in line:
                _refuse("bad-csv", f"{where} holds a NUL", "save the file as UTF-8 text.")
            try:
                text = line.decode()
            except UnicodeDecodeError:
                _refuse("bad-csv", f"{where} is not UTF-8", "save the file as UTF-8 text.")
            yield text


def _json_rows(file: BufferedReader[FileIO], path: str, _columns: Collection[str] | None) -> Iterator[Row | BadRow]:
    import orjson

    for number, line in _lines(file, path, MAX_LINE, "bad-jsonl"):
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            reason = str(error).partition(": line")[0]
            yield BadRow(number, _row_problem(f'"{path}:{number}" is no JSON: {reason}', "write one object a line."))
            continue
        if not isinstance(values, dict):
            yield BadRow(number, _row_problem(f'"{path}:{number}" is no object', "write one object a line."))
            continue
        # The fast parser keeps the last of two equal keys and rounds long numbers. Where a line could
        # hold either, the slow one looks.
        if len(_KEY.findall(line)) != _key_count(values) or _LONG_NUMBER.search(line):
            what = _json_doubt(line)
            if what:
                yield BadRow(number, _row_problem(f'"{path}:{number}" {what}', "correct the line."))
                continue
        yield Row(number, values)


def _key_count(values: dict[str, Any]) -> int:
    count = 0
    pending: list[Any] = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            count += len(value)
            pending += [inner for inner in value.values() if isinstance(inner, dict | list)]
        else:
            pending += [inner for inner in value if isinstance(inner, dict | list)]
    return count


def _json_doubt(line: bytes) -> str:
    """Return what the fast parser would pass over in silence, or an empty string."""
    import json

    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                found.append(f'has the key "{key}" twice')
            seen.add(key)

    def integer(text: str) -> None:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
            found.append(f"has the number {text[:40]}, which does not fit 64 bits: write it as a string")

    try:
        json.loads(line, object_pairs_hook=pairs, parse_int=integer)
    except RecursionError:
        return "is nested too deeply"
    return found[0] if found else ""


def _parquet_rows(file: BufferedReader[FileIO], path: str, columns: Collection[str] | None) -> Iterator[Row | BadRow]:
    source = _parquet(file, path)
    import pyarrow

    names = [name for name in source.schema_arrow.names if columns is None or name in columns]
    for name in names:
        problem = _parquet_type(source.schema_arrow.field(name).type)
        if problem:
            _refuse("bad-parquet", f'column "{name}" of "{path}" is {problem}', "store it as a string or a number.")
    number = 0
    try:
        for batch in source.iter_batches(batch_size=256, columns=names, use_threads=False):
            # With no column asked for, a batch still has its rows.
            columns_of = [_parquet_values(batch.column(index)) for index in range(batch.num_columns)]
            for index in range(batch.num_rows):
                number += 1
                yield Row(number, {name: cells[index] for name, cells in zip(names, columns_of, strict=True)})
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError, RecursionError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0][:200]
        _refuse("bad-parquet", f'"{path}" cannot be read after row {number}: {reason}', "write the file anew.")


def _parquet(file: BufferedReader[FileIO], path: str) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ManifestError(
            Problem(
                "parquet-missing",
                f'"{path}" is a Parquet file, and pyarrow is not installed',
                "it is large, so it comes only when it is asked for.",
                "install it:\n    pip install 'reconciler[parquet]'",
            )
        ) from None
    try:
        source = parquet.ParquetFile(
            file, pre_buffer=False, thrift_string_size_limit=MAX_LINE, thrift_container_size_limit=1_000_000
        )
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0][:200]
        _refuse("bad-parquet", f'"{path}" is no Parquet file: {reason}', "write the file anew.")
    names = source.schema_arrow.names
    if len(set(names)) != len(names):
        _refuse("bad-parquet", f'"{path}" has two columns of one name', "give each column a name of its own.")
    return source


def _parquet_type(kind: Any) -> str:
    """Return why values of this type have no JSON form, or an empty string."""
    from pyarrow import types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "binary"
    if types.is_duration(kind) or types.is_interval(kind):
        return "a duration"
    if types.is_map(kind):
        return _parquet_type(kind.item_type) or ("" if types.is_string(kind.key_type) else "a map without string keys")
    if types.is_struct(kind):
        inner = [_parquet_type(kind.field(index).type) for index in range(kind.num_fields)]
        return next((problem for problem in inner if problem), "")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _parquet_type(kind.value_type)
    return ""


def _parquet_values(column: Any) -> list[Any]:
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(column.type):
        # Without a zone the time is taken as UTC; in a zone it becomes UTC, without a table of zones.
        column = column.cast(pyarrow.timestamp("us", column.type.tz and "UTC"), safe=False)
        return [None if value is None else iso_utc(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    if types.is_string(column.type) or types.is_integer(column.type) or types.is_boolean(column.type):
        return values
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    """Return a value of a row as JSON has it: times as ISO 8601 UTC, decimals as strings, NaN as absent."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return iso_utc(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if abs(value.as_tuple().exponent) < 100 else str(value)  # type: ignore[arg-type]
    return value


def iso_utc(value: datetime.datetime) -> str:
    """Return a time as the remote reads it best, `2017-11-08T12:18:41.666Z`; without a zone it is UTC."""
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    precision = (
        "seconds" if not value.microsecond else "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
    )
    return f"{value.isoformat(timespec=precision)}Z"


_READERS: dict[str, Callable[[BufferedReader[FileIO], str, Collection[str] | None], Iterator[Row | BadRow]]] = {
    "csv": _csv_rows,
    "jsonl": _json_rows,
    "parquet": _parquet_rows,
}


def _lines(file: BufferedReader[FileIO], path: str, limit: int, code: str) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines, none longer than `limit`, the first without a byte order mark."""
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            _refuse(code, f'"{path}:{number}" is longer than {limit >> 20} MB', "split it, or keep texts in files.")
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _row_problem(what: str, fix: str) -> Problem:
    return Problem("bad-row", what, MISSING_ROWS, fix)


def _refuse(code: str, what: str, fix: str) -> NoReturn:
    raise ManifestError(Problem(code, what, MISSING_ROWS, fix))
