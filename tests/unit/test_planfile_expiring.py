"""What a plan file says of grants that end: read back as it was written, and held to what it may say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reconciler.calls.call import Compiled
from reconciler.model.states import StateBase, Target
from reconciler.planfile import dump_plan, load_plan
from reconciler.planning.plan import Expiring, Plan
from reconciler.problems import StateError
from reconciler.rendering.jsondoc import checksum
from reconciler.rendering.markdown import render_markdown
from reconciler.rendering.outline import Detail, outline
from reconciler.rendering.text import render_plan

ENTRY = Expiring("group/corp/Staff", "user/corp/bob", "2027-01-31T00:00:00Z", "all.yaml", 8, "lapsed-live")
NAMED = Expiring("permissions/any\nname", "user/corp/\x1b[31m`", "2027-03-01T00:00:00Z", "a.yaml", 3, "lapses")


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {"as_of": "2027-02-01T00:00:00Z", "holds_until": NAMED.expires, "expiring": (ENTRY, NAMED)}
    return Plan("local", Target("org"), StateBase("lineage", 3), **{**values, **changes})


@pytest.mark.parametrize("changes", [{}, {"holds_until": ""}, {"expiring": ()}])
def test_what_is_dumped_is_loaded(changes: dict[str, Any]) -> None:
    made = plan(**changes)
    assert load_plan(dump_plan(made, Compiled()), "plan.json").plan == made


def test_a_plan_in_which_nothing_ends_says_nothing_of_it() -> None:
    made = plan(as_of="", holds_until="", expiring=())
    document = orjson.loads(dump_plan(made, Compiled()))
    assert not {"as_of", "holds_until"} & document.keys()
    assert "expiring" not in document["access"]
    assert load_plan(dump_plan(made, Compiled()), "plan.json").plan == made


@pytest.mark.parametrize(
    "damage",
    [
        {"as_of": "yesterday"},
        {"as_of": "2027-02-01"},
        {"as_of": 5},
        {"as_of": None},
        {"holds_until": "2027-02-01T00:00:00+00:00"},
        {"holds_until": ""},
        {"expiring": [{"state": "gone"}]},
        {"expiring": [{"state": None}]},
        {"expiring": [{"entry": "bob"}]},
        {"expiring": [{"address": "Staff"}]},
        {"expiring": [{"address": None}]},
        {"expiring": [{"expires": "2027-02-30T00:00:00Z"}]},
        {"expiring": [{"line": "8"}]},
        {"expiring": [{"file": None}]},
        {"expiring": ["bob"]},
        {"expiring": 7},
    ],
)
def test_what_no_plan_says_is_refused(damage: dict[str, Any]) -> None:
    document = orjson.loads(dump_plan(plan(), Compiled()))
    if "expiring" in damage:
        known = document["access"]["expiring"][0]
        entries = damage["expiring"]
        bad = [known | entry if isinstance(entry, dict) else entry for entry in entries] if entries != 7 else 7
        document["access"]["expiring"] = bad
    else:
        document |= damage
    document["checksum"] = checksum(document)
    with pytest.raises(StateError) as error:
        load_plan(orjson.dumps(document), "plan.json")
    assert error.value.problems[0].code == "plan-not-a-plan"


def test_names_do_not_break_out_of_their_line() -> None:
    for detail in Detail:
        told = outline(plan(), Compiled(), detail=detail)
        text, markdown = render_plan(told, width=100, color=False), render_markdown(told)
        assert "\x1b" not in text + markdown
        assert "any\nname" not in text + markdown
        assert text.count("Grants that end") == markdown.count("Grants that end") == 1
