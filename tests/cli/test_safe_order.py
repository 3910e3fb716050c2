"""Safe order from the command line: what a plan says of it, what an apply refuses, and what the remote shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reconciler.emulator.options import ProviderOptions
from tests.builders import PROJECT, PROVIDER_ID, SOURCE_ID, Folder, Remote, as_yaml, start_remote

URI = "https://example.com/plans"
ALLOWED = ("--allow", "widened-access", "--allow", "item-unseen")
APPLY = ("apply", "--auto-approve", *ALLOWED)


def manifest(engineers: str, wiki: str, permissions: Any, *more: dict[str, Any]) -> str:
    """Return a project of an item, a group of each provider, and what else there is; names are letters of people."""
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "items": [{"uri": URI, "title": "Plans", "permissions": permissions}],
            "groups": [
                {"name": "Engineers", "members": [f"user:{who}" for who in engineers]},
                {"name": "Editors", "provider": "wiki", "members": [f"user:{who}" for who in wiki]},
                *more,
            ],
            "aliases": [
                {"of": {"user": who, "provider": "wiki"}, "is": [{"provider": "corp", "identity": f"user:{who}"}]}
                for who in "abcd"
            ],
        }
    )


IN_BOTH = {"sets": [{"allowed": ["group:Engineers"]}, {"allowed": [{"group": "Editors", "provider": "wiki"}]}]}
ENGINEERS = {"allowed": ["group:Engineers"]}
EDITORS = {"allowed": [{"group": "Editors", "provider": "wiki"}]}


@pytest.fixture
def two() -> Iterator[Remote]:
    """A remote with two security providers."""
    with start_remote(
        providers=(ProviderOptions(PROVIDER_ID), ProviderOptions("wikiid", cascades_to=(PROVIDER_ID,)))
    ) as remote:
        yield remote


@pytest.fixture
def project(folder: Folder, two: Remote) -> Folder:
    folder.write(
        "reconciler.yaml",
        PROJECT.replace("providers:\n", f"providers:\n  wiki: {{id: wikiid, cascadesTo: [{PROVIDER_ID}]}}\n"),
    )
    return folder.at(two)


def guarded(folder: Folder, mode: str) -> None:
    """Let the guardrail say what happens where no order is safe."""
    settings = folder.root / "reconciler.yaml"
    settings.write_text(settings.read_text().replace("guardrails: {", f"guardrails: {{transientExposure: {mode}, "))


def refuse(remote: Remote, *rules: str) -> None:
    """Let the remote answer with faults, or with none."""
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


def viewers(remote: Remote) -> set[str]:
    """Return who sees the item, by the emulator's own evaluation."""
    query = {"source": SOURCE_ID, "uri": URI}
    answer = httpx.get(f"{remote.url}/_emulator/viewers", params=query, trust_env=False).raise_for_status().json()
    return {user["identity"] for user in answer["users"] if user["decision"] == "ALLOWED"}


def told(folder: Folder) -> str:
    """Return the plan as text, without its line breaks."""
    return " ".join(folder.run("plan").out.split())


def order(folder: Folder) -> Any:
    return folder.run("plan", "--format", "json", *ALLOWED).json["access"]["order"]


def calls(folder: Folder) -> list[tuple[str, list[str]]]:
    found = folder.run("plan", "--format", "json", *ALLOWED).json["calls"]
    return [(call["covers"][0]["verb"], sorted(each["address"] for each in call["covers"])) for call in found]


def test_an_item_goes_before_the_group_that_would_show_it_to_others(project: Folder, two: Remote) -> None:
    """As always, groups would go first: bob would see the plans until the item follows."""
    project.write("all.yaml", manifest("a", "c", ENGINEERS))
    project.ok(*APPLY)
    project.write("all.yaml", manifest("ab", "c", EDITORS))
    assert calls(project) == [("put", [f"item/handbook/{URI}"]), ("put", ["group/corp/Engineers"])]
    assert order(project) == {"checked": True, "extra_calls": 0, "tightened": [], "transients": []}
    project.ok(*APPLY)
    assert viewers(two) == {"c"}


def test_what_stays_is_known_however_often_an_order_is_looked_for(project: Folder) -> None:
    """A source of which other items stay is not told that it is rebuilt."""
    stays = {"uri": "https://example.com/stays", "permissions": ENGINEERS}

    def written(engineers: str, permissions: Any) -> None:
        text = json.loads(manifest(engineers, "c", permissions))
        text["items"].append(stays | {"permissions": {"allowed": ["group:Other"]}})
        text["groups"].append({"name": "Other", "members": ["user:o"]})
        project.write("all.yaml", as_yaml(text))

    written("a", ENGINEERS)
    project.ok(*APPLY)
    written("ab", EDITORS)
    assert calls(project)[0][1] == [f"item/handbook/{URI}"]
    statuses = project.run("plan", "--format", "json", *ALLOWED).json["statuses"]
    assert [each["status"] for each in statuses] == ["REFRESH"]


def test_what_safety_costs_is_said(project: Folder, two: Remote) -> None:
    """One batch of groups is divided: what narrows goes before the item, what widens goes after it."""

    def groups(staff: str, other: str) -> list[dict[str, Any]]:
        members = {"Staff": staff, "Other": other, "Third": other}
        return [{"name": name, "members": [f"user:{who}" for who in who_is_in]} for name, who_is_in in members.items()]

    project.write("all.yaml", manifest("a", "c", ENGINEERS, *groups("cd", "z")))
    project.ok(*APPLY)
    project.write("all.yaml", manifest("ab", "c", {"allowed": ["group:Staff"]}, *groups("c", "y")))
    shown = told(project)
    assert "1 call more than the fewest, so that at no moment anybody sees what is not meant for them." in shown
    assert order(project)["extra_calls"] == 1
    assert [addresses[0] for _, addresses in calls(project)][:2] == ["group/corp/Staff", f"item/handbook/{URI}"]
    project.ok(*APPLY)
    assert viewers(two) == {"c"}


def swapped(project: Folder) -> None:
    """Who is in which group changes places, so that each order lets somebody in for a moment."""
    project.write("all.yaml", manifest("a", "b", IN_BOTH))
    project.ok(*APPLY)
    project.write("all.yaml", manifest("b", "a", IN_BOTH))


def test_what_no_order_avoids_must_be_allowed(project: Folder, two: Remote) -> None:
    swapped(project)
    shown = told(project)
    assert "transient-exposure" in shown
    assert '1 user would see 1 of the items in "handbook" from after call 1 until call 2' in shown
    [transient] = order(project)["transients"]
    assert (transient["since"], transient["until"], transient["examples"]) == (1, 2, [f"item/handbook/{URI}"])
    refused = project.ok(*APPLY, code=1)
    assert "error[hazard-transient-exposure]" in refused.err
    project.ok(*APPLY, "--allow", "transient-exposure:item/handbook")
    assert viewers(two) == set()


@pytest.mark.parametrize("mode", ["allow", "tighten"])
def test_a_guardrail_says_once_and_for_all(project: Folder, two: Remote, mode: str) -> None:
    guarded(project, mode)
    swapped(project)
    found = order(project)
    assert found["checked"] is (mode == "tighten")
    assert len(found["tightened"]) == (1 if mode == "tighten" else 0)
    project.ok(*APPLY)
    assert viewers(two) == set()
    assert "No changes." in told(project)


def test_a_group_keeps_those_who_stay_while_it_is_tightened(project: Folder, two: Remote) -> None:
    guarded(project, "tighten")
    project.write("all.yaml", manifest("ac", "bc", IN_BOTH))
    project.ok(*APPLY)
    project.write("all.yaml", manifest("bc", "ac", IN_BOTH))
    saved = project.root / "saved.json"
    shown = project.ok("plan", "--out", str(saved)).out
    assert "1 call more than the fewest" in shown
    assert "1 identity listed with those alone who stay, from call 1 on." in shown
    before = two.total
    project.ok("apply", str(saved), "--auto-approve")
    puts = [each for each in two.requests(before) if each["path"].endswith("/permissions")]
    members = [[who["name"] for who in each["body"]["members"]] for each in puts]
    assert members[0] == ["c"]
    assert sorted(map(sorted, members[1:])) == [["a", "c"], ["b", "c"]]
    assert viewers(two) == {"c"}


def test_a_run_that_stops_after_tightening_is_gone_on_with(project: Folder, two: Remote) -> None:
    """The state says what was put for the time being, and the next plan puts it as it is meant."""
    guarded(project, "tighten")
    swapped(project)
    [tight] = order(project)["tightened"]
    other = ({"group/corp/Engineers", "group/wiki/Editors"} - {tight}).pop()
    refuse(two, "PUT permissions: 400 after=1")
    project.ok(*APPLY, code=4)
    refuse(two)
    assert [address for _, [address] in calls(project)] == [other, tight]
    project.ok(*APPLY)
    assert viewers(two) == set()
