"""An outline as plain text for a terminal or a log.

Symbols are ASCII, colour is optional and never the only sign of anything. Whatever comes from names
and values passes through `visible` here, so that it can neither move the cursor nor start a line.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain

from reconciler.calls.quotas import UNLIMITED
from reconciler.planning.change import Action
from reconciler.planning.plan import Hazard
from reconciler.rendering.blame import from_text
from reconciler.rendering.calls import CallRow, CallsSummary, StageRow
from reconciler.rendering.fields import FieldRow
from reconciler.rendering.outline import Detail, Fold, Group, Name, Outline, Row
from reconciler.rendering.problems import problem_lines
from reconciler.rendering.styles import paint
from reconciler.rendering.values import count, kind_count, kind_noun, visible

SYMBOLS = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-"}
CALLS_LISTED = 20
STATUSES_LISTED = 5

_SIGN_STYLES = {"+": "green", "~": "yellow", "-": "red", "!": "red"}


def render_plan(outline: Outline, *, width: int, color: bool) -> str:
    """Return the plan as text that ends with its summary line.

    Prose is wrapped to `width`; names and values are never broken, so that they can be searched for.
    """
    return "\n".join(_Text(max(width, 40), color).plan(outline)) + "\n"


def summary_line(outline: Outline) -> str:
    """Return the last line of every rendered plan; its form never varies."""
    if outline.is_empty:
        are = "is" if outline.unchanged == 1 else "are"
        return f"No changes. {count(outline.unchanged, 'resource')} {are} as recorded; no call is needed."
    return (
        f"Plan: {outline.create:,} to create, {outline.update:,} to update, {outline.delete:,} to delete, "
        f"{outline.unchanged:,} unchanged; {count(outline.calls.count, 'call')}."
    )


def cost_line(calls: CallsSummary) -> str:
    """Return what all calls amount to, beside what one call for each change would cost."""
    bound = "at most " if calls.at_most else ""
    return (
        f"{count(calls.count, 'call')} for {count(calls.resources, 'resource')}, {bound}{calls.size:,} B: "
        f"{count(calls.api_calls, 'API call')} in {count(calls.requests, 'request')}; "
        f"one call per change would be {count(calls.one_by_one, 'API call')}."
    )


def heading(outline: Outline) -> str:
    """Return what the plan is for and what it was made from."""
    where = f'Plan for "{outline.environment}"'
    if outline.organization:
        where += f" (organization {outline.organization})"
    state = f"from serial {outline.serial} of its state" if outline.lineage else "with no state yet"
    commit = f", at commit {outline.commit}" if outline.commit else ""
    return f"{where}, {state}{commit}"


def fold_title(fold: Fold, group: Group, *, where: str = "") -> str:
    """Return what the folded changes have in common: `4,812 items: only metadata.date`."""
    title = kind_count(group.kind, fold.count) + where
    if group.action is Action.UPDATE:
        title += f": only {', '.join(fold.paths)}" if fold.paths else ": no field differs"
    return f"{title} ({fold.note})" if fold.note else title


def fold_detail_title(fold: Fold, group: Group) -> str:
    """Return a fold's title where it stands alone: with its scope, and for whom the rows below it hold."""
    told = "all alike" if fold.uniform else f"for example {fold.examples[0].name}"
    return f"{fold_title(fold, group, where=f' in {group.scope}')}; {told}"


def hazards_title(hazards: tuple[Hazard, ...]) -> str:
    """Return how many hazards there are and how many of them nobody has allowed."""
    blocking = sum(not hazard.allowed for hazard in hazards)
    told = f"{blocking:,} of {len(hazards):,} must be allowed by name" if blocking else "all allowed"
    return f"Hazards ({told})"


def sorted_hazards(hazards: tuple[Hazard, ...]) -> list[Hazard]:
    """Return the hazards in reading order, those that block first."""
    return sorted(hazards, key=lambda hazard: (hazard.allowed, hazard.name, hazard.subject))


def field_text(row: FieldRow) -> tuple[str, str, str]:
    """Return a row's name, old and new value, or its name, nothing and what its list gained and lost."""
    name = f"{row.path}, {row.label}" if row.label else row.path
    if not row.is_list:
        return name, row.before, row.after
    parts = [f"+{entry}" for entry in row.added] + [f"-{entry}" for entry in row.removed]
    if row.hidden:
        parts.append(f"and {row.hidden:,} more")
    return name, "", " ".join(parts)


def call_text(row: CallRow) -> str:
    """Return one call: its number, request line, how many resources, how many bytes."""
    query = "&".join(f"{name}={value}" for name, value in row.query)
    path = f"{row.path}?{query}" if query else row.path
    verbs = [f"{row.puts:,} put"] if row.puts else []
    verbs += [f"{row.patches:,} update in part"] if row.patches else []
    verbs += [f"{row.deletes:,} delete"] if row.deletes else []
    bound = "at most " if row.at_most else ""
    verbs += [f"and removes {row.takes_along}"] if row.takes_along else []
    return f"{row.number}. {row.method} {path}: {', '.join(verbs)}, {bound}{row.size:,} B"


def tests_line(outline: Outline) -> str:
    """Return how many access tests hold or fail; nothing when there are none."""
    tests = outline.tests
    if tests.failed:
        return f"{tests.failed:,} of {count(tests.run, 'access test')} {'fails' if tests.failed == 1 else 'fail'}."
    return f"{count(tests.run, 'access test')} {'holds' if tests.run == 1 else 'hold'}." if tests.run else ""


def hidden_problem_lines(outline: Outline) -> Iterator[str]:
    """Yield how many problems of each code are not shown."""
    for code, number in outline.hidden_problems:
        yield f"... and {number:,} more [{code}]; --detail full shows all"


def quota_lines(calls: CallsSummary) -> Iterator[str]:
    """Yield what the calls take of the day's quota, and how long the allowed pace makes them last."""
    quota, allowed = calls.quota, calls.allowed
    if quota is None or allowed == UNLIMITED:
        return
    parts = []
    if allowed.calls_per_day is not None:
        share = quota.calls / allowed.calls_per_day
        parts.append(f"{quota.calls:,} of {count(allowed.calls_per_day, 'call')} a day ({share:.1%})")
    if allowed.items_per_day is not None:
        share = quota.items / allowed.items_per_day
        parts.append(f"{quota.items:,} of {count(allowed.items_per_day, 'item')} a day ({share:.1%})")
    pace = ""
    if allowed.burst_calls is not None:
        pace = f" At {allowed.burst_calls:,} calls in {allowed.burst_seconds:,} s they need {_duration(quota.seconds)}."
    yield f"Quota: {', '.join(parts) or count(quota.calls, 'call')}.{pace}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "no wait"
    minutes = math.ceil(seconds / 60)
    return f"about {minutes:,} min" if minutes < 120 else f"about {math.ceil(minutes / 60):,} h"


def status_lines(calls: CallsSummary) -> Iterator[str]:
    """Yield what sources are told of their activity, one line for each kind of activity."""
    for status in sorted({status for _, status in calls.statuses}):
        names = [source for source, told in calls.statuses if told == status]
        shown = ", ".join(names[:STATUSES_LISTED])
        more = f" and {len(names) - STATUSES_LISTED:,} more" if len(names) > STATUSES_LISTED else ""
        yield f"Activity: {status}, then IDLE, of {shown}{more}: {count(2 * len(names), 'API call')} more."


class _Text:
    """Writes the parts of a plan, each as lines."""

    def __init__(self, width: int, color: bool) -> None:
        self._width = width
        self._color = color

    def plan(self, outline: Outline) -> Iterator[str]:
        yield self._paint(visible(heading(outline)), "bold")
        if outline.selection:
            yield visible(f"Only: {', '.join(outline.selection)}")
        yield ""
        for part in (
            self._hazards(outline.hazards),
            self._doubts(outline),
            self._tally(outline),
            self._access(outline),
            self._expiring(outline),
            self._tests(outline),
            self._problems(outline),
            self._names(outline),
            self._details(outline),
            self._calls(outline),
        ):
            lines = list(part)
            if lines:
                yield from lines
                yield ""
        yield self._paint(summary_line(outline), "bold")

    def _paint(self, text: str, style: str) -> str:
        return paint(text, style, color=self._color)

    def _sign(self, sign: str) -> str:
        return self._paint(sign, _SIGN_STYLES[sign])

    def _access(self, outline: Outline) -> Iterator[str]:
        lines = [*outline.access, outline.effective] if outline.effective else outline.access
        if lines:
            yield self._paint("Access", "bold")
        yield from self._indented(lines)

    def _doubts(self, outline: Outline) -> Iterator[str]:
        if outline.doubts:
            yield self._paint("Unknown outcomes", "bold")
        yield from self._indented(outline.doubts)

    def _expiring(self, outline: Outline) -> Iterator[str]:
        if outline.expiring:
            yield self._paint("Grants that end", "bold")
        yield from self._indented(outline.expiring)

    def _indented(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            indent = len(line) - len(line.lstrip())
            yield from self._prose(f"  {' ' * indent}", line.lstrip(), f"      {' ' * indent}")

    def _tests(self, outline: Outline) -> Iterator[str]:
        if line := tests_line(outline):
            yield self._paint(line, "red" if outline.tests.failed else "")

    def _tally(self, outline: Outline) -> Iterator[str]:
        if outline.is_empty:
            return
        rows = [["", "create", "update", "delete"]]
        for row in outline.tally:
            counts = (row.create, row.update, row.delete)
            rows.append([kind_noun(row.kind, 2), *(f"{number:,}" if number else "." for number in counts)])
        widths = [max(len(row[place]) for row in rows) for place in range(4)]
        for name, *cells in rows:
            aligned = (cell.rjust(size) for cell, size in zip(cells, widths[1:], strict=True))
            yield "  ".join(["", name.ljust(widths[0]), *aligned])
        yield f"  {outline.unchanged:,} unchanged"

    def _hazards(self, hazards: tuple[Hazard, ...]) -> Iterator[str]:
        if not hazards:
            return
        yield self._paint(hazards_title(hazards), "bold")
        for hazard in sorted_hazards(hazards):
            name = f"{hazard.name}:{hazard.subject}" if hazard.subject else hazard.name
            state = " (allowed)" if hazard.allowed else ""
            lines = self._prose("  ! ", f"{name}{state}: {hazard.what}", "      ")
            yield next(lines).replace("!", self._sign("!"), 1)
            yield from lines
            yield from (f"      {visible(address)}" for address in hazard.addresses)
            more = hazard.count - len(hazard.addresses)
            if hazard.addresses and more > 0:
                yield f"      and {more:,} more"
            if hazard.why:
                yield from self._prose("      why: ", hazard.why, "        ")
            first, *rest = hazard.fix.split("\n")
            if first:
                yield from self._prose("      fix: ", first, "        ")
            yield from (f"          {visible(line.strip())}" for line in rest if line.strip())

    def _problems(self, outline: Outline) -> Iterator[str]:
        for problem in outline.problems:
            yield from problem_lines(problem, color=self._color)
        yield from hidden_problem_lines(outline)

    def _prose(self, start: str, text: str, indent: str) -> Iterator[str]:
        """Wrap prose; a word is never broken, so that names in it can be searched for."""
        lines = textwrap.wrap(
            visible(text),
            width=self._width,
            initial_indent=start,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from lines or [start]

    def _names(self, outline: Outline) -> Iterator[str]:
        for group in outline.groups:
            what = kind_count(group.kind, group.count)
            yield self._group_line(group, what)
            for fold in group.folds:
                yield f"    {visible(fold_title(fold, group))}"
                for name in fold.examples:
                    yield f"      {self._name(name, fold.note)}"
                yield f"      and {fold.count - len(fold.examples):,} more"
            for name in group.names:
                yield f"    {self._name(name)}"

    def _group_line(self, group: Group, what: str) -> str:
        sign = SYMBOLS[group.action]
        text = visible(f"{sign} {group.action.value} {what} in {group.scope}")
        return "  " + self._paint(text, _SIGN_STYLES[sign])

    def _name(self, name: Name, told: str = "") -> str:
        note = f" ({name.note})" if name.note and name.note != told else ""
        return visible(name.name + note)

    def _details(self, outline: Outline) -> Iterator[str]:
        if outline.detail in (Detail.NONE, Detail.NAMES):
            return
        for group in outline.groups:
            for fold in group.folds:
                if fold.rows:
                    yield f"{self._sign('~')} {visible(fold_detail_title(fold, group))}"
                    for entry in fold.rows:
                        yield from self._field(entry)
            for row in group.rows:
                yield from self._row(group, row)

    def _row(self, group: Group, row: Row) -> Iterator[str]:
        sign = SYMBOLS[group.action]
        kind = kind_noun(group.kind, 1)
        yield f"{self._sign(sign)} {visible(f'{kind} in {group.scope}: ')}{self._name(row.name)}"
        if row.origins:
            yield f"    {visible(from_text(row.origins))}"
        for entry in row.fields:
            yield from self._field(entry)
        for line in row.body_diff:
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            text = visible(line)
            yield f"      | {self._paint(text, style) if style else text}"
        if row.body_diff_hidden:
            yield f"      | and {count(row.body_diff_hidden, 'line')} more"

    def _field(self, row: FieldRow) -> Iterator[str]:
        name, before, after = (visible(part) for part in field_text(row))
        start = f"    {name}: "
        if row.is_list or row.sign == "+" or (not before and after):
            yield start + after
        elif not after:
            yield f"{start}{before} -> (none)"
        elif len(start) + len(before) + len(after) + 4 <= self._width:
            yield f"{start}{before} -> {after}"
        else:
            yield start + before
            yield f"{' ' * (len(start) - 3)}-> {after}"
        for note in row.notes:
            yield f"      {visible(note)}"
        if row.origins:
            yield f"      {visible(from_text(row.origins))}"

    def _calls(self, outline: Outline) -> Iterator[str]:
        calls = outline.calls
        if outline.is_empty:
            return
        yield self._paint("Calls", "bold")
        yield from self._prose("  ", cost_line(calls), "  ")
        if outline.state_only:
            yield f"  {count(outline.state_only, 'change')} without a call: only the state records it."
        for line in chain(status_lines(calls), quota_lines(calls)):
            yield from self._prose("  ", visible(line), "  ")
        for stage in calls.stages:
            yield from self._stage(stage, everything=outline.detail is Detail.FULL)

    def _stage(self, stage: StageRow, *, everything: bool) -> Iterator[str]:
        yield f"  {visible(stage.name)}"
        shown = stage.calls if everything else stage.calls[:CALLS_LISTED]
        for row in shown:
            yield f"    {visible(call_text(row))}"
        hidden = len(stage.calls) - len(shown)
        if hidden:
            yield f"    and {count(hidden, 'call')} more"
