"""Problems as the workflow commands of GitHub, which shows each beside the line that it is about.

A command is one line of a job's output: `::error file=,line=,col=,title=::message`. What could end it early or start
another is escaped, so that no name can give a command of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.problems import Problem, Severity
from reconciler.rendering.problems import sort_problems
from reconciler.rendering.values import visible

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_annotations(problems: Iterable[Problem], *, folder: str = "") -> str:
    """Return one command for each problem, worst first: a job shows ten of each severity.

    `folder` is the project's, seen from the repository's root.
    """
    ordered = sorted(sort_problems(problems), key=lambda problem: list(_COMMANDS).index(problem.severity))
    return "".join(f"{_command(problem, folder)}\n" for problem in ordered)


def _command(problem: Problem, folder: str) -> str:
    properties = []
    if problem.position is not None:
        place = problem.position
        path = "/".join(part for part in (folder.strip("/"), place.file) if part)
        properties += [("file", path), ("line", str(place.line)), ("col", str(place.column))]
        properties.append(("endColumn", str(place.column + place.length)))
    properties.append(("title", problem.code))
    told = ",".join(f"{name}={_property(value)}" for name, value in properties)
    lines = [visible(problem.what)]
    if problem.position is None and problem.where:
        lines[0] = f"{visible(problem.where)}: {lines[0]}"
    if problem.why:
        lines.append(f"why: {visible(problem.why)}")
    if problem.fix:
        lines.append(f"fix: {' '.join(visible(line.strip()) for line in problem.fix.splitlines())}")
    return f"::{_COMMANDS[problem.severity]} {told}::{_data(chr(10).join(lines))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(visible(text)).replace(":", "%3A").replace(",", "%2C")
