"""`reconciler access --of remote`: who sees what as the remote has it, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from reconciler.emulator.options import Doubts, ProviderOptions
from tests.builders import EMAIL, KEY, ORGANIZATION, PROVIDER_ID, SHARED_ID, SOURCE_ID, Folder, Remote, start_remote

MANIFEST = f"""
defaults: {{source: handbook, provider: corp}}
permissions:
  not-bob:
    sets:
      - {{allowed: [group:Team], denied: [user:bob@example.com]}}
  board-first:
    levels:
      - {{name: board, sets: [{{allowed: [group:Board]}}]}}
      - {{name: team, sets: [{{allowed: [group:Team]}}, {{allowed: [group:Cleared]}}]}}
  by-mail: {{allowed: [{{provider: "{EMAIL}", group: "*@mail.example"}}]}}
items:
  - {{uri: "file:///alpha", permissions: not-bob}}
  - {{uri: "file:///board", permissions: board-first}}
  - {{uri: "file:///open", permissions: {{anonymous: true}}}}
  - {{uri: "file:///mail", permissions: by-mail}}
  - {{uri: "http://post", source: blog, metadata: {{title: Post}}}}
  - {{uri: "file:///alpha", source: blog, title: The same uri elsewhere}}
groups:
  - {{name: Team, members: [user:alice@example.com, user:bob@example.com, group:Inner]}}
  - {{name: Inner, members: [user:carol@example.com, group:Team]}}
  - {{name: Board, members: []}}
  - {{name: Cleared, members: [user:carol@example.com]}}
users:
  - {{name: alice@example.com}}
  - {{name: bob@example.com}}
  - {{name: carol@example.com}}
  - {{name: dora@example.com, wellKnowns: [group:Board]}}
aliases:
  - of: user:alice@example.com
    is: [{{provider: "{EMAIL}", identity: user:alice@mail.example}}]
"""
ITEMS = ("item/handbook/file:///alpha", "file:///board", "file:///open", "file:///mail", "http://post")
PEOPLE = ("alice", "bob", "carol", "dora")


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.write("all.yaml", MANIFEST)
    folder.at(remote).ok("apply", "--auto-approve")
    return folder


def ask(folder: Folder, *question: str, of: str = "remote", code: int = 0) -> Any:
    found = folder.ok("access", *question, "--of", of, "--format", "json", code=code).json
    assert code or (found.pop("incomplete", []) == []), "everything can be seen"
    return found


def push(remote: Remote, path: str, body: Any, method: str = "PUT", **query: Any) -> None:
    """Change something by hand, as nobody recorded it."""
    answer = httpx.request(
        method,
        f"{remote.url}/push/v1/organizations/{ORGANIZATION}/{path}",
        json=body,
        params=query,
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text


def group(name: str, *members: str) -> dict[str, Any]:
    return {"identity": {"name": name, "type": "GROUP"}, "members": [{"name": who, "type": "USER"} for who in members]}


@pytest.mark.parametrize("item", ITEMS)
def test_who_sees_an_item_there_is_who_the_manifests_say(applied: Folder, item: str) -> None:
    assert ask(applied, "who", item) == ask(applied, "who", item, of="desired")


@pytest.mark.parametrize("person", PEOPLE)
def test_what_somebody_sees_there_is_what_the_manifests_say(applied: Folder, person: str) -> None:
    asked = ("what", f"user:{person}@example.com", "--list")
    assert ask(applied, *asked) == ask(applied, *asked, of="desired")


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("item", ITEMS)
def test_why_agrees_on_what_decides(applied: Folder, item: str, person: str) -> None:
    found, wanted = (ask(applied, "why", f"user:{person}@example.com", item, of=side) for side in ("remote", "desired"))
    # That a group has somebody is shown, and not whether it is by a well-known.
    for answer in (found, wanted):
        for chain in (answer["chain"], *(entry["chain"] for entry in answer["decided_by"]["sets"])):
            for step in chain:
                step["how"] = step["how"].replace("well-known", "member of")
    assert found == wanted


def test_an_alias_leads_there_too(applied: Folder) -> None:
    asked = ("why", "user:alice@mail.example", "item/handbook/file:///alpha", "--provider", EMAIL)
    found = ask(applied, *asked)
    assert found["allowed"] is True
    assert [step["how"] for step in found["chain"]] == ["alias", "member of"]
    assert found == ask(applied, *asked, of="desired")
    assert ask(applied, "what", "user:alice@mail.example", "--provider", EMAIL) == ask(
        applied, "what", "user:alice@mail.example", "--provider", EMAIL, of="desired"
    )


def test_a_change_by_hand_shows_there_alone(applied: Folder, remote: Remote) -> None:
    push(remote, f"providers/{PROVIDER_ID}/permissions", group("Board", "eve@example.com"))
    push(
        remote,
        f"sources/{SOURCE_ID}/documents",
        {"permissions": [{"allowAnonymous": True}]},
        documentId="item:///by-hand",
    )
    push(remote, f"providers/{PROVIDER_ID}/permissions", {"identity": {"name": "Cleared", "type": "GROUP"}}, "DELETE")

    viewers = ask(applied, "who", "file:///board")["viewers"]
    assert viewers == ["user:dora@example.com", "user:eve@example.com"], "carol is cleared no more"
    assert ask(applied, "who", "file:///board", of="desired")["viewers"] == [
        "user:carol@example.com",
        "user:dora@example.com",
    ]
    assert ask(applied, "who", "item:///by-hand")["anonymous"] is True
    assert applied.run("access", "who", "item:///by-hand").code == 2
    assert ask(applied, "why", "user:carol@example.com", "file:///board")["allowed"] is False
    listed = ask(applied, "what", "user:eve@example.com", "--list")["items"]
    assert "item/handbook/item:///by-hand" in listed and "item/handbook/file:///board" in listed


def test_a_denied_identity_that_the_remote_does_not_resolve_hides_the_item_there(
    folder: Folder, remote: Remote
) -> None:
    # The manifests take a member for known; here nobody pushed more of bob than his name in a group.
    folder.write("all.yaml", MANIFEST.replace("  - {name: bob@example.com}\n", ""))
    folder.at(remote).ok("apply", "--auto-approve")
    asked = ("who", "item/handbook/file:///alpha")
    assert ask(folder, *asked, of="desired")["viewers"] == ["user:alice@example.com", "user:carol@example.com"]
    found = ask(folder, *asked)
    assert found["viewers"] == []
    assert [(entry["identity"], entry["hides"]) for entry in found["unresolved"]] == [("user:bob@example.com", True)]
    reason = ask(folder, "why", "user:alice@example.com", "item/handbook/file:///alpha")
    assert (reason["allowed"], reason["decided_by"]["outcome"]) == (False, "hidden")


def test_who_may_see_a_source_is_as_the_remote_has_it(applied: Folder) -> None:
    project = applied.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("visibility: shared", "visibility: secured, provider: corp"))
    assert ask(applied, "who", "http://post")["anonymous"] is True
    assert ask(applied, "who", "http://post", of="desired")["anonymous"] is False
    assert ask(applied, "why", "user:bob@example.com", "http://post")["decided_by"]["visibility"] == "shared"


def test_what_was_accepted_is_there_once_it_is_processed(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    with start_remote(delay=3600.0) as slow:
        folder.at(slow).ok("apply", "--auto-approve")
        ran = folder.ok("access", "who", "file:///board", "--of", "remote", code=4)
        assert 'error[unknown-item]: the remote has no item "file:///board"' in ran.err
        assert ask(folder, "who", "file:///board", of="recorded")["viewers"]
        slow.flush()
        assert ask(folder, "who", "file:///board") == ask(folder, "who", "file:///board", of="desired")


def test_the_security_cache_answers_for_its_last_refresh(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST)
    with start_remote(doubts=Doubts(cache_view="on refresh")) as slow:
        folder.at(slow).ok("apply", "--auto-approve")
        found = ask(folder, "who", "item/handbook/file:///alpha")
        assert found["viewers"] == [] and found["unresolved"]
        assert (
            "error[unknown-identity]"
            in folder.ok("access", "why", "user:alice@example.com", "file:///board", "--of", "remote", code=4).err
        )
        httpx.post(
            f"{slow.url}/rest/organizations/{ORGANIZATION}/securitycache/refresh",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
        ).raise_for_status()
        asked = ("who", "item/handbook/file:///alpha")
        assert ask(folder, *asked) == ask(folder, *asked, of="desired")


READING = frozenset({"SOURCE_VIEW", "ORGANIZATION_VIEW", "SECURITY_CACHE_VIEW", "EXECUTE_QUERY", "VIEW_ALL_CONTENT"})


@pytest.fixture
def guarded(folder: Folder) -> Iterator[tuple[Folder, Remote]]:
    """A remote with keys that lack a privilege each, filled."""
    keys = {f"without-{name}": READING - {name} for name in READING} | {"reading": READING}
    folder.write("all.yaml", MANIFEST)
    with start_remote(keys=keys) as remote:
        folder.at(remote).ok("apply", "--auto-approve")
        yield folder, remote


def test_a_key_that_lacks_a_privilege_is_told_which(guarded: tuple[Folder, Remote]) -> None:
    folder, _ = guarded
    question = ("access", "who", "file:///board", "--of", "remote", "--format", "json")
    assert folder.run(*question, key="reading").json["viewers"]
    for lacking, says in (
        ("SOURCE_VIEW", "Sources - View"),
        ("EXECUTE_QUERY", "Search - Execute queries"),
        ("SECURITY_CACHE_VIEW", "Security cache - View"),
        ("ORGANIZATION_VIEW", "Organization - View"),
        ("VIEW_ALL_CONTENT", "View all content"),
    ):
        ran = folder.run(*question, key=f"without-{lacking}")
        assert ran.code == 4, lacking
        assert says in ran.err, lacking
    wrong = folder.run(*question, key="nobody-issued-it")
    assert (wrong.code, "error[call-unauthorized]" in wrong.err) == (4, True)


def test_items_that_the_key_does_not_see_are_told_of(guarded: tuple[Folder, Remote]) -> None:
    folder, _ = guarded
    question = ("access", "what", "user:alice@example.com", "--of", "remote")
    ran = folder.run(*question, "--format", "json", key="without-VIEW_ALL_CONTENT")
    assert ran.json["incomplete"] == [
        "source handbook: a search shows 1 of 4 items; the key may lack the privileges Search - Execute queries, and "
        "Search - View all content, or the index is behind"
    ]
    assert (
        "incomplete: source handbook: a search shows 1 of 4"
        in folder.run(*question, key="without-VIEW_ALL_CONTENT").out
    )


@pytest.mark.parametrize(
    ("question", "code", "says"),
    [
        (("who", "file:///nowhere"), "unknown-item", 'the remote has no item "file:///nowhere"'),
        (("why", "user:nobody@example.com", "file:///board"), "unknown-identity", "user:nobody@example.com"),
        (("what", "user:nobody@example.com"), "unknown-identity", 'of provider "corp"'),
    ],
)
def test_what_the_remote_does_not_know_is_told(applied: Folder, question: Any, code: str, says: str) -> None:
    ran = applied.ok("access", *question, "--of", "remote", code=4)
    assert f"error[{code}]: " in ran.err and says in ran.err


@pytest.mark.parametrize(
    ("question", "code", "says"),
    [
        (("who", "file:///alpha"), "several-items", "an item of several sources: blog, handbook"),
        (("who", "file:///alpha", "--source", "shop"), "unknown-source", 'no source "shop"'),
        (("what", "alice"), "bad-identity", '"alice" is no identity'),
    ],
)
def test_what_is_asked_wrongly_is_told(applied: Folder, question: Any, code: str, says: str) -> None:
    ran = applied.ok("access", *question, "--of", "remote", code=2)
    assert f"error[{code}]: " in ran.err and says in ran.err


@pytest.mark.parametrize(("wrong", "code"), [(SOURCE_ID, "source-unknown"), (ORGANIZATION, "organization-unknown")])
def test_an_id_that_the_remote_does_not_have_is_told(applied: Folder, wrong: str, code: str) -> None:
    project = applied.root / "reconciler.yaml"
    project.write_text(project.read_text().replace(wrong, "elsewhere"))
    ran = applied.ok("access", "who", "file:///board", "--of", "remote", code=4)
    assert f"error[{code}]" in ran.err and "elsewhere" in ran.err


def test_a_uri_that_no_search_can_say_is_found_in_the_source_that_is_named(folder: Folder, remote: Remote) -> None:
    folder.write(
        "all.yaml",
        """defaults: {source: handbook, provider: corp}
items: [{uri: 'file:///a"quoted"one', permissions: {allowed: [group:Team]}}]
groups: [{name: Team, members: [user:alice@example.com]}]
""",
    )
    folder.at(remote).ok("apply", "--auto-approve")
    found = ask(folder, "who", 'file:///a"quoted"one', "--source", "handbook")
    assert found["viewers"] == ["user:alice@example.com"]


def test_names_are_told_apart_as_the_provider_does(folder: Folder) -> None:
    folder.write(
        "all.yaml",
        """defaults: {source: handbook, provider: corp}
items: [{uri: "file:///one", permissions: {allowed: [group:Team]}}]
groups: [{name: Team, members: [user:Alice]}, {name: TEAM, members: [user:alice]}]
""",
    )
    project = folder.root / "reconciler.yaml"
    plain = project.read_text()
    with start_remote(providers=(ProviderOptions(PROVIDER_ID, case_sensitive=True),)) as strict:
        project.write_text(plain.replace("corp: {id", "corp: {caseSensitive: true, id"))
        folder.at(strict).ok("apply", "--auto-approve")
        for side in ("remote", "desired"):
            assert ask(folder, "who", "file:///one", of=side)["viewers"] == ["user:Alice"]
        project.write_text(plain)
        ran = folder.at(strict).ok("access", "who", "file:///one", "--of", "remote", "--format", "json")
        assert ran.json["viewers"] == ["user:Alice"]
        assert "warning[case-sensitivity]" in ran.err and "write `caseSensitive: true`" in ran.err


def test_a_source_with_more_items_than_a_page_is_read_whole(folder: Folder, remote: Remote) -> None:
    items = "\n".join(f'  - {{uri: "file:///{n}", permissions: {{allowed: [group:G{n % 7}]}}}}' for n in range(450))
    groups = "\n".join(f"  - {{name: G{n}, members: [user:u{n}]}}" for n in range(7))
    folder.write("all.yaml", f"defaults: {{source: handbook, provider: corp}}\nitems:\n{items}\ngroups:\n{groups}\n")
    folder.at(remote).ok("apply", "--auto-approve")
    asked = ("what", "user:u3", "--list")
    found = ask(folder, *asked)
    assert found == ask(folder, *asked, of="desired") and len(found["items"]) == 64


def test_nothing_is_written_and_nothing_is_sent(applied: Folder, remote: Remote) -> None:
    before = {path: path.read_bytes() for path in (applied.root / ".reconciler").rglob("*.state.db")}
    since = remote.total
    ask(applied, "who", "http://post")
    methods = {request["method"] for request in remote.requests(since) if "/push/" in request["path"]}
    assert methods == set()
    assert before == {path: path.read_bytes() for path in before}


def test_a_provider_outside_the_project_is_called_by_its_id(applied: Folder, remote: Remote) -> None:
    # A handmade permission may name a provider that no manifest knows.
    push(
        remote,
        f"sources/{SHARED_ID}/documents",
        {
            "permissions": [
                {"allowedPermissions": [{"identity": "x", "identityType": "User", "securityProvider": "far"}]}
            ]
        },
        documentId="item:///far",
    )
    ran = applied.ok("access", "who", "item:///far", "--of", "remote", "--format", "json")
    assert ran.json["anonymous"] is True
    assert quote(KEY) not in ran.out + ran.err
