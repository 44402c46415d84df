"""`/`: the state in a sentence, then catalog, lineage of the worst root cause and the trust board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meshkit.controlplane import charts, words
from meshkit.controlplane.pages.page import Page
from meshkit.controlplane.standing import bad_since
from meshkit.lineage import impact, lineage_view
from meshkit.lineage.addresses import label
from meshkit.lineage.svg import to_svg

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader
    from meshkit.controlplane.standing import Standing

__all__ = ["overview", "sentence"]

STATES = ("breaching", "at risk", "not measured", "healthy")


def overview(reader: Reader, *, focus: str | None = None) -> Page:
    """The one view. `focus` is the product whose lineage is drawn; default the worst root cause, else the most read product."""
    board = reader.board
    counts = Counter(s.state for s in board)
    head, lead = sentence(board)
    facts: dict[str, Any] = {
        "format": "meshkit.controlplane.overview/1", "as_of": reader.moment.isoformat(), "sentence": head,
        "counts": {s: counts.get(s, 0) for s in STATES}, "products": [s.to_json() for s in board], "waiting_for_you": len(reader.waiting),
    }  # fmt: skip
    if not board:
        return Page("first_run.html", "Overview", "/", facts)
    center = reader.standings.get(focus or "") or _focus(reader)
    reads = Counter({n: sum(e.count for e in reader.graph.downstream(s.urn)) for n, s in reader.standings.items()})
    graph = lineage_view(reader.graph, center.id)
    affected = impact(reader.graph, center.urn, None, change="stop").items if center.state == "breaching" else ()
    view = {
        "head": head, "lead": lead, "glyph": words.glyph(_worst(counts)), "worst": board[0] if board[0].state != "healthy" else None,
        "counts": [(s, words.glyph(s), counts[s]) for s in STATES if counts.get(s)], "board": board, "center": center,
        "catalog": sorted(board, key=lambda s: (-reads[s.id], s.id))[:50], "any_reads": any(reads.values()),
        "svg": to_svg(graph, reader.views, gap=36, pitch=62), "layers": _layers(graph), "affected": affected[:8], "more_affected": max(0, len(affected) - 8),
        "readers": _readers(reader, center), "age_chart": _age_chart(reader, center),
        "domains": len({s.manifest.domain for s in board}), "deprecated": sum(s.manifest.status == "deprecated" for s in board),
        "healthy_at": next((i for i, s in enumerate(board) if s.state == "healthy"), None), "healthy": counts.get("healthy", 0),
        "changes": _changes(reader),
    }  # fmt: skip
    return Page("overview.html", "Overview", "/", facts, view)


def sentence(board: Sequence[Standing]) -> tuple[str, str]:
    """State of the mesh in one sentence, and what follows from it."""
    total = len(board)
    if not total:
        return (
            "This mesh has no products yet.",
            "Write one manifest and one function, then crawl. The page fills by itself.",
        )
    by = {state: [s for s in board if s.state == state] for state in STATES}
    bad, unknown, risk = by["breaching"], by["not measured"], by["at risk"]
    if bad:
        first = bad[0]
        through = sum(s.cause == first.id for s in board)
        lead = f"{first.reason[:1].upper()}{first.reason[1:]}." if first.reason else ""
        if through:
            lead += f" {through} more {'product needs' if through == 1 else 'products need'} attention through it."
        if len(bad) == 1:
            return f"1 of {total} products is breaching: {first.id} is {first.amount or 'below its promise'}.", lead
        if all(s is first or s.cause == first.id for s in bad):
            return (
                f"{len(bad)} products are breaching because {first.id} is {first.amount or 'below its promise'}.",
                lead,
            )
        return (
            f"{len(bad)} of {total} products are breaching, first {first.id}: {first.amount or 'below its promise'}.",
            lead,
        )
    if unknown:
        said = (
            f"All {total} products are"
            if len(unknown) == total and total > 1
            else f"{len(unknown)} of {total} products {'is' if len(unknown) == 1 else 'are'}"
        )
        lead = "What is not measured is not known to be kept. Measure with: meshkit slo check"
        return f"{said} not measured.", lead
    if risk:
        return (
            f"{len(risk)} of {total} products {'is' if len(risk) == 1 else 'are'} at risk, first {risk[0].id}: {risk[0].reason}.",
            "No promise is broken.",
        )
    said = f"All {total} products keep" if total > 1 else "The one product keeps"
    return f"{said} their promises." if total > 1 else f"{said} its promises.", ""


def _worst(counts: Counter[str]) -> str:
    return next((s for s in ("breaching", "not measured", "at risk") if counts.get(s)), "healthy")


def _focus(reader: Reader) -> Standing:
    """The worst root cause; in a quiet mesh the product with the most neighbours."""
    first = reader.board[0]
    if first.state == "breaching":
        return first
    graph = reader.graph
    return max(reader.board, key=lambda s: len(graph.downstream(s.urn)) + len(graph.upstream(s.urn)))


def _layers(graph: Any) -> int:
    """Columns of boxes, for the smallest width at which the graph is still readable."""
    boxes = graph.layout(gap=36, pitch=62).nodes.values()
    return min(7, max(3, len({round(b.x) for b in boxes}))) if boxes else 3


def _readers(reader: Reader, center: Standing) -> list[dict[str, Any]]:
    graph = reader.graph
    return [
        {"node": graph.nodes[e.dst], "edge": e, "standing": reader.standings.get(graph.nodes[e.dst].label)}
        for e in graph.downstream(center.urn)[:8]
    ]


def _changes(reader: Reader) -> list[tuple[datetime, str, str]]:
    """What began in the last day, newest first: promises broken, readers seen first, requests that wait for the reader."""
    begin, found = reader.moment - timedelta(days=1), []
    for s in reader.board:
        broken = (
            [at for at in map(bad_since, reader.evaluations[s.id].indicators) if at] if s.state == "breaching" else []
        )
        if broken and min(broken) > begin:
            found.append((min(broken), f"{s.id} broke its promise: {s.amount or s.reason}", s.href))
    for edge in reader.graph.product_edges:
        if edge.agreement != "confirmed" and not edge.count:
            continue  # only declared: when a manifest was first seen says nothing about use
        if edge.first_seen is not None and begin < edge.first_seen <= reader.moment:
            undeclared = ", undeclared" if edge.agreement == "observed_not_declared" else ""
            found.append(
                (
                    edge.first_seen,
                    f"{label(edge.dst)} starts to read {label(edge.src)}{undeclared}",
                    f"/lineage?focus={quote(label(edge.src))}",
                )
            )
    found += [(r.at, f"{r.principal} asks to read {r.product}", "/access") for r in reader.waiting if r.at > begin]
    return sorted(found, reverse=True)[:8]


def _age_chart(reader: Reader, center: Standing) -> str:
    if center.promised_seconds is None:
        return ""
    kept = reader.mesh.evidence.read([center.id], since=reader.moment - timedelta(days=2), until=reader.moment)
    fresh = [e for e in kept.get(center.id, ()) if e.sli == "freshness"]
    return charts.age_line(fresh, limit=center.promised_seconds, end=reader.moment)
