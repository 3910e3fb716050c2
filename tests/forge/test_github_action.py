"""The composite action, step by step in bash, against a GitHub on this machine and the emulator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.builders import KEY, ORGANIZATION, REPOSITORY, SOURCE_ID, Folder, Remote
from tests.forge.github import LARGEST_BODY, TOKEN, GitHub, start_github
from tests.forge.runner import ACTION, Job, commands_in, executable

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""
CHANGED = MANIFEST.replace("title: B", "title: Better")
PULL = 12
TEAM = {"allowedPermissions": [{"identity": "Team", "identityType": "Group"}]}


@pytest.fixture
def github() -> Iterator[GitHub]:
    with start_github() as server:
        yield server


@dataclass
class Repository:
    """A git repository with a project, its forge, and jobs that run on it."""

    folder: Folder
    github: GitHub
    executable: str
    temp: Path
    runs: int = 0

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        ran = subprocess.run(
            ["git", *who, *arguments], cwd=self.folder.root, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    def commit(self, manifest: str) -> str:
        self.folder.write("all.yaml", manifest)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Change manifests")
        return self.git("rev-parse", "HEAD")

    def job(self, *, run: int | None = None, pull: bool = False, fork: bool = False) -> Job:
        """Return a job of a new run, or of one that is under way, on what is checked out."""
        self.runs += 1
        temp = self.temp / f"job-{self.runs}"
        temp.mkdir()
        sha = self.git("rev-parse", "HEAD")
        event = {}
        if pull:
            name = "someone/handbook" if fork else "acme/handbook"
            event["pull_request"] = {
                "number": PULL,
                "head": {"sha": sha, "repo": {"full_name": name}},
                "base": {"repo": {"full_name": "acme/handbook"}},
            }
        job = Job(self.github, self.folder.root, temp, sha, run or self.runs, event=event)
        job.branch = "topic" if pull else "main"
        job.head = 8 if fork else 7
        return job

    def uses(self, job: Job, command: str, **inputs: str) -> int:
        return job.uses(command=command, executable=self.executable, **inputs)

    def reviewed(self) -> str:
        """Plan in a pull request, merge it, and return the merged commit."""
        assert self.uses(self.job(pull=True), "plan") == 0
        head = self.git("rev-parse", "HEAD")
        self.git("commit", "-q", "--allow-empty", "-m", "Merge")
        merged = self.git("rev-parse", "HEAD")
        self.github.pulls[merged] = [{"number": PULL, "merged_at": "2026-01-01T00:00:00Z", "head": {"sha": head}}]
        return merged


@pytest.fixture
def repository(folder: Folder, remote: Remote, github: GitHub, tmp_path: Path) -> Repository:
    made = Repository(folder.at(remote), github, executable(tmp_path), tmp_path)
    made.git("init", "-q", "-b", "main")
    folder.write(".gitignore", ".reconciler/\n")
    made.commit(MANIFEST)
    return made


def test_a_pull_request_gets_one_comment_that_later_runs_update_where_it_stands(repository: Repository) -> None:
    github = repository.github
    github.comment(PULL, "Looks good.", "alice")
    assert repository.uses(repository.job(pull=True), "plan") == 0
    [_, first] = github.comments[PULL]
    github.comment(PULL, "One more thing.", "bob")

    repository.commit(CHANGED.replace("Team]}}\ngroups", "Team]}}\n  - {uri: https://example.com/c, title: C}\ngroups"))
    job = repository.job(pull=True)
    assert repository.uses(job, "plan") == 0

    assert [entry["user"]["login"] for entry in github.comments[PULL]] == ["alice", "github-actions[bot]", "bob"]
    told = github.comments[PULL][1]
    assert told["id"] == first["id"]
    assert "https://example.com/c" in told["body"] and "Better" in told["body"]
    assert job.sha[:12] in told["body"] and f"actions/runs/{job.run}" in told["body"]
    assert "https://example.com/c" in job.summary


def test_a_comment_with_our_marker_is_found_on_a_later_page_and_doubles_go(repository: Repository) -> None:
    github = repository.github
    for number in range(150):
        github.comment(PULL, f"Comment {number}.", "alice")
    assert repository.uses(repository.job(pull=True), "plan") == 0
    github.comment(PULL, github.comments[PULL][-1]["body"])

    assert repository.uses(repository.job(pull=True), "plan") == 0

    ours = [entry for entry in github.comments[PULL] if entry["user"]["login"] != "alice"]
    assert len(github.comments[PULL]) == 151 and len(ours) == 1


def test_a_comment_that_somebody_else_wrote_under_our_marker_is_left_alone(repository: Repository) -> None:
    github = repository.github
    assert repository.uses(repository.job(pull=True), "plan") == 0
    forged = github.comments.pop(PULL)[0]["body"]
    github.comment(PULL, forged, "mallory")

    assert repository.uses(repository.job(pull=True), "plan") == 0

    assert [entry["user"]["login"] for entry in github.comments[PULL]] == ["mallory", "github-actions[bot]"]
    assert github.comments[PULL][0]["body"] == forged


def test_two_environments_and_two_folders_have_comments_and_plans_of_their_own(repository: Repository) -> None:
    repository.uses(repository.job(pull=True), "plan")
    repository.uses(repository.job(pull=True), "plan", environment="local")
    assert len(repository.github.comments[PULL]) == 2
    assert len({artifact["name"] for artifact in repository.github.artifacts}) == 2


def test_manifests_with_errors_are_told_in_the_comment_and_as_annotations_and_fail_the_job(
    repository: Repository,
) -> None:
    repository.commit(MANIFEST.replace("title: B", "titel: B"))
    job = repository.job(pull=True)

    assert repository.uses(job, "plan") == 1

    [told] = repository.github.comments[PULL]
    assert "titel" in told["body"] and "titel" in job.summary
    assert any(line.startswith("::error file=all.yaml,line=4") for line in commands_in(job.log))
    assert "changes" not in job.outputs


def test_the_saved_plan_and_its_reports_are_an_artifact_and_the_counts_outputs(repository: Repository) -> None:
    job = repository.job(pull=True)
    assert repository.uses(job, "plan") == 0
    [artifact] = repository.github.artifacts
    assert artifact["name"].endswith(job.sha)
    names = {path.name for path in Path(job.outputs["folder"]).iterdir()}
    assert names == {
        *("plan.json", "plan.txt", "plan.html", "comment.md"),
        *("findings.sarif", "access-tests.xml", "annotations.txt"),
    }
    assert (job.outputs["changes"], job.outputs["blocked"]) == ("3", "false")


def test_a_plan_that_a_hazard_blocks_says_so(repository: Repository) -> None:
    project = (repository.folder.root / "reconciler.yaml").read_text()
    repository.folder.write("reconciler.yaml", project.replace("widenedAccess: allow", "widenedAccess: confirm"))
    repository.commit(MANIFEST)
    repository.folder.ok("apply", "--auto-approve")
    repository.commit(MANIFEST.replace("[user:alice@", "[user:bob@example.com, user:alice@"))
    job = repository.job(pull=True)
    repository.uses(job, "plan")
    assert job.outputs["blocked"] == "true"


def test_a_comment_that_cannot_be_posted_fails_the_job_with_the_reason(repository: Repository) -> None:
    repository.github.refused = (f"POST issues/{PULL}/comments",)
    job = repository.job(pull=True)

    assert repository.uses(job, "plan") == 1

    [line] = [line for line in commands_in(job.log) if line.startswith("::error")]
    assert "403: Resource not accessible by integration" in line
    assert TOKEN not in job.log and KEY not in job.log
    assert len(repository.github.artifacts) == 1


def test_a_forge_that_stumbles_is_asked_again_but_never_to_write_twice(repository: Repository) -> None:
    repository.github.failing = {"GET": 2}
    assert repository.uses(repository.job(pull=True), "plan") == 0
    repository.github.failing = {"POST": 1}
    repository.github.comments.clear()
    assert repository.uses(repository.job(pull=True), "plan") == 1
    assert repository.github.asked.count(f"POST issues/{PULL}/comments") == 2


def test_no_text_of_a_manifest_is_a_command_to_the_runner(repository: Repository) -> None:
    repository.commit(MANIFEST.replace("title: B", 'title: "\\n::add-mask::B\\n::error::forged\\n"'))
    job = repository.job(pull=True)
    assert repository.uses(job, "plan") == 0
    assert "forged" in job.log
    assert not any("forged" in line or "add-mask" in line for line in commands_in(job.log))


def test_arguments_reach_the_command_as_words_and_no_shell_reads_them(repository: Repository) -> None:
    job = repository.job()
    repository.uses(job, "plan", arguments="--target 'item/handbook/https://example.com/a' '$(touch broken)'")
    assert "$(touch broken)" in job.log and not (repository.folder.root / "broken").exists()
    quoted = repository.job()
    assert repository.uses(quoted, "plan", arguments="'") == 1
    assert 'the input "arguments" cannot be read' in quoted.log


@pytest.mark.parametrize(
    ("name", "value"), [("command", "destroy"), ("review", "none"), ("state", "x"), ("share-state", "y")]
)
def test_an_input_that_is_no_known_word_is_refused(repository: Repository, name: str, value: str) -> None:
    job = repository.job()
    inputs = {"command": "plan", "executable": repository.executable, name: value}
    assert job.uses(**inputs) == 1
    assert f'::error title=reconciler::the input "{name}" is "{value}"' in job.log


def test_a_plan_of_any_size_fits_the_comment_which_says_where_the_whole_is(repository: Repository) -> None:
    listed = "".join(
        f"  - {{uri: 'https://example.com/{number:04}', title: '文書 {number} 📄'}}\n" for number in range(1200)
    )
    repository.commit(f"defaults: {{source: blog}}\nitems:\n{listed}")
    job = repository.job(pull=True)

    assert repository.uses(job, "plan", arguments="--detail full") == 0

    [told] = repository.github.comments[PULL]
    assert LARGEST_BODY / 2 < len(told["body"]) <= LARGEST_BODY and "1,200 to create" in told["body"]
    assert f"actions/runs/{job.run}#artifacts" in told["body"]
    assert "1,200 to create" in job.summary


def test_the_workflow_of_this_repository_plans_its_own_manifests(repository: Repository, tmp_path: Path) -> None:
    workflow = YAML(typ="safe").load(REPOSITORY / ".github" / "workflows" / "plan.yml")
    inputs = workflow["jobs"]["plan"]["steps"][-1]["with"]
    shutil.copytree(
        REPOSITORY / "manifests", repository.folder.root / "manifests", ignore=shutil.ignore_patterns(".reconciler")
    )
    job = repository.job(pull=True)

    assert job.uses(executable=repository.executable, **inputs) == 0

    assert int(job.outputs["changes"]) > 20 and "Plan for" in repository.github.comments[PULL][0]["body"]


# -- apply -----------------------------------------------------------------------------------------


def test_what_is_merged_is_applied_from_the_plan_that_this_run_saved(repository: Repository, remote: Remote) -> None:
    repository.commit(MANIFEST.replace("title: B", "title: B, body: {text: Inline.}"))
    repository.reviewed()
    run = 50
    assert repository.uses(repository.job(run=run), "plan") == 0
    # The job that applies has a runner of its own.
    shutil.rmtree(repository.folder.root / ".reconciler")
    job = repository.job(run=run)

    assert repository.uses(job, "apply", **{"share-state": "true"}) == 0

    remote.flush()
    assert len(remote.contents()["items"][SOURCE_ID]) == 2
    assert "https://example.com/a" in job.summary
    assert repository.github.artifacts[-1]["name"].startswith("reconciler-state-default-")
    assert KEY not in job.log and TOKEN not in job.log


def test_a_plan_of_another_run_is_not_applied_whatever_its_name(repository: Repository, remote: Remote) -> None:
    repository.reviewed()
    assert repository.uses(repository.job(run=50), "plan") == 0
    job = repository.job(run=51)
    assert repository.uses(job, "apply") == 1
    assert "no job of this run has saved a plan of" in job.log
    assert remote.requests() == []


def test_a_stale_plan_is_refused_and_nothing_is_sent(repository: Repository, remote: Remote) -> None:
    repository.reviewed()
    assert repository.uses(repository.job(run=50), "plan") == 0
    repository.folder.ok("apply", "--auto-approve", "--target", "https://example.com/a")
    before = remote.total
    job = repository.job(run=50)

    assert repository.uses(job, "apply") == 1

    assert "error[stale-plan]" in job.log
    assert remote.total == before


def test_changes_that_the_pull_request_did_not_show_are_refused_unless_review_is_any(
    repository: Repository, remote: Remote
) -> None:
    merged = repository.reviewed()
    other = repository.commit(CHANGED)
    repository.github.pulls[other] = repository.github.pulls[merged]
    assert repository.uses(repository.job(run=50), "plan") == 0
    job = repository.job(run=50)

    assert repository.uses(job, "apply") == 1
    assert f"what would be applied is not what pull request #{PULL} showed" in job.log
    assert remote.requests() == []

    assert repository.uses(repository.job(run=50), "apply", review="any") == 0


def test_a_push_that_nobody_reviewed_and_a_review_by_a_forks_own_plan_are_refused(repository: Repository) -> None:
    assert repository.uses(repository.job(run=50), "plan") == 0
    job = repository.job(run=50)
    assert repository.uses(job, "apply") == 1
    assert "nobody has reviewed a plan of it" in job.log

    assert repository.uses(repository.job(pull=True, fork=True), "plan") == 0
    sha = repository.git("rev-parse", "HEAD")
    merged = {"number": PULL, "merged_at": "2026-01-01T00:00:00Z", "head": {"sha": sha}}
    repository.github.pulls[sha] = [merged]
    repository.github.artifacts = [
        one
        for one in repository.github.artifacts
        if one["workflow_run"]["id"] == 50 or one["workflow_run"]["head_repository_id"] == 8
    ]
    repository.github.artifacts[0]["workflow_run"]["head_sha"] = "0" * 40
    job = repository.job(run=50)
    assert repository.uses(job, "apply") == 1
    assert "has left no plan to compare with" in job.log


def test_the_plan_of_a_push_reviews_not_itself_where_the_branch_went_forward_to_the_head(
    repository: Repository, remote: Remote
) -> None:
    assert repository.uses(repository.job(pull=True), "plan") == 0
    sha = repository.git("rev-parse", "HEAD")
    repository.github.pulls[sha] = [{"number": PULL, "merged_at": "2026-01-01T00:00:00Z", "head": {"sha": sha}}]
    repository.folder.ok("apply", "--auto-approve", "--target", "https://example.com/a")
    before = remote.total
    assert repository.uses(repository.job(run=50), "plan") == 0
    job = repository.job(run=50)
    assert repository.uses(job, "apply") == 1
    assert f"what would be applied is not what pull request #{PULL} showed" in job.log
    assert remote.total == before


# -- forks -----------------------------------------------------------------------------------------


def test_a_forks_pull_request_is_planned_against_a_snapshot_without_key_and_state_and_not_commented(
    repository: Repository, tmp_path: Path
) -> None:
    repository.reviewed()
    assert repository.uses(repository.job(run=50), "plan") == 0
    assert repository.uses(repository.job(run=50), "apply", **{"share-state": "true"}) == 0
    repository.github.comments.clear()
    shutil.rmtree(repository.folder.root / ".reconciler")
    repository.commit(CHANGED)
    job = repository.job(pull=True, fork=True)
    job.key = ""

    assert repository.uses(job, "plan", state="snapshot") == 0

    assert job.outputs["changes"] == "1" and "https://example.com/b" in job.summary
    assert repository.github.comments == {}
    assert any(line.startswith("::notice::") for line in commands_in(job.log))


def test_the_first_snapshot_is_that_of_drift_where_nothing_was_applied(repository: Repository) -> None:
    assert repository.uses(repository.job(), "drift", **{"share-state": "true"}) == 0
    job = repository.job(pull=True, fork=True)
    assert repository.uses(job, "plan", state="snapshot") == 0
    assert job.outputs["changes"] == "3"


def test_a_snapshot_is_taken_from_nobody_but_the_default_branch(repository: Repository, tmp_path: Path) -> None:
    forged = repository.folder.write("../state.json", "{}")
    probe = repository.job(pull=True)
    assert repository.uses(probe, "plan", state="snapshot") == 1
    name = probe.log.split('snapshot of the state ("')[1].split('"')[0]
    repository.github.upload(name, forged, run=90, sha="a" * 40, branch="topic")
    repository.github.upload(name, forged, run=91, sha="a" * 40, branch="main", head=8)
    job = repository.job(pull=True)
    assert repository.uses(job, "plan", state="snapshot") == 1
    assert "there is no snapshot of the state" in job.log


# -- drift -----------------------------------------------------------------------------------------


@pytest.fixture
def by_hand(remote: Remote) -> Callable[[str], None]:
    def push(title: str) -> None:
        answer = httpx.put(
            f"{remote.url}/push/v1/organizations/{ORGANIZATION}/sources/{SOURCE_ID}/documents",
            params={"documentId": "https://example.com/a"},
            headers={"Authorization": f"Bearer {KEY}"},
            json={"title": title, "permissions": [TEAM]},
        )
        assert answer.status_code == 202
        remote.flush()

    return push


def settle(folder: Folder) -> None:
    folder.ok("apply", "--auto-approve")
    folder.ok("verify")


def test_drift_keeps_one_issue_open_and_closes_it_when_it_is_over(
    repository: Repository, remote: Remote, by_hand: Callable[[str], None]
) -> None:
    github = repository.github
    github.issues.append({"number": 1, "state": "open", "body": "A bug.", "user": {"login": "alice"}})
    settle(repository.folder)
    quiet = repository.job()
    assert repository.uses(quiet, "drift", arguments="--settle 0") == 0
    assert quiet.outputs["drifted"] == "false" and len(github.issues) == 1

    for title in ("By hand", "``` And again"):
        by_hand(title)
        job = repository.job()
        assert repository.uses(job, "drift", arguments="--settle 0") == 0
        assert job.outputs["drifted"] == "true"
    [_, issue] = github.issues
    assert issue["state"] == "open" and "And again" in issue["body"] and "https://example.com/a" in job.summary

    repository.folder.ok("drift", "--settle", "0", "--resend", "--no-exit-code")
    settle(repository.folder)
    assert repository.uses(repository.job(), "drift", arguments="--settle 0") == 0
    assert [entry["state"] for entry in github.issues] == ["open", "closed"]


def test_a_remote_that_cannot_be_read_fails_the_job_and_opens_no_issue(repository: Repository) -> None:
    repository.folder.ok("apply", "--auto-approve")
    job = repository.job()
    job.key = "wrong"
    assert repository.uses(job, "drift") not in (0, 3)
    assert repository.github.issues == []


def test_an_issue_that_cannot_be_opened_fails_the_job(
    repository: Repository, remote: Remote, by_hand: Callable[[str], None]
) -> None:
    settle(repository.folder)
    by_hand("By hand")
    repository.github.refused = ("POST issues",)
    assert repository.uses(repository.job(), "drift", arguments="--settle 0") == 1


def test_no_script_of_the_action_holds_an_expression() -> None:
    for step in YAML(typ="safe").load(ACTION / "action.yml")["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), "an expression in a script is code of whoever fills it"
