"""Which layer each node stands in: left to right, with little total edge length. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["assign_layers", "signed_layers"]

_ROUNDS = 50


def assign_layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Layers of an acyclic graph: every edge goes right by at least one.

    Starts from longest paths, then moves single nodes and tight groups towards the side with more edges until the total edge
    length no longer falls: what a network simplex does, without its tree.
    """
    before, after = _neighbours(nodes, edges)
    order = _topological(nodes, before, after)
    layer = dict.fromkeys(nodes, 0)
    for node in order:
        layer[node] = max((layer[p] + 1 for p in before[node]), default=0)
    for _ in range(_ROUNDS):
        moved = _move_nodes(order, layer, before, after)
        moved = _move_groups(nodes, layer, before, after) or moved
        if not moved:
            break
    lowest = min(layer.values(), default=0)
    for node in nodes:  # nodes without edges stand in the first layer
        layer[node] = layer[node] - lowest if before[node] or after[node] else 0
    return layer


def signed_layers(focus: str, nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Layers of a focus view: what feeds the focus stands left of it, what reads it right, so expanding never changes sides."""
    everything = sorted(set(nodes))
    before, after = _neighbours(everything, edges)
    order = _topological(everything, before, after)
    right: dict[str, int] = {focus: 0}
    for node in order:
        distances = [right[p] + 1 for p in before[node] if p in right]
        if distances and node != focus:
            right[node] = max(distances)
    left: dict[str, int] = {focus: 0}
    for node in reversed(order):
        distances = [left[s] - 1 for s in after[node] if s in left]
        if distances and node != focus and node not in right:
            left[node] = min(distances)
    layer = {**left, **right}
    for node in reversed(order):  # neither side: beside its readers
        if node not in layer:
            layer[node] = min((layer[s] - 1 for s in after[node] if s in layer), default=0)
    for node in order:
        if node not in left:  # the left side has only itself before it, and is right as it stands
            layer[node] = max([layer[node], *(layer[p] + 1 for p in before[node])])
    lowest = min(layer.values())
    return {node: value - lowest for node, value in layer.items()}


def _neighbours(
    nodes: Sequence[str], edges: Iterable[tuple[str, str]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {n: [] for n in nodes}
    after: dict[str, list[str]] = {n: [] for n in nodes}
    for src, dst in edges:
        before[dst].append(src)
        after[src].append(dst)
    return before, after


def _topological(nodes: Sequence[str], before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    waiting = {n: len(before[n]) for n in nodes}
    order = [n for n in nodes if not waiting[n]]
    for node in order:
        for target in after[node]:
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return order


def _move_nodes(
    order: list[str], layer: dict[str, int], before: dict[str, list[str]], after: dict[str, list[str]]
) -> bool:
    """Each node to the side that has more of its edges, as far as the others allow."""
    moved = False
    for node in (*order, *reversed(order)):
        pull = len(after[node]) - len(before[node])
        if pull > 0:
            best = min(layer[s] for s in after[node]) - 1
        elif pull < 0:
            best = max(layer[p] for p in before[node]) + 1
        else:
            continue
        if best != layer[node]:
            layer[node] = best
            moved = True
    return moved


def _move_groups(
    nodes: Sequence[str], layer: dict[str, int], before: dict[str, list[str]], after: dict[str, list[str]]
) -> bool:
    """A group held together by tight edges moves as one: what single nodes can't do."""
    group: dict[str, int] = {}
    members: list[list[str]] = []
    for start in nodes:
        if start in group:
            continue
        group[start] = len(members)
        found = [start]
        for node in found:
            tight = [s for s in after[node] if layer[s] == layer[node] + 1] + [
                p for p in before[node] if layer[p] == layer[node] - 1
            ]
            for other in tight:
                if other not in group:
                    group[other] = len(members)
                    found.append(other)
        members.append(found)
    moved = False
    for number, found in enumerate(members):
        out = [layer[s] - layer[n] - 1 for n in found for s in after[n] if group[s] != number]
        into = [layer[n] - layer[p] - 1 for n in found for p in before[n] if group[p] != number]
        if len(out) > len(into):
            step = min(out)
        elif len(into) > len(out):
            step = -min(into)
        else:
            continue
        if step:
            for node in found:
                layer[node] += step
            moved = True
    return moved
