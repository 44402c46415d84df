"""`LineageGraph`: nodes, edges with their agreement, findings, coverage, at one instant. A frozen value."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from meshkit.lineage.addresses import label, parse_ref, split_column
from meshkit.lineage.errors import UnknownNode
from meshkit.lineage.models import Finding, LineageEdge, Node, iso

if TYPE_CHECKING:
    from meshkit.lineage.layout import Layout

__all__ = ["GraphDiff", "LineageGraph", "NodeView"]

Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True)
class NodeView:
    """What others know about a node and the graph only draws: its state (`ok risk bad none`), trust score and grade."""

    state: str = "none"
    trust: float | None = None
    grade: str | None = None
    words: str = ""
    href: str | None = None


@dataclass(frozen=True, slots=True)
class GraphDiff:
    """Edges that one graph has and the other has not."""

    added: tuple[LineageEdge, ...] = ()
    removed: tuple[LineageEdge, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`diff` of `meshkit.lineage.graph/1`."""
        return {"added": [e.to_json() for e in self.added], "removed": [e.to_json() for e in self.removed]}


def _of_level(edges: tuple[LineageEdge, ...], level: str) -> tuple[LineageEdge, ...]:
    return tuple(e for e in edges if e.level == level)


@dataclass(frozen=True)
class LineageGraph:
    """Lineage at one instant. `edges` hold all levels; stale ones are there but hidden unless asked for.

    `cut` counts, per node at the border of a part of a graph, the neighbours (upstream, downstream) that were left out.
    """

    as_of: datetime
    nodes: Mapping[str, Node]
    edges: tuple[LineageEdge, ...]
    findings: tuple[Finding, ...] = ()
    coverage: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    focus: str | None = None
    changes: GraphDiff | None = None

    @cached_property
    def product_edges(self) -> tuple[LineageEdge, ...]:
        """Live edges between nodes."""
        return tuple(e for e in self.edges if e.level == "product" and e.agreement != "stale")

    @cached_property
    def _down(self) -> dict[str, list[LineageEdge]]:
        found: dict[str, list[LineageEdge]] = {}
        for edge in self.product_edges:
            found.setdefault(edge.src, []).append(edge)
        return found

    @cached_property
    def _up(self) -> dict[str, list[LineageEdge]]:
        found: dict[str, list[LineageEdge]] = {}
        for edge in self.product_edges:
            found.setdefault(edge.dst, []).append(edge)
        return found

    @cached_property
    def _columns(self) -> dict[str, dict[str, list[LineageEdge]]]:
        """Live column edges by source node and source column."""
        found: dict[str, dict[str, list[LineageEdge]]] = {}
        for edge in self.edges:
            if edge.level == "column" and edge.agreement != "stale":
                node, column = split_column(edge.src)
                found.setdefault(node, {}).setdefault(str(column), []).append(edge)
        return found

    def downstream(self, urn: str) -> tuple[LineageEdge, ...]:
        """Edges to the direct readers of a node."""
        return tuple(self._down.get(urn, ()))

    def upstream(self, urn: str) -> tuple[LineageEdge, ...]:
        """Edges from the direct sources of a node."""
        return tuple(self._up.get(urn, ()))

    def column_edges(self, urn: str, column: str | None = None) -> tuple[LineageEdge, ...]:
        """Edges out of the columns of a node, or out of one of them."""
        by_column = self._columns.get(urn, {})
        if column is not None:
            return tuple(by_column.get(column, ()))
        return tuple(e for edges in by_column.values() for e in edges)

    def find(self, ref: str) -> str:
        """URN of a node by address. Raises: `UnknownNode` with the nearest name, `UsageError` if it is no address."""
        urn = parse_ref(ref).urn
        if urn in self.nodes:
            return urn
        names = {n.label: n.urn for n in self.nodes.values()}
        raise UnknownNode(ref, tuple(get_close_matches(label(urn), sorted(names), n=1)))

    def around(self, urn: str, *, hops: int, direction: Direction = "both") -> dict[str, int]:
        """Signed distance of each node within `hops`: below zero upstream, above downstream; the nearer side wins, downstream on ties."""
        found = {urn: 0}
        sides: list[tuple[dict[str, list[LineageEdge]], int]] = []
        if direction in {"both", "down"}:
            sides.append((self._down, 1))
        if direction in {"both", "up"}:
            sides.append((self._up, -1))
        for neighbours, sign in sides:
            mine = {urn: 0}
            queue = deque([urn])
            while queue:
                node = queue.popleft()
                if abs(mine[node]) == hops:
                    continue
                for edge in neighbours.get(node, ()):
                    other = edge.dst if sign > 0 else edge.src
                    if other not in mine:
                        mine[other] = mine[node] + sign
                        queue.append(other)
            for node, distance in mine.items():
                if node not in found or abs(distance) < abs(found[node]):
                    found[node] = distance
        return found

    def part(self, keep: Iterable[str], *, focus: str | None = None) -> LineageGraph:
        """The graph of some nodes; each cut is counted at the node it was made at."""
        kept = set(keep)
        edges = tuple(e for e in self.edges if split_column(e.src)[0] in kept and split_column(e.dst)[0] in kept)
        cut: dict[str, tuple[int, int]] = {}
        for urn in sorted(kept):
            up = len({e.src for e in self._up.get(urn, ())} - kept)
            down = len({e.dst for e in self._down.get(urn, ())} - kept)
            if up or down:
                cut[urn] = (up, down)
        findings = tuple(f for f in self.findings if f.src in kept and f.dst in kept)
        nodes = {urn: node for urn, node in self.nodes.items() if urn in kept}
        return replace(self, nodes=nodes, edges=edges, findings=findings, cut=cut, focus=focus)

    def at_level(self, level: str) -> LineageGraph:
        """Only edges of one level, and only changes of it."""
        changes = self.changes
        if changes is not None:
            changes = GraphDiff(_of_level(changes.added, level), _of_level(changes.removed, level))
        return replace(self, edges=_of_level(self.edges, level), changes=changes)

    def without_stale(self) -> LineageGraph:
        """As graphs are shown: what was observed once and is no longer is left out, with nodes that only it reached."""
        edges = tuple(e for e in self.edges if e.agreement != "stale")
        used = {split_column(u)[0] for e in edges for u in (e.src, e.dst)}
        nodes = {u: n for u, n in self.nodes.items() if u in used or n.kind == "product"}
        return replace(self, edges=edges, nodes=nodes)

    def diff(self, other: LineageGraph) -> GraphDiff:
        """What is in this graph and not in `other` (added), and the reverse (removed). Stale edges are not there."""
        mine = {(e.src, e.dst, e.level): e for e in self.edges if e.agreement != "stale"}
        theirs = {(e.src, e.dst, e.level): e for e in other.edges if e.agreement != "stale"}
        added = tuple(e for key, e in mine.items() if key not in theirs)
        removed = tuple(e for key, e in theirs.items() if key not in mine)
        return GraphDiff(added, removed)

    def compared_with(self, other: LineageGraph) -> LineageGraph:
        """This graph with `changes` since `other`."""
        return replace(self, changes=self.diff(other))

    @cached_property
    def revision(self) -> str:
        """Changes when any edge or node does; for ETags."""
        facts = [f"{e.src}|{e.dst}|{e.level}|{e.agreement}|{e.count}" for e in self.edges] + sorted(self.nodes)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    @property
    def exit_code(self) -> int:
        """0; `findings_exit_code` is asked for by `--findings`."""
        return 0

    @property
    def findings_exit_code(self) -> int:
        """1 if a finding is a violation."""
        return 1 if any(f.severity == "violation" for f in self.findings) else 0

    def layout(self, **options: Any) -> Layout:
        """Boxes and edges in pixels; see `layout`."""
        from meshkit.lineage.layout import layout

        return layout(self, **options)

    def to_svg(self, views: Mapping[str, NodeView] | None = None, *, column: str | None = None) -> str:
        """The graph as an SVG element, styled by classes only."""
        from meshkit.lineage.svg import to_svg

        return to_svg(self, views or {}, column=column)

    def to_mermaid(self) -> str:
        """`flowchart LR` of Mermaid."""
        from meshkit.lineage.exports import to_mermaid

        return to_mermaid(self)

    def to_dot(self) -> str:
        """A digraph of Graphviz, left to right."""
        from meshkit.lineage.exports import to_dot

        return to_dot(self)

    def to_json(self, views: Mapping[str, NodeView] | None = None) -> dict[str, Any]:
        """`meshkit.lineage.graph/1`."""
        known = views or {}
        nodes = []
        for urn, node in self.nodes.items():
            view = known.get(urn)
            up, down = self.cut.get(urn, (0, 0))
            nodes.append(
                {
                    "urn": urn,
                    "kind": node.kind,
                    "title": node.title or node.label,
                    "owner": node.owner,
                    "state": view.state if view else None,
                    "trust": view.trust if view else None,
                    "hidden_upstream": up,
                    "hidden_downstream": down,
                }
            )
        return {
            "format": "meshkit.lineage.graph/1",
            "as_of": iso(self.as_of),
            "revision": self.revision,
            "focus": self.focus,
            "nodes": nodes,
            "edges": [e.to_json() for e in self.edges],
            "findings": [f.to_json() for f in self.findings],
            "coverage": dict(self.coverage),
            "diff": self.changes.to_json() if self.changes is not None else {},
        }

    def to_text(self) -> str:
        """The edges, a line each, then the findings."""
        from meshkit.lineage.exports import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from meshkit.lineage.exports import to_html

        return to_html(self)
