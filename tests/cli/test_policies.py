"""Policies as code: every plan is held against them, and again at the moment that it is applied."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.policies.schema import policy_input_schema
from tests.builders import PROJECT, REPOSITORY, SOURCE_ID, Folder, Remote

EXAMPLES = REPOSITORY / "docs" / "policies"
FRIDAY, MONDAY = "2026-11-20", "2026-11-23"

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///open", permissions: {anonymous: true}}
  - {uri: "file:///closed", permissions: {allowed: [user:a@example.com]}}
"""
CLOSED = MANIFEST.replace("{anonymous: true}", "{allowed: [user:a@example.com]}")
NO_ANONYMOUS = """\
package reconciler.access

deny contains {"msg": "everybody would see it", "address": change.address, "code": "no-anonymous"} if {
	some change in input.changes
	some level in change.after.permissions.levels
	some set in level.sets
	set.anonymous
}
"""
# Only while something is made: a plan is for no moment.
NEVER_APPLY = 'package reconciler.never\n\ndeny contains "not today" if input.phase == "apply"\n'


def items(remote: Remote) -> dict[str, Any]:
    held: dict[str, Any] = remote.contents()["items"]
    return dict(held.get(SOURCE_ID, {}))


@pytest.fixture
def governed(tmp_path: Path) -> Folder:
    """A project with one policy; what it plans, the policy denies."""
    folder = Folder(tmp_path / "project", f"{PROJECT}policies: policies\n")
    folder.write("all.yaml", MANIFEST)
    folder.write("policies/access.rego", NO_ANONYMOUS)
    return folder


def test_a_denial_stands_at_the_line_of_what_it_is_about_and_names_the_rule(governed: Folder) -> None:
    ran = governed.ok("plan", code=1)
    assert (
        "all.yaml:4:11: error[policy-denied]: item/handbook/file:///open: everybody would see it (no-anonymous)\n"
        "  see: policies/access.rego:3:1: the policy's rule\n"
    ) in ran.out
    assert "file:///closed: everybody" not in ran.out


def test_a_denied_plan_is_a_problem_and_no_pending_change(governed: Folder) -> None:
    governed.ok("plan", "--exit-code", code=1)


def test_a_denial_stands_in_every_report(governed: Folder, tmp_path: Path) -> None:
    forms = ("sarif", "comment", "annotations")
    governed.ok("plan", *(word for form in forms for word in ("--report", f"{form}={tmp_path / form}")), code=1)
    [result] = [
        entry
        for entry in json.loads((tmp_path / "sarif").read_text())["runs"][0]["results"]
        if entry["ruleId"] == "policy-denied"
    ]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 4
    assert all("policy-denied" in (tmp_path / form).read_text() for form in forms)


@pytest.mark.parametrize("form", ["markdown", "html", "json"])
def test_a_denial_is_told_in_every_form(governed: Folder, form: str) -> None:
    ran = governed.ok("plan", "--format", form, code=1)
    assert "policy-denied" in ran.out
    assert "everybody would see it" in ran.out


def test_a_denied_plan_is_not_applied(governed: Folder, remote: Remote) -> None:
    ran = governed.at(remote).ok("apply", "--auto-approve", code=1)
    assert "error[policy-denied]" in ran.err
    assert items(remote) == {}


def test_what_satisfies_the_policies_is_applied(governed: Folder, remote: Remote) -> None:
    governed.write("all.yaml", CLOSED)
    governed.at(remote).ok("apply", "--auto-approve")
    assert len(items(remote)) == 2
    assert "policy" not in governed.ok("plan").out


def test_a_warning_stops_nothing(governed: Folder, remote: Remote) -> None:
    governed.write("policies/access.rego", 'package a\n\nwarn contains "look twice" if input.summary.create > 1\n')
    ran = governed.at(remote).ok("apply", "--auto-approve")
    assert "policies/access.rego:3:1: warning[policy-warned]: look twice (a)" in ran.out


def test_a_saved_plan_that_was_denied_stays_so(governed: Folder, remote: Remote, tmp_path: Path) -> None:
    """Neither taking the policy away nor a policy that is content now makes good what was reviewed as denied."""
    file = str(tmp_path / "plan.json")
    governed.at(remote).ok("plan", "--out", file, code=1)
    governed.write("policies/access.rego", 'package a\n\ndeny contains "x" if input.summary.delete > 0\n')
    assert "error[policy-denied]" in governed.ok("apply", file, "--auto-approve", code=1).err
    assert items(remote) == {}


def test_a_saved_plan_must_satisfy_the_policies_of_today(governed: Folder, remote: Remote, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    governed.write("all.yaml", CLOSED)
    governed.at(remote).ok("plan", "--out", file)
    governed.write("policies/never.rego", NEVER_APPLY)
    ran = governed.ok("apply", file, "--auto-approve", code=1)
    assert "policies/never.rego:3:1: error[policy-denied]: not today (never)" in ran.err
    assert items(remote) == {}


def test_policies_are_asked_again_after_somebody_thought_about_it(
    governed: Folder, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def approve(_approval: object) -> None:
        governed.write("policies/never.rego", NEVER_APPLY)

    monkeypatch.setattr("reconciler.cli.applying._approve", approve)
    governed.write("all.yaml", CLOSED)
    ran = governed.at(remote).ok("apply", code=1)
    assert "error[policy-denied]: not today (never)" in ran.err
    assert items(remote) == {}


def test_destroy_and_rollback_are_held_to_policies_as_well(governed: Folder, remote: Remote) -> None:
    governed.write("all.yaml", CLOSED)
    governed.at(remote).ok("apply", "--auto-approve")
    governed.write("policies/no.rego", 'package no\n\ndeny contains "nothing goes" if input.summary.delete > 0\n')
    assert "nothing goes (no)" in governed.ok("destroy", "--auto-approve", code=1).err
    assert "nothing goes (no)" in governed.ok("rollback", "--access-only", "--created", code=1).out
    assert len(items(remote)) == 2


# -- denials that may be overridden -----------------------------------------------------------------


@pytest.fixture
def calendar(governed: Folder, remote: Remote) -> Folder:
    """A project under the calendar of the examples, whose next plan deletes something."""
    governed.write("all.yaml", CLOSED)
    governed.at(remote).ok("apply", "--auto-approve")
    shutil.copy(EXAMPLES / "calendar.rego", governed.root / "policies")
    governed.write("all.yaml", "\n".join(CLOSED.splitlines()[:4]) + "\n")
    return governed


def test_a_denial_that_may_be_overridden_is_a_hazard_by_its_code(calendar: Folder) -> None:
    shown = calendar.ok("plan", "--as-of", FRIDAY).out
    assert "! policy:quiet-days: 1 deletions on a Friday" in shown
    assert "add --allow policy:quiet-days" in shown
    assert "policy:quiet-days (allowed)" in calendar.ok("plan", "--as-of", FRIDAY, "--allow", "policy:quiet-days").out
    assert "quiet-days" not in calendar.ok("plan", "--as-of", MONDAY).out


def test_a_plan_without_a_moment_is_for_no_day(calendar: Folder) -> None:
    """So that the same plan has the same bytes on a Friday."""
    assert "quiet-days" not in calendar.ok("plan").out


def test_a_day_counts_when_a_plan_is_applied(calendar: Folder, remote: Remote) -> None:
    calendar.write("policies/calendar.rego", (EXAMPLES / "calendar.rego").read_text().replace('"Sunday"', EVERY_DAY))
    ran = calendar.ok("apply", "--auto-approve", code=1)
    assert "error[hazard-policy]: 1 deletions on a " in ran.err
    assert len(items(remote)) == 2
    calendar.ok("apply", "--auto-approve", "--allow", "policy:quiet-days")
    assert len(items(remote)) == 1


EVERY_DAY = '"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday"'


def test_what_was_allowed_in_a_saved_plan_is_allowed_when_it_is_applied(
    calendar: Folder, remote: Remote, tmp_path: Path
) -> None:
    file = str(tmp_path / "plan.json")
    calendar.write("policies/calendar.rego", (EXAMPLES / "calendar.rego").read_text().replace('"Sunday"', EVERY_DAY))
    calendar.ok("plan", "--as-of", FRIDAY, "--allow", "policy:quiet-days", "--out", file)
    calendar.ok("apply", file, "--auto-approve")
    assert len(items(remote)) == 1


# -- policies that say nothing allow nothing --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "package a\n\ndeny contains msg if { msg := }\n",
            "policies/a.rego:3:28: error[policy-syntax]: this is no Rego",
        ),
        ("deny contains 1 if true\n", "policies/a.rego:1:1: error[policy-syntax]: the policy names no package"),
        (
            "package a\n\ndeny contains msg if {\n\tmsg := lower_case(input.phase)\n}\n",
            "policies/a.rego:4:1: error[policy-error]: a.deny cannot be evaluated: Function not found: lower_case",
        ),
        (
            "package a\n\nx := 1\n\ndeny contains msg if { msg := to_number(input.phase) }\n",
            "policies/a.rego:5:1: error[policy-error]: a.deny cannot be evaluated: invalid syntax",
        ),
        (
            "package a\n\ndeny contains x if { some x in deny }\n",
            "error[policy-error]: a.deny cannot be evaluated: Recursion",
        ),
        ("package a\n\ndeny contains 3 if true\n", "policies/a.rego:3:1: error[policy-result]: a.deny says something"),
        ('package a\n\ndeny contains {"msg": 3} if true\n', "has a `msg` that is not a str"),
        ("package a\n\ndeny contains http.send({}) if true\n", "a.rego:3:15: error[policy-forbidden-call]"),
        ("package a\n\ndeny contains opa[`runtime`]().env if true\n", "a.rego:3:15: error[policy-forbidden-call]"),
        ('package a\n\ndeny contains "x" if time.now_ns() > 0\n', "a policy may not call time.now_ns"),
        ('package a\n\ndeny contains "x" if count(data.a.b) > 0 with input as {}\n', "may not replace its input"),
    ],
)
def test_a_policy_that_cannot_be_evaluated_stops_the_plan(governed: Folder, text: str, told: str) -> None:
    governed.write("all.yaml", CLOSED)
    governed.write("policies/a.rego", text)
    ran = governed.ok("plan", code=1)
    assert told in ran.out


def test_a_policy_that_does_not_end_is_ended(governed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.policies.engine.evaluate.__kwdefaults__", {"seconds": 1})
    governed.write("policies/a.rego", f'package a\n\ndeny contains "x" if regex.match(`^(a+)+$`, "{"a" * 40}b")\n')
    assert "error[policy-timeout]: the policies did not come to an end within 1 s" in governed.ok("plan", code=1).out


def test_of_a_plan_that_is_denied_all_over_some_is_told_though_the_time_runs_out(
    governed: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine takes the square of the time for a set; the plan stays denied, and it is said what for."""
    monkeypatch.setattr("reconciler.policies.engine.evaluate.__kwdefaults__", {"seconds": 3})
    held = [{"uri": f"file:///{number}", "permissions": {"anonymous": True}} for number in range(3000)]
    governed.write("all.yaml", json.dumps({"defaults": {"source": "handbook", "provider": "corp"}, "items": held}))
    document = governed.ok("plan", "--format", "json", code=1).json
    codes = Counter(problem["code"] for problem in document["problems"] if problem["severity"] == "error")
    assert codes == {"policy-denied": 100, "policy-timeout": 1}


def test_a_folder_without_policies_is_no_permission(governed: Folder) -> None:
    (governed.root / "policies/access.rego").rename(governed.root / "policies/access.rego.bak")
    assert 'error[no-policies]: no policy in "policies" has a rule' in governed.ok("plan", code=1).out
    governed.write("policies/access.rego", 'package a\n\ndenied contains "x" if true\n')
    assert "error[no-policies]" in governed.ok("plan", code=1).out


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", ".", "polic*"])
def test_policies_stay_in_a_folder_of_their_own(tmp_path: Path, folder: str) -> None:
    project = Folder(tmp_path / "project", f'{PROJECT}policies: "{folder}"\n')
    project.write("all.yaml", CLOSED)
    ran = project.ok("plan", code=1)
    assert "error[bad-policies]" in ran.err or "error[path-outside]" in ran.err


def test_a_link_out_of_the_project_is_not_followed(governed: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"key": "xx-secret"}')
    (governed.root / "policies/secret.json").symlink_to(tmp_path / "secret.json")
    ran = governed.ok("plan", code=1)
    assert "error[path-outside]" in ran.out
    assert "xx-secret" not in ran.out + ran.err


def test_a_link_to_a_folder_of_policies_is_an_error(governed: Folder) -> None:
    """Links to folders are not followed: its policies would be passed over without a word."""
    governed.write("all.yaml", CLOSED)
    governed.write("strict/never.rego", NO_ANONYMOUS.replace(".access", ".strict"))
    (governed.root / "policies" / "strict").symlink_to(governed.root / "strict")
    out = governed.ok("plan", code=1).out
    assert 'error[bad-policies]: "policies/strict" is a link to a folder' in out


def test_the_environment_is_not_known_to_policies(governed: Folder) -> None:
    """The engine has a call that tells it; refused by name, and empty all the same where the name is made up."""
    governed.write("all.yaml", CLOSED)
    governed.write("policies/a.rego", 'package a\n\no := opa\n\ndeny contains json.marshal(o["runt", "ime"]) if true\n')
    ran = governed.run("plan")
    assert "canary" not in ran.out + ran.err


def test_validate_tells_what_the_texts_of_policies_show(governed: Folder) -> None:
    governed.ok("validate")
    governed.write("policies/a.rego", "package a\n\ndeny contains http.send({}) if true\n")
    assert "policies/a.rego:3:15: error[policy-forbidden-call]" in governed.ok("validate", code=1).err


# -- data, input and tests ---------------------------------------------------------------------------


def test_data_beside_the_policies_is_no_manifest_and_is_known_by_its_path(governed: Folder) -> None:
    governed.write("all.yaml", CLOSED)
    governed.write("policies/hr/limits.yaml", "creates: 1\n")
    governed.write(
        "policies/a.rego", 'package a\n\ndeny contains "too many" if input.summary.create > data.hr.limits.creates\n'
    )
    assert "error[policy-denied]: too many (a)" in governed.ok("plan", code=1).out


def test_the_input_is_as_published(governed: Folder) -> None:
    document = governed.ok("policy", "input", "--as-of", FRIDAY).json
    jsonschema.Draft202012Validator(policy_input_schema()).validate(document)
    assert (document["phase"], document["weekday"], document["as_of"]) == ("plan", "Friday", "2026-11-20T00:00:00Z")
    opened = next(entry for entry in document["changes"] if entry["name"] == "file:///open")
    assert opened["file"] == "all.yaml"
    assert opened["after"]["permissions"] == {"levels": [{"sets": [{"anonymous": True}]}]}
    assert "as_of" not in governed.ok("policy", "input").json


def test_a_second_plan_of_the_same_is_denied_as_well(governed: Folder) -> None:
    """The first is kept, and its manifests are not read again for it."""
    assert governed.ok("plan", code=1).out == governed.ok("plan", code=1).out


def test_an_environment_may_have_policies_of_its_own(tmp_path: Path) -> None:
    project = PROJECT.replace("target: emulator,", "target: emulator, policies: strict,")
    folder = Folder(tmp_path / "project", f"{project}policies: policies\n")
    folder.write("all.yaml", CLOSED)
    folder.write("policies/a.rego", 'package a\n\ndeny contains "lax" if true\n')
    folder.write("strict/a.rego", 'package a\n\ndeny contains "strict" if true\n')
    shown = folder.ok("plan", code=1).out
    assert "strict (a)" in shown
    assert "lax" not in shown


def test_the_examples_hold_their_tests(governed: Folder) -> None:
    shutil.rmtree(governed.root / "policies")
    shutil.copytree(EXAMPLES, governed.root / "policies")
    ran = governed.ok("policy", "test")
    assert ran.out.endswith("11 tests, 0 failed; 3 policy files.\n")
    assert all(test["passed"] for test in governed.ok("policy", "test", "--format", "json").json["tests"])


def test_what_the_documentation_shows_works(governed: Folder) -> None:
    text = (REPOSITORY / "docs" / "policies.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```rego\n(.*?)```", text, re.DOTALL)
    governed.write("policies/access.rego", shown)
    assert "would be seen by everybody (no-anonymous)" in governed.ok("plan", code=1).out
    [*_, test] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    shutil.copy(EXAMPLES / "calendar.rego", governed.root / "policies")
    governed.write("policies/shown.test.yaml", test)
    assert governed.ok("policy", "test").out.endswith("1 test, 0 failed; 2 policy files.\n")


def test_every_code_of_policies_is_documented() -> None:
    text = (REPOSITORY / "docs" / "policies.md").read_text(encoding="utf-8")
    package = REPOSITORY / "reconciler" / "policies"
    sources = "".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    codes = set(re.findall(r'"((?:bad-)?polic(?:y|ies)-[a-z-]+|no-policies|bad-policies)"', sources))
    assert len(codes) > 10
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_a_policy_test_that_fails_is_told(governed: Folder) -> None:
    governed.write(
        "policies/a.test.yaml",
        "- {name: nothing is new, package: reconciler.access, input: {}, deny: [no-anonymous]}\n",
    )
    ran = governed.ok("policy", "test", code=1)
    assert ran.out.startswith("FAILED reconciler.access: nothing is new\n")
    assert '"nothing is new" fails: reconciler.access denies nothing, not no-anonymous' in ran.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b\n", "the file is no list of tests"),
        ("- {name: a, package: reconciler.access}\n", 'test 1 has no "input"'),
        (
            "- {name: a, package: reconciler.acess, input: {}}\n",
            'is about package "reconciler.acess", which no policy has',
        ),
        (
            "- {name: a, package: reconciler.access, input: {}, denies: []}\n",
            'has a key "denies" that tests do not have',
        ),
    ],
)
def test_a_policy_test_that_is_misspelt_is_an_error(governed: Folder, text: str, told: str) -> None:
    governed.write("policies/a.test.yaml", text)
    assert told in governed.ok("policy", "test", code=1).err


def test_owners_are_those_of_the_commit(governed: Folder) -> None:
    shutil.copy(EXAMPLES / "owners.rego", governed.root / "policies")
    governed.write("all.yaml", CLOSED)
    governed.write("policies/owners.yaml", "- {files: '*.yaml', uris: x, owners: [grace@example.com]}\n")

    def commit(author: str) -> None:
        who = ("-c", "user.name=X", "-c", f"user.email={author}")
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "--allow-empty", "-m", "x")):
            subprocess.run(["git", "-C", str(governed.root), *who, *words], check=True)

    commit("bob@example.com")
    assert "the commit is by bob@example.com (not-the-owner)" in governed.ok("plan", code=1).out
    commit("grace@example.com")
    assert "not-the-owner" not in governed.ok("plan").out
    governed.write("all.yaml", CLOSED + "  - {uri: 'file:///more', permissions: {allowed: [user:b@example.com]}}\n")
    assert "not-the-owner" in governed.ok("plan", code=1).out


HOSTILE = '"]}} deny := set() # \\" \u2028 \t %s %d `x` é</script> \\'


def test_hostile_titles_change_no_verdict(governed: Folder) -> None:
    """Quotes, escapes and Rego in a title stay a title, and come out as they went in."""
    permissions = {"anonymous": True}
    held = [{"uri": f"file:///{number}", "title": HOSTILE, "permissions": permissions} for number in (1, 2)]
    governed.write("all.yaml", json.dumps({"defaults": {"source": "handbook", "provider": "corp"}, "items": held}))
    governed.write("policies/access.rego", NO_ANONYMOUS.replace('"everybody would see it"', "change.after.title"))
    governed.write("policies/b.rego", 'package b\n\nwarn contains sprintf("<%s>", [input.changes[0].after.title])\n')
    document = governed.ok("plan", "--format", "json", code=1).json
    denied = [entry["what"] for entry in document["problems"] if entry["code"] == "policy-denied"]
    assert denied == [f"item/handbook/file:///{number}: {HOSTILE} (no-anonymous)" for number in (1, 2)]
    assert [entry["what"] for entry in document["problems"] if entry["code"] == "policy-warned"] == [f"<{HOSTILE}> (b)"]


def test_a_text_that_is_cut_amid_an_escape_is_still_a_denial(governed: Folder) -> None:
    governed.write("all.yaml", MANIFEST.replace("permissions: {an", "title: 'ab\"cd', permissions: {an"))
    governed.write(
        "policies/access.rego",
        NO_ANONYMOUS.replace('"everybody would see it"', "substring(change.after.title, 0, 3)"),
    )
    assert "error[policy-denied]" in governed.ok("plan", code=1).out


def test_without_policies_no_engine_is_needed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    folder.write("all.yaml", CLOSED)
    folder.ok("plan")


def test_a_missing_engine_is_told_and_nothing_is_planned(governed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    ran = governed.ok("plan", code=2)
    assert "error[policy-engine-missing]" in ran.err
    assert "pip install 'reconciler[policy]'" in ran.err
