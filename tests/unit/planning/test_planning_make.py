"""The whole of planning as one value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from reconciler.model.states import StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.planning.hazards import Limits
from reconciler.planning.make import Side, Wish, make_plan
from reconciler.planning.plan import BodyRef, Plan
from reconciler.problems import Problem, Severity, UsageError
from tests.builders import fingerprints, group, item, lookup

TARGET = Target("org", (("handbook", "s1"),), (("corp", "p1"),))
BASE = StateBase("lineage", 7)
OLD = item("file:///a", title="A")
NEW = item("file:///a", title="B", body={"encoding": "text", "sha256": "00" * 32, "size": 3})
KEPT = group("Staff", "user/corp/x")
GONE = item("file:///gone", protect=True)
WARNING = Problem("w", "a warning", severity=Severity.WARNING)


def plan_of(**changes: Any) -> Plan:
    asked: list[str] = []

    def bodies(addresses: Iterable[str]) -> Iterator[BodyRef]:
        asked.extend(addresses)
        yield BodyRef("11" * 32, 5, "b.html")
        yield BodyRef("00" * 32, 3)

    arguments: dict[str, Any] = {
        "environment": "local",
        "target": TARGET,
        "base": BASE,
        "desired": Side(fingerprints(NEW, KEPT), lookup(NEW, KEPT)),
        "recorded": Side(fingerprints(OLD, KEPT, GONE), lookup(OLD, KEPT, GONE)),
        "moved": {},
        "limits": Limits(),
        "wish": Wish(),
        "problems": (WARNING,),
        "bodies": bodies,
        "manifest_digest": "digest",
    }
    made = make_plan(**(arguments | changes))
    assert asked == [change.address for change in made.changes if change.action is not Action.DELETE]
    return made


def test_a_plan_says_all_that_an_apply_needs() -> None:
    assert plan_of() == Plan(
        environment="local",
        target=TARGET,
        base=BASE,
        changes=(
            Change(NEW.address, Action.UPDATE, "changed", OLD, NEW),
            Change(GONE.address, Action.DELETE, "removed", GONE, None),
        ),
        no_op=1,
        hazards=(),
        problems=(
            WARNING,
            Problem(
                "protected",
                '"item/handbook/file:///gone" is protected and would be deleted',
                why="it was applied with `protect: true`; deleting its entry does not lift that.",
                fix="put it back with `protect: false`, apply, and delete it in a second change.",
            ),
        ),
        bodies=(BodyRef("00" * 32, 3), BodyRef("11" * 32, 5, "b.html")),
        manifest_digest="digest",
        selection=(),
    )


def test_a_narrowed_plan_says_to_what() -> None:
    made = plan_of(wish=Wish(targets=["file:///a"], sources=["handbook"], allowed=["emptied"]))

    assert made.selection == ("file:///a", "source handbook")
    assert [str(change.address) for change in plan_of(wish=Wish(targets=["file:///a"])).changes] == [NEW.address]


def test_counts_and_what_blocks() -> None:
    made = plan_of(
        desired=Side(fingerprints(KEPT), lookup(KEPT)), recorded=Side(fingerprints(OLD, KEPT), lookup(OLD, KEPT))
    )

    assert {action: made.count(action) for action in Action} == {
        Action.CREATE: 0,
        Action.UPDATE: 0,
        Action.DELETE: 1,
    }
    assert [hazard.name for hazard in made.blocked_by] == ["emptied"]
    assert plan_of(wish=Wish(allowed=["emptied"])).blocked_by == ()


def test_a_target_that_names_nothing_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(wish=Wish(targets=["file:///typo"]))
    assert [problem.code for problem in caught.value.problems] == ["unknown-target"]


def test_a_target_that_is_only_in_doubt_is_known() -> None:
    """Its creation has an unknown outcome, and the manifests want it no more."""
    made = plan_of(wish=Wish(targets=["file:///maybe"]), unsettled=["item/handbook/file:///maybe"])

    assert made.changes == (
        Change(GONE.address.of(GONE.address.kind, "handbook", "file:///maybe"), Action.DELETE, "unconfirmed"),
    )
