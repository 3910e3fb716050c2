"""What a plan does to who sees what, over real manifests: named, told first, refused, allowed by name."""

from __future__ import annotations

import json
import re

import pytest

from tests.builders import EMAIL, ORGANIZATION, PROVIDER_ID, SHARED_ID, SOURCE_ID, Folder, Ran, Remote

PROJECT = f"""\
sources:
  handbook: {{id: {SOURCE_ID}, visibility: secured, provider: corp}}
  blog: {{id: {SHARED_ID}, visibility: shared}}
providers:
  corp: {{id: {PROVIDER_ID}, cascadesTo: ["{EMAIL}"]}}
environments:
  local: {{target: emulator, organization: {ORGANIZATION}}}
"""

PAGES = 30
MANIFEST = """
defaults: {source: handbook, provider: corp}
permissions:
  staff: {allowed: [group:Staff], denied: [user:bob@example.com]}
groups:
  - {name: Staff, members: [user:alice@example.com, user:bob@example.com]}
  - {name: Board, members: [user:dora@example.com]}
users: [{name: eve@example.com}, {name: zoe@partner.example}]
items:
  - {uri: "file:///secret", title: Secret, permissions: {allowed: [group:Board]}}
""" + "".join(
    f'  - {{uri: "file:///page/{number:02}", body: {{text: first}}, permissions: staff}}\n' for number in range(PAGES)
)
MORE_STAFF = ("members: [user:alice@example.com,", "members: [user:alice@example.com, user:eve@example.com,")


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.write("reconciler.yaml", PROJECT)
    folder.at(remote)
    folder.write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    return folder


def edit(folder: Folder, *changes: tuple[str, str]) -> None:
    text = MANIFEST
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    folder.write("all.yaml", text)


def guard(folder: Folder, text: str) -> None:
    path = folder.root / "reconciler.yaml"
    folder.write("reconciler.yaml", path.read_text() + text)


def refused(folder: Folder, remote: Remote, *names: str, allow: tuple[str, ...] = ()) -> Ran:
    """Apply what must be refused for these hazards, and nothing must be sent for."""
    total = remote.total
    words = [word for name in allow for word in ("--allow", name)]
    ran = folder.ok("apply", "--auto-approve", *words, code=1)
    assert re.findall(r"error\[hazard-([a-z-]+)\]", ran.err) == sorted(names)
    assert remote.total == total
    return ran


def test_a_line_in_a_group_outweighs_many_bodies_and_is_told_first(applied: Folder, remote: Remote) -> None:
    edit(applied, MORE_STAFF, ("{text: first}", "{text: second}"))

    text = applied.ok("plan").out
    markdown = applied.ok("plan", "--format", "markdown").out

    for told, table, heading in ((text, "create  update", "\nAccess\n"), (markdown, "| create", "#### Access")):
        first = ("widened-access:item/handbook", table, heading, f"1 of {PAGES + 1} changes can alter", "sight of 30")
        places = [told.index(words) for words in (*first, "because of group/corp/Staff", "Calls\n")]
        assert places == sorted(places)
    assert f"1 user gains sight of {PAGES} items ({PAGES} in pairs of both)." in text
    assert text.index("\nAccess\n") < text.index(f"~ update {PAGES} items in handbook")
    access = applied.ok("plan", "--format", "json").json["access"]
    assert access["complete"] and access["more"] == {"gained": 0, "lost": 0}
    assert [(entry["people"], entry["items"], entry["because"]) for entry in access["gained"]] == [
        (1, PAGES, ["group/corp/Staff"])
    ]


def test_widened_access_is_refused_until_it_is_allowed(applied: Folder, remote: Remote) -> None:
    edit(applied, MORE_STAFF)

    ran = refused(applied, remote, "widened-access")
    assert f'1 user would see {PAGES} items of "handbook", not seen by them now' in ran.err
    refused(applied, remote, "widened-access", allow=("widened-access:item/blog",))
    applied.ok("apply", "--auto-approve", "--allow", "widened-access:item/handbook")
    assert "No changes." in applied.ok("plan").out


def test_a_wrong_permission_made_public_has_its_own_name(applied: Folder, remote: Remote) -> None:
    edit(applied, ("permissions: {allowed: [group:Board]}", "permissions: {anonymous: true}"))

    refused(applied, remote, "item-public", "widened-access")
    refused(applied, remote, "item-public", allow=("widened-access",))
    applied.ok("apply", "--auto-approve", "--allow", "widened-access", "--allow", "item-public:item/handbook")


def test_a_deny_that_goes_is_refused_by_name(applied: Folder, remote: Remote) -> None:
    edit(applied, (", denied: [user:bob@example.com]", ""))

    ran = refused(applied, remote, "deny-removed", "widened-access")
    assert f'{PAGES} items of "handbook" would no longer deny user:bob@example.com' in ran.err
    applied.ok("apply", "--auto-approve", "--allow", "widened-access", "--allow", "deny-removed")


def test_what_nobody_sees_any_more_is_refused_by_name(applied: Folder, remote: Remote) -> None:
    nobody = ("- {name: Board", "- {name: Bord, members: []}\n  - {name: Board")
    edit(applied, ("permissions: {allowed: [group:Board]}", "permissions: {allowed: [group:Bord]}"), nobody)

    refused(applied, remote, "item-unseen")
    applied.ok("apply", "--auto-approve", "--allow", "item-unseen")


def test_new_items_are_told_and_no_hazard_but_in_number(applied: Folder, remote: Remote) -> None:
    news = "".join(f'  - {{uri: "new:{number}", permissions: {{allowed: [group:Staff]}}}}\n' for number in range(31))
    applied.write("more.yaml", "defaults: {source: handbook, provider: corp}\nitems:\n" + news)

    assert "(new)" in applied.ok("plan").out
    assert applied.ok("plan", "--format", "json").json["hazards"] == []
    guard(applied, "guardrails: {maxWidened: {people: 9, items: 30}}\n")
    ran = refused(applied, remote, "mass-widening")
    assert "would gain sight of 31 items, new ones included; the limit is 9 users or 30 items" in ran.err
    applied.ok("apply", "--auto-approve", "--allow", "mass-widening")


def test_what_is_denied_by_a_guardrail_is_never_allowed_by_name(applied: Folder, remote: Remote) -> None:
    guard(applied, "guardrails: {widenedAccess: deny}\n")
    edit(applied, MORE_STAFF)
    saved = str(applied.root / "saved.plan")

    ran = refused(applied, remote, "widened-access", allow=("widened-access", "widened-access:item/handbook"))
    assert "narrow the change, or name it under guardrails.widenedAccess.except" in ran.err
    applied.ok("plan", "--allow", "widened-access", "--out", saved)
    assert "1 of 1 must be allowed" in applied.ok("show", saved).out
    total = remote.total
    ran = applied.ok("apply", saved, "--auto-approve", "--allow", "widened-access", code=1)
    assert "error[hazard-widened-access]" in ran.err
    assert remote.total == total


def test_a_saved_plan_is_held_to_what_is_denied_by_now(applied: Folder, remote: Remote) -> None:
    edit(applied, MORE_STAFF)
    saved = str(applied.root / "saved.plan")
    applied.ok("plan", "--allow", "widened-access", "--out", saved)
    guard(applied, "guardrails: {widenedAccess: deny}\n")
    total = remote.total

    ran = applied.ok("apply", saved, "--auto-approve", "--allow", "widened-access", code=1)

    assert "error[hazard-widened-access]" in ran.err
    assert "guardrails.widenedAccess.except" in ran.err
    assert remote.total == total


def test_what_a_guardrail_lets_pass_is_told_and_done(applied: Folder, remote: Remote) -> None:
    guard(applied, "guardrails: {widenedAccess: allow}\n")
    edit(applied, MORE_STAFF)

    assert "widened-access:item/handbook (allowed)" in applied.ok("plan").out
    applied.ok("apply", "--auto-approve")


def test_an_environment_has_guardrails_of_its_own(applied: Folder, remote: Remote) -> None:
    path = applied.root / "reconciler.yaml"
    text = path.read_text().replace(
        f"organization: {ORGANIZATION}}}", f"organization: {ORGANIZATION}, guardrails: {{widenedAccess: allow}}}}"
    )
    applied.write("reconciler.yaml", text + "guardrails: {widenedAccess: deny}\n")
    edit(applied, MORE_STAFF)

    applied.ok("apply", "--auto-approve")


EXCEPT = """\
guardrails:
  widenedAccess:
    mode: deny
    except:
      - {{items: [{items}], to: [{to}]}}
"""


@pytest.mark.parametrize(
    ("items", "to", "passes"),
    [
        ('"item/handbook/file:///page/**"', '"user:*@example.com"', True),
        ('"file:///page/*"', '"group:Staff"', True),
        ('"file:///page/0*"', '"group:Staff"', False),
        ('"item/handbook/**"', '"user:*@partner.example"', False),
        ('"**"', "everybody", True),
    ],
)
def test_an_exception_lets_pass_what_it_names(
    applied: Folder, remote: Remote, items: str, to: str, passes: bool
) -> None:
    guard(applied, EXCEPT.format(items=items, to=to))
    edit(applied, MORE_STAFF)

    if passes:
        applied.ok("apply", "--auto-approve")
    else:
        refused(applied, remote, "widened-access")


def test_an_exception_for_everybody_lets_an_item_become_public(applied: Folder) -> None:
    guard(applied, EXCEPT.format(items='"file:///secret"', to='"*"'))
    edit(applied, ("permissions: {allowed: [group:Board]}", "permissions: {anonymous: true}"))

    applied.ok("apply", "--auto-approve")


def test_an_exception_of_one_provider_is_none_of_another(applied: Folder, remote: Remote) -> None:
    other = EXCEPT.format(items='"**"', to='"group:Staff"').replace("}\n", f', provider: "{EMAIL}"}}\n')
    guard(applied, other)
    edit(applied, MORE_STAFF)

    refused(applied, remote, "widened-access")


@pytest.mark.parametrize(
    "text",
    [
        "guardrails: {widenedAccess: maybe}\n",
        "guardrails: {widenedAccess: {mode: never}}\n",
        "guardrails: {widenedAccess: {except: [{to: [alice]}]}}\n",
        "guardrails: {widenedAccess: {except: [{}]}}\n",
        "guardrails: {widenedAccess: {except: [{items: ['x:**'], to: }]}}\n",
        "guardrails: {widenedAccess: {except: [{items: [], to: [everybody]}]}}\n",
        "guardrails: {maxWidened: {people: -1}}\n",
        "guardrails: {maxWidened: 5}\n",
    ],
)
def test_a_guardrail_that_is_none_is_an_error(folder: Folder, text: str) -> None:
    folder.write("reconciler.yaml", PROJECT + text)
    folder.write("all.yaml", MANIFEST)

    ran = folder.ok("plan", code=1)

    assert "reconciler.yaml:8:" in ran.err
    assert "error[internal]" not in ran.err


def test_the_hazards_in_the_access_document_are_the_plans(applied: Folder) -> None:
    edit(applied, MORE_STAFF, ("permissions: {allowed: [group:Board]}", "permissions: {anonymous: true}"))

    document = applied.ok("plan", "--allow", "item-public", "--format", "json").json

    assert [
        {
            "name": hazard["name"],
            "subject": hazard["subject"],
            "source": "handbook",
            "items": hazard["count"],
            "people": hazard["people"],
            "examples": hazard["addresses"],
            "allowed": hazard["allowed"],
        }
        for hazard in document["hazards"]
    ] == document["access"]["hazards"]
    assert [(hazard["name"], hazard["items"], hazard["allowed"]) for hazard in document["access"]["hazards"]] == [
        ("item-public", 1, True),
        ("widened-access", PAGES + 1, False),
    ]


def test_all_of_it_is_written_as_lines(applied: Folder) -> None:
    edit(applied, MORE_STAFF, ("members: [user:dora@example.com]", "members: [user:zoe@partner.example]"))
    whole = applied.root / "access.jsonl"

    for command in (("plan",), ("plan",), ("access", "diff")):
        applied.ok(*command, "--access-out", str(whole))
        lines = [json.loads(line) for line in whole.read_text().splitlines()]
        assert [(line["side"], line["kind"], line["items"], line["identities"]) for line in lines] == [
            ("gained", "affected", PAGES, ["user/corp/eve@example.com"]),
            ("gained", "affected", 1, ["user/corp/zoe@partner.example"]),
            ("lost", "affected", 1, ["user/corp/dora@example.com"]),
        ]
        assert lines[0]["addresses"] == [f"item/handbook/file:///page/{number:02}" for number in range(PAGES)]
        assert lines[0]["because"] == ["group/corp/Staff"]
    applied.write("all.yaml", MANIFEST)
    applied.ok("plan", "--access-out", str(whole))
    assert whole.read_text() == ""
    ran = applied.ok("plan", "--access-out", str(applied.root / "none" / "access.jsonl"), code=2)
    assert "error[cannot-write]" in ran.err and "--access-out" in ran.err


def test_declaring_a_user_that_is_permitted_by_name_widens(applied: Folder, remote: Remote) -> None:
    named = ("permissions: {allowed: [group:Board]}", "permissions: {allowed: [user:zed@example.com]}")
    edit(applied, named)
    applied.ok("apply", "--auto-approve", "--allow", "item-unseen")
    edit(applied, named, ("users: [", "users: [{name: zed@example.com}, "))

    ran = refused(applied, remote, "widened-access")
    assert '1 user would see 1 item of "handbook"' in ran.err
    assert "because of user/corp/zed@example.com" in applied.ok("plan").out
    applied.ok("apply", "--auto-approve", "--allow", "widened-access")


def test_an_item_that_moves_is_the_same_one_for_whoever_did_not_see_it(applied: Folder, remote: Remote) -> None:
    moved = '\nmoved:\n  - {from: "file:///secret", to: "file:///moved"}\n'
    permissions = "permissions: {allowed: [group:Board]}"
    rename = (f'"file:///secret", title: Secret, {permissions}', f'"file:///moved", title: Secret, {permissions}')
    edit(applied, rename)
    folder_text = (applied.root / "all.yaml").read_text()

    applied.write("all.yaml", folder_text + moved)
    assert "Hazards" not in applied.ok("plan").out
    applied.write("all.yaml", folder_text.replace(permissions, "permissions: {anonymous: true}") + moved)
    ran = refused(applied, remote, "item-public", "widened-access")
    assert "everybody, 4 users we know of among them, would see 1 item of" in ran.err
    applied.write("all.yaml", folder_text.replace(permissions, "permissions: {allowed: [group:Staff]}") + moved)
    refused(applied, remote, "widened-access")
    applied.ok("apply", "--auto-approve", "--allow", "widened-access:item/handbook")
