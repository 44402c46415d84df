"""`/crawl`: where manifests come from, when each source was last read, and what is wrong with place."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit._sql import from_micros
from meshkit.controlplane.pages.page import Page

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader

__all__ = ["crawl", "crawl_json", "last_crawl"]


def crawl(reader: Reader) -> Page:
    """Sources and problems."""
    facts = crawl_json(reader)
    failed = [s for s in facts["sources"] if s["error"]]
    count = len(facts["problems"])
    if not facts["sources"]:
        head = "Nothing was crawled yet."
    elif failed:
        head = f"{len(failed)} of {len(facts['sources'])} sources could not be read."
    else:
        head = f"{len(facts['sources'])} {'source was' if len(facts['sources']) == 1 else 'sources were'} read"
        head += f", with {count} {'problem' if count == 1 else 'problems'}." if count else " without problems."
    configured = [s.name for s in reader.mesh.catalog.settings.sources]
    return Page("crawl.html", "Crawl", "/crawl", facts, {"head": head, **facts, "configured": configured})


def crawl_json(reader: Reader) -> dict[str, Any]:
    """`meshkit.controlplane.crawl/1`. Problems of products that the reader does not see are left out."""
    catalog = reader.mesh.catalog
    secret = {(h["source"], h["path"]) for name in reader.hidden for h in catalog.history(name)}
    stale = timedelta(seconds=catalog.settings.stale_after_seconds)
    sources = [
        {"name": s["name"], "place": s["place"], "last_success": _at(s["last_success"]), "last_try": _at(s["last_try"]), "error": s["error"],
         "stale": s["last_success"] is None or reader.now - from_micros(s["last_success"]) > stale}
        for s in catalog.sources()
    ]  # fmt: skip
    problems = [
        {"source": p["source"], "path": _shown(p["path"], catalog.folder), "line": p["line"], "column": p["column_no"], "code": p["code"],
         "message": p["message"], "first_seen": _at(p["first_seen"])}
        for p in catalog.problems() if not any(p["source"] == source and _same(p["path"], path) for source, path in secret)
    ]  # fmt: skip
    return {
        "format": "meshkit.controlplane.crawl/1",
        "as_of": reader.now.isoformat(),
        "sources": sources,
        "problems": problems,
    }


def _same(place: str, path: str) -> bool:
    """Whether a problem's place is a manifest's path below its source."""
    return place == path or place.endswith(f"/{path}")


def _shown(place: str, folder: Path) -> str:
    """Relative to the mesh: where the server keeps its files is nobody's business."""
    return place.removeprefix(f"{folder}/")


def _at(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


def last_crawl(reader: Reader) -> datetime | None:
    """When a source was last read with success."""
    times = [s["last_success"] for s in reader.mesh.catalog.sources() if s["last_success"]]
    return from_micros(max(times)) if times else None
