"""Layered layout of a lineage graph in pixels: pure and deterministic. Source: catalog-lineage-slo section 3, UI notes section 4.

Back edges are turned round and marked; long edges run straight through a slot of each layer they pass, never over a box.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshkit.lineage.cycles import reversed_edges
from meshkit.lineage.graph import LineageGraph
from meshkit.lineage.layers import assign_layers, signed_layers
from meshkit.lineage.ordering import order_layers

__all__ = ["BOX_HEIGHT", "BOX_WIDTH", "Box", "Layout", "layout", "place_graph"]

BOX_WIDTH, BOX_HEIGHT = 176, 40
GAP, PITCH, MARGIN = 80, 64, 8
_SLOT = 20  # height that a passing edge keeps free
_BESIDE = 44  # from the middle of a box, below which stubs stand, to the middle of a passing edge
_ALIGN_ROUNDS = 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place; `x`, `y` is its top left corner."""

    x: float
    y: float
    width: float = BOX_WIDTH
    height: float = BOX_HEIGHT


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by URN, and the points of each edge from its source's right side to its target's left side.

    `ends[i]` is (src, dst, back) of `edges[i]`; a `back` edge runs against the flow. Between points of one height the edge is
    a straight line over the width of a layer, elsewhere a curve.
    """

    nodes: Mapping[str, Box]
    edges: tuple[tuple[Point, ...], ...]
    ends: tuple[tuple[str, str, bool], ...]
    width: float
    height: float
    layers: int
    crossings: int


def layout(graph: LineageGraph, *, gap: int = GAP, pitch: int = PITCH) -> Layout:
    """Lay out the product level of a graph, around its focus if it has one."""
    pairs = sorted({(e.src, e.dst) for e in graph.product_edges if e.src in graph.nodes and e.dst in graph.nodes})
    return place_graph(sorted(graph.nodes), pairs, focus=graph.focus, gap=gap, pitch=pitch)


def place_graph(
    nodes: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    *,
    focus: str | None = None,
    gap: int = GAP,
    pitch: int = PITCH,
) -> Layout:
    """Lay out any directed graph. `nodes` in the order that decides ties; equal input gives equal output."""
    start = [focus, *(n for n in nodes if n != focus)] if focus is not None else list(nodes)
    back = reversed_edges(start, [p for p in pairs if p[0] != p[1]])
    forward = sorted({(d, s) if (s, d) in back else (s, d) for s, d in pairs if s != d})
    layer = signed_layers(focus, nodes, forward) if focus is not None else assign_layers(nodes, forward)
    chains, grid = _with_slots(nodes, forward, layer)
    order = order_layers(grid.layers, grid.up, grid.down)
    from meshkit.lineage.ordering import count_crossings

    middle = _heights(order, grid, pitch)
    step = BOX_WIDTH + gap
    boxes = {n: Box(MARGIN + layer[n] * step, round(middle[i] - BOX_HEIGHT / 2, 1)) for i, n in enumerate(nodes)}
    edges, ends = [], []
    for src, dst in pairs:
        turned = (src, dst) in back
        chain = chains.get((dst, src) if turned else (src, dst))
        if chain is None:  # a node that feeds itself
            continue
        points = _points(chain, grid.layer_of, middle, step)
        edges.append(tuple(reversed(points)) if turned else points)
        ends.append((src, dst, turned))
    count = len(grid.layers)
    bottom = max((b.y + b.height for b in boxes.values()), default=0)
    width = 2 * MARGIN + BOX_WIDTH * count + gap * max(count - 1, 0)
    crossings = count_crossings(order, grid.down)
    return Layout(boxes, tuple(edges), tuple(ends), width, round(bottom + 28, 1), count, crossings)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Nodes and slots as numbers: nodes first, then a slot for each layer that a long edge passes."""

    layers: list[list[int]]
    up: list[list[int]]
    down: list[list[int]]
    layer_of: list[int]
    real: int


def _with_slots(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], layer: Mapping[str, int]
) -> tuple[dict[tuple[str, str], list[int]], _Grid]:
    number = {n: i for i, n in enumerate(nodes)}
    layer_of = [layer[n] for n in nodes]
    up: list[list[int]] = [[] for _ in nodes]
    down: list[list[int]] = [[] for _ in nodes]
    chains: dict[tuple[str, str], list[int]] = {}
    for src, dst in edges:
        chain = [number[src]]
        for level in range(layer[src] + 1, layer[dst]):
            layer_of.append(level)
            up.append([])
            down.append([])
            chain.append(len(layer_of) - 1)
        chain.append(number[dst])
        for one, two in itertools.pairwise(chain):
            down[one].append(two)
            up[two].append(one)
        chains[src, dst] = chain
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for item, level in enumerate(layer_of):
        layers[level].append(item)
    return chains, _Grid(layers, up, down, layer_of, len(nodes))


def _heights(order: list[list[int]], grid: _Grid, pitch: int) -> list[float]:
    """Middle of each node and slot: near its neighbours, in order, and far enough from the next in its layer."""
    middle = [0.0] * len(grid.layer_of)
    for layer in order:
        at = 0.0
        for position, item in enumerate(layer):
            at += _distance(layer[position - 1], item, grid.real, pitch) if position else 0.0
            middle[item] = at
        shift = at / 2
        for item in layer:
            middle[item] -= shift
    for number in range(_ALIGN_ROUNDS):
        forward = number % 2 == 0
        for layer in order if forward else reversed(order):
            _align(layer, grid, middle, pitch, both=number >= _ALIGN_ROUNDS - 2, forward=forward)
    top = min(
        (middle[i] - BOX_HEIGHT / 2 if i < grid.real else middle[i] - _SLOT / 2 for i in range(len(middle))),
        default=0.0,
    )
    return [round(m - top + MARGIN, 1) for m in middle]


def _distance(one: int, two: int, real: int, pitch: int) -> float:
    boxes = (one < real) + (two < real)
    return pitch if boxes == 2 else _BESIDE if boxes else _SLOT


def _align(layer: list[int], grid: _Grid, middle: list[float], pitch: int, *, both: bool, forward: bool) -> None:
    """Least squares to the wished heights under the distances: isotonic regression by pooling."""
    pools: list[list[float]] = []  # mean, weight, count
    offset = 0.0
    offsets: list[float] = []
    for position, item in enumerate(layer):
        offset += _distance(layer[position - 1], item, grid.real, pitch) if position else 0.0
        offsets.append(offset)
        wish, weight = _wish(item, grid, middle, both=both, forward=forward)
        pools.append([wish - offset, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * weight) / (last[1] + weight)
            last[1] += weight
            last[2] += count
    position = 0
    for mean, _, count in pools:
        for _ in range(int(count)):
            middle[layer[position]] = mean + offsets[position]
            position += 1


def _wish(item: int, grid: _Grid, middle: list[float], *, both: bool, forward: bool) -> tuple[float, float]:
    """Median of neighbours; a slot insists on the height of its own edge, so that long edges are straight."""
    near = grid.up[item] + grid.down[item] if both else (grid.up[item] if forward else grid.down[item])
    if not near:
        return middle[item], 0.5
    heights = sorted([middle[n] for n in near])
    half = len(heights) // 2
    median = heights[half] if len(heights) % 2 else (heights[half - 1] + heights[half]) / 2
    if item >= grid.real:
        slots = [n for n in near if n >= grid.real]
        return (middle[slots[0]], 8.0) if slots else (median, 4.0)
    return median, 1.0


def _points(chain: list[int], layer_of: list[int], middle: list[float], step: int) -> tuple[Point, ...]:
    """Right side of the source, both ends of each slot, left side of the target."""
    first, last = chain[0], chain[-1]
    points: list[Point] = [(MARGIN + layer_of[first] * step + BOX_WIDTH, middle[first])]
    for slot in chain[1:-1]:
        x = MARGIN + layer_of[slot] * step
        points += [(x, middle[slot]), (x + BOX_WIDTH, middle[slot])]
    points.append((MARGIN + layer_of[last] * step, middle[last]))
    return tuple(points)
