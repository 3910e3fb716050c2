"""What CI systems read of us: workflows, the action, the template, hooks and the shell recipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.builders import KEY, KEY_VARIABLE, REPOSITORY, SOURCE_ID, Folder, Remote
from tests.forge.runner import ACTION, executable

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
LOCK = REPOSITORY / "requirements.lock"
EXAMPLES = REPOSITORY / "docs" / "ci"
HOOKS = REPOSITORY / ".pre-commit-hooks.yaml"
OF_GITHUB = [*WORKFLOWS, EXAMPLES / "github.yml"]
MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - uri: https://example.com/a
    title: A
    permissions:
      allowed:
        - group:Team
groups:
  - name: Team
    members:
      - user:alice@example.com
"""


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in OF_GITHUB),
        ("vendor.github-actions", ACTION / "action.yml"),
        ("vendor.gitlab-ci", EXAMPLES / "gitlab.yml"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_it_is_valid_by_its_published_schema(schema: str, path: Path) -> None:
    if find_spec("check_jsonschema") is None and "\ncheck-jsonschema==" not in LOCK.read_text(encoding="utf-8"):
        pytest.skip("check-jsonschema is not among what is locked")
    transform = ("--data-transform", "gitlab-ci") if "gitlab" in schema else ()
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *transform, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def steps(document: Any) -> Iterator[dict[str, Any]]:
    if "runs" in document:
        yield from document["runs"]["steps"]
    for job in document.get("jobs", {}).values():
        yield from job["steps"]


@pytest.mark.parametrize("path", [*OF_GITHUB, ACTION / "action.yml"], ids=lambda path: path.name)
def test_every_action_of_somebody_else_is_pinned_by_the_hash_of_a_commit(path: Path) -> None:
    for used in [step["uses"] for step in steps(loaded(path)) if "uses" in step]:
        ours = used.startswith("./") or used == "OWNER/RECONCILER/.github/actions/reconciler@COMMIT"
        assert ours or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", used), used


@pytest.mark.parametrize("path", OF_GITHUB, ids=lambda path: path.name)
def test_a_workflow_may_read_and_only_a_job_that_needs_more_may_do_more(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow["on"]
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        for step in steps({"jobs": {name: job}}):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")


def test_no_secret_is_named_where_a_pull_request_runs() -> None:
    for path in OF_GITHUB:
        workflow = loaded(path)
        if "pull_request" not in workflow["on"]:
            continue
        for job in workflow["jobs"].values():
            # A job, or step, that an event other than a pull request must be there for.
            guarded = re.fullmatch(r"github\.event_name == '(push|schedule)'", job.get("if", ""))
            for step in job["steps"]:
                alone = re.fullmatch(r"github\.event_name == '(push|schedule)'", step.get("if", ""))
                assert guarded or alone or "secrets." not in str(step), (path.name, step)


def test_inputs_of_the_example_are_those_that_the_action_has() -> None:
    action = loaded(ACTION / "action.yml")
    for path in OF_GITHUB:
        for step in steps(loaded(path)):
            if "/actions/reconciler" in step.get("uses", ""):
                assert set(step["with"]) <= set(action["inputs"])


@pytest.fixture
def project(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote).write("all.yaml", MANIFEST)
    return folder


def environment(programs: Path, **more: str) -> dict[str, str]:
    executable(programs)
    path = f"{programs}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), KEY_VARIABLE: KEY, **more}


@pytest.mark.parametrize(
    ("hook", "manifest", "code", "told"),
    [
        ("reconciler-validate", MANIFEST, 0, ""),
        ("reconciler-validate", MANIFEST.replace("title", "titel"), 1, "unknown-key"),
        ("reconciler-fmt-check", MANIFEST, 0, ""),
        ("reconciler-fmt-check", MANIFEST.replace("title: A", "title:    A"), 1, "all.yaml"),
        ("reconciler-fmt", MANIFEST.replace("title: A", "title:    A"), 0, ""),
    ],
)
def test_a_hook_runs_what_it_says_it_does(
    project: Folder, tmp_path: Path, hook: str, manifest: str, code: int, told: str
) -> None:
    project.write("all.yaml", manifest)
    [entry] = [one for one in loaded(HOOKS) if one["id"] == hook]
    assert entry["pass_filenames"] is False and entry["language"] == "python"

    ran = subprocess.run(
        entry["entry"].split(), cwd=project.root, env=environment(tmp_path), capture_output=True, text=True, check=False
    )

    assert ran.returncode == code and told in ran.stdout + ran.stderr
    if hook == "reconciler-fmt":
        assert (project.root / "all.yaml").read_text() == MANIFEST


def recipe(folder: Folder, programs: Path, word: str, code: int) -> str:
    ran = subprocess.run(
        [str(EXAMPLES / "plan-and-apply.sh"), word],
        cwd=programs,
        env=environment(programs, PROJECT=str(folder.root), ENVIRONMENT="local", REPORTS="reports"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_the_shell_recipe_plans_applies_what_it_saved_and_finds_drift(
    project: Folder, remote: Remote, tmp_path: Path
) -> None:
    recipe(project, tmp_path, "plan", 0)
    names = {"plan.json", "comment.md", "plan.html", "findings.sarif", "access-tests.xml"}
    assert {path.name for path in (tmp_path / "reports").iterdir()} == names
    assert remote.requests() == []

    recipe(project, tmp_path, "apply", 0)
    assert list(remote.contents()["items"][SOURCE_ID]) == ["https://example.com/a"]
    assert "error[plan-replayed]" in recipe(project, tmp_path, "apply", 1)

    recipe(project, tmp_path, "drift", 0)
    remote.reset()
    assert "missing" in recipe(project, tmp_path, "drift", 3)
    recipe(project, tmp_path, "other", 2)


def test_the_shell_recipe_refuses_manifests_that_moved_and_reports_errors(project: Folder, tmp_path: Path) -> None:
    recipe(project, tmp_path, "plan", 0)
    project.write("all.yaml", MANIFEST.replace("title: A", "title: B"))
    assert "error[manifests-moved]" in recipe(project, tmp_path, "apply", 1)
    project.write("all.yaml", MANIFEST.replace("title: A", "titel: A"))
    recipe(project, tmp_path, "plan", 1)
    assert "titel" in (tmp_path / "reports" / "comment.md").read_text()
