"""No other admissible grouping has fewer calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.calls import packing
from reconciler.calls.packing import Group, Load, pack, total_cost


def lower_bound(load: Load) -> int:
    """A number of API calls that no grouping can go below.

    Whoever goes alone takes its bytes out of the batches, and the rest need at least as many batches as
    either capacity says: so the largest go alone, tried for every number of them.
    """
    count = len(load.sizes)
    free = sum(load.alone)
    return min(
        singles + 2 * max(_batches(load, singles, 0), _batches(load, singles, 1), singles < count)
        for singles in range(free + 1)
    )


def _batches(load: Load, singles: int, dimension: int) -> int:
    weights = [load.weight(index)[dimension] for index in range(len(load.sizes))]
    alone = sorted((weight for weight, may in zip(weights, load.alone, strict=True) if may), reverse=True)
    capacity = (load.capacity, load.apart_capacity)[dimension]
    return -(-(sum(weights) - sum(alone[:singles])) // capacity) if capacity else 0


def every_grouping(load: Load) -> Iterator[list[tuple[list[int], bool]]]:
    """Every assignment of changes to labelled calls, in call order, told by brute force."""
    count = len(load.sizes)
    for labels in itertools.product(range(count), repeat=count):
        used = sorted(set(labels))
        if used != list(range(len(used))):
            continue
        calls = [[index for index in range(count) if labels[index] == call] for call in used]
        for batches in itertools.product((False, True), repeat=len(calls)):
            yield list(zip(calls, batches, strict=True))


def admissible(grouping: list[tuple[list[int], bool]], load: Load) -> bool:
    place = {index: number for number, (call, _) in enumerate(grouping) for index in call}
    return all(
        within(call, load) if batch else len(call) == 1 and load.alone[call[0]] for call, batch in grouping
    ) and all(place[first] <= place[second] for first, second in load.edges)


def within(call: list[int], load: Load) -> bool:
    if load.apart and sum(load.apart[index] for index in call) > load.apart_capacity:
        return False
    return sum(load.sizes[index] for index in call) <= load.capacity


def check(groups: tuple[Group, ...], load: Load) -> None:
    assert sorted(index for group in groups for index in group.members) == list(range(len(load.sizes)))
    assert admissible([(list(group.members), group.batch) for group in groups], load)


@st.composite
def loads(draw: st.DrawFn, least: int, most: int) -> Load:
    count = draw(st.integers(least, most))
    capacity = draw(st.integers(4, 12))
    sizes = draw(st.lists(st.integers(1, capacity), min_size=count, max_size=count))
    limit = draw(st.integers(0, capacity))
    pairs = [(first, second) for second in range(count) for first in range(second)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=3)) if pairs else []
    alone = [size <= limit for size in sizes]
    if draw(st.booleans()):
        return Load(sizes, alone, capacity, edges)
    beside = draw(st.integers(1, 10))
    apart = draw(st.lists(st.just(0) | st.integers(1, beside), min_size=count, max_size=count))
    return Load(sizes, alone, capacity, edges, apart, beside)


@settings(max_examples=150, deadline=None)
@given(loads(1, 5))
def test_brute_force_finds_nothing_cheaper(load: Load) -> None:
    groups = pack(load)
    check(groups, load)
    cheapest = min(
        (sum(2 if batch else 1 for _, batch in grouping), sum(3 if batch else 1 for _, batch in grouping))
        for grouping in every_grouping(load)
        if admissible(grouping, load)
    )
    assert total_cost(groups) == cheapest
    assert lower_bound(load) <= cheapest[0]


@pytest.mark.parametrize(
    ("sizes", "limit", "capacity"),
    [
        ([1] * 6, 1, 100),
        ([3, 3, 2, 2, 5, 5], 0, 10),
        ([3, 3, 2, 2, 5, 5], 5, 9),
        ([9, 9, 9, 1, 1, 1], 1, 10),
        ([6, 6, 6, 6, 6, 6], 6, 10),
    ],
)
def test_brute_force_on_six(sizes: list[int], limit: int, capacity: int) -> None:
    load = Load(sizes, [size <= limit for size in sizes], capacity)
    groups = pack(load)
    check(groups, load)
    assert total_cost(groups)[0] == min(
        sum(2 if batch else 1 for _, batch in grouping)
        for grouping in every_grouping(load)
        if admissible(grouping, load)
    )


@given(loads(9, 40))
def test_many_are_admissible_and_near_the_lower_bound(load: Load) -> None:
    groups = pack(load)
    check(groups, load)
    assert total_cost(groups)[0] <= len(load.sizes) * 2
    assert total_cost(groups)[0] >= lower_bound(load)


@given(st.lists(st.integers(1, 20), min_size=9, max_size=400), st.booleans())
def test_small_pieces_leave_at_most_the_last_container_unfilled(sizes: list[int], alone: bool) -> None:
    load = Load(sizes, [alone] * len(sizes), 1000)
    groups = pack(load)
    check(groups, load)
    # Each container but the last is filled to 1000 - 20 at least.
    assert total_cost(groups)[0] <= 2 * -(-sum(sizes) // 981)
    assert total_cost(groups)[0] <= lower_bound(load) + 2


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30)), min_size=9, max_size=200))
def test_small_pieces_fill_whichever_capacity_is_scarcer(pieces: list[tuple[int, int]]) -> None:
    sizes, apart = [size for size, _ in pieces], [beside for _, beside in pieces]
    load = Load(sizes, [False] * len(pieces), 1000, (), apart, 300)
    groups = pack(load)
    check(groups, load)
    # In the given order, of two neighbours at least one is more than half full of one of the two.
    assert total_cost(groups)[0] <= 2 * (2 * -(-sum(sizes) // 1000) + 2 * -(-sum(apart) // 300) + 1)
    assert total_cost(groups)[0] >= lower_bound(load)


def test_what_is_beside_a_batch_divides_it_and_costs_nothing_by_itself() -> None:
    load = Load([1] * 4, [True] * 4, 100, (), [6, 0, 5, 5], 10)
    groups = pack(load)
    check(groups, load)
    # The first goes alone: together they would name more containers than may be open at once.
    assert groups == (Group((0,), batch=False), Group((1, 2, 3), batch=True))
    assert pack(Load([1] * 4, [True] * 4, 100, (), [6, 0, 5, 5], 16)) == (Group((0, 1, 2, 3), batch=True),)


def test_a_family_whose_containers_are_too_many_is_cut_in_order() -> None:
    load = Load([1] * 12, [False] * 12, 100, [(0, index) for index in range(1, 12)], [5] * 12, 10)
    groups = pack(load)
    check(groups, load)
    assert [group.members for group in groups] == [(n, n + 1) for n in range(0, 12, 2)]


@given(loads(9, 30))
def test_one_more_change_never_costs_less_than_without_it(load: Load) -> None:
    count = len(load.sizes) - 1
    fewer = Load(
        load.sizes[:count],
        load.alone[:count],
        load.capacity,
        [edge for edge in load.edges if max(edge) < count],
        load.apart[:count],
        load.apart_capacity,
    )
    # Not promised for heuristics in general, but in order it holds, and the better of the two is taken.
    assert total_cost(packing._in_order(fewer)) <= total_cost(packing._in_order(load))
    assert total_cost(pack(load)) <= total_cost(packing._in_order(load))


def test_a_family_too_large_for_one_container_is_cut_in_order() -> None:
    load = Load([4] * 12, [False] * 12, 10, [(0, index) for index in range(1, 12)])
    groups = pack(load)
    check(groups, load)
    assert [group.members for group in groups] == [(n, n + 1) for n in range(0, 12, 2)]


def test_nothing_to_pack() -> None:
    assert pack(Load([], [], 10)) == ()
    assert lower_bound(Load([], [], 10)) == 0


def test_hundred_thousand_in_many_containers() -> None:
    load = Load([5] * 100_000, [False] * 100_000, 1_000)
    assert total_cost(pack(load))[0] == lower_bound(load) == 1000


def test_costs_are_the_documented_ones() -> None:
    assert (packing.SINGLE_COST, packing.BATCH_COST) == ((1, 1), (2, 3))
