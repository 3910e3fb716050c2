"""How long the old access lives: what a plan, an apply and a verify say of it, and the refresh that ends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from reconciler.emulator.options import Doubts
from reconciler.rendering.plan_schema import plan_schema
from reconciler.rendering.report_schema import report_schema
from tests.builders import ORGANIZATION, PROJECT, PROVIDER_ID, SOURCE_ID, Folder, Remote, as_yaml, start_remote

URI = "https://example.com/plans"
REFRESH = f"POST rest/organizations/{ORGANIZATION}/securitycache/{PROVIDER_ID}/refresh"
APPLY = ("apply", "--auto-approve")
REPORT = jsonschema.Draft202012Validator(report_schema("apply"))
SEEN = jsonschema.Draft202012Validator(report_schema("verify"))
AT_REFRESH = "at the provider's next refresh"
TRIGGERED = "as soon as the refresh that was triggered is done"


def manifest(*members: str, title: str = "Plans") -> str:
    people = [f"user:{name}@example.com" for name in members]
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "items": [{"uri": URI, "title": title, "permissions": {"allowed": ["group:Team"]}}],
            "groups": [{"name": "Team", "members": people}],
        }
    )


@pytest.fixture
def lazy() -> Iterator[Remote]:
    """A remote whose security cache is refreshed on demand alone."""
    with start_remote(doubts=Doubts(cache_view="on refresh")) as remote:
        yield remote


@pytest.fixture
def team(folder: Folder, lazy: Remote) -> Folder:
    """A project of an item for a team of alice and bob, applied, effective and verified."""
    folder.at(lazy).write("all.yaml", manifest("alice", "bob"))
    folder.ok(*APPLY, "--refresh-identities")
    folder.ok("verify", "--timeout", "5")
    assert viewers(lazy) == {"alice", "bob"}
    return folder


def viewers(remote: Remote) -> set[str]:
    """Return who sees the item, by the emulator's own evaluation."""
    query = {"source": SOURCE_ID, "uri": URI}
    answer = httpx.get(f"{remote.url}/_emulator/viewers", params=query, trust_env=False).raise_for_status().json()
    return {user["identity"].partition("@")[0] for user in answer["users"] if user["decision"] == "ALLOWED"}


def calls_of_cache(remote: Remote) -> int:
    """Return how often the remote was asked to refresh the provider."""
    return sum(entry["path"].endswith(f"/securitycache/{PROVIDER_ID}/refresh") for entry in remote.requests())


def every(folder: Folder, duration: str) -> None:
    text = (folder.root / "reconciler.yaml").read_text()
    folder.write(
        "reconciler.yaml", text.replace(f"{{id: {PROVIDER_ID},", f"{{id: {PROVIDER_ID}, refreshEvery: {duration},")
    )


# -- the plan --------------------------------------------------------------------------------------


def test_a_plan_says_when_identity_changes_take_effect(folder: Folder) -> None:
    folder.write("all.yaml", manifest("alice"))
    told = "Identity changes take effect at the provider's next refresh: 1 change of corp."
    assert f"  {told}\n" in folder.ok("plan").out
    assert f"\n{told}\n" in folder.ok("plan", "--format", "markdown").out
    every(folder, "24h")
    ran = folder.ok("plan", "--format", "json").json
    jsonschema.Draft202012Validator(plan_schema()).validate(ran)
    assert ran["access"]["effective"] == [
        {
            "provider": "corp",
            "calls": 1,
            "changes": 1,
            "effective": "within 24 h, at the provider's next refresh",
            "refresh_every": 86_400,
        }
    ]
    assert "next refresh: 1 change of corp (within 24 h).\n" in folder.ok("plan").out


def test_a_plan_says_who_keeps_what_until_then(team: Folder) -> None:
    team.write("all.yaml", manifest("alice"))
    out = " ".join(team.ok("plan").out.split())
    assert "1 change of corp. For as long, those who lose sight keep it." in out
    team.write("all.yaml", manifest("alice", "bob", "carol"))
    assert "For as long" not in team.ok("plan").out


def test_a_plan_without_identity_calls_says_nothing_of_refreshes(team: Folder) -> None:
    team.write("all.yaml", manifest("alice", "bob", title="Old plans"))
    assert "refresh" not in team.ok("plan").out
    assert team.ok("plan", "--format", "json").json["access"]["effective"] == []


def test_a_saved_plan_says_it_as_well(folder: Folder) -> None:
    every(folder, "7d")
    folder.write("all.yaml", manifest("alice"))
    folder.ok("plan", "--out", str(folder.root / "plan.json"))
    assert "1 change of corp (within 7 d)." in folder.ok("show", str(folder.root / "plan.json")).out


@pytest.mark.parametrize("duration", ["0h", "24", "1.5h", "soon", "-1d", "24 h"])
def test_a_schedule_that_is_no_duration_is_refused(folder: Folder, duration: str) -> None:
    every(folder, f'"{duration}"')
    ran = folder.ok("validate", code=1)
    assert "bad-value" in ran.err
    assert "write minutes, hours or days: 30m, 24h or 7d." in ran.err


def test_an_environment_may_have_another_schedule(folder: Folder) -> None:
    every(folder, "24h")
    local = "environments:\n  local: {"
    text = (folder.root / "reconciler.yaml").read_text()
    folder.write("reconciler.yaml", text.replace(local, f"{local}providers: {{corp: {{refreshEvery: 90m}}}}, "))
    folder.write("all.yaml", manifest("alice"))
    assert "(within 90 min)" in folder.ok("plan").out


# -- the apply -------------------------------------------------------------------------------------


def test_without_the_flag_nobody_is_asked_and_the_summary_says_when_it_takes_effect(team: Folder, lazy: Remote) -> None:
    asked = calls_of_cache(lazy)
    team.write("all.yaml", manifest("alice"))
    ran = team.ok(*APPLY)
    assert ran.err.endswith(f"1 identity change of corp accepted; takes effect {AT_REFRESH}.\n")
    assert "And then" not in ran.out
    assert viewers(lazy) == {"alice", "bob"}, "the cache has not taken it yet"
    assert calls_of_cache(lazy) == asked


def test_with_the_flag_it_is_effective(team: Folder, lazy: Remote) -> None:
    asked = calls_of_cache(lazy)
    team.write("all.yaml", manifest("alice"))
    ran = team.ok(*APPLY, "--refresh-identities")
    assert viewers(lazy) == {"alice"}
    assert calls_of_cache(lazy) == asked + 1
    assert ran.out.endswith(f"And then 1 refresh of identities:\n  {REFRESH}\n"), "told before it is approved"
    assert 'provider "corp": the refresh of its security cache is triggered\n' in ran.err
    assert ran.err.endswith(f"1 identity change of corp accepted; takes effect {TRIGGERED}.\n")


def test_the_report_tells_programs(team: Folder) -> None:
    for flags, outcome, words in (
        ((), "not-asked", f"within 24 h, {AT_REFRESH}"),
        (("--refresh-identities",), "triggered", TRIGGERED),
    ):
        if not flags:
            every(team, "24h")
        team.write("all.yaml", manifest("alice", *(["carol"] if flags else [])))
        ran = team.ok(*APPLY, "--allow", "widened-access", "--format", "json", *flags)
        REPORT.validate(ran.json)
        assert ran.json["effective"] == [
            {
                "provider": "corp",
                "calls": 1,
                "changes": 1,
                "effective": words,
                "refresh_every": 86_400,
                "refresh": outcome,
            }
        ]
        assert ("And then 1 refresh of identities:" in ran.err) is bool(flags)


def test_a_plan_without_identity_calls_refreshes_nothing(team: Folder, lazy: Remote) -> None:
    asked = calls_of_cache(lazy)
    team.write("all.yaml", manifest("alice", "bob", title="Old plans"))
    ran = team.ok(*APPLY, "--refresh-identities")
    assert "And then" not in ran.out
    assert ran.out.endswith("No refresh is asked for: no identity change waits for one.\n")
    assert calls_of_cache(lazy) == asked


def test_a_saved_plan_may_be_applied_with_it(team: Folder, lazy: Remote) -> None:
    team.write("all.yaml", manifest("alice"))
    plan = str(team.root / "plan.json")
    team.ok("plan", "--out", plan)
    ran = team.ok("apply", plan, "--auto-approve", "--refresh-identities")
    assert f"  {REFRESH}\n" in ran.out
    assert viewers(lazy) == {"alice"}


def test_a_destroy_may_be_refreshed_too(team: Folder, lazy: Remote) -> None:
    asked = calls_of_cache(lazy)
    team.ok("destroy", "--auto-approve", "--refresh-identities")
    assert calls_of_cache(lazy) == asked + 1


def test_what_was_applied_without_it_can_be_refreshed_later(team: Folder, lazy: Remote) -> None:
    team.write("all.yaml", manifest("alice"))
    team.ok(*APPLY)
    asked = calls_of_cache(lazy)
    refused = team.ok("apply", "--refresh-identities", code=2)
    assert "approval-needed" in refused.err
    assert calls_of_cache(lazy) == asked, "nothing is asked for without somebody's word"
    ran = team.ok(*APPLY, "--refresh-identities", "--format", "json")
    REPORT.validate(ran.json)
    assert ran.json["run"] is None
    assert [(entry["changes"], entry["refresh"]) for entry in ran.json["effective"]] == [(0, "triggered")]
    assert viewers(lazy) == {"alice"}
    team.ok("verify", "--timeout", "5")
    assert "And then" not in team.ok(*APPLY, "--refresh-identities").out
    assert calls_of_cache(lazy) == asked + 1, "what was seen to be effective waits for nothing"


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_key_that_may_not_refresh_is_a_warning_and_the_apply_is_done(folder: Folder) -> None:
    with start_remote(doubts=Doubts(cache_view="on refresh"), faults=("POST securitycache/*/refresh: 403",)) as remote:
        folder.at(remote).write("all.yaml", manifest("alice"))
        ran = folder.ok(*APPLY, "--refresh-identities", "--format", "json")
        REPORT.validate(ran.json)
        assert ran.json["result"] == "done"
        assert [entry["refresh"] for entry in ran.json["effective"]] == ["failed"]
        (note,) = ran.json["notes"]
        assert (note["code"], note["where"]) == ("refresh-not-allowed", 'provider "corp"')
        assert note["severity"] == "note"
        assert "Security identity providers - Edit" in note["fix"]
        assert "until then those who lose sight keep it" in ran.err
        assert ran.err.endswith(f"1 identity change of corp accepted; takes effect {AT_REFRESH}.\n")
        assert viewers(remote) == set()


def test_a_refresh_that_fails_for_a_while_is_tried_again(folder: Folder) -> None:
    with start_remote(
        doubts=Doubts(cache_view="on refresh"), faults=("POST securitycache/*/refresh: 503 x2",)
    ) as remote:
        folder.at(remote).write("all.yaml", manifest("alice"))
        ran = folder.ok(*APPLY, "--refresh-identities", "--format", "json")
        assert [entry["refresh"] for entry in ran.json["effective"]] == ["triggered"]
        assert ran.json["notes"] == []
        assert viewers(remote) == {"alice"}
        told = [line for line in ran.err.splitlines() if " to have its security cache refreshed in " in line]
        assert [line.partition(" to ")[0] for line in told] == [
            'provider "corp": attempt 2',
            'provider "corp": attempt 3',
        ]
        assert all(" s, after HTTP 503" in line for line in told)


def test_a_refresh_that_stays_refused_says_how_to_ask_again(folder: Folder) -> None:
    with start_remote(doubts=Doubts(cache_view="on refresh"), faults=("POST securitycache/*/refresh: 400",)) as remote:
        folder.at(remote).write("all.yaml", manifest("alice"))
        ran = folder.ok(*APPLY, "-e", "local", "--refresh-identities", "--format", "json")
        (note,) = ran.json["notes"]
        assert "\n  fix: ask again:\n      reconciler " in ran.err
        assert (note["code"], note["severity"]) == ("refresh-not-triggered", "note")
        assert "the remote did not take the request to refresh its security cache (HTTP 400" in note["what"]
        assert note["fix"].endswith(" -e local apply --refresh-identities")


def test_a_run_that_stops_part_way_has_refreshed_what_was_accepted(team: Folder, lazy: Remote) -> None:
    team.write("all.yaml", manifest("alice", title="Old plans"))
    with httpx.Client(base_url=lazy.url, trust_env=False) as client:
        client.put("/_emulator/faults", json={"rules": ["PUT documents: 400"]}).raise_for_status()
        ran = team.ok(*APPLY, "--refresh-identities", "--format", "json", code=4)
        client.delete("/_emulator/faults").raise_for_status()
    REPORT.validate(ran.json)
    assert ran.json["result"] == "failed"
    assert [entry["refresh"] for entry in ran.json["effective"]] == ["triggered"]
    assert viewers(lazy) == {"alice"}, "the narrowing did not wait for the next run"


def test_a_run_whose_identity_calls_were_refused_refreshes_nothing(team: Folder, lazy: Remote) -> None:
    asked = calls_of_cache(lazy)
    team.write("all.yaml", manifest("alice"))
    with httpx.Client(base_url=lazy.url, trust_env=False) as client:
        client.put("/_emulator/faults", json={"rules": ["PUT permissions: 400"]}).raise_for_status()
        ran = team.ok(*APPLY, "--refresh-identities", "--format", "json", code=4)
    assert ran.json["effective"] == []
    assert calls_of_cache(lazy) == asked


# -- verify ----------------------------------------------------------------------------------------


def look(folder: Folder, *, code: int) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """Return what is told of the provider, and status and code of the problems by address."""
    document = folder.ok("verify", "--timeout", "0", "--format", "json", code=code).json
    SEEN.validate(document)
    (provider,) = document["providers"]
    problems = {entry["address"]: (entry["status"], entry["code"]) for entry in document["problems"]}
    return provider, problems


def counts(provider: dict[str, Any]) -> tuple[int, int, int]:
    return provider["effective"], provider["waiting"], provider["wrong"]


def test_verify_tells_what_waits_for_the_refresh_from_what_is_wrong(team: Folder, lazy: Remote) -> None:
    team.write("all.yaml", manifest("alice"))
    team.ok(*APPLY)
    provider, problems = look(team, code=1)
    assert counts(provider) == (0, 1, 0)
    assert provider["refreshed_at"] < provider["pushed_at"]
    assert problems == {"group/corp/Team": ("waiting", "not-refreshed")}
    out = " ".join(team.ok("verify", "--timeout", "0", code=1).out.split())
    taken = "provider corp: its security cache has taken 0 of 1 identity change"
    assert f"{taken}; 1 was accepted and takes effect {AT_REFRESH} (last one 2" in out
    assert "apply --refresh-identities" in out
    assert "0 different, 1 waiting." in out
    team.ok(*APPLY, "--refresh-identities")
    provider, problems = look(team, code=0)
    assert counts(provider) == (1, 0, 0)
    assert provider["refreshed_at"] >= provider["pushed_at"]
    assert problems == {}
    assert viewers(lazy) == {"alice"}


def test_what_the_remote_lost_is_wrong_once_the_cache_was_refreshed(team: Folder, lazy: Remote) -> None:
    team.write("all.yaml", manifest("alice"))
    with httpx.Client(base_url=lazy.url, trust_env=False) as client:
        client.put("/_emulator/faults", json={"rules": ["PUT permissions: reject"]}).raise_for_status()
        team.ok(*APPLY)
        client.delete("/_emulator/faults").raise_for_status()
    assert look(team, code=1)[1] == {"group/corp/Team": ("waiting", "not-refreshed")}
    team.ok(*APPLY, "--refresh-identities")
    provider, problems = look(team, code=1)
    assert counts(provider) == (0, 0, 1)
    assert problems == {"group/corp/Team": ("different", "members-differ")}


def test_before_the_first_refresh_all_identities_wait(folder: Folder, lazy: Remote) -> None:
    folder.at(lazy).write("all.yaml", manifest("alice"))
    folder.ok(*APPLY)
    provider, problems = look(folder, code=1)
    assert counts(provider) == (0, 1, 0)
    assert provider["refreshed_at"] is None
    assert problems["group/corp/Team"] == ("waiting", "not-refreshed")
    assert "there was none" in folder.ok("verify", "--timeout", "0", code=1).out


def test_an_item_waits_with_the_identities_that_it_names(folder: Folder, lazy: Remote) -> None:
    text = manifest("alice")
    folder.at(lazy).write("all.yaml", text)
    folder.ok(*APPLY)
    problems = look(folder, code=1)[1]
    assert problems == {
        "group/corp/Team": ("waiting", "not-refreshed"),
        f"item/handbook/{URI}": ("waiting", "identities-not-refreshed"),
    }
    ran = folder.ok("verify", "--timeout", "0", code=1)
    out = " ".join(ran.out.split())
    assert "its permissions arrived, and wait for the refresh that resolves group:Team" in out
    assert "why: the item is as it was pushed; until the provider's refresh nobody sees it by these identities." in out
    assert ran.out.endswith("Verified: 0 of 2 resources; 0 missing, 0 rejected, 0 different, 2 waiting.\n")
    folder.ok("verify", "--timeout", "0", "--resend", code=1)
    assert folder.ok("plan", "--exit-code").code == 0, "what waits is not sent again"
    folder.ok(*APPLY, "--refresh-identities")
    assert look(folder, code=0)[1] == {}


def test_many_items_wait_with_many_identities(folder: Folder, lazy: Remote) -> None:
    names = [f"Team {number}" for number in range(60)]
    items = [
        {"uri": f"{URI}/{number}", "title": "x", "permissions": {"allowed": [f"group:{name}", f"group:{names[0]}"]}}
        for number, name in enumerate(names[1:])
    ]
    groups = [{"name": name, "members": ["user:alice@example.com"]} for name in names]
    defaults = {"source": "handbook", "provider": "corp"}
    folder.at(lazy).write("all.yaml", as_yaml({"defaults": defaults, "items": items, "groups": groups}))
    folder.ok(*APPLY)
    summary = folder.ok("verify", "--timeout", "0", "--format", "json", code=1).json["summary"]
    assert (summary["waiting"], summary["unresolved"]) == (119, 0)
    folder.ok(*APPLY, "--refresh-identities")
    assert look(folder, code=0)[1] == {}


def test_an_item_that_names_anybody_else_does_not_wait(folder: Folder, lazy: Remote) -> None:
    folder.at(lazy).write("all.yaml", manifest("alice").replace('"group:Team"', '"group:Team", "user:zoe@example.com"'))
    folder.ok(*APPLY)
    problems = look(folder, code=1)[1]
    assert problems == {
        "group/corp/Team": ("waiting", "not-refreshed"),
        f"item/handbook/{URI}": ("unresolved", "identities-unresolved"),
    }


def test_an_item_of_an_identity_that_was_lost_does_not_wait_once_the_cache_was_refreshed(
    folder: Folder, lazy: Remote
) -> None:
    folder.at(lazy).write("all.yaml", manifest("alice"))
    with httpx.Client(base_url=lazy.url, trust_env=False) as client:
        client.put("/_emulator/faults", json={"rules": ["PUT permissions: reject"]}).raise_for_status()
        folder.ok(*APPLY)
        client.delete("/_emulator/faults").raise_for_status()
    others = manifest("bob").replace("Team", "Others").replace(URI, f"{URI}/others")
    folder.write("others.yaml", others)
    folder.ok(*APPLY, "--refresh-identities")
    problems = look(folder, code=1)[1]
    assert problems[f"item/handbook/{URI}"] == ("unresolved", "identities-unresolved")
    assert f"item/handbook/{URI}/others" not in problems


def test_a_deletion_waits_for_the_refresh_as_well(team: Folder, lazy: Remote) -> None:
    team.ok("destroy", "--auto-approve")
    assert look(team, code=1)[1] == {"group/corp/Team": ("waiting", "not-refreshed")}
    httpx.post(
        f"{lazy.url}/{REFRESH.removeprefix('POST ')}",
        headers={"Authorization": "Bearer xx-canary-5f2c9d1e-never-shown"},
        trust_env=False,
    ).raise_for_status()
    assert look(team, code=0)[1] == {}


def test_what_waits_is_not_sent_again(team: Folder) -> None:
    team.write("all.yaml", manifest("alice"))
    team.ok(*APPLY)
    team.ok("verify", "--timeout", "0", "--resend", code=1)
    assert team.ok("plan", "--exit-code").code == 0


def test_verify_waits_for_the_schedule_of_the_remote(folder: Folder) -> None:
    with start_remote(doubts=Doubts(cache_view="on refresh"), refresh_every=1.0) as remote:
        folder.at(remote).write("all.yaml", manifest("alice"))
        folder.ok(*APPLY)
        folder.ok("verify", "--timeout", "20")
        assert viewers(remote) == {"alice"}


def test_no_project_says_more_than_it_was_told(folder: Folder) -> None:
    assert "refreshEvery" not in PROJECT
    folder.write("all.yaml", manifest("alice"))
    effective = folder.ok("plan", "--format", "json").json["access"]["effective"]
    assert [entry["refresh_every"] for entry in effective] == [None]
