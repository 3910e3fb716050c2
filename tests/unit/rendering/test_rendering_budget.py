"""A plan as Markdown in any number of bytes: read back, it agrees with the plan, and says what it leaves out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rendered_plans import HOSTILE, OPEN, WIDER, calls_for, change, folding_plan, hostile_plan, mixed_plan, plan_of

from reconciler.model.address import Kind
from reconciler.model.canonical import canonical_json
from reconciler.planning.change import Action
from reconciler.planning.plan import AccessTests, Hazard, Plan
from reconciler.problems import Position, Problem, Severity
from reconciler.rendering.budget import LINE, Rank, Within, render_problems_within, render_within
from reconciler.rendering.markdown import render_markdown
from reconciler.rendering.outline import outline

LEAST, MOST = 1_000, 1024 * 1024
SWEEP = (*range(LEAST, 4_000, 250), *range(4_000, 20_000, 2_000), 32_768, 65_535, 65_536, 65_537, 262_144, MOST)
ODD = ("🚀" * 12, "日本語のページ", "\U000e0041" * 4 + "x", "`" * 9, "<b>&amp;", HOSTILE)
TALLY = re.compile(r"Plan: ([\d,]+) to create, ([\d,]+) to update, ([\d,]+) to delete")
IN_NUMBERS = re.compile(r"([\d,]+) to (\w+)")
SHORT = 4_000  # below it there may be no room to say of which verbs those are that are told in numbers alone
LEFT = re.compile(r"([\d,]+) of ([\d,]+) ([a-z ]+?)(?:,|\.)")


def odd(number: int) -> str:
    return ODD[number % len(ODD)]


def gained(number: int) -> dict[str, Any]:
    return {
        "kind": "edited",
        "source": "handbook",
        "items": 1,
        "people": 1,
        "public": False,
        "domains": [],
        "examples": [f"item/handbook/file://wide/{number}/{odd(number)}"],
        "because": ["group/corp/A"] if number % 3 == 0 else [],
        "more_causes": 0,
        "persons": [f"user/corp/{number}@example.com"],
        "identities": [f"user/corp/{number}@example.com"],
    }


def large_plan(changes: int, *, shifts: int = 12, hazards: int = 4, name: str = "") -> Plan:
    """A plan of so many creates, updates of metadata, updates of access and deletions each, with odd names."""
    entries = []
    for number in range(changes):
        told = name or odd(number)
        entries += [
            change(Kind.ITEM, "handbook", f"file://new/{number}/{told}", None, ({"metadata": {}}, OPEN)),
            change(Kind.ITEM, "handbook", f"file://old/{number}/{told}", ({"metadata": {}}, OPEN), None),
            change(
                Kind.ITEM,
                "handbook",
                f"file://dated/{number}/{told}",
                ({"metadata": {"date": str(number)}}, OPEN),
                ({"metadata": {"date": "2026", f"key{number % 9}": told}}, OPEN),
            ),
            change(
                Kind.ITEM,
                "handbook",
                f"file://wide/{number}/{told}",
                ({"metadata": {}, "title": "a" * (number % 3)}, OPEN),
                ({"metadata": {}}, WIDER),
            ),
        ]
    listed = [gained(number) for number in range(shifts)]
    totals = {f"{what}_{side}": 0 for what in ("pairs", "people", "items") for side in ("gained", "lost")}
    totals |= {"pairs_gained": shifts, "people_gained": shifts, "items_gained": shifts}
    access = {
        "complete": True,
        "gained": listed,
        "lost": [],
        "more": {"gained": 0, "lost": 0},
        "totals": totals,
        "causes": {"group/corp/A": {"gone": [], "new": ["user:1 in group:A"]}},
        "hazards": [],
    }
    return plan_of(
        *entries,
        hazards=tuple(
            Hazard(f"widened-access-{at}", f"{odd(at)} is seen", "why not", "fix it", f"s{at}") for at in range(hazards)
        ),
        problems=tuple(
            Problem(f"p{at}", odd(at), "w", "f", Position(f"{odd(at)}.yaml", 1, 1), severity=Severity.WARNING)
            for at in range(6)
        ),
        access=canonical_json(access) if shifts else b"",
        tests=AccessTests(3, 0),
    )


@dataclass
class Read:
    """What a report says, found in it as Markdown is read: text that is code is code, and none of its markup."""

    tally: tuple[int, ...]
    head: str
    hazards: int = 0
    widened: int = 0
    listed: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    in_numbers: dict[str, int] = field(default_factory=dict)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def read(text: str) -> Read:
    """Read a report that was cut, or is brief."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    section, inlines = "", []
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"list_item_open": 1, "list_item_close": -1}.get(token.type, 0)
        if token.type == "inline":
            if at and tokens[at - 1].type == "heading_open":
                section = token.content
            else:
                inlines.append((section, depth, token.content))
    tally = TALLY.search(inlines[0][2])
    assert tally is not None
    found = Read(tuple(map(number, tally.groups())), inlines[1][2] if len(inlines) > 1 else "")
    for where, depth, content in inlines:
        word = where.split(":")[0]
        if where.startswith("Hazards") and depth == 1:
            found.hazards += 1
        elif where == "Access" and content.strip("` ").startswith("+"):
            found.widened += 1
        elif word in ("Create", "Update", "Delete") and depth == 1:
            found.totals[word] = found.totals.get(word, 0) + number(content.split(" ")[0])
        elif word in ("Create", "Update", "Delete") and depth == 2:
            folded = re.match(r"([\d,]+) items", content)
            found.listed[word] = found.listed.get(word, 0) + (number(folded[1]) if folded else 1)
    if "Left out: " in found.head:
        told, _, numbers = found.head.split("Left out: ")[1].partition("Told in numbers alone: ")
        found.left = {words: (number(left), number(total)) for left, total, words in LEFT.findall(told)}
        found.in_numbers = {verb: number(count) for count, verb in IN_NUMBERS.findall(numbers.partition(".")[0])}
    return found


def within(plan: Plan, budget: int, **more: Any) -> Within:
    compiled = calls_for(plan)
    return render_within(
        [outline(plan, compiled, fold_above=above, everybody=True) for above in (20, 3)], budget, **more
    )


def agrees(plan: Plan, made: Within, budget: int) -> None:
    """Hold what a report says against the plan that it is of."""
    assert len(made.text.encode()) <= budget
    told = read(made.text)
    counts = {action: plan.count(action) for action in (Action.CREATE, Action.UPDATE, Action.DELETE)}
    assert told.tally == tuple(counts.values())
    left, in_numbers = dict(made.left_out), dict(made.in_numbers)
    assert sum(count for count, _ in told.left.values()) == sum(left.values())
    assert told.hazards == len(plan.hazards) - left.get(Rank.HAZARD, 0)
    for action, number in counts.items():
        # Each change is told by name, by a pattern, or in the numbers of the first lines.
        listed = told.listed.get(action.value.title(), 0)
        assert listed + in_numbers.get(action, 0) == number
    assert told.in_numbers in ({}, {action.value: number for action, number in in_numbers.items()})
    assert made.fits is ("Do not decide by this report" not in told.head)
    if made.fits:
        assert told.hazards == len(plan.hazards)
        assert told.totals.get("Delete", 0) == counts[Action.DELETE]
        assert told.in_numbers or not in_numbers or budget < SHORT


@pytest.mark.parametrize("brief", [False, True])
def test_a_report_of_any_size_agrees_with_its_plan(brief: bool) -> None:
    plan = large_plan(150)
    compiled = calls_for(plan)
    outlines = [outline(plan, compiled, fold_above=above, everybody=True) for above in (20, 3)]
    for budget in SWEEP:
        made = render_within(outlines, budget, brief=brief)
        if not brief and made.text == render_markdown(outlines[0]):
            assert len(made.text.encode()) <= budget
            continue
        agrees(plan, made, budget)
        if made.fits:
            assert read(made.text).widened == 12
    assert not made.left_out


@settings(max_examples=40)
@given(
    budget=st.integers(LEAST, 30_000),
    changes=st.integers(1, 30),
    shifts=st.integers(1, 8),
    hazards=st.integers(0, 9),
    name=st.text(max_size=80).map(lambda text: text.replace("\0", "")),
)
def test_no_name_makes_a_report_larger_than_its_budget_or_say_less_than_it_does(
    budget: int, changes: int, shifts: int, hazards: int, name: str
) -> None:
    plan = large_plan(changes, shifts=shifts, hazards=hazards, name=name)
    agrees(plan, within(plan, budget, brief=True, whole=name), budget)


@pytest.mark.parametrize("make", [mixed_plan, folding_plan, hostile_plan])
def test_what_fits_is_told_whole(make: Any) -> None:
    plan = make()
    whole = render_markdown(outline(plan, calls_for(plan)))
    size = len(whole.encode())
    assert within(plan, size) == Within(whole)
    cut = within(plan, size - 1)
    assert cut.text != whole
    assert len(cut.text.encode()) < size


def test_a_brief_report_takes_at_most_120_bytes_a_change() -> None:
    sizes = {}
    for changes in (40, 240):
        plan = large_plan(changes, hazards=1)
        made = within(plan, 16 * MOST, brief=True)
        assert not made.left_out
        sizes[len(plan.changes)] = len(made.text.encode())
        names = [line for line in made.text.splitlines() if line.startswith("  - `") and " more" not in line]
        assert max(len(line.encode()) + 1 for line in names) <= LINE
    (few, small), (many, large) = sizes.items()
    assert (large - small) / (many - few) <= LINE


@pytest.mark.parametrize("told", ["_" * 40, "@" * 40, "`" * 60, "🚀" * 30, "y" * 200])
def test_a_pattern_takes_no_more_than_the_names_of_its_changes(told: str) -> None:
    entries = [
        change(
            Kind.ITEM,
            "handbook",
            f"file://{group}/{number}/{told}",
            ({"metadata": {f"key{group}{told}{key}": "1" for key in range(9)}}, OPEN),
            ({"metadata": {f"key{group}{told}{key}": "2" for key in range(9)}}, OPEN),
        )
        for group in range(30)
        for number in range(4)
    ]
    text = within(plan_of(*entries), 4_000, brief=True).text
    patterns = [line for line in text.splitlines() if line.startswith("  - 4 items")]
    assert patterns
    assert max(len(line.encode()) + 1 for line in patterns) <= 4 * LINE


def test_patterns_are_told_before_anything_is_left_out() -> None:
    entries = [
        change(
            Kind.ITEM,
            "handbook",
            f"file://page/{number:04}",
            ({"metadata": {"date": "1"}}, OPEN),
            ({"metadata": {"date": "2"}}, OPEN),
        )
        for number in range(4_812)
    ]
    made = within(plan_of(*entries), LEAST, brief=True)
    assert "4,812 items: only metadata.date" in made.text
    assert not made.left_out


def test_it_says_where_the_whole_is() -> None:
    plan = large_plan(100)
    url = "https://example.com/runs/1"
    assert f"The whole is at `{url}`." in read(within(plan, 10_000, whole=url).text).head
    assert "--detail full" in read(within(plan, 10_000).text).head


def test_what_matters_most_and_does_not_fit_is_said_first() -> None:
    plan = large_plan(10, shifts=200, hazards=30)
    made = within(plan, LEAST)
    assert not made.fits
    told = read(made.text)
    assert told.head.startswith("**Do not decide by this report")
    assert told.left["hazards"] == (30 - told.hazards, 30)
    assert made.text.splitlines()[4].startswith("**Do not decide")


def test_who_sees_more_is_told_before_any_change_by_its_name() -> None:
    plan = large_plan(400, shifts=40)
    made = within(plan, 24_000)
    assert made.fits
    told = read(made.text)
    assert told.widened == 40
    assert Rank.NAME in dict(made.left_out) or Rank.DELETED_NAME in dict(made.left_out)


def test_names_of_many_deletions_leave_room_for_what_ranks_behind_them() -> None:
    left = dict(within(large_plan(3_000), 65_536).left_out)
    assert left[Rank.DELETED_NAME] > 1_000
    assert not {Rank.ERROR, Rank.FACT, Rank.GROUP, Rank.ACCESS, Rank.ACCESS_CHANGE, Rank.PATTERN} & left.keys()


def test_the_least_budget_is_kept_whatever_there_is_to_leave_out() -> None:
    plan = replace(large_plan(60, shifts=30, hazards=9), environment="`" * 90, selection=("`" * 90,) * 9)
    plan = replace(plan, problems=(*plan.problems, Problem("e", "`" * 300, "`" * 300, "`" * 300, where="`" * 300)))
    made = within(plan, LEAST, whole="`" * 500)
    assert len(made.text.encode()) <= LEAST
    assert not made.fits
    assert made.text.count("Do not decide by this report") == 1
    assert "other pieces" in made.text


def test_an_access_that_was_not_worked_out_is_not_passed_over() -> None:
    plan = large_plan(200, shifts=0)
    assert "Not worked out for" in within(plan, 6_000).text


def test_problems_that_no_plan_was_made_for_fit_a_budget_too() -> None:
    problems = [Problem(f"code-{at}", odd(at), "w", "f", Position("a.yaml", at + 1, 1)) for at in range(500)]
    whole = render_problems_within(problems)
    assert whole.text.count("\n- ") == 500
    for budget in (LEAST, 5_000, 65_536):
        made = render_problems_within(problems, budget)
        assert len(made.text.encode()) <= budget
        told = re.search(r"Left out: ([\d,]+) of 500 errors", made.text)
        assert told is not None or made.text == whole.text
        left = number(told[1]) if told else 0
        assert made.text.count("\n- ") == 500 - left
    assert "500 errors" in render_problems_within(problems, LEAST).text.splitlines()[2]
    assert "deletions" not in render_problems_within(problems, LEAST).text  # without a plan nothing of one is counted


def test_a_heading_stands_nowhere_without_what_it_is_of() -> None:
    plan = replace(large_plan(100), problems=())
    for budget in range(LEAST, 8_000, 500):
        lines = [line for line in within(plan, budget).text.splitlines() if line]
        for line, following in pairwise(lines):
            assert not (line.startswith("####") and following.startswith("####")), budget
