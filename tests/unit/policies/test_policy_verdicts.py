from __future__ import annotations

from typing import Any

import pytest

from reconciler.planning.plan import Hazard
from reconciler.policies.engine import Asked
from reconciler.policies.rego import Module
from reconciler.policies.verdict import TOLD, hazards_of, problems_of, verdicts_of
from reconciler.problems import ManifestError, Position, Severity

MODULE = Module("policies/a.rego", "", "my.access", (("deny", 3), ("warn", 7)))


def said(*values: Any, rule: str = "deny") -> Asked:
    return Asked(MODULE, rule, values)


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (["b", "a", "a"], ["a", "b"]),
        ({"as a key": True}, ["as a key"]),
        ("alone", ["alone"]),
        (True, ["my.access.deny holds"]),
        (False, []),
        (None, []),
        ([], []),
        ([{"msg": "x", "other": 3}], ["x"]),
        ({"msg": "one object"}, ["one object"]),
    ],
)
def test_a_verdict_may_be_written_in_several_ways(value: Any, messages: list[str]) -> None:
    assert [verdict.msg for verdict in verdicts_of([said(value)])] == messages


@pytest.mark.parametrize(
    "value",
    [
        3,
        [3],
        [[]],
        [{}],
        [{"msg": ""}],
        [{"msg": 3}],
        [{"msg": "x", "address": 3}],
        [{"msg": "x", "code": "No Spaces"}],
    ],
)
def test_what_is_no_verdict_is_an_error_and_no_allowance(value: Any) -> None:
    with pytest.raises(ManifestError) as error:
        verdicts_of([said(value)])
    [problem] = error.value.problems
    assert (problem.code, problem.position) == ("policy-result", Position("policies/a.rego", 3, 1))


def test_a_denial_is_an_error_and_a_warning_a_warning() -> None:
    verdicts = verdicts_of([said(["w"], rule="warn"), said([{"msg": "d", "address": "item/s/x", "why": "so."}])])
    denied, warned = problems_of(verdicts, {"item/s/x": (Position("a.yaml", 4, 5, 3), "  - x")})
    assert (denied.code, denied.severity, denied.what) == ("policy-denied", Severity.ERROR, "item/s/x: d (access)")
    assert (denied.position, denied.excerpt, denied.why) == (Position("a.yaml", 4, 5, 3), "  - x", "so.")
    assert (warned.code, warned.severity) == ("policy-warned", Severity.WARNING)
    assert warned.position == Position("policies/a.rego", 7, 1)


def test_what_may_be_overridden_is_one_hazard_for_each_code() -> None:
    soft = [{"msg": name, "address": f"item/s/{name}", "code": "soft", "overridable": True} for name in "ab"]
    verdicts = verdicts_of([said([*soft, "firm"])])
    assert [problem.what for problem in problems_of(verdicts, {})] == ["firm (access)"]
    assert hazards_of(verdicts, ()) == (
        Hazard(
            "policy",
            "a; and 1 more",
            'policy "my.access" denies it, and lets it be overridden.',
            "change the manifests; if it is meant, add --allow policy:soft.",
            subject="soft",
            count=2,
            addresses=("item/s/a", "item/s/b"),
        ),
    )
    for allowed, holds in (({"policy:soft"}, True), ({"policy"}, True), ({"policy:firm"}, False), ({"soft"}, False)):
        assert [hazard.allowed for hazard in hazards_of(verdicts, allowed)] == [holds]


def test_ever_so_many_verdicts_are_counted() -> None:
    problems = problems_of(verdicts_of([said([f"{number:05}" for number in range(TOLD + 7)])]), {})
    assert len(problems) == TOLD + 1
    assert problems[-1].what == "and 7 more"


def test_a_message_as_long_as_a_book_is_cut() -> None:
    [verdict] = verdicts_of([said("x" * 1_000_000)])
    assert len(verdict.msg) < 2_100
