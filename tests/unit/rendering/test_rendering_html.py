"""The HTML page of a plan: it tells what the other formats tell, loads nothing, and takes no name for markup."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from operator import itemgetter
from typing import Any

import pytest
import rendered_plans as plans
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from reconciler.model.address import Kind
from reconciler.model.canonical import canonical_json
from reconciler.planning.plan import AccessTests, Plan
from reconciler.problems import Position, Problem
from reconciler.rendering.html import render_exposure_html, render_html, render_problems_html
from reconciler.rendering.matrix import access_matrix
from reconciler.rendering.outline import Detail, Outline, outline
from reconciler.rendering.text import summary_line
from reconciler.rendering.values import visible
from tests.builders import REPOSITORY

SCRIPT = (REPOSITORY / "reconciler" / "rendering" / "templates" / "find.js").read_text(encoding="utf-8")
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
HOSTILE = plans.HOSTILE

PLANS = {
    "mixed": plans.mixed_plan,
    "folding": plans.folding_plan,
    "hostile": plans.hostile_plan,
    "levels": plans.levels_plan,
    "empty": plans.plan_of,
}


def shift(*identities: str, **more: Any) -> dict[str, Any]:
    entry = {
        "kind": "affected",
        "source": "handbook",
        "items": 7,
        "people": len(identities),
        "public": False,
        "domains": [],
        "examples": ["item/handbook/x:/1", "item/handbook/x:/2"],
        "because": ["group/corp/AlphaTeam"],
        "more_causes": 0,
        "identities": list(identities),
    }
    return {**entry, **more}


def pairs(entry: dict[str, Any]) -> int:
    return int(entry["people"] * entry["items"])


def exposure(gained: list[dict[str, Any]], lost: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    totals = {
        f"{what}_{side}": sum(map(number, entries))
        for side, entries in (("gained", gained), ("lost", lost))
        for what, number in (("pairs", pairs), ("people", itemgetter("people")), ("items", itemgetter("items")))
    }
    causes = {"group/corp/AlphaTeam": {"gone": [], "new": ["user:carol member of group:AlphaTeam"]}}
    document = {"gained": gained, "lost": lost, "totals": totals, "causes": causes, "hazards": [], "complete": True}
    return {**document, "more": {"gained": 0, "lost": 0}, **more}


SEEN = exposure([shift("user/corp/carol", "user/corp/dora")], [shift("user/corp/bob", because=[], kind="edited")])


def made(plan: Plan, detail: Detail = Detail.FIELDS, **more: Any) -> Outline:
    return outline(plan, plans.calls_for(plan), detail=detail, **more)


def page(plan: Plan, detail: Detail = Detail.FIELDS, **more: Any) -> LexborHTMLParser:
    return LexborHTMLParser(render_html(made(plan, detail, **more)))


def text_of(tree: LexborHTMLParser, selector: str = "body") -> str:
    """Return what is read in an element, in one line."""
    node = tree.css_first(selector)
    assert node is not None, selector
    return " ".join(node.text().split())


def inert(tree: LexborHTMLParser) -> None:
    """Assert that nothing on a page could run but its own script, and that it loads and leads to nothing else."""
    assert tree.css("img, iframe, object, embed, link, base, svg, video, audio, template") == []
    assert [node.text() for node in tree.css("script")] in ([], [SCRIPT])
    assert len(tree.css("form")) == len(tree.css("form.find[hidden]")) == len(tree.css("script"))
    for node in tree.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on") and name not in ("style", "src", "srcset", "action")
            assert name != "href" or (value or "").startswith("#")
    assert "url(" not in (tree.css_first("style").text() or "") and "@import" not in tree.css_first("style").text()


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("name", list(PLANS))
def test_a_page_is_whole_inert_and_leads_to_what_it_holds(name: str, detail: Detail) -> None:
    html = render_html(made(PLANS[name](), detail))
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">') and html.endswith("</html>\n")
    assert not UNSEEN.search(html)
    tree = LexborHTMLParser(html)
    inert(tree)
    ids = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(ids) == len(set(ids))
    leads = {(node.attributes["href"] or "").removeprefix("#") for node in tree.css("a")}
    assert leads <= set(ids)
    assert {node.attributes["id"] for node in tree.css("section")} <= leads


def digest_of(tree: LexborHTMLParser, element: str) -> str:
    return base64.b64encode(hashlib.sha256(tree.css_first(element).text().encode()).digest()).decode()


def policy_of(tree: LexborHTMLParser) -> str | None:
    return tree.css_first('meta[http-equiv="Content-Security-Policy"]').attributes["content"]


def test_the_policy_allows_this_style_sheet_and_this_script_and_nothing_else() -> None:
    tree = page(plans.mixed_plan())
    style, script = digest_of(tree, "style"), digest_of(tree, "script")
    allowed = f"default-src 'none'; style-src 'sha256-{style}'"
    assert policy_of(tree) == f"{allowed}; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    for bare in (page(plans.plan_of()), LexborHTMLParser(render_exposure_html(SEEN, before="a", after="b"))):
        assert bare.css("script") == []
        assert policy_of(bare) == f"{allowed}; base-uri 'none'; form-action 'none'"


def test_a_page_of_problems_alone_is_inert_and_tells_all() -> None:
    problems = [*plans.hostile_plan().problems, plans.WARNING]
    tree = LexborHTMLParser(render_problems_html(problems))
    inert(tree)
    assert tree.css("script") == []
    assert len(tree.css(".note")) == 2
    assert "0 errors, 2 warnings." in text_of(tree)
    assert "SECRET LINE OF A MANIFEST" not in text_of(tree)
    assert visible(HOSTILE).split("`` ")[0] in text_of(tree)


def test_what_is_searched_says_of_what_kind_it_is() -> None:
    tree = page(plans.mixed_plan())
    groups = [node.attributes for node in tree.css(".group")]
    assert [(group["data-verb"], group["data-kind"], group["data-scope"]) for group in groups] == [
        ("create", "group", "corp"),
        ("update", "item", "handbook"),
        ("update", "alias", "corp"),
        ("delete", "item", "handbook"),
    ]
    assert len(tree.css(".group [data-find]")) == 4
    for name, values in (
        ("kind", ["", "group", "item", "alias"]),
        ("verb", [None, "create", "update", "delete"]),
        ("scope", [None, "corp", "handbook"]),
    ):
        options = tree.css(f"select[name={name}] option")
        assert [option.attributes.get("value") or option.text() for option in options][1:] == values[1:]


def test_a_search_finds_what_is_told_by_a_pattern() -> None:
    tree = page(plans.folding_plan(), everybody=True)
    names = {node.text() for node in tree.css(".group [data-find] .names code")}
    assert {f"file://folder/{number:03}.txt" for number in range(30)} <= names


def test_the_matrix_says_who_saw_what_before_and_who_sees_it_after() -> None:
    gained = [shift("user/corp/carol", "user/corp/dora", persons=["user/corp/carol"], items=7)]
    lost = [shift("user/corp/carol", items=2, persons=["user/corp/carol"], because=[])]
    found = exposure(gained, [*lost, shift(public=True, domains=["user/corp/*@example.com"], items=1, people=0)])
    tree = page(plans.plan_of(*plans.mixed_plan().changes, access=canonical_json(found)))
    rows = [[" ".join(cell.text().split()) for cell in row.css("th, td")] for row in tree.css(".matrix tr")]
    assert rows == [
        ["", "1", "2", "3"],
        ["everybody, also whoever did not log in", "", "", "yes \u2192 no"],
        ["user:carol", "no \u2192 yes", "yes \u2192 no", ""],
        ["everybody of example.com", "", "", "yes \u2192 no"],
        ["others who gain sight", "1: no \u2192 yes", "", ""],
    ]
    assert text_of(tree, "#items-1").startswith("7 items in handbook items: unchanged")
    assert page(plans.mixed_plan()).css(".matrix") == []


def test_what_some_gain_and_others_lose_of_the_same_items_is_one_column() -> None:
    found = exposure([shift("user/corp/carol")], [shift("user/corp/bob")])
    matrix = access_matrix(found)
    assert [(row.who, row.cells) for row in matrix.rows] == [("user:bob", ("lost",)), ("user:carol", ("gained",))]
    assert len(matrix.columns) == 1


def test_what_a_matrix_has_no_room_for_is_counted() -> None:
    shifts = [shift(f"user/corp/u{number}", examples=[f"item/handbook/x:/{number}"]) for number in range(30)]
    found = exposure(shifts, [], more={"gained": 2, "lost": 0})
    matrix = access_matrix(found, columns=20, rows=5)
    assert (len(matrix.columns), len(matrix.rows), matrix.hidden_columns, matrix.hidden_rows) == (20, 5, 12, 15)


def test_a_page_tells_what_text_tells() -> None:
    plan = plans.mixed_plan()
    told = text_of(page(plan))
    assert summary_line(made(plan)) in told
    for said in (
        "Organization acme, state serial 41",
        "Hazards (1 of 1 must be allowed by name)",
        'emptied:item/handbook: every item of "handbook" would be deleted (1 of 1)',
        "item/handbook/file://folder/old.txt and 2 more",
        "fix: bring the entries back; if it is meant, add --allow emptied:item/handbook.",
        'handbook.yaml:14:5: warning no-content: item "file://folder/mytext.txt" has no body',
        "Create 1 group in corp",
        "Update 1 alias in corp",
        "one call per change would be",
        "1. PUT organizations/acme/providers/prov1/permissions/batch: 2 put, at most",
    ):
        assert said in told, said
    rows = [[cell.text() for cell in row.css("th, td")] for row in page(plan).css("tbody tr")]
    assert rows == [["items", "", "1", "1"], ["groups", "1", "", ""], ["aliases", "", "1", ""]]
    assert "SECRET LINE" not in told


def test_fields_are_told_as_what_goes_and_what_comes() -> None:
    tree = page(plans.mixed_plan())
    names = [node.text() for node in tree.css("dl.fields dt")]
    assert {"permissions, allowed", "permissions, denied", "metadata.tags", "body", "members"} <= set(names)
    assert [node.text() for node in tree.css("dl.fields ins")][:2] == ["user:alice", "user:bob"]
    assert '["a","b"]' in [node.text() for node in tree.css("dl.fields del")]


def test_what_is_alike_is_folded_and_what_touches_access_stands_open() -> None:
    tree = page(plans.folding_plan())
    folds = {" ".join(node.css_first("summary").text().split()): node for node in tree.css("#changes details")}
    opened = {title for title, node in folds.items() if "open" in node.attributes}
    assert "30 items: only metadata.date" in folds
    assert any("access" in title for title in opened)
    assert "30 items: only metadata.date" not in opened
    assert "and 27 more" in folds["30 items: only metadata.date"].text()


def test_a_body_diff_keeps_its_lines() -> None:
    diff = ["--- recorded", "+++ desired", "@@ -1 +1 @@", "-one <b>", "+three \x1b[0m", " same"]
    tree = page(plans.mixed_plan(), body_diffs={"item/handbook/file://folder/mytext.txt": diff})
    block = tree.css_first("#changes pre")
    assert [node.text() for node in block.css("del, ins")] == [
        *("--- recorded", "+++ desired", "-one <b>", "+three \\x1b[0m"),
    ]
    assert "@@ -1 +1 @@\n" in block.text() and " same\n" in block.text()


def test_who_gains_and_loses_is_told_with_counts_names_and_causes() -> None:
    tree = page(plans.plan_of(*plans.mixed_plan().changes, access=canonical_json(SEEN)))
    told = text_of(tree, "#access")
    for said in (
        "2 users gain sight of 7 items",
        "+14 pairs of a user and an item",
        "1 user loses sight of 7 items",
        "user:carol, user:dora will see 7 items in handbook items: unchanged",
        "x:/1, x:/2 and 5 more",
        "because of group/corp/AlphaTeam: now user:carol member of group:AlphaTeam",
        "user:bob will no longer see 7 items in handbook items: other permissions",
    ):
        assert said in told, said


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (shift(public=True, people=0), "everybody, also whoever did not log in will see 7 items"),
        (shift(domains=["*@x.org"]), "everybody of x.org will see 7 items"),
        (shift("user/corp/a", domains=["*@x.org"], people=4), "user:a, everybody of x.org and 3 users more will see"),
        (shift("user/corp/a", more_causes=3), "and of 3 more"),
    ],
)
def test_whoever_is_not_known_is_told_in_words(entry: dict[str, Any], said: str) -> None:
    tree = page(plans.plan_of(*plans.mixed_plan().changes, access=canonical_json(exposure([entry], []))))
    assert said in text_of(tree, "#access")


def test_what_takes_effect_what_ends_and_what_the_order_took_are_told() -> None:
    bare = made(plans.plan_of(*plans.mixed_plan().changes, access=canonical_json(SEEN)))
    found = replace(
        bare,
        effective="At the next refresh.",
        order=("2 calls more than the fewest.",),
        expiring=("1 grant ends soon as of today:", "  user:a of <b>", "  and 3 more"),
    )
    tree = LexborHTMLParser(render_html(found))
    assert "2 calls more than the fewest. At the next refresh." in text_of(tree, "#access")
    assert text_of(tree, "#expiring p") == "1 grant ends soon as of today:"
    assert [node.text() for node in tree.css("#expiring li")] == ["user:a of <b>", "and 3 more"]
    inert(tree)


def test_what_is_not_shown_is_counted() -> None:
    many = exposure([shift(f"user/corp/u{number}") for number in range(15)], [], more={"gained": 40, "lost": 0})
    plan = plans.plan_of(*plans.mixed_plan().changes, access=canonical_json(many))
    for detail in (Detail.FIELDS, Detail.FULL):
        told = text_of(page(plan, detail), "#access")
        assert "and 5 more" in told
        assert "and 40 more, which only JSON Lines hold (--access-out)" in told
        assert all(f"user:u{number} will see" in told for number in range(15))


def test_tests_that_fail_and_hazards_say_that_an_apply_would_refuse() -> None:
    failed = Problem("access-test-failed", "bob sees x:/1", "level 1 decides", position=Position("t.yaml", 3, 5))
    plan = plans.plan_of(tests=AccessTests(12, 2), problems=(failed,), hazards=(plans.HAZARD,))
    tree = page(plan)
    assert [node.text() for node in tree.css("header .stop li")] == [
        "2 of 12 access tests fail.",
        "Hazards (1 of 1 must be allowed by name).",
    ]
    assert "t.yaml:3:5: error access-test-failed: bob sees x:/1" in text_of(tree, "#problems")
    holding = page(plans.plan_of(tests=AccessTests(12, 0)))
    assert holding.css("header .stop") == []
    assert text_of(holding, "#tests") == "Access tests 12 access tests hold."
    assert page(plans.plan_of()).css("#tests") == []


def test_markup_in_names_is_shown_as_text() -> None:
    tree = page(plans.hostile_plan())
    shown = visible(HOSTILE)
    assert shown in [node.text() for node in tree.css("code")]
    assert tree.css_first("h1").text() == shown
    assert tree.css_first("title").text() == f"Plan for {shown}"


def test_markup_in_what_is_told_of_access_is_shown_as_text() -> None:
    name = HOSTILE.replace("/", "")
    entry = shift(
        f"user/corp/{name}",
        source=name,
        because=[f"group/corp/{name}"],
        domains=[f"*@{name}"],
        examples=[f"item/s/{name}"],
    )
    told = exposure([entry], [entry], causes={f"group/corp/{name}": {"gone": [name], "new": [name]}})
    html = render_exposure_html(told, before=name, after=name)
    assert not UNSEEN.search(html)
    tree = LexborHTMLParser(html)
    inert(tree)
    assert f"user:{visible(name)}" in [node.text() for node in tree.css(".who code")]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
@settings(max_examples=60)
def test_any_name_comes_back_as_it_is_shown_everywhere(name: str) -> None:
    change = plans.change(Kind.GROUP, "corp", name, None, ({"members": []}, None))
    tree = page(plans.plan_of(change, selection=(name,)), Detail.NAMES)
    inert(tree)
    assert [node.text() for node in tree.css("#changes li code")] == [visible(name)]


def test_an_exposure_of_nothing_says_so() -> None:
    tree = LexborHTMLParser(render_exposure_html(exposure([], []), before="a", after="b"))
    assert text_of(tree, "main") == "Access Nobody gains or loses sight of anything."
    assert text_of(tree, "header") == "reconciler access diff Who gains and who loses sight From a to b."


def test_an_exposure_tells_its_hazards() -> None:
    hazard = {"name": "item-public", "subject": "item/handbook", "items": 7, "people": 2, "allowed": False}
    found = exposure([shift("user/corp/a")], [], hazards=[{**hazard, "examples": ["item/handbook/x:/1"]}])
    tree = LexborHTMLParser(render_exposure_html(found, before="a", after="b"))
    assert text_of(tree, "#hazards") == "Hazards item-public:item/handbook: 7 items, 2 users x:/1 and 6 more"
    assert "user:a will see 7 items in handbook" in text_of(tree, "#access")
