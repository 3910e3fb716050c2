"""An outline as GitHub-flavoured Markdown: tally and names in the open, details folded away.

Names and values stand in code spans and fenced blocks, where neither HTML nor mentions nor
references are read; prose passes through `escape`. No foreign text stands in a table or in raw HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from reconciler.planning.change import Action
from reconciler.planning.plan import Hazard
from reconciler.rendering.blame import from_text
from reconciler.rendering.fields import FieldRow
from reconciler.rendering.outline import ACTION_ORDER, Detail, Fold, Group, Name, Outline, Row
from reconciler.rendering.text import (
    CALLS_LISTED,
    SYMBOLS,
    call_text,
    cost_line,
    field_text,
    fold_detail_title,
    hazards_title,
    hidden_problem_lines,
    quota_lines,
    sorted_hazards,
    status_lines,
    summary_line,
    tests_line,
)
from reconciler.rendering.values import count, kind_noun, longest_run, visible

# Prose never begins a line here, so what is markup only there stays as it is.
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~$&@]|:(?=//)|(?i:(?<=www)\.|(?<=\bGH)-)")
VERB_HEADINGS = {Action.CREATE: "Create", Action.UPDATE: "Update", Action.DELETE: "Delete"}


def escape(text: str) -> str:
    """Return prose that Markdown and GitHub show letter by letter: no markup, HTML, mention, reference or link.

    Character references are never markup. `@` and `#` are also cut off from what follows, since
    GitHub looks for mentions and references after it has decoded them.
    """
    return _SPECIAL.sub(_escaped, visible(text))


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    reference = f"&#{ord(character)};"
    return f"{reference}<!-- -->" if character in "@#-" else reference


def code(text: str) -> str:
    """Return a code span that shows `text` as it is, backticks included."""
    shown = visible(text)
    if not shown:
        return '`""`'
    fence = "`" * (longest_run("`", [shown]) + 1)
    padding = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def fenced(lines: list[str], language: str) -> list[str]:
    """Return a fenced block around lines that are already `visible`."""
    fence = "`" * max(3, longest_run("`", lines) + 1)
    return [f"{fence}{language}", *lines, fence]


def render_markdown(outline: Outline) -> str:
    """Return the plan as Markdown that begins and ends with its summary line."""
    parts = [
        _head(outline),
        _hazards(outline.hazards),
        _doubts(outline),
        tally(outline),
        _access(outline),
        _expiring(outline),
        _tests(outline),
        _problems(outline),
        _names(outline),
        _details(outline),
        _calls(outline),
        [summary_line(outline)],
    ]
    texts = ("\n".join(lines).strip("\n") for lines in parts)
    return "\n\n".join(text for text in texts if text) + "\n"


def _head(outline: Outline) -> Iterator[str]:
    yield f"### Plan for {code(outline.environment)}"
    yield ""
    yield f"**{summary_line(outline)}**"
    facts = [f"Organization {code(outline.organization)}"] if outline.organization else []
    facts.append(f"state serial {outline.serial}" if outline.lineage else "no state yet")
    if outline.commit:
        facts.append(f"commit {outline.commit}")
    if outline.selection:
        facts.append("only " + ", ".join(code(entry) for entry in outline.selection))
    yield ""
    yield ", ".join(facts) + "."


def _access(outline: Outline) -> Iterator[str]:
    lines = [*outline.access, visible(outline.effective)] if outline.effective else outline.access
    if lines:
        yield "#### Access"
        yield ""
        yield from fenced(list(lines), "text")


def _doubts(outline: Outline) -> Iterator[str]:
    if outline.doubts:
        yield "#### Unknown outcomes"
        yield ""
        yield from fenced([visible(line) for line in outline.doubts], "text")


def _expiring(outline: Outline) -> Iterator[str]:
    if outline.expiring:
        yield "#### Grants that end"
        yield ""
        yield from fenced([visible(line) for line in outline.expiring], "text")


def _tests(outline: Outline) -> Iterator[str]:
    line = tests_line(outline)
    yield f"**{line}**" if outline.tests.failed else line


def tally(outline: Outline) -> Iterator[str]:
    """Yield how many of each kind are created, updated and deleted, as a table; nothing where nothing changes."""
    if outline.is_empty:
        return
    yield "| | create | update | delete |"
    yield "| --- | ---: | ---: | ---: |"
    for row in outline.tally:
        cells = (f"{number:,}" if number else "" for number in (row.create, row.update, row.delete))
        yield f"| {kind_noun(row.kind, 2)} | {' | '.join(cells)} |"


def _hazards(hazards: tuple[Hazard, ...]) -> Iterator[str]:
    if not hazards:
        return
    yield f"#### {hazards_title(hazards)}"
    yield ""
    for hazard in sorted_hazards(hazards):
        name = code(f"{hazard.name}:{hazard.subject}" if hazard.subject else hazard.name)
        yield f"- {name}{' (allowed)' if hazard.allowed else ''}: {escape(hazard.what)}"
        for address in hazard.addresses:
            yield f"  - {code(address)}"
        more = hazard.count - len(hazard.addresses)
        if hazard.addresses and more > 0:
            yield f"  - and {more:,} more"
        yield from _why_and_fix(hazard.why, hazard.fix)


def _problems(outline: Outline) -> Iterator[str]:
    if not outline.problems:
        return
    yield f"#### Problems: {len(outline.problems) + sum(number for _, number in outline.hidden_problems):,}"
    yield ""
    for problem in outline.problems:
        place = str(problem.position) if problem.position else problem.where
        start = f"{code(place)}: " if place else ""
        yield f"- {start}{problem.severity.value} {code(problem.code)}: {escape(problem.what)}"
        yield from _why_and_fix(problem.why, problem.fix)
    yield from (f"- {escape(line)}" for line in hidden_problem_lines(outline))


def _why_and_fix(why: str, fix: str) -> Iterator[str]:
    if why:
        yield f"  - why: {escape(why)}"
    if fix:
        first, *rest = fix.split("\n")
        commands = "".join(f" {code(line.strip())}" for line in rest if line.strip())
        yield f"  - fix: {escape(first)}{commands}"


def _names(outline: Outline) -> Iterator[str]:
    for action in ACTION_ORDER:
        groups = [group for group in outline.groups if group.action is action]
        if not groups:
            continue
        yield f"#### {VERB_HEADINGS[action]}: {sum(group.count for group in groups):,}"
        yield ""
        for group in groups:
            yield from _group(group)
        yield ""


def _group(group: Group) -> Iterator[str]:
    yield f"- {group.count:,} {kind_noun(group.kind, group.count)} in {code(group.scope)}"
    for fold in group.folds:
        examples = ", ".join(code(name.name) for name in fold.examples)
        yield f"  - {_fold_title(fold, group)}: {examples} and {fold.count - len(fold.examples):,} more"
    for name in group.names:
        yield f"  - {_name(name)}"


def _fold_title(fold: Fold, group: Group) -> str:
    title = f"{fold.count:,} {kind_noun(group.kind, fold.count)}"
    if group.action is Action.UPDATE:
        paths = ", ".join(code(path) for path in fold.paths)
        title += f", only {paths}" if fold.paths else ", no field differs"
    return f"{title} ({escape(fold.note)})" if fold.note else title


def _name(name: Name) -> str:
    return code(name.name) + (f" ({escape(name.note)})" if name.note else "")


def _details(outline: Outline) -> Iterator[str]:
    if outline.detail in (Detail.NONE, Detail.NAMES):
        return
    lines = [line for group in outline.groups for entry in group_details(group) for line in entry]
    if not lines:
        return
    told = sum(len(group.rows) + len(group.folds) for group in outline.groups)
    yield f"<details><summary>Details ({told:,})</summary>"
    yield ""
    yield from fenced([visible(line) for line in lines], "diff")
    yield ""
    yield "</details>"


def group_details(group: Group) -> Iterator[list[str]]:
    """Yield the lines of a diff block, for each change or pattern of changes that is told in detail.

    `+` and `-` begin what comes and goes, `!` what changes, `#` says whose it is.
    """
    for fold in group.folds:
        if fold.rows:
            yield [
                f"# ~ {fold_detail_title(fold, group)}",
                *(line for entry in fold.rows for line in _field(entry)),
            ]
    for row in group.rows:
        yield list(_row(group, row))


def _row(group: Group, row: Row) -> Iterator[str]:
    note = f" ({row.name.note})" if row.name.note else ""
    yield f"# {SYMBOLS[group.action]} {kind_noun(group.kind, 1)} in {group.scope}: {row.name.name}{note}"
    if row.origins:
        yield f"#   {from_text(row.origins)}"
    yield from (line for entry in row.fields for line in _field(entry))
    for line in row.body_diff:
        mark = line[:1] if line[:1] in "+-" else " "
        yield f"{mark}   | {line}"
    if row.body_diff_hidden:
        yield f"    | and {count(row.body_diff_hidden, 'line')} more"


def _field(row: FieldRow) -> Iterator[str]:
    yield from _values(row)
    if row.origins:
        yield f"#     {from_text(row.origins)}"


def _values(row: FieldRow) -> Iterator[str]:
    name, before, after = field_text(row)
    if row.is_list:
        yield from (f"-   {name}: {entry}" for entry in row.removed)
        yield from (f"+   {name}: {entry}" for entry in row.added)
        if row.hidden:
            yield f"    {name}: and {row.hidden:,} more"
        return
    if before:
        yield f"-   {name}: {before}"
    if after:
        yield f"+   {name}: {after}"
    yield from (f"!     {note}" for note in row.notes)


def _calls(outline: Outline) -> Iterator[str]:
    if outline.is_empty:
        return
    yield "#### Calls"
    yield ""
    yield cost_line(outline.calls)
    if outline.state_only:
        yield f"{count(outline.state_only, 'change')} without a call: only the state records it."
    for line in chain(status_lines(outline.calls), quota_lines(outline.calls)):
        yield visible(line)
    stages = outline.calls.stages
    if not stages:
        return
    lines = []
    for stage in stages:
        lines.append(stage.name)
        shown = stage.calls if outline.detail is Detail.FULL else stage.calls[:CALLS_LISTED]
        lines += [f"  {call_text(row)}" for row in shown]
        if len(stage.calls) > len(shown):
            lines.append(f"  and {count(len(stage.calls) - len(shown), 'call')} more")
    yield ""
    yield f"<details><summary>Requests ({outline.calls.requests:,})</summary>"
    yield ""
    yield from fenced([visible(line) for line in lines], "text")
    yield ""
    yield "</details>"
