"""`plan` and `validate` from outside: exit codes, forms, saved plans, and that they need nobody."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import orjson
import pytest

from reconciler.planfile import load_plan
from tests.builders import Folder, child_environment, command_line

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: "https://example.com/a", title: A, body: {text: "one"}, permissions: {allowed: [group:Staff]}}
groups:
  - {name: Staff, members: [user:alice@example.com]}
"""


@pytest.fixture
def ready(folder: Folder) -> Folder:
    folder.write("all.yaml", MANIFEST)
    return folder


def test_exit_codes(ready: Folder) -> None:
    assert ready.run("plan").code == 0
    assert ready.run("plan", "--exit-code").code == 3
    ready.ok("apply", "--auto-approve")
    assert ready.run("plan", "--exit-code").code == 0
    ready.write("all.yaml", "items: [")
    assert ready.run("plan", "--exit-code").code == 1
    assert ready.run("validate").code == 1
    assert ready.run("plan", "--format", "yaml").code == 2


def test_a_plan_needs_no_key_no_network_and_no_write(ready: Folder) -> None:
    """A fork's pull request may be planned: nothing secret is at hand and nothing is kept."""
    before = sorted(path for path in ready.root.rglob("*"))
    environment = child_environment()
    del environment["COVEO_API_KEY"]
    no_network = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*no_network, "true"], check=False, capture_output=True).returncode != 0:
        no_network = []
    done = subprocess.run(
        [*no_network, *command_line("-C", str(ready.root), "plan", "--no-cache")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "2 to create" in done.stdout
    assert sorted(path for path in ready.root.rglob("*")) == before


def test_with_and_without_a_cache_the_bytes_are_the_same(ready: Folder) -> None:
    for form in ("text", "json", "markdown"):
        shown = {ready.ok("plan", "--format", form, *flags).out for flags in ((), (), ("--no-cache",), ("--no-cache",))}
        assert len(shown) == 1


def test_a_saved_plan_is_what_json_shows(ready: Folder, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    ran = ready.ok("plan", "--format", "json", "--out", str(plan))

    assert plan.read_text() == ran.out
    assert load_plan(plan.read_bytes(), "plan.json").plan.count(
        load_plan(plan.read_bytes(), "p").plan.changes[0].action
    )
    assert orjson.loads(ran.out)["summary"] == {"create": 2, "update": 0, "delete": 0, "no_op": 0}
    assert stat.S_IMODE(plan.stat().st_mode) & 0o077 == 0, "it names people and what they may see"


def test_a_plan_that_cannot_be_saved(ready: Folder, tmp_path: Path) -> None:
    ran = ready.ok("plan", "--out", str(tmp_path / "none" / "plan.json"), code=2)

    assert "error[cannot-write]" in ran.err
    assert os.listdir(tmp_path) == ["project"]


def test_problems_are_told_as_validate_tells_them(ready: Folder) -> None:
    ready.write("all.yaml", MANIFEST.replace("group:Staff", "group:Stuff"))

    validated, planned = ready.ok("validate", code=1), ready.ok("plan", code=1)

    assert 'did you mean "Staff"' in validated.err
    assert validated.err == planned.err
    assert (validated.out, planned.out) == ("", "")
    document = ready.ok("plan", "--format", "json", code=1).json
    assert [problem["code"] for problem in document["problems"]] == ["unknown-group"]


def test_validate_counts_what_is_valid(ready: Folder) -> None:
    assert ready.ok("validate").out == "Valid: 2 resources in 2 files.\n"
    ready.ok("validate", "--format", "json")
    assert ready.ok("validate", "--format", "sarif").json["version"] == "2.1.0"


def test_nothing_found_is_never_nothing_wanted(ready: Folder) -> None:
    """P14: a manifest that vanished, was emptied or cannot be read deletes nothing."""
    ready.ok("apply", "--auto-approve")
    ready.write("more.yaml", "defaults: {source: blog}\nitems: [{uri: 'https://example.com/post'}]\n")
    ready.ok("apply", "--auto-approve")

    for spoil in (
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_text("items:\n"),
        lambda path: path.write_bytes(b"\x00\xff"),
        lambda path: path.write_text(MANIFEST[: len(MANIFEST) // 2]),
    ):
        spoil(ready.root / "all.yaml")
        ran = ready.run("apply", "--auto-approve")
        assert ran.code == 1, (ran.out, ran.err)
        ready.write("all.yaml", MANIFEST)
        assert ready.run("plan", "--exit-code").code == 0


def test_another_remote_under_the_same_state_is_refused(ready: Folder) -> None:
    ready.ok("apply", "--auto-approve")
    path = ready.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("mysourceidg3c5d1r2", "anothersource"))

    for command in (("plan",), ("apply", "--auto-approve"), ("destroy", "--auto-approve")):
        ran = ready.ok(*command, code=1)
        assert "error[other-target]" in ran.err
        assert 'source "handbook" was "mysourceidg3c5d1r2" and is now "anothersource"' in ran.err
