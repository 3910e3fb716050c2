"""Putting things before the user: plans and problems in the form that was asked for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli import loudness
from reconciler.cli.makeplan import Planned
from reconciler.cli.options import wants_color
from reconciler.cli.session import Session
from reconciler.problems import Position, Problem, errors_in

PLAIN_WIDTH = 100

# The folders that what a job says of files is relative to.
_ROOTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")


def write(text: str) -> None:
    """Write data to stdout as UTF-8, whatever the locale."""
    click.echo(text.encode(), nl=False)


def show_plan(planned: Planned, session: Session, *, output: str, detail: str, body_diffs: bool = False) -> None:
    """Print a plan in one of its forms."""
    if output == "json":
        from reconciler.rendering.jsondoc import render_json

        write(render_json(planned.plan, planned.compiled))
        return
    from reconciler.rendering.outline import Detail, outline

    diffs = None
    if body_diffs:
        from reconciler.cli.bodydiffs import body_diffs_of

        diffs = body_diffs_of(planned, session)
    made = outline(
        planned.plan,
        planned.compiled,
        detail=Detail(detail),
        body_diffs=diffs,
        source_providers=session.source_providers,
        everybody=output == "html",
    )
    if output == "markdown":
        from reconciler.rendering.markdown import render_markdown

        write(render_markdown(made))
    elif output == "html":
        from reconciler.rendering.html import render_html

        write(render_html(made))
    else:
        from reconciler.rendering.text import render_plan

        write(render_plan(made, width=terminal_width(), color=wants_color(sys.stdout)))


def terminal_width() -> int:
    """Return the width to wrap to: the terminal's, or one that is the same everywhere."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if sys.stdout.isatty() else PLAIN_WIDTH


def show_problems(problems: Iterable[Problem], root: Path | None = None) -> None:
    """Tell problems on stderr: all at once for people, one by one for programs, and of a quiet command the errors."""
    from reconciler.logs import ERROR, INFO, WARNING, tell
    from reconciler.rendering.problems import render_problems, sort_problems

    loudness.install()
    found = from_here(problems, root)
    if loudness.is_json():
        for problem in sort_problems(found):
            loudness.tell_problem(problem)
        return
    errors = errors_in(found)
    shown = errors if loudness.is_quiet() else found
    text = render_problems(shown, color=wants_color(sys.stderr))
    tell("problems", text.removesuffix("\n"), ERROR if errors else WARNING if found else INFO)


def from_here(problems: Iterable[Problem], root: Path | None) -> list[Problem]:
    """Return the problems with their files relative to the working directory instead of the project's folder."""
    prefix = prefix_of(root)
    if not prefix:
        return list(problems)
    return [
        replace(
            problem,
            position=_moved(problem.position, prefix) if problem.position else None,
            related=tuple(replace(entry, position=_moved(entry.position, prefix)) for entry in problem.related),
        )
        for problem in problems
    ]


def prefix_of(root: Path | None) -> str:
    """Return the path from the working directory to the project's folder, with `/`, or nothing if it is here."""
    if root is None:
        return ""
    try:
        relative = os.path.relpath(root)
    except ValueError:
        return root.as_posix()
    return "" if relative == "." else Path(relative).as_posix()


def folder_in_job(root: Path | None) -> str:
    """Return the project's folder as a job knows it: from the root of what was checked out, else from here."""
    if root is not None:
        for name in _ROOTS:
            value = os.environ.get(name)
            if value and root.resolve().is_relative_to(Path(value).resolve()):
                relative = root.resolve().relative_to(Path(value).resolve()).as_posix()
                return "" if relative == "." else relative
    return prefix_of(root)


def _moved(position: Position, prefix: str) -> Position:
    return replace(position, file=f"{prefix}/{position.file}")
