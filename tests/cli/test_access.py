"""`access who`, `what` and `why`: of manifests and of the state, as text and as JSON, and asked for nonsense."""

from __future__ import annotations

import pytest

from tests.builders import EMAIL, PROVIDER_ID, Folder, Remote

MANIFEST = f"""
defaults: {{source: handbook, provider: corp}}
permissions:
  alpha-not-bob: {{allowed: [group:AlphaTeam], denied: [user:bob@example.com]}}
  board-first:
    levels:
      - [{{allowed: [group:Board]}}]
      - [{{allowed: [group:AlphaTeam]}}, {{allowed: [group:Cleared]}}]
items:
  - {{uri: "file:///alpha", permissions: alpha-not-bob}}
  - {{uri: "file:///board", permissions: board-first}}
  - {{uri: "file:///open", permissions: {{anonymous: true}}}}
  - {{uri: "file:///ghost", permissions: {{allowed: [group:AlphaTeam], denied: [user:ghost@example.com]}}}}
  - {{uri: "http://post", source: blog, title: Post}}
  - {{uri: "file:///alpha", source: blog, title: The same uri elsewhere}}
groups:
  - {{name: AlphaTeam, members: [user:alice@example.com, user:bob@example.com, group:Inner]}}
  - {{name: Inner, members: [user:carol@example.com]}}
  - {{name: Board, members: [user:dora@example.com]}}
  - {{name: Cleared, members: [user:carol@example.com]}}
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: user:alice@mail.example}}]
"""


@pytest.fixture
def told(folder: Folder) -> Folder:
    folder.write("all.yaml", MANIFEST)
    return folder


def test_who_sees_an_item(told: Folder) -> None:
    ran = told.ok("access", "who", "file:///alpha", "--source", "handbook", "--format", "json")
    assert ran.json == {
        "uri": "file:///alpha",
        "anonymous": False,
        "viewers": ["user:alice@example.com", "user:carol@example.com"],
        "unresolved": [],
    }
    text = told.ok("access", "who", "file:///board").out
    assert text == "file:///board is seen by 2 users\n  user:carol@example.com\n  user:dora@example.com\n"


def test_who_sees_what_is_open(told: Folder) -> None:
    assert told.ok("access", "who", "file:///open", "--format", "json").json["anonymous"] is True
    assert "seen by everybody" in told.ok("access", "who", "http://post").out


def test_what_everybody_sees_names_those_who_do_not(told: Folder) -> None:
    told.write(
        "more.yaml",
        "defaults: {source: handbook, provider: corp}\n"
        'items: [{uri: "file:///but", permissions: {anonymous: true, denied: [user:bob@example.com]}}]\n',
    )
    lines = told.ok("access", "who", "file:///but").out.splitlines()
    assert lines[:2] == [
        "file:///but is seen by everybody, also by those who did not log in, but not by 1 user.",
        "  not user:bob@example.com",
    ]
    assert "  user:bob@example.com" not in lines and "  user:alice@example.com" in lines
    assert told.ok("access", "who", "file:///open").out.splitlines()[0].endswith("who did not log in.")


def test_whom_nobody_declared_hides_the_item_and_is_told(told: Folder) -> None:
    found = told.ok("access", "who", "file:///ghost", "--format", "json").json
    assert found["viewers"] == []
    assert found["unresolved"] == [
        {"identity": "user:ghost@example.com", "denied": True, "level": 1, "set": 1, "hides": True}
    ]
    assert "is declared nowhere, so nobody sees the item" in told.ok("access", "who", "file:///ghost").out


def test_what_somebody_sees(told: Folder) -> None:
    found = told.ok("access", "what", "user:carol@example.com", "--list", "--format", "json").json
    assert found["sources"] == [{"source": "blog", "items": 2, "of": 2}, {"source": "handbook", "items": 3, "of": 4}]
    assert found["items"][2:] == [f"item/handbook/file:///{name}" for name in ("alpha", "board", "open")]
    assert "user:bob@example.com sees 3 items of 6" in told.ok("access", "what", "user:bob@example.com").out


def test_a_name_that_another_provider_knows_is_asked_about(told: Folder) -> None:
    mail = told.ok("access", "what", "user:alice@mail.example").out
    assert 'nothing is known of them in provider "corp" but this name' in mail
    assert f"somebody of this name is known elsewhere: did you mean --provider '{EMAIL}'?" in mail
    why = told.ok("access", "why", "user:alice@mail.example", "item/handbook/file:///alpha").out
    assert "does not see" in why and f"did you mean --provider '{EMAIL}'?" in why
    found = told.ok("access", "what", "user:alice@mail.example", "--format", "json").json
    assert (found["provider"], found["known"]) == ("corp", False)
    known = told.ok("access", "what", "user:alice@mail.example", "--provider", EMAIL)
    assert "user:alice@mail.example sees 4 items of 6" in known.out and "nothing is known" not in known.out
    nobody = told.ok("access", "what", "user:nobody@example.com").out
    assert "nothing is known of them" in nobody and "did you mean" not in nobody


def test_a_provider_goes_by_its_name_or_its_id(told: Folder) -> None:
    named = told.ok("access", "what", "user:carol@example.com", "--provider", "corp").out
    assert told.ok("access", "what", "user:carol@example.com", "--provider", PROVIDER_ID).out == named


def test_why_somebody_sees_an_item_by_alias_and_group(told: Folder) -> None:
    asked = ("access", "why", "user:alice@mail.example", "file:///alpha", "--source", "handbook", "--provider", EMAIL)
    found = told.ok(*asked, "--format", "json").json
    assert found["allowed"] is True
    assert (found["decided_by"]["level"], found["decided_by"]["outcome"]) == (1, "allowed")
    assert found["chain"] == [
        {"from": f"user/{EMAIL}/alice@mail.example", "how": "alias", "to": "user/corp/alice@example.com"},
        {"from": "user/corp/alice@example.com", "how": "member of", "to": "group/corp/AlphaTeam"},
    ]
    text = told.ok(*asked).out
    assert text.startswith(
        "user:alice@mail.example sees file:///alpha\n`-- level 1 decides: all of its sets let them in"
    )
    assert "user:alice@example.com (corp) member of group:AlphaTeam (corp)" in text


def test_why_somebody_does_not(told: Folder) -> None:
    denied = told.ok("access", "why", "user:bob@example.com", "item/handbook/file:///alpha").out
    assert "level 1 decides: it keeps them out" in denied and "set 1 denies user:bob@example.com (corp)" in denied
    nobody = told.ok("access", "why", "user:alice@example.com", "file:///board", "--format", "json").json
    assert (nobody["allowed"], nobody["decided_by"]["level"], nobody["chain"]) == (False, None, [])
    near = told.ok("access", "why", "user:alice@example.com", "file:///board").out
    assert "no level decides, so nobody lets them in" in near
    assert "level 2: the set of group:AlphaTeam allows group:AlphaTeam (corp)" in near
    assert "level 2: the set of group:Cleared does not mention them" in near
    [miss] = nobody["decided_by"]["misses"]
    assert (miss["level"], [entry["says"] for entry in miss["sets"]]) == (2, ["allows", "nothing"])
    unknown = told.ok("access", "why", "user:nobody@example.com", "file:///board").out
    assert "no level says anything about them, so nobody lets them in; nothing is known of them" in unknown
    assert "the source is shared" in told.ok("access", "why", "user:nobody@example.com", "http://post").out


def test_who_did_not_log_in_is_somebody_to_ask_about(told: Folder) -> None:
    open_ = told.ok("access", "why", "anonymous", "file:///open", "--format", "json").json
    assert (open_["allowed"], open_["decided_by"]["level"]) == (True, 1)
    assert told.ok("access", "why", "anonymous", "file:///board").out == (
        "whoever did not log in does not see file:///board\n"
        "`-- no level says anything about them, so nobody lets them in\n"
    )
    assert told.ok("access", "what", "anonymous").out.startswith("whoever did not log in sees 3 items of 6\n")
    assert told.ok("access", "what", "anonymous", "--format", "json").json["identity"] == "anonymous"


def test_why_an_allowed_name_that_nobody_declared_lets_nobody_in(told: Folder) -> None:
    told.write(
        "more.yaml",
        "defaults: {source: handbook, provider: corp}\n"
        'items: [{uri: "file:///zed", permissions: {allowed: [user:zed]}}, {uri: "file:///bare"}]\n',
    )
    assert told.ok("access", "who", "file:///zed").out == (
        "file:///zed is seen by nobody\n  unresolved: user:zed is declared nowhere, so it lets nobody in\n"
    )
    assert told.ok("access", "why", "user:zed", "file:///zed").out == (
        "user:zed does not see file:///zed\n`-- no level decides, so nobody lets them in\n"
        "    |-- level 1: set 1 names user:zed (corp), which is unresolved and so lets nobody in\n"
    )
    bare = told.ok("access", "why", "user:zed", "file:///bare").out
    assert bare.endswith("`-- the item has no permissions, so nobody sees it\n")


def test_the_state_answers_for_what_was_accepted(told: Folder, remote: Remote) -> None:
    told.at(remote)
    assert "unknown-item" in told.ok("access", "who", "file:///board", "--of", "recorded", code=2).err
    told.ok("apply", "--auto-approve")
    told.write("all.yaml", MANIFEST.replace("members: [user:dora@example.com]", "members: [user:eve@example.com]"))
    since = remote.total

    def viewers(*options: str) -> list[str]:
        found: list[str] = told.ok("access", "who", "file:///board", "--format", "json", *options).json["viewers"]
        return found

    assert viewers("--of", "recorded") == ["user:carol@example.com", "user:dora@example.com"]
    assert viewers() == ["user:carol@example.com", "user:eve@example.com"]
    assert remote.total == since


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("who", "file:///alhpa"), "unknown-item", 'there is no item "file:///alhpa"'),
        (("who", "file:///alpha"), "several-items", "an item of several sources: blog, handbook"),
        (("what", "alice"), "bad-identity", '"alice" is no identity'),
        (("why", "person:alice", "file:///board"), "bad-identity", '"person:alice" is no identity'),
        (("what", "user:a", "--provider", "crop"), "unknown-provider", 'did you mean "corp"?'),
    ],
)
def test_what_cannot_be_answered_is_told(told: Folder, arguments: tuple[str, ...], code: str, says: str) -> None:
    ran = told.ok("access", *arguments, code=2)
    assert f"error[{code}]: " in ran.err and says in ran.err


def test_who_gains_and_loses_by_the_next_apply(told: Folder, remote: Remote) -> None:
    told.at(remote)
    told.ok("apply", "--auto-approve")
    assert told.ok("access", "diff").out == "Nobody gains or loses sight of anything.\n"
    after = MANIFEST.replace(
        "members: [user:carol@example.com]}", "members: [user:carol@example.com, user:zoe@x.example]}", 1
    )
    told.write("all.yaml", after.replace("members: [user:dora@example.com]", "members: []"))
    since = remote.total

    text = told.ok("access", "diff").out
    found = told.ok("access", "diff", "--format", "json").json

    assert remote.total == since
    assert text.startswith(
        "1 user gains sight of 1 item (1 in pairs of both); 1 user loses sight of 1 item (1 in pairs of both).\n"
    )
    assert "because of group/corp/Inner: now user:zoe@x.example member of group:Inner" in text
    assert found["totals"] == {
        "pairs_gained": 1,
        "pairs_lost": 1,
        "people_gained": 1,
        "people_lost": 1,
        "items_gained": 1,
        "items_lost": 1,
    }
    assert [(entry["examples"], entry["identities"], entry["because"]) for entry in found["gained"]] == [
        (["item/handbook/file:///alpha"], ["user/corp/zoe@x.example"], ["group/corp/Inner"])
    ]
    assert [(entry["examples"], entry["identities"]) for entry in found["lost"]] == [
        (["item/handbook/file:///board"], ["user/corp/dora@example.com"])
    ]


def test_what_becomes_public_and_what_nobody_sees_any_more_has_a_name(told: Folder, remote: Remote) -> None:
    told.at(remote)
    told.ok("apply", "--auto-approve")
    after = MANIFEST.replace(
        '"file:///alpha", permissions: alpha-not-bob', '"file:///alpha", permissions: {anonymous: true}'
    )
    told.write(
        "all.yaml",
        after.replace('"file:///board", permissions: board-first', '"file:///board", permissions: {allowed: []}'),
    )

    found = told.ok("access", "diff", "--format", "json").json["hazards"]

    assert {entry["name"]: entry["examples"] for entry in found} == {
        "deny-removed": ["item/handbook/file:///alpha"],
        "item-public": ["item/handbook/file:///alpha"],
        "item-unseen": ["item/handbook/file:///board"],
        "widened-access": ["item/handbook/file:///alpha"],
    }


def test_a_plan_says_it_first_and_keeps_it_when_saved(told: Folder, remote: Remote) -> None:
    told.at(remote)
    told.ok("apply", "--auto-approve")
    told.write("all.yaml", MANIFEST.replace("members: [user:dora@example.com]", "members: []"))
    since = remote.total

    saved = str(told.root / "plan.json")
    text = told.ok("plan", "--out", saved).out
    found = told.ok("plan", "--format", "json").json["access"]

    assert remote.total == since
    assert "Access\n  1 user loses sight of 1 item (1 in pairs of both).\n" in text
    assert "- user:dora@example.com: 1 item in handbook (unchanged): file:///board\n" in text
    assert text.index("Access\n") < text.index("Calls\n")
    assert (found["evaluated"], found["totals"]["people_lost"], found["gained"]) == (True, 1, [])
    assert "loses sight of 1 item" in told.ok("show", saved).out
    assert "loses sight of 1 item" in told.ok("show", saved, "--format", "markdown").out
    assert told.ok("plan").out == text, "the plan that was kept says the same"


def test_a_plan_that_alters_nobodys_sight_says_nothing_of_it(told: Folder, remote: Remote) -> None:
    told.at(remote)
    told.ok("apply", "--auto-approve")
    told.write("all.yaml", MANIFEST.replace("title: Post", "title: Another post"))

    assert "Access" not in told.ok("plan").out
    access = told.ok("plan", "--format", "json").json["access"]
    assert (access["evaluated"], access["touched"]) == (True, [])
    assert not {"gained", "lost", "totals", "causes", "hazards"} & access.keys()


WELL_KNOWN = """
defaults: {{source: handbook, provider: corp}}
items:
  - {{uri: "file:///old", permissions: {{allowed: [group:Old]}}}}
  - {{uri: "file:///new", permissions: {{allowed: [group:New]}}}}
groups:
  - {{name: Old, members: []}}
  - {{name: New, members: []}}
users:
  - {{name: alice@example.com, wellKnowns: [group:{group}]}}
"""
ALIAS = f"""
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: user:alice@mail.example}}]
"""


def test_an_alias_that_goes_takes_along_what_was_recorded_with_it(folder: Folder, remote: Remote) -> None:
    folder.at(remote)
    folder.write("all.yaml", WELL_KNOWN.format(group="Old") + ALIAS)
    folder.ok("apply", "--auto-approve")
    folder.write("all.yaml", WELL_KNOWN.format(group="New") + ALIAS)
    folder.ok("apply", "--auto-approve", "--target", "user/corp/alice@example.com")
    folder.write("all.yaml", WELL_KNOWN.format(group="New"))

    planned = folder.ok("plan", "--format", "json").json["access"]
    asked = folder.ok("access", "diff", "--format", "json").json

    # The user's own well-knowns stay: only those that were recorded with the alias go with it.
    assert planned["causes"]["alias/corp/user:alice@example.com"]["gone"][1].endswith("well-known group:Old")
    for key in ("gained", "lost", "totals", "causes", "hazards"):
        assert planned[key] == asked[key], key
