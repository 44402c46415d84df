"""`/lineage?focus=&hops=&column=&at=&diff=`: the graph for shape, the table for truth, findings and impact for action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshkit.controlplane.pages.page import Page
from meshkit.lineage import Impact, LineageGraph, NodeView, domain_matrix, impact, lineage_view
from meshkit.lineage.addresses import label, split_column
from meshkit.lineage.svg import to_svg

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader

__all__ = ["lineage", "view_graph"]

DRAWN_WHOLE = 30  # more boxes than this are a matrix of domains, not a picture


def view_graph(
    reader: Reader, focus: str | None, *, hops: int | None = None, column: str | None = None, diff: str | None = None
) -> LineageGraph:
    """The visible graph around a focus, with changes since `diff`. Raises: `UnknownNode`, `UsageError`."""
    whole = reader.graph
    if diff:
        whole = replace(whole, changes=whole.diff(reader.graph_at(diff)))
    return lineage_view(whole, focus or None, hops=hops, column=column or None)


def lineage(
    reader: Reader,
    focus: str | None = None,
    *,
    hops: int | None = None,
    column: str | None = None,
    diff: str | None = None,
    at_text: str = "",
) -> Page:
    """The lineage page. Raises: `UnknownNode`, `UsageError`."""
    graph = view_graph(reader, focus, hops=hops, column=column, diff=diff)
    views = reader.views
    facts = graph.to_json(views)
    rows = [_row(e, graph) for e in sorted(graph.product_edges, key=lambda e: (e.src, e.dst))]
    gone = [
        _row(e, reader.graph, gone=True)
        for e in (graph.changes.removed if graph.changes else ())
        if e.level == "product"
    ]
    center = graph.nodes.get(graph.focus) if graph.focus else None
    affected = (
        impact(reader.graph, graph.focus, column or None, change="remove")
        if center is not None and graph.focus
        else None
    )
    drawn = center is not None or len(graph.nodes) <= DRAWN_WHOLE
    view: dict[str, Any] = {
        "graph": graph, "center": center, "svg": _svg(graph, views, column) if drawn and graph.nodes else "", "rows": rows, "gone": gone,
        "matrix": _matrix(reader, graph) if not drawn else None, "head": _head(graph), "lead": _lead(graph, diff),
        "columns": list(center.columns or ()) if center else [], "impact": affected, "tally": _tally(affected), "layers": _layers(graph) if drawn else 3,
        "focus": focus or "", "hops": hops, "column": column or "", "diff": diff or "", "at_text": at_text,
        "products": sorted(reader.manifests), "standings": reader.standings, "findings": graph.findings,
    }  # fmt: skip
    return Page("lineage.html", f"Lineage of {center.label}" if center else "Lineage", "/lineage", facts, view)


def _svg(graph: LineageGraph, views: Mapping[str, NodeView], column: str | None) -> str:
    return to_svg(graph, views, column=column or None)


def _layers(graph: LineageGraph) -> int:
    boxes = graph.layout().nodes.values()
    return min(7, max(3, len({round(b.x) for b in boxes}))) if boxes else 3


def _row(edge: Any, graph: LineageGraph, *, gone: bool = False) -> dict[str, Any]:
    added = graph.changes is not None and any((a.src, a.dst) == (edge.src, edge.dst) for a in graph.changes.added)
    columns = edge.columns
    pairs = sorted({f"{split_column(e.src)[1]} → {split_column(e.dst)[1]}" for e in graph.edges
                    if e.level == "column" and split_column(e.src)[0] == edge.src and split_column(e.dst)[0] == edge.dst and split_column(e.dst)[1]})  # fmt: skip
    return {
        "src": graph.nodes.get(edge.src), "dst": graph.nodes.get(edge.dst), "src_label": label(edge.src), "dst_label": label(edge.dst), "edge": edge,
        "columns": ", ".join(pairs[:4] or (columns or ())[:6]) + (" …" if len(pairs) > 4 or (not pairs and len(columns or ()) > 6) else ""),
        "words": "not any more" if gone else edge.words, "undeclared": edge.agreement == "observed_not_declared", "added": added, "gone": gone,
    }  # fmt: skip


def _head(graph: LineageGraph) -> str:
    if not graph.nodes:
        return "There is no lineage yet."
    if graph.focus is None:
        products = sum(n.kind == "product" for n in graph.nodes.values())
        return f"{products} {'product' if products == 1 else 'products'}, {len(graph.product_edges)} edges between them and their readers."
    up, down = graph.upstream(graph.focus), graph.downstream(graph.focus)
    undeclared = sum(e.agreement == "observed_not_declared" for e in down)
    name = label(graph.focus)
    if not up and not down:
        return f"{name} has no known sources and no known readers."
    reads = f"reads {len(up)} {'source' if len(up) == 1 else 'sources'}" if up else "reads nothing that is known"
    feeds = f"feeds {len(down)} {'reader' if len(down) == 1 else 'readers'}" if down else "has no known readers"
    tail = f", {'one of them' if undeclared == 1 else f'{undeclared} of them'} undeclared" if undeclared else ""
    return f"{name} {reads} and {feeds}{tail}."


def _lead(graph: LineageGraph, diff: str | None) -> str:
    if graph.changes is None:
        return ""
    added = sum(e.level == "product" for e in graph.changes.added)
    removed = sum(e.level == "product" for e in graph.changes.removed)
    return f"Since {diff} {added} {'edge' if added == 1 else 'edges'} appeared and {removed} went."


def _tally(found: Impact | None) -> dict[str, int]:
    counts = {"affected": 0, "unknown": 0, "not_affected": 0}
    for item in found.items if found is not None else ():
        counts[item.verdict] += 1
    return counts


def _matrix(reader: Reader, graph: LineageGraph) -> dict[str, Any]:
    found = domain_matrix(graph)
    return {
        "domains": found.domains,
        "cells": {f"{s}>{d}": c for (s, d), c in found.cells.items()},
        "known": {m.domain for m in reader.manifests.values()},
    }
