"""Writes the reports that a command was asked for, all from one outline of the plan, or of what kept it from a plan.

A report that cannot be written is an error of the command: nobody who waits for one may take its absence for news.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.files import write_whole
from reconciler.cli.makeplan import Planned
from reconciler.cli.output import PLAIN_WIDTH, folder_in_job, write
from reconciler.cli.reportoptions import LEAST_BUDGET, STDOUT, Report, Wanted
from reconciler.cli.session import Session
from reconciler.planning.plan import Plan
from reconciler.problems import Position, Problem, ReconcilerError, Severity, UsageError

if TYPE_CHECKING:
    from reconciler.calls.call import Compiled
    from reconciler.manifest.load import Loaded
    from reconciler.rendering.outline import Outline

FOLDS = (20, 3)
"""Above how many changes that are alike a report under a budget tells their pattern: the second where names do not
fit."""


class ReportError(ReconcilerError):
    """A report cannot be written, or does not hold what nobody may decide without."""


@dataclass
class _Source:
    """What reports are made of: a plan with its calls and, unless it is a saved one, the project that it is of."""

    plan: Plan
    compiled: Compiled
    detail: str
    wanted: Wanted
    session: Session | None = None
    loaded: Loaded | None = None
    body_diffs: bool = False
    document: str = ""

    def outline(self, fold_above: int, *, everybody: bool) -> Outline:
        from reconciler.rendering.outline import Detail, outline

        return outline(
            self.plan,
            self.compiled,
            # Less would leave out who sees more.
            detail=Detail.FULL if self.detail == Detail.FULL else Detail.FIELDS,
            body_diffs=self._diffs,
            source_providers=self.session.source_providers if self.session is not None else None,
            fold_above=fold_above,
            everybody=everybody,
        )

    @cached_property
    def outlines(self) -> Sequence[Outline]:
        """The plan with everybody in it, each telling more by patterns than the one before."""
        return [self.outline(fold_above, everybody=True) for fold_above in FOLDS]

    @cached_property
    def manifests(self) -> Loaded | None:
        """The manifests, read again where the plan was made before from the same; None for a saved plan."""
        if self.session is None or self.loaded is not None:
            return self.loaded
        from reconciler.cli.worlds import loaded_manifests

        return loaded_manifests(self.session)

    @cached_property
    def _diffs(self) -> dict[str, list[str]] | None:
        if not self.body_diffs or self.session is None:
            return None
        from reconciler.cli.bodydiffs import body_diffs_of

        return body_diffs_of(Planned(self.plan, self.compiled, self.loaded), self.session)


def write_reports(
    planned: Planned, session: Session, wanted: Wanted, *, detail: str = "fields", body_diffs: bool = False
) -> None:
    """Write the reports of a plan. Raises ReconcilerError for those that cannot be written or hold too little."""
    if not wanted.reports:
        return
    of_manifests = not planned.plan.rollback and not planned.digest
    source = _Source(
        planned.plan,
        planned.compiled,
        detail,
        wanted,
        session if of_manifests else None,
        planned.loaded,
        body_diffs,
    )
    _write_all(wanted, lambda report: _rendered(report, source, session.folder.root, session.project_file))


def write_saved_reports(plan: Plan, compiled: Compiled, wanted: Wanted, *, detail: str, document: str) -> None:
    """Write the reports of a saved plan, of which `document` is the text."""
    source = _Source(plan, compiled, detail, wanted, document=document)
    _write_all(wanted, lambda report: _rendered(report, source, None, "reconciler.yaml"))


@contextmanager
def refusals_reported(wanted: Wanted) -> Iterator[None]:
    """Write the reports of what keeps a command from making a plan, if anything does: also that is news."""
    try:
        yield
    except (UsageError, ReportError):
        raise
    except ReconcilerError as error:
        folder = getattr(error, "folder", None)
        root = Path(folder) if folder else None
        # An excerpt is a line of a manifest, which whoever runs the command may see, and a report be published.
        problems = [replace(problem, excerpt="") for problem in error.problems]
        try:
            _write_all(wanted, lambda report: _refused(report, problems, root, wanted))
        except ReportError as unwritten:
            error.problems = (*error.problems, *unwritten.problems)
        raise


def _write_all(wanted: Wanted, made: Callable[[Report], tuple[str, Problem | None]]) -> None:
    problems: list[Problem] = []
    unmade: list[Problem] = []
    for report in wanted.reports:
        try:
            text, problem = made(report)
        except UsageError as error:
            # What nobody can make keeps no other report from those who wait for it.
            unmade += error.problems
            continue
        if problem is not None:
            problems.append(problem)
        try:
            _write(report, text)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise ReportError(*problems, *unmade)
    if unmade:
        raise UsageError(*unmade)


def _write(report: Report, text: str) -> None:
    if report.path == STDOUT:
        write(text)
        return
    path = Path(report.path)
    what = f"report `{report.form}`"
    if not report.append:
        write_whole(path, text.encode(), what, option="--report")
        return
    try:
        with path.open("ab") as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(
            Problem(
                "cannot-write",
                f'the {what} cannot be appended to "{path}": {os.strerror(error.errno or 0)}',
                fix="choose another file for --report.",
            )
        ) from None


def _rendered(report: Report, source: _Source, root: Path | None, project_file: str) -> tuple[str, Problem | None]:
    """Return a report, and what is wrong with it."""
    form, wanted = report.form, source.wanted
    budget = wanted.budget_of(form)
    if budget is not None:
        return _within(report, source, budget)
    if form == "json":
        from reconciler.rendering.jsondoc import render_json

        return source.document or render_json(source.plan, source.compiled), None
    if form in ("sarif", "annotations"):
        return _findings(form, _plan_findings(source, project_file), folder_in_job(root)), None
    if form == "junit":
        return _tests(source), None
    return _shown(form, source.outlines[0] if form == "html" else source.outline(FOLDS[0], everybody=False)), None


def _shown(form: str, made: Outline) -> str:
    if form == "markdown":
        from reconciler.rendering.markdown import render_markdown

        return render_markdown(made)
    if form == "html":
        from reconciler.rendering.html import render_html

        return render_html(made)
    from reconciler.rendering.text import render_plan

    return render_plan(made, width=PLAIN_WIDTH, color=False)


def _within(report: Report, source: _Source, budget: int) -> tuple[str, Problem | None]:
    from reconciler.rendering.budget import render_within

    wanted = source.wanted
    if report.append:
        # What the earlier commands of a step have said counts as well.
        with suppress(OSError):
            budget -= Path(report.path).stat().st_size
    whole = wanted.whole or _elsewhere(wanted)
    made = render_within(source.outlines, max(LEAST_BUDGET, budget), whole=whole, brief=report.form == "summary")
    if made.fits and len(made.text.encode()) <= budget:
        return made.text, None
    return made.text, Problem(
        "report-too-small",
        f"the report `{report.form}` has {max(budget, 0):,} bytes, and what nobody may decide without does not fit",
        why="it lacks hazards, widened access or deletions, and says so in its first lines.",
        fix="give it a larger --budget, or have the plan reviewed in a report without one (html, text, json).",
    )


def _elsewhere(wanted: Wanted) -> str:
    """Return the path of a report of the same run that tells the whole."""
    for form in ("html", "text", "json"):
        for report in wanted.reports:
            if report.form == form and report.path != STDOUT:
                return report.path
    return ""


def _findings(form: str, problems: Sequence[Problem], folder: str) -> str:
    if form == "annotations":
        from reconciler.rendering.annotations import render_annotations

        return render_annotations(problems, folder=folder)
    from reconciler.rendering.problems import render_sarif

    return render_sarif(problems, folder=folder)


def _plan_findings(source: _Source, project_file: str) -> list[Problem]:
    """Return the problems of a plan, its hazards and what lints find, each at a line: code hosts show no others."""
    from reconciler.cli.planning import hazard_problem

    loaded = source.manifests
    nowhere = Position(project_file, 1, 1)
    hazards = [
        replace(
            hazard_problem(hazard),
            severity=Severity.NOTE if hazard.allowed else Severity.ERROR,
            position=_declared(loaded, hazard.addresses) or nowhere,
        )
        for hazard in source.plan.hazards
    ]
    lints: list[Problem] = []
    if loaded is not None and source.session is not None:
        from reconciler.cli.linting import lints_of

        lints = lints_of(loaded, source.session.cache)
    known = list(source.plan.problems)
    found = [*known, *(lint for lint in lints if lint not in known)]
    return [*hazards, *(entry if entry.position else replace(entry, position=nowhere) for entry in found)]


def _declared(loaded: Loaded | None, addresses: Collection[str]) -> Position | None:
    """Return where the first of these addresses is declared that is."""
    if loaded is None:
        return None
    from reconciler.model.place import Place

    places = loaded.find_places([Place(address) for address in addresses])
    return next((places[Place(address)][0] for address in addresses if Place(address) in places), None)


def _tests(source: _Source) -> str:
    """Return what came of the access tests. Raises UsageError for a saved plan, which only counts them."""
    from reconciler.rendering.access_tests import tests_junit

    loaded, session = source.manifests, source.session
    if loaded is None or session is None:
        raise UsageError(
            Problem(
                "no-tests",
                "this plan does not hold its access tests, and no report `junit` can be made of it",
                why="a saved plan counts them and tells those that fail; that of a rollback has none.",
                fix="have `reconciler plan` or `reconciler test` write it.",
            )
        )
    from reconciler.cli.plantests import run_tests
    from reconciler.cli.worlds import desired_world

    ran, checks = run_tests(session, loaded, desired_world(session, loaded))
    return tests_junit(ran, checks.coverage())


def _refused(
    report: Report, problems: Sequence[Problem], root: Path | None, wanted: Wanted
) -> tuple[str, Problem | None]:
    """Return a report of the problems that no plan was made for."""
    from reconciler.rendering import problems as rendering

    form = report.form
    makers: dict[str, Callable[[], str]] = {
        "text": lambda: rendering.render_problems(problems),
        "json": lambda: rendering.render_problems_json(problems),
    }
    if form in makers:
        return makers[form](), None
    if form in ("sarif", "annotations"):
        return _findings(form, problems, folder_in_job(root)), None
    if form == "junit":
        from reconciler.rendering.access_tests import refused_junit

        return refused_junit(problems), None
    if form == "html":
        from reconciler.rendering.html import render_problems_html

        return render_problems_html(problems), None
    from reconciler.rendering.budget import render_problems_within

    return render_problems_within(problems, wanted.budget_of(form)).text, None
