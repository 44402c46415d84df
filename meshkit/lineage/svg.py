"""A lineage graph as SVG: classes and attributes only, no style, so that it passes a strict content policy. Source: UI notes section 4.

The page that embeds it brings the style sheet and a sprite with the symbols `ok risk bad none ext team plus minus`.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from meshkit.lineage.addresses import label
from meshkit.lineage.focus import ColumnPath, column_path
from meshkit.lineage.graph import LineageGraph, NodeView
from meshkit.lineage.layout import BOX_HEIGHT, BOX_WIDTH, Box, Layout, Point, layout
from meshkit.lineage.models import LineageEdge, Node

__all__ = ["to_svg"]

NAME_LENGTH = 20
_CLASSES = {
    "confirmed": "",
    "declared_not_observed": " un",
    "declared_not_observable": " un",
    "observed_not_declared": " nd",
    "stale": " old",
}
_WORDS = {"ok": "healthy", "risk": "at risk", "bad": "breaching", "none": "not measured"}


def to_svg(
    graph: LineageGraph, views: Mapping[str, NodeView], *, column: str | None = None, gap: int = 80, pitch: int = 64
) -> str:
    """An `<svg>` element: edges hidden from assistive technology, a link per node, stubs where something was cut.

    `views` give state, trust and link of nodes. `column` is a column of the focus: its path is drawn, other columns are not.
    """
    placed = layout(graph, gap=gap, pitch=pitch)
    path = column_path(graph, graph.focus, column) if column and graph.focus else None
    what = f"Lineage of {label(graph.focus)}" if graph.focus else "Lineage"
    what += f", column {column}" if path and column else ""
    width, height = _n(placed.width), _n(placed.height)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" aria-label="{escape(what)}">'
    ]
    parts += ['<g aria-hidden="true">', *_edges(graph, placed, views, path), "</g>"]
    for urn in _reading_order(graph, placed):
        parts.append(_node(graph.nodes[urn], placed.nodes[urn], views.get(urn), path, focus=urn == graph.focus))
        parts += _stubs(graph, urn, placed.nodes[urn])
    parts.append("</svg>")
    return "\n".join(parts)


def _n(value: float) -> str:
    return f"{value:g}"


def _reading_order(graph: LineageGraph, placed: Layout) -> list[str]:
    """Tab order: by layer, upstream to downstream, each from top to bottom."""
    return sorted(graph.nodes, key=lambda u: (placed.nodes[u].x, placed.nodes[u].y, u))


def _edges(graph: LineageGraph, placed: Layout, views: Mapping[str, NodeView], path: ColumnPath | None) -> list[str]:
    edges = {(e.src, e.dst): e for e in graph.product_edges}
    changed: dict[tuple[str, str], str] = {}
    if graph.changes is not None:
        changed = {(e.src, e.dst): "plus" for e in graph.changes.added if e.level == "product"}
    parts: list[str] = []
    for points, (src, dst, back) in zip(placed.edges, placed.ends, strict=True):
        parts.append(f'<path class="{_edge_class(edges[src, dst], views, path)}" d="{_path(points)}"/>')
        if back:
            x, y = _near_end(points)
            parts.append(f'<text class="lab" x="{_n(x)}" y="{_n(y - 6)}">back</text>')
        mark = changed.get((src, dst))
        if mark:
            x, y = _near_end(points)
            parts.append(f'<use href="#{mark}" x="{_n(x - 7)}" y="{_n(y - 7)}" width="14" height="14"/>')
    return parts


def _edge_class(edge: LineageEdge, views: Mapping[str, NodeView], path: ColumnPath | None) -> str:
    names = "edge" + _CLASSES[edge.agreement]
    source = views.get(edge.src)
    if source is not None and source.state == "bad":
        names += " hot"
    if path is not None and (edge.src, edge.dst) in path.pairs:
        names += " on"
    return names


def _path(points: tuple[Point, ...]) -> str:
    """Curves in the gaps, straight lines over slots; ends one pixel before the target's border."""
    ordered = points if points[0][0] <= points[-1][0] else tuple(reversed(points))
    parts = [f"M{_n(ordered[0][0])} {_n(ordered[0][1])}"]
    for (x1, y1), (x2, y2) in zip(ordered[::2], ordered[1::2], strict=True):
        last = x2 == ordered[-1][0]
        end = x2 - 1 if last else x2
        middle = (x1 + end) / 2
        if x1 != ordered[0][0]:
            parts.append(f"H{_n(x1)}")
        parts.append(f"C{_n(middle)} {_n(y1)} {_n(middle)} {_n(y2)} {_n(end)} {_n(y2)}")
    return "".join(parts)


def _near_end(points: tuple[Point, ...]) -> Point:
    (x1, y1), (x2, y2) = points[-2], points[-1]
    return (x1 + 3 * x2) / 4, (y1 + 5 * y2) / 6


def _node(node: Node, box: Box, view: NodeView | None, path: ColumnPath | None, *, focus: bool) -> str:
    column = path.columns.get(node.urn) if path else None
    kind = {"consumer": "consumer", "product": ""}.get(node.kind, "ext")
    state = (view.state if view else "none") if not kind else ""
    names = " ".join(filter(None, ["node", kind or state, "focus" if focus else "", "on" if column else ""]))
    upper, lower = _lines(node, column)
    pill = kind == "consumer"
    left, glyph = (14, "team") if pill else (9, "ext" if kind else state)
    shown = [_cut(part, NAME_LENGTH) for part in (upper, column or lower)]
    said = [" ".join(filter(None, shown))]  # a name starts with the visible text; what was cut follows in full
    score = (
        ""
        if column or view is None or view.trust is None
        else f"{view.trust:.1f}{f' {view.grade}' if view.grade else ''}"
    )
    words = (view.words or _WORDS.get(view.state, "")) if view else _WORDS["none"]
    full = [f"{upper} {column or lower}".strip()] if shown != [upper, column or lower] else []
    said = [f"{said[0]} {score}".strip(), *full, {"consumer": "consumer", "ext": "not a product"}.get(kind, words)]
    if focus:
        said.append("focus")
    href = (
        view.href if view and view.href else None
    ) or f"/lineage?focus={quote(node.label if node.kind == 'product' else node.urn, safe='')}"
    parts = [
        f'<a class="{names}" href="{escape(href)}" transform="translate({_n(box.x)} {_n(box.y)})" aria-label="{escape(", ".join(said))}">',
        f'<rect width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{20 if pill else 4}"/><use href="#{glyph}" x="{left}" y="6.5" width="12" height="12"/>',
        (
            f'<text class="d" x="{left + 17}" y="16.5">{escape(_cut(upper, NAME_LENGTH))}</text> '
            f'<text class="n{" col" if column else ""}" x="{left}" y="32.5">{escape(_cut(column or lower, NAME_LENGTH))}</text>'
        ),
    ]
    if score:
        parts.append(f' <text class="t" x="167" y="16.5">{score}</text>')
    return "".join([*parts, "</a>"])


def _lines(node: Node, column: str | None) -> tuple[str, str]:
    """Domain and name; with a column, the product alone above it."""
    if node.kind == "product":
        domain, _, name = node.label.rpartition(".")
        return (name, "") if column else (domain, name)
    upper = "reads" if node.kind == "consumer" else "outside the mesh"
    return (node.label, "") if column else (upper, node.label)


def _cut(text: str, length: int) -> str:
    """Long names are cut in the middle; the table beside the graph has them in full."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}…{text[-half:]}"


def _stubs(graph: LineageGraph, urn: str, box: Box) -> list[str]:
    """What was cut, as links below the box: left upstream, right downstream."""
    up, down = graph.cut.get(urn, (0, 0))
    name = label(urn)
    focus = quote(name if graph.nodes[urn].kind == "product" else urn, safe="")
    parts = []
    y = _n(box.y + BOX_HEIGHT)
    if up:
        parts.append(
            f'<a class="stub" href="/lineage?focus={focus}" transform="translate({_n(box.x)} {y})" aria-label="{up} more sources of {escape(name)}">'
            f'<rect width="84" height="20"/><text x="9" y="12.5">← {up} more</text></a>'
        )
    if down:
        parts.append(
            f'<a class="stub" href="/lineage?focus={focus}" transform="translate({_n(box.x + 92)} {y})" aria-label="{down} more readers of {escape(name)}">'
            f'<rect width="84" height="20"/><text x="75" y="12.5" text-anchor="end">{down} more →</text></a>'
        )
    return parts
