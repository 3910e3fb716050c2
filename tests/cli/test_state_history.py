"""`reconciler state history`: the runs, chained, and what breaks the chain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

from reconciler.rendering.report_schema import report_schema
from tests.builders import Folder

VERIFIED = jsonschema.Draft202012Validator(report_schema("history-verify"))

MANIFEST = """\
defaults: {source: blog, provider: corp}
items:
  - {uri: https://example.com/a, title: A}
"""


@pytest.fixture
def applied(folder: Folder) -> Folder:
    """A state of three runs, of saved plans."""
    for title in ("A", "A2", "A3"):
        folder.write("all.yaml", MANIFEST.replace("title: A", f"title: {title}"))
        plan = str(folder.root.parent / "plan.json")
        folder.ok("plan", "--out", plan)
        folder.ok("apply", plan, "--auto-approve")
    return folder


def state_of(folder: Folder) -> Path:
    return folder.root / ".reconciler" / "local.state.db"


def tamper(folder: Folder, *statements: str) -> None:
    with closing(sqlite3.connect(state_of(folder))) as connection:
        connection.executescript(";".join(statements))


def test_runs_are_listed_newest_first(applied: Folder) -> None:
    document = applied.ok("state", "history", "--format", "json").json
    runs = document["runs"]
    assert [run["serial_after"] for run in runs] == [document["serial"], runs[0]["serial_before"], 1]
    assert [run["calls"] for run in runs] == [{"accepted": 1, "refused": 0, "unknown": 0}] * 3
    assert all(run["result"] == "done" and run["plan_digest"] and run["user"] and run["ended_at"] for run in runs)
    assert len({run["digest"] for run in runs}) == 3
    text = applied.ok("state", "history").out
    places = [text.index(f"run {run['id']}  {run['started_at']}  done\n") for run in runs]
    assert places == sorted(places)
    for run in runs:
        for part in (run["digest"], run["plan_digest"], f"by:       {run['user']} on {run['host']}"):
            assert part in text
    assert text.count("  calls:    1 accepted\n") == 3
    assert applied.ok("state", "history", "--limit", "1", "--format", "json").json["runs"] == runs[:1]


def test_nothing_ran_yet(folder: Folder) -> None:
    ran = folder.ok("state", "history")
    assert (ran.out, "nothing ran yet" in ran.err) == ("", True)
    assert folder.ok("state", "history", "--format", "json").json["runs"] == []
    assert "nothing ran yet" in folder.ok("state", "history", "verify").out
    assert not (folder.root / ".reconciler").exists()


def test_reports_fit_their_schemas(applied: Folder) -> None:
    history = applied.ok("state", "history", "--format", "json").json
    jsonschema.Draft202012Validator(report_schema("history")).validate(history)
    assert history["format_version"] == "1.0"
    last = {key: history["runs"][0][key] for key in ("id", "started_at", "digest")}
    verified = applied.ok("state", "history", "verify", "--contains", last["digest"], "--format", "json").json
    assert verified == {
        "format_version": "1.0",
        "whole": True,
        "lineage": history["lineage"],
        "serial": history["serial"],
        "runs": 3,
        "chained": 3,
        "last": last,
        "misfit": None,
        "missing": [],
    }
    VERIFIED.validate(verified)


def test_what_is_wrong_is_told_as_json_too(applied: Folder) -> None:
    missing = "0" * 64
    lacking = applied.ok("state", "history", "verify", "--contains", missing, "--format", "json", code=1)
    assert (lacking.json["whole"], lacking.json["missing"], lacking.json["misfit"]) == (False, [missing], None)
    assert "error[history-lacks-digest]" in lacking.err
    second = applied.ok("state", "history", "--format", "json").json["runs"][1]
    tamper(applied, "UPDATE runs SET user = 'somebody' WHERE seq = 2")
    broken = applied.ok("state", "history", "verify", "--format", "json", code=1)
    assert (broken.json["whole"], broken.json["misfit"]["id"]) == (False, second["id"])
    assert (broken.json["misfit"]["number"], "error[history-broken]" in broken.err) == (2, True)
    for ran in (lacking, broken):
        VERIFIED.validate(ran.json)


def test_a_history_without_runs_is_whole(folder: Folder) -> None:
    found = folder.ok("state", "history", "verify", "--format", "json").json
    assert (found["whole"], found["runs"], found["last"]) == (True, 0, None)
    VERIFIED.validate(found)


def test_a_whole_history_is_verified_without_the_remote(applied: Folder) -> None:
    last = applied.ok("state", "history", "--format", "json").json["runs"][0]
    ran = applied.run("state", "history", "verify", key=None)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (f"the history is whole; runs: 3, the last is {last['id']} with the digest {last['digest']}\n")


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        ("UPDATE runs SET user = 'somebody' WHERE seq = 2", 2),
        ("UPDATE runs SET \"commit\" = 'c0ffee' WHERE seq = 1", 1),
        ("UPDATE runs SET base_serial = 0 WHERE seq = 2", 1),
        ("UPDATE chain SET accepted = 7 WHERE seq = 3", 3),
        ("UPDATE chain SET digest = printf('%064d', 0) WHERE seq = 1", 1),
        ("DELETE FROM runs WHERE seq = 1", 2),
        ("DELETE FROM chain WHERE seq = 2", 2),
        ("DELETE FROM chain WHERE seq = 3", 3),
    ],
)
def test_the_first_record_that_does_not_fit_is_named(applied: Folder, damage: str, first: int) -> None:
    runs = applied.ok("state", "history", "--format", "json").json["runs"][::-1]
    tamper(applied, damage)
    ran = applied.ok("state", "history", "verify", code=1)
    assert ran.out == ""
    assert "error[history-broken]" in ran.err
    assert f"run {runs[first - 1]['id']} of " in ran.err


def test_a_state_of_version_2_is_chained_from_the_first_run_on_by_the_next(applied: Folder) -> None:
    tamper(applied, "DROP TABLE chain", "DELETE FROM meta WHERE key = 'run_lineage'", "PRAGMA user_version = 2")
    before = state_of(applied).read_bytes()
    runs = applied.ok("state", "history", "--format", "json").json["runs"]
    assert [(run["digest"], run["calls"]["accepted"]) for run in runs] == [("", 1)] * 3
    assert "not chained yet" in applied.ok("state", "history", "verify").out
    assert state_of(applied).read_bytes() == before
    applied.write("all.yaml", MANIFEST)
    applied.ok("apply", "--auto-approve")
    after = applied.ok("state", "history", "--format", "json").json["runs"]
    assert all(run["digest"] for run in after)
    assert [run | {"digest": ""} for run in after[1:]] == runs
    assert "runs: 4," in applied.ok("state", "history", "verify").out


def test_the_environment_may_stand_before_or_after_verify(applied: Folder) -> None:
    path = applied.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("environments:\n", "environments:\n  other: {target: emulator}\n"))
    assert "runs: 3," in applied.ok("state", "history", "-e", "local", "verify").out
    for arguments in (("-e", "other", "verify"), ("verify", "-e", "other")):
        assert "nothing ran yet" in applied.ok("state", "history", *arguments).out
