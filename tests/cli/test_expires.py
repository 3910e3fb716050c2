"""Grants that end by themselves, from outside: what is planned, applied, tested and answered before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.planfile import load_plan
from reconciler.planning.plan import Expiring
from tests.builders import EMAIL, SOURCE_ID, Folder, Remote, run_here

# Far ahead, so that today they all hold; `--as-of` does the rest.
MANIFEST = f"""\
defaults: {{source: handbook, provider: corp}}
permissions:
  guests: {{allowed: [{{user: eve@example.com, expires: 2130-03-01}}]}}
groups:
  - name: Staff
    members:
      - user:alice@example.com
      - {{user: bob@example.com, expires: "2130-01-31T12:00:00+01:00"}}
  - {{name: Temps, members: [{{user: tim@example.com, expires: 2130-01-31}}]}}
users:
  - {{name: eve@example.com}}
aliases:
  - of: user:bob@example.com
    is: [{{provider: {EMAIL}, identity: "user:bob@mail.example", expires: 2130-01-31}}]
items:
  - {{uri: "file:///staff", permissions: {{allowed: [group:Staff]}}}}
  - {{uri: "file:///temps", permissions: {{allowed: [group:Temps]}}}}
  - {{uri: "file:///guests", permissions: guests}}
  - {{uri: "file:///guests/2", permissions: guests}}
"""
BOB = Expiring("group/corp/Staff", "user/corp/bob@example.com", "2130-01-31T11:00:00Z", "all.yaml", 8, "lapses")
TIM = Expiring("group/corp/Temps", "user/corp/tim@example.com", "2130-01-31T00:00:00Z", "all.yaml", 9, "lapses")
MAIL = Expiring(
    "alias/corp/user:bob@example.com", f"user/{EMAIL}/bob@mail.example", TIM.expires, "all.yaml", 14, "lapses"
)
EVE = Expiring("permissions/guests", "user/corp/eve@example.com", "2130-03-01T00:00:00Z", "all.yaml", 3, "lapses")


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    return folder


def plan(folder: Folder, *arguments: str) -> Any:
    return folder.ok("plan", "--format", "json", *arguments).json


def expiring(document: Any) -> list[tuple[str, str, str]]:
    return [(entry["address"], entry["expires"], entry["state"]) for entry in document["access"]["expiring"]]


def changed(document: Any) -> list[str]:
    return [f"{change['action']} {change['address']}" for change in document["changes"]]


# -- the plan --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "until", "told", "changes"),
    [
        ("2130-01-16T23:59:59Z", TIM.expires, [], []),
        ("2130-01-17", TIM.expires, [(MAIL, "lapses"), (TIM, "lapses")], []),
        ("2130-01-30T23:59:59Z", TIM.expires, [(MAIL, "lapses"), (TIM, "lapses"), (BOB, "lapses")], []),
        (
            "2130-01-31",
            BOB.expires,
            [(MAIL, "lapsed-live"), (TIM, "lapsed-live"), (BOB, "lapses")],
            ["delete alias/corp/user:bob@example.com", "update group/corp/Temps"],
        ),
        (
            "2130-01-31T12:00+01:00",
            EVE.expires,
            [(MAIL, "lapsed-live"), (TIM, "lapsed-live"), (BOB, "lapsed-live")],
            ["delete alias/corp/user:bob@example.com", "update group/corp/Staff", "update group/corp/Temps"],
        ),
        (
            "2130-03-01",
            None,
            [(MAIL, "lapsed-live"), (TIM, "lapsed-live"), (BOB, "lapsed-live"), (EVE, "lapsed-live")],
            [
                "delete alias/corp/user:bob@example.com",
                "update group/corp/Staff",
                "update group/corp/Temps",
                "update item/handbook/file:///guests",
                "update item/handbook/file:///guests/2",
            ],
        ),
    ],
)
def test_a_plan_takes_what_is_over_and_tells_what_ends_soon(
    applied: Folder, as_of: str, until: str | None, told: list[tuple[Expiring, str]], changes: list[str]
) -> None:
    found = plan(applied, "--as-of", as_of)
    assert expiring(found) == [(entry.address, entry.expires, state) for entry, state in told]
    assert changed(found) == changes
    assert found["holds_until"] == until
    assert applied.run("plan", "--as-of", as_of, "--exit-code").code == (3 if changes else 0)


def test_days_ahead_are_chosen(applied: Folder) -> None:
    as_of = ("--as-of", "2130-01-01")
    assert expiring(plan(applied, *as_of, "--expiring-within", "29")) == []
    entries = plan(applied, *as_of, "--expiring-within", "30")["access"]["expiring"]
    assert [entry["address"] for entry in entries] == [MAIL.address, TIM.address]
    assert len(plan(applied, *as_of, "--expiring-within", "59")["access"]["expiring"]) == 4
    assert len(plan(applied, *as_of)["access"]["expiring"]) == 0


def test_the_same_instant_gives_the_same_bytes_with_and_without_a_cache(applied: Folder) -> None:
    instants = ("2130-01-30", "2130-01-31", "2130-03-01", "2130-01-30T23:59:59Z")
    for form in ("text", "json", "markdown"):
        shown = {
            as_of: {
                applied.ok("plan", "--format", form, "--as-of", as_of, *flags).out
                for flags in ((), ("--no-cache",), (), ("--no-cache",))
            }
            for as_of in (*instants, *instants)
        }
        assert {len(texts) for texts in shown.values()} == {1}
        assert len({text for texts in shown.values() for text in texts}) == len(instants)


def test_without_an_end_no_instant_is_told_or_matters(folder: Folder) -> None:
    folder.write("all.yaml", "groups:\n  - {name: Staff, provider: corp, members: [user:alice@example.com]}\n")
    shown = {folder.ok("plan", "--format", "json", *more).out for more in ((), ("--as-of", "2130-01-01"))}
    assert len(shown) == 1
    document = orjson.loads(shown.pop())
    assert not {"as_of", "holds_until"} & document.keys()
    assert "expiring" not in document["access"]


def test_today_is_the_default(applied: Folder) -> None:
    applied.write("all.yaml", MANIFEST.replace("tim@example.com, expires: 2130", "tim@example.com, expires: 2021"))
    found = plan(applied)
    assert changed(found) == ["update group/corp/Temps"]
    assert found["as_of"] > "2026"
    assert expiring(found) == [(TIM.address, "2021-01-31T00:00:00Z", "lapsed-live")]


def test_a_plan_tells_in_text_what_ends(applied: Folder) -> None:
    text = applied.ok("plan", "--as-of", "2130-01-31").out
    assert (
        "Grants that end\n"
        "  2 grants are over and still live as of 2130-01-31:\n"
        '    user:bob@mail.example in alias "user:bob@example.com", until 2130-01-31 (all.yaml:14)\n'
        '    user:tim@example.com in group "Temps", until 2130-01-31 (all.yaml:9)\n'
        "  1 grant ends soon as of 2130-01-31:\n"
        '    user:bob@example.com in group "Staff", until 2130-01-31T11:00:00Z (all.yaml:8)\n'
    ) in text
    assert (
        "#### Grants that end\n\n```text\n2 grants are"
        in applied.ok("plan", "--as-of", "2130-01-31", "--format", "markdown").out
    )
    counted = applied.ok("plan", "--as-of", "2130-01-31", "--detail", "none").out
    assert "  2 grants are over and still live as of 2130-01-31.\n" in counted


def test_a_narrowed_plan_still_tells_what_is_over(applied: Folder) -> None:
    found = plan(applied, "--as-of", "2130-01-31", "--target", "group/corp/Temps")
    assert changed(found) == ["update group/corp/Temps"]
    assert expiring(found)[0] == (MAIL.address, MAIL.expires, "lapsed-live")


def test_what_was_never_applied_is_not_live(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    assert expiring(plan(folder, "--as-of", "2130-03-01")) == []


def test_what_somebody_else_grants_for_good_is_not_over(applied: Folder) -> None:
    applied.write("all.yaml", MANIFEST.replace("members: [{user: tim", "members: [user:tim@example.com, {user: tim"))
    assert TIM.address not in {address for address, *_ in expiring(plan(applied, "--as-of", "2130-01-31"))}


# -- what must be allowed --------------------------------------------------------------------------


def test_what_is_empty_because_it_ended_need_not_be_allowed(applied: Folder) -> None:
    """It was written when it was granted; what somebody else empties is still a surprise."""
    names = {hazard["name"] for hazard in plan(applied, "--as-of", "2130-01-31")["hazards"]}
    assert not {"emptied", "emptied-group"} & names
    by_hand = MANIFEST.replace("[{user: tim@example.com, expires: 2130-01-31}]", "[]")
    applied.write("all.yaml", by_hand.partition("aliases:")[0] + "items:" + by_hand.partition("items:")[2])
    names = {hazard["name"] for hazard in plan(applied, "--as-of", "2130-01-31")["hazards"]}
    assert {"emptied", "emptied-group"} <= names


def test_items_that_nobody_sees_because_grants_ended_are_told_and_allowed(applied: Folder) -> None:
    def unseen() -> list[bool]:
        hazards = plan(applied, "--as-of", "2130-03-01")["hazards"]
        return [hazard["allowed"] for hazard in hazards if hazard["name"] == "item-unseen"]

    assert unseen() == [True]
    applied.write("all.yaml", MANIFEST.replace("      - user:alice@example.com\n", ""))
    assert unseen() == [False]


@pytest.mark.parametrize(
    "ends", ["is: [{{{}'user:{{name}}', expires: 2130-01-31}}]", "is: [{{{}'user:{{name}}'}}], expires: 2130-01-31"]
)
def test_aliases_of_each_that_end_are_told_and_no_hazard(folder: Folder, ends: str) -> None:
    """Whether the end stands on the one mapping or beside it."""
    folder.write(
        "all.yaml",
        "defaults: {provider: corp}\ngroups:\n  - {name: Staff, members: [user:bob]}\n"
        "aliases:\n  - {ofEach: {membersOf: '*'}, " + ends.format(f"provider: {EMAIL}, identity: ") + "}\n",
    )
    folder.ok("apply", "--auto-approve")
    found = plan(folder, "--as-of", "2130-01-31")
    assert changed(found) == ["delete alias/corp/user:bob"]
    assert expiring(found) == [("alias/corp/user:*", "2130-01-31T00:00:00Z", "lapsed-live")]
    assert found["hazards"] == []


def test_aliases_made_for_each_member_may_end_with_them(folder: Folder) -> None:
    folder.write(
        "all.yaml",
        "defaults: {provider: corp}\n"
        "groups:\n  - {name: Staff, members: [{user: bob, expires: 2130-01-31}]}\n"
        f"aliases:\n  - {{ofEach: {{membersOf: '*'}}, is: [{{provider: {EMAIL}, identity: 'user:{{name}}'}}]}}\n",
    )
    folder.ok("apply", "--auto-approve")
    found = plan(folder, "--as-of", "2130-01-31")
    assert changed(found) == ["delete alias/corp/user:bob", "update group/corp/Staff"]
    assert found["hazards"] == []


# -- applying --------------------------------------------------------------------------------------


def test_an_apply_takes_away_what_is_over(applied: Folder, remote: Remote) -> None:
    before = remote.contents()["identities"]
    assert len(before["GROUP Staff"]["members"]) == 2
    applied.ok("apply", "--auto-approve", "--as-of", "2130-03-01")
    remote.flush()
    after = remote.contents()
    assert [member[2] for member in after["identities"]["GROUP Staff"]["members"]] == ["alice@example.com"]
    assert after["identities"]["GROUP Temps"] == {"bare": True}
    closed = {"name": "", "anonymous": False, "allowed": [], "denied": []}
    assert after["items"][SOURCE_ID]["file:///guests"]["levels"] == [{"name": "", "sets": [closed]}]
    assert changed(plan(applied, "--as-of", "2130-03-01")) == []
    assert expiring(plan(applied, "--as-of", "2130-03-01")) == []


def test_a_grant_that_is_prolonged_is_no_change(applied: Folder) -> None:
    applied.write("all.yaml", MANIFEST.replace("2130-", "2131-"))
    assert changed(plan(applied, "--as-of", "2130-03-01")) == []


def test_a_plan_in_which_a_grant_has_ended_since_is_refused(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    folder.at(remote).write(
        "all.yaml", MANIFEST.replace("tim@example.com, expires: 2130", "tim@example.com, expires: 2021")
    )
    saved = tmp_path / "plan.json"
    folder.ok("plan", "--as-of", "2021-01-30", "--out", str(saved))
    for ran in (
        folder.ok("apply", str(saved), "--auto-approve", code=1),
        folder.ok("apply", "--as-of", "2021-01-30", "--auto-approve", code=1),
    ):
        assert "error[grant-lapsed]: grants have ended since 2021-01-30, as of which the plan was made" in ran.err
        assert 'user:tim@example.com in group "Temps" (all.yaml:9), until 2021-01-31' in ran.err
    folder.ok("plan", "--as-of", "2021-01-30", "--expiring-within", "0", "--out", str(saved))
    assert (
        "as of which the plan was made, the first at 2021-01-31"
        in folder.ok("apply", str(saved), "--auto-approve", code=1).err
    )
    assert remote.contents() == {"items": {}, "identities": {}}
    folder.ok("plan", "--out", str(saved))
    folder.ok("apply", str(saved), "--auto-approve")


def test_a_saved_plan_keeps_its_instant(applied: Folder, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    shown = applied.ok("plan", "--as-of", "2130-01-31", "--out", str(saved)).out
    assert run_here("show", str(saved)).out == shown
    read = load_plan(saved.read_bytes(), "plan.json").plan
    assert (read.as_of, read.holds_until) == ("2130-01-31T00:00:00Z", BOB.expires)
    assert [entry.state for entry in read.expiring] == ["lapsed-live", "lapsed-live", "lapses"]
    assert read.expiring[2] == BOB
    ran = applied.ok("apply", str(saved), "--as-of", "2130-01-31", "--auto-approve", code=2)
    assert "error[plan-is-fixed]" in ran.err


# -- the other commands ----------------------------------------------------------------------------


def test_access_is_told_as_of_an_instant(applied: Folder) -> None:
    def viewers(*more: str) -> list[str]:
        return list(applied.ok("access", "who", "file:///staff", "--format", "json", *more).json["viewers"])

    assert viewers() == viewers("--as-of", "2130-01-31") == ["user:alice@example.com", "user:bob@example.com"]
    assert viewers("--as-of", "2130-01-31T11:00:00Z") == ["user:alice@example.com"]
    assert viewers("--as-of", "2130-01-31T11:00:00Z", "--of", "recorded") == viewers()
    why = ("access", "why", "user:bob@example.com", "file:///staff", "--format", "json")
    assert applied.ok(*why).json["allowed"] is True
    assert applied.ok(*why, "--as-of", "2130-02-01").json["allowed"] is False
    what = ("access", "what", "user:eve@example.com", "--list", "--format", "json", "--as-of")
    assert len(applied.ok(*what, "2130-02-28T23:59:59Z").json["items"]) == 2
    assert applied.ok(*what, "2130-03-01").json["items"] == []
    lost = applied.ok("access", "diff", "--format", "json", "--as-of", "2130-03-01").json["lost"]
    assert {shift["identities"][0] for shift in lost} >= {"user/corp/eve@example.com"}


def test_access_tests_are_run_as_of_an_instant(applied: Folder) -> None:
    applied.write(
        "tests.yaml",
        "defaults: {provider: corp}\naccessTests:\n  - {who: user:bob@example.com, canView: ['file:///staff']}\n",
    )
    assert applied.run("test").code == 0
    assert applied.run("test", "--as-of", "2130-01-31T12:00+01:00").code == 1
    assert applied.run("plan", "--as-of", "2130-01-31T12:00+01:00").code == 1
    assert applied.run("plan").code == 0


def test_a_name_that_only_a_lapsed_grant_refers_to_need_not_exist(folder: Folder) -> None:
    folder.write(
        "all.yaml", "groups:\n  - {name: A, provider: corp, members: [{group: Project X, expires: 2130-01-31}]}\n"
    )
    assert "error[unknown-group]" in folder.ok("validate", code=1).err
    folder.ok("validate", "--as-of", "2130-01-31")


@pytest.mark.parametrize("text", ["tomorrow", "2130-02-30", "2130-01-31T11:00:00", ""])
@pytest.mark.parametrize("command", ["plan", "validate", "apply", "test"])
def test_an_instant_that_is_none_is_refused(folder: Folder, command: str, text: str) -> None:
    ran = folder.ok(command, "--as-of", text, code=2)
    assert ran.err.startswith(f'error[bad-as-of]: --as-of is "{text}", which ')
