"""Lints of secured content: what `validate` finds in manifests that are legal and surely not meant, and where."""

from __future__ import annotations

import json
import typing

import pytest

from reconciler.cli.session import open_session
from reconciler.lints.run import LINTS, MAX_TOLD
from reconciler.manifest.load import load_manifests
from reconciler.manifest.schema import LintsSpec
from tests.builders import EMAIL, PROJECT, REPOSITORY, Folder, run_here

HEAD = "defaults: {source: handbook, provider: corp}\n"
EACH = f"aliases: [{{ofEach: {{membersOf: '*'}}, is: [{{provider: {EMAIL}, identity: 'user:{{name}}'}}]}}]\n"

# A manifest, and the code, line and column of each finding in it.
TABLE: dict[str, tuple[str, list[tuple[str, int, int]]]] = {
    "a group that nobody belongs to": (
        HEAD + "groups:\n  - {name: A, members: []}\n  - name: B\n    members: [group:A]\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:B]}}]\n",
        [("group-without-members", 3, 12)],
    ),
    "a group that people belong to by their own word": (
        HEAD + "groups: [{name: A, members: []}]\nusers: [{name: u, wellKnowns: [group:A]}]\n"
        f"aliases: [{{of: user:u, is: [{{provider: {EMAIL}, identity: user:u@x.example}}]}}]\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A]}}]\n",
        [],
    ),
    "a group that is mapped to users": (
        HEAD + "groups: [{name: A, members: []}]\n"
        f"aliases: [{{of: group:A, is: [{{provider: {EMAIL}, identity: user:u@x.example}}]}}]\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A]}}]\n",
        [],
    ),
    "a virtual group, in the form of the wire": (
        HEAD + "virtualGroups:\n  - {Identity: {Name: V, Type: VIRTUAL_GROUP}, Members: []}\n"
        "items: [{uri: 'x:1', permissions: {allowed: [virtualGroup:V]}}]\n",
        [("group-without-members", 3, 5)],
    ),
    "a member without an alias, told at the first of its groups": (
        HEAD
        + "groups:\n  - name: A\n    members:\n      - user:a\n      - {user: b}\n  - {name: B, members: [user:b]}\n"
        f"aliases: [{{of: user:a, is: [{{provider: {EMAIL}, identity: user:a@x.example}}]}}]\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A, group:B]}}]\n",
        [("member-without-alias", 6, 16)],
    ),
    "nobody has an alias: told once": (
        HEAD + "groups: [{name: A, members: [user:a, user:b, user:c]}]\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A]}}]\n",
        [("member-without-alias", 2, 30)],
    ),
    "a member by its own word without an alias": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}]\nusers:\n  - {name: e, wellKnowns: [group:A]}\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A]}}]\n",
        [("member-without-alias", 5, 12)],
    ),
    "a denied group without people, nested": (
        HEAD
        + EACH
        + "groups: [{name: A, members: [user:a]}, {name: In, members: [group:Out]}, {name: Out, members: []}]\n"
        "items:\n  - uri: x:1\n    permissions:\n      allowed: [group:A]\n      denied:\n        - group: In\n",
        [("group-without-members", 3, 81), ("denied-nobody", 9, 18)],
    ),
    "entries of one level of several": (
        HEAD
        + EACH
        + "groups: [{name: A, members: [user:a]}, {name: B, members: [user:b]}]\npermissions:\n  m:\n    levels:\n"
        "      - [{allowed: [group:A, group:B], denied: [user:a]}]\n"
        "      - name: second\n        sets:\n          - {denied: [user:b], allowed: [group:B]}\n"
        "items: [{uri: 'x:1', permissions: m}, {uri: 'x:2', permissions: m}]\n",
        [("allow-always-denied", 7, 21)],
    ),
    "an earlier level that denies, and lets others in": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}, {name: B, members: [user:b]}]\nitems:\n  - uri: x:1\n"
        "    permissions:\n      levels:\n        - [{denied: [group:B], allowed: [group:A]}]\n"
        "        - [{allowed: [user:b]}, {allowed: [group:A, user:b]}]\n",
        [("allow-always-denied", 9, 23)],
    ),
    "everybody is denied who would be let in without logging in": (
        HEAD + f"permissions:\n  m: {{anonymous: true, denied: [{{group: '*@*', provider: {EMAIL}}}]}}\n",
        [("allow-always-denied", 3, 18)],
    ),
    "whoever else has an address of the domain is not denied": (
        HEAD + f"permissions:\n  m:\n    allowed: [{{group: '*@x.example', provider: {EMAIL}}}]\n"
        f"    denied: [{{user: a@x.example, provider: {EMAIL}}}]\n",
        [],
    ),
    "groups of a provider that is kept elsewhere": (
        "defaults: {source: handbook, provider: corp}\npermissions:\n"
        f"  m: {{allowed: [{{group: G, provider: {EMAIL}}}], denied: [{{group: H, provider: {EMAIL}}}]}}\n",
        [],
    ),
    "the form of the wire": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}]\nitems:\n  - DocumentId: x:1\n    Permissions:\n"
        "      - PermissionSets:\n          - AllowedPermissions: [{IdentityType: Group, Identity: A}]\n"
        "      - PermissionSets:\n          - DeniedPermissions: [{IdentityType: Group, Identity: A}]\n"
        "            AllowedPermissions:\n              - {IdentityType: GROUP, Identity: A}\n"
        "              - {IdentityType: User, Identity: z}\n",
        [("allowed-unresolved", 13, 48)],
    ),
    "unresolved identities": (
        HEAD + "permissions:\n  m: {allowed: [user:a], denied: [user:b]}\nitems: [{uri: 'x:1', permissions: m}]\n",
        [("allowed-unresolved", 3, 17), ("denied-unresolved", 3, 35)],
    ),
    "rings": (
        HEAD + EACH + "groups:\n  - name: A\n    members: [user:a, group:B]\n  - {name: B, members: [group:C]}\n"
        "  - {name: C, members: [group:A]}\n  - {name: Self, members: [user:a, group:Self]}\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:A, group:Self]}}]\n",
        [("nested-cycle", 5, 23), ("nested-cycle", 8, 36)],
    ),
    "what nobody uses": (
        HEAD + "groups:\n  - {name: Used, members: [user:a]}\n  - {name: Unused, members: [user:u]}\n"
        "users:\n  - {name: lone}\n"
        f"aliases:\n  - {{of: user:a, is: [{{provider: {EMAIL}, identity: user:a}}]}}\n"
        f"  - {{of: user:u, is: [{{provider: {EMAIL}, identity: user:u}}]}}\n"
        f"  - {{of: user:z, is: [{{provider: {EMAIL}, identity: user:z}}]}}\n"
        "items: [{uri: 'x:1', permissions: {allowed: [group:Used]}}]\n",
        [("unused-identity", 4, 12), ("unused-identity", 6, 12), ("unused-identity", 10, 10)],
    ),
    "what only a model names that no item has": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}]\npermissions: {m: {allowed: [group:A]}}\n",
        [],
    ),
    "an alias into a pattern that a permission names": (
        HEAD + f"aliases: [{{of: user:a, is: [{{provider: {EMAIL}, identity: user:a@x.example}}]}}]\n"
        f"permissions: {{m: {{allowed: [{{group: '*@x.example', provider: {EMAIL}}}]}}}}\n",
        [],
    ),
    "no permission at all: items are kept elsewhere": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}]\n",
        [],
    ),
    "a well-known is used, and so is who belongs to it": (
        HEAD + EACH + "groups: [{name: A, members: [user:a]}, {name: All, members: []}]\n"
        "users: [{name: a, wellKnowns: [group:All]}]\npermissions: {m: {anonymous: true}}\n",
        [("unused-identity", 3, 17)],
    ),
    "an item without permissions": (HEAD + "items:\n  - {uri: 'x:1'}\n", [("permissions-missing", 3, 5)]),
}


def findings(folder: Folder, *arguments: str) -> list[tuple[str, int, int]]:
    document = folder.run("validate", "--format", "json", *arguments).json
    assert {problem["severity"] for problem in document["problems"]} <= {"warning"}
    return [(problem["code"], problem["line"], problem["column"]) for problem in document["problems"]]


@pytest.mark.parametrize("case", TABLE)
def test_findings_and_their_places(folder: Folder, case: str) -> None:
    text, wanted = TABLE[case]
    folder.write("a.yaml", text)
    assert findings(folder) == wanted
    # What was read before comes from the cache, and says the same.
    assert findings(folder) == wanted
    assert findings(folder, "--no-cache") == wanted


def test_a_variable_and_a_long_form_are_found_where_they_are_written(folder: Folder) -> None:
    folder.write("reconciler.yaml", PROJECT + "vars: {team: Ghost}\n")
    folder.write(
        "sub/groups.yaml", HEAD + "groups: [{name: Ghost, members: [group:Gone]}, {name: Gone, members: []}]\n"
    )
    folder.write(
        "sub/a.yaml",
        HEAD + "permissions:\n  m:\n    denied:\n      - 'group:${team}'\n    anonymous: true\n"
        "  n: {anonymous: true, denied: [{group: '${team}', provider: corp}]}\n",
    )
    document = folder.run("validate", "--format", "json").json
    places = [(p["code"], p["file"].rpartition("/")[2], p["line"], p["column"]) for p in document["problems"]]
    assert places == [
        ("denied-nobody", "a.yaml", 5, 9),
        ("denied-nobody", "a.yaml", 7, 41),
        ("group-without-members", "groups.yaml", 2, 55),
    ]


def test_a_model_that_many_items_have_is_told_once(folder: Folder) -> None:
    same = "permissions: {allowed: [group:A], denied: [group:A]}"
    items = "".join(f"  - {{uri: 'x:{number}', {same}}}\n" for number in range(1000))
    named = "".join(f"  - {{uri: 'y:{number}', permissions: m}}\n" for number in range(1000))
    model = "permissions: {m: {allowed: [group:A], denied: [user:a]}}\n"
    folder.write("a.yaml", HEAD + EACH + "groups: [{name: A, members: [user:a]}]\nitems:\n" + items + named + model)
    document = folder.run("validate", "--format", "json").json
    assert [(p["code"], p["line"], p["what"]) for p in document["problems"]] == [
        (
            "allow-always-denied",
            5,
            'the permission model of item "x:0" (and of 999 more) allows group "A" of provider "corp", '
            "and denies everybody whom that would let in",
        ),
        (
            "allow-always-denied",
            2005,
            'permission model "m" allows group "A" of provider "corp", and denies everybody whom that would let in',
        ),
    ]


def test_what_is_kept_of_a_run_holds_only_for_the_same_manifests_and_settings(folder: Folder) -> None:
    groups = "groups: [{name: A, members: []}]\n"
    folder.write("a.yaml", HEAD + groups)
    assert findings(folder) == findings(folder) == [("group-without-members", 2, 17)]
    folder.write("a.yaml", HEAD + "# a line more\n" + groups)
    assert findings(folder) == [("group-without-members", 3, 17)]
    folder.write("reconciler.yaml", PROJECT + "lints: {group-without-members: off}\n")
    assert findings(folder) == []
    folder.write("reconciler.yaml", PROJECT)
    folder.write("a.yaml", HEAD + "groups: [{name: A, members: [group:A]}]\n")
    assert findings(folder) == [("nested-cycle", 2, 30)]


def test_models_of_items_that_did_not_change_are_known_without_reading_them_again(folder: Folder) -> None:
    entries = [f"  - {{uri: 'x:{n}', permissions: {{allowed: [user:a{n}]}}}}\n" for n in range(4)]
    for moved in (entries, [entries[2], "  - {uri: 'x:new', permissions: {anonymous: true}}\n", *entries[:2]]):
        folder.write("a.yaml", HEAD + "items:\n" + "".join(moved))
        with open_session(str(folder.root), None) as session:
            loaded = load_manifests(
                session.project, session.folder, session.project_file, recorded=None, cache=session.cache
            )
        assert loaded.inline_models().keys() == {known[32:] for known in loaded.desired.fingerprints.values()}


def test_members_of_an_item_set_are_told_at_the_set(folder: Folder) -> None:
    folder.write("rows.csv", "id,team\n1,A\n2,B\n")
    folder.write(
        "a.yaml",
        HEAD + EACH + "groups: [{name: A, members: [user:a]}, {name: B, members: [user:b]}]\n"
        "itemSets:\n  - from: {csv: rows.csv}\n"
        "    item: {uri: 'x:{row.id}', permissions: {allowed: ['group:{row.team}'], denied: [user:a]}}\n",
    )
    assert findings(folder) == [("allow-always-denied", 6, 44)]


def test_twenty_are_told_and_the_rest_counted(folder: Folder) -> None:
    groups = "".join(f"  - {{name: g{number:03}, members: []}}\n" for number in range(50))
    folder.write("a.yaml", HEAD + "groups:\n" + groups)
    document = folder.run("validate", "--format", "json").json
    assert [problem["line"] for problem in document["problems"]] == list(range(3, 3 + MAX_TOLD))
    told = [problem["what"].partition("; ")[2] for problem in document["problems"]]
    assert told == [""] * (MAX_TOLD - 1) + ["30 more are not shown"]


def test_levels(folder: Folder) -> None:
    folder.write("a.yaml", HEAD + "groups: [{name: A, members: []}]\nitems: [{uri: 'x:1'}]\n")
    for level, wanted, code in (
        ("warning", ["warning", "warning"], 0),
        ("off", [], 0),
        ("error", ["error", "error"], 1),
    ):
        lints = f"lints: {{group-without-members: {level}, permissions-missing: {level}}}\n"
        folder.write("reconciler.yaml", PROJECT + lints)
        ran = folder.ok("validate", "--format", "json", code=code)
        assert [problem["severity"] for problem in ran.json["problems"]] == wanted


def test_a_code_that_does_not_exist(folder: Folder) -> None:
    folder.write("reconciler.yaml", PROJECT + "lints: {nested-cycles: off}\n")
    folder.write("a.yaml", HEAD + "groups: []\n")
    ran = folder.ok("validate", code=1)
    assert 'error[unknown-key]: unknown key "nested-cycles"' in ran.err
    assert 'fix: did you mean "nested-cycle"?' in ran.err


def test_errors_come_first(folder: Folder) -> None:
    """Of a group in a file that cannot be read nothing is known."""
    folder.write("a.yaml", HEAD + "groups:\n  - {name: A, members: []}\n  - {name: B, membres: []}\n")
    codes = [problem["code"] for problem in folder.run("validate", "--format", "json").json["problems"]]
    assert codes == ["missing-key", "unknown-key"]


def test_every_lint_has_a_setting_and_an_entry_in_the_reference() -> None:
    settings = {info.alias for info in LintsSpec.model_fields.values()}
    assert settings == {*LINTS, "permissions-missing"}
    reference = (REPOSITORY / "docs" / "reference.md").read_text()
    assert [code for code in sorted(settings) if f"| `{code}` |" not in reference] == []
    levels = {typing.get_args(info.annotation) for info in LintsSpec.model_fields.values()}
    assert len(levels) == 1


def test_the_repository_s_own_manifests_are_clean() -> None:
    ran = run_here("-C", str(REPOSITORY / "manifests"), "validate", "--no-cache")
    assert (ran.code, ran.err) == (0, "")


def test_more_identities_than_an_item_may_have_are_an_error_with_a_place(folder: Folder) -> None:
    many = ", ".join(f"user:u{number}" for number in range(5001))
    folder.write("a.yaml", HEAD + f"items:\n  - uri: x:1\n    permissions:\n      allowed: [{many}]\n")
    [problem] = folder.ok("validate", "--format", "json", code=1).json["problems"]
    assert (problem["code"], problem["line"], problem["column"]) == ("too-many-identities", 5, 7)


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "a/b",
        "../x",
        "a:b",
        "<script>",
        "\u202eabc",
        "'",
        "x" * 2000,
        "${",
        "{row.x}",
        "\u65e5\u672c",
        "%41",
        "a b",
    ],
)
def test_hostile_names(folder: Folder, name: str) -> None:
    """Names that patterns, addresses, terminals or markup could take for something else."""
    text = json.dumps(name.replace("${", "$ {"))
    folder.write(
        "a.yaml",
        HEAD + f"groups:\n  - {{name: {text}, members: []}}\n"
        f"permissions:\n  m: {{anonymous: true, denied: [{{group: {text}}}]}}\n",
    )
    assert findings(folder) == [("group-without-members", 3, 12), ("denied-nobody", 5, 41)]
    assert "\u202e" not in folder.run("validate").err


def test_a_ring_of_thousands_and_a_deep_chain(folder: Folder) -> None:
    count = 5000
    ring = "".join(f"  - {{name: r{n}, members: [group:r{(n + 1) % count}]}}\n" for n in range(count))
    chain = "".join(f"  - {{name: c{n}, members: [group:c{n + 1}]}}\n" for n in range(count))
    folder.write("a.yaml", HEAD + "groups:\n" + ring + chain + f"  - {{name: c{count}, members: []}}\n")
    assert [code for code, _, _ in findings(folder)] == ["nested-cycle", "group-without-members"]
