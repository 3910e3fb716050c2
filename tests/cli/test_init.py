"""`init`: a project that works as it stands, on a terminal and without one, and that overwrites nothing."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from pathlib import Path

import jsonschema
import orjson
import pytest
from ruamel.yaml import YAML

from reconciler.cli.initfiles import ignoring
from tests.builders import Ran, child_environment, command_line, run_here
from tests.forge.runner import executable

EVERY_FLAG = (
    *("--organization", "acmeproduction", "--region", "eu", "--name", "live", "--source", "docs"),
    *("--source-id", "acme-docs", "--provider", "people", "--provider-id", "acme-people", "--no-input"),
)


def project(root: Path, *arguments: str) -> Ran:
    ran = run_here("init", str(root), *arguments)
    assert ran.code == 0, ran.err
    return ran


@pytest.mark.parametrize("arguments", [(), EVERY_FLAG], ids=["defaults", "every flag"])
def test_a_new_project_is_valid_holds_its_tests_and_is_applied_as_it_stands(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    root = tmp_path / "new"
    project(root, *arguments)

    def run(*words: str) -> Ran:
        return run_here("-C", str(root), *words)

    checked = run("validate")
    assert (checked.code, checked.err) == (0, "")
    assert run("test").code == 0
    assert run("plan", "--exit-code").code == 3
    assert run("apply", "--auto-approve").code == 0
    assert run("verify").code == 0
    assert run("plan", "--exit-code").code == 0
    assert run("fmt", "--check").out == ""
    seen = run("access", "who", "https://handbook.example.com/welcome").out
    assert "alice@example.com" in seen and "bob@example.com" in seen


def test_every_flag_is_in_what_is_written(tmp_path: Path) -> None:
    project(tmp_path / "new", *EVERY_FLAG)

    written = YAML(typ="safe").load(tmp_path / "new" / "reconciler.yaml")

    assert written["sources"] == {"docs": {"id": "acme-docs", "visibility": "secured", "provider": "people"}}
    assert written["providers"]["people"]["id"] == "acme-people"
    assert written["environments"]["live"] == {
        "organization": "acmeproduction",
        "region": "eu",
        "apiKey": {"env": "COVEO_API_KEY"},
    }
    assert (tmp_path / "new" / "manifests" / "docs.yaml").is_file()


def test_editors_find_the_schemas_that_the_first_lines_name(tmp_path: Path) -> None:
    project(tmp_path / "new", *EVERY_FLAG)
    for path in (tmp_path / "new").rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        modeline = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
        schema = orjson.loads((path.parent / modeline).read_bytes())
        jsonschema.Draft202012Validator(schema).validate(YAML(typ="safe").load(text))


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize("organization", ["", "acmeproduction"])
def test_a_pipeline_runs_commands_that_there_are_and_applies_only_where_there_is_an_organization(
    tmp_path: Path, forge: str, organization: str
) -> None:
    root = tmp_path / "new"
    project(root, "--ci", forge, *(("--organization", organization) if organization else ()))
    path = root / {"github": ".github/workflows/reconciler.yml", "gitlab": ".gitlab-ci.yml"}[forge]

    pipeline = YAML(typ="safe").load(path)
    scripts = _scripts(pipeline)

    assert any("reconciler validate" in script for script in scripts)
    assert any("reconciler plan" in script for script in scripts)
    assert any("reconciler apply" in script for script in scripts) == bool(organization)
    executable(tmp_path)
    there = child_environment(PATH=f"{tmp_path}:{os.environ['PATH']}", GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        if script.startswith(("reconciler ", "mkdir ")) and "apply" not in script:
            ran = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", script],
                cwd=root,
                env=there,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, (script, ran.stderr)
    made = tmp_path / "summary.md" if forge == "github" else root / "reports" / "access-tests.xml"
    assert made.stat().st_size > 0
    assert run_here("-C", str(root), "validate").err == ""


def _scripts(value: object) -> list[str]:
    """Return every text below `run` and `script`."""
    found: list[str] = []
    for key, entry in value.items() if isinstance(value, dict) else ():
        if key in ("run", "script"):
            found += [entry] if isinstance(entry, str) else entry
        else:
            found += _scripts(entry)
    for entry in value if isinstance(value, list) else ():
        found += _scripts(entry)
    return found


@pytest.mark.parametrize("taken", ["reconciler.yaml", "reconciler.yml", "manifests/handbook.yaml", "schemas/plan.json"])
def test_nothing_is_overwritten_and_no_half_is_written(tmp_path: Path, taken: str) -> None:
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")

    ran = run_here("init", str(tmp_path))

    assert path.read_text() == "mine"
    if taken == "schemas/plan.json":  # a name that is not among ours
        assert ran.code == 0
        return
    assert ran.code == 2 and "error[file-exists]" in ran.err and taken in ran.err
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_lines_of_gitignore_are_added_behind_what_is_there_and_once(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n/.reconciler")
    project(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*.log\n/.reconciler\nplan.json\n"
    assert ignoring(ignoring("")) == ignoring("") == ".reconciler/\nplan.json\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--organization", "a: b"),
        ("--source", "../x"),
        ("--source-id", "{x}"),
        ("--name", ""),
        ("--name", "local"),  # the emulator's
    ],
)
def test_what_would_break_the_yaml_or_name_another_file_is_refused(tmp_path: Path, option: str, value: str) -> None:
    ran = run_here("init", str(tmp_path / "new"), option, value)
    assert ran.code == 2 and "error[bad-name]" in ran.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize("name", ["1", "007", "1e3", "0x1f", "1_0", "2026-01-01", "true", "Null", "no", "_"])
def test_a_name_that_yaml_would_read_as_another_type_is_still_a_name(tmp_path: Path, forge: str, name: str) -> None:
    named = ("--organization", "--name", "--source", "--source-id", "--provider", "--provider-id")
    root = tmp_path / "new"
    project(root, "--ci", forge, *(word for option in named for word in (option, name)))

    for arguments in (("validate",), ("plan", "-e", name), ("fmt", "--check")):
        ran = run_here("-C", str(root), *arguments)
        assert ran.code == 0, ran.err
    if forge == "gitlab":
        pipeline = (root / ".gitlab-ci.yml").read_text(encoding="utf-8")
        assert YAML(typ="safe").load("%YAML 1.1\n---\n" + pipeline)["apply"]["environment"] == name


def test_a_folder_that_cannot_be_written_is_named_and_nothing_stays(plain_user: Path) -> None:
    (plain_user / "schemas").mkdir(mode=0o500)
    ran = run_here("init", str(plain_user))
    assert ran.code == 2 and "error[cannot-write]" in ran.err
    assert not [found for found in plain_user.rglob("*") if found.is_file()]


def test_a_pipeline_below_the_root_of_a_repository_is_told(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    told = "The pipeline is read at the root of the repository alone"
    assert f"{told}: move it to {tmp_path}," in project(tmp_path / "below", "--ci", "github").out
    assert told not in project(tmp_path / "another").out
    assert told not in project(tmp_path, "--ci", "gitlab").out


def test_it_goes_where_the_folder_option_says(tmp_path: Path) -> None:
    assert run_here("-C", str(tmp_path / "a"), "init").code == 0
    assert (tmp_path / "a" / "reconciler.yaml").is_file()


def on_a_terminal(*arguments: str, answers: str) -> tuple[int, str]:
    """Run a command on a terminal on which somebody types; return its code and what is on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line(*arguments), env=child_environment(), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    os.write(ours, answers.encode())
    screen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        screen += piece
    os.close(ours)
    return process.wait(60), screen.decode()


def test_on_a_terminal_it_asks_what_no_option_said_and_again_what_is_no_name(tmp_path: Path) -> None:
    root = tmp_path / "new"
    code, screen = on_a_terminal("init", str(root), "--region", "eu", answers="acme\nmy source\ndocs\nacme-docs\n\n")
    assert code == 0, screen
    written = YAML(typ="safe").load(root / "reconciler.yaml")
    assert "cannot be the source" in screen and "Region" not in screen
    assert written["environments"]["prod"]["organization"] == "acme"
    assert written["environments"]["prod"]["region"] == "eu"
    assert written["sources"]["docs"]["id"] == "acme-docs"


def test_on_a_terminal_it_asks_nothing_where_that_is_said(tmp_path: Path) -> None:
    code, screen = on_a_terminal("init", str(tmp_path / "new"), "--no-input", answers="")
    assert code == 0
    assert "?" not in screen and "Organization id" not in screen
