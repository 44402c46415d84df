"""Other forms of a graph: text, Mermaid, DOT, HTML. Names come from manifests and logs, so each form escapes them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from meshkit.lineage.addresses import label

if TYPE_CHECKING:
    from meshkit.lineage.graph import LineageGraph
    from meshkit.lineage.impact import Impact
    from meshkit.lineage.models import LineageEdge

__all__ = ["impact_html", "to_dot", "to_html", "to_mermaid", "to_text"]

_MERMAID = {"confirmed": "-->", "observed_not_declared": "-.->|observed, not declared|", "declared_not_observed": "-.->|declared, not observed|",
            "declared_not_observable": "-.->|declared, not observable|"}  # fmt: skip
_DOT = {"confirmed": "solid", "observed_not_declared": "dotted"}


def to_text(graph: LineageGraph) -> str:
    """An edge per line with its agreement in words, then findings, then what could not be read."""
    edges = [e for e in graph.edges if e.agreement != "stale"]
    if graph.changes is not None:
        added = {(e.src, e.dst, e.level) for e in graph.changes.added}
        lines = [_line(e, "+ " if (e.src, e.dst, e.level) in added else "  ") for e in edges]
        lines += [_line(e, "- ") for e in graph.changes.removed]
    else:
        lines = [_line(e, "") for e in edges]
    if not lines:
        lines = ["No lineage is known: no manifest has inputs, and no query was observed."]
    for urn, (up, down) in graph.cut.items():
        hidden = [f"{n} {word}" for n, word in ((up, "more sources"), (down, "more readers")) if n]
        lines.append(f"{label(urn)}: {' and '.join(hidden)} not shown")
    for finding in graph.findings:
        lines.append(f"{finding.severity}: {finding.rule}: {finding.message}")
    unread = graph.coverage.get("unparsed", 0)
    if unread:
        lines.append(
            f"{unread} of {graph.coverage.get('statements', 0)} statements could not be read: there may be more edges"
        )
    return "\n".join(lines)


def _line(edge: LineageEdge, mark: str) -> str:
    seen = f", {edge.count} read{'' if edge.count == 1 else 's'}" if edge.count else ""
    return f"{mark}{label(edge.src)} -> {label(edge.dst)}  {edge.words}{seen}"


def to_mermaid(graph: LineageGraph) -> str:
    """`flowchart LR`: boxes are products, rounded ones consumers, dotted lines disagreements."""
    number = {urn: f"n{i}" for i, urn in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for urn, node in graph.nodes.items():
        text = (
            node.label.replace("&", "#amp;")
            .replace('"', "#quot;")
            .replace("<", "#lt;")
            .replace(">", "#gt;")
            .replace("`", "#96;")
        )
        left, right = (
            ("([", "])") if node.kind == "consumer" else ("[/", "/]") if node.kind == "dataset" else ("[", "]")
        )
        lines.append(f'  {number[urn]}{left}"{_one_line(text)}"{right}')
    lines += [f"  {number[e.src]} {_MERMAID[e.agreement]} {number[e.dst]}" for e in graph.product_edges]
    return "\n".join(lines) + "\n"


def to_dot(graph: LineageGraph) -> str:
    """A digraph with `rankdir=LR`."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    for urn, node in graph.nodes.items():
        shape = ' shape="oval"' if node.kind == "consumer" else ' style="dashed"' if node.kind == "dataset" else ""
        lines.append(f"  {_dot(urn)} [label={_dot(node.label)}{shape}];")
    for edge in graph.product_edges:
        style = _DOT.get(edge.agreement, "dashed")
        lines.append(f'  {_dot(edge.src)} -> {_dot(edge.dst)} [style="{style}" tooltip={_dot(edge.words)}];')
    return "\n".join([*lines, "}"]) + "\n"


def _dot(text: str) -> str:
    return '"' + _one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_html(graph: LineageGraph) -> str:
    """A table for notebooks."""
    rows = [
        f"<tr><td>{escape(label(e.src))}</td><td>{escape(label(e.dst))}</td><td>{escape(e.words)}</td><td>{e.count}</td></tr>"
        for e in graph.product_edges
    ]
    findings = "".join(f"<li>{escape(f.message)}</li>" for f in graph.findings)
    table = f"<table><thead><tr><th>From</th><th>To</th><th>Agreement</th><th>Reads</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return table + (f"<ul>{findings}</ul>" if findings else "")


def impact_html(impact: Impact) -> str:
    """A table for notebooks."""
    rows = [
        f"<tr><td>{escape(i.verdict.replace('_', ' '))}</td><td>{escape(label(i.urn))}</td><td>{i.hops}</td><td>{escape(i.owner or '')}</td><td>{escape(i.reason)}</td></tr>"
        for i in impact.items
    ]
    return f"<table><thead><tr><th>Verdict</th><th>Reader</th><th>Hops</th><th>Owner</th><th>Why</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
