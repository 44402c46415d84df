"""Order of nodes within layers with few crossings: barycentre sweeps, neighbour exchange, seeded restarts. Pure, deterministic."""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Sequence
from random import Random

__all__ = ["count_crossings", "order_layers"]

_SWEEPS = 24
_RESTARTS = 8
_RESTART_BELOW = 300
_EXCHANGE_BELOW = 600
_PATIENCE = 4


def order_layers(
    layers: Sequence[Sequence[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The best order found. Nodes are numbers; `up` and `down` are neighbours in the layer before and after."""
    best = [list(layer) for layer in layers]
    size = sum(map(len, layers))
    fewest = count_crossings(best, down)
    if not fewest:
        return best
    starts = _RESTARTS if size < _RESTART_BELOW else 1
    for start in range(starts):
        order = [list(layer) for layer in layers]
        if start:
            shuffle = Random(start)  # noqa: S311  # seeded on purpose: the same graph always looks the same
            for layer in order:
                shuffle.shuffle(layer)
        fewest, best = _sweep(order, up, down, fewest, best, exchange=size < _EXCHANGE_BELOW)
        if not fewest:
            break
    return best


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
    """Sort by the mean place of neighbours; nodes without any keep their place."""
    keys: dict[int, float] = {}
    for node in layer:
        near = neighbours[node]
        keys[node] = sum([place[n] for n in near]) / len(near) if near else place[node]
    layer.sort(key=keys.__getitem__)
    for position, node in enumerate(layer):
        place[node] = position


def _exchange(
    order: list[list[int]], up: Sequence[Sequence[int]], down: Sequence[Sequence[int]], place: list[int]
) -> None:
    """Swap neighbours while that takes crossings away."""
    for _ in range(3):
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
