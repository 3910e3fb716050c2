"""A runner of composite actions, as far as ours needs one: its steps, in bash, as GitHub documents that they run.

Knows `run` and `actions/upload-artifact`, the expressions `inputs.X`, `steps.ID.outputs.X` and `github.token`, and in
`if` the operators and `always()`. Anything else is an error, so that the action cannot outgrow its tests unseen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.builders import KEY, KEY_VARIABLE, REPOSITORY
from tests.forge.github import REPOSITORY as NAME
from tests.forge.github import TOKEN, GitHub

ACTION = REPOSITORY / ".github" / "actions" / "reconciler"


@dataclass
class Job:
    """One job of a workflow's run: what its steps see, and what they leave."""

    github: GitHub
    workspace: Path
    temp: Path
    sha: str
    run: int = 1
    branch: str = "main"
    event: dict[str, Any] = field(default_factory=dict)
    key: str = KEY
    head: int = 7
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        path = self.temp / "summary.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def uses(self, **inputs: str) -> int:
        """Run the action in this job; return 0, or the exit code of the first step that failed."""
        action = YAML(typ="safe").load(ACTION / "action.yml")
        assert set(inputs) <= set(action["inputs"])
        defaults = {name: str(entry.get("default", "")) for name, entry in action["inputs"].items()}
        values = {f"inputs.{name}": _filled(value, {"github.token": TOKEN}) for name, value in defaults.items()}
        values |= {f"inputs.{name}": value for name, value in inputs.items()}
        values.setdefault("inputs.executable", "")
        failed = 0
        for step in action["runs"]["steps"]:
            if _holds(step.get("if", "success()"), values, failed=bool(failed)):
                code = self._step(step, values)
                failed = failed or code
        self.outputs = {
            name.rsplit(".", 1)[1]: value for name, value in values.items() if name.startswith("steps.run.")
        }
        return failed

    def _step(self, step: dict[str, Any], values: dict[str, str]) -> int:
        if "uses" in step:
            assert step["uses"].startswith("actions/upload-artifact@")
            given = {name: _filled(str(value), values) for name, value in step["with"].items()}
            path = Path(given["path"])
            assert path.exists() and given["if-no-files-found"] == "error"
            self.github.upload(
                given["name"], path, run=self.run, sha=self._head_sha, branch=self.branch, head=self.head
            )
            return 0
        assert step["shell"] == "bash" and "${{" not in step["run"]
        output = self.temp / "output"
        output.write_text("")
        event = self.temp / "event.json"
        event.write_text(json.dumps({"repository": {"default_branch": "main"}, **self.event}))
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")},
                **{name: _filled(str(value), values) for name, value in step.get("env", {}).items()},
                KEY_VARIABLE: self.key,
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(ACTION),
                "GITHUB_API_URL": self.github.api,
                "GITHUB_EVENT_PATH": str(event),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_REPOSITORY": NAME,
                "GITHUB_RUN_ID": str(self.run),
                "GITHUB_SERVER_URL": "https://github.example.com",
                "GITHUB_SHA": self.sha,
                "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
                "GITHUB_WORKSPACE": str(self.workspace),
                "PYTHONPATH": str(REPOSITORY),
                "RUNNER_TEMP": str(self.temp),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.log += ran.stdout
        for line in output.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
        return ran.returncode

    @property
    def _head_sha(self) -> str:
        pull = self.event.get("pull_request")
        return str(pull["head"]["sha"]) if pull else self.sha


def executable(folder: Path) -> str:
    """Return the path of a command that runs the reconciler under test."""
    path = folder / "reconciler"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler.cli.main "$@"\n')
    path.chmod(0o755)
    return str(path)


def commands_in(log: str) -> list[str]:
    """Return the lines of a log that a runner takes for commands, as it does: not between stop and resume."""
    found: list[str] = []
    resume = ""
    for line in map(str.strip, log.splitlines()):
        if resume:
            resume = "" if line == f"::{resume}::" else resume
        elif line.startswith("::stop-commands::"):
            resume = line.removeprefix("::stop-commands::")
        elif line.startswith("::"):
            found.append(line)
    return found


def _filled(text: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        # An output that no step has set is empty.
        return values.get(name, "") if name.startswith("steps.") else values[name]

    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)


def _holds(condition: str, values: dict[str, str], *, failed: bool) -> bool:
    terms = [term.strip() for term in condition.split("&&")]
    if not any(term in ("always()", "success()") for term in terms):
        terms.append("success()")
    return all(_term(term, values, failed=failed) for term in terms)


def _term(term: str, values: dict[str, str], *, failed: bool) -> bool:
    if term in ("always()", "success()"):
        return term == "always()" or not failed
    found = re.fullmatch(r"([\w.-]+) (==|!=) '([^']*)'", term)
    assert found is not None, f"no such condition is known: {term}"
    value = values.get(found[1], "") if found[1].startswith("steps.") else values[found[1]]
    return (value == found[3]) == (found[2] == "==")
