"""What waits for what: members, parents and new places first, and nothing without a reason (push-api.md 5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from call_changes import CONTEXT, alias, create, delete, destroy, group, item, shown, stays, update, user
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.call import Call, Stage, Verb, Wave
from reconciler.calls.compile import Batching, compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.model.address import Address, Kind
from reconciler.planning.change import Change

ALONE = Limits(single_body=0, container=450)
"""Room for two or three small changes in a container, and for none in a single call."""

EXCLUSIVE = WireContext("org", {"s": SourceRef("sid", exclusive=True)}, {"corp": "pid"}, frozenset({"corp"}))


def edges(calls: Sequence[Call]) -> dict[str, list[str]]:
    """What each single call waits for, by the names they cover."""
    names = {call.number: call.covers[0].address.name for call in calls}
    return {names[call.number]: [names[number] for number in call.after] for call in calls}


def waits(call: Call, calls: dict[int, Call]) -> set[int]:
    """The numbers of all calls that are accepted before this one starts."""
    found: set[int] = set()
    todo = list(call.after)
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo.extend(calls[number].after)
    return found


def check_edges(stage: Stage, needs: Sequence[tuple[Address, Address]]) -> None:
    """The first of each pair is at the remote before the second, and only such pairs make calls wait."""
    calls = {call.number: call for call in stage.calls}
    home = {covered.address: call for call in stage.calls for covered in call.covers}
    wanted: dict[int, set[int]] = {number: set() for number in calls}
    for first, second in needs:
        one, other = home[first], home[second]
        if one is other:
            order = [covered.address for covered in one.covers]
            assert order.index(first) < order.index(second)
            continue
        assert one.number in waits(other, calls)
        wanted[other.number].add(one.number)
    for call in stage.calls:
        # Every number is lower than the call's own, so nothing waits for itself.
        assert all(number < call.number for number in call.after)
        assert set(call.after) == wanted[call.number]


def test_without_batches_only_children_wait_and_only_for_their_parents() -> None:
    changes = [
        create(item("https://x/a", parent="https://x/p")),
        create(item("https://x/b", parent="https://x/p")),
        create(item("https://x/c", parent="https://x/elsewhere")),
        create(item("https://x/p", parent="https://x/p")),
        create(item("https://x/z")),
        delete(item("https://x/old", parent="https://x/p")),
    ]
    assert edges(compile_calls(changes, CONTEXT, batching="never").calls) == {
        "https://x/p": [],
        "https://x/a": ["https://x/p"],
        "https://x/b": ["https://x/p"],
        "https://x/c": [],
        "https://x/z": [],
        "https://x/old": [],
    }


@pytest.mark.parametrize("batching", ["auto", "never"])
def test_two_single_calls_wait_for_each_other_only_when_they_must(batching: Batching) -> None:
    parent, child, other = item("https://x/p"), item("https://x/a", parent="https://x/p"), item("https://x/b")
    assert edges(compile_calls([create(parent), create(child)], CONTEXT, batching=batching).calls) == {
        "https://x/p": [],
        "https://x/a": ["https://x/p"],
    }
    assert edges(compile_calls([create(parent), create(other)], CONTEXT, batching=batching).calls) == {
        "https://x/p": [],
        "https://x/b": [],
    }


@pytest.mark.parametrize("batching", ["auto", "never"])
def test_what_moves_is_put_before_its_old_place_goes(batching: Batching) -> None:
    old, new = item("https://x/a"), item("https://x/zzz")
    changes = [delete(old), create(new, moved_from=old.address)]
    assert edges(compile_calls(changes, CONTEXT, batching=batching).calls) == {
        "https://x/zzz": [],
        "https://x/a": ["https://x/zzz"],
    }


def test_what_moves_out_of_a_tree_is_put_before_the_tree_goes() -> None:
    """Its old place goes with the tree and stands in no call of its own."""
    tree = [item("https://x/t"), *(item(f"https://x/t/{n}") for n in range(9))]
    new = item("https://x/new")
    changes = [*map(delete, tree), create(new, moved_from=tree[4].address)]
    # Too large for one batch with the rest, so the put and the tree are calls of their own.
    compiled = compile_calls(changes, EXCLUSIVE, standing=stays(item("https://x/other")))
    assert [(call.covers[0].verb, len(call.covers), call.after) for call in compiled.calls] == [
        (Verb.PUT, 1, ()),
        (Verb.DELETE_TREE, 10, (1,)),
    ]


def test_a_patched_child_does_not_wait_for_its_parent() -> None:
    """It is there already, and a partial update says nothing of its parent."""
    catalog = WireContext("org", {"s": SourceRef("sid", catalog=True)})
    before, after = (item("https://x/a", parent="https://x/p", title=title) for title in "ab")
    changes = [update(before, after), create(item("https://x/p"))]
    calls = compile_calls(changes, catalog, batching="never").calls
    assert [(call.covers[0].verb, call.after) for call in calls] == [(Verb.PATCH, ()), (Verb.PUT, ())]


def test_calls_of_identities_go_one_after_the_other_whatever_their_provider() -> None:
    """Between any two of them somebody may see what nobody was to see: their order is the plan's."""
    changes = [
        *(create(group(name, f"user/corp/{name * 40}")) for name in "abcdefgh"),
        create(user("u")),
        create(alias("u")),
        *(create(group(name, scope="other")) for name in "ab"),
        *(delete(alias(name)) for name in "vw"),
        *(destroy(user(name)) for name in "lmnopqrstxyz"),
    ]
    for batching in ("auto", "never"):
        compiled = compile_calls(changes, CONTEXT, ALONE, batching=batching)  # type: ignore[arg-type]
        assert [stage.name for stage in compiled.stages] == ["identities", "alias-deletes", "identity-deletes"]
        for stage in compiled.stages:
            assert [call.after for call in stage.calls] == [(), *((call.number,) for call in stage.calls[:-1])]
        assert {call.scope for call in compiled.stages[0].calls} == {"corp", "other"}
        assert len(compiled.stages[2].calls) > 1


def test_a_wave_is_settled_before_the_next_one_begins() -> None:
    changes = [create(group("a")), create(group("b")), create(item("https://x/1")), delete(item("https://x/2"))]
    first = Wave(frozenset({"item/s/https://x/2", "group/corp/b"}))
    compiled = compile_calls(changes, CONTEXT, waves=(first, Wave()))
    told = [
        (stage.name, [covered.address for call in stage.calls for covered in call.covers]) for stage in compiled.stages
    ]
    assert told == [
        ("identities", ["group/corp/b"]),
        ("items", ["item/s/https://x/2"]),
        ("identities", ["group/corp/a"]),
        ("items", ["item/s/https://x/1"]),
    ]
    assert [call.number for call in compiled.calls] == [1, 2, 3, 4]


def test_what_is_tightened_is_put_twice() -> None:
    before, after = group("a", "user/corp/x", "user/corp/y"), group("a", "user/corp/y", "user/corp/z")
    less = group("a", "user/corp/y")
    waves = (Wave(tightened=(less,)), Wave(frozenset({less.address})))
    compiled = compile_calls([update(before, after)], CONTEXT, waves=waves)
    assert [[(covered.verb, covered.address) for covered in call.covers] for call in compiled.calls] == [
        [(Verb.TIGHTEN, less.address)],
        [(Verb.PUT, less.address)],
    ]
    assert compiled.tightened == (less,)


def test_what_goes_together_is_one_call() -> None:
    changes = [create(group("a")), create(group("b"))]
    apart, together = (compile_calls(changes, CONTEXT, waves=(Wave(together=flag),)) for flag in (False, True))
    assert [len(call.covers) for call in apart.calls] == [1, 1]
    assert [len(call.covers) for call in together.calls] == [2]
    assert apart.api_calls == together.api_calls


def test_sources_never_wait_for_each_other() -> None:
    changes = [
        create(item(f"https://x/{n}", scope, parent="https://x/0"))
        for scope in ("s", "t")
        for n in range(6)
        # The parent of one source is not that of the other.
        if (scope, n) != ("t", 0)
    ]
    for batching in ("auto", "never"):
        [stage] = compile_calls(changes, CONTEXT, ALONE, batching=batching).stages  # type: ignore[arg-type]
        scopes = {call.number: call.scope for call in stage.calls}
        assert all(scopes[number] == call.scope for call in stage.calls for number in call.after)
        assert any(call.after for call in stage.calls if call.scope == "s")
        assert not any(call.after for call in stage.calls if call.scope == "t")


@st.composite
def families(draw: st.DrawFn) -> tuple[list[Change], list[tuple[Address, Address]]]:
    """Items with parents among those before them, deletions and moves, and what needs what."""
    changes: list[Change] = []
    needs: list[tuple[Address, Address]] = []
    count = draw(st.integers(1, 14))
    names = draw(st.permutations([f"https://x/{n:02}" for n in range(count)]))
    for at, name in enumerate(names):
        parent = draw(st.none() | st.sampled_from(names[:at])) if at else None
        made = item(name) if parent is None else item(name, parent=parent)
        moved = draw(st.booleans()) and draw(st.booleans())
        old = item(f"https://old/{at}") if moved else None
        changes.append(create(made, moved_from=old.address if old else None))
        if parent is not None:
            needs.append((Address.of(Kind.ITEM, "s", parent), made.address))
        if old is not None:
            changes.append(delete(old))
            needs.append((made.address, old.address))
    return changes, needs


CATALOG = WireContext("org", {"s": SourceRef("sid", catalog=True)})


@given(families(), st.sampled_from([CONTEXT, CATALOG]), st.sampled_from([ALONE, PUBLISHED]), st.booleans())
def test_every_need_is_an_edge_and_every_edge_a_need(
    family: tuple[list[Change], list[tuple[Address, Address]]], context: WireContext, limits: Limits, single: bool
) -> None:
    changes, needs = family
    [stage] = compile_calls(changes, context, limits, batching="never" if single else "auto").stages
    check_edges(stage, needs)


def test_a_catalogs_updates_never_wait_for_each_other_in_a_circle() -> None:
    """Packed by size alone, each of two files would hold a parent of something in the other."""
    sizes = {"a": 300, "b": 200, "c": 300, "d": 200}
    parents = {"b": "c", "d": "a"}
    changes = [
        create(
            item(
                f"https://x/{name}",
                title="t" * size,
                **({"parent": f"https://x/{parents[name]}"} if name in parents else {}),
            )
        )
        for name, size in sizes.items()
    ]
    needs = [
        (Address(f"item/s/https://x/{parent}"), Address(f"item/s/https://x/{name}")) for name, parent in parents.items()
    ]
    for capacity in range(550, 1400, 50):
        [stage] = compile_calls(changes, CATALOG, Limits(container=capacity)).stages
        check_edges(stage, needs)


def test_deletions_of_identities_keep_their_stage() -> None:
    changes = [create(group("g", "user/corp/u")), delete(group("old")), create(item("https://x/a"))]
    assert [stage for stage, _, _ in shown(compile_calls(changes, CONTEXT))] == [
        "identities",
        "items",
        "identity-deletes",
    ]
