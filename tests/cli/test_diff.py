"""`reconciler diff`: two environments side by side, from the files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler import schemas
from tests.builders import Folder

PROJECT = """\
sources:
  handbook: {id: devhandbook, provider: corp}
  blog: {id: devblog, visibility: shared}
providers:
  corp: {id: devcorp}
vars: {base: "https://staging.example.com", team: dev}
environments:
  staging: {organization: acmestaging, state: "postgresql://nowhere.invalid/reconciler"}
  prod:
    organization: acmeprod
    vars: {base: "https://example.com"}
    sources: {handbook: {id: handbook}, blog: {id: blog}}
    providers: {corp: {id: corp}}
"""
MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: "${base}/a", title: A, clickableUri: "${base}/a?from=search", permissions: {allowed: ["group:${team}"]}}
  - {uri: "${base}/b", title: B, permissions: {allowed: [group:Staff]}}
  - {uri: "file:///c", title: C, permissions: {allowed: [group:Staff]}}
groups:
  - {name: "${team}", members: [user:alice@example.com]}
  - {name: Staff, members: [user:bob@example.com]}
"""
OVERLAY = """\
items:
  - {uri: "${base}/b", set: {title: Bee}, permissions: {allowed: [user:bob@example.com]}}
  - {uri: "file:///c", exclude: true}
groups:
  - {name: Staff, add: [user:eve@example.com], widens: she stands in}
"""
A, B, C = "item/handbook/https://example.com/a", "item/handbook/https://example.com/b", "item/handbook/file:///c"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "project", PROJECT)
    made.write("all.yaml", MANIFEST)
    return made


def compared(folder: Folder, *options: str, code: int = 0, pair: tuple[str, str] = ("staging", "prod")) -> Any:
    first, second = pair
    found = folder.ok("diff", "--env", first, "--env", second, "--format", "json", *options, code=code).json
    REPORT.validate(found)
    return found


REPORT = jsonschema.Draft202012Validator(schemas.SCHEMAS["diff"]())


def overlaid(folder: Folder, text: str = OVERLAY) -> Folder:
    path = folder.root / "reconciler.yaml"
    folder.write("reconciler.yaml", path.read_text() + '    overlays: ["overlays/*.yaml"]\n')
    folder.write("overlays/prod.yaml", text)
    return folder


def test_what_only_variables_and_ids_make_differ_is_no_difference(folder: Folder) -> None:
    found = compared(folder, "--exit-code")
    assert [found[key] for key in ("only_from", "only_to", "differing")] == [[], [], []]
    former = "item/handbook/https://staging.example.com"
    assert found["by_variables"] == [
        {"from_address": f"{former}/a", "address": A},
        {"from_address": f"{former}/b", "address": B},
    ]
    assert found["settings"] == [
        {"what": "variable", "name": "base", "from": "https://staging.example.com", "to": "https://example.com"}
    ]
    assert (found["equal"], found["access"]["gained"], found["access"]["lost"]) == (3, [], [])


def test_overlays_differ_by_address_and_field_and_by_who_sees_what(folder: Folder) -> None:
    found = compared(overlaid(folder), "--exit-code", code=3)
    assert (found["only_from"], found["only_to"]) == ([C], [])
    by_address = {entry["address"]: entry for entry in found["differing"]}
    assert sorted(by_address) == ["group/corp/Staff", B]
    assert [(entry["path"], entry["from"], entry["to"]) for entry in by_address[B]["fields"]][1] == (
        ["title"],
        "B",
        "Bee",
    )
    assert by_address[B]["from_address"] == "item/handbook/https://staging.example.com/b"
    assert [(entry["examples"], entry["identities"]) for entry in found["access"]["lost"]] == [
        ([C], ["user/corp/bob@example.com"])
    ]
    # Eve joins Staff, which sees nothing here any more.
    assert found["access"]["gained"] == []
    assert not REPORT.is_valid({**found, "differing": [{"address": "nowhere"}]})


def test_the_other_way_round_is_the_mirror_image(folder: Folder) -> None:
    one, other = compared(overlaid(folder)), compared(folder, pair=("prod", "staging"))
    assert (one["only_from"], one["only_to"]) == (other["only_to"], other["only_from"])
    assert [len(one[key]) for key in ("differing", "by_variables")] == [
        len(other[key]) for key in ("differing", "by_variables")
    ]
    assert one["access"]["totals"]["pairs_lost"] == other["access"]["totals"]["pairs_gained"] == 1


def test_people_that_a_variable_names_see_what_others_do_not(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST.replace("user:alice@example.com", "'user:alice@${team}.example.com'"))
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace('vars: {base: "https://example.com"}', "vars: {team: live}"))
    found = compared(folder, "--exit-code", code=3)
    assert found["differing"] == []
    assert [entry["identities"] for entry in found["access"]["gained"]] == [["user/corp/alice@live.example.com"]]
    assert [entry["identities"] for entry in found["access"]["lost"]] == [["user/corp/alice@dev.example.com"]]


def test_an_overlay_that_spells_a_uri_out_is_compared_all_the_same(folder: Folder) -> None:
    path = folder.root / "reconciler.yaml"
    path.write_text(
        path.read_text().replace(
            "organization: acmestaging,", 'organization: acmestaging, overlays: ["overlays/s.yaml"],'
        )
    )
    folder.write("overlays/s.yaml", 'items:\n  - {uri: "https://staging.example.com/b", set: {title: Bee}}\n')
    found = compared(folder)
    assert "https://staging.example.com/b" in found["unsplit"]
    assert {B, A} <= {entry["address"] for entry in found["differing"]}


def test_a_setting_of_a_source_is_more_than_a_variable(folder: Folder) -> None:
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("{id: handbook}", "{id: handbook, exclusive: true}"))
    found = compared(folder, "--exit-code", code=3)
    assert {"what": "source", "name": "handbook.exclusive", "from": "false", "to": "true"} in found["settings"]
    out = folder.ok("diff", "--env", "staging", "--env", "prod").out
    assert "From staging to prod: 1 setting not alike;" in out


def test_a_source_that_everybody_sees_in_one_environment_is_told(folder: Folder) -> None:
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("{id: handbook}", "{id: handbook, visibility: shared}"))
    found = compared(folder, "--exit-code", code=3)
    assert {"what": "source", "name": "handbook.visibility", "from": "secured", "to": "shared"} in found["settings"]
    assert [entry["public"] for entry in found["access"]["gained"]] == [True, True]


def test_text_and_markdown_say_the_same(folder: Folder) -> None:
    arguments = ("diff", "--env", "staging", "--env", "prod")
    out = overlaid(folder).ok(*arguments).out
    assert out.startswith(
        "From staging to prod: 2 differ, 1 only in staging; 1 resource alike, 1 but for variables.\n"
        "variable base: https://staging.example.com -> https://example.com\n"
        f"- {C} (only in staging)\n"
        "~ group/corp/Staff\n"
        "    members: +user:eve@example.com (corp)\n"
        f"~ {B} (from item/handbook/https://staging.example.com/b)\n"
    )
    assert '    title: "B" -> "Bee"\n' in out
    markdown = folder.ok(*arguments, "--format", "markdown").out
    assert markdown.startswith("### From `staging` to `prod`\n\n**2 differ, 1 only in staging;")
    assert [line for line in markdown.splitlines() if line.startswith("#### ")] == [
        *("#### Settings", "#### Resources", "#### Access")
    ]
    assert f"~ {B}" in markdown


def test_what_is_hostile_stays_in_its_fence(folder: Folder) -> None:
    overlaid(folder, 'items:\n  - {uri: "file:///c", set: {title: "```\\n<script>\\e[31m"}}\n')
    markdown = folder.ok("diff", "--env", "staging", "--env", "prod", "--format", "markdown").out
    assert "\x1b" not in markdown
    assert "````diff" in markdown


def test_nothing_is_written_and_no_state_is_opened(folder: Folder) -> None:
    """The state of staging is at a host that does not exist."""
    before = sorted(path.name for path in folder.root.iterdir())
    compared(folder)
    assert sorted(path.name for path in folder.root.iterdir()) == before


@pytest.mark.parametrize("named", [(), ("prod",), ("prod", "prod"), ("prod", "staging", "prod")])
def test_two_environments_are_named(folder: Folder, named: tuple[str, ...]) -> None:
    options = [option for name in named for option in ("--env", name)]
    assert "error[two-environments]" in folder.ok("diff", *options, code=2).err


def test_an_environment_that_is_unknown_or_wrong_is_refused(folder: Folder) -> None:
    assert "error[unknown-environment]" in folder.ok("diff", "--env", "prod", "--env", "live", code=2).err
    folder.write("all.yaml", MANIFEST + "  - {nam: x}\n")
    assert "all.yaml:" in folder.ok("diff", "--env", "prod", "--env", "staging", code=1).err


def test_the_environment_that_was_chosen_is_the_first(folder: Folder) -> None:
    assert (
        compared(folder)["from"] == folder.ok("diff", "-e", "staging", "--env", "prod", "--format", "json").json["from"]
    )
