"""One product as the catalog shows it: facts, SQL per engine, access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from meshkit.catalog.search import Signals
from meshkit.types.duckdb import readable, to_duckdb

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["CatalogEntry", "HitText", "snippets"]

_SQL_NAMES = {"varchar": "text"}
_UNKNOWN = Signals()


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A product: its manifest, signals, neighbours, consumers, history and the reader's access."""

    manifest: Manifest
    signals: Signals = _UNKNOWN
    access: str = "not_granted"
    upstream: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    state: str = "active"
    sql: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """The hit's three lines, then ports and SQL."""
        m = self.manifest
        lines = [HitText(m, self.signals, self.access).to_text(), "", m.description.purpose]
        lines += [f"  port {name}: {p.title_text}  {m.location(name)}" for name, p in m.ports.items()]
        if self.upstream or self.consumers:
            lines.append(
                f"  reads {', '.join(self.upstream) or 'nothing'}; read by {', '.join(self.consumers) or 'nobody known'}"
            )
        lines += ["", *(f"{engine}:\n  {text}" for engine, text in self.sql.items())]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.catalog.product/1`."""
        m, s = self.manifest, self.signals
        return {
            "format": "meshkit.catalog.product/1", "urn": m.urn, "version": m.version, "status": m.status, "state": s.state, "trust": s.trust,
            "freshness_seconds": s.freshness_seconds, "access": self.access, "catalog_state": self.state, "upstream": list(self.upstream),
            "downstream": list(self.downstream), "consumers": list(self.consumers), "sql": dict(self.sql), "history": [dict(h) for h in self.history],
            "manifest": m.plain(),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True, slots=True)
class HitText:
    """Three lines about one product, as `catalog search` prints them."""

    manifest: Manifest
    signals: Signals
    access: str = "not_granted"

    def to_text(self) -> str:
        """Name and state; owner, promises, schema; address and access."""
        m, s = self.manifest, self.signals
        trust = f"trust {s.trust:.0f}" if s.trust is not None else "trust not measured"
        fresh = f", fresh {_age(s.freshness_seconds)} ago" if s.freshness_seconds is not None else ""
        hint = "" if self.access == "granted" else f"   (not granted: meshkit catalog request-access {m.id})"
        return (
            f"{m.id} (v{m.version})   {trust}   {s.state}{fresh}\n"
            f"Domain: {m.domain}   Owner: {_owner(m)}   SLA: {_sla(m)}   Schema: [{_schema(m)}]\n"
            f"Access: {m.location(next(iter(m.ports)))}{hint}"
        )


def _owner(m: Manifest) -> str:
    person = next((p for p in m.owner.members if p.role == "owner"), None)
    if person is None:
        return f"{m.owner.team} <{m.owner.contact}>"
    return f"{person.name} ({person.handle})" if person.handle else person.name


_EVERY = {3600: "hourly refresh", 86400: "daily refresh", 7 * 86400: "weekly refresh", 60: "refresh every minute"}


def _sla(m: Manifest) -> str:
    parts = []
    for slo in m.slos.values():
        if slo.kind == "availability":
            parts.append(f"{slo.target_ratio * 100:.10g}% uptime")
        elif slo.kind == "freshness" and slo.within is not None:
            seconds = slo.within.timedelta().total_seconds()
            parts.append(_EVERY.get(int(seconds), f"fresh within {_age(seconds)}"))
        elif slo.kind in {"completeness", "quality"}:
            parts.append(f"{slo.target_ratio * 100:.10g}% {slo.kind}")
    return " | ".join(parts[:3]) or "none"


def _schema(m: Manifest) -> str:
    fields = list(m.objects[m.main_object].fields.items())
    shown = []
    for name, f in fields[:2]:
        base = to_duckdb(f.data_type).lower().partition("(")[0]
        shown.append(f"{name} ({_SQL_NAMES.get(base, base)})")
    return ", ".join([*shown, *([f"+{len(fields) - 2}"] if len(fields) > 2 else [])])


def _age(seconds: float) -> str:
    for size, one, many in ((86400, "day", "days"), (3600, "hour", "hours"), (60, "min", "mins")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {one if count == 1 else many}"
    return f"{int(seconds)} secs"


def snippets(m: Manifest, table: str, *, visible: Sequence[str] | None = None) -> dict[str, str]:
    """A statement that runs as it stands, per way to read the product."""
    columns = [c for c in m.objects[m.main_object].fields if visible is None or c in visible][:6]
    listed = ", ".join(readable(c) for c in columns)
    query = f"SELECT {listed} FROM {table} LIMIT 10"
    quoted = query.replace('"', '\\"')
    return {
        "SQL": query,
        "Command line": f'meshkit sql "{quoted}"',
        "Python": f"mesh.sql({query!r}).to_polars()",
        "HTTP": f"GET /products/{m.domain}/{m.name}?columns={','.join(columns)}&limit=10",
    }
