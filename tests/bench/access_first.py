"""Prints what it takes to say of a first plan who sees what: `python -m tests.bench.access_first`.

Nobody saw anything before: all identities and a fifth of the items of `tests.bench.access` are new at once. At a
twentieth, a tenth and the half of that organization, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import orjson

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.permissions.exposure import Edit
from reconciler.permissions.readings import Readings
from reconciler.permissions.relation import Relation
from tests.bench.access import Organization, explained

PARTS = (0.05, 0.1, 0.5)


def measure(part: float) -> None:
    """Explain a first plan of one size, and print figures as JSON."""
    world = Organization(part)
    docs = sorted(set(world.model_docs()))
    news = [*world.group_docs(), *world.alias_docs()]
    figures: dict[str, float] = {"identities": len(news), "items": world.items // 5}
    for number in range(world.items // 5):
        address = Address(f"item/handbook/https://example.com/{number:07}")
        news.append(Resource(address, b"{}", docs[number * 7919 % len(docs)]))
    figures["memory before"] = _peak()
    began = time.perf_counter()
    exposure, size = explained(Relation(Readings(), {}), (Edit(new.address, None, new) for new in news))
    figures |= {"seconds": time.perf_counter() - began, "memory": _peak(), "size": size}
    figures |= {"pairs": exposure.pairs_gained, "models": len(exposure.shifts)}
    print(orjson.dumps(figures).decode())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=float, help="measure this part of the size only, and print figures as JSON")
    options = parser.parse_args()
    if options.part:
        measure(options.part)
        return
    report()


def report() -> None:
    """Measure each size and print what came of it, and how it grew."""
    print("\nwhat a first plan says of access")
    before: dict[str, float] | None = None
    for part in PARTS:
        command = [sys.executable, "-m", "tests.bench.access_first", "--part", str(part)]
        figures = orjson.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        growth = f"   {figures['seconds'] / before['seconds']:.2f} x the one before" if before else ""
        more = figures["memory"] - figures["memory before"]
        print(
            f"  {figures['identities']:7,} identities, {figures['items']:7,} items, {figures['models']:6,} models,"
            f" {figures['pairs']:,} pairs: {figures['seconds']:.2f} s, {figures['memory']:.0f} MB"
            f" ({more:.0f} MB more than its input), {figures['size']:,} B{growth}"
        )
        before = figures


if __name__ == "__main__":
    main()
