"""The rings of a directed graph: its strongly connected components that hold a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def rings(edges: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Return the nodes of each ring (Tarjan), both sorted; a node that leads to itself is one."""
    rank: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found = []
    for start in edges:
        frames: list[tuple[int, Iterator[int]]] = []
        waiting = [] if start in rank else [start]
        while waiting or frames:
            if waiting:
                node = waiting.pop()
                rank[node] = low[node] = len(rank)
                path.append(node)
                on_path.add(node)
                frames.append((node, iter(edges.get(node, ()))))
            node, rest = frames[-1]
            for other in rest:
                if other not in rank:
                    waiting.append(other)
                    break
                if other in on_path:
                    low[node] = min(low[node], rank[other])
            else:
                frames.pop()
                if frames:
                    outer = frames[-1][0]
                    low[outer] = min(low[outer], low[node])
                if low[node] == rank[node]:
                    ring = path[path.index(node) :] if path[-1] != node else [node]
                    del path[-len(ring) :]
                    on_path.difference_update(ring)
                    if len(ring) > 1 or node in edges.get(node, ()):
                        found.append(sorted(ring))
    return sorted(found)
