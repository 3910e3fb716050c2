"""Divides the changes of one scope into single calls and batches, for the fewest API calls.

Pure arithmetic over sizes. A single call counts as one, a batch as two (a container and the batch;
the upload to storage counts for nothing, push-api.md 4.2). A body that takes a container of its own
costs the same one call wherever it stands, so it changes no comparison, except that the containers
one batch names must all be filled before the first of them expires (push-api.md 2.2). All changes
that fit one batch are provably one batch, or one or two single calls. Beyond that it is bin packing:
searched exhaustively for a few changes, and for many the better of two heuristics.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

SINGLE_COST = (1, 1)
BATCH_COST = (2, 3)
EXHAUSTIVE = 8

Edges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Group:
    """The changes of one call, as indexes in order."""

    members: tuple[int, ...]
    batch: bool

    @property
    def cost(self) -> tuple[int, int]:
        """API calls, then HTTP requests."""
        return BATCH_COST if self.batch else SINGLE_COST


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be packed: sizes in bytes, which may go alone, and what must not come before what.

    `edges` are pairs of indexes, the first one not after the second; indexes already stand in such
    an order. `apart` are the bytes of each one's own container, 0 for none, of which one batch takes
    `apart_capacity`. Each one fits a batch by itself.
    """

    sizes: Sequence[int]
    alone: Sequence[bool]
    capacity: int
    edges: Edges = ()
    apart: Sequence[int] = ()
    apart_capacity: int = 0

    def fits(self, indexes: Sequence[int]) -> bool:
        """Whether one batch takes all of these."""
        if sum(self.sizes[index] for index in indexes) > self.capacity:
            return False
        return not self.apart or sum(self.apart[index] for index in indexes) <= self.apart_capacity

    def weight(self, index: int) -> tuple[int, int]:
        """Return what one takes of the capacities."""
        return self.sizes[index], self.apart[index] if self.apart else 0


def pack(load: Load) -> tuple[Group, ...]:
    """Return groups that cover every index once, in an order that respects the edges."""
    count = len(load.sizes)
    if count <= 2 and all(load.alone):
        return tuple(Group((index,), batch=False) for index in range(count))
    if load.fits(range(count)):
        return (Group(tuple(range(count)), batch=True),)
    if count <= EXHAUSTIVE:
        return _search(load)
    candidates = [_in_order(load)]
    by_size = _by_size(load)
    if by_size is not None:
        candidates.append(by_size)
    return min(candidates, key=total_cost)


def total_cost(groups: Sequence[Group]) -> tuple[int, int]:
    """Return the API calls and the HTTP requests of these groups."""
    return (sum(group.cost[0] for group in groups), sum(group.cost[1] for group in groups))


def _search(load: Load) -> tuple[Group, ...]:
    best: tuple[Group, ...] | None = None
    for partition in _partitions(len(load.sizes)):
        groups = _groups(partition, load)
        if groups is None or (best is not None and total_cost(groups) >= total_cost(best)):
            continue
        ordered = _ordered(groups, load.edges)
        if ordered is not None:
            best = ordered
    assert best is not None, "one call per change is always admissible. This is a bug in reconciler."
    return best


def _partitions(count: int) -> Iterator[list[list[int]]]:
    """Yield every partition of the indexes, blocks and their members ascending."""

    def place(index: int, blocks: list[list[int]]) -> Iterator[list[list[int]]]:
        if index == count:
            yield blocks
            return
        for position in range(len(blocks)):
            yield from place(index + 1, [*blocks[:position], [*blocks[position], index], *blocks[position + 1 :]])
        yield from place(index + 1, [*blocks, [index]])

    return place(0, [])


def _groups(partition: Sequence[Sequence[int]], load: Load) -> list[Group] | None:
    groups = []
    for block in partition:
        if len(block) == 1 and load.alone[block[0]]:
            groups.append(Group((block[0],), batch=False))
        elif load.fits(block):
            groups.append(Group(tuple(block), batch=True))
        else:
            return None
    return groups


def _ordered(groups: Sequence[Group], edges: Edges) -> tuple[Group, ...] | None:
    """Return the groups so that no edge points backwards, or None when there is no such order."""
    home = {index: number for number, group in enumerate(groups) for index in group.members}
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(groups)), ()))
    for first, second in edges:
        if home[first] != home[second]:
            sorter.add(home[second], home[first])
    try:
        sorter.prepare()
    except CycleError:
        return None
    order: list[Group] = []
    ready: list[int] = []
    while sorter.is_active():
        for number in sorter.get_ready():
            bisect.insort(ready, number)
        number = ready.pop(0)
        order.append(groups[number])
        sorter.done(number)
    return tuple(order)


def _in_order(load: Load) -> tuple[Group, ...]:
    """Return the cheapest groups that keep the given order: batches are runs of neighbours.

    The cheapest way to settle the first `n` never costs more than that for `n + 1`, so the longest
    run that fits is the best last batch, and one pass decides all.
    """
    count = len(load.sizes)
    best: list[tuple[int, int]] = [(0, 0)] * (count + 1)
    cut: list[tuple[int, bool]] = [(0, False)] * (count + 1)
    low, held, apart = 0, 0, 0
    for end in range(1, count + 1):
        size, beside = load.weight(end - 1)
        held, apart = held + size, apart + beside
        while held > load.capacity or (load.apart and apart > load.apart_capacity):
            size, beside = load.weight(low)
            held, apart = held - size, apart - beside
            low += 1
        best[end] = (best[low][0] + BATCH_COST[0], best[low][1] + BATCH_COST[1])
        cut[end] = (low, True)
        if load.alone[end - 1]:
            single = (best[end - 1][0] + SINGLE_COST[0], best[end - 1][1] + SINGLE_COST[1])
            if single <= best[end]:
                best[end] = single
                cut[end] = (end - 1, False)
    groups: list[Group] = []
    end = count
    while end:
        start, batch = cut[end]
        groups.append(Group(tuple(range(start, end)), batch))
        end = start
    return tuple(reversed(groups))


def _by_size(load: Load) -> tuple[Group, ...] | None:
    """Return groups by best fit, largest first, or None when what belongs together fits no container."""
    units = _units(len(load.sizes), load.edges)
    if not all(load.fits(unit) for unit in units):
        return None
    weights = [sum(load.sizes[index] for index in unit) for unit in units]
    beside = [sum(load.weight(index)[1] for index in unit) for unit in units]
    room: list[tuple[int, int]] = []
    bins: list[list[int]] = []
    spare: list[int] = []
    for position in sorted(range(len(units)), key=lambda at: (-weights[at], at)):
        weight = weights[position]
        at = bisect.bisect_left(room, (weight, -1))
        while at < len(room) and spare[room[at][1]] < beside[position]:
            at += 1
        if at < len(room):
            left, number = room.pop(at)
        else:
            left, number = load.capacity, len(bins)
            bins.append([])
            spare.append(load.apart_capacity)
        bins[number].extend(units[position])
        spare[number] -= beside[position]
        bisect.insort(room, (left - weight, number))
    groups: list[Group] = []
    for members in sorted(sorted(held) for held in bins):
        if len(members) <= 2 and all(load.alone[index] for index in members):
            groups.extend(Group((index,), batch=False) for index in members)
        else:
            groups.append(Group(tuple(members), batch=True))
    return tuple(groups)


def _units(count: int, edges: Edges) -> list[list[int]]:
    """Return the indexes in connected pieces, in order of each piece's first index."""
    leader = list(range(count))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for first, second in edges:
        one, other = find(first), find(second)
        leader[max(one, other)] = min(one, other)
    found = sorted((find(index), index) for index in range(count))
    return [[index for _, index in piece] for _, piece in itertools.groupby(found, key=lambda pair: pair[0])]
