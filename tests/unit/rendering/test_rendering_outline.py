"""What the outline folds, counts and says."""

from __future__ import annotations

from dataclasses import replace

import rendered_plans as plans
from rendered_plans import OPEN, WIDER, change, model

from reconciler.calls.call import Call, CallKind, Compiled, Covered, SourceStatus, Stage, Verb
from reconciler.model.address import Address, Kind
from reconciler.planning.change import Change, touches_access
from reconciler.problems import Problem
from reconciler.rendering.fields import FieldRow
from reconciler.rendering.markdown import render_markdown
from reconciler.rendering.outline import Detail, outline
from reconciler.rendering.text import render_plan, summary_line


def updated(number: int, after: dict[str, object], shared: dict[str, object] | None = None) -> Change:
    return change(Kind.ITEM, "handbook", f"file://{number:03}", ({"metadata": {}}, OPEN), (after, shared or OPEN))


def test_nothing_folds_at_the_threshold() -> None:
    changes = [updated(number, {"metadata": {"a": number}}) for number in range(20)]
    group = outline(plans.plan_of(*changes), Compiled()).groups[0]
    assert (group.folds, len(group.rows)) == ((), 20)


def test_alike_changes_fold_above_the_threshold() -> None:
    changes = [updated(number, {"metadata": {"a": number}}) for number in range(21)]
    group = outline(plans.plan_of(*changes), Compiled()).groups[0]
    (fold,) = group.folds
    assert (fold.count, fold.paths, fold.uniform, fold.touches_access) == (21, ("metadata.a",), False, False)
    assert [name.name for name in fold.examples] == ["file://000", "file://001", "file://002"]
    assert fold.rows == (FieldRow("metadata.a", "+", after="0"),)
    assert group.rows == ()


def test_equal_access_changes_fold_apart_and_first() -> None:
    narrower = model([{"allowed": ["group/corp/Few"]}])
    changes = [updated(number, {"metadata": {}}, WIDER) for number in range(25)]
    changes += [updated(number + 100, {"metadata": {}}, narrower) for number in range(30)]
    changes += [updated(number + 200, {"metadata": {"a": 1}}) for number in range(90)]
    folds = outline(plans.plan_of(*changes), Compiled()).groups[0].folds
    assert [(fold.count, fold.uniform, fold.paths) for fold in folds] == [
        (30, True, ("permissions",)),
        (25, True, ("permissions",)),
        (90, False, ("metadata.a",)),
    ]


def test_different_access_changes_of_the_same_field_fold_as_unlike() -> None:
    changes = [updated(number, {"metadata": {}}, model([{"allowed": [f"user/corp/{number}"]}])) for number in range(25)]
    (fold,) = outline(plans.plan_of(*changes), Compiled()).groups[0].folds
    assert (fold.count, fold.uniform, fold.touches_access) == (25, False, True)


def test_full_detail_never_folds() -> None:
    plan = plans.folding_plan()
    groups = outline(plan, Compiled(), detail=Detail.FULL).groups
    assert sum(len(group.rows) for group in groups) == len(plan.changes)
    assert not any(group.folds for group in groups)


def test_counts_agree_at_every_detail() -> None:
    plan = plans.folding_plan()
    for detail in (Detail.NAMES, Detail.FIELDS, Detail.FULL):
        for group in outline(plan, Compiled(), detail=detail).groups:
            assert group.count == sum(fold.count for fold in group.folds) + len(group.names)


def test_a_plan_without_changes_costs_nothing() -> None:
    made = outline(plans.plan_of(no_op=160_000), Compiled())
    assert summary_line(made) == "No changes. 160,000 resources are as recorded; no call is needed."
    assert summary_line(outline(plans.plan_of(no_op=1), Compiled())).startswith("No changes. 1 resource is as recorded")


def test_state_only_changes_are_told() -> None:
    entry = change(Kind.USER, "corp", "eve", ({}, None), ({"protect": True}, None))
    made = outline(plans.plan_of(entry), Compiled((), (entry.address,)))
    text = render_plan(made, width=100, color=False)
    assert "  1 change without a call: only the state records it.\n" in text
    assert text.endswith("Plan: 0 to create, 1 to update, 0 to delete, 12 unchanged; 0 calls.\n")


def test_the_scopes_own_provider_goes_without_saying() -> None:
    entry = change(
        Kind.ITEM,
        "handbook",
        "file://a",
        None,
        ({"metadata": {}}, model([{"allowed": ["group/corp/A", 'user/mail/b?info={"k":"v"}']}])),
    )
    plan = plans.plan_of(entry, target=plans.Target("acme", (("handbook", "s"),), (("corp", "p"), ("mail", "q"))))
    unknown = outline(plan, Compiled()).groups[0].rows[0].fields[0]
    known = outline(plan, Compiled(), source_providers={"handbook": "corp"}).groups[0].rows[0].fields[0]
    assert unknown.added == ("group:A (corp)", 'user:b {"k":"v"} (mail)')
    assert known.added == ("group:A", 'user:b {"k":"v"} (mail)')


def test_long_member_lists_are_counted() -> None:
    members = [f"user/corp/{number:03}" for number in range(50)]
    entry = change(Kind.GROUP, "corp", "G", None, ({"members": members}, None))
    row = outline(plans.plan_of(entry), Compiled()).groups[0].rows[0].fields[0]
    assert (len(row.added), row.hidden) == (20, 30)
    full = outline(plans.plan_of(entry), Compiled(), detail=Detail.FULL).groups[0].rows[0].fields[0]
    assert (len(full.added), full.hidden) == (50, 0)


def test_an_empty_list_is_said() -> None:
    entry = change(Kind.GROUP, "corp", "G", None, ({"members": []}, None))
    assert outline(plans.plan_of(entry), Compiled()).groups[0].rows[0].fields == (FieldRow("members", "+", after="[]"),)


def test_bodies_whose_digests_begin_alike() -> None:
    def doc(digest: str) -> tuple[dict[str, object], None]:
        return {"body": {"encoding": "text", "sha256": digest, "size": 1204}, "metadata": {}}, None

    entry = change(Kind.ITEM, "handbook", "file://a", doc("ab" * 31 + "cd"), doc("ab" * 32))
    row = outline(plans.plan_of(entry), Compiled()).groups[0].rows[0].fields[0]
    assert row.before != row.after
    entry = change(Kind.ITEM, "handbook", "file://a", doc("ab12cd34" * 8), doc("ee" * 32))
    row = outline(plans.plan_of(entry), Compiled()).groups[0].rows[0].fields[0]
    assert (row.before, row.after) == ("1,204 B sha256:ab12cd34…", "1,204 B sha256:eeeeeeee…")


def test_every_difference_of_permissions_is_told() -> None:
    """A changed field never has an empty description, whatever the models are."""
    models = [
        None,
        model(),
        model([]),
        model([{}]),
        model([{"name": "n"}]),
        model([{"anonymous": True}]),
        model([{"denied": ["user/corp/a"]}]),
        model([{"allowed": ["user/corp/a"]}], [{}]),
        model([{}, {}]),
        {"levels": [{"name": "x", "sets": [{}]}]},
    ]
    for before in models:
        for after in models:
            if before == after:
                continue
            entry = updated(1, {"metadata": {}})
            entry = change(Kind.ITEM, "handbook", "file://a", ({"metadata": {}}, before), ({"metadata": {}}, after))
            (group,) = outline(plans.plan_of(entry), Compiled()).groups
            rows = group.rows[0].fields
            assert rows, (before, after)
            assert all(row.is_list or row.before != row.after for row in rows), (before, after, rows)


def test_what_touches_access() -> None:
    group = Address.of(Kind.GROUP, "corp", "G")
    assert touches_access(
        change(Kind.GROUP, "corp", "G", ({"members": []}, None), ({"members": ["user/corp/a"]}, None))
    )
    assert not touches_access(
        change(Kind.GROUP, "corp", "G", ({"members": []}, None), ({"members": [], "protect": True}, None))
    )
    assert touches_access(change(Kind.ITEM, "handbook", "file://a", None, ({"metadata": {}}, None)))
    assert not touches_access(updated(1, {"metadata": {"a": 1}}))
    assert touches_access(updated(1, {"metadata": {}}, WIDER))
    assert touches_access(change(Kind.USER, "corp", "u", None, ({}, None)))  # a model may name it
    assert touches_access(change(Kind.USER, "corp", "u", None, ({}, {"wellKnowns": [group]})))


def test_nested_values_are_described_in_full_detail_only() -> None:
    before = {"metadata": {"tags": [f"t{number}" for number in range(12)]}}
    after = {"metadata": {"tags": ["T0", "t1", "T2", *(f"t{number}" for number in range(3, 11)), 7, "new"]}}
    entry = change(Kind.ITEM, "handbook", "file://a", (before, OPEN), (after, OPEN))
    full = outline(plans.plan_of(entry), Compiled(), detail=Detail.FULL).groups[0].rows[0].fields[0]
    assert full.notes == ('[0] "t0" -> "T0"', '[2] "t2" -> "T2"', '[11] "t11" -> 7', '[12] added "new"')
    assert outline(plans.plan_of(entry), Compiled()).groups[0].rows[0].fields[0].notes == ()


def test_many_problems_of_one_code_are_counted_beyond_the_first_unless_everything_is_asked_for() -> None:
    alike = tuple(Problem("metadata-unmapped", f"key {number:03}") for number in range(35))
    plan = replace(plans.mixed_plan(), problems=(*alike, plans.WARNING))

    few = outline(plan, Compiled())
    assert (len(few.problems), few.hidden_problems) == (21, (("metadata-unmapped", 15),))
    assert "... and 15 more [metadata-unmapped]; --detail full shows all" in render_plan(few, width=100, color=False)
    assert "#### Problems: 36" in render_markdown(few)
    everything = outline(plan, Compiled(), detail=Detail.FULL)
    assert (len(everything.problems), everything.hidden_problems) == (36, ())


def test_the_cost_beside_one_call_per_change_leaves_out_what_both_tell_sources() -> None:
    address = Address("item/s/file:///a")
    covered = tuple(Covered(Address(f"item/s/file:///{number}"), Verb.PUT) for number in range(3))
    calls = (
        Call(1, CallKind.ITEM_PUT, "PUT", "p", (), "s", (Covered(address, Verb.PUT),), 10, containers=1),
        Call(2, CallKind.STREAM_UPDATE, "PUT", "u", (), "c", covered, 10),
    )
    compiled = Compiled((Stage("items", calls),), statuses=(SourceStatus("s", "REFRESH", "p"),))

    found = outline(plans.mixed_plan(), compiled).calls
    assert (found.api_calls, found.requests, found.one_by_one) == (2 + 2, 3 + 3, 2 + 6)
    assert found.quota is not None
    assert found.quota.calls == 6
