from __future__ import annotations

import datetime
import decimal
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.manifest import rows
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.rows import BadRow, Row, RowFormat, column_names, iso_utc, iter_rows
from reconciler.problems import ManifestError


def read(folder: Path, data: bytes | pa.Table, kind: RowFormat, columns: list[str] | None = None) -> list[Row | BadRow]:
    path = folder / f"x.{kind}"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        pq.write_table(data, path)
    return list(iter_rows(ProjectFolder(folder), path.name, kind, columns))


def refused(folder: Path, data: bytes | pa.Table, kind: RowFormat) -> tuple[str, str]:
    with pytest.raises(ManifestError) as caught:
        read(folder, data, kind)
    (problem,) = caught.value.problems
    assert problem.why
    assert problem.fix
    return problem.code, problem.what


# -- CSV -------------------------------------------------------------------------------------------


def test_csv_rows_have_the_line_they_begin_at(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf id ,name\r\n1,Alice\r\n\r\n2,"B ""x"",\r\nC"\r\n3,\r\n'
    assert read(tmp_path, data, "csv") == [
        Row(2, {"id": "1", "name": "Alice"}),
        Row(4, {"id": "2", "name": 'B "x",\r\nC'}),
        Row(6, {"id": "3", "name": None}),
    ]
    assert column_names(ProjectFolder(tmp_path), "x.csv", "csv") == ["id", "name"]


def test_csv_rows_of_another_length_are_bad_and_the_rest_is_read(tmp_path: Path) -> None:
    first, bad, short, last = read(tmp_path, b"a,b\n1,2\n1,2,3\n1\n3,4", "csv")
    assert (first, last) == (Row(2, {"a": "1", "b": "2"}), Row(5, {"a": "3", "b": "4"}))
    assert isinstance(bad, BadRow)
    assert isinstance(short, BadRow)
    assert (bad.line, bad.problem.code) == (3, "bad-row")
    assert bad.problem.what == 'the row at "x.csv:3" has 3 cells, the header 2'
    assert short.problem.what == 'the row at "x.csv:4" has 1 cells, the header 2'


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", '"x.csv" has no header line'),
        (b"\n\r\n", '"x.csv" has no header line'),
        (b"\xef\xbb\xbf", '"x.csv" has no header line'),
        (b"a,,b\n", 'column 2 of "x.csv" has no name'),
        (b"a, a\n", '"x.csv" has two columns "a"'),
        (b"a;b\n1;2\n", '"x.csv" separates its cells by something else than commas'),
        (b"a,b\n1,\xff\n", '"x.csv:2" is not UTF-8'),
        ("a,b\n".encode("utf-16"), '"x.csv:1" holds a NUL'),
        (b"a,b\n1,\0\n", '"x.csv:2" holds a NUL'),
        (b'a,b\n1,"x"y\n', "\"x.csv:2\" is no CSV: ',' expected after '\"'"),
        (b'a,b\n1,"x\ny\n', '"x.csv:3" is no CSV: unexpected end of data'),
        (b"a,b\r1,2\r", '"x.csv:1" is no CSV: new-line character seen in unquoted field'),
    ],
)
def test_broken_csv(tmp_path: Path, data: bytes, what: str) -> None:
    assert refused(tmp_path, data, "csv") == ("bad-csv", what)


def test_csv_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = b"x" * 200_000
    assert read(tmp_path, b"a\n" + wide, "csv") == [Row(2, {"a": wide.decode()})]
    monkeypatch.setattr(rows, "MAX_CELL", 1 << 20)
    monkeypatch.setattr(rows, "MAX_LINE", 2 << 20)
    long = b"a\n" + b"x" * ((1 << 20) + 1)
    assert refused(tmp_path, long, "csv") == ("bad-csv", '"x.csv:2" is longer than 1 MB')
    open_quote = b'a\n1\n"' + b"xxx\n" * (1 << 20)
    assert refused(tmp_path, open_quote, "csv") == ("bad-csv", 'the row that ends after "x.csv:524290" is too long')


def test_after_many_bad_rows_the_rest_is_left(tmp_path: Path) -> None:
    found: list[Row | BadRow] = []
    (tmp_path / "x.csv").write_bytes(b"a,b\n" + b"1\n" * 1000)
    with pytest.raises(ManifestError) as caught:
        found.extend(iter_rows(ProjectFolder(tmp_path), "x.csv", "csv"))
    assert len(found) in (0, 20)
    assert caught.value.problems[0].what == '"x.csv" has 20 bad rows up to line 21'


# -- JSON Lines ------------------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"a": 1, "b": {"c": [true, null, 1.5]}}\r\n\n  \n{"a" : "x\\":y", "n": 18446744073709551615}'
    assert read(tmp_path, data, "jsonl") == [
        Row(1, {"a": 1, "b": {"c": [True, None, 1.5]}}),
        Row(4, {"a": 'x":y', "n": 18446744073709551615}),
    ]
    assert column_names(ProjectFolder(tmp_path), "x.jsonl", "jsonl") is None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"[1]", '"x.jsonl:1" is no object'),
        (b'"text"', '"x.jsonl:1" is no object'),
        (b"{", '"x.jsonl:1" is no JSON: unexpected end of data'),
        (b'{"a": 1} {"b": 2}', '"x.jsonl:1" is no JSON: unexpected content after document'),
        (b'{"a": NaN}', '"x.jsonl:1" is no JSON: unexpected character, expected a JSON value'),
        (b'{"a": "\xff"}', '"x.jsonl:1" is no JSON: str is not valid UTF-8: surrogates not allowed'),
        (b'{"a": 1, "a": 2}', '"x.jsonl:1" has the key "a" twice'),
        (b'{"a": {"b" : 1, "b": "x\\":"}}', '"x.jsonl:1" has the key "b" twice'),
        (b'{"a": [{"\\u0062": 1, "b": 2}]}', '"x.jsonl:1" has the key "b" twice'),
        (
            b'{"id": 18446744073709551616}',
            '"x.jsonl:1" has the number 18446744073709551616, which does not fit 64 bits: write it as a string',
        ),
        (b"[" * 5000, '"x.jsonl:1" is no JSON: depth limit exceeded'),
        (b'{"a":' * 1100 + b"1" + b"}" * 1100, '"x.jsonl:1" is no JSON: depth limit exceeded'),
        (b'{"a":' * 1010 + b'{"b":1,"b":2}' + b"}" * 1010, '"x.jsonl:1" is nested too deeply'),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: bytes, what: str) -> None:
    bad, fine = read(tmp_path, line + b'\n{"b": 1}\n', "jsonl")
    assert fine == Row(2, {"b": 1})
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.problem.code, bad.problem.what) == (1, "bad-row", what)


def test_strings_that_look_like_trouble_are_fine(tmp_path: Path) -> None:
    values = {"a": '": "', "b": "9" * 30, "c": 1e300, "d": -(2**63)}
    assert read(tmp_path, orjson.dumps(values), "jsonl") == [Row(1, values)]


def test_a_json_line_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 1 << 20)
    assert refused(tmp_path, b"x" * (2 << 20), "jsonl") == ("bad-jsonl", '"x.jsonl:1" is longer than 1 MB')


# -- Parquet ---------------------------------------------------------------------------------------


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


def test_parquet_values_are_plain(tmp_path: Path) -> None:
    moment = datetime.datetime(2017, 11, 8, 12, 18, 41, 666_000)
    zone = datetime.timezone(datetime.timedelta(hours=2))
    data = table(
        text=["a", None],
        number=[1, None],
        share=[0.5, float("nan")],
        yes=[True, None],
        at=[moment, moment.replace(microsecond=0)],
        zoned=pa.array([moment.replace(tzinfo=zone), None], pa.timestamp("ms", "+02:00")),
        lost=pa.array([moment, None], pa.timestamp("us", "No/Where")),
        nano=pa.array([1_510_143_521_666_001_999, None], pa.timestamp("ns")),
        day=[datetime.date(2024, 2, 29), None],
        time=[datetime.time(1, 2, 3), None],
        price=pa.array([decimal.Decimal("10.50"), None], pa.decimal128(10, 2)),
        tags=[["a", "b"], None],
        where=[{"city": "Bern", "at": moment}, None],
        kind=pa.array(["x", "y"]).dictionary_encode(),
        map=pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    )
    assert read(tmp_path, data, "parquet") == [
        Row(
            1,
            {
                "text": "a",
                "number": 1,
                "share": 0.5,
                "yes": True,
                "at": "2017-11-08T12:18:41.666Z",
                "zoned": "2017-11-08T10:18:41.666Z",
                "lost": "2017-11-08T12:18:41.666Z",
                "nano": "2017-11-08T12:18:41.666001Z",
                "day": "2024-02-29",
                "time": "01:02:03",
                "price": "10.50",
                "tags": ["a", "b"],
                "where": {"city": "Bern", "at": "2017-11-08T12:18:41.666Z"},
                "kind": "x",
                "map": {"k": 1},
            },
        ),
        Row(2, dict.fromkeys(data.column_names) | {"at": "2017-11-08T12:18:41Z", "kind": "y"}),
    ]


def test_parquet_reads_only_the_columns_asked_for(tmp_path: Path) -> None:
    data = table(a=[1, 2], raw=[b"x", b"y"])
    assert read(tmp_path, data, "parquet", ["a", "gone"]) == [Row(1, {"a": 1}), Row(2, {"a": 2})]
    assert read(tmp_path, data, "parquet", []) == [Row(1, {}), Row(2, {})]
    assert column_names(ProjectFolder(tmp_path), "x.parquet", "parquet") == ["a", "raw"]


def test_parquet_comes_in_batches(tmp_path: Path) -> None:
    data = table(n=list(range(1000)))
    assert read(tmp_path, data, "parquet") == [Row(n + 1, {"n": n}) for n in range(1000)]
    assert read(tmp_path, table(n=pa.array([], pa.int64())), "parquet") == []


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (pa.array([b"x"]), "binary"),
        (pa.array([b"xx"], pa.binary(2)), "binary"),
        (pa.array([[b"x"]]), "binary"),
        (pa.array([{"a": b"x"}]), "binary"),
        (pa.array([datetime.timedelta(1)]), "a duration"),
        (pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())), "a map without string keys"),
    ],
)
def test_parquet_types_without_json_form(tmp_path: Path, column: pa.Array, what: str) -> None:
    assert refused(tmp_path, table(c=column), "parquet") == ("bad-parquet", f'column "c" of "x.parquet" is {what}')


def test_broken_parquet(tmp_path: Path) -> None:
    pq.write_table(table(n=list(range(5000)), s=["text"] * 5000), tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    far = table(at=pa.array([2**60], pa.timestamp("ms")))
    cases = [b"", b"PAR1", b"not parquet", good[:-1], good[:100] + good[-100:], good[: len(good) // 2]]
    cases += [good[:4] + b"\xff" * (len(good) - 600) + good[-596:]]
    for data in (*cases, far):
        assert refused(tmp_path, data, "parquet")[0] == "bad-parquet"


def test_parquet_with_columns_of_one_name(tmp_path: Path) -> None:
    data = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert refused(tmp_path, data, "parquet") == ("bad-parquet", '"x.parquet" has two columns of one name')


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, what = refused(tmp_path, b"", "parquet")
    assert (code, what) == ("parquet-missing", '"x.parquet" is a Parquet file, and pyarrow is not installed')


# -- all -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_unsafe_files_are_refused(tmp_path: Path, kind: RowFormat) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, code in (("fifo", "not-a-file"), ("../x", "path-outside"), ("gone", "file-missing")):
        with pytest.raises(ManifestError) as caught:
            list(iter_rows(ProjectFolder(tmp_path), name, kind))
        assert caught.value.problems[0].code == code


def test_times_are_utc() -> None:
    moment = datetime.datetime(2024, 1, 1, 0, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    assert iso_utc(moment) == "2023-12-31T23:30:00Z"
    assert iso_utc(datetime.datetime(2024, 1, 1, microsecond=1)) == "2024-01-01T00:00:00.000001Z"
