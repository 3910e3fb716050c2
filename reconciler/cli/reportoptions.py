"""The options that ask for reports of a plan: which forms, in which files, how large. It writes none."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from reconciler.problems import Problem, UsageError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("text", "markdown", "comment", "summary", "html", "json", "sarif", "junit", "annotations")

BUDGETS = {"comment": 65_536, "summary": 1024 * 1024}
"""How many bytes a form may have at most, where nothing else is asked for: what GitHub takes of a comment and of the
summary of a job's step."""

LEAST_BUDGET = 1_000
STDOUT = "-"
_STDOUTS = (STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is asked for: its form, and the file that becomes it, or with `append` the one that it ends."""

    form: str
    path: str
    append: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: reports, the bytes of those that have a budget (None: their form's), where the whole is."""

    reports: tuple[Report, ...] = ()
    budget: int | None = None
    whole: str = ""

    def has(self, form: str) -> bool:
        """Whether a report of this form is among them."""
        return any(report.form == form for report in self.reports)

    def budget_of(self, form: str) -> int | None:
        """Return how many bytes a report of this form may have, None for any number."""
        if form in BUDGETS:
            return self.budget or BUDGETS[form]
        return self.budget if form == "markdown" else None


NO_REPORTS = Wanted()


def report_options(function: F) -> F:
    """Add --report, --budget and --whole, which come to the command as one value, `wanted`."""

    @wraps(function)
    def command(*, reports: tuple[Report, ...], budget: int | None, whole: str, **others: Any) -> Any:
        taken = {os.path.realpath(path) for name in ("out", "access_out") if (path := others.get(name)) is not None}
        for report in reports:
            if report.path != STDOUT and os.path.realpath(report.path) in taken:
                raise _twice(report)
        return function(wanted=Wanted(reports, budget, whole), **others)

    for option in (
        click.option(
            "--whole",
            metavar="TEXT",
            default="",
            help="Where a report that was cut to its budget says that the whole plan is: the address of an artifact.",
        ),
        click.option(
            "--budget",
            type=click.IntRange(min=LEAST_BUDGET),
            metavar="BYTES",
            help="How large the reports `markdown`, `comment` and `summary` may be; by default 65,536 bytes for a "
            "comment and 1 MiB for a summary.",
        ),
        click.option(
            "--report",
            "reports",
            metavar="FORM=PATH",
            multiple=True,
            callback=_reports,
            help=f"Write a report as well (repeatable): {', '.join(FORMS)}. +PATH appends to the file, - is stdout.",
        ),
    ):
        command = option(command)
    return cast("F", command)


def _reports(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[Report, ...]:
    reports = tuple(map(_report, texts))
    files = [(os.path.realpath(report.path), report) for report in reports if report.path != STDOUT]
    named = [file for file, _ in files]
    for file, report in files:
        if not report.append and named.count(file) > 1:
            raise _twice(report)
    return reports


def _twice(report: Report) -> UsageError:
    return UsageError(
        Problem(
            "report-twice",
            f'two reports, or a report and a plan, go to "{report.path}"',
            why="one would replace the other.",
            fix="give each a file of its own; +PATH appends to another report.",
        )
    )


def _report(text: str) -> Report:
    form, equals, path = text.partition("=")
    if form not in FORMS or not equals or path in ("", "+"):
        raise UsageError(
            Problem(
                "unknown-report",
                f'--report is "{text}", which names no form and file',
                fix=did_you_mean(form, FORMS) or f"write FORM=PATH with one of the forms {', '.join(FORMS)}.",
            )
        )
    if path in _STDOUTS:
        return Report(form, STDOUT)
    if path.startswith("+"):
        return Report(form, path[1:], append=True)
    # Every step of a job adds to this file; who replaced it would take away what the steps before have said.
    summary = os.environ.get(_STEP_SUMMARY)
    return Report(form, path, append=bool(summary) and Path(path).absolute() == Path(summary or "").absolute())
