"""`meshkit.lineage`: where data comes from and who is hurt if it changes.

parse_sql(sql, "duckdb", schema)             lineage of a statement; parse_script reads many
build_graph(manifests, observations, at=)    manifests and observed reads to a graph with agreement states: pure
LineageStore(store)                          declared and observed edges over time, learnt from the query log
impact(graph, urn, column)                   who is affected, unknown or not affected
focus_view(graph, "sales.orders").to_svg()   a neighbourhood, drawn
"""

from meshkit.lineage.addresses import column_urn, consumer_urn, dataset_urn, instant, parse_ref, product_urn
from meshkit.lineage.build import build_graph, declared_evidence
from meshkit.lineage.consumers import LineageConsumers
from meshkit.lineage.errors import BadSchema, ManyStatements, UnknownDialect, UnknownNode
from meshkit.lineage.focus import ColumnPath, DomainMatrix, column_path, domain_matrix, focus_view, lineage_view
from meshkit.lineage.graph import GraphDiff, LineageGraph, NodeView
from meshkit.lineage.impact import Impact, ImpactItem, impact
from meshkit.lineage.layout import Box, Layout, layout
from meshkit.lineage.models import Evidence, Finding, LineageEdge, Node
from meshkit.lineage.settings import LineageSettings
from meshkit.lineage.sql import ScriptLineage, StatementLineage, parse_script, parse_sql
from meshkit.lineage.store import IngestReport, LineageStore

__all__ = [
    "BadSchema",
    "Box",
    "ColumnPath",
    "DomainMatrix",
    "Evidence",
    "Finding",
    "GraphDiff",
    "Impact",
    "ImpactItem",
    "IngestReport",
    "Layout",
    "LineageConsumers",
    "LineageEdge",
    "LineageGraph",
    "LineageSettings",
    "LineageStore",
    "ManyStatements",
    "Node",
    "NodeView",
    "ScriptLineage",
    "StatementLineage",
    "UnknownDialect",
    "UnknownNode",
    "build_graph",
    "column_path",
    "column_urn",
    "consumer_urn",
    "dataset_urn",
    "declared_evidence",
    "domain_matrix",
    "focus_view",
    "impact",
    "instant",
    "layout",
    "lineage_view",
    "parse_ref",
    "parse_script",
    "parse_sql",
    "product_urn",
]
