"""What a view shows: a focus with its neighbourhood, the path of one column, or the whole mesh as a matrix of domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from meshkit.errors import UsageError
from meshkit.lineage.addresses import split_column
from meshkit.lineage.errors import UnknownNode
from meshkit.lineage.graph import Direction, GraphDiff, LineageGraph
from meshkit.lineage.models import AGREEMENTS, LineageEdge, iso

__all__ = ["ColumnPath", "DomainMatrix", "column_path", "domain_matrix", "focus_view", "lineage_view"]

MAX_NODES = 25
MAX_NEIGHBOURS = 8
_LEVELS = ("product", "column")


def lineage_view(
    graph: LineageGraph,
    ref: str | None = None,
    *,
    hops: int | None = None,
    direction: Direction = "both",
    level: str = "product",
    column: str | None = None,
    include_stale: bool = False,
) -> LineageGraph:
    """What one question shows of a graph: all of it or the neighbourhood of `ref`, and its changes there.

    `level` is the finest one kept, `product` or `column`; a chosen `column` of `ref` keeps column edges too.
    Raises: `UnknownNode`; `UsageError` for a level that is not kept or a column without `ref`.
    """
    if level not in _LEVELS:
        raise UsageError(f"level {level!r} is not kept. Use one of: {', '.join(_LEVELS)}", code="lineage.level")
    if column is not None and ref is None:
        raise UsageError("a column is one of a product. Name the product too", code="lineage.no_focus")
    found = graph if include_stale else graph.without_stale()
    if level == "product" and column is None:
        found = found.at_level("product")
    if ref is None:
        return found
    view = focus_view(found, ref, hops=hops, direction=direction)
    known = graph.nodes[str(view.focus)].columns
    if column is not None and known is not None and column not in known:
        raise UnknownNode(f"{ref}#{column}", tuple(get_close_matches(column, known, n=1)))
    return replace(view, changes=_within(view, found))


def _within(view: LineageGraph, whole: LineageGraph) -> GraphDiff | None:
    """Changes that touch what the view shows."""
    if whole.changes is None:
        return None
    shown = set(view.nodes)

    def near(edges: Iterable[LineageEdge]) -> tuple[LineageEdge, ...]:
        return tuple(e for e in edges if split_column(e.src)[0] in shown or split_column(e.dst)[0] in shown)

    return GraphDiff(near(whole.changes.added), near(whole.changes.removed))


def focus_view(
    graph: LineageGraph, ref: str, *, hops: int | None = None, direction: Direction = "both"
) -> LineageGraph:
    """The neighbourhood of a node: 2 hops, 1 if that exceeds 25 nodes; of more than 8 neighbours on a side the 8 most read.

    What was left out is counted at the node it belongs to (`cut`). An explicit `hops` is kept. Raises: `UnknownNode`.
    """
    urn = graph.find(ref)
    chosen = 2 if hops is None else hops
    kept = _reach(graph, urn, chosen, direction)
    if hops is None and len(kept) > MAX_NODES:
        kept = _reach(graph, urn, 1, direction)
    part = graph.part(kept, focus=urn)
    # an edge beside the focus that runs from a reader back to a source would be drawn against the flow; it stays, marked as back
    return replace(part, focus=urn)


def _reach(graph: LineageGraph, urn: str, hops: int, direction: Direction) -> set[str]:
    kept = {urn}
    for side in ("up", "down"):
        if direction not in {"both", side}:
            continue
        border = [urn]
        for _ in range(hops):
            following: list[str] = []
            for node in border:
                edges = graph.upstream(node) if side == "up" else graph.downstream(node)
                reads = Counter({(e.src if side == "up" else e.dst): e.count for e in edges})
                ranked = sorted(reads, key=lambda n: (-reads[n], n))
                following += [n for n in ranked[:MAX_NEIGHBOURS] if n not in kept]
                kept.update(ranked[:MAX_NEIGHBOURS])
            border = following
    return kept


@dataclass(frozen=True, slots=True)
class ColumnPath:
    """Where one column comes from and goes to: the column of each node on the path, and the edges."""

    columns: dict[str, str]
    pairs: frozenset[tuple[str, str]]


def column_path(graph: LineageGraph, urn: str, column: str) -> ColumnPath:
    """Follow a column both ways over column edges. Consumers show the column they read."""
    down: dict[str, list[tuple[str, str]]] = {}
    up: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        if edge.level == "column" and edge.agreement != "stale" and edge.kind == "DIRECT":
            down.setdefault(edge.src, []).append((edge.src, edge.dst))
            up.setdefault(edge.dst, []).append((edge.src, edge.dst))
    start = f"{urn}#{column}"
    columns, pairs = {urn: column}, set()
    for steps, ahead in ((down, 1), (up, 0)):
        queue = [start]
        seen = {start}
        for address in queue:
            for pair in steps.get(address, ()):
                pairs.add((split_column(pair[0])[0], split_column(pair[1])[0]))
                other = pair[ahead]
                node, name = split_column(other)
                if other not in seen:
                    seen.add(other)
                    columns.setdefault(node, name or str(split_column(address)[1]))
                    queue.append(other)
    return ColumnPath(columns, frozenset(pairs))


@dataclass(frozen=True, slots=True)
class DomainMatrix:
    """Whole mesh: how many edges run from domain (row) to domain (column), and how many of them nobody declared."""

    domains: tuple[str, ...]
    cells: dict[tuple[str, str], dict[str, int]]
    as_of: datetime

    def to_json(self) -> dict[str, Any]:
        """`meshkit.lineage.matrix/1`."""
        cells = [{"src": s, "dst": d, **counts} for (s, d), counts in sorted(self.cells.items())]
        return {
            "format": "meshkit.lineage.matrix/1",
            "as_of": iso(self.as_of),
            "domains": list(self.domains),
            "cells": cells,
        }

    def to_text(self) -> str:
        """Rows feed columns."""
        width = max((len(d) for d in self.domains), default=4)
        head = " " * width + "  " + "  ".join(self.domains)
        rows = []
        for src in self.domains:
            cells = [self.cells.get((src, dst), {}).get("edges", 0) for dst in self.domains]
            shown = "  ".join(f"{n or '.':>{len(d)}}" for n, d in zip(cells, self.domains, strict=True))
            rows.append(f"{src:{width}}  {shown}")
        return "\n".join([head, *rows])


def domain_matrix(graph: LineageGraph) -> DomainMatrix:
    """Edges of the product level by domain of both ends; a mesh of 1,000 boxes is readable only so."""
    cells: dict[tuple[str, str], dict[str, int]] = {}
    for edge in graph.product_edges:
        key = (graph.nodes[edge.src].domain, graph.nodes[edge.dst].domain)
        counts = cells.setdefault(key, {"edges": 0, **dict.fromkeys(AGREEMENTS[:4], 0)})
        counts["edges"] += 1
        counts[edge.agreement] += 1
    domains = sorted({n.domain for n in graph.nodes.values()}, key=lambda d: (d in {"outside", "consumers"}, d))
    return DomainMatrix(tuple(domains), cells, graph.as_of)
