"""Who is hurt if a product or a column changes. Pure: a walk over a graph."""

from __future__ import annotations

import csv
import io
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from meshkit.lineage.addresses import column_urn, label, split_column
from meshkit.lineage.errors import UnknownNode
from meshkit.lineage.graph import LineageGraph
from meshkit.lineage.models import LineageEdge, iso

__all__ = ["Change", "Impact", "ImpactItem", "impact"]

Change = Literal["remove", "retype", "stop"]
Verdict = Literal["affected", "unknown", "not_affected"]
_ORDER: tuple[Verdict, ...] = ("affected", "unknown", "not_affected")


@dataclass(frozen=True, slots=True)
class ImpactItem:
    """One node downstream. `columns` are those of its source that it reads and that the change touches."""

    urn: str
    verdict: Verdict
    reason: str
    hops: int
    path: tuple[str, ...]
    columns: tuple[str, ...] = ()
    port: str | None = None
    kind: str = "DIRECT"
    confidence: str = "exact"
    owner: str | None = None
    contact: str | None = None
    slos: tuple[str, ...] = ()
    consumers: int = 0
    last_seen: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """One entry of `items` in `meshkit.lineage.impact/1`."""
        return {
            "product": self.urn,
            "verdict": self.verdict,
            "reason": self.reason,
            "port": self.port,
            "columns": list(self.columns),
            "hops": self.hops,
            "path": list(self.path),
            "kind": self.kind,
            "confidence": self.confidence,
            "owner": self.owner,
            "contact": self.contact,
            "slos": list(self.slos),
            "consumers": self.consumers,
            "last_seen": iso(self.last_seen),
        }


@dataclass(frozen=True, slots=True)
class Impact:
    """Consequences of one change: affected first, then unknown, then not affected, each by hops."""

    urn: str
    column: str | None
    change: Change
    items: tuple[ImpactItem, ...]
    as_of: datetime

    def of(self, verdict: Verdict) -> tuple[ImpactItem, ...]:
        """Items with one verdict."""
        return tuple(i for i in self.items if i.verdict == verdict)

    @property
    def exit_code(self) -> int:
        """1 if someone is affected or unknown: the question of a CI job."""
        return 1 if any(i.verdict != "not_affected" for i in self.items) else 0

    def to_json(self) -> dict[str, Any]:
        """`meshkit.lineage.impact/1`."""
        return {
            "format": "meshkit.lineage.impact/1",
            "as_of": iso(self.as_of),
            "urn": self.urn,
            "column": self.column,
            "change": self.change,
            "summary": {v: len(self.of(v)) for v in _ORDER},
            "items": [i.to_json() for i in self.items],
        }

    def to_text(self) -> str:
        """What happens, then a line per node."""
        what = label(self.urn if self.column is None else column_urn(self.urn, self.column))
        counts = ", ".join(f"{len(self.of(v))} {v.replace('_', ' ')}" for v in _ORDER)
        head = f"{self.change} {what}: {counts}"
        if not self.items:
            return f"{head}. No reader is known."
        lines = [head]
        for item in self.items:
            owner = f"  {item.owner}" if item.owner else ""
            far = "1 hop" if item.hops == 1 else f"{item.hops} hops"
            lines.append(f"  {item.verdict.replace('_', ' '):12}  {label(item.urn)}  ({far}){owner}  {item.reason}")
        return "\n".join(lines)

    def to_csv(self) -> str:
        """A table with a header; text that a spreadsheet would take for a formula is quoted with an apostrophe."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["verdict", "product", "hops", "columns", "confidence", "owner", "contact", "last_seen", "path", "reason"]
        )
        for i in self.items:
            row = [i.verdict, label(i.urn), i.hops, " ".join(i.columns), i.confidence, i.owner or "", i.contact or ""]
            row += [iso(i.last_seen) or "", " > ".join(label(u) for u in i.path), i.reason]
            writer.writerow(_no_formula(cell) for cell in row)
        return out.getvalue()

    def _repr_html_(self) -> str:
        from meshkit.lineage.exports import impact_html

        return impact_html(self)


def _no_formula(cell: Any) -> str:
    text = str(cell)
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t"} else text


def impact(graph: LineageGraph, urn: str, column: str | None = None, *, change: Change = "remove") -> Impact:
    """Consequences of `remove` or `retype` of a column, or of `stop` of a product, for everything downstream.

    `affected`: it reads what changes. `unknown`: no column evidence, or a retype of what only decides its rows.
    `not_affected`: what it reads is known by column, and this is not among it. Raises: `UnknownNode`.
    """
    node = graph.nodes.get(urn)
    if node is None:
        raise UnknownNode(label(urn))
    if column is not None and node.columns is not None and column not in node.columns:
        raise UnknownNode(
            label(column_urn(urn, column)), tuple(c for c in node.columns if c.casefold() == column.casefold())
        )
    found: dict[str, ImpactItem] = {}
    touched: dict[str, frozenset[str] | None] = {
        urn: None if column is None else frozenset({column})
    }  # None: all of it
    certain = {urn: True}
    queue: deque[tuple[str, tuple[str, ...]]] = deque([(urn, (urn,))])
    while queue:
        source, path = queue.popleft()
        for edge in graph.downstream(source):
            if edge.dst in path:
                continue
            item, next_columns = _judge(
                graph, edge, touched[source], certain=certain[source], change=change, path=(*path, edge.dst)
            )
            old = found.get(edge.dst)
            if old is not None and _ORDER.index(old.verdict) <= _ORDER.index(item.verdict):
                if item.verdict == "not_affected" or not _grows(touched.get(edge.dst, frozenset()), next_columns):
                    continue
                item = old
            found[edge.dst] = item
            if item.verdict != "not_affected":
                touched[edge.dst] = _union(touched.get(edge.dst, frozenset()), next_columns)
                certain[edge.dst] = certain.get(edge.dst, False) or item.verdict == "affected"
                queue.append((edge.dst, item.path))
    items = sorted(found.values(), key=lambda i: (_ORDER.index(i.verdict), i.hops, i.urn))
    return Impact(urn, column, change, tuple(items), graph.as_of)


Columns = frozenset[str] | None


def _union(one: Columns, other: Columns) -> Columns:
    return None if one is None or other is None else one | other


def _grows(known: Columns, more: Columns) -> bool:
    return known is not None and (more is None or not more <= known)


def _judge(
    graph: LineageGraph, edge: LineageEdge, touched: Columns, *, certain: bool, change: Change, path: tuple[str, ...]
) -> tuple[ImpactItem, Columns]:
    """Verdict on one reader, and which of its columns change with it (None: any)."""
    node = graph.nodes[edge.dst]
    reads = [e for e in graph.column_edges(edge.src) if split_column(e.dst)[0] == edge.dst]
    if touched is None:
        hit, verdict, reason = reads, "affected", f"it reads {label(edge.src)}"
    else:
        hit = [e for e in reads if _overlaps(str(split_column(e.src)[1]), touched)]
        verdict, reason = _column_verdict(edge, reads, hit, change)
    if not certain and verdict == "affected":
        verdict, reason = "unknown", f"it reads {label(edge.src)}, of which it is unknown whether it changes"
    outputs = {split_column(e.dst)[1] for e in hit}
    following: Columns = (
        frozenset(str(o) for o in outputs if o) if outputs and None not in outputs and touched is not None else None
    )
    if following is None and touched is not None and verdict == "affected" and graph.downstream(edge.dst):
        reason += "; which of its own columns follow is unknown"
    columns = tuple(sorted({str(split_column(e.src)[1]) for e in hit}))
    item = ImpactItem(
        edge.dst,
        verdict,  # type: ignore[arg-type]  # one of the three above
        reason,
        len(path) - 1,
        path,
        columns=() if touched is None else columns,
        port=edge.port,
        kind="INDIRECT" if hit and all(e.kind == "INDIRECT" for e in hit) else "DIRECT",
        confidence=edge.confidence
        if not hit
        else min((e.confidence for e in hit), key=("exact", "ambiguous", "table").index),
        owner=node.owner,
        contact=node.contact,
        slos=node.slos,
        consumers=len(graph.downstream(edge.dst)),
        last_seen=edge.last_seen,
    )
    return item, following


def _overlaps(column: str, touched: frozenset[str]) -> bool:
    """A struct touches its children and the reverse; siblings do not."""
    return any(column == t or column.startswith(t + ".") or t.startswith(column + ".") for t in touched)


def _column_verdict(
    edge: LineageEdge, reads: list[LineageEdge], hit: list[LineageEdge], change: Change
) -> tuple[Verdict, str]:
    if hit:
        names = ", ".join(sorted({str(split_column(e.src)[1]) for e in hit}))
        if all(e.confidence != "exact" for e in hit):
            return "unknown", f"it may read {names}"
        if change == "retype" and all(e.kind == "INDIRECT" for e in hit):
            return "unknown", f"{names} decides its rows; whether the new type does is not known"
        return "affected", f"it reads {names}"
    if edge.confidence == "exact" and (edge.columns is not None or reads):
        return "not_affected", "what it reads is known by column, and this is not among it"
    return "unknown", "which columns it reads is not known"
