"""The step of the composite action: runs the reconciler, and tells GitHub what came of it.

Needs nothing but Python's standard library, and knows nothing of plans but the keys that it names. What is given to
the action arrives as `RECONCILER_ACTION_*`. Whatever cannot be told fails the step: silence must not pass for news.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMENT_CHARACTERS = 65_536
"""What GitHub takes of a comment or the body of an issue."""

COMMENT_BUDGET = 65_000
"""What the plan may have of that, in bytes: the rest is for the marker."""

LARGEST_MEMBER = 512 * 1024 * 1024
ATTEMPTS = 4
PAGE = 100
DRIFTED = 3


class Failure(Exception):
    """What ends the step, in words for whoever reads the job."""


@dataclass(frozen=True)
class Inputs:
    """What the action was given."""

    command: str
    environment: str
    directory: str
    arguments: tuple[str, ...]
    state: str
    share_state: bool
    review: str
    token: str
    author: str
    executable: str

    @property
    def called(self) -> str:
        """What tells this project and environment from others, in names of artifacts: letters, digits, `-`, `_`."""
        place = f"{self.environment}\0{os.path.normpath(self.directory)}"
        return f"{_plain(self.environment or 'default')}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"

    def marker(self, what: str) -> str:
        """Return the first line of the one comment, or issue, that is ours: nobody sees it."""
        return f"<!-- reconciler {what} {self.called} -->"

    def plan_artifact(self, commit: str) -> str:
        return f"reconciler-plan-{self.called}-{commit}"

    def review_artifact(self, head: str) -> str:
        """Return another name than that of what is applied: a head that is merged as it is would review itself."""
        return f"reconciler-review-{self.called}-{head}"

    @property
    def state_artifact(self) -> str:
        return f"reconciler-state-{self.called}"


def inputs() -> Inputs:
    """Return what the action was given. Raises Failure for what is none of the words that an input may be."""

    def given(name: str) -> str:
        return os.environ.get(f"RECONCILER_ACTION_{name}", "").strip()

    for name, words in (
        ("COMMAND", tuple(COMMANDS)),
        ("STATE", ("", "snapshot")),
        ("SHARE_STATE", ("", "true", "false")),
        ("REVIEW", ("same", "any")),
    ):
        if given(name) not in words:
            shown = ", ".join(f'"{word}"' for word in words)
            raise Failure(f'the input "{name.lower().replace("_", "-")}" is "{given(name)}", and may be {shown}')
    try:
        arguments = tuple(shlex.split(given("ARGUMENTS")))
    except ValueError as error:
        raise Failure(f'the input "arguments" cannot be read: {error}') from None
    return Inputs(
        command=given("COMMAND"),
        environment=given("ENVIRONMENT"),
        directory=given("DIRECTORY") or ".",
        arguments=arguments,
        state=given("STATE"),
        share_state=given("SHARE_STATE") == "true",
        review=given("REVIEW"),
        token=given("TOKEN"),
        author=given("AUTHOR"),
        executable=given("EXECUTABLE"),
    )


class Forge:
    """The REST API of one repository."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        self._repository = os.environ["GITHUB_REPOSITORY"]

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self._send("GET", path, query))

    def each(self, path: str, key: str = "", **query: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of all pages of a list, or of the list at `key`."""
        page = 1
        while True:
            answer = self.get(path, per_page=str(PAGE), page=str(page), **query)
            entries = answer[key] if key else answer
            yield from entries
            if len(entries) < PAGE:
                return
            page += 1

    def post(self, path: str, document: dict[str, Any]) -> None:
        self._send("POST", path, {}, document)

    def patch(self, path: str, document: dict[str, Any]) -> None:
        self._send("PATCH", path, {}, document)

    def delete(self, path: str) -> None:
        self._send("DELETE", path, {})

    def member(self, artifact: dict[str, Any], name: str) -> bytes:
        """Return a file of an artifact. Raises Failure when there is none of this name."""
        packed = self._send("GET", f"actions/artifacts/{int(artifact['id'])}/zip", {})
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                if archive.getinfo(name).file_size > LARGEST_MEMBER:
                    raise Failure(f'"{name}" of the artifact "{artifact["name"]}" is larger than any plan')
                return archive.read(name)
        except (KeyError, zipfile.BadZipFile, NotImplementedError):
            raise Failure(f'the artifact "{artifact["name"]}" holds no "{name}"') from None

    def _send(self, method: str, path: str, query: dict[str, str], document: dict[str, Any] | None = None) -> bytes:
        tail = f"?{urllib.parse.urlencode(query)}" if query else ""
        request = urllib.request.Request(  # noqa: S310 - the address is the runner's own
            f"{self._api}/repos/{self._repository}/{path}{tail}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        )
        # Artifacts are answered by a redirect to another host, which must not learn the token.
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        if document is not None:
            request.add_header("Content-Type", "application/json")
        for left in reversed(range(ATTEMPTS)):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                again = error.code == 429 or (error.code >= 500 and method != "POST")
                if not (again and left):
                    raise Failure(f"{method} {path} was answered {error.code}: {_message(error)}") from None
                wait = error.headers.get("Retry-After") or "5"
            except (OSError, ValueError) as error:
                if method == "POST" or not left:
                    raise Failure(f"{method} {path} was not answered: {error}") from None
                wait = "5"
            time.sleep(min(60, int(wait)) if wait.isdecimal() else 5)
        raise AssertionError("the last attempt returns or raises")


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason


def keep_comment(forge: Forge, number: int, text: str, *, marker: str, author: str) -> None:
    """Make `text` the one comment of ours on a pull request, in the place where it is."""
    ours = [entry for entry in forge.each(f"issues/{number}/comments") if _is_ours(entry, marker=marker, author=author)]
    body = {"body": f"{marker}\n{text}"}
    if not ours:
        forge.post(f"issues/{number}/comments", body)
        return
    forge.patch(f"issues/comments/{int(ours[0]['id'])}", body)
    for entry in ours[1:]:
        forge.delete(f"issues/comments/{int(entry['id'])}")


def _is_ours(entry: dict[str, Any], *, marker: str, author: str) -> bool:
    # Anybody may write the marker; who wrote a comment may edit it later, and ours must be nobody's to edit.
    return (entry.get("body") or "").startswith(marker) and (entry.get("user") or {}).get("login") == author


def plan(given: Inputs, forge: Forge) -> int:
    """Plan, comment, and leave the plan and its reports in a folder that becomes an artifact."""
    event = _event()
    pull = event.get("pull_request")
    commit = str(pull["head"]["sha"]) if pull else os.environ["GITHUB_SHA"]
    folder = _folder("plan")
    saved, comment, text, notes = (folder / name for name in ("plan.json", "comment.md", "plan.txt", "annotations.txt"))
    reports = {
        "comment": comment,
        "text": text,
        "html": folder / "plan.html",
        "sarif": folder / "findings.sarif",
        "junit": folder / "access-tests.xml",
        "annotations": notes,
    }
    arguments = [f"--report={form}={path}" for form, path in reports.items()]
    if given.state == "snapshot":
        arguments.append(f"--state={_snapshot(given, forge)}")
    code = _reconciler(
        given,
        "plan",
        *("--out", str(saved), "--budget", str(COMMENT_BUDGET), "--whole", f"{_run_url()}#artifacts", "--quiet"),
        *arguments,
        *given.arguments,
        stdout=subprocess.DEVNULL,
    )
    if not comment.is_file():
        raise Failure(f"no plan was made, and no report (exit code {code})")
    _show(text)
    # What is in it stands at the start of lines, and is meant to.
    _say(notes.read_text(encoding="utf-8"))
    name = given.review_artifact(commit) if pull else given.plan_artifact(commit)
    _output(artifact=name, folder=str(folder))
    if saved.is_file():
        made = json.loads(saved.read_bytes())
        blocked = any(not hazard["allowed"] for hazard in made["hazards"])
        _output(plan=str(saved), changes=str(len(made["changes"])), blocked=str(blocked).lower())
        _summary_of(given, saved)
    else:
        _summary(comment.read_text(encoding="utf-8"))
    if pull is not None:
        _comment(given, forge, pull, f"{comment.read_text(encoding='utf-8')}\n{_footer(commit)}")
    return code


def _comment(given: Inputs, forge: Forge, pull: dict[str, Any], text: str) -> None:
    head, base = (((pull[side].get("repo") or {}).get("full_name")) for side in ("head", "base"))
    if head != base:
        _say("::notice::The token of a fork's pull request may not comment: the plan is in the summary.\n")
        return
    keep_comment(forge, int(pull["number"]), text, marker=given.marker("plan"), author=given.author)


def _footer(commit: str) -> str:
    return f"<sub>Of {commit[:12]}, by [this run]({_run_url()}).</sub>"


def apply(given: Inputs, forge: Forge) -> int:
    """Apply the plan that an earlier job of this run saved, if it is what was reviewed."""
    commit = os.environ["GITHUB_SHA"]
    name = given.plan_artifact(commit)
    # Of this run alone: a run of a fork may leave an artifact of any name in this repository.
    found = [
        entry
        for entry in forge.each(f"actions/runs/{int(os.environ['GITHUB_RUN_ID'])}/artifacts", "artifacts")
        if entry["name"] == name and not entry["expired"]
    ]
    if not found:
        raise Failure(
            f'no job of this run has saved a plan of {commit} ("{name}"): have a job plan that this one needs'
        )
    plan_text = forge.member(max(found, key=lambda entry: int(entry["id"])), "plan.json")
    if given.review == "same":
        _check_reviewed(given, forge, commit, json.loads(plan_text))
    saved = _folder("apply") / "plan.json"
    saved.write_bytes(plan_text)
    code = _reconciler(
        given,
        "apply",
        "--auto-approve",
        "--same-manifests",
        f"--report=summary=+{_summary_file()}",
        *given.arguments,
        saved,
    )
    _share_state(given)
    return code


def _check_reviewed(given: Inputs, forge: Forge, commit: str, made: dict[str, Any]) -> None:
    """Refuse a plan whose changes are not those that the merged pull request showed. Raises Failure."""
    hint = 'make a new pull request, or run with "review: any" behind an approval of its own'
    pulls = [entry for entry in forge.get(f"commits/{commit}/pulls") if entry.get("merged_at")]
    if not pulls:
        raise Failure(f"no pull request was merged as {commit}, so nobody has reviewed a plan of it: {hint}")
    # A commit may have come by several, such as one into another branch before.
    pull = max(pulls, key=lambda entry: entry.get("merge_commit_sha") == commit)
    number, head = int(pull["number"]), pull["head"]
    name = given.review_artifact(str(head["sha"]))
    found = [
        entry
        for entry in forge.each("actions/artifacts", "artifacts", name=name)
        if not entry["expired"]
        and entry["workflow_run"]["head_sha"] == head["sha"]
        # A fork's own workflow says what its artifacts hold.
        and entry["workflow_run"]["head_repository_id"] == entry["workflow_run"]["repository_id"]
    ]
    if not found:
        raise Failure(f'pull request #{number} has left no plan to compare with ("{name}"): {hint}')
    reviewed = json.loads(forge.member(max(found, key=lambda entry: int(entry["id"])), "plan.json"))
    if reviewed["changes"] != made["changes"]:
        raise Failure(
            f"what would be applied is not what pull request #{number} showed: "
            f"{len(made['changes'])} changes now, {len(reviewed['changes'])} then. "
            f"Something was applied or merged in between: {hint}"
        )


def drift(given: Inputs, forge: Forge) -> int:
    """Look for drift; keep one issue open while there is any, and close it when there is none any more."""
    out = _folder("drift") / "drift.txt"
    with out.open("wb") as file:
        code = _reconciler(given, "drift", *given.arguments, stdout=file)
    _show(out)
    if code not in (0, DRIFTED):
        return code
    _output(drifted=str(code == DRIFTED).lower())
    text = out.read_text(encoding="utf-8")
    told = _fenced(text)
    _summary(told)
    marker = given.marker("drift")
    ours = [
        entry
        for entry in forge.each("issues", state="open")
        if "pull_request" not in entry and _is_ours(entry, marker=marker, author=given.author)
    ]
    title = f"Drift of {given.environment or 'the default environment'}"
    body = f"{marker}\nThe remote is not as recorded, says [this run]({_run_url()}).\n\n{told}"
    if code == DRIFTED and ours:
        forge.patch(f"issues/{int(ours[0]['number'])}", {"title": title, "body": body})
    elif code == DRIFTED:
        forge.post("issues", {"title": title, "body": body})
    for entry in ours if code == 0 else ours[1:]:
        forge.patch(f"issues/{int(entry['number'])}", {"state": "closed"})
    _share_state(given)
    return 0


COMMANDS = {"plan": plan, "apply": apply, "drift": drift}


def _reconciler(given: Inputs, *arguments: str | Path, stdout: Any = None) -> int:
    """Run a command of the project, by default into the log, and return its exit code."""
    where = ["-C", given.directory, *(["-e", given.environment] if given.environment else [])]
    return _run(given, *where, *arguments, stdout=stdout)


def _run(given: Inputs, *arguments: str | Path, stdout: Any = None) -> int:
    # It has no use for the token, and what it runs (commands that fetch a key) has none either.
    environment = {name: value for name, value in os.environ.items() if name != "RECONCILER_ACTION_TOKEN"}
    with _no_commands():
        return subprocess.run(  # noqa: S603 - no shell reads it
            [given.executable, *map(str, arguments)], stdout=stdout, env=environment, check=False
        ).returncode


def _summary_of(given: Inputs, saved: Path) -> None:
    """Add the plan to the summary, which has more room than a comment. Raises Failure when it cannot be."""
    path = _summary_file()
    whole = ("--whole", f"{_run_url()}#artifacts")
    if _run(given, "show", saved, *whole, f"--report=summary=+{path}", stdout=subprocess.DEVNULL):
        raise Failure("the plan could not be told in the job's summary")


def _snapshot(given: Inputs, forge: Forge) -> Path:
    """Return the newest snapshot of the state that a run of the default branch left. Raises Failure without one."""
    branch = str(_event()["repository"]["default_branch"])
    found = [
        entry
        for entry in forge.each("actions/artifacts", "artifacts", name=given.state_artifact)
        if not entry["expired"]
        and entry["workflow_run"]["head_branch"] == branch
        and entry["workflow_run"]["head_repository_id"] == entry["workflow_run"]["repository_id"]
    ]
    if not found:
        raise Failure(
            f'there is no snapshot of the state ("{given.state_artifact}"): '
            f'run `apply` or `drift` with "share-state: true" on {branch} first'
        )
    path = _folder("state") / "state.json"
    path.write_bytes(forge.member(max(found, key=lambda entry: int(entry["id"])), "state.json"))
    return path


def _share_state(given: Inputs) -> None:
    if not given.share_state:
        return
    path = _folder("shared") / "state.json"
    if _reconciler(given, "state", "pull", "--out", path):
        raise Failure("the state could not be pulled")
    _output(**{"snapshot": str(path), "snapshot-artifact": given.state_artifact})


def _event() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes())
    return document


def _folder(name: str) -> Path:
    """Return a new folder that later steps can read and the next job does not."""
    folder = Path(os.environ["RUNNER_TEMP"]) / f"reconciler-{name}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    return folder


def _summary_file() -> str:
    return os.environ["GITHUB_STEP_SUMMARY"]


def _summary(text: str) -> None:
    with Path(_summary_file()).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def _output(**values: str) -> None:
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={_one_line(value)}\n" for name, value in values.items())


def _show(path: Path) -> None:
    """Copy a file into the log."""
    with _no_commands():
        _say(path.read_text(encoding="utf-8") + "\n")


@contextmanager
def _no_commands() -> Iterator[None]:
    """Have the runner take no line for a command meanwhile: what manifests say is anybody's text."""
    word = secrets.token_hex(16)
    _say(f"::stop-commands::{word}\n")
    try:
        yield
    finally:
        _say(f"::{word}::\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _fenced(text: str) -> str:
    """Return text as a block of Markdown that it cannot end, cut to what an issue takes."""
    room = COMMENT_CHARACTERS - 2_000
    lines = text.splitlines()
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", text))]))
    cut = (
        f"\n{len(lines) - len(kept)} of {len(lines)} lines are left out; the log has them."
        if len(kept) < len(lines)
        else ""
    )
    shown = "\n".join(kept)
    return f"{fence}text\n{shown}\n{fence}{cut}"


def _run_url() -> str:
    server, repository, run = (os.environ[f"GITHUB_{name}"] for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"{server}/{repository}/actions/runs/{run}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:40]


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def main() -> int:
    """Run the command and return its exit code."""
    try:
        given = inputs()
        return COMMANDS[given.command](given, Forge(given.token))
    except Failure as failure:
        text = str(failure).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        _say(f"::error title=reconciler::{text}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
