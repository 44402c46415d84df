"""`/products/{domain}/{name}`: decide in ten seconds whether to use it; the details below in the order of use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit.catalog import CatalogEntry, Signals, snippets
from meshkit.controlplane import charts
from meshkit.controlplane.errors import NotHere
from meshkit.controlplane.pages.page import Page
from meshkit.controlplane.schema_rows import schema_view
from meshkit.controlplane.standing import promise_view
from meshkit.lineage import lineage_view
from meshkit.lineage.svg import to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshkit.controlplane.reader import Reader
    from meshkit.manifest import Manifest

__all__ = ["product", "product_json"]

_README_LIMIT = 200_000


def product(
    reader: Reader, domain: str, name: str, *, form: Mapping[str, str] | None = None, problem: str = ""
) -> Page:
    """The page of a product; of one that ended its tombstone. `form` and `problem` show a refused request again. Raises: `NotHere`."""
    key = f"{domain}.{name}"
    manifest = reader.manifests.get(key)
    if manifest is None:
        return _gone(reader, key)
    standing = reader.standings[key]
    evaluation = reader.evaluations[key]
    graph = lineage_view(reader.graph, key, hops=1)
    window = reader.mesh.config.section("slo").window
    promises = [
        (promise_view(i), charts.budget_line(i, end=reader.moment, window=window), i.judged.method)
        for i in evaluation.indicators
    ]
    entry = _entry(reader, manifest)
    history = entry.history
    person = next((p for p in manifest.owner.members if p.role == "owner"), None)
    schema = schema_view(reader, manifest)
    view = {
        "m": manifest, "s": standing, "person": person, "access": reader.access(key), "promises": promises, "window_days": window.days,
        "numbers": _numbers(reader, manifest), "svg": to_svg(graph, reader.views, gap=72, pitch=60), "alone": len(graph.nodes) == 1,
        "sql": entry.sql, "rows": schema.rows, "personal": schema.personal, "seen_for": schema.purpose, "readable": schema.readable, "history": history, "consumers": _consumers(reader, manifest),
        "readme": readme(reader, manifest), "trust": evaluation.trust, "unmonitored": evaluation.unmonitored,
        "cause": reader.standings.get(standing.cause) if standing.cause else None, "edges": graph.product_edges, "nodes": graph.nodes,
        "form": form or {}, "problem": problem, "longest": reader.mesh.catalog.desk.settings.longest_days,
        "columns": list(dict.fromkeys(n for o in manifest.objects.values() for n in o.fields)),
        "asked": next((r for r in reader.mesh.catalog.desk.requests(mine=reader.principal, product=key, status="requested", now=reader.now)), None),
    }  # fmt: skip
    return Page("product.html", key, "/products", product_json(reader, manifest), view, 422 if problem else 200)


def product_json(reader: Reader, manifest: Manifest) -> dict[str, Any]:
    """`meshkit.catalog.product/1` with state, promises and trust; without products that the reader must not learn of."""
    entry = _entry(reader, manifest)
    evaluation, standing = reader.evaluations[manifest.id], reader.standings[manifest.id]
    return {
        **entry.to_json(), **standing.to_json(), "access": reader.access(manifest.id).replace(" ", "_"), "as_of": reader.moment.isoformat(),
        "promises": [
            {"name": i.promise.name, "indicator": i.promise.sli, "port": i.promise.port, "verdict": i.judged.verdict, "actual": i.judged.actual,
             "target_ratio": i.promise.target_ratio, "attainment_ratio": i.budget.attainment_ratio, "coverage_ratio": i.budget.coverage_ratio,
             "budget_remaining_ratio": i.budget.remaining_ratio if i.budget.attainment_ratio is not None else None, "state": i.state, "reason": i.judged.reason}
            for i in evaluation.indicators
        ],
        "trust_lines": [{"indicator": x.indicator, "points": x.points, "reason": x.reason} for x in evaluation.trust.lines] if evaluation.trust else [],
    }  # fmt: skip


def _entry(reader: Reader, manifest: Manifest) -> CatalogEntry:
    """The product as `catalog show` knows it, from what this request has read already and after the visibility filter."""
    standing = reader.standings[manifest.id]
    inputs = {n: s for n, s in manifest.inputs.items() if s.product is None or s.product not in reader.hidden}
    readers = _consumers(reader, manifest)
    return CatalogEntry(
        manifest if len(inputs) == len(manifest.inputs) else manifest.model_copy(update={"inputs": inputs}),
        Signals(standing.state, standing.trust, standing.age_seconds), reader.access(manifest.id).replace(" ", "_"),
        tuple(s.product for s in inputs.values() if s.product), tuple(sorted(r["label"] for r in readers if r["product"])),
        tuple(sorted({r["title"] for r in readers})), reader.mesh.catalog.history(manifest.id),
        sql=snippets(manifest, reader.mesh.table_name(manifest)),
    )  # fmt: skip


def _gone(reader: Reader, key: str) -> Page:
    """A product that ended. A restricted one reads like one that never was."""
    catalog = reader.mesh.catalog
    if key in catalog.settings.restricted or key in reader.hidden or not catalog.gone(key):
        raise NotHere(key)
    history = catalog.history(key)
    last = history[0]
    facts = {
        "format": "meshkit.catalog.product/1",
        "urn": f"urn:mesh:{':'.join(key.rsplit('.', 1))}",
        "catalog_state": "gone",
        "gone_since": last["from"],
        "history": [dict(h) for h in history],
    }
    return Page(
        "gone.html",
        key,
        "/products",
        facts,
        {"key": key, "since": last["from"], "version": last["version"], "name": key.rpartition(".")[2]},
        410,
    )


def _numbers(reader: Reader, manifest: Manifest) -> list[Any]:
    """The promise beside freshness that says most: completeness, else quality, else availability."""
    found = {i.promise.sli: promise_view(i) for i in reversed(reader.evaluations[manifest.id].indicators)}
    return [
        (sli.capitalize(), found[sli])
        for sli in ("freshness", "completeness", "quality", "availability")
        if sli in found
    ][:2]


def _consumers(reader: Reader, manifest: Manifest) -> list[dict[str, Any]]:
    """Direct readers as the graph knows them."""
    graph = reader.graph
    return [
        {"title": graph.nodes[e.dst].title or graph.nodes[e.dst].label, "label": graph.nodes[e.dst].label, "product": graph.nodes[e.dst].kind == "product",
         "owner": graph.nodes[e.dst].owner, "columns": e.columns, "words": e.words, "undeclared": e.agreement == "observed_not_declared",
         "reads": e.count, "last_seen": e.last_seen}
        for e in sorted(graph.downstream(manifest.urn), key=lambda e: (-e.count, e.dst))
    ]  # fmt: skip


def readme(reader: Reader, manifest: Manifest) -> str:
    """The Markdown that `docs` names, if this mesh has the product's folder; else nothing."""
    found = reader.mesh.manifests.get(manifest.id)
    if found is None or manifest.docs is None:
        return ""
    folder = found.folder.resolve()
    path = Path(folder / manifest.docs).resolve()
    if not path.is_relative_to(folder) or path.suffix.lower() not in {".md", ".txt"} or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_README_LIMIT).decode("utf-8", "replace")
