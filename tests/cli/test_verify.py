"""`reconciler verify` on the emulator: what arrived, what did not, and that no drop stays unseen."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.emulator.options import Doubts
from reconciler.model.states import Target
from reconciler.rendering.report_schema import report_schema
from reconciler.state.journal import RunInfo
from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.store import LockInfo
from tests.builders import ORGANIZATION, Folder, Remote, as_yaml, start_remote

STAFF = {"allowed": ["group:Staff"], "denied": ["user:bob@example.com"]}
MAIL = "Email Security Provider"
SCHEMA = jsonschema.Draft202012Validator(report_schema("verify"))


def manifest(version: int = 1) -> dict[str, Any]:
    """Return one of everything; each version changes every resource, and drops some of the one before."""
    return {
        "defaults": {"source": "handbook", "provider": "corp"},
        "items": [
            {"uri": "https://example.com/a", "title": f"A{version}", "permissions": STAFF, "body": {"text": "same"}},
            {"uri": 'https://example.com/"ü/日本', "title": "Q", "permissions": STAFF, "metadata": {"n": version}},
            {"uri": f"https://example.com/only-{version}", "title": "X", "permissions": STAFF},
            {"uri": "https://example.com/a", "source": "blog", "title": f"B{version}", "body": {"text": "open"}},
        ],
        "groups": [
            {"name": "Staff", "members": ["user:alice@example.com", f"user:new{version}@example.com"]},
            {"name": "Everyone", "members": [f"group:Staff{version}"]},
            {"name": f"Staff{version}", "members": ["user:bob@example.com"]},
        ],
        "virtualGroups": [{"name": "All", "members": [f"group:Staff{version}"]}],
        "users": [{"name": "alice@example.com", "wellKnowns": ["group:Everyone", f"group:Staff{version}"]}],
        "aliases": [
            {
                "of": "user:bob@example.com",
                "is": [{"provider": MAIL, "identity": f"user:bob{version}@example.com"}],
            }
        ],
    }


def apply(folder: Folder, version: int = 1) -> None:
    folder.write("all.yaml", as_yaml(manifest(version)))
    folder.ok("apply", "--auto-approve", "--allow", "emptied-group", "--allow", "item-unseen")


def data(folder: Folder) -> Path:
    return folder.root / ".reconciler" / "emulator" / "emulator.db"


def change(folder: Folder, statement: str, *values: Any) -> None:
    """Change what the embedded emulator holds, behind everybody's back."""
    with closing(sqlite3.connect(data(folder))) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def state(folder: Folder) -> SqliteStore:
    return SqliteStore(folder.root / ".reconciler" / "local.state.db")


def told(folder: Folder, *options: str) -> dict[str, tuple[str, str]]:
    """Return status and code by address of what a look at everything complains of."""
    ran = folder.run("verify", "--all", "--timeout", "0", "--format", "json", *options)
    assert ran.code == (1 if ran.json["problems"] else 0), ran.err
    SCHEMA.validate(ran.json)
    return {entry["address"]: (entry["status"], entry["code"]) for entry in ran.json["problems"]}


GOOD = """\
4 items: 4 verified
3 groups: 3 verified
1 virtual group: 1 verified
1 user: 1 verified
1 alias: 1 verified
provider corp: its security cache has taken 6 identity changes
note: 1 metadata value not compared, for want of a field that shows just that

Verified: 10 of 10 resources; 0 missing, 0 rejected, 0 different.
"""


def test_all_is_well(folder: Folder) -> None:
    apply(folder)
    ran = folder.ok("verify")
    assert (ran.out, ran.err) == (GOOD, "")
    again = folder.ok("verify")
    assert again.out == (
        "Nothing to verify: all that is recorded was verified; `reconciler verify --all` looks again.\n"
    )
    assert folder.ok("verify", "--all").out == GOOD
    assert folder.ok("plan", "--exit-code").code == 0


def test_the_history_grows_by_what_was_learned_only(folder: Folder) -> None:
    apply(folder)
    folder.ok("verify")
    runs = [record.run.command for record in state(folder).runs()]
    folder.ok("verify", "--all")
    folder.ok("verify")
    assert [record.run.command for record in state(folder).runs()] == runs == ["verify", runs[-1]]


def test_nothing_to_verify_asks_nobody(folder: Folder, remote: Remote) -> None:
    folder.at(remote)
    assert folder.ok("verify").out == "Nothing to verify: nothing was applied yet.\n"
    assert folder.ok("verify", "--format", "json").json == {
        "format_version": "1.0",
        "environment": "local",
        "total": 0,
        "unlooked": 0,
        "stopped": None,
        "summary": {"verified": 0, "rejected": 0, "missing": 0, "different": 0, "waiting": 0, "unresolved": 0},
        "kinds": {},
        "providers": [],
        "problems": [],
        "notes": [],
        "metadata": None,
        "seconds": 0.0,
    }
    assert remote.total == 0


def test_json(folder: Folder) -> None:
    apply(folder)
    document = folder.ok("verify", "--format", "json").json
    assert document.pop("seconds") >= 0
    (provider,) = document.pop("providers")
    assert provider.pop("pushed_at") <= provider.pop("refreshed_at")
    assert provider == {
        "provider": "corp",
        "checked": 6,
        "effective": 6,
        "waiting": 0,
        "wrong": 0,
        "refresh_every": None,
    }
    assert document == {
        "format_version": "1.0",
        "environment": "local",
        "total": 10,
        "unlooked": 0,
        "stopped": None,
        "summary": {"verified": 10, "rejected": 0, "missing": 0, "different": 0, "waiting": 0, "unresolved": 0},
        "kinds": {
            "alias": {"checked": 1, "verified": 1},
            "group": {"checked": 3, "verified": 3},
            "item": {"checked": 4, "verified": 4},
            "user": {"checked": 1, "verified": 1},
            "virtual-group": {"checked": 1, "verified": 1},
        },
        "problems": [],
        "notes": [],
        "metadata": {"vanishing": [], "visible": 0, "invisible": 1},
    }


# -- every drop is found (P20) ---------------------------------------------------------------------

_ITEMS = "DELETE FROM items WHERE uri = ? AND place = (SELECT id FROM places WHERE name = ?)"
_IDENTITY = "DELETE FROM identities WHERE name = ?"
HANDBOOK, BLOG = "mysourceidg3c5d1r2", "mysourceidb10g"


@pytest.mark.parametrize(
    ("statement", "values", "address"),
    [
        (_ITEMS, ("https://example.com/a", HANDBOOK), "item/handbook/https://example.com/a"),
        (_ITEMS, ("https://example.com/a", BLOG), "item/blog/https://example.com/a"),
        (_ITEMS, ('https://example.com/"ü/日本', HANDBOOK), 'item/handbook/https://example.com/"ü/日本'),
        (_IDENTITY, ("Staff",), "group/corp/Staff"),
        (_IDENTITY, ("Everyone",), "group/corp/Everyone"),
        (_IDENTITY, ("Staff1",), "group/corp/Staff1"),
        (_IDENTITY, ("All",), "virtual-group/corp/All"),
        (_IDENTITY, ("alice@example.com",), "user/corp/alice@example.com"),
        (_IDENTITY, ("bob@example.com",), "alias/corp/user:bob@example.com"),
    ],
)
def test_a_dropped_creation(folder: Folder, statement: str, values: tuple[str, ...], address: str) -> None:
    apply(folder)
    change(folder, statement, *values)
    found = told(folder)
    assert found.pop(address)[0] == "missing"
    # What speaks of a dropped identity is not resolved; nothing else may be complained of.
    assert set(found.values()) <= {("unresolved", "identities-unresolved")}
    assert not found or not address.startswith("item/")


def test_a_dropped_update_or_deletion(folder: Folder, tmp_path: Path) -> None:
    apply(folder)
    folder.ok("verify")
    shutil.copy(data(folder), tmp_path / "before.db")
    apply(folder, 2)
    recorded = Path(state(folder).path)
    shutil.copy(recorded, tmp_path / "state.db")
    assert told(folder) == {}  # and now the emulator has processed all of it
    shutil.copy(tmp_path / "state.db", recorded)
    shutil.copy(data(folder), tmp_path / "after.db")
    expected = {
        ("items", "https://example.com/a", HANDBOOK): {"item/handbook/https://example.com/a": "outdated"},
        ("items", "https://example.com/a", BLOG): {"item/blog/https://example.com/a": "outdated"},
        ("items", "https://example.com/only-1", HANDBOOK): {"item/handbook/https://example.com/only-1": "still-there"},
        ("identities", "Staff", ""): {"group/corp/Staff": "members-differ"},
        ("identities", "Everyone", ""): {"group/corp/Everyone": "members-differ"},
        ("identities", "All", ""): {"virtual-group/corp/All": "members-differ"},
        ("identities", "Staff1", ""): {"group/corp/Staff1": "still-there"},
        ("identities", "bob@example.com", ""): {"alias/corp/user:bob@example.com": "not-in-cache"},
    }
    for (table, name, place), codes in expected.items():
        shutil.copy(tmp_path / "after.db", data(folder))
        _restore(data(folder), tmp_path / "before.db", table, name, place)
        assert {address: code for address, (_, code) in told(folder).items()} == codes
        assert state(folder).runs(1)[0].result == "failed"
    shutil.copy(tmp_path / "after.db", data(folder))
    assert folder.ok("verify").out.endswith("Verified: 3 of 3 resources; 0 missing, 0 rejected, 0 different.\n")


def _restore(target: Path, source: Path, table: str, name: str, place: str) -> None:
    """Put back one row as it was before the last apply, as if the remote had dropped that push."""
    key = "uri" if table == "items" else "name"
    with closing(sqlite3.connect(target)) as connection, connection:
        connection.execute("ATTACH ? AS before", (str(source),))
        where = f"{key} = ?" + (" AND place = (SELECT id FROM places WHERE name = ?)" if place else "")
        values = (name, place) if place else (name,)
        connection.execute(f"DELETE FROM main.{table} WHERE {where}", values)
        # The number of a row may belong to another one by now.
        known = connection.execute(f"PRAGMA main.table_info({table})")
        names = ", ".join(column for _, column, _, _, _, primary in known if not primary)
        copied = connection.execute(
            f"INSERT INTO main.{table} ({names}) SELECT {names} FROM before.{table} WHERE {where}", values
        )
        assert copied.rowcount == 1


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE items SET permanentid = 'other' WHERE uri LIKE '%only%'", "fields-differ"),
        (
            "UPDATE items SET permissions = replace(permissions, 'bob@', 'eve@') WHERE uri LIKE '%only%'",
            "permissions-differ",
        ),
        ("UPDATE items SET permissions = '[]' WHERE uri LIKE '%only%'", "permissions-differ"),
        ("UPDATE identities SET disabled = 1 WHERE name = 'Everyone'", "identity-disabled"),
        ("UPDATE identities SET members = '[]' WHERE name = 'Everyone'", "members-differ"),
        ("UPDATE identities SET well_knowns = '[]' WHERE name LIKE 'alice%'", "well-knowns-differ"),
    ],
)
def test_what_somebody_changed(folder: Folder, statement: str, code: str) -> None:
    apply(folder)
    change(folder, statement)
    assert [entry for entry in told(folder).values() if entry[0] != "unresolved"] == [("different", code)]


# -- waiting, rejecting, sending again -------------------------------------------------------------


def test_a_slow_remote_is_waited_for(folder: Folder) -> None:
    with start_remote(delay=1.2) as remote:
        apply(folder.at(remote))
        assert folder.ok("verify", "--timeout", "0", code=1).out.endswith(
            "Verified: 0 of 10 resources; 4 missing, 0 rejected, 0 different, 6 waiting.\n"
        )
        assert folder.ok("verify", "--timeout", "20").out == GOOD


def test_a_rejected_item_is_pending_again(folder: Folder) -> None:
    with start_remote(doubts=Doubts(identities_must_exist=True)) as remote:
        folder.at(remote).write(
            "items.yaml",
            as_yaml(
                {
                    "defaults": {"source": "handbook", "provider": "corp"},
                    "items": [{"uri": "https://example.com/a?b=\"c\"&d='e'", "permissions": {"allowed": ["user:x"]}}],
                }
            ),
        )
        folder.ok("apply", "--auto-approve")
        ran = folder.ok("verify", code=1)
        assert ran.out == (
            "1 item: 0 verified, 1 rejected\n"
            "\n"
            "item/handbook/https://example.com/a?b=\"c\"&d='e': error[rejected]: "
            "REJECTED in VALIDATION: no identity 'x' was pushed\n"
            "  why: the remote accepts first and checks later; its log says that it dropped this. "
            "The next plan sends it again.\n"
            "  fix: correct the cause, then:\n"
            f"      reconciler -C {folder.root} apply\n"
            "\n"
            "Verified: 0 of 1 resources; 0 missing, 1 rejected, 0 different.\n"
        )
        assert folder.run("verify", "--timeout", "0").out == ran.out
        folder.ok("plan", "--exit-code", code=3)
        folder.write("users.yaml", as_yaml({"defaults": {"provider": "corp"}, "users": [{"name": "x"}]}))
        folder.ok("apply", "--auto-approve")
        assert folder.ok("verify").out.endswith("Verified: 2 of 2 resources; 0 missing, 0 rejected, 0 different.\n")


def test_what_is_missing_can_be_sent_again(folder: Folder) -> None:
    apply(folder)
    change(folder, _ITEMS, "https://example.com/only-1", HANDBOOK)
    change(folder, "UPDATE identities SET members = '[]' WHERE name = 'Everyone'")
    missing = told(folder)
    folder.ok("plan", "--exit-code")
    assert told(folder, "--resend") == missing == told(folder)
    assert "2 to update" in folder.ok("plan", "--exit-code", code=3).out
    folder.ok("apply", "--auto-approve")
    assert folder.ok("verify").out.endswith("Verified: 2 of 2 resources; 0 missing, 0 rejected, 0 different.\n")


def test_unresolved_identities(folder: Folder) -> None:
    folder.write(
        "items.yaml",
        as_yaml(
            {
                "defaults": {"source": "handbook", "provider": "corp"},
                "items": [{"uri": "https://example.com/a", "permissions": {"denied": ["user:nobody"]}}],
            }
        ),
    )
    folder.ok("apply", "--auto-approve")
    ran = folder.ok("verify", "--timeout", "0", code=1)
    assert ran.out.splitlines()[2] == (
        "item/handbook/https://example.com/a: error[identities-unresolved]: its permissions arrived, but are "
        "IN_ERROR: user:nobody (mysecurityidentityprovider8d9s8d) is NOT_UPDATED"
    )
    assert ran.out.endswith("Verified: 0 of 1 resources; 0 missing, 0 rejected, 0 different, 1 unresolved.\n")


def test_deletions_are_confirmed_once(folder: Folder) -> None:
    apply(folder)
    folder.ok("verify")
    folder.ok("destroy", "--auto-approve")
    tally = folder.ok("verify").out
    assert tally.endswith("Verified: 10 of 10 resources; 0 missing, 0 rejected, 0 different.\n")
    assert folder.ok("verify").out.startswith("Nothing to verify")
    assert folder.ok("verify", "--all").out == tally


def test_many_problems_are_told_in_part(folder: Folder) -> None:
    items = [{"uri": f"https://example.com/{number:03}", "title": "T"} for number in range(130)]
    folder.write("items.yaml", as_yaml({"defaults": {"source": "blog"}, "items": items}))
    folder.ok("apply", "--auto-approve")
    with closing(sqlite3.connect(data(folder))) as connection, connection:
        connection.execute("DELETE FROM items WHERE uri >= 'https://example.com/100'")
    lines = folder.ok("verify", "--timeout", "0", code=1).out.splitlines()
    assert lines[:9] == [
        "130 items: 100 verified, 30 missing",
        "",
        "error[not-indexed]: 30 resources: the index does not hold the item",
        *(f"    item/blog/https://example.com/{number}" for number in range(100, 105)),
        "    ... and 25 more; --format json shows all",
    ]
    assert sum(line.startswith(("  why: ", "  fix: ")) for line in lines) == 2
    assert lines[-2:] == [
        "The time was over after 0 s: 30 resources may still change.",
        "Verified: 100 of 130 resources; 30 missing, 0 rejected, 0 different.",
    ]


def test_many_causes_of_one_kind_are_told_in_part(folder: Folder) -> None:
    items = [{"uri": f"https://example.com/{number:03}", "title": "T"} for number in range(30)]
    folder.write("items.yaml", as_yaml({"defaults": {"source": "blog"}, "items": items}))
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")
    with closing(sqlite3.connect(data(folder))) as connection, connection:
        connection.execute("UPDATE items SET pushed = 1000000000 + row")
    lines = folder.ok("verify", "--all", "--timeout", "0", code=1).out.splitlines()
    assert sum("error[outdated]" in line for line in lines) == 10
    assert "... and 20 more [outdated]; --format json shows all" in lines
    assert sum(line.startswith("  why: ") for line in lines) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_keeps_what_it_learned(folder: Folder, number: int) -> None:
    first, second = ({"uri": f"https://example.com/{name}", "title": "T"} for name in ("first", "second"))
    with start_remote(delay=100) as remote:
        folder.at(remote).write("items.yaml", as_yaml({"defaults": {"source": "blog"}, "items": [first]}))
        folder.ok("apply", "--auto-approve")
        remote.flush()
        folder.write("items.yaml", as_yaml({"defaults": {"source": "blog"}, "items": [first, second]}))
        folder.ok("apply", "--auto-approve")
        process = folder.start("verify", "--timeout", "60")
        assert process.stderr is not None
        assert process.stderr.readline().startswith("verify: waiting for 1 resource, up to ")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert "Interrupted after 0 s: 1 resource may still change.\n" in out.replace("after 1 s", "after 0 s")
    assert out.endswith("Verified: 1 of 2 resources; 1 missing, 0 rejected, 0 different.\n")
    assert [(row.address.name[-6:], row.verified) for row in state(folder).rows()] == [
        ("/first", "verified"),
        ("second", None),
    ]


# -- what stands in the way ------------------------------------------------------------------------


def test_an_unreachable_remote(folder: Folder) -> None:
    with start_remote() as remote:
        apply(folder.at(remote))
    ran = folder.run("verify", "--timeout", "0")
    assert (ran.code, ran.out) == (4, "")
    assert "error[remote-unreachable]" in ran.err


def test_a_key_that_may_not_read_the_logs(folder: Folder) -> None:
    from reconciler.emulator.options import ALL_PRIVILEGES, LOGS_VIEW
    from tests.builders import KEY

    with start_remote(api_key="", keys={KEY: ALL_PRIVILEGES - {LOGS_VIEW}}, delay=100) as remote:
        apply(folder.at(remote))
        ran = folder.ok("verify", "--timeout", "0", code=1)
    notes = [line for line in ran.out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].startswith("note: the logs cannot be read, so reasons are not known: HTTP 403")


def test_a_key_that_may_not_search_is_told_what_it_lacks(folder: Folder) -> None:
    from reconciler.emulator.options import ALL_PRIVILEGES, EXECUTE_QUERY
    from tests.builders import KEY

    with start_remote(api_key="", keys={KEY: ALL_PRIVILEGES - {EXECUTE_QUERY}}) as remote:
        apply(folder.at(remote))
        ran = folder.ok("verify", "--timeout", "0", code=4)
    assert ran.out == ""
    assert "fix: give the API key the privileges: Search - Execute queries" in ran.err


def test_another_target(folder: Folder) -> None:
    apply(folder)
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace(ORGANIZATION, "elsewhere"))
    ran = folder.run("verify")
    assert (ran.code, ran.out) == (1, "")
    assert "error[other-target]" in ran.err


def test_a_run_that_came_between_is_not_confirmed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another run deleted while we looked was not looked at."""
    from reconciler.cli import verify

    apply(folder)
    looked = verify._look

    def look(*arguments: Any) -> Any:
        report = looked(*arguments)
        now = datetime.now(UTC).isoformat()
        with state(folder).lock(LockInfo("l", "c", now, "h", "u", 1)) as writer:
            writer.begin_run(RunInfo("between", "apply", now), Target(ORGANIZATION), lambda: "")
            writer.end_run(at=now, result="done")
        return report

    monkeypatch.setattr(verify, "_look", look)
    folder.ok("verify")
    assert [(record.run.command, record.result) for record in state(folder).runs(2)] == [
        ("verify", "failed"),
        ("apply", "done"),
    ]
