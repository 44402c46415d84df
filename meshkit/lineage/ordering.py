"""Order of nodes within layers with few crossings: barycentre sweeps, neighbour exchange, seeded restarts. Pure, deterministic."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from random import Random

__all__ = ["count_crossings", "order_layers"]

_SWEEPS = 24
_RESTARTS = 8
_RESTART_BELOW = 300
_EXCHANGE_BELOW = 600
_PATIENCE = 4
_SIFTS = 8
_EXCHANGES = 4


def order_layers(
    layers: Sequence[Sequence[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The best order found. Nodes are numbers; `up` and `down` are neighbours in the layer before and after.

    Parts of the graph that are not connected stand below one another, so no edge of one crosses an edge of another.
    """
    order: list[list[int]] = [[] for _ in layers]
    for part in _parts(layers, up, down):
        inside = set(part)
        mine = [[node for node in layer if node in inside] for layer in layers]
        for target, layer in zip(order, _ordered(mine, up, down), strict=True):
            target.extend(layer)
    return order


def _parts(
    layers: Sequence[Sequence[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Connected parts, largest first; single nodes are one part."""
    seen: set[int] = set()
    parts: list[list[int]] = []
    alone: list[int] = []
    for layer in layers:
        for root in layer:
            if root in seen:
                continue
            seen.add(root)
            part = [root]
            for node in part:
                fresh = [n for n in (*up[node], *down[node]) if n not in seen]
                part += dict.fromkeys(fresh)
                seen.update(fresh)
            if len(part) == 1:
                alone.append(root)
            else:
                parts.append(part)
    parts.sort(key=len, reverse=True)
    return [*parts, alone]


def _ordered(layers: list[list[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> list[list[int]]:
    best = [list(layer) for layer in layers]
    size = sum(map(len, layers))
    fewest = count_crossings(best, down)
    starts = max(3, min(_RESTARTS, _RESTART_BELOW // max(size, 1)))
    for start in range(starts):
        if not fewest:
            break
        order = _walked(layers, up, down, start)
        fewest, best = _sweep(order, up, down, fewest, best, exchange=_RESTART_BELOW <= size < _EXCHANGE_BELOW)
    if fewest and size < _RESTART_BELOW:
        best = _sifted(best, up, down)
    return best


def _sifted(order: list[list[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> list[list[int]]:
    """Move each node to the best place of its layer, while that takes crossings away."""
    place = {node: position for layer in order for position, node in enumerate(layer)}
    for _ in range(_SIFTS):
        gained = 0
        for layer in order:
            for node in sorted(layer, key=lambda n: (-len(up[n]) - len(down[n]), n)):
                gained += _sift(layer, node, up, down, place)
        if not gained:
            break
    return order


def _sift(
    layer: list[int], node: int, up: Sequence[Sequence[int]], down: Sequence[Sequence[int]], place: dict[int, int]
) -> int:
    """Try every place of one node; returns how many crossings the best one saves."""
    others = [n for n in layer if n != node]
    ends = [sorted([place[n] for n in near[node]]) for near in (up, down)]
    saved, best, target = 0, 0, 0
    costs = [
        _gain(ends, other, up, down, place) for other in others
    ]  # crossings saved by standing after `other` instead of before
    at = layer.index(node)
    base = sum(costs[:at])
    for position in range(len(others) + 1):
        if position:
            saved += costs[position - 1]
        if position == 0 or saved > best:
            best, target = saved, position
    if best - base <= 0:
        return 0
    others.insert(target, node)
    layer[:] = others
    place.update((item, position) for position, item in enumerate(layer))
    return best - base


def _gain(
    ends: list[list[int]], other: int, up: Sequence[Sequence[int]], down: Sequence[Sequence[int]], place: dict[int, int]
) -> int:
    gain = 0
    for mine, near in zip(ends, (up, down), strict=True):
        for end in near[other]:
            p = place[end]
            gain += (len(mine) - bisect_right(mine, p)) - bisect_left(mine, p)
    return gain


def _walked(
    layers: Sequence[Sequence[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]], start: int
) -> list[list[int]]:
    """An order to start from: as a walk along edges meets the nodes, so that what belongs together stands together.

    Walks from the first layer (even starts) or the last, by name at first and then shuffled by a seed.
    """
    level = {node: number for number, layer in enumerate(layers) for node in layer}
    roots = [node for layer in (layers if start % 2 == 0 else reversed(layers)) for node in layer]
    if start > 1:
        Random(start).shuffle(roots)  # noqa: S311  # seeded on purpose: the same graph always looks the same
    order: list[list[int]] = [[] for _ in layers]
    seen: set[int] = set()
    for root in roots:
        stack = [root]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            order[level[node]].append(node)
            stack += [n for n in (*down[node], *up[node]) if n not in seen]
    return order


def _sweep(
    order: list[list[int]],
    up: Sequence[Sequence[int]],
    down: Sequence[Sequence[int]],
    fewest: int,
    best: list[list[int]],
    *,
    exchange: bool,
) -> tuple[int, list[list[int]]]:
    place = [0] * len(up)
    for layer in order:
        for position, node in enumerate(layer):
            place[node] = position
    idle = 0
    for number in range(_SWEEPS):
        forward = number % 2 == 0
        neighbours = up if forward else down
        for layer in order if forward else reversed(order):
            _by_barycentre(layer, neighbours, place)
        if exchange:
            _exchange(order, up, down, place)
        crossings = count_crossings(order, down)
        if crossings < fewest:
            fewest, best, idle = crossings, [list(layer) for layer in order], 0
        else:
            idle += 1
        if idle == _PATIENCE or not fewest:
            break
    return fewest, best


def _by_barycentre(layer: list[int], neighbours: Sequence[Sequence[int]], place: list[int]) -> None:
    """Sort by the mean place of neighbours; nodes without any stay where they are."""
    keys = {
        node: sum([place[n] for n in neighbours[node]]) / len(neighbours[node]) for node in layer if neighbours[node]
    }
    moving = iter(sorted(keys, key=keys.__getitem__))
    for position, node in enumerate(layer):
        chosen = next(moving) if node in keys else node
        layer[position] = chosen
        place[chosen] = position


def _exchange(
    order: list[list[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]], place: list[int]
) -> None:
    """Swap neighbours while that takes crossings away."""
    for _ in range(_EXCHANGES):
        better = False
        for layer in order:
            for position in range(len(layer) - 1):
                one, two = layer[position], layer[position + 1]
                gain = 0
                for near in (up, down):
                    a, b = [place[n] for n in near[one]], [place[n] for n in near[two]]
                    gain += sum(x > y for x in a for y in b) - sum(x < y for x in a for y in b)
                if gain > 0:
                    layer[position], layer[position + 1] = two, one
                    place[one], place[two] = position + 1, position
                    better = True
        if not better:
            return


def count_crossings(order: Sequence[Sequence[int]], down: Sequence[Sequence[int]]) -> int:
    """Crossings between all neighbouring layers."""
    total = 0
    for layer, following in itertools.pairwise(order):
        place = {node: position for position, node in enumerate(following)}
        ends: list[int] = []
        for node in layer:
            ends += sorted([place[n] for n in down[node]])
        seen: list[int] = []
        for end in ends:
            total += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return total
