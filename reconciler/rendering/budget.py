"""An outline as Markdown in a number of bytes, for places that take no more: a comment, the summary of a job.

What fits whole is told whole. Otherwise each piece of the plan has a rank, and the pieces of the best ranks are
kept: hazards, widened access and deletions first, names before details. What was left out is counted in the first
lines. Pieces keep the order in which they are read, and each is whole or absent. It knows nothing of where the
report is posted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from reconciler.planning.change import Action
from reconciler.planning.plan import Hazard
from reconciler.problems import Problem, Severity
from reconciler.rendering.exposure import exposure_lines
from reconciler.rendering.markdown import VERB_HEADINGS, code, escape, fenced, group_details, render_markdown, tally
from reconciler.rendering.outline import ACTION_ORDER, Detail, Fold, Group, Name, Outline, Row
from reconciler.rendering.problems import count_line, sort_problems
from reconciler.rendering.text import cost_line, fold_title, hazards_title, summary_line, tests_line
from reconciler.rendering.values import ELLIPSIS, count, kind_noun, visible

LINE = 120
"""Bytes of the line that tells one change by its name, at most, with its line break."""

SPARED = 4
"""The part of what is left (a quarter) that names of deletions do not take from what ranks behind them."""

_LONG_LINE = 400
_HEAD = 60


class Rank(IntEnum):
    """What is kept before what. The first three are what nobody may decide without.

    A deletion is always told in the number of its group; its name ranks behind that, and behind what stops the plan.
    """

    HAZARD = 0
    WIDENING = 1
    DELETION = 2
    ERROR = 3
    FACT = 4
    GROUP = 5
    DELETED_NAME = 6
    ACCESS_CHANGE = 7
    ACCESS = 8
    PATTERN = 9
    NAME = 10
    WARNING = 11
    ADVICE = 12
    DETAIL = 13


_WORDS = {
    Rank.HAZARD: ("hazard", "hazards"),
    Rank.WIDENING: ("line on widened access", "lines on widened access"),
    Rank.DELETION: ("group of deletions", "groups of deletions"),
    Rank.DELETED_NAME: ("name of what is deleted", "names of what is deleted"),
    Rank.ERROR: ("error", "errors"),
    Rank.ACCESS: ("line on access", "lines on access"),
    Rank.ACCESS_CHANGE: ("update of access", "updates of access"),
    Rank.GROUP: ("group of other changes", "groups of other changes"),
    Rank.PATTERN: ("pattern of changes", "patterns of changes"),
    Rank.NAME: ("change by its name", "changes by their names"),
    Rank.WARNING: ("warning", "warnings"),
    Rank.FACT: ("line of facts", "lines of facts"),
    Rank.ADVICE: ("piece of advice", "pieces of advice"),
    Rank.DETAIL: ("change in detail", "changes in detail"),
}
_NEEDED = (Rank.HAZARD, Rank.WIDENING, Rank.DELETION)
_ALL_COUNTED = ": every hazard, all widened access and all deletions are counted here"


@dataclass(frozen=True, slots=True)
class Within:
    """A report in its budget.

    `left_out` counts what it does not tell, by rank. It `fits` when no hazard, no widened access and no group of
    deletions is left out: nobody may decide by one that does not.
    """

    text: str
    left_out: tuple[tuple[Rank, int], ...] = ()
    in_numbers: tuple[tuple[Action, int], ...] = ()
    """How many changes of each verb it tells neither by name nor by a pattern."""

    @property
    def fits(self) -> bool:
        """Whether what nobody may decide without is told."""
        return not any(rank in _NEEDED for rank, _ in self.left_out)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines that are told together or not at all.

    They tell so many `changes` of a verb. A `frame` is told where anything else of its section is.
    """

    rank: Rank
    lines: tuple[str, ...]
    section: int
    changes: int = 0
    action: Action | None = None

    @property
    def frame(self) -> bool:
        return self.changes == FRAME

    @property
    def size(self) -> int:
        return sum(len(line.encode()) + 1 for line in self.lines)


def render_within(outlines: Sequence[Outline], budget: int, *, whole: str = "", brief: bool = False) -> Within:
    """Return the plan in at most `budget` bytes of UTF-8, at least 1,000.

    `outlines` are of one plan, with everybody in them, each folding more than the one before: the first is taken that
    needs nothing left out, else the last. `whole` says where the whole is. A `brief` report has no details: each change
    that it names takes one line of at most 120 bytes.
    """
    if not (brief or _hides_deletions(outlines[0])):
        text = render_markdown(outlines[0])
        if len(text.encode()) <= budget:
            return Within(text)
    for outline in outlines:
        found = _cut(outline, budget, whole, brief=brief)
        if all(rank is Rank.DETAIL for rank, _ in found.left_out):
            break
    return found


def _hides_deletions(outline: Outline) -> bool:
    return any(group.folds for group in outline.groups if group.action is Action.DELETE)


def render_problems_within(problems: Sequence[Problem], budget: int | None = None) -> Within:
    """Return the problems that kept a command from making a plan, as Markdown in at most `budget` bytes."""
    ordered = sort_problems(problems)
    head = f"### No plan\n\n**{count_line(ordered)}**\n"
    pieces = [_Piece(rank, tuple(lines), 0, changes) for rank, lines, changes in _problems(ordered, ())]
    return _fitted(head, pieces, "", budget, "`reconciler validate` shows all.")


def _cut(outline: Outline, budget: int, whole: str, *, brief: bool) -> Within:
    pieces = list(_pieces(outline, brief=brief))
    return _fitted(_head(outline), pieces, f"\n{summary_line(outline)}\n", budget, _whole(whole), _ALL_COUNTED)


def _fitted(head: str, pieces: Sequence[_Piece], tail: str, budget: int | None, whole: str, claim: str = "") -> Within:
    everything = _text(head, "", pieces, tail)
    if budget is None or len(everything.encode()) <= budget:
        return Within(everything)
    told = [piece for piece in pieces if not piece.frame]
    totals = Counter(piece.rank for piece in told)
    worst = _notice(totals, totals, _changes_of(told), budget, whole, claim)  # with everything left out it is longest
    if len(f"{head}{worst}{tail}".encode()) > budget - budget // SPARED:
        whole, tail = "", ""
        worst = _notice(totals, totals, {}, budget, whole, claim)
    room = budget - len(f"{head}{worst}{tail}".encode())
    kept = _kept(pieces, room)
    missing = [piece for piece, keep in zip(pieces, kept, strict=True) if not keep and not piece.frame]
    left = Counter(piece.rank for piece in missing)
    changes = _changes_of(missing)
    notice = _notice(left, totals, changes if whole else {}, budget, whole, claim)
    shown = [piece for piece, keep in zip(pieces, kept, strict=True) if keep]
    return Within(_text(head, notice, shown, tail), tuple(sorted(left.items())), tuple(changes.items()))


def _changes_of(pieces: Iterable[_Piece]) -> dict[Action, int]:
    """Return how many changes of each verb pieces tell."""
    changes: Counter[Action] = Counter()
    for piece in pieces:
        if piece.action is not None:
            changes[piece.action] += piece.changes
    return {action: changes[action] for action in ACTION_ORDER if changes[action]}


def _kept(pieces: Sequence[_Piece], room: int) -> list[bool]:
    """Return which pieces are told: by rank as many as fit, and the frame of each section of which any is."""
    kept = [False] * len(pieces)
    parents = list(_parents(pieces))
    frames: Counter[int] = Counter()
    for piece in pieces:
        if piece.frame:
            frames[piece.section] += piece.size
    opened: set[int] = set()
    spared: int | None = None
    for at in sorted(range(len(pieces)), key=lambda at: (pieces[at].rank, at)):
        piece, parent = pieces[at], parents[at]
        if piece.frame or (parent is not None and not kept[parent]):
            continue
        size = piece.size + (0 if piece.section in opened else frames[piece.section])
        if piece.rank is Rank.DELETED_NAME and spared is None:
            spared = room // SPARED
        if size <= room - (spared or 0 if piece.rank is Rank.DELETED_NAME else 0):
            kept[at] = True
            room -= size
            opened.add(piece.section)
    return [keep or (piece.frame and piece.section in opened) for keep, piece in zip(kept, pieces, strict=True)]


def _parents(pieces: Sequence[_Piece]) -> Iterator[int | None]:
    """Yield for each piece the one that it is a part of: below which it is indented."""
    parent: int | None = None
    for at, piece in enumerate(pieces):
        is_part = bool(piece.lines) and piece.lines[0].startswith("  ")
        yield parent if is_part else None
        if not is_part:
            parent = at


def _text(head: str, notice: str, pieces: Iterable[_Piece], tail: str) -> str:
    lines = "".join(f"{line}\n" for piece in pieces for line in piece.lines)
    return f"{head}{notice}{lines}{tail}"


def _head(outline: Outline) -> str:
    return f"### Plan for {code(_windowed(outline.environment, _HEAD))}\n\n**{summary_line(outline)}**\n"


def _notice(
    left: Mapping[Rank, int],
    totals: Mapping[Rank, int],
    changes: Mapping[Action, int],
    budget: int,
    whole: str,
    claim: str,
) -> str:
    """Return what the first lines say of what is left out; shortly where there is no room to say where the whole is."""
    ranks = [rank for rank in Rank if left.get(rank) and (whole or rank in _NEEDED)]
    told = [f"{left[rank]:,} of {count(totals[rank], *_WORDS[rank])}" for rank in ranks]
    if others := sum(left.values()) - sum(left[rank] for rank in ranks):
        told.append(f"{others:,} of {count(sum(totals.values()), 'other piece')}")
    if any(left.get(rank) for rank in _NEEDED):
        first = f"**Do not decide by this report: what matters most does not fit in {budget:,} bytes.**"
    else:
        first = f"**Cut to {budget:,} bytes**{claim}."
    verbs = ", ".join(f"{number:,} to {action.value}" for action, number in changes.items())
    numbers = f" Told in numbers alone: {verbs}." if verbs else ""
    return f"\n{first} Left out: {', '.join(told)}.{numbers} {whole}".rstrip() + "\n"


def _whole(whole: str) -> str:
    return (
        f"The whole is at {code(_windowed(whole, _LONG_LINE))}."
        if whole
        else "`reconciler plan --detail full` shows the whole."
    )


def _pieces(outline: Outline, *, brief: bool) -> Iterator[_Piece]:
    sections: list[tuple[Iterable[_Part], Action | None]] = [
        (_facts(outline), None),
        (_hazards(outline.hazards), None),
        (_tally(outline), None),
        (_access(outline), None),
        (_notes(outline), None),
        (_problems(outline.problems, outline.hidden_problems), None),
        *((_names(outline, action), action) for action in ACTION_ORDER),
        (() if brief else _details(outline), None),
        (_calls(outline), None),
    ]
    for number, (section, action) in enumerate(sections):
        for rank, lines, changes in section:
            yield _Piece(rank, tuple(lines), number, changes, action)


FRAME = -1

_Part = tuple[Rank, Sequence[str], int]
"""What becomes a piece: the last is how many changes it tells, or FRAME."""


def _heading(text: str) -> _Part:
    return Rank.HAZARD, ("", f"#### {text}", ""), FRAME


def _facts(outline: Outline) -> Iterator[_Part]:
    facts = [f"Organization {code(_windowed(outline.organization, _HEAD))}"] if outline.organization else []
    facts.append(f"state serial {outline.serial}" if outline.lineage else "no state yet")
    if outline.commit:
        facts.append(f"commit {outline.commit}")
    facts += [f"only {code(_windowed(entry, _HEAD))}" for entry in outline.selection]
    yield Rank.FACT, ("", f"{', '.join(facts)}."), 0


def _calls(outline: Outline) -> Iterator[_Part]:
    if not outline.is_empty:
        yield Rank.FACT, ("", cost_line(outline.calls)), 0


def _hazards(hazards: tuple[Hazard, ...]) -> Iterator[_Part]:
    if not hazards:
        return
    yield _heading(hazards_title(hazards))
    for hazard in sorted(hazards, key=lambda entry: (entry.allowed, entry.name, entry.subject)):
        name = code(f"{hazard.name}:{hazard.subject}" if hazard.subject else hazard.name)
        what = _windowed(hazard.what, _LONG_LINE)
        yield Rank.HAZARD, (f"- {name}{' (allowed)' if hazard.allowed else ''}: {escape(what)}",), 0
        for word, said in (("why", hazard.why), ("fix", hazard.fix)):
            if said:
                yield Rank.ADVICE, (f"  - {word}: {escape(_windowed(_one_line(said), _LONG_LINE))}",), 0


def _tally(outline: Outline) -> Iterator[_Part]:
    lines = list(tally(outline))
    if lines:
        yield Rank.FACT, ("", *lines), 0


def _access(outline: Outline) -> Iterator[_Part]:
    lines = list(_access_lines(outline))
    if not lines:
        return
    yield _heading("Access")
    for rank, line in lines:
        indent = "  " if line.startswith(" ") else ""
        yield rank, (f"{indent}- {code(_windowed(line.strip(), _LONG_LINE))}",), 0


def _access_lines(outline: Outline) -> Iterator[tuple[Rank, str]]:
    """Yield what is said of access: who sees more in all, then why, who sees less, and when."""
    if outline.exposure is None:
        yield from ((Rank.WIDENING, line) for line in outline.access)
        return
    for line in exposure_lines(dict(outline.exposure), entries=None, hazards=False):
        widens = line.startswith("+") or (line[:1] not in "- " and " gain" in line)
        yield Rank.WIDENING if widens else Rank.ACCESS, line
    yield from ((Rank.ACCESS, line) for line in (*outline.order, *((outline.effective,) if outline.effective else ())))


def _notes(outline: Outline) -> Iterator[_Part]:
    """Yield what is in doubt, which grants end, and what the access tests came to."""
    if not (outline.doubts or outline.expiring or outline.tests.run):
        return
    yield _heading("Also")
    if outline.tests.run:
        yield Rank.ERROR, (f"- {tests_line(outline)}",), 0
    for line in outline.doubts:
        yield Rank.ERROR, (f"- {code(_windowed(line.strip(), _LONG_LINE))}",), 0
    for line in outline.expiring:
        yield Rank.WARNING, (f"- {code(_windowed(line.strip(), _LONG_LINE))}",), 0


def _problems(problems: Sequence[Problem], hidden: Sequence[tuple[str, int]]) -> Iterator[_Part]:
    if not problems:
        return
    yield _heading(f"Problems: {len(problems) + sum(number for _, number in hidden):,}")
    for problem in problems:
        place = str(problem.position) if problem.position else problem.where
        start = f"{code(_windowed(place, LINE))}: " if place else ""
        told = f"- {start}{problem.severity.value} {code(problem.code)}: {escape(_windowed(problem.what, _LONG_LINE))}"
        yield Rank.ERROR if problem.severity is Severity.ERROR else Rank.WARNING, (told,), 0
        for word, said in (("why", problem.why), ("fix", problem.fix)):
            if said:
                yield Rank.ADVICE, (f"  - {word}: {escape(_windowed(_one_line(said), _LONG_LINE))}",), 0
    for name, number in hidden:
        yield Rank.WARNING, (f"- and {number:,} more {code(name)}",), 0


def _names(outline: Outline, action: Action) -> Iterator[_Part]:
    groups = [group for group in outline.groups if group.action is action]
    if not groups:
        return
    yield _heading(f"{VERB_HEADINGS[action]}: {sum(group.count for group in groups):,}")
    deletes = action is Action.DELETE
    for group in groups:
        title = f"- {group.count:,} {kind_noun(group.kind, group.count)} in {code(_windowed(group.scope, _HEAD))}"
        yield Rank.DELETION if deletes else Rank.GROUP, (title,), 0
        for fold in group.folds:
            yield from _fold(fold, group)
        rows = {row.name.address: row for row in group.rows}
        for name in group.names:
            row = rows.get(name.address)
            opens = row is not None and row.touches_access and action is Action.UPDATE
            rank = Rank.ACCESS_CHANGE if opens else Rank.NAME
            yield Rank.DELETED_NAME if deletes else rank, (_name_line(name, row, group.action),), 1


def _fold(fold: Fold, group: Group) -> Iterator[_Part]:
    if group.action is Action.DELETE:
        yield from ((Rank.DELETED_NAME, (_name_line(name, None, group.action),), 1) for name in fold.names)
        return
    rank = Rank.ACCESS_CHANGE if fold.touches_access and group.action is Action.UPDATE else Rank.PATTERN
    yield rank, (_pattern_line(fold, group),), fold.count


def _pattern_line(fold: Fold, group: Group) -> str:
    """Return the line of a pattern, no longer than those that would name each of its changes."""
    line = ""
    for room in range(_LONG_LINE, 0, -20):
        title = escape(_windowed(fold_title(fold, group), room))
        examples = ", ".join(code(_windowed(name.name, min(LINE, room))) for name in fold.examples)
        line = f"  - {title}: {examples} and {fold.count - len(fold.examples):,} more"
        if len(line.encode()) < LINE * fold.count:
            break
    return line


def _name_line(name: Name, row: Row | None, action: Action) -> str:
    """Return the line of one change, in at most 120 bytes with its line break."""
    fields = sorted({entry.path for entry in row.fields}) if row is not None and action is Action.UPDATE else []
    told = "; ".join(filter(None, (", ".join(fields), name.note)))
    tail = f" ({escape(_windowed(told, 24))})" if told else ""
    if len(tail.encode()) > LINE // 2:
        tail = ""
    for room in range(LINE - 7 - len(tail.encode()), 0, -4):
        line = f"  - {code(_windowed(name.name, room))}{tail}"
        if len(line.encode()) < LINE:
            return line
    return "  - `" + ELLIPSIS + "`"


def _details(outline: Outline) -> Iterator[_Part]:
    """Yield what changes field by field, access first."""
    if outline.detail in (Detail.NONE, Detail.NAMES):
        return
    told = [entry for group in outline.groups for entry in group_details(group)]
    if not told:
        return
    yield _heading("Details")
    for lines in told:
        yield Rank.DETAIL, tuple(fenced([visible(line) for line in lines], "diff")), 0


def _windowed(text: str, room: int) -> str:
    """Return a text in at most so many bytes of UTF-8: its beginning and its end, which tell names apart."""
    shown = visible(text)
    if len(shown.encode()) <= room:
        return shown
    mark = ELLIPSIS.encode()
    half = max(0, (room - len(mark)) // 2)
    data = shown.encode()
    start = data[: room - len(mark) - half].decode(errors="ignore")
    return start + ELLIPSIS + (data[len(data) - half :].decode(errors="ignore") if half else "")


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
