"""`rollback --access-only` from outside, against the emulator: who sees what is as before, first what was widened."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from reconciler.cli.planexpiry import refuse_lapsed
from reconciler.cli.session import open_session
from reconciler.emulator.door import Exchange, Hooks
from reconciler.model.instant import parse_instant
from reconciler.planfile import load_plan
from reconciler.problems import StateError
from tests.builders import EMAIL, PROJECT, Folder, Ran, Remote, start_remote

CONFIRMED = PROJECT.replace("widenedAccess: allow", "widenedAccess: confirm")

MANIFEST = f"""
defaults: {{source: handbook, provider: corp}}
permissions:
  team: {{allowed: [group:Team]}}
items:
  - {{uri: "file:///alpha", title: A, body: {{text: the text of alpha}}, permissions: team}}
  - uri: "file:///beta"
    body: {{file: beta.txt}}
    permissions: {{allowed: [group:Team], denied: [user:bob@example.com]}}
  - {{uri: "file:///gamma", title: C, permissions: {{allowed: [group:Board]}}}}
groups:
  - {{name: Team, members: [user:alice@example.com, user:bob@example.com]}}
  - {{name: Board, members: [user:dora@example.com]}}
users:
  - {{name: dora@example.com, wellKnowns: [group:Team]}}
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: user:alice@mail.example}}]
"""
URIS = ("file:///alpha", "file:///beta", "file:///gamma")
CAROL = ("[user:alice@example.com, user:bob@", "[user:alice@example.com, user:carol@example.com, user:bob@")
"""A member more in Team."""
RISKS = [word for name in ("item-unseen", "item-public", "deny-removed", "emptied-group") for word in ("--allow", name)]


@pytest.fixture
def ready(folder: Folder, remote: Remote) -> Folder:
    """A project that was applied once, where widening needs nobody's word."""
    return applied(folder.at(remote), MANIFEST)


def applied(folder: Folder, manifest: str) -> Folder:
    folder.write("beta.txt", "the text of beta\n")
    return changed(folder, manifest)


def changed(folder: Folder, manifest: str) -> Folder:
    """Apply a manifest, whatever it does."""
    folder.write("all.yaml", manifest)
    folder.ok("apply", "--auto-approve", *RISKS)
    return folder


def edited(*pairs: tuple[str, str], of: str = MANIFEST) -> str:
    for old, new in pairs:
        assert old in of
        of = of.replace(old, new, 1)
    return of


def held(remote: Remote) -> Any:
    remote.flush()
    return remote.contents()


def seen(folder: Folder, of: str) -> dict[str, Any]:
    """Return who sees each item as it was accepted, or as the remote has it."""
    return {uri: folder.ok("access", "who", uri, "--of", of, "--format", "json").json for uri in URIS}


def roll_back(folder: Folder, *options: str) -> Ran:
    """Plan, save and apply; return what planning said."""
    file = str(folder.root / "back.json")
    planned = folder.ok("rollback", "--access-only", *options, "--out", file)
    folder.ok("apply", file, "--auto-approve", *RISKS)
    return planned


def plan_of(folder: Folder, *options: str) -> Any:
    return folder.ok("rollback", "--access-only", *options, "--format", "json").json


def codes(plan: Any) -> list[tuple[str, str]]:
    """Return the warnings of a plan: their code, and the address that each names."""
    return [
        (entry["code"], entry["what"].split('"')[1]) for entry in plan["problems"] if entry["severity"] == "warning"
    ]


def calls_of(plan: Any) -> list[list[str]]:
    return [[cover["address"] for cover in call["covers"]] for call in plan["calls"]]


def runs(folder: Folder) -> list[str]:
    with open_session(str(folder.root), None) as session:
        return [record.run.id for record in session.store.runs()]


# -- one run ---------------------------------------------------------------------------------------


def test_a_group_that_was_widened_is_as_before_and_so_is_who_sees_what(ready: Folder, remote: Remote) -> None:
    before, recorded, emulated = held(remote), seen(ready, "recorded"), seen(ready, "remote")
    changed(ready, edited(CAROL))
    assert held(remote) != before
    assert "user:carol@example.com" in seen(ready, "remote")["file:///alpha"]["viewers"]

    said = roll_back(ready)

    assert held(remote) == before
    assert (seen(ready, "recorded"), seen(ready, "remote")) == (recorded, emulated)
    assert f"run {runs(ready)[1]} (" in said.out
    assert "is undone, as far as it changed who sees what" in said.out


def test_planning_changes_nothing(ready: Folder, remote: Remote) -> None:
    changed(ready, edited(CAROL))
    before, requests = held(remote), remote.total
    plan_of(ready)
    assert (held(remote), len(runs(ready))) == (before, 2)
    assert [entry for entry in remote.requests(requests) if "/push/" in entry["path"]] == []


def test_the_manifests_still_ask_for_it_and_the_next_plan_shows_it(ready: Folder) -> None:
    changed(ready, edited(CAROL))
    plan = plan_of(ready)
    assert codes(plan) == [("asked-again", "group/corp/Team")]
    (told,) = [entry for entry in plan["problems"] if entry["code"] == "asked-again"]
    assert (told["file"], told["line"]) == ("all.yaml", 12)
    text = roll_back(ready).out
    assert 'all.yaml:12:12: warning[asked-again]: the manifests ask for what is undone: "group/corp/Team"' in text
    pending = ready.ok("plan", "--exit-code", "--format", "json", code=3).json
    assert [change["address"] for change in pending["changes"]] == ["group/corp/Team"]


def test_content_stays_as_the_run_left_it(ready: Folder, remote: Remote) -> None:
    before = held(remote)
    ready.write("beta.txt", "another text of beta\n")
    changed(ready, edited(("title: A,", "title: Another,"), (", denied: [user:bob@example.com]", "")))
    after = held(remote)
    roll_back(ready)
    now = held(remote)
    (source,) = now["items"]
    alpha, beta = now["items"][source]["file:///alpha"], now["items"][source]["file:///beta"]
    assert alpha == after["items"][source]["file:///alpha"]
    assert beta["body"] == after["items"][source]["file:///beta"]["body"]
    assert beta["levels"] == before["items"][source]["file:///beta"]["levels"]


def test_what_narrows_is_settled_before_what_widens(ready: Folder, remote: Remote) -> None:
    before, whose = held(remote), (seen(ready, "recorded"), seen(ready, "remote"))
    changed(
        ready,
        edited(
            ('uri: "file:///alpha", title: A', 'uri: "file:///alpha", title: Another'),
            ("denied: [user:bob@example.com]", "denied: [group:Team]"),
            ("permissions: {allowed: [group:Board]}", "permissions: {allowed: [group:Board, group:Team]}"),
            ("{name: Board, members: [user:dora@example.com]}", "{name: Board, members: []}"),
        ),
    )
    plan = plan_of(ready)
    # Team sees gamma no more, then Bob sees beta again and Dora gamma.
    assert calls_of(plan)[0] == ["item/handbook/file:///gamma"]
    assert sorted(address for call in calls_of(plan)[1:] for address in call) == [
        "group/corp/Board",
        "item/handbook/file:///beta",
    ]
    assert plan["access"]["order"]["extra_calls"] == 0
    roll_back(ready)
    assert held(remote)["identities"] == before["identities"]
    assert (seen(ready, "recorded"), seen(ready, "remote")) == whose


def test_only_what_was_widened_can_be_undone(ready: Folder) -> None:
    changed(
        ready,
        edited(
            ("permissions: team", "permissions: {allowed: [group:Team, user:carol@example.com]}"),
            ("denied: [user:bob@example.com]", "denied: [group:Team]"),
        ),
    )
    both = {change["address"] for change in plan_of(ready)["changes"]}
    assert both == {"item/handbook/file:///alpha", "item/handbook/file:///beta"}
    plan = plan_of(ready, "--widenings-only")
    assert [change["address"] for change in plan["changes"]] == ["item/handbook/file:///alpha"]
    assert plan["access"]["gained"] == []


def test_a_group_that_comes_back_comes_along_with_what_names_it(ready: Folder, remote: Remote) -> None:
    """Undone alone, the item would name a group that nobody knows, and nobody would see it."""
    before = held(remote)
    changed(
        ready,
        edited(
            ("permissions: {allowed: [group:Board]}", "permissions: {anonymous: true}"),
            ("  - {name: Board, members: [user:dora@example.com]}\n", ""),
        ),
    )
    plan = plan_of(ready, "--widenings-only")
    assert {change["address"] for change in plan["changes"]} == {"item/handbook/file:///gamma", "group/corp/Board"}
    roll_back(ready, "--widenings-only")
    assert held(remote) == before


def test_identities_that_came_go_and_those_that_went_come_back(ready: Folder, remote: Remote) -> None:
    before = held(remote)
    other = edited(
        ("  - {name: Board, members: [user:dora@example.com]}\n", "  - {name: New, members: [user:eve@example.com]}\n"),
        ("permissions: {allowed: [group:Board]}", "permissions: {allowed: [group:New]}"),
        ("dora@example.com, wellKnowns: [group:Team]", "eve@example.com, wellKnowns: [group:New]"),
        ("user:alice@mail.example", "user:eve@mail.example"),
    )
    changed(ready, other)
    plan = plan_of(ready)
    actions = {change["address"]: change["action"] for change in plan["changes"]}
    assert actions == {
        "alias/corp/user:alice@example.com": "update",
        "group/corp/Board": "create",
        "group/corp/New": "delete",
        "item/handbook/file:///gamma": "update",
        "user/corp/dora@example.com": "create",
        "user/corp/eve@example.com": "delete",
    }
    roll_back(ready)
    assert held(remote) == before
    # Undone twice, it is done again.
    roll_back(ready)
    assert held(remote) != before
    assert "No changes." in ready.ok("plan").out


def test_items_that_came_stay_unless_asked_and_items_that_went_do_not_come_back(ready: Folder, remote: Remote) -> None:
    other = edited(('uri: "file:///gamma"', 'uri: "file:///delta"'))
    changed(ready, other)
    plan = plan_of(ready)
    assert codes(plan) == [
        ("not-undone", "item/handbook/file:///gamma"),
        ("created-stays", "item/handbook/file:///delta"),
    ]
    assert plan["changes"] == []
    roll_back(ready, "--created")
    (items,) = held(remote)["items"].values()
    assert sorted(items) == ["file:///alpha", "file:///beta"]


def test_access_that_widens_again_must_be_allowed_by_name(folder: Folder, remote: Remote) -> None:
    ready = applied(Folder(folder.root, CONFIRMED).at(remote), MANIFEST)
    changed(ready, edited((", user:bob@example.com]}", "]}")))
    before = held(remote)
    file = str(ready.root / "back.json")
    ready.ok("rollback", "--access-only", "--out", file)
    refused = ready.ok("apply", file, "--auto-approve", code=1)
    assert "error[hazard-widened-access]" in refused.err
    assert held(remote) == before
    ready.ok("apply", file, "--auto-approve", "--allow", "widened-access")
    assert held(remote) != before


# -- the content that travels along ----------------------------------------------------------------


def without_beta() -> str:
    begin, end = MANIFEST.index('  - uri: "file:///beta"'), MANIFEST.index('  - {uri: "file:///gamma"')
    return MANIFEST[:begin] + MANIFEST[end:]


def opened_to_bob(folder: Folder) -> Folder:
    return changed(folder, edited((", denied: [user:bob@example.com]", "")))


def test_a_content_file_that_changed_since_is_said_and_the_rest_can_be_undone(ready: Folder, remote: Remote) -> None:
    large = "x" * 100_000  # more than is kept of small texts
    ready.write("beta.txt", large)
    changed(ready, MANIFEST)
    before = held(remote)
    changed(ready, edited(CAROL, (", denied: [user:bob@example.com]", "")))
    ready.write("beta.txt", "another text")
    refused = ready.ok("rollback", "--access-only", code=1)
    assert 'error[body-not-at-hand]: the content of "item/handbook/file:///beta" as it was applied' in refused.err
    assert "--exclude item/handbook/file:///beta" in refused.err
    said = roll_back(ready, "--exclude", "item/handbook/file:///beta")
    assert "file:///beta" not in said.out.partition("Calls")[2]
    assert held(remote)["identities"] == before["identities"]
    ready.write("beta.txt", large)
    roll_back(ready, "--run", runs(ready)[1])
    assert held(remote) == before


def test_a_small_text_is_kept_and_needs_no_manifest(ready: Folder, remote: Remote) -> None:
    before = held(remote)
    opened_to_bob(ready)
    ready.write("all.yaml", without_beta())
    (ready.root / "beta.txt").unlink()
    plan = plan_of(ready)
    assert codes(plan) == [("asked-again", "item/handbook/file:///beta")]
    roll_back(ready)
    assert held(remote) == before


def test_an_item_that_is_in_no_manifest_any_more_and_was_large_is_named(ready: Folder) -> None:
    ready.write("beta.txt", "x" * 100_000)
    opened_to_bob(ready)
    ready.write("all.yaml", without_beta())
    refused = ready.ok("rollback", "--access-only", code=1)
    assert "the manifest does not have the item" in refused.err


def test_manifests_with_errors_keep_nobody_from_undoing(ready: Folder, remote: Remote) -> None:
    before = held(remote)
    changed(ready, edited(CAROL))
    ready.write("all.yaml", "items: [{uri: 5")
    plan = plan_of(ready)
    assert [entry["code"] for entry in plan["problems"]] == ["rollback", "manifests-unread"]
    roll_back(ready)
    assert held(remote) == before


def test_what_is_excluded_must_exist(ready: Folder) -> None:
    changed(ready, edited(CAROL))
    refused = ready.ok("rollback", "--access-only", "--exclude", "file:///nowhere", code=2)
    assert "error[unknown-target]" in refused.err


# -- several runs ----------------------------------------------------------------------------------


def test_what_a_later_run_changed_again_is_left_alone_and_said(ready: Folder, remote: Remote) -> None:
    start = held(remote)
    changed(ready, edited(CAROL, ("members: [user:dora@example.com]", "members: [user:eve@example.com]")))
    changed(
        ready, edited(("user:carol@", "user:eve@example.com, user:carol@"), of=(ready.root / "all.yaml").read_text())
    )
    second, first, _ = runs(ready)
    plan = plan_of(ready, "--run", first)
    assert codes(plan) == [("changed-since", "group/corp/Team"), ("asked-again", "group/corp/Board")]
    assert [change["address"] for change in plan["changes"]] == ["group/corp/Board"]
    assert [change["address"] for change in plan_of(ready, "--run", second)["changes"]] == ["group/corp/Team"]
    roll_back(ready, "--since", first)
    assert held(remote) == start


def test_runs_are_undone_one_after_the_other(ready: Folder, remote: Remote) -> None:
    states = [held(remote)]
    for manifest in (
        edited(CAROL),
        edited(CAROL, ("members: [user:dora@example.com]", "members: [user:eve@example.com]")),
    ):
        changed(ready, manifest)
        states.append(held(remote))
    second, first, _ = runs(ready)
    roll_back(ready, "--run", second)
    assert held(remote) == states[1]
    roll_back(ready, "--run", first)
    assert held(remote) == states[0]
    assert plan_of(ready, "--run", first)["changes"] == []


def test_the_last_run_is_the_last_that_changed_access(ready: Folder) -> None:
    changed(ready, edited(CAROL))
    changed(ready, edited(CAROL, ("title: A,", "title: Another,")))
    assert plan_of(ready)["rollback"] == ["--access-only", "--run", runs(ready)[1]]
    plan = plan_of(ready, "--run", runs(ready)[0])
    assert plan["changes"] == []
    assert "changed nothing of who sees what" in plan["problems"][0]["what"]


def test_a_run_that_nobody_knows(ready: Folder) -> None:
    refused = ready.ok("rollback", "--access-only", "--run", "nobody", code=2)
    assert 'error[unknown-run]: no run of this state is called "nobody"' in refused.err
    assert runs(ready)[0] in refused.err


def test_nothing_to_undo(folder: Folder) -> None:
    refused = folder.ok("rollback", "--access-only", code=1)
    assert "error[nothing-to-undo]" in refused.err
    assert not (folder.root / ".reconciler" / "local.state.db").exists()


def test_a_state_of_an_older_version_says_what_it_does_not_know(ready: Folder, remote: Remote) -> None:
    (old,) = runs(ready)
    database = sqlite3.connect(ready.root / ".reconciler" / "local.state.db")
    database.executescript("DROP TABLE formers; DELETE FROM meta WHERE key = 'formers_from'; PRAGMA user_version = 1")
    database.close()
    assert "error[run-not-kept]" in ready.ok("rollback", "--access-only", "--run", old, code=1).err
    assert "error[nothing-to-undo]" in ready.ok("rollback", "--access-only", code=1).err
    before = held(remote)
    changed(ready, edited(CAROL))
    roll_back(ready)
    assert held(remote) == before


@pytest.mark.parametrize(
    ("options", "code"),
    [((), "access-only"), (("--access-only", "--run", "a", "--since", "b"), "run-and-since")],
)
def test_wrong_usage(ready: Folder, options: tuple[str, ...], code: str) -> None:
    assert f"error[{code}]" in ready.ok("rollback", *options, code=2).err


# -- runs that broke off ---------------------------------------------------------------------------


class Slow(Hooks):
    """Lets the first calls through and holds the next one until somebody has seen it come."""

    def __init__(self) -> None:
        self.quick = 10**6
        self.arrived = threading.Event()
        self.refusing = False

    async def arriving(self, exchange: Exchange) -> Response | None:
        if not exchange.path.startswith("/push/") or exchange.path.endswith("/status"):
            return None
        self.quick -= 1
        if self.quick < 0 and self.refusing:
            return Response(b"{}", 403, media_type="application/json")
        if self.quick < 0:
            self.arrived.set()
            await asyncio.sleep(0.5)
        return None


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def slowed(folder: Folder, slow: Slow) -> Iterator[tuple[Folder, Remote]]:
    with start_remote(hooks=slow) as remote:
        yield applied(folder.at(remote), MANIFEST), remote


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_killed_run_is_undone_with_what_is_in_doubt_of_it(
    slowed: tuple[Folder, Remote], slow: Slow, accepted: int
) -> None:
    """Also when none of its calls was answered, so that nobody knows whether it changed anything."""
    folder, remote = slowed
    before = held(remote)
    folder.write("all.yaml", edited(CAROL, ("members: [user:dora@example.com]", "members: [user:eve@example.com]")))
    slow.quick = accepted
    process = folder.start("apply", "--auto-approve", "--no-batch", "--parallelism", "1", *RISKS)
    assert slow.arrived.wait(20)
    process.kill()
    process.communicate(timeout=20)
    slow.quick = 10**6

    plan = plan_of(folder)
    assert plan["rollback"] == ["--access-only", "--run", runs(folder)[0]]
    reasons = {change["address"]: change["reason"] for change in plan["changes"]}
    assert sorted(reasons.values()) == (["changed", "unconfirmed"] if accepted else ["unconfirmed"])
    roll_back(folder)
    assert held(remote) == before


def test_an_item_that_may_have_been_created_is_said_and_can_be_deleted(
    slowed: tuple[Folder, Remote], slow: Slow
) -> None:
    folder, remote = slowed
    before = held(remote)
    folder.write("more.yaml", "defaults: {source: handbook}\nitems: [{uri: 'file:///delta', permissions: team}]\n")
    slow.quick = 0
    process = folder.start("apply", "--auto-approve")
    assert slow.arrived.wait(20)
    process.kill()
    process.communicate(timeout=20)
    slow.quick = 10**6

    plan = plan_of(folder)
    assert (plan["changes"], codes(plan)) == ([], [("created-stays", "item/handbook/file:///delta")])
    roll_back(folder, "--created")
    assert held(remote) == before


def test_a_plan_that_is_stale_is_made_anew_as_what_it_is(ready: Folder) -> None:
    """Made anew from the manifests, it would do again what was to be undone."""
    changed(ready, edited(CAROL))
    run, file = runs(ready)[0], str(ready.root / "back.json")
    ready.ok("rollback", "--access-only", "--out", file)
    changed(ready, edited(CAROL, ("title: A,", "title: Another,")))
    refused = ready.ok("apply", file, "--auto-approve", code=1)
    assert "error[stale-plan]" in refused.err
    assert f"rollback --access-only --run {run} --out plan.json" in refused.err


def test_a_rollback_that_broke_off_goes_on_with_what_is_left(slowed: tuple[Folder, Remote], slow: Slow) -> None:
    folder, remote = slowed
    before = held(remote)
    changed(folder, edited(CAROL, ("members: [user:dora@example.com]", "members: [user:eve@example.com]")))
    file = str(folder.root / "back.json")
    folder.ok("rollback", "--access-only", "--no-batch", "--out", file)
    slow.quick, slow.refusing = 1, True
    stopped = folder.ok("apply", file, "--auto-approve", "--parallelism", "1", code=4)
    slow.quick = 10**6
    again = f"rollback --access-only --run {runs(folder)[1]} --out {file}"
    assert again in stopped.err
    folder.ok(*again.split())
    folder.ok("apply", file, "--auto-approve")
    assert held(remote) == before


def test_formats_say_what_is_undone(ready: Folder, tmp_path: Path) -> None:
    changed(ready, edited(CAROL))
    run = runs(ready)[0]
    for form in ("text", "markdown", "html", "json"):
        assert run in ready.ok("rollback", "--access-only", "--format", form).out
    ready.ok("rollback", "--access-only", "--out", str(tmp_path / "back.json"))
    shown = ready.ok("show", str(tmp_path / "back.json"), "--format", "json").json
    assert shown["rollback"] == ["--access-only", "--run", run]


# -- grants that ended since -----------------------------------------------------------------------

ENDING = f"""
defaults: {{source: handbook, provider: corp}}
permissions:
  team: {{allowed: [group:Team, {{user: guest@example.com, expires: END}}]}}
items:
  - {{uri: "file:///alpha", permissions: team}}
  - {{uri: "file:///beta", permissions: {{allowed: [group:Team, {{user: guest@example.com, expires: END}}]}}}}
  - {{uri: "file:///gamma", permissions: {{allowed: [user:guest@example.com]}}}}
groups:
  - name: Team
    members: [user:alice@example.com, {{user: bob@example.com, expires: END}}]
users:
  - {{name: guest@example.com}}
aliases:
  - ofEach: {{membersOf: "*"}}
    is: [{{provider: "{EMAIL}", identity: "user:{{name}}"}}]
  - of: user:guest@example.com
    is:
      - {{provider: "{EMAIL}", identity: user:guest@mail.example, expires: END}}
      - {{provider: "{EMAIL}", identity: user:guest@home.example}}
"""
TO_COME, OVER = "2130-01-31", "2020-01-31"


def test_what_has_ended_since_does_not_come_back_and_is_named(folder: Folder, remote: Remote) -> None:
    """The run in which grants ended also let somebody in by mistake: that alone is undone."""
    applied(folder.at(remote), ENDING.replace("END", TO_COME))
    ended = ENDING.replace("END", OVER)
    changed(folder, ended)
    without = held(remote)
    changed(folder, ENDING.replace("END", TO_COME))
    changed(folder, edited(("[user:alice@", "[user:mallory@example.com, user:alice@"), of=ended))

    plan = plan_of(folder)
    told = [entry["what"] for entry in plan["problems"] if entry["code"] == "ended-since"]
    assert [line.split(" ended ")[0] for line in told] == [
        'user:guest@mail.example in alias "user:guest@example.com"',
        'user:bob@example.com in group "Team"',
        'user:guest@example.com in item "file:///beta"',
        'user:guest@example.com in permission model "team"',
    ]
    assert told[1].endswith("ended 2020-01-31 (all.yaml:11) and does not come back")
    assert [change["address"] for change in plan["changes"]] == [
        "alias/corp/user:mallory@example.com",
        "group/corp/Team",
    ]
    assert "as_of" not in plan
    roll_back(folder)
    assert held(remote) == without


def test_who_is_given_the_same_for_longer_gets_it_back(folder: Folder, remote: Remote) -> None:
    """The model that an item had is not known by name; that somebody's grant in another ended is no reason."""
    both = ENDING.replace("expires: END", f"expires: {OVER}", 1).replace("END", TO_COME)
    applied(folder.at(remote), both)
    before = held(remote)
    changed(folder, edited((", {user: guest@example.com, expires: 2130-01-31}]}}", "]}}"), of=both))
    folder.write("all.yaml", both)
    assert "ended-since" not in [code for code, _ in codes(plan_of(folder))]
    roll_back(folder)
    assert held(remote) == before


def test_a_plan_that_gives_back_what_ends_holds_until_then(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    manifest = ENDING.replace("END", TO_COME)
    applied(folder.at(remote), manifest)
    changed(folder, edited((", {user: bob@example.com, expires: 2130-01-31}", ""), of=manifest))
    folder.write("all.yaml", manifest)
    file = tmp_path / "back.json"
    plan = folder.ok("rollback", "--access-only", "--out", str(file), "--format", "json").json
    assert plan["holds_until"] == "2130-01-31T00:00:00Z"
    assert plan["access"]["expiring"] == []

    saved = load_plan(file.read_bytes(), str(file)).plan
    end = parse_instant("2130-01-31")
    refuse_lapsed(saved, end - 1)
    with pytest.raises(StateError) as refused:
        refuse_lapsed(saved, end)
    assert refused.value.problems[0].code == "grant-lapsed"
    assert refused.value.problems[0].fix.endswith(
        f"reconciler rollback --access-only --run {runs(folder)[0]} --out plan.json"
    )


def test_a_run_that_changed_nothing_is_passed_over_aloud(ready: Folder) -> None:
    """Whoever stopped a run at once and undoes "the last" must see that it is another one."""
    changed(ready, edited(CAROL))
    assert codes_of_problems(plan_of(ready)) == {"rollback", "asked-again"}
    changed(ready, edited(CAROL, ("title: A", "title: B")))
    plan = plan_of(ready)
    assert plan["rollback"] == ["--access-only", "--run", runs(ready)[1]]
    [passed] = [entry for entry in plan["problems"] if entry["code"] == "passed-over"]
    assert passed["what"].startswith(f"run {runs(ready)[0]} (")
    named = plan_of(ready, "--run", runs(ready)[1])
    assert "passed-over" not in codes_of_problems(named)


def test_content_that_changed_after_the_plan_was_saved_takes_a_new_one_of_the_same(ready: Folder) -> None:
    changed(ready, edited(("denied: [user:bob@example.com]", "denied: []")))
    file = str(ready.root / "back.json")
    ready.ok("rollback", "--access-only", "--out", file)
    ready.write("beta.txt", "another text of beta\n")
    refused = ready.ok("apply", file, "--auto-approve", *RISKS, code=1)
    assert "error[body-changed]" in refused.err
    assert f"rollback --access-only --run {runs(ready)[0]} --out plan.json" in refused.err


def test_what_comes_back_and_names_a_group_that_does_not_is_told(ready: Folder) -> None:
    replaced = edited(("allowed: [group:Team]", "allowed: [group:New]"), ("name: Board,", "name: New,"))
    for old in ("allowed: [group:Team]", "allowed: [group:Board]", "wellKnowns: [group:Team]"):
        replaced = replaced.replace(old, "allowed: [group:New]" if old.startswith("allowed") else "wellKnowns: []")
    changed(ready, replaced)
    assert ("unknown-group", "item/handbook/file:///gamma") not in codes(plan_of(ready))
    told = codes(plan_of(ready, "--exclude", "group/corp/Board"))
    assert [address for code, address in told if code == "unknown-group"] == ["item/handbook/file:///gamma"]


def codes_of_problems(plan: Any) -> set[str]:
    return {entry["code"] for entry in plan["problems"]}
