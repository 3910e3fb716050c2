"""Overlays: what they patch, what they may not, and that they only narrow who sees what unless they say so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import ORGANIZATION, PROVIDER_ID, SHARED_ID, SOURCE_ID, Folder, child_environment

PROJECT = f"""\
sources:
  handbook: {{id: {SOURCE_ID}, visibility: secured, provider: corp}}
  blog: {{id: {SHARED_ID}, visibility: shared}}
providers:
  corp: {{id: {PROVIDER_ID}, cascadesTo: ["Email Security Provider"]}}
vars: {{base: "https://dev.example.com"}}
environments:
  dev: {{target: emulator, organization: {ORGANIZATION}}}
  prod:
    target: emulator
    organization: {ORGANIZATION}
    vars: {{base: "https://example.com"}}
    overlays: [OVERLAYS]
guardrails: {{deletes: 100%, widenedAccess: allow}}
"""
MANIFEST = """\
defaults: {source: handbook, provider: corp}
permissions:
  staff: {allowed: [group:Staff]}
  board: {allowed: [group:Board]}
items:
  - {uri: "${base}/hr/pay", title: Pay, permissions: staff, metadata: {draft: true, owner: hr}}
  - {uri: "${base}/hr/leave", title: Leave, permissions: {allowed: [group:Staff, group:Board]}}
  - {uri: "${base}/press", title: Press, permissions: {allowed: [group:Staff], denied: [group:Interns]}}
groups:
  - {name: Staff, members: [user:alice@example.com, user:bob@example.com]}
  - {name: Board, members: [user:dora@example.com]}
  - {name: Interns, members: [user:bob@example.com]}
aliases:
  - ofEach: {membersOf: "*", type: user}
    is: [{provider: Email Security Provider, identity: "user:{name}"}]
"""
PAY, LEAVE, PRESS = (f"item/handbook/https://example.com/{name}" for name in ("hr/pay", "hr/leave", "press"))


def project(root: Path, overlay: str = "", entry: str = '"overlays/*.yaml"') -> Folder:
    made = Folder(root / "project", PROJECT.replace("OVERLAYS", entry))
    made.write("all.yaml", MANIFEST)
    if overlay:
        made.write("overlays/prod.yaml", overlay)
    return made


def planned(folder: Folder, *options: str, environment: str = "prod") -> dict[str, Any]:
    """Return what a plan would create, by address."""
    document = folder.ok("plan", "-e", environment, "--format", "json", *options).json
    return {change["address"]: change for change in document["changes"]}


def after(change: dict[str, Any]) -> Any:
    return change["after"]


def problems(folder: Folder, code: int = 1) -> list[tuple[str, int]]:
    """Return code and line of each problem in overlays."""
    found = folder.ok("validate", "-e", "prod", "--format", "json", code=code).json["problems"]
    return [(entry["code"], entry["line"]) for entry in found if "overlays/" in (entry.get("file") or "")]


def sees(folder: Folder, person: str, environment: str = "prod") -> list[str]:
    return list(folder.ok("access", "what", person, "--list", "-e", environment, "--format", "json").json["items"])


def test_fields_are_set_and_unset_where_a_pattern_matches(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        'items:\n  - {uri: "${base}/hr/*", set: {title: HR, metadata: {Status: final}}, unset: [metadata.draft]}\n',
    )
    changes = planned(folder)
    assert [after(changes[at])["doc"] for at in (LEAVE, PAY)] == [
        {"metadata": {"status": "final"}, "title": "HR"},
        {"metadata": {"owner": "hr", "status": "final"}, "title": "HR"},
    ]
    assert after(changes[PRESS])["doc"]["title"] == "Press"


def test_other_environments_know_nothing_of_it(tmp_path: Path) -> None:
    """Neither as an overlay nor, since the project's patterns match its file, as a manifest."""
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/press", exclude: true}\n')
    assert "item/handbook/https://dev.example.com/press" in planned(folder, environment="dev")
    assert PRESS not in planned(folder)
    assert len(planned(folder)) == len(planned(folder, environment="dev")) - 1


def test_who_is_denied_and_disallowed_sees_it_no_longer(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        "items:\n"
        '  - {uri: "${base}/hr/pay", deny: [user:bob@example.com]}\n'
        '  - {uri: "${base}/hr/leave", disallow: [group:staff]}\n',
    )
    assert sees(folder, "user:bob@example.com") == []
    assert sees(folder, "user:alice@example.com") == [PAY, PRESS]
    assert sees(folder, "user:dora@example.com") == [LEAVE]
    assert len(sees(folder, "user:bob@example.com", "dev")) == 2


def test_a_member_that_is_removed_takes_its_made_alias_along(tmp_path: Path) -> None:
    folder = project(tmp_path, "groups:\n  - {name: Board, remove: [user:dora@example.com]}\n")
    changes = planned(folder)
    assert after(changes["group/corp/Board"])["doc"] == {"members": []}
    aliases = [address for address in changes if address.startswith("alias/")]
    assert aliases == ["alias/corp/user:alice@example.com", "alias/corp/user:bob@example.com"]


def test_a_member_that_is_added_is_given_its_alias(tmp_path: Path) -> None:
    folder = project(tmp_path, "groups:\n  - {name: Interns, add: [user:erin@example.com]}\n")
    changes = planned(folder)
    assert after(changes["group/corp/Interns"])["doc"]["members"] == [
        "user/corp/bob@example.com",
        "user/corp/erin@example.com",
    ]
    assert "alias/corp/user:erin@example.com" in changes


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ("groups:\n  - {name: Board, add: [user:eve@example.com]}", 'lets user:eve@example.com see item "https'),
        ("groups:\n  - {name: Interns, remove: [user:bob@example.com]}", "lets user:bob@example.com see item"),
        ('items:\n  - {uri: "${base}/hr/pay", permissions: board}', "lets user:dora@example.com see item"),
        (
            'items:\n  - {uri: "${base}/**", permissions: {anonymous: true}}',
            "lets everybody, also whoever did not log in, see 3 items, such as",
        ),
    ],
)
def test_a_patch_that_widens_is_an_error_at_its_line(tmp_path: Path, patch: str, told: str) -> None:
    folder = project(tmp_path, patch + "\n")
    assert problems(folder) == [("overlay-widens", 2)]
    for command in (("plan",), ("apply", "--auto-approve"), ("access", "who", "https://example.com/press")):
        ran = folder.ok(*command, "-e", "prod", code=1)
        assert "overlays/prod.yaml:2:" in ran.err
        assert told in ran.err
    assert not planned(folder, environment="dev").keys() & {PAY}


def test_with_a_reason_it_may_and_every_plan_tells_it(tmp_path: Path) -> None:
    folder = project(
        tmp_path, "groups:\n  - {name: Board, add: [user:eve@example.com], widens: 'eve stands in for dora'}\n"
    )
    assert sees(folder, "user:eve@example.com") == [LEAVE]
    for _ in range(2):
        out = folder.ok("plan", "-e", "prod").out
        assert 'note[overlay-widened]: the patch of "Board" lets user:eve@example.com see item' in out
        assert "eve stands in for dora" in out
    assert problems(folder, 0) == [("overlay-widened", 2)]


def test_a_patch_without_a_reason_does_not_hide_behind_one_that_has_it(tmp_path: Path) -> None:
    """Eve is let into a group for one item; another patch then shows that group a second one."""
    folder = project(
        tmp_path,
        "groups:\n  - {name: Board, add: [user:eve@example.com], widens: she asked}\n"
        'items:\n  - {uri: "${base}/hr/pay", permissions: {allowed: [group:Staff, group:Board]}}\n',
    )
    assert problems(folder) == [("overlay-widened", 2), ("overlay-widens", 4)]


def test_two_patches_that_widen_only_together_are_both_told(tmp_path: Path) -> None:
    """Each frees bob of one of the two groups for which he is denied."""
    folder = project(
        tmp_path,
        "groups:\n  - {name: Interns, remove: [user:bob@example.com]}\n"
        "  - {name: Trainees, remove: [user:bob@example.com]}\n",
    )
    both = MANIFEST.replace("denied: [group:Interns]", "denied: [group:Interns, group:Trainees]")
    folder.write(
        "all.yaml", both.replace("aliases:", "  - {name: Trainees, members: [user:bob@example.com]}\naliases:")
    )
    assert problems(folder) == [("overlay-widens", 2), ("overlay-widens", 3)]


def test_reasons_for_what_two_patches_widen_only_together_are_both_told(tmp_path: Path) -> None:
    """A group that nobody is in is let in, and eve into that group."""
    folder = project(
        tmp_path,
        "groups:\n  - {name: Guests, add: [user:eve@example.com], widens: she asked}\n"
        'items:\n  - {uri: "${base}/hr/pay", permissions: {allowed: [group:Guests]}, widens: guests may}\n',
    )
    folder.write("all.yaml", MANIFEST.replace("aliases:", "  - {name: Guests, members: []}\naliases:"))
    assert problems(folder, 0) == [("overlay-widened", 2), ("overlay-widened", 4)]


def test_a_reason_for_nothing_is_a_warning(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/press", deny: [group:Board], widens: for the press}\n')
    assert problems(folder, 0) == [("overlay-widens-nothing", 2)]


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ('items:\n  - {uri: "${base}/nothing", exclude: true}', "overlay-matches-nothing"),
        ('items:\n  - {uri: "${base}/press", disallow: [group:Board]}', "overlay-matches-nothing"),
        ('items:\n  - {uri: "${base}/press", unset: [metadata.owner]}', "overlay-matches-nothing"),
        ("groups:\n  - {name: Nobody, remove: [user:eve@example.com]}", "overlay-matches-nothing"),
        ("groups:\n  - {name: Staff, remove: [user:eve@example.com]}", "overlay-matches-nothing"),
        ('items:\n  - {uri: "${base}/press", deny: [group:Nobody]}', "unknown-group"),
        ('items:\n  - {uri: "${base}/press", permissions: nobody}', "unknown-permissions"),
        ('items:\n  - {uri: "${base}/press", source: attic, exclude: true}', "unknown-source"),
        ('items:\n  - {uri: "${base}/press", titel: x, exclude: true}', "unknown-key"),
        ('items:\n  - {uri: "${base}/press", set: {metadata: {Data: x}}}', "reserved-key"),
        ('items:\n  - {uri: "${bsae}/press", exclude: true}', "undefined-variable"),
        (
            'items:\n  - {uri: "${base}/press", permissions: {allowed: [{user: a, expires: 2030-01-01}]}}',
            "overlay-expires",
        ),
        ('items:\n  - {uri: "**", exclude: false}', "bad-value"),
        ('items:\n  - {uri: "**", exclude: true, widens: null}', "bad-value"),
        ('items:\n  - {uri: "**", unset: [title, title]}', "overlay-conflict"),
        ("items:\n  - null", "wrong-type"),
        ("groups:\n  - {name: Staff, provider: nope, add: [user:a]}", "unknown-provider"),
        ("groups:\n  - {name: Staff, add: [user:bob@example.com], remove: [user:BOB@example.com]}", "overlay-conflict"),
        ("virtualGroups:\n  - {name: Staff, add: [user:a]}", "overlay-matches-nothing"),
        ("item:\n  - {}", "unknown-section"),
        ("items: {}", "wrong-type"),
        ("# nothing", "empty-file"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, patch: str, code: str) -> None:
    folder = project(tmp_path, patch + "\n")
    line = 1 if patch in ("item:\n  - {}", "items: {}", "# nothing") else 2
    assert problems(folder) == [(code, line)]


def test_nobody_can_be_kept_out_of_a_shared_source(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/post", deny: [user:bob@example.com]}\n')
    folder.write("blog.yaml", 'items:\n  - {uri: "${base}/post", source: blog}\n')
    assert problems(folder) == [("overlay-shared-source", 2)]
    folder.write("overlays/prod.yaml", 'items:\n  - {uri: "${base}/post", set: {title: Post}}\n')
    assert after(planned(folder)["item/blog/https://example.com/post"])["doc"]["title"] == "Post"


def test_an_item_without_permissions_has_none_to_narrow(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/post", deny: [user:bob@example.com]}\n')
    folder.write("blog.yaml", 'items:\n  - {uri: "${base}/post", source: blog}\n')
    text = (folder.root / "reconciler.yaml").read_text()
    (folder.root / "reconciler.yaml").write_text(text.replace("visibility: shared", "visibility: private"))
    assert problems(folder) == [("overlay-no-permissions", 2)]


def test_patches_that_contradict_each_other_are_an_error_in_any_order(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/press", set: {title: One}}\n')
    folder.write("overlays/other.yaml", 'items:\n  - {uri: "${base}/*", set: {title: Two}}\n')
    ran = folder.ok("validate", "-e", "prod", code=1)
    assert "error[overlay-conflict]" in ran.err
    folder.write("overlays/other.yaml", 'items:\n  - {uri: "${base}/*", exclude: true}\n')
    assert "whether the item is there" in folder.ok("validate", "-e", "prod", code=1).err
    folder.write("overlays/other.yaml", 'items:\n  - {uri: "${base}/*", set: {title: One}}\n')
    folder.ok("validate", "-e", "prod")


def test_true_and_1_contradict_each_other(tmp_path: Path) -> None:
    """Python holds them to be equal, and the order of patches would decide."""
    line = '  - {uri: "${base}/press", set: {metadata: {n: VALUE}}}\n'
    folder = project(tmp_path, f"items:\n{line.replace('VALUE', 'true')}{line.replace('VALUE', '1')}")
    assert problems(folder) == [("overlay-conflict", 3)]


def test_a_pattern_that_finds_no_overlay_is_an_error(tmp_path: Path) -> None:
    ran = project(tmp_path).ok("validate", "-e", "prod", code=1)
    assert "error[no-overlays]" in ran.err


SCOPED = '{files: "overlays/*.yaml", scope: {uris: ["${base}/hr/**"], groups: ["In*"]}}'


@pytest.mark.parametrize(
    ("patch", "found"),
    [
        ('items:\n  - {uri: "${base}/hr/*", deny: [user:bob@example.com]}', []),
        ('items:\n  - {uri: "${base}/**", deny: [user:bob@example.com]}', [("overlay-beyond-scope", 2)]),
        ("groups:\n  - {name: Interns, add: [user:alice@example.com]}", []),
        ("groups:\n  - {name: Staff, remove: [user:alice@example.com]}", [("overlay-beyond-scope", 2)]),
    ],
)
def test_a_scope_holds_what_a_team_may_patch(tmp_path: Path, patch: str, found: list[tuple[str, int]]) -> None:
    assert problems(project(tmp_path, patch + "\n", SCOPED), 1 if found else 0) == found


def test_how_a_patch_spells_a_group_does_not_widen_its_scope(tmp_path: Path) -> None:
    entry = '{files: "overlays/*.yaml", scope: {groups: ["b*"]}}'
    patch = "groups:\n  - {name: board, remove: [user:dora@example.com]}\n"
    assert problems(project(tmp_path, patch, entry)) == [("overlay-beyond-scope", 2)]


def test_a_scope_of_sources_holds_items_of_others_out(tmp_path: Path) -> None:
    entry = '{files: "overlays/*.yaml", scope: {sources: [blog]}}'
    patch = 'items:\n  - {uri: "${base}/press", deny: [user:bob@example.com]}\n'
    assert problems(project(tmp_path, patch, entry)) == [("overlay-beyond-scope", 2)]
    wrong = project(tmp_path / "wrong", patch, entry.replace("blog", "attic"))
    assert "error[unknown-source]" in wrong.ok("validate", "-e", "prod", code=1).err


def test_a_file_of_two_entries_is_held_to_both(tmp_path: Path) -> None:
    patch = 'items:\n  - {uri: "${base}/press", deny: [user:bob@example.com]}\n'
    assert problems(project(tmp_path, patch, f'"overlays/*.yaml", {SCOPED}')) == [("overlay-beyond-scope", 2)]


def test_an_overlay_that_may_not_widen_needs_no_reason(tmp_path: Path) -> None:
    entry = '{files: "overlays/*.yaml", mayWiden: false}'
    patch = "groups:\n  - {name: Board, add: [user:eve@example.com], widens: 'I say so'}\n"
    assert problems(project(tmp_path, patch, entry)) == [("overlay-may-not-widen", 2)]
    plain = project(tmp_path / "plain", patch.replace(", widens: 'I say so'", ""), entry)
    assert problems(plain) == [("overlay-widens", 2)]


def test_what_is_applied_is_what_is_patched_and_stays_so(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/hr/pay", deny: [user:bob@example.com]}\n')
    folder.ok("apply", "-e", "prod", "--auto-approve")
    for options in ((), ("--no-cache",), ()):
        assert planned(folder, *options) == {}
    folder.write("overlays/prod.yaml", 'items:\n  - {uri: "${base}/hr/pay", set: {title: Wages}}\n')
    changes = planned(folder)
    assert list(changes) == [PAY]
    assert after(changes[PAY])["doc"]["title"] == "Wages"
    assert b"denied" not in orjson.dumps(after(changes[PAY])["shared"])
    (folder.root / "overlays" / "prod.yaml").unlink()
    assert "no-overlays" in folder.ok("plan", "-e", "prod", code=1).err


def test_bodies_of_patched_items_are_sent(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/note", set: {title: Note}}\n')
    folder.write(
        "note.yaml",
        'defaults: {source: handbook, permissions: staff}\nitems:\n  - {uri: "${base}/note", body: {text: hello}}\n',
    )
    saved = folder.root / "plan.json"
    folder.ok("plan", "-e", "prod", "--out", str(saved))
    folder.ok("apply", str(saved), "-e", "prod", "--auto-approve")
    folder.ok("verify", "-e", "prod")


def test_lints_look_at_what_overlays_make_of_it(tmp_path: Path) -> None:
    folder = project(tmp_path, "groups:\n  - {name: Board, remove: [user:dora@example.com]}\n")

    def lints(environment: str) -> list[str]:
        found = folder.ok("validate", "-e", environment, "--format", "json").json["problems"]
        return [entry["code"] for entry in found if "Board" in entry["what"]]

    assert (lints("prod"), lints("dev")) == (["group-without-members"], [])


def test_well_knowns_come_along_to_an_alias_that_is_made(tmp_path: Path) -> None:
    folder = project(tmp_path, "groups:\n  - {name: Interns, add: [user:erin@example.com]}\n")
    folder.write("erin.yaml", "users:\n  - {name: erin@example.com, wellKnowns: [group:Interns]}\n")
    alias = planned(folder)["alias/corp/user:erin@example.com"]
    assert after(alias)["shared"] == {"wellKnowns": ["group/corp/Interns"]}


def test_nobody_who_has_no_overlays_waits_for_them(tmp_path: Path) -> None:
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/press", exclude: true}\n')
    code = (
        "import sys; from reconciler.cli.main import run; run(sys.argv[1:]);"
        "print([name for name in sys.modules if 'manifest.overlay' in name], file=sys.stderr)"
    )
    for environment, last in (("dev", "[]"), ("prod", "reconciler.manifest.overlaycheck")):
        done = subprocess.run(
            [sys.executable, "-c", code, "-C", str(folder.root), "plan", "-e", environment],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert last in done.stderr.splitlines()[-1]


def test_what_was_tried_in_one_environment_goes_to_the_next(tmp_path: Path) -> None:
    """The promotion of docs/reference.md: the item waits in production until its patch is taken out."""
    folder = project(tmp_path, 'items:\n  - {uri: "${base}/press", exclude: true}\n')
    compare = ("diff", "--env", "dev", "--env", "prod", "--format", "json", "--exit-code")
    for environment in ("dev", "prod"):
        saved = folder.root / f"{environment}.plan"
        folder.ok("plan", "-e", environment, "--out", str(saved))
        folder.ok("apply", "-e", environment, str(saved), "--auto-approve")
        folder.ok("verify", "-e", environment)
    assert folder.ok(*compare, code=3).json["only_from"] == ["item/handbook/https://dev.example.com/press"]
    folder.write("overlays/prod.yaml", "items: []\n")
    assert list(planned(folder)) == [PRESS]
    folder.ok("apply", "-e", "prod", "--auto-approve")
    assert folder.ok(*compare).json["only_from"] == []


def test_blame_names_the_line_of_the_patch(tmp_path: Path) -> None:
    folder = project(tmp_path, "items: []\n")
    folder.ok("apply", "-e", "prod", "--auto-approve")
    folder.write(
        "overlays/prod.yaml",
        'items:\n  - uri: "${base}/hr/pay"\n    set:\n      title: Wages\n    unset:\n      - metadata.draft\n'
        "    deny: [user:bob@example.com]\n"
        "groups:\n  - name: Board\n    remove: [user:dora@example.com]\n",
    )
    found = folder.ok("plan", "-e", "prod", "--blame", "--format", "json").json["blame"]["origins"]
    told = {(entry["address"], *entry["path"]): entry["line"] for entry in found if "overlays/" in entry["file"]}
    assert told == {
        (PAY, "title"): 4,
        (PAY, "metadata", "draft"): 6,
        (PAY, "permissions"): 7,
        ("group/corp/Board", "members"): 10,
    }
