"""The GitLab template: its jobs' scripts in bash, against a GitLab's notes on this machine and the emulator."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from tests.builders import KEY, KEY_VARIABLE, REPOSITORY, SOURCE_ID, Folder, Remote
from tests.forge.github import QuietHandler, serving
from tests.forge.runner import executable

TEMPLATE = REPOSITORY / "docs" / "ci" / "gitlab.yml"
NOTE_TOKEN = "glpat-test-never-shown"
ME, SOMEBODY = 5, 6
MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""


@dataclass
class Notes:
    """The notes of merge request 3 of project 9."""

    url: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False

    def note(self, body: str, author: int) -> None:
        self.notes.append({"id": len(self.notes) + 1, "body": body, "author": {"id": author}})


@contextmanager
def start_gitlab() -> Iterator[Notes]:
    gitlab = Notes()

    class Api(QuietHandler):
        def serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            parts = urlsplit(self.path)
            query = {name: int(values[0]) for name, values in parse_qs(parts.query).items() if name != "sort"}
            base = "/projects/9/merge_requests/3/notes"
            if self.headers.get("PRIVATE-TOKEN") != NOTE_TOKEN or (gitlab.closed and self.command != "GET"):
                self.reply(403, {"message": "403 Forbidden"})
            elif parts.path == "/user":
                self.reply(200, {"id": ME})
            elif self.command == "GET" and parts.path == base:
                start = (query["page"] - 1) * query["per_page"]
                self.reply(200, gitlab.notes[start : start + query["per_page"]])
            elif self.command == "POST" and parts.path == base:
                gitlab.note(body["body"], ME)
                self.reply(201, {})
            elif self.command == "PUT" and parts.path.startswith(base):
                gitlab.notes[int(parts.path.rsplit("/", 1)[1]) - 1]["body"] = body["body"]
                self.reply(200, {})
            else:
                self.reply(404, {"message": "404 Not Found"})

        def do_GET(self) -> None:
            self.serve()

        def do_POST(self) -> None:
            self.serve()

        def do_PUT(self) -> None:
            self.serve()

    with serving(Api) as gitlab.url:
        yield gitlab


@dataclass
class Pipeline:
    folder: Folder
    gitlab: Notes
    bin: Path
    variables: dict[str, str]

    def run(self, job: str, *, token: str = NOTE_TOKEN, key: str = KEY) -> subprocess.CompletedProcess[str]:
        """Run what the template says of a job, as a GitLab runner does: one script, stopped by the first failure."""
        template = YAML(typ="safe").load(TEMPLATE)
        given = {name: str(value) for name, value in template["variables"].items()}
        ran = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(template[job]["script"])],
            cwd=self.folder.root,
            env={
                **os.environ,
                **given,
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "PYTHONPATH": str(REPOSITORY),
                "RECONCILER_ENVIRONMENT": "local",
                "CI": "true",
                "CI_API_V4_URL": self.gitlab.url,
                "CI_PROJECT_DIR": str(self.folder.root),
                "CI_PROJECT_ID": "9",
                "CI_COMMIT_SHA": "c0ffee" * 6 + "c0ff",
                "CI_JOB_URL": "https://gitlab.example.com/acme/handbook/-/jobs/1",
                "RECONCILER_NOTE_TOKEN": token,
                KEY_VARIABLE: key,
                **self.variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert NOTE_TOKEN not in ran.stdout + ran.stderr and KEY not in ran.stdout + ran.stderr
        return ran

    def report(self, name: str) -> Any:
        return json.loads((self.folder.root / "reports" / name).read_text(encoding="utf-8"))


@pytest.fixture
def pipeline(folder: Folder, remote: Remote, tmp_path: Path) -> Iterator[Pipeline]:
    folder.at(remote).write("all.yaml", MANIFEST)
    programs = tmp_path / "bin"
    programs.mkdir()
    executable(programs)
    with start_gitlab() as gitlab:
        yield Pipeline(folder, gitlab, programs, {"CI_MERGE_REQUEST_IID": "3"})


def test_a_merge_request_gets_one_note_that_is_updated_where_it_stands(pipeline: Pipeline) -> None:
    gitlab = pipeline.gitlab
    for number in range(120):
        gitlab.note(f"Note {number}", SOMEBODY)
    assert pipeline.run("reconciler-plan").returncode == 0
    forged = gitlab.notes[120]["body"]
    gitlab.note(forged, SOMEBODY)
    pipeline.folder.write("all.yaml", MANIFEST.replace("title: A", "title: Better"))

    assert pipeline.run("reconciler-plan").returncode == 0

    assert len(gitlab.notes) == 122 and gitlab.notes[121]["body"] == forged
    assert "Better" in gitlab.notes[120]["body"] and "Better" not in forged


def test_counts_findings_and_access_tests_are_reports(pipeline: Pipeline) -> None:
    tests = 'accessTests:\n  - {who: group:Team, canView: ["https://example.com/a"]}\n'
    pipeline.folder.write("all.yaml", MANIFEST + tests)
    assert pipeline.run("reconciler-plan", token="").returncode == 0
    assert pipeline.report("counts.json") == {"create": 2, "update": 0, "delete": 0}
    assert "<testcase" in (pipeline.folder.root / "reports" / "access-tests.xml").read_text()
    assert pipeline.gitlab.notes == []


def test_manifests_with_errors_fail_the_job_with_note_and_findings(pipeline: Pipeline) -> None:
    pipeline.folder.write("all.yaml", MANIFEST.replace("title: A", "titel: A"))

    assert pipeline.run("reconciler-plan").returncode == 1

    [found] = pipeline.report("codequality.json")
    assert found["location"] == {"path": "all.yaml", "lines": {"begin": 3}}
    assert (found["check_name"], found["severity"]) == ("unknown-key", "critical")
    assert "titel" in pipeline.gitlab.notes[0]["body"]


def test_a_note_that_cannot_be_posted_fails_the_job(pipeline: Pipeline) -> None:
    pipeline.gitlab.closed = True
    assert pipeline.run("reconciler-plan").returncode != 0


def test_the_default_branch_applies_the_saved_plan_and_a_stale_one_is_refused(
    pipeline: Pipeline, remote: Remote
) -> None:
    pipeline.variables = {}
    assert pipeline.run("reconciler-plan", key="").returncode == 0
    assert pipeline.run("reconciler-apply").returncode == 0
    remote.flush()
    assert list(remote.contents()["items"][SOURCE_ID]) == ["https://example.com/a"]
    again = pipeline.run("reconciler-apply")
    assert again.returncode == 1 and "error[plan-replayed]" in again.stderr
    assert pipeline.gitlab.notes == []


def test_a_schedule_fails_where_something_drifted(pipeline: Pipeline, remote: Remote) -> None:
    pipeline.folder.ok("apply", "--auto-approve")
    pipeline.folder.ok("verify")
    assert pipeline.run("reconciler-drift").returncode == 0
    remote.reset()
    assert pipeline.run("reconciler-drift").returncode == 3
