"""The history cannot be rewritten unnoticed (P24): every cell, every record and every byte of what holds it.

Who may write the state file may also work out all digests anew, or put back a whole file of earlier: that is noticed by
a digest that was noted down elsewhere (`state history verify --contains`).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.problems import StateError
from reconciler.state.chain import first_misfit
from reconciler.state.journal import RunRecord
from reconciler.state.sqlite.store import SqliteStore
from tests.builders import Folder, Remote

RUNS = 4


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    """A state of four runs."""
    folder.at(remote)
    for number in range(RUNS):
        folder.write("all.yaml", f"items: [{{uri: 'x:{number % 3}', source: blog, title: t{number}}}]\n")
        folder.ok("apply", "--auto-approve")
    return folder


def state_of(folder: Folder) -> Path:
    return folder.root / ".reconciler" / "local.state.db"


def history(path: Path) -> tuple[RunRecord, ...]:
    with SqliteStore(path) as store:
        return store.runs()


def noticed(path: Path, before: tuple[RunRecord, ...]) -> bool:
    """Whether the state is refused or its chain broken; otherwise the history is what it was."""
    try:
        found = history(path)
    except StateError:
        return True
    if first_misfit(found) is not None:
        return True
    assert found == before
    return False


def cells(path: Path) -> Iterator[tuple[str, str, int, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for table in ("runs", "chain"):
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield from ((table, name, row["seq"], row[name]) for name in row.keys() if name != "seq")  # noqa: SIM118


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_every_cell_of_a_record_counts(applied: Folder, tmp_path: Path) -> None:
    path, copy = state_of(applied), tmp_path / "copy.db"
    before = history(path)
    tried = set()
    for table, name, seq, value in cells(path):
        shutil.copyfile(path, copy)
        other = f"{value} + 1" if isinstance(value, int) else '\'{"organization":"x"}\'' if name == "target" else "'x'"
        if name == "digest":
            other = f"'{'0' * 64}'"
        change(copy, f'UPDATE {table} SET "{name}" = {other} WHERE seq = {seq}')
        assert noticed(copy, before), (table, name, seq)
        tried.add((table, name))
    assert len(tried) >= 18


def test_every_record_that_goes_is_missed(applied: Folder, tmp_path: Path) -> None:
    path, copy = state_of(applied), tmp_path / "copy.db"
    before = history(path)
    for seq in range(1, RUNS + 1):
        for tables in (("runs",), ("chain",), ("runs", "chain")):
            shutil.copyfile(path, copy)
            change(copy, *(f"DELETE FROM {table} WHERE seq = {seq}" for table in tables))
            if (seq, tables) != (RUNS, ("runs", "chain")):
                assert noticed(copy, before), (seq, tables)
    shutil.copyfile(path, copy)
    change(copy, *(f"UPDATE {table} SET seq = 9 - seq" for table in ("runs", "chain")))
    assert noticed(copy, before), "the other way round"


def test_a_chain_that_is_gone_altogether_is_missed(applied: Folder) -> None:
    """It looks like that of a version that had none, which this one is not."""
    change(state_of(applied), "DELETE FROM chain", "UPDATE runs SET user = 'nobody' WHERE seq = 1")
    for command in ("history", "history verify", "check"):
        ran = applied.ok("state", *command.split(), code=1)
        assert "the chain of its history is missing" in ran.err, command


@pytest.mark.parametrize("column", ["user", "detail", "started_at", "base_serial", "target"])
def test_a_cell_of_another_type_is_damage(applied: Folder, column: str) -> None:
    change(state_of(applied), f"UPDATE runs SET \"{column}\" = CAST('x' AS BLOB) WHERE seq = 2")
    assert "error[state-corrupt]" in applied.ok("state", "history", "verify", code=1).err


def test_a_byte_that_flips_is_noticed_or_changes_nothing_of_it(applied: Folder, tmp_path: Path) -> None:
    path, copy = state_of(applied), tmp_path / "copy.db"
    before, data = history(path), path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        roots = connection.execute("SELECT rootpage FROM sqlite_master WHERE name IN ('runs', 'chain')").fetchall()
    # Where something stands: pages are filled from their ends.
    places = [at for (root,) in roots for at in range((root - 1) * size, root * size) if data[at]]
    draw = random.Random(24)
    found = 0
    for place in draw.sample(places, 400):
        flipped = bytearray(data)
        flipped[place] ^= 1 << draw.randrange(8)
        copy.write_bytes(flipped)
        found += noticed(copy, before)
    assert found > 350


def test_a_state_of_earlier_is_missed_where_a_digest_was_noted(applied: Folder, tmp_path: Path) -> None:
    """A plan of then fits such a state again: nothing in the file can tell, and this does."""
    path, plan = state_of(applied), tmp_path / "plan.json"
    earlier = path.read_bytes()
    applied.write("all.yaml", "items: [{uri: 'x:0', source: blog, title: last}]\n")
    applied.ok("plan", "--out", str(plan))
    applied.ok("apply", str(plan), "--auto-approve")
    noted = applied.ok("state", "history", "--format", "json").json["runs"][0]["digest"]
    first = applied.ok("state", "history", "--format", "json").json["runs"][-1]["digest"]
    applied.ok("state", "history", "verify", "--contains", noted)
    applied.ok("state", "history", "verify", "--contains", first, "--contains", noted)

    path.write_bytes(earlier)
    applied.ok("state", "history", "verify")
    applied.ok("state", "history", "verify", "--contains", first)
    ran = applied.ok("state", "history", "verify", "--contains", first, "--contains", noted, code=1)
    assert "error[history-lacks-digest]" in ran.err
    assert noted in ran.err and first not in ran.err


def test_a_history_that_was_made_anew_lacks_what_was_noted(applied: Folder) -> None:
    from reconciler.state.chain import link

    path = state_of(applied)
    noted = [run["digest"] for run in applied.ok("state", "history", "--format", "json").json["runs"]]
    change(path, "UPDATE runs SET user = 'nobody' WHERE seq = 1")
    previous = ""
    for seq, record in enumerate(reversed(history(path)), 1):
        previous = link(previous, record)
        change(path, f"UPDATE chain SET digest = '{previous}' WHERE seq = {seq}")
    applied.ok("state", "history", "verify")
    for digest in noted:
        assert (
            "error[history-lacks-digest]" in applied.ok("state", "history", "verify", "--contains", digest, code=1).err
        )


@pytest.mark.parametrize("word", ["", "abc", "0" * 63, "g" * 64])
def test_what_is_no_digest_is_wrong_usage(applied: Folder, word: str) -> None:
    assert "error[not-a-digest]" in applied.ok("state", "history", "verify", "--contains", word, code=2).err
