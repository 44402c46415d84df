"""Values of lineage: evidence of one source, edges with their agreement, nodes, findings. Frozen, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from meshkit.lineage.addresses import label, node_kind

__all__ = ["AGREEMENTS", "Agreement", "Evidence", "Finding", "LineageEdge", "Node", "iso"]

Agreement = Literal["confirmed", "declared_not_observed", "declared_not_observable", "observed_not_declared", "stale"]
AGREEMENTS: tuple[Agreement, ...] = ("confirmed", "declared_not_observed", "declared_not_observable", "observed_not_declared", "stale")  # fmt: skip
WORDS: Mapping[str, str] = {
    "confirmed": "declared and observed",
    "declared_not_observed": "declared, not observed",
    "declared_not_observable": "declared, not observable",
    "observed_not_declared": "observed, not declared",
    "stale": "no longer observed",
}


def iso(at: datetime | None) -> str | None:
    """RFC 3339 UTC, as JSON shows times."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source says about one edge. Sources are kept apart: they are merged only in a graph.

    A manifest's evidence counts while it is declared (`valid_to` open); an observed one from its first to its last sight.
    """

    src: str
    dst: str
    level: Literal["product", "port", "column"] = "product"
    kind: str = "DIRECT"
    subtype: str = ""
    source: Literal["manifest", "sql", "openlineage"] = "sql"
    confidence: str = "exact"
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    count: int = 0
    evidence: str = ""  # fingerprint of the statement, or name of the input
    port: str | None = None
    version: str | None = None
    columns: tuple[str, ...] | None = None  # declared columns; None = the whole product

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """Intervals of one key never overlap."""
        return (self.src, self.dst, self.level, self.kind, self.subtype, self.source)


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """An edge of a graph: what manifests declare and what was observed, and whether they agree."""

    src: str
    dst: str
    level: str
    agreement: Agreement
    sources: tuple[str, ...]
    confidence: str = "exact"
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    count: int = 0
    kind: str = "DIRECT"
    subtypes: tuple[str, ...] = ()
    fingerprint: str = ""
    port: str | None = None
    version: str | None = None
    columns: tuple[str, ...] | None = None

    @property
    def words(self) -> str:
        """The agreement as people say it; readers that are no product declare nothing."""
        if self.agreement == "confirmed" and node_kind(self.dst) == "consumer":
            return "observed"
        return WORDS[self.agreement]

    def to_json(self) -> dict[str, Any]:
        """One entry of `edges` in `meshkit.lineage.graph/1`."""
        return {
            "src": self.src,
            "dst": self.dst,
            "level": self.level,
            "agreement": self.agreement,
            "sources": list(self.sources),
            "confidence": self.confidence,
            "first_seen": iso(self.first_seen),
            "last_seen": iso(self.last_seen),
            "count": self.count,
            "kind": self.kind,
            "subtypes": list(self.subtypes),
        }


@dataclass(frozen=True, slots=True)
class Node:
    """A product, consumer, dataset outside the mesh, or job. `columns` are those of the contract, None where unknown."""

    urn: str
    title: str = ""
    owner: str | None = None
    contact: str | None = None
    slos: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    status: str = ""

    @property
    def kind(self) -> str:
        """`product`, `consumer`, `dataset` or `job`."""
        return node_kind(self.urn)

    @property
    def label(self) -> str:
        """How people name it."""
        return label(self.urn)

    @property
    def domain(self) -> str:
        """Domain of a product; `outside` or `consumers` for the rest."""
        if self.kind == "product":
            return self.label.rpartition(".")[0]
        return "consumers" if self.kind == "consumer" else "outside"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the graph that somebody should know. `severity`: violation, warning or info."""

    rule: str
    src: str
    dst: str
    severity: Literal["violation", "warning", "info"]
    message: str
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    count: int = 0
    fingerprint: str = ""
    owner: str | None = None
    columns: tuple[str, ...] = ()
    path: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """One entry of `findings` in `meshkit.lineage.graph/1`."""
        return {
            "rule": self.rule,
            "src": self.src,
            "dst": self.dst,
            "severity": self.severity,
            "message": self.message,
            "first_seen": iso(self.first_seen),
            "last_seen": iso(self.last_seen),
            "count": self.count,
            "fingerprint": self.fingerprint,
            "owner": self.owner,
            "columns": list(self.columns),
            "path": list(self.path),
        }
