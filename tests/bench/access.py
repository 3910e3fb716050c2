"""Prints how fast it is told who sees what, and what a change does to it: `python -m tests.bench.access`.

An organization of users, nested groups and items that share permission models, at a hundredth, a tenth and
the whole of its size; each size in a process of its own. What counts is how the times grow.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import orjson

from reconciler.calls.compile import compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.safely import in_safe_order
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json, digest
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit, Exposure, expose
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from reconciler.planning.accesshazards import AccessLimits, access_hazards
from reconciler.planning.change import Action, Change
from reconciler.rendering.exposuredoc import exposure_document

USERS, GROUPS, MODELS, ITEMS, DEPTH = 100_000, 20_000, 20_000, 1_000_000, 6
FIRST_LEVEL = 0.7
"""The share of groups with nothing but users in them; the rest is nested above, in ever fewer."""


LINES = {
    "loaded": "load",
    "evaluated": "evaluate everything",
    "whole": "the whole relation",
    "what": "what one person sees",
    "20 s": "a change of 20 groups",
    "1% s": "a change of 1% of groups",
    "10% s": "a change of 10% of groups",
    "items s": "another model for 1% of items",
    "safe": "safe order: 20 groups, 0.1% of items",
    "replaced s": "other members in 25% of groups, told",
}


class Organization:
    """A generated organization, the same for the same size; everything about it comes as a stream."""

    def __init__(self, part: float) -> None:
        self._chance = random.Random(4)
        self.users, self.groups = int(USERS * part), int(GROUPS * part)
        self.models, self.items = int(MODELS * part), int(ITEMS * part)
        self._layers = self._split()

    def _split(self) -> list[range]:
        sizes, left = [int(self.groups * FIRST_LEVEL)], self.groups - int(self.groups * FIRST_LEVEL)
        for _ in range(DEPTH - 2):
            sizes.append(left // 2)
            left -= left // 2
        ends = [sum(sizes[: index + 1]) for index in range(len(sizes))] + [self.groups]
        return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def user(self) -> str:
        return f"user/corp/user{self._chance.randrange(self.users):06}@example.com"

    def members(self, layer: int) -> list[str]:
        """Return who is in a group of a layer: people, or groups of the layer below with a few people."""
        chance = self._chance
        if layer == 0:
            return sorted({self.user() for _ in range(min(400, int(chance.paretovariate(1.1) * 10)))})
        below = self._layers[layer - 1]
        inner = {f"group/corp/g{chance.choice(below):05}" for _ in range(chance.randint(2, 5))}
        return sorted(inner | {self.user() for _ in range(3)})

    def group_docs(self) -> Iterator[Resource]:
        for layer, groups in enumerate(self._layers):
            for group in groups:
                yield self.group(f"group/corp/g{group:05}", self.members(layer))

    def group(self, address: str, members: list[str]) -> Resource:
        return Resource(Address(address), canonical_json({"members": members}))

    def alias_docs(self) -> Iterator[Resource]:
        """Yield an alias into the email provider for everybody."""
        for number in range(self.users):
            name = f"user{number:06}@example.com"
            doc = canonical_json({"mappings": [f"user/{EMAIL_PROVIDER}/{name}"]})
            yield Resource(Address(f"alias/corp/user:{name}"), doc)

    def model_docs(self) -> list[bytes]:
        """Return the models: mostly one set, now and then with denials, two sets or two levels."""
        chance = self._chance

        def one_set() -> dict[str, list[str]]:
            allowed = {f"group/corp/g{chance.randrange(self.groups):05}" for _ in range(chance.randint(1, 3))}
            denied = {self.user()} if chance.random() < 0.3 else set()
            return {"allowed": sorted(allowed)} | ({"denied": sorted(denied)} if denied else {})

        def level() -> dict[str, list[dict[str, list[str]]]]:
            return {"sets": [one_set() for _ in range(2 if chance.random() < 0.2 else 1)]}

        return [
            canonical_json({"levels": [level() for _ in range(2 if chance.random() < 0.1 else 1)]})
            for _ in range(self.models)
        ]

    def item_rows(self, digests: list[bytes]) -> Iterator[tuple[str, bytes]]:
        """Yield the address of each item and the digest of its model."""
        for number in range(self.items):
            yield f"item/handbook/https://example.com/{number:07}", digests[number * 7919 % len(digests)]


def measure(part: float) -> None:
    """Build and evaluate one size, and print a line of figures."""
    began = time.perf_counter()
    world = Organization(part)
    groups = list(world.group_docs())
    docs = sorted(set(world.model_docs()))
    digests = [digest(doc) for doc in docs]
    generated = time.perf_counter() - began

    began = time.perf_counter()
    relation = Relation(Readings(), {})
    relation.add_identities(groups)
    relation.add_identities(world.alias_docs())
    identities = time.perf_counter() - began
    relation.add_items(world.item_rows(digests))
    relation.add_models(docs)
    loaded = time.perf_counter() - began
    pairs = relation.pairs()
    whole = time.perf_counter() - began

    figures: dict[str, float] = {"pairs": pairs, "generated": generated, "identities": identities, "loaded": loaded}
    figures |= {"evaluated": whole - loaded, "whole": whole}
    began = time.perf_counter()
    seen = relation.counts_seen_by(f"user/{EMAIL_PROVIDER}/user000001@example.com")
    figures |= {"what": time.perf_counter() - began, "seen": sum(seen.values())}
    figures["memory"] = _peak()
    chosen = random.Random(5)
    for name, number in (("20", 20), ("1%", len(groups) // 100), ("10%", len(groups) // 10)):
        picked = chosen.sample(groups, number)
        change = [Edit(group.address, group, _changed(world, group)) for group in picked]
        began = time.perf_counter()
        exposure = expose(relation, change)
        figures[f"{name} s"] = time.perf_counter() - began
        figures[f"{name} pairs"] = exposure.pairs_gained + exposure.pairs_lost
        figures[f"{name} models"] = len(exposure.shifts)
        expose(relation, [Edit(edit.address, edit.after, edit.before) for edit in change])
    # At random: every hundredth would have but a hundredth of the models.
    rows = [row for row in world.item_rows(digests) if chosen.random() < 0.01]
    began = time.perf_counter()
    exposure = expose(relation, [], items=[(address, digests[-1]) for address, _ in rows])
    figures["items s"] = time.perf_counter() - began
    figures["items pairs"] = exposure.pairs_gained + exposure.pairs_lost
    figures["items models"] = len(exposure.shifts)
    expose(relation, [], items=rows)
    assert relation.pairs() == pairs
    figures |= _ordered(relation, world, chosen.sample(groups, 20), docs, chosen)
    # Of every fourth group all members are others: a mistake in an export looks like this.
    replaced = [Edit(group.address, group, _others(world, group)) for group in groups[::4]]
    began = time.perf_counter()
    exposure, _ = explained(relation, replaced)
    figures |= {"replaced s": time.perf_counter() - began, "replaced models": len(exposure.shifts)}
    figures["replaced pairs"] = exposure.pairs_gained + exposure.pairs_lost
    figures["memory after"] = _peak()
    print(orjson.dumps(figures).decode())


def _ordered(
    relation: Relation, world: Organization, groups: list[Resource], docs: list[bytes], chance: random.Random
) -> dict[str, float]:
    """Return how long it takes to find a safe order of a change of both groups and items, and what it costs."""
    by_digest = {digest(doc): doc for doc in docs}
    was = {group.address: group for group in groups}
    pairs = [(group, _changed(world, group)) for group in groups]
    for address, key in world.item_rows(list(by_digest)):
        if chance.random() < 0.001:
            item = Resource(Address(address), b'{"metadata":{}}', by_digest[key])
            pairs.append((item, replace(item, shared=chance.choice(docs))))
    changes = [Change(after.address, Action.UPDATE, "changed", before, after) for before, after in pairs]
    context = WireContext("org", {"handbook": SourceRef("id", "corp")}, {"corp": "id"})
    began = time.perf_counter()
    compiled = in_safe_order(
        changes,
        relation,
        lambda addresses: {address: was[Address(address)] for address in addresses},
        lambda waves: compile_calls(changes, context, waves=waves),
    )
    seconds = time.perf_counter() - began
    return {"safe": seconds, "safe calls": compiled.order.extra_calls, "safe left": len(compiled.order.transients)}


def explained(relation: Relation, edits: Iterable[Edit]) -> tuple[Exposure, int]:
    """Return what a change does and how large its document is, worked out as a plan does, hazards included."""
    exposure = expose(relation, edits)
    hazards = access_hazards(exposure, relation, AccessLimits())
    return exposure, len(orjson.dumps(exposure_document(exposure, relation.names, hazards=hazards)))


def _others(world: Organization, group: Resource) -> Resource:
    return world.group(group.address, sorted({world.user() for _ in orjson.loads(group.doc)["members"]}))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _changed(world: Organization, group: Resource) -> Resource:
    members = orjson.loads(group.doc)["members"]
    return world.group(group.address, sorted({*members[1:], world.user()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=float, help="measure this part of the size only, and print figures as JSON")
    parser.add_argument("--small", action="store_true", help="leave out the whole size")
    options = parser.parse_args()
    if options.part:
        measure(options.part)
        return
    report([0.01, 0.1] if options.small else [0.01, 0.1, 1])


def report(parts: list[float]) -> None:
    """Measure each size in a process of its own, one after the other, and print all of them side by side."""
    command = [sys.executable, "-m", "tests.bench.access", "--part"]
    measured = [
        orjson.loads(subprocess.run([*command, str(part)], check=True, capture_output=True).stdout) for part in parts
    ]
    print(
        "\nwho sees what, by size: distinct models once, people as bitmaps; then a member more and less in some groups"
    )
    for cells in _table(parts, measured):
        print(f"  {cells[0]:37}" + "".join(f"{cell:>15}{cells[index + 1]:>8}" for index, cell in _every_other(cells)))


def _every_other(cells: list[str]) -> list[tuple[int, str]]:
    return [(index, cells[index]) for index in range(1, len(cells), 2)]


def _table(parts: list[float], measured: list[dict[str, float]]) -> Iterator[list[str]]:
    """Yield rows: a title, then for each size a figure and how it compares with the size before."""
    yield ["", *(text for part in parts for text in (f"x {part / parts[0]:.0f}", ""))]
    for title, whole in (("items", ITEMS), ("models", MODELS), ("users", USERS), ("groups", GROUPS)):
        yield [title, *(text for part in parts for text in (f"{int(whole * part):,}", ""))]
    yield ["pairs of a user and an item", *_compared([figures["pairs"] for figures in measured], "{:,}")]
    for name, title in LINES.items():
        yield [title, *_compared([figures[name] for figures in measured], "{:.3f} s")]
        if name.endswith(" s"):
            pairs, models = (
                [figures[name.replace(" s", kind)] for figures in measured] for kind in (" pairs", " models")
            )
            yield ["  pairs that change", *_compared(pairs, "{:,}")]
            yield ["  models whose viewers change", *_compared(models, "{:,}")]
            each = [figures[name] / count * 1000 for figures, count in zip(measured, models, strict=True)]
            yield ["  time for each of these", *_compared(each, "{:.2f} ms")]
    for name, title in (("safe calls", "  calls more"), ("safe left", "  left unsafe")):
        yield [title, *(text for figures in measured for text in (f"{figures[name]:,}", ""))]
    yield ["memory", *_compared([figures["memory"] for figures in measured], "{:,.0f} MB")]
    yield ["memory with all changes", *_compared([figures["memory after"] for figures in measured], "{:,.0f} MB")]


def _compared(values: list[float], shape: str) -> Iterator[str]:
    """Yield each value, and by how much it is more than the one before."""
    for before, value in zip([None, *values], values, strict=False):
        yield shape.format(value)
        yield "" if not before else f"x {value / before:.1f}"


if __name__ == "__main__":
    main()
