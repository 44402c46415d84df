"""`/products?q=`: ranked hits with facets; the best one with schema, address and SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from meshkit.catalog import snippets
from meshkit.catalog.errors import QuerySyntax
from meshkit.controlplane.pages.page import Page

if TYPE_CHECKING:
    from meshkit.catalog import Hit, SearchResult
    from meshkit.controlplane.reader import Reader

__all__ = ["products", "search_json"]

LIMIT = 20
_TITLES = {"state": "State", "domain": "Domain", "status": "Status", "port.kind": "Port"}
_WHY = {"name": "Its name has", "id": "Its id has", "title": "Its title has", "tags": "A tag is", "domain": "Its domain is", "owner": "Its owner has",
        "ports": "A port has", "columns": "A column has", "description": "Its description has"}  # fmt: skip


def products(reader: Reader, query: str = "", *, cursor: str | None = None) -> Page:
    """Search results. A query that can't be read is a page that says why."""
    try:
        result = reader.search(query, limit=LIMIT, cursor=cursor)
    except QuerySyntax as error:
        facts = {
            "format": "meshkit.catalog.search/1",
            "total": 0,
            "hits": [],
            "problem": error.message,
            "code": error.code,
        }
        return Page(
            "products.html",
            "Products",
            "/products",
            facts,
            {"query": query, "problem": error.message, "hits": [], "total": 0, "all": len(reader.manifests)},
            400,
        )
    start = int(cursor) if cursor and cursor.isdigit() else 0
    view = {
        "query": query, "problem": "", "hits": [_row(reader, h, query, first=i == 0 and not start) for i, h in enumerate(result.hits)], "total": result.total,
        "all": len(reader.manifests), "start": start, "head": _head(query, result, len(reader.manifests)),
        "facets": _facets(query, result), "suggestions": [(s, _url(s)) for s in result.suggestions],
        "next": _url(query, result.cursor) if result.cursor else None, "domains": sorted({m.domain for m in reader.manifests.values()}),
    }  # fmt: skip
    return Page("products.html", f"{query or 'Products'}", "/products", search_json(reader, result), view)


def search_json(reader: Reader, result: SearchResult) -> dict[str, Any]:
    """`meshkit.catalog.search/1` with the reader's access per hit."""
    data = result.to_json()
    for hit, found in zip(data["hits"], result.hits, strict=True):
        hit["access"] = reader.access(found.document.manifest.id).replace(" ", "_")
    return data


def _head(query: str, result: SearchResult, known: int) -> str:
    if not known:
        return "This mesh has no products yet."
    if not result.total:
        return f"No product matches “{query}”."
    if not query.strip():
        return f"{result.total} products" if result.total != 1 else "1 product"
    return f"{result.total} of {known} products {'matches' if result.total == 1 else 'match'} “{query}”"


def _url(query: str, cursor: str | None = None) -> str:
    return "/products?" + urlencode({"q": query, **({"cursor": cursor} if cursor else {})}, quote_via=quote)


def _row(reader: Reader, hit: Hit, query: str, *, first: bool) -> dict[str, Any]:
    manifest = hit.document.manifest
    fields = list(manifest.objects[manifest.main_object].fields.items())
    standing = reader.standings[manifest.id]
    row = {
        "standing": standing,
        "manifest": manifest,
        "access": reader.access(manifest.id),
        "why": _why(hit, query),
        "best": first,
    }
    if first:
        row["schema"] = ", ".join(f"{name} {f.type}" for name, f in fields[:5])
        row["more"] = max(0, len(fields) - 5)
        row["address"] = manifest.location(next(iter(manifest.ports))) if manifest.ports else ""
        row["sql"] = snippets(manifest, reader.mesh.table_name(manifest))["SQL"]
    return row


def _why(hit: Hit, query: str) -> str:
    if not hit.matched or not query.strip():
        return ""
    field = next(
        (
            f
            for f in ("name", "title", "columns", "tags", "domain", "owner", "ports", "description")
            if f in hit.matched
        ),
        hit.matched[0],
    )
    return _WHY.get(field, "It has")


def _facets(query: str, result: SearchResult) -> list[dict[str, Any]]:
    found = []
    for name in ("state", "domain", "status", "port.kind"):
        values = []
        for value, count in result.facets.get(name, ()):
            term = f'{name}="{value}"' if " " in value else f"{name}={value}"
            on = term in query
            changed = query.replace(term, "").strip() if on else f"{query} {term}".strip()
            values.append({"value": value, "count": count, "href": _url(" ".join(changed.split())), "on": on})
        if values:
            found.append({"title": _TITLES[name], "name": name, "values": values})
    return found
