"""`access ... --at`: who saw what at a moment of the past, by what the state had recorded then."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.address import Address
from reconciler.model.states import StateBase, Target
from reconciler.state.journal import Effect, Intent, Outcome, RunInfo
from reconciler.state.snapshot import take
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo, Writer
from tests.builders import ORGANIZATION, PROVIDER_ID, SHARED_ID, SOURCE_ID, Folder, Remote, group, item

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: file:///a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: file:///b, title: B, permissions: {allowed: [group:Ops]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
  - {name: Ops, members: [user:bob@example.com]}
"""
TARGET = Target(ORGANIZATION, (("blog", SHARED_ID), ("handbook", SOURCE_ID)), (("corp", PROVIDER_ID),))
A, B = Address("item/handbook/file:///a"), Address("item/handbook/file:///b")
ALICE, BOB, CAROL = (f"user:{name}@example.com" for name in ("alice", "bob", "carol"))


def store_of(folder: Folder) -> SqliteStore:
    return SqliteStore(folder.root / ".reconciler" / "local.state.db")


def last_run(folder: Folder) -> dict[str, Any]:
    found: dict[str, Any] = folder.ok("state", "history", "--limit", "1", "--format", "json").json["runs"][0]
    return found


def who(folder: Folder, uri: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = folder.ok("access", "who", uri, "--of", "recorded", "--format", "json", *options).json
    return found


def then(folder: Folder, uri: str, moment: str) -> Any:
    """Return who saw an item at a moment: names, or that there was none."""
    ran = folder.run("access", "who", uri, "--at", moment, "--format", "json")
    return ran.json["viewers"] if ran.code == 0 else "error[unknown-item]" in ran.err and None


def edited(folder: Folder, old: str, new: str) -> None:
    path = folder.root / "all.yaml"
    path.write_text(path.read_text().replace(old, new))


def test_each_moment_is_told_as_it_was(folder: Folder, remote: Remote) -> None:
    """After applies, a rollback and changes by hand, every earlier answer is still the same."""
    folder.at(remote).write("all.yaml", MANIFEST)
    snapshot = str(folder.root.parent / "state.json")
    back = str(folder.root.parent / "back.json")

    def rolled_back() -> None:
        folder.ok("rollback", "--access-only", "--out", back)
        folder.ok("apply", back, "--auto-approve")

    steps: list[Callable[[], Any]] = [
        lambda: folder.ok("apply", "--auto-approve"),
        lambda: (edited(folder, ALICE, f"{ALICE}, {CAROL}"), folder.ok("apply", "--auto-approve")),
        rolled_back,
        lambda: folder.ok("state", "pull", "--out", snapshot),
        lambda: (edited(folder, "[group:Team]", "[group:Ops]"), folder.ok("apply", "--auto-approve")),
        lambda: folder.ok("state", "mv", A, "item/handbook/file:///moved"),
        lambda: folder.ok("state", "rm", B),
        lambda: folder.ok("state", "push", snapshot, "--force"),
        lambda: folder.ok("apply", "--auto-approve"),
    ]
    seen = []
    for step in steps:
        step()
        uris = {
            entry["address"].split("/", 2)[2]
            for entry in folder.ok("state", "list", "--format", "json").json["resources"]
            if entry["address"].startswith("item/")
        }
        seen.append((last_run(folder)["ended_at"], {uri: who(folder, uri)["viewers"] for uri in uris}))
    assert seen[0][1] == {"file:///a": [ALICE], "file:///b": [BOB]}
    assert seen[5][1].keys() == {"file:///moved", "file:///b"}
    for moment, viewers in seen:
        for uri in ("file:///a", "file:///b", "file:///moved"):
            assert then(folder, uri, moment) == viewers.get(uri), (moment, uri)
    assert folder.ok("access", "what", ALICE, "--list", "--at", seen[1][0], "--format", "json").json["items"] == [A]
    why = folder.ok("access", "why", CAROL, "file:///a", "--at", seen[1][0], "--format", "json").json
    assert (why["allowed"], why["chain"][0]["to"]) == (True, "group/corp/Team")
    assert "does not see" in folder.ok("access", "why", CAROL, "file:///a", "--at", seen[2][0]).out
    started = folder.ok("state", "history", "--format", "json").json["runs"][-1]["started_at"]
    refused = folder.ok("access", "who", "file:///a", "--at", "2020-01-01", code=1).err
    assert "error[history-too-short]: nothing is known of 2020-01-01T00:00:00Z" in refused
    assert f"reaches back to {started}" in refused.replace("\n", " ")


@pytest.fixture
def made(folder: Folder) -> Folder:
    """A state with made-up times: two runs of February and March 2026, the second one killed amid its calls."""
    with store_of(folder) as store:
        with lock(store) as writer:
            begin(writer, "first", "2026-02-27T10:00:00.000Z", commit="c0ffee")
            call(writer, 1, "10:00:01.000Z", "10:00:02.500Z", group("Team", "user/corp/alice@example.com"))
            call(writer, 2, "10:00:01.000Z", "10:00:03.000Z", item("file:///a", allowed=["group/corp/Team"]))
            writer.end_run(at="2026-02-27T10:00:04.000Z", result="done")
        with lock(store) as writer:
            begin(writer, "second", "2026-03-01T00:00:00.000Z", commit="decade")
            both = ("user/corp/alice@example.com", "user/corp/bob@example.com")
            call(writer, 3, "00:00:00.100Z", "00:00:00.200Z", group("Team", *both), day="2026-03-01")
            ticket = writer.intent(Intent(4, "item", "", 9, "2026-03-01T00:00:00.150Z", ((A, "put"),)))
            writer.settle(ticket, Outcome.UNKNOWN, at="2026-03-01T00:00:01.000Z")
            writer.intent(Intent(5, "item", "", 10, "2026-03-01T00:00:02.000Z", ((B, "put"),)))
        with lock(store) as writer:
            begin(writer, "third", "2026-03-05T09:00:00.000Z")
            call(writer, 6, "09:00:01.000Z", "09:00:02.000Z", item("file:///b"), day="2026-03-05")
            writer.record_state_only(
                Effect((item("file:///a", allowed=["user/corp/bob@example.com"]),)), at="2026-03-05T09:00:03.000Z"
            )
            writer.end_run(at="2026-03-05T09:00:04.000Z", result="done")
    return folder


def lock(store: SqliteStore) -> Any:
    return store.lock(LockInfo("lock", "reconciler apply", "2026-02-27T10:00:00.000Z", "host", "alice", 1))


def begin(writer: Writer, run: str, at: str, commit: str = "") -> None:
    info = RunInfo(run, "reconciler apply", at, "laptop", "alice", commit=commit)
    writer.begin_run(info, TARGET, lambda: "lineage")


def call(writer: Writer, number: int, sent: str, answered: str, resource: Any, *, day: str = "2026-02-27") -> None:
    effect = Effect((resource,))
    ticket = writer.intent(Intent(number, "item", "", number, f"{day}T{sent}", effect.covers))
    writer.settle(ticket, Outcome.ACCEPTED, at=f"{day}T{answered}", effect=effect)


@pytest.mark.parametrize(
    ("moment", "viewers"),
    [
        ("2026-02-27T10:00:02.999Z", None),
        ("2026-02-27T10:00:03Z", [ALICE]),
        ("2026-03-01", [ALICE]),
        ("2026-03-01T00:00:00.199Z", [ALICE]),
        ("2026-03-01T01:00:00.200+01:00", [ALICE, BOB]),
        ("2026-03-05T09:00:02Z", [ALICE, BOB]),
        ("2026-03-05T09:00:03Z", [BOB]),
        ("2026-06-01", [BOB]),
    ],
)
def test_it_is_exact_to_the_call(made: Folder, moment: str, viewers: list[str] | None) -> None:
    assert then(made, "file:///a", moment) == viewers


@pytest.mark.parametrize(
    ("moment", "run", "under_way", "applied", "doubted"),
    [
        ("2026-02-27T10:00:02Z", "first", True, None, ["group/corp/Team", A]),
        ("2026-02-28", "first", False, "first", []),
        ("2026-03-01", "second", True, "first", []),
        ("2026-03-01T00:00:00.160Z", "second", True, "first", ["group/corp/Team", A]),
        ("2026-03-01T00:00:00.200Z", "second", True, "second", [A]),
        ("2026-03-02", "second", False, "second", [A, B]),
        ("2026-03-05T09:00:02Z", "third", True, "third", [A]),
        ("2026-03-05T09:00:03Z", "third", True, "third", []),
    ],
)
def test_it_says_after_which_run_and_what_was_in_doubt(
    made: Folder, moment: str, run: str, under_way: bool, applied: str | None, doubted: list[str]
) -> None:
    rests_on = made.ok("access", "what", ALICE, "--at", moment, "--format", "json").json["at"]
    assert (rests_on["run"]["id"], rests_on["run"]["under_way"]) == (run, under_way)
    assert (rests_on["applied"] and rests_on["applied"]["id"]) == applied
    assert sorted(entry["address"] for entry in rests_on["unconfirmed"]) == doubted
    assert any("unconfirmed then" in limit for limit in rests_on["limits"]) == bool(doubted)


def test_the_text_tells_the_exact_instant_and_what_the_answer_rests_on(made: Folder) -> None:
    assert made.ok("access", "who", "file:///a", "--at", "2026-03-02").out.splitlines() == [
        "file:///a is seen by 2 users",
        f"  {ALICE}",
        f"  {BOB}",
        "as recorded at 2026-03-02T00:00:00Z, after run second (`reconciler apply` by alice, "
        "begun 2026-03-01T00:00:00.000Z, did not end, commit decade)",
        f"  unconfirmed then: calls for 2 items were sent, and nobody knew their outcome: {A}, {B}",
        "  recorded as accepted by then; whether the index had taken it is another matter",
        "  a grant that ends (`expires`) counts until the apply that took it away",
        "  visibility and providers of sources are those of reconciler.yaml as it is now: "
        "the state does not record them",
    ]
    missing = made.ok("access", "who", "file:///b", "--at", "2026-03-02", code=2).err.replace("\n", " ")
    assert "none was recorded as accepted at 2026-03-02T00:00:00Z; a call for it had been sent" in missing


def test_moments_of_the_state_are_compared(made: Folder) -> None:
    asked = ("access", "diff", "--from", "recorded@2026-02-28", "--to", "recorded@2026-03-02")
    found = made.ok(*asked, "--format", "json").json
    assert (found["from"], found["to"]) == ("recorded@2026-02-28T00:00:00Z", "recorded@2026-03-02T00:00:00Z")
    assert {side: told["run"]["id"] for side, told in found["at"].items()} == {"from": "first", "to": "second"}
    text = made.ok(*asked).out
    assert text.startswith(
        "From what was accepted by 2026-02-28T00:00:00Z to what was accepted by 2026-03-02T00:00:00Z"
    )
    assert "bob@example.com" in text and "carol" not in text
    assert "as recorded at 2026-03-02T00:00:00Z, after run second" in text
    later = made.ok("access", "diff", "--from", "recorded@2026-03-02", "--to", "recorded").out
    assert "1 user loses sight of 1 item" in later and "alice@example.com" in later
    assert later.startswith("From what was accepted by 2026-03-02T00:00:00Z to what was accepted:")


def test_what_moved_since_is_told(made: Folder) -> None:
    path = made.root / "reconciler.yaml"
    path.write_text(path.read_text().replace(SOURCE_ID, "othersource").replace(ORGANIZATION, "elsewhere"))
    limits = who(made, "file:///a", "--at", "2026-03-02")["at"]["limits"]
    assert f"source handbook was {SOURCE_ID} then, and is othersource now" in limits
    assert f"the organization was {ORGANIZATION} then, and is elsewhere now" in limits


def test_doubts_of_a_pushed_state_are_its_own(made: Folder) -> None:
    """What was in doubt before is forgotten, what the snapshot brings is in doubt, until a call settles it."""
    with store_of(made) as store:
        whole = take(store)
        doubt = Intent(1, "item", "", 77, "2026-03-06T00:00:00.000Z", ((B, "put"),))
        with lock(store) as writer:
            begin(writer, "fourth", "2026-03-06T00:00:00.000Z")
            writer.settle(writer.intent(doubt), Outcome.UNKNOWN, at="2026-03-06T00:00:01.000Z")
            carried = store.unsettled()
            writer.end_run(at="2026-03-06T00:00:02.000Z", result="failed")
        for number, entries in ((7, ()), (8, carried)):
            with lock(store) as writer:
                begin(writer, f"pushed-{number}", f"2026-03-0{number}T00:00:00.000Z")
                writer.replace(StateBase("lineage", 100 + number), whole.rows, entries)
                writer.end_run(at=f"2026-03-0{number}T00:00:01.000Z", result="done")
        with lock(store) as writer:
            begin(writer, "last", "2026-03-09T00:00:00.000Z")
            call(writer, 9, "00:00:01.000Z", "00:00:02.000Z", item("file:///b"), day="2026-03-09")
            writer.end_run(at="2026-03-09T00:00:03.000Z", result="done")
    told = {
        day: who(made, "file:///a", "--at", f"2026-03-{day}T12:00:00Z")["at"]["unconfirmed"]
        for day in ("05", "06", "07", "08", "09")
    }
    assert {day: [entry["address"] for entry in entries] for day, entries in told.items()} == {
        "05": [],
        "06": [B],
        "07": [],
        "08": [B],
        "09": [],
    }


def test_a_clock_that_was_wrong_is_told(made: Folder) -> None:
    """What was recorded after something later is never taken for older; whoever asks learns of the contradiction."""
    with store_of(made) as store, lock(store) as writer:
        begin(writer, "slow-clock", "2026-02-01T00:00:00.000Z")
        call(writer, 7, "00:00:01.000Z", "00:00:02.000Z", item("file:///a"), day="2026-02-01")
        writer.end_run(at="2026-02-01T00:00:03.000Z", result="done")
    found = who(made, "file:///a", "--at", "2026-03-02")
    assert found["viewers"] == [ALICE, BOB]
    assert [limit for limit in found["at"]["limits"] if limit.startswith("a clock was wrong: run slow-clock")]


def damage(folder: Folder, statement: str) -> None:
    path: Path = folder.root / ".reconciler" / "local.state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_changes_that_wrote_nothing_down_end_the_history(made: Folder) -> None:
    damage(made, "DELETE FROM formers WHERE seq IN (SELECT seq FROM journal WHERE kind = 'state-only')")
    assert then(made, "file:///a", "2026-03-05T09:00:03Z") == [BOB]
    refused = made.ok("access", "who", "file:///a", "--at", "2026-03-05T09:00:02.999Z", code=1).err
    assert "error[history-too-short]" in refused
    assert "the history reaches back to 2026-03-05T09:00:03Z" in refused.replace("\n", " ")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM resources WHERE address LIKE 'group/%'",
        "DELETE FROM resources WHERE address LIKE 'item/%/a'",
        "DELETE FROM formers WHERE seq = 3",
    ],
)
def test_a_history_that_does_not_fit_together_is_no_answer(made: Folder, statement: str) -> None:
    damage(made, statement)
    refused = made.run("access", "who", "file:///b", "--at", "2026-02-27T10:00:01Z")
    told = made.run("access", "what", ALICE, "--at", "2026-02-27T10:00:01Z")
    assert (refused.code, told.code) == (1, 1)
    assert "error[history-torn]: the history of " in told.err


def test_nothing_ran_yet(folder: Folder) -> None:
    assert "error[history-too-short]" in folder.ok("access", "who", "file:///a", "--at", "2026-03-01", code=1).err
    assert not (folder.root / ".reconciler" / "local.state.db").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--at", "yesterday"), "bad-moment"),
        (("--at", "2026-03-01T10:00"), "bad-moment"),
        (("--at", "2026-02-30"), "bad-moment"),
        (("--at", "9999-01-01"), "moment-to-come"),
        (("--at", "2026-03-01", "--of", "remote"), "at-recorded"),
        (("--at", "2026-03-01", "--of", "desired"), "at-recorded"),
        (("--at", "2026-03-01", "--as-of", "2026-03-01"), "at-recorded"),
    ],
)
def test_wrong_usage(made: Folder, options: tuple[str, ...], code: str) -> None:
    assert f"error[{code}]" in made.ok("access", "who", "file:///a", *options, code=2).err


def test_a_wrong_moment_to_compare_with(made: Folder) -> None:
    refused = made.ok("access", "diff", "--from", "recorded@soon", "--to", "recorded", code=2).err
    assert "error[bad-moment]" in refused and '"recorded@soon"' in refused
