"""Manifests and observations to a graph: pure, the clock is an argument."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from meshkit.lineage.addresses import column_urn, dataset_urn, label, node_kind, product_urn, split_column
from meshkit.lineage.cycles import find_cycles
from meshkit.lineage.graph import LineageGraph
from meshkit.lineage.models import Agreement, Evidence, Finding, LineageEdge, Node
from meshkit.manifest import Manifest

__all__ = ["build_graph", "declared_evidence", "graph_of", "product_nodes"]

OBSERVE_DAYS = 30
_WORST = ("exact", "ambiguous", "table")


def declared_evidence(
    manifests: Iterable[Manifest], *, since: Mapping[tuple[str, str], datetime] | None = None
) -> tuple[Evidence, ...]:
    """What manifests declare: a product edge per input, and a column edge per listed column.

    `since` says from when an edge is declared; without it that is unknown, and an unobserved edge is no finding.
    """
    found: list[Evidence] = []
    by_id = {m.id: m for m in manifests}
    for manifest in by_id.values():
        for name, item in manifest.inputs.items():
            src = product_urn(item.product) if item.product else dataset_urn("external", str(item.external))
            columns = (
                None
                if item.columns is None
                else tuple(_column(by_id.get(item.product or ""), item.object, c) for c in item.columns)
            )
            start = (since or {}).get((src, manifest.urn))
            found.append(
                Evidence(
                    src,
                    manifest.urn,
                    source="manifest",
                    first_seen=start,
                    evidence=name,
                    port=item.port,
                    version=None if item.version is None else str(item.version),
                    columns=columns,
                )
            )
            found += [
                Evidence(column_urn(src, c), manifest.urn, "column", source="manifest", first_seen=start, evidence=name)
                for c in columns or ()
            ]
    return tuple(found)


def _column(producer: Manifest | None, object_name: str | None, column: str) -> str:
    """Columns of a product's main object go by their name, others by `object.column`."""
    if producer is None:
        return column if object_name is None else f"{object_name}.{column}"
    main = producer.main_object
    head, dot, rest = column.partition(".")
    if object_name is None and dot and head in producer.objects and head not in producer.objects[main].fields:
        object_name, column = head, rest
    return column if object_name in {None, main} else f"{object_name}.{column}"


def product_nodes(manifests: Iterable[Manifest]) -> dict[str, Node]:
    """Nodes with what their manifests say about them."""
    nodes: dict[str, Node] = {}
    for manifest in manifests:
        main = manifest.main_object
        columns = tuple(
            c if name == main else f"{name}.{c}" for name, obj in manifest.objects.items() for c in obj.fields
        )
        nodes[manifest.urn] = Node(
            manifest.urn,
            title=manifest.title or manifest.id,
            owner=manifest.owner.team,
            contact=manifest.owner.contact,
            slos=tuple(slo.summary(name) for name, slo in manifest.slos.items()),
            columns=columns,
            status=manifest.status,
        )
    return nodes


def build_graph(
    manifests: Iterable[Manifest],
    observations: Iterable[Evidence] = (),
    *,
    at: datetime,
    observe_days: int = OBSERVE_DAYS,
    seen: Mapping[str, datetime] | None = None,
    since: Mapping[tuple[str, str], datetime] | None = None,
    coverage: Mapping[str, int] | None = None,
) -> LineageGraph:
    """The graph of a mesh at the instant `at`.

    `seen` is when each consumer's reads were last observable at all, by URN; those in `observations` count by themselves.
    `since` is from when each (src, dst) is declared.
    """
    known = tuple(manifests)
    declared = declared_evidence(known, since=since)
    return graph_of(
        declared, observations, product_nodes(known), at=at, observe_days=observe_days, seen=seen, coverage=coverage
    )


def graph_of(
    declared: Iterable[Evidence],
    observations: Iterable[Evidence],
    nodes: Mapping[str, Node],
    *,
    at: datetime,
    observe_days: int = OBSERVE_DAYS,
    seen: Mapping[str, datetime] | None = None,
    coverage: Mapping[str, int] | None = None,
) -> LineageGraph:
    """As `build_graph`, from evidence alone: a past instant has the edges declared then."""
    window = at - timedelta(days=observe_days)
    by_edge: dict[tuple[str, str, str], list[Evidence]] = defaultdict(list)
    last_sight = {urn: when for urn, when in (seen or {}).items() if when <= at}
    for item in (*declared, *observations):
        if item.first_seen is not None and item.first_seen > at:
            continue
        by_edge[item.src, item.dst, item.level].append(item)
        if item.source != "manifest" and item.last_seen is not None:
            last_sight[item.dst] = max(last_sight.get(item.dst, item.last_seen), item.last_seen)
    observable = {urn for urn, when in last_sight.items() if when >= window}
    pairs = _column_pairs(by_edge)
    edges = [_edge(key, items, window, observable, pairs) for key, items in sorted(by_edge.items())]
    all_nodes = dict(nodes)
    for edge in edges:
        for urn in (split_column(edge.src)[0], split_column(edge.dst)[0]):
            all_nodes.setdefault(urn, Node(urn, title=label(urn)))
    findings = _findings(edges, all_nodes, at=at, window=window)
    return LineageGraph(at, dict(sorted(all_nodes.items())), tuple(edges), findings, dict(coverage or {}))


@dataclass(frozen=True, slots=True)
class _ColumnPairs:
    """What is known of the columns between two nodes: a manifest names whole products or columns, a query columns of both sides."""

    named: frozenset[tuple[str, str]]  # (source node, target node) declared at all
    whole: frozenset[tuple[str, str]]  # of these, declared without `columns`
    declared: frozenset[tuple[str, str]]  # (source column, target node)
    last: Mapping[tuple[str, str], datetime]  # (source column, target node) -> last sight


def _column_pairs(by_edge: Mapping[tuple[str, str, str], list[Evidence]]) -> _ColumnPairs:
    named: set[tuple[str, str]] = set()
    whole: set[tuple[str, str]] = set()
    declared: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], datetime] = {}
    for (src, dst, level), items in by_edge.items():
        pair = (src, split_column(dst)[0])
        for item in items:
            if item.source != "manifest":
                if level == "column" and item.last_seen is not None:
                    last[pair] = max(last.get(pair, item.last_seen), item.last_seen)
            elif level == "column":
                declared.add(pair)
            else:
                named.add(pair)
                if item.columns is None:
                    whole.add(pair)
    return _ColumnPairs(frozenset(named), frozenset(whole), frozenset(declared), last)


def _edge(
    key: tuple[str, str, str], items: list[Evidence], window: datetime, observable: set[str], pairs: _ColumnPairs
) -> LineageEdge:
    src, dst, level = key
    declared = [e for e in items if e.source == "manifest"]
    seen = [e for e in items if e.source != "manifest"]
    last = max((e.last_seen for e in seen if e.last_seen is not None), default=None)
    source_node, target_node = split_column(src)[0], split_column(dst)[0]
    is_declared = bool(declared)
    if level == "column":
        pair = (source_node, target_node)
        is_declared = is_declared or pair in pairs.whole or (src, target_node) in pairs.declared
        is_declared = is_declared or (src.endswith("#*") and pair in pairs.named)  # counting rows reads no column
        last = last or pairs.last.get((src, target_node))
    agreement = _agreement(
        declared=is_declared,
        last=last,
        window=window,
        observable=target_node in observable,
        person=node_kind(target_node) == "consumer",
    )
    firsts = [e.first_seen for e in (seen or declared) if e.first_seen is not None]
    latest = max(seen, key=lambda e: (e.last_seen is not None, e.last_seen), default=None)
    columns = (
        None
        if not declared or any(e.columns is None for e in declared)
        else tuple(sorted({c for e in declared for c in e.columns or ()}))
    )
    direct = any(e.kind == "DIRECT" for e in items)
    return LineageEdge(
        src,
        dst,
        level,
        agreement,
        tuple(sorted({e.source for e in items})),
        confidence=max((e.confidence for e in items), key=_WORST.index)
        if level == "product"
        else min((e.confidence for e in items), key=_WORST.index),
        first_seen=min(firsts, default=None),
        last_seen=last,
        count=sum(e.count for e in seen),
        kind="DIRECT" if direct else "INDIRECT",
        subtypes=tuple(sorted({e.subtype for e in items if e.subtype})),
        fingerprint="" if latest is None else latest.evidence,
        port=next((e.port for e in declared if e.port), None),
        version=next((e.version for e in declared if e.version), None),
        columns=columns,
    )


def _agreement(*, declared: bool, last: datetime | None, window: datetime, observable: bool, person: bool) -> Agreement:
    """The five states. Reads of people are usage: seeing them is all there is to agree with."""
    fresh = last is not None and last >= window
    if fresh:
        return "confirmed" if declared or person else "observed_not_declared"
    if declared:
        return "declared_not_observed" if observable else "declared_not_observable"
    return "stale"


def _findings(
    edges: list[LineageEdge], nodes: Mapping[str, Node], *, at: datetime, window: datetime
) -> tuple[Finding, ...]:
    found: list[Finding] = []
    columns: dict[tuple[str, str], list[LineageEdge]] = defaultdict(list)
    for edge in edges:
        if edge.level == "column" and edge.agreement == "observed_not_declared" and not edge.src.endswith("#*"):
            columns[split_column(edge.src)[0], split_column(edge.dst)[0]].append(edge)
    for edge in edges:
        if edge.level != "product":
            continue
        extra = columns.get((edge.src, edge.dst), [])
        if edge.agreement == "observed_not_declared":
            found.append(_undeclared(edge, extra, nodes))
        elif extra and edge.agreement == "confirmed":
            found.append(_undeclared_columns(edge, extra, nodes))
        elif edge.agreement == "declared_not_observed" and edge.first_seen is not None and edge.first_seen <= window:
            days = (at - edge.first_seen).days
            message = f"{label(edge.dst)} declares {label(edge.src)} for {days} days, but no read of it was observed. Remove the input if it is unused"
            found.append(
                Finding(
                    "lineage.declared_not_observed",
                    edge.src,
                    edge.dst,
                    "info",
                    message,
                    edge.first_seen,
                    owner=nodes[edge.dst].owner,
                )
            )
    for path in find_cycles((e.src, e.dst) for e in edges if e.level == "product" and e.agreement != "stale"):
        names = " -> ".join(label(urn) for urn in (*path, path[0]))
        found.append(
            Finding(
                "lineage.cycle",
                path[0],
                path[-1],
                "warning",
                f"products feed each other in a circle: {names}",
                path=path,
            )
        )
    rank = {"violation": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda f: (rank[f.severity], f.rule, f.src, f.dst)))


def _undeclared(edge: LineageEdge, extra: list[LineageEdge], nodes: Mapping[str, Node]) -> Finding:
    names = tuple(sorted(str(split_column(e.src)[1]) for e in extra))
    message = f"{label(edge.dst)} reads {label(edge.src)}, which its manifest does not name. Add it to `inputs`, or stop reading it"
    return _violation(edge, message, nodes, names)


def _undeclared_columns(edge: LineageEdge, extra: list[LineageEdge], nodes: Mapping[str, Node]) -> Finding:
    names = tuple(sorted({str(split_column(e.src)[1]) for e in extra}))
    message = f"{label(edge.dst)} reads {', '.join(names)} of {label(edge.src)}, which its manifest does not name. Add to `columns` of the input"
    last = max((e.last_seen for e in extra if e.last_seen), default=None)
    first = min((e.first_seen for e in extra if e.first_seen), default=None)
    owner = nodes[edge.dst].owner
    count = sum(e.count for e in extra)
    return Finding(
        "lineage.observed_not_declared",
        edge.src,
        edge.dst,
        "violation",
        message,
        first,
        last,
        count,
        extra[-1].fingerprint,
        owner,
        names,
    )


def _violation(edge: LineageEdge, message: str, nodes: Mapping[str, Node], columns: tuple[str, ...]) -> Finding:
    return Finding(
        "lineage.observed_not_declared",
        edge.src,
        edge.dst,
        "violation",
        message,
        edge.first_seen,
        edge.last_seen,
        edge.count,
        edge.fingerprint,
        nodes[edge.dst].owner,
        columns,
    )
