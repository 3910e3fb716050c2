"""Operations on single items share a transaction, and none of them loses another one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from reconciler.emulator.clock import stepped_clock
from reconciler.emulator.database import Database
from reconciler.emulator.engine import Engine
from reconciler.emulator.options import EmulatorOptions

OPTIONS = EmulatorOptions(organizations=("org",), sources=(("docs", "SHARED", None),))
WHOLE = {"compressionType": None, "fileId": None}


def accept(engine: Engine, *names: str, **detail: object) -> None:
    found = engine.source("org", "docs")
    assert found
    for name in names:
        engine.accept("item.put", found[0], {"documentId": f"http://{name}", **detail}, body=b'{"data": "x"}')


def uris(engine: Engine) -> list[str]:
    found = engine.source("org", "docs")
    assert found
    return [item.uri for item in engine.items.each(found[0])]


def test_one_that_cannot_be_processed_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(OPTIONS, stepped_clock())
    accept(engine, "a", **WHOLE)
    accept(engine, "broken")
    accept(engine, "c", **WHOLE)
    with caplog.at_level(logging.CRITICAL):
        for _ in engine.steps():
            pass
    assert uris(engine) == ["http://a", "http://c"]
    assert engine.database.pending() == 0
    results = engine.database.connection.execute("SELECT uri, result FROM logs ORDER BY id").fetchall()
    assert results == [("http://a", "COMPLETED"), ("http://broken", "ERROR"), ("http://c", "COMPLETED")]
    engine.close()


def test_what_was_accepted_is_there_for_the_next_one(tmp_path: Path) -> None:
    options = EmulatorOptions(organizations=("org",), sources=OPTIONS.sources, data_dir=tmp_path)
    engine = Engine(options, stepped_clock())
    accept(engine, "a", "b", **WHOLE)
    engine.close()
    again = Engine(options, stepped_clock())
    for _ in again.steps():
        pass
    assert uris(again) == ["http://a", "http://b"]
    again.close()


def test_a_part_that_fails_takes_only_itself_back() -> None:
    database = Database(None)
    with database.transaction():
        database.place("org", "source", "kept")
        with pytest.raises(ZeroDivisionError), database.transaction():
            database.place("org", "source", "gone")
            raise ZeroDivisionError
        with database.transaction():
            database.place("org", "source", "also kept")
    names = database.connection.execute("SELECT name FROM places ORDER BY name").fetchall()
    assert names == [("also kept",), ("kept",)]
    assert not database.connection.in_transaction
    database.close()
