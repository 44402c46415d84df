"""`LineageConsumers`: the contract gate's question, who reads a product, answered from lineage."""

from __future__ import annotations

from collections.abc import Callable

from meshkit.lineage.addresses import product_urn, split_column
from meshkit.lineage.graph import LineageGraph
from meshkit.lineage.models import LineageEdge
from meshkit.ports import Consumer, ConsumerSet

__all__ = ["LineageConsumers"]


class LineageConsumers:
    """Satisfies `ports.ConsumerLookup`. `graph` is a graph, or a function that reads the current one.

    The answer is complete only if every statement of the observed window could be read: one that could not may read anything.
    """

    def __init__(self, graph: LineageGraph | Callable[[], LineageGraph]) -> None:
        self._graph = graph

    def consumers(self, product: str) -> ConsumerSet:
        """All known consumers of `product` (`domain.name`)."""
        graph = self._graph if isinstance(self._graph, LineageGraph) else self._graph()
        urn = product_urn(product)
        found = tuple(_consumer(graph, edge) for edge in graph.downstream(urn))
        complete = urn in graph.nodes and not graph.coverage.get("unparsed", 0)
        source = "lineage" if graph.coverage.get("statements") else "manifests"
        return ConsumerSet(found, complete=complete, as_of=graph.as_of, source=source)


def _consumer(graph: LineageGraph, edge: LineageEdge) -> Consumer:
    node = graph.nodes[edge.dst]
    reads = {str(split_column(e.src)[1]) for e in graph.column_edges(edge.src) if split_column(e.dst)[0] == edge.dst}
    known = edge.confidence == "exact" and (edge.columns is not None or bool(reads))
    declared = "manifest" in edge.sources
    return Consumer(
        name=node.title or node.label,
        product=node.label if node.kind == "product" else None,
        columns=frozenset((reads - {"*"}) | set(edge.columns or ())) if known else None,
        ports=frozenset({edge.port}) if edge.port else None,
        version=edge.version,
        reads=edge.count,
        contact=node.contact,
        source="manifest" if declared else "query log",
    )
