"""`Reader`: the mesh as one principal sees it at one instant. Everything a page shows comes through here, after the visibility filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from meshkit.controlplane.standing import Standing, in_order, stand
from meshkit.errors import MeshkitError
from meshkit.lineage import LineageGraph, NodeView
from meshkit.lineage.addresses import product_id, split_column
from meshkit.lineage.graph import GraphDiff

if TYPE_CHECKING:
    from meshkit.catalog import AccessRequest, SearchResult
    from meshkit.controlplane.shared import Shared
    from meshkit.manifest import Manifest
    from meshkit.mesh import Mesh
    from meshkit.ports import Principal
    from meshkit.slo import Evaluation

__all__ = ["Reader", "hide"]


@dataclass(frozen=True)
class Reader:
    """What `principal` sees at `at` (None: now). Made per request; what it reads is read once."""

    mesh: Mesh
    shared: Shared
    principal: Principal
    now: datetime
    at: datetime | None = None

    @property
    def moment(self) -> datetime:
        """The instant that is shown."""
        return self.at or self.now

    @property
    def is_past(self) -> bool:
        """Whether a past instant is shown; then nothing can be changed."""
        return self.at is not None

    @cached_property
    def _all(self) -> Mapping[str, Manifest]:
        return self.mesh.catalog.manifests()

    @cached_property
    def manifests(self) -> Mapping[str, Manifest]:
        """Visible products by id."""
        seen = self.mesh.catalog.visible
        return {name: m for name, m in sorted(self._all.items()) if seen(m, self.principal, at=self.now)}

    @cached_property
    def hidden(self) -> frozenset[str]:
        """Ids of products that this reader must not learn of."""
        return frozenset(self._all) - frozenset(self.manifests)

    @cached_property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """Visible products against their promises."""
        found = self.shared.evaluations(self.now) if self.at is None else self.mesh.evaluate_all(at=self.at)
        return {e.product: e for e in found if e.product in self.manifests}

    @cached_property
    def standings(self) -> Mapping[str, Standing]:
        """State, cause and owner of every visible product."""
        return stand(self.manifests, self.evaluations)

    @cached_property
    def board(self) -> tuple[Standing, ...]:
        """All products, worst first by root cause."""
        return in_order(self.standings)

    @cached_property
    def graph(self) -> LineageGraph:
        """The whole lineage graph without hidden products and stale edges."""
        return self.graph_at(self.at)

    def graph_at(self, at: datetime | str | None) -> LineageGraph:
        """The visible graph at an instant."""
        return hide(self.mesh.graph(at=at).without_stale(), self.hidden)

    @cached_property
    def views(self) -> Mapping[str, NodeView]:
        """State, trust and link of products, for the graph."""
        tail = f"?at={self.at:%Y-%m-%dT%H:%M:%SZ}" if self.at else ""
        return {s.urn: NodeView(s.glyph, s.trust, s.grade, s.state, f"{s.href}{tail}") for s in self.standings.values()}

    def search(self, query: str, *, limit: int = 20, cursor: str | None = None) -> SearchResult:
        """Ranked products that the reader sees. Raises: `QuerySyntax`."""
        offset = int(cursor) if cursor and cursor.isdigit() else 0
        index = self.shared.index(self.now)
        return index.search(query, limit=limit, offset=offset, visible=lambda d: d.manifest.id in self.manifests)

    def access(self, product: str) -> str:
        """`yours`, `granted`, `asked` or `not granted`."""
        if self.owns(self.manifests[product]):
            return "yours"
        return self.mesh.access_state(product, self.principal).replace("_", " ")

    def owns(self, manifest: Manifest) -> bool:
        """Whether the reader belongs to the owning team."""
        team = self.principal.attributes.get("team")
        return team == manifest.owner.team or (isinstance(team, list | tuple) and manifest.owner.team in team)

    @cached_property
    def waiting(self) -> tuple[AccessRequest, ...]:
        """Requests that the reader may decide, oldest first."""
        return tuple(reversed(self.mesh.catalog.desk.requests(waiting_for=self.principal, now=self.now)))

    def request(self, request_id: str) -> AccessRequest | None:
        """A request that is the reader's own or theirs to decide; None for all others, there or not."""
        desk = self.mesh.catalog.desk
        try:
            found = desk.find(request_id, now=self.now)
        except MeshkitError:
            return None
        return found if found.by == self.principal.subject or desk.may_decide(found, self.principal) else None


def hide(graph: LineageGraph, hidden: frozenset[str]) -> LineageGraph:
    """The graph as if some products were not there: no node, edge, count, finding or reader that only they have."""
    if not hidden:
        return graph

    def seen(urn: str) -> bool:
        return product_id(split_column(urn)[0]) not in hidden

    edges = tuple(e for e in graph.edges if seen(e.src) and seen(e.dst))
    used = {split_column(u)[0] for e in edges for u in (e.src, e.dst)}
    nodes = {u: n for u, n in graph.nodes.items() if seen(u) and (n.kind == "product" or u in used)}
    findings = tuple(f for f in graph.findings if all(seen(u) for u in (f.src, f.dst, *f.path)))
    changes = graph.changes
    if changes is not None:
        changes = GraphDiff(
            tuple(e for e in changes.added if seen(e.src) and seen(e.dst)),
            tuple(e for e in changes.removed if seen(e.src) and seen(e.dst)),
        )
    return replace(graph, nodes=nodes, edges=edges, findings=findings, changes=changes, coverage={}, cut={})
