"""`--report FORM=PATH`: several reports of one plan in one run, whole or not at all, and what keeps one from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import orjson
import pytest

from reconciler.cli.reportoptions import FORMS
from tests.builders import Folder, Remote, child_environment, command_line, run_here
from tests.sarif import SARIF

HEAD = "defaults: {source: handbook, provider: corp}\n"
MANIFEST = (
    HEAD
    + """\
items:
  - {uri: "x:1", title: One, permissions: {allowed: [group:Staff]}}
  - {uri: "x:2", title: Two, permissions: {allowed: [group:Staff]}}
groups:
  - {name: Staff, members: [user:ann@example.com]}
accessTests:
  - {who: user:ann@example.com, canView: ["x:1"]}
"""
)
WIDER = MANIFEST.replace("user:ann@example.com]}", "user:ann@example.com, user:bob@example.com]}")
STRICT = "guardrails: {deletes: 100%, widenedAccess: confirm}\n"


def asked(root: Path, *forms: str) -> list[str]:
    return [word for form in forms for word in ("--report", f"{form}={root / form}")]


def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote)
    folder.write("a.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    return folder


def confirmed(folder: Folder) -> None:
    """Have widened access be a hazard from now on."""
    path = folder.root / "reconciler.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("guardrails:")] + STRICT)


def test_every_form_is_written_in_one_run_and_says_the_same(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    applied(folder, remote).write("a.yaml", WIDER.replace("Two", "Second"))
    confirmed(folder)
    folder.ok("plan", *asked(tmp_path, *FORMS))
    texts = {form: (tmp_path / form).read_text() for form in FORMS}
    line = "Plan: 0 to create, 2 to update, 0 to delete, 1 unchanged; 2 calls."
    for form in ("text", "markdown", "comment", "summary", "html"):
        assert line in texts[form], form
        assert "widened-access" in texts[form], form
        assert "bob@example.com" in texts[form], form
    document = orjson.loads(texts["json"])
    assert texts["json"] == folder.ok("plan", "--format", "json").out
    assert [change["address"] for change in document["changes"]] == ["group/corp/Staff", "item/handbook/x:2"]
    assert texts["text"] == folder.ok("plan").out
    assert texts["markdown"] == folder.ok("plan", "--format", "markdown").out == texts["comment"]
    log = orjson.loads(texts["sarif"])
    jsonschema.validate(log, SARIF)
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == [
        "hazard-widened-access",
        "member-without-alias",
    ]
    assert texts["annotations"].startswith("::error file=")
    assert ElementTree.fromstring(texts["junit"]).get("tests") == "1"


def test_findings_stand_at_their_lines(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    applied(folder, remote).write(
        "a.yaml", WIDER.replace('{uri: "x:1", title: One, permissions: {allowed: [group:Staff]}}', '{uri: "x:1"}')
    )
    confirmed(folder)
    folder.ok("plan", *asked(tmp_path, "sarif", "annotations"), code=1)
    log = orjson.loads((tmp_path / "sarif").read_bytes())
    jsonschema.validate(log, SARIF)
    places = {
        result["ruleId"]: (
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].rpartition("/")[2],
            result["locations"][0]["physicalLocation"]["region"]["startLine"],
            result["level"],
        )
        for result in log["runs"][0]["results"]
    }
    # The test of line 8 names somebody who no longer sees what it says they can.
    assert places["access-test-failed"] == ("a.yaml", 8, "error")
    assert places["permissions-missing"] == ("a.yaml", 3, "warning")
    assert places["hazard-widened-access"][0] == "a.yaml"
    text = (tmp_path / "annotations").read_text()
    found = re.findall(
        r"^::(\w+) file=[^,]*a\.yaml,line=(\d+),col=\d+,endColumn=\d+,title=([\w-]+)::", text, re.MULTILINE
    )
    assert ("error", "8", "access-test-failed") in found
    assert ("warning", "3", "permissions-missing") in found
    assert len(found) == len(log["runs"][0]["results"])


def test_what_lints_find_is_among_the_findings(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST.replace("groups:", "groups:\n  - {name: Nobody, members: []}"))
    told = folder.run("validate", "--format", "sarif").json["runs"][0]["results"]
    assert told
    folder.ok("plan", *asked(tmp_path, "sarif"))
    log = orjson.loads((tmp_path / "sarif").read_bytes())
    jsonschema.validate(log, SARIF)
    rules = {result["ruleId"] for result in log["runs"][0]["results"]}
    assert {result["ruleId"] for result in told} <= rules


@pytest.mark.parametrize("form", FORMS)
def test_manifests_of_which_no_plan_can_be_made_are_reported_in_every_form(
    folder: Folder, tmp_path: Path, form: str
) -> None:
    folder.write("a.yaml", HEAD + "items: [{uri: 'x:1', titel: t}]\n")
    ran = folder.ok("plan", *asked(tmp_path, form), code=1)
    text = (tmp_path / form).read_text()
    assert "unknown-key" in ran.err
    assert "titel" in text
    assert "uri: 'x:1'" in ran.err
    assert "uri: 'x:1'" not in text, "no line of a manifest is published"
    if form == "sarif":
        jsonschema.validate(orjson.loads(text), SARIF)
    if form == "junit":
        assert ElementTree.fromstring(text).get("errors") == "1"
    if form == "json":
        assert orjson.loads(text)["problems"][0]["code"] == "unknown-key"
    if form in ("comment", "summary", "markdown"):
        assert text.startswith("### No plan\n\n**1 error, 0 warnings.**\n")
    if form == "html":
        assert "<h1>No plan</h1>" in text


def test_a_saved_plan_is_reported_by_show_and_by_apply(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    folder.at(remote).write("a.yaml", MANIFEST)
    saved = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(saved))
    forms = [form for form in FORMS if form != "junit"]
    first, second = tmp_path / "shown", tmp_path / "applied"
    first.mkdir()
    second.mkdir()
    assert run_here("show", str(saved), *asked(first, *forms)).code == 0
    assert (first / "json").read_bytes() == saved.read_bytes()
    folder.ok("apply", str(saved), "--auto-approve", *asked(second, *forms))
    for form in set(forms) - {"annotations"}:
        assert (first / form).read_text(), form
    assert (first / "summary").read_text() == (second / "summary").read_text()


def test_a_saved_plan_holds_no_access_tests_to_report(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    saved = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(saved))
    ran = run_here("show", str(saved), *asked(tmp_path, "junit", "comment"))
    assert ran.code == 2
    assert "error[no-tests]" in ran.err
    assert "3 to create" in (tmp_path / "comment").read_text()


def test_a_plan_to_undo_a_run_is_reported(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    applied(folder, remote).write("a.yaml", WIDER)
    folder.ok("apply", "--auto-approve")
    folder.ok("rollback", "--access-only", *asked(tmp_path, "comment", "json"))
    assert "0 to create, 1 to update, 0 to delete" in (tmp_path / "comment").read_text()
    assert orjson.loads((tmp_path / "json").read_bytes())["rollback"]


def test_a_report_that_cannot_be_written_fails_the_command_and_the_others_are_written(
    folder: Folder, tmp_path: Path
) -> None:
    folder.write("a.yaml", MANIFEST)
    nowhere = tmp_path / "nowhere" / "comment"
    ran = folder.ok("plan", "--report", f"comment={nowhere}", *asked(tmp_path, "summary"), code=1)
    assert f'error[cannot-write]: the report `comment` cannot be written to "{nowhere}"' in ran.err
    assert "Plan: 3 to create" in (tmp_path / "summary").read_text()
    assert [path.name for path in tmp_path.iterdir() if "comment" in path.name] == []


def test_a_report_of_problems_that_cannot_be_written_hides_none_of_them(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", HEAD + "items: [{uri: 'x:1', titel: t}]\n")
    ran = folder.ok("plan", "--report", f"text={tmp_path}/nowhere/x", code=1)
    assert "error[unknown-key]" in ran.err
    assert "error[cannot-write]" in ran.err


def test_an_apply_whose_report_cannot_be_written_changes_nothing(
    folder: Folder, remote: Remote, tmp_path: Path
) -> None:
    folder.at(remote).write("a.yaml", MANIFEST)
    total = remote.total
    folder.ok("apply", "--auto-approve", "--report", f"text={tmp_path}/nowhere/x", code=1)
    assert remote.total == total


def test_the_summary_of_a_step_is_added_to(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.yaml", MANIFEST)
    step = tmp_path / "step.md"
    step.write_text("# Of an earlier command\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    folder.ok("plan", "--report", f"summary={step}")
    folder.ok("plan", "--report", f"summary=+{tmp_path / 'step.md'}")
    text = step.read_text()
    assert text.startswith("# Of an earlier command\n### Plan for `local`\n")
    assert text.count("### Plan for") == 2


def test_what_is_added_and_what_was_there_fit_the_budget_together(folder: Folder, tmp_path: Path) -> None:
    items = "".join(f'  - {{uri: "x:{number:04}"}}\n' for number in range(200))
    folder.write("a.yaml", f"{HEAD}items:\n{items}")
    step = tmp_path / "step.md"
    step.write_text("x" * 5_000)
    folder.ok("plan", "--report", f"summary=+{step}", "--budget", "8000")
    assert 5_000 < step.stat().st_size <= 8_000
    assert "Cut to" in step.read_text() or "items:" in step.read_text()


def test_what_was_there_may_leave_nothing_of_the_budget(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    step = tmp_path / "step.md"
    step.write_text("x" * 7_900)
    ran = folder.ok("plan", "--report", f"summary=+{step}", "--budget", "8000", code=1)
    assert "error[report-too-small]: the report `summary` has 100 bytes" in ran.err


@pytest.mark.parametrize("option", ["--out", "--access-out"])
def test_a_report_does_not_replace_what_else_is_written(folder: Folder, tmp_path: Path, option: str) -> None:
    folder.write("a.yaml", MANIFEST)
    file = tmp_path / "plan.json"
    ran = folder.ok("plan", option, str(file), "--report", f"html={tmp_path}/x/../plan.json", code=2)
    assert "error[report-twice]" in ran.err
    assert not file.exists()


def test_a_file_is_replaced(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    (tmp_path / "text").write_text("old" * 10_000)
    folder.ok("plan", *asked(tmp_path, "text"))
    assert (tmp_path / "text").read_text() == folder.ok("plan").out


def test_a_pipe_is_written_to(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.append(pipe.read_text()))
    thread.start()
    folder.ok("plan", "--report", f"text={pipe}")
    thread.join()
    assert read == [folder.ok("plan").out]
    assert pipe.is_fifo()


@pytest.mark.parametrize("path", ["-", "/dev/stdout"])
def test_stdout_takes_a_report_after_what_is_shown(folder: Folder, tmp_path: Path, path: str) -> None:
    folder.write("a.yaml", MANIFEST)
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(
            command_line("-C", str(folder.root), "plan", "--report", f"text={path}"),
            env=child_environment(),
            stdout=out,
            check=True,
        )
    text = folder.ok("plan").out
    assert (tmp_path / "out").read_text() == text + text
    assert Path("/dev/stdout").is_symlink() or not sys.platform.startswith("linux")


def test_a_plan_saved_to_stdout_leaves_its_name_to_the_system(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(
            command_line("-C", str(folder.root), "plan", "--out", "/dev/stdout"),
            env=child_environment(),
            stdout=out,
            check=True,
        )
    assert '"format_version":"1.0"' in (tmp_path / "out").read_text()
    assert Path("/dev/stdout").is_symlink() or not sys.platform.startswith("linux")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--report", "coment=x"], "unknown-report"),
        (["--report", "comment"], "unknown-report"),
        (["--report", "comment=+"], "unknown-report"),
        (["--report", "text=x", "--report", "html=x"], "report-twice"),
        (["--report", "text=x", "--report", "html=./y/../x"], "report-twice"),
        (["--report", "text=+x", "--report", "html=x"], "report-twice"),
    ],
)
def test_a_report_that_means_nothing_is_refused(folder: Folder, words: list[str], code: str) -> None:
    ran = folder.run("plan", *words)
    assert ran.code == 2
    assert f"error[{code}]" in ran.err
    assert ran.out == ""


def test_a_report_without_room_for_what_matters_most_fails_the_command_once_it_is_written(
    folder: Folder, tmp_path: Path
) -> None:
    names = [f"user:{'x' * 60}{number}@example.com" for number in range(12)]
    items = "".join(f'  - {{uri: "x:{at}", permissions: {{allowed: ["{who}"]}}}}\n' for at, who in enumerate(names))
    members = ", ".join(f'"{who}"' for who in names)
    folder.write("a.yaml", f"{HEAD}items:\n{items}groups:\n  - {{name: All, members: [{members}]}}\n")
    ran = folder.ok("plan", "--budget", "1000", *asked(tmp_path, "comment", "summary", "markdown", "html"), code=1)
    assert ran.err.count("error[report-too-small]") == 3
    for form in ("comment", "summary", "markdown"):
        text = (tmp_path / form).read_bytes()
        assert len(text) <= 1000
        assert b"Do not decide by this report" in text
        assert f"The whole is at `{tmp_path / 'html'}`".encode() in text or form != "comment"


def test_a_report_of_a_plan_is_as_detailed_whatever_is_shown(folder: Folder, tmp_path: Path) -> None:
    folder.write("a.yaml", MANIFEST)
    folder.ok("plan", "--detail", "none", *asked(tmp_path, "markdown"))
    assert (tmp_path / "markdown").read_text() == folder.ok("plan", "--format", "markdown").out


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_annotations_name_files_from_the_root_of_the_job(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    folder.write("a.yaml", HEAD + "items: [{uri: 'x:1', titel: t}]\n")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder.root.parent))
    words = ("--format", "github") if command == "validate" else ("--report", "annotations=-")
    ran = folder.ok(command, *words, code=1)
    assert ran.out == (
        f"::error file={folder.root.name}/a.yaml,line=2,col=22,endColumn=27,title=unknown-key::"
        'unknown key "titel"%0Awhy: a key that is not read would silently not be applied.%0A'
        'fix: did you mean "title"?\n'
    )


def test_failing_access_tests_are_annotated(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.yaml", MANIFEST.replace('canView: ["x:1"]', 'cannotView: ["x:1"]'))
    monkeypatch.chdir(folder.root)
    ran = run_here("test", "--format", "github")
    assert ran.code == 1
    assert ran.out.startswith("::error file=a.yaml,line=8,col=5,")
    assert ran.out.count("\n") == 1


def test_no_name_gives_a_command_of_its_own(folder: Folder, tmp_path: Path) -> None:
    name = "x\\n::warning file=a::y%0A::error::z, and:more"
    folder.write("a.yaml", f'{HEAD}items: [{{uri: "x:1", "{name}": t}}]\n')
    ran = folder.ok("validate", "--format", "github", code=1)
    lines = ran.out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("::error file=")
    assert "%250A" in lines[0]
