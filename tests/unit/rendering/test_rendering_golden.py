"""Small plans in every format and every detail, compared as whole texts.

`UPDATE_GOLDEN=1 pytest tests/unit/rendering` writes them anew: read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import rendered_plans as plans

from reconciler.planning.plan import Plan
from reconciler.rendering import jsondoc
from reconciler.rendering.jsondoc import render_json
from reconciler.rendering.markdown import render_markdown
from reconciler.rendering.outline import Detail, Outline, outline
from reconciler.rendering.text import render_plan

GOLDEN = Path(__file__).parent / "golden"

PLANS = {
    "mixed": plans.mixed_plan,
    "folding": plans.folding_plan,
    "hostile": plans.hostile_plan,
    "levels": plans.levels_plan,
    "empty": plans.plan_of,
}

DIFF = ["--- recorded", "+++ desired", "@@ -1 +1 @@", "-one", "+three \x1b[0m"]


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    assert text == path.read_bytes().decode("utf-8")


def made(plan: Plan, detail: Detail) -> Outline:
    diffs = {"item/handbook/file://folder/mytext.txt": DIFF}
    return outline(plan, plans.calls_for(plan), detail=detail, body_diffs=diffs)


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("name", list(PLANS))
def test_text(name: str, detail: Detail) -> None:
    check(f"{name}-{detail}.txt", render_plan(made(PLANS[name](), detail), width=100, color=False))


@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("name", list(PLANS))
def test_markdown(name: str, detail: Detail) -> None:
    check(f"{name}-{detail}.md", render_markdown(made(PLANS[name](), detail)))


@pytest.mark.parametrize("name", list(PLANS))
def test_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsondoc, "__version__", "1.2.3")
    plan = PLANS[name]()
    check(f"{name}.json", render_json(plan, plans.calls_for(plan)))


def test_colour_adds_nothing_but_escapes() -> None:
    import re

    plan = plans.mixed_plan()
    painted = render_plan(made(plan, Detail.FULL), width=100, color=True)
    assert "\x1b[" in painted
    check("mixed-full.txt", re.sub(r"\x1b\[[0-9]+m", "", painted))


def test_narrow() -> None:
    check("mixed-narrow.txt", render_plan(made(plans.mixed_plan(), Detail.FIELDS), width=60, color=False))
