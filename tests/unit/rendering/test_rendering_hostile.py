"""Names and values that try to be more than text, in every format."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import rendered_plans as plans
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.call import Compiled
from reconciler.model.address import Kind
from reconciler.rendering.jsondoc import render_json
from reconciler.rendering.markdown import code, escape, render_markdown
from reconciler.rendering.outline import Detail, outline
from reconciler.rendering.text import render_plan
from reconciler.rendering.values import CAP, visible, window_pair

UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("detail", list(Detail))
def test_text_holds_no_control_character_and_no_forged_line(detail: Detail) -> None:
    plan = plans.hostile_plan()
    text = render_plan(outline(plan, plans.calls_for(plan), detail=detail), width=80, color=False)
    assert not UNSEEN.search(text)
    assert not any(line.startswith("forged") for line in text.splitlines())


@pytest.mark.parametrize("detail", list(Detail))
def test_markdown_shows_markup_as_text(detail: Detail) -> None:
    plan = plans.hostile_plan()
    text = render_markdown(outline(plan, plans.calls_for(plan), detail=detail))
    assert not UNSEEN.search(text)
    outside = re.sub("&#[0-9]+;", "?", without_code(text))
    assert "<script" not in outside
    assert re.findall(r"</?(?!details\b|summary\b|!--)\w+", outside) == []
    assert "@team" not in outside and "#12" not in outside and "http://" not in outside
    assert not any(line.startswith("forged") for line in text.splitlines())


def without_code(text: str) -> str:
    """Drop fenced blocks and code spans by CommonMark's rule: a run of backticks closes on an equal run."""
    kept, fence = [], ""
    for line in text.splitlines():
        mark = re.match("`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif mark and "`" not in line[mark.end() :]:
            fence = mark.group()
        else:
            kept.append(re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", line))
    assert not fence
    return "\n".join(kept)


@given(TEXTS)
def test_code_span_is_one_span(text: str) -> None:
    span = code(text)
    assert without_code(f"a {span} b") == "a  b"
    assert "\n" not in span


@given(TEXTS)
def test_escaped_prose_has_no_markup(text: str) -> None:
    shown = escape(text)
    bare = re.sub(r"&#[0-9]+;|<!-- -->", "", shown)
    assert not re.search(r"[\\`*_\[\]<>|~$@#&]|://|\n", bare)


@given(st.text())
def test_visible_is_idempotent_and_encodable(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode()
    assert len(shown.splitlines()) <= 1


def test_visible_leaves_what_people_write() -> None:
    written = "Ελλάδα 日本語 שלום مرحبا naïve 😀 “quoted” a|b `c` <d>"
    assert visible(written) == written
    assert visible("a\tb\r\n\x1b[0m\u202e\U000e0041") == "a\\tb\\r\\n\\x1b[0m\\u202e\\U000e0041"


@given(st.text(min_size=1, max_size=400), st.text(max_size=400), st.text(max_size=400), st.integers(20, 150))
def test_windows_differ_where_texts_do(common: str, one: str, two: str, cap: int) -> None:
    before, after = common * 3 + one, common * 3 + two
    old, new = window_pair(before, after, cap)
    assert len(old) <= cap and len(new) <= cap
    assert (old == new) is (before == after)


def test_long_values_are_cut_and_names_are_not() -> None:
    long = "x" * 5000
    plan = plans.plan_of(
        plans.change(
            Kind.ITEM,
            "handbook",
            f"file://{long}",
            ({"metadata": {"a": long + "1"}}, None),
            ({"metadata": {"a": long + "2"}}, plans.model([{"allowed": [f"user/corp/{long}"]}])),
        )
    )
    row = outline(plan, Compiled()).groups[0].rows[0]
    assert row.name.name == f"file://{long}"
    for entry in row.fields:
        assert all(len(part) <= CAP for part in (entry.before, entry.after, *entry.added, *entry.removed))
    assert row.fields[0].before != row.fields[0].after


def test_json_is_ascii_safe_for_line_readers() -> None:
    plan = plans.hostile_plan()
    text = render_json(plan, plans.calls_for(plan))
    assert "\x1b" not in text and "\r" not in text
    assert orjson.loads(text)["changes"][0]["name"] == plans.HOSTILE


def test_no_excerpt_of_a_manifest_is_told() -> None:
    plan = plans.mixed_plan()
    made = outline(plan, plans.calls_for(plan), detail=Detail.FULL)
    for text in (render_plan(made, width=100, color=False), render_markdown(made), render_json(plan, Compiled())):
        assert "SECRET" not in text


SCRIPT = """
import random, sys
sys.path.insert(0, {here!r})
import rendered_plans as plans
from dataclasses import replace
from reconciler.rendering.jsondoc import render_json
from reconciler.rendering.markdown import render_markdown
from reconciler.rendering.outline import Detail, outline
from reconciler.rendering.text import render_plan
for plan in (plans.mixed_plan(), plans.folding_plan(), plans.hostile_plan(), plans.levels_plan()):
    stages = plans.calls_for(plan)
    print(ascii(render_json(plan, stages)))
    changes = list(plan.changes)
    random.Random({seed}).shuffle(changes)
    for detail in Detail:
        made = outline(replace(plan, changes=tuple(changes)), stages, detail=detail)
        print(ascii(render_plan(made, width=90, color=True)), ascii(render_markdown(made)))
"""


def test_same_bytes_under_any_hash_seed_and_order() -> None:
    outputs = set()
    for seed in ("0", "1", "4242"):
        script = SCRIPT.format(here=str(Path(__file__).parent), seed=seed)
        run = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_import_is_light() -> None:
    script = (
        "import sys, reconciler.planfile, reconciler.rendering.text, reconciler.rendering.markdown, "
        "reconciler.rendering.problems, reconciler.rendering.progress\n"
        "print(sorted({'rich', 'deepdiff', 'pydantic', 'httpx'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert run.stdout == "[]\n"
