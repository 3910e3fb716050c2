"""An outline as one HTML page, and so the exposure of `access diff`: nothing is loaded, and all can be read as it is.

Every string passes through `visible` and is escaped as it enters a template (`templates/`); the only text that does
not is the style sheet and, on the page of a plan, the script that searches it, which the page's policy allows by their
digests. That script takes nothing from the page for markup. It knows nothing of how a page is sent.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reconciler.model.address import Kind
from reconciler.planning.change import Action
from reconciler.problems import Problem, errors_in
from reconciler.rendering.calls import StageRow
from reconciler.rendering.exposureview import SideView, exposure_view, hazard_views
from reconciler.rendering.matrix import access_matrix
from reconciler.rendering.outline import Detail, Outline
from reconciler.rendering.problems import count_line, sort_problems
from reconciler.rendering.text import (
    CALLS_LISTED,
    SYMBOLS,
    call_text,
    cost_line,
    fold_title,
    hazards_title,
    hidden_problem_lines,
    quota_lines,
    sorted_hazards,
    status_lines,
    summary_line,
    tests_line,
)
from reconciler.rendering.values import count, kind_noun, visible

NAMES_LISTED = 5_000  # of a pattern, for a search to find
OPENED = 30  # rows in detail up to which all of them are shown unfolded

_STYLES = {Action.CREATE: "plus", Action.UPDATE: "warn-ink", Action.DELETE: "minus"}
_VERBS = {Action.CREATE: "Create", Action.UPDATE: "Update", Action.DELETE: "Delete"}


@dataclass(frozen=True, slots=True)
class _Stop:
    """Something for which an apply would refuse the plan, and the section that tells of it."""

    told: str
    section: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the table of contents; `count` 0 is not shown."""

    title: str
    section: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Stage:
    """The calls of a stage as lines, as many as are listed."""

    name: str
    calls: int
    lines: Sequence[str]
    hidden: int


@dataclass(frozen=True, slots=True)
class _Ends:
    """Grants that end, alike in how soon, as lines."""

    what: str
    entries: list[str]


def render_html(outline: Outline) -> str:
    """Return the plan as a whole HTML document."""
    calls = chain([cost_line(outline.calls)], status_lines(outline.calls), quota_lines(outline.calls))
    if outline.state_only:
        calls = chain(calls, [f"{count(outline.state_only, 'change')} without a call: only the state records it."])
    # There is something to search where changes are told one by one.
    script = _file(_environment(), "find.js") if outline.groups else ""
    problems = len(outline.problems) + sum(number for _, number in outline.hidden_problems)
    return _page(
        "plan.html.j2",
        plan=outline,
        summary=summary_line(outline),
        stops=list(_stops(outline)),
        contents=list(_contents(outline, problems)),
        found=_found(outline),
        doubts=_titled(outline.doubts),
        expiring=_titled(outline.expiring),
        tests=tests_line(outline),
        hazards=sorted_hazards(outline.hazards),
        hazards_title=hazards_title(outline.hazards),
        problem_count=problems,
        hidden_problems=list(hidden_problem_lines(outline)),
        opened=sum(len(group.rows) for group in outline.groups) <= OPENED,
        call_lines=list(calls),
        stages=[_stage(stage, everything=outline.detail is Detail.FULL) for stage in outline.calls.stages],
        styles=_STYLES,
        signs=SYMBOLS,
        verbs=_VERBS,
        fold_title=fold_title,
        listed=NAMES_LISTED,
        matrix=access_matrix(outline.exposure) if outline.exposure is not None else None,
        kinds=list(dict.fromkeys(group.kind for group in outline.groups)),
        actions=list(dict.fromkeys(group.action for group in outline.groups)),
        scopes=sorted({group.scope for group in outline.groups}),
        script=script,
        policy=_policy(script),
    )


def render_exposure_html(document: Mapping[str, Any], *, before: str, after: str) -> str:
    """Return an exposure (`rendering.exposuredoc`) as a whole HTML document; it is from `before` to `after`."""
    hazards = hazard_views(document)
    return _page("access.html.j2", before=before, after=after, found=exposure_view(document, None), hazards=hazards)


def render_problems_html(problems: Sequence[Problem]) -> str:
    """Return the problems that kept a command from making a plan, as a whole HTML document."""
    ordered = sort_problems(problems)
    return _page("problems.html.j2", problems=ordered, told=count_line(ordered))


def _stops(outline: Outline) -> Iterator[_Stop]:
    if outline.tests.failed:
        yield _Stop(tests_line(outline), "problems")
    others = [problem for problem in errors_in(outline.problems) if problem.code != "access-test-failed"]
    if others:
        yield _Stop(f"{count(len(others), 'error')} of the manifests.", "problems")
    if any(not hazard.allowed for hazard in outline.hazards):
        yield _Stop(f"{hazards_title(outline.hazards)}.", "hazards")


def _contents(outline: Outline, problems: int) -> Iterator[_Entry]:
    if outline.hazards:
        yield _Entry("Hazards", "hazards", len(outline.hazards))
    if outline.doubts:
        yield _Entry("Unknown outcomes", "doubts")
    if outline.access or outline.effective:
        yield _Entry("Access", "access")
    if outline.expiring:
        yield _Entry("Grants that end", "expiring")
    if outline.tests.run:
        yield _Entry("Access tests", "tests", outline.tests.run)
    if problems:
        yield _Entry("Problems", "problems", problems)
    if not outline.is_empty:
        yield _Entry("Changes", "changes", outline.create + outline.update + outline.delete)
        yield _Entry("Calls", "calls", outline.calls.count)


def _titled(lines: Iterable[str]) -> list[_Ends]:
    """Return the lines with those that are indented below each that is not."""
    found: list[_Ends] = []
    for line in lines:
        if line.startswith(" ") and found:
            found[-1].entries.append(line.strip())
        else:
            found.append(_Ends(line, []))
    return found


def _stage(stage: StageRow, *, everything: bool) -> _Stage:
    shown = stage.calls if everything else stage.calls[:CALLS_LISTED]
    return _Stage(stage.name, len(stage.calls), [call_text(row) for row in shown], len(stage.calls) - len(shown))


def _found(outline: Outline) -> tuple[SideView, ...] | None:
    if outline.exposure is None:
        return None
    return exposure_view(outline.exposure, None)


def _page(name: str, **values: Any) -> str:
    environment = _environment()
    return environment.get_template(name).render({"policy": _policy(), "script": "", **values}) + "\n"


@cache
def _environment() -> Environment:
    """Return the templates, in which every string is made visible and escaped by itself."""
    environment = Environment(
        loader=PackageLoader("reconciler.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    environment.globals.update(style=_file(environment, "page.css"))
    environment.filters.update(number=_grouped, count=count, noun=_noun)
    return environment


def _file(environment: Environment, name: str) -> Markup:
    """Return a file of this package as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])  # noqa: S704 - nobody else's


def _policy(script: str = "") -> str:
    """Return the policy of a page: nothing but its own style and, where it has one, its own script."""
    allowed = [("style-src", str(_environment().globals["style"])), *([("script-src", script)] if script else ())]
    sources = "; ".join(f"{what} 'sha256-{_digest(text)}'" for what, text in allowed)
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _seen(value: Any) -> Any:
    return value if isinstance(value, Markup) else visible(str(value))


def _grouped(number: int) -> str:
    return f"{number:,}"


def _noun(kind: Kind, number: int) -> str:
    return kind_noun(kind, number)
