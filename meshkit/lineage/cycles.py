"""Cycles of a directed graph: strongly connected components, without recursion."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["find_cycles", "reversed_edges"]


def find_cycles(edges: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """One shortest cycle through the first node (by name) of each component that has one."""
    after: dict[str, list[str]] = {}
    for src, dst in sorted(set(edges)):
        after.setdefault(src, []).append(dst)
        after.setdefault(dst, [])
    return tuple(_shortest(min(c), after, c) for c in _components(after) if len(c) > 1 or min(c) in after[min(c)])


def _shortest(start: str, after: dict[str, list[str]], inside: set[str]) -> tuple[str, ...]:
    came: dict[str, str | None] = {start: None}
    queue = [start]
    for node in queue:
        for target in after[node]:
            if target == start:
                path = [node]
                while came[path[-1]] is not None:
                    path.append(str(came[path[-1]]))
                return tuple(reversed(path))
            if target in inside and target not in came:
                came[target] = node
                queue.append(target)
    return (start,)


def _components(after: dict[str, list[str]]) -> list[set[str]]:
    """Tarjan's algorithm with an explicit stack."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on: set[str] = set()
    stack: list[str] = []
    components: list[set[str]] = []
    for root in sorted(after):
        if root in index:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on.add(target)
                    work.append((target, iter(after[target])))
                    break
                if target in on:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: set[str] = set()
                    while node not in component:
                        top = stack.pop()
                        on.discard(top)
                        component.add(top)
                    components.append(component)
    return components


def reversed_edges(nodes: list[str], edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Back edges of a depth-first walk in the given order: turned round, nothing is a cycle any more."""
    after: dict[str, list[str]] = {n: [] for n in nodes}
    for src, dst in edges:
        after[src].append(dst)
    state: dict[str, int] = {}
    back: set[tuple[str, str]] = set()
    for root in nodes:
        if root in state:
            continue
        work = [(root, iter(after[root]))]
        state[root] = 1
        while work:
            node, targets = work[-1]
            for target in targets:
                seen = state.get(target)
                if seen is None:
                    state[target] = 1
                    work.append((target, iter(after[target])))
                    break
                if seen == 1:
                    back.add((node, target))
            else:
                state[node] = 2
                work.pop()
    return back
