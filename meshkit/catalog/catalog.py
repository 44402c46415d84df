"""`Catalog`: crawl, search, product entries and access of one mesh, over its state store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit._sql import Store, from_micros
from meshkit.catalog.access import AccessDesk
from meshkit.catalog.crawl import CrawlReport, crawl
from meshkit.catalog.entry import HitText
from meshkit.catalog.errors import NotInCatalog
from meshkit.catalog.search import Document, SearchIndex, SearchResult, Signals
from meshkit.catalog.settings import AccessSettings, CatalogSettings
from meshkit.catalog.store import CatalogTables
from meshkit.manifest import Manifest, ManifestError
from meshkit.ports import Principal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Catalog", "SearchView"]


@dataclass(frozen=True, slots=True)
class SearchView:
    """A search result with the reader's access, for text output."""

    result: SearchResult
    access: Mapping[str, str]

    def to_text(self) -> str:
        """Three lines a hit; without hits what to try."""
        if not self.result.hits:
            hint = f" Did you mean {', '.join(self.result.suggestions)}?" if self.result.suggestions else ""
            return f"No product matches {self.result.query!r}.{hint}"
        blocks = [
            HitText(
                h.document.manifest, h.document.signals, self.access.get(h.document.manifest.id, "not_granted")
            ).to_text()
            for h in self.result.hits
        ]
        more = self.result.total - len(self.result.hits)
        return "\n\n".join(blocks) + (f"\n\n{more} more: raise --limit" if more > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """`meshkit.catalog.search/1` with `access` per hit."""
        data = self.result.to_json()
        for hit in data["hits"]:
            hit["access"] = self.access.get(hit["urn"].removeprefix("urn:mesh:").replace(":", "."), "not_granted")
        return data


class Catalog:
    """The catalog of a mesh. `own` are the products of mesh.yaml; crawled ones come from the store.

    `signals` gives measured facts per product id; `team` rules of visibility need the reader.
    """

    def __init__(
        self, store: Store, *, own: Mapping[str, Manifest], settings: CatalogSettings | None = None, access: AccessSettings | None = None,
        folder: Path | None = None, signals: Callable[[Iterable[str]], Mapping[str, Signals]] | None = None,
    ) -> None:  # fmt: skip
        self.tables, self.own, self.settings = CatalogTables(store), own, settings or CatalogSettings()
        self.folder = folder or Path.cwd()
        self.signals = signals or (lambda _: {})
        self.desk = AccessDesk(self.tables, self.manifests, access)
        self._parsed: dict[tuple[str, str], Manifest] = {}

    # Contents

    def crawl(self, *, sources: Sequence[str] = (), now: datetime | None = None) -> CrawlReport:
        """Read the sources of mesh.yaml (all, or those named) into the catalog. Raises: `NotInCatalog` for an unknown source name."""
        names = {s.name for s in self.settings.sources}
        unknown = [s for s in sources if s not in names]
        if unknown:
            raise NotInCatalog(unknown[0])
        wanted = [s for s in self.settings.sources if not sources or s.name in sources]
        return crawl(self.tables, wanted, folder=self.folder, now=now or datetime.now(UTC))

    def manifests(self) -> Mapping[str, Manifest]:
        """Current manifest by product id, newest major: crawled ones, and the mesh's own."""
        found: dict[str, Manifest] = {}
        for row in self._rows("active"):
            manifest = self._manifest(row)
            if manifest is not None and (manifest.id not in found or found[manifest.id].semver < manifest.semver):
                found[manifest.id] = manifest
        return {**found, **self.own}

    def _rows(self, state: str) -> list[Any]:
        import sqlalchemy as sa

        r = self.tables.revision
        with self.tables.store.read() as connection:
            return list(connection.execute(sa.select(r).where(r.c.state == state, r.c.valid_to.is_(None))).mappings())

    def _manifest(self, row: Any) -> Manifest | None:
        key = (row["path"], row["sha256"])
        if key not in self._parsed:
            try:
                self._parsed[key] = Manifest.parse(row["manifest"], source=row["path"])
            except ManifestError:
                return None  # written by another version of the format: crawl again
        return self._parsed[key]

    def history(self, product: str) -> tuple[Mapping[str, Any], ...]:
        """Revisions of a product, newest first."""
        import sqlalchemy as sa

        r, prefix = self.tables.revision, "urn:mesh:" + ":".join(product.rsplit(".", 1))
        statement = sa.select(r).where(r.c.urn.like(f"{prefix}:v%")).order_by(r.c.valid_from.desc(), r.c.id.desc())
        with self.tables.store.read() as connection:
            rows = connection.execute(statement).mappings().all()
        return tuple(
            {"version": x["version"], "state": x["state"], "source": x["source"], "path": x["path"], "from": from_micros(x["valid_from"]).isoformat(),
             "to": from_micros(x["valid_to"]).isoformat() if x["valid_to"] else None, "commit": x["commit_id"]}
            for x in rows
        )  # fmt: skip

    def gone(self, product: str) -> bool:
        """Whether the product was crawled once and vanished."""
        return (
            any(m is not None and m.id == product for m in map(self._manifest, self._rows("gone")))
            and product not in self.manifests()
        )

    def problems(self) -> tuple[Mapping[str, Any], ...]:
        """Problems of the last crawl, with places."""
        import sqlalchemy as sa

        with self.tables.store.read() as connection:
            return tuple(dict(row) for row in connection.execute(sa.select(self.tables.problem)).mappings())

    def sources(self) -> tuple[Mapping[str, Any], ...]:
        """Sources with the time of their last success and their error."""
        import sqlalchemy as sa

        with self.tables.store.read() as connection:
            return tuple(dict(row) for row in connection.execute(sa.select(self.tables.source)).mappings())

    # Search

    def visible(self, manifest: Manifest, principal: Principal | None, *, at: datetime | None = None) -> bool:
        """Restricted products are seen by their team, grantees and requesters only."""
        if manifest.id not in self.settings.restricted:
            return True
        if principal is None:
            return False
        team = principal.attributes.get("team")
        owns = team == manifest.owner.team or (isinstance(team, list | tuple) and manifest.owner.team in team)
        asked = any(r.product == manifest.id for r in self.desk.requests(mine=principal))
        return owns or asked or bool(self.desk.grants_for(principal, manifest.id, at=at or datetime.now(UTC)))

    def index(self) -> SearchIndex:
        """The search index of what is current."""
        manifests = self.manifests()
        measured = self.signals(manifests)
        return SearchIndex(Document.of(m, measured.get(name, Signals())) for name, m in manifests.items())

    def search(
        self, query: str = "", *, limit: int = 20, cursor: str | None = None, principal: Principal | None = None
    ) -> SearchResult:
        """Ranked products. Raises: `QuerySyntax`."""
        offset = int(cursor) if cursor and cursor.isdigit() else 0
        return self.index().search(
            query, limit=limit, offset=offset, visible=lambda d: self.visible(d.manifest, principal)
        )

    def find(self, product: str, *, principal: Principal | None = None) -> Manifest:
        """The current manifest of a product. Raises: `NotInCatalog`, for an invisible product alike."""
        name = product.removeprefix("urn:mesh:").replace(":", ".") if product.startswith("urn:mesh:") else product
        known = {k: m for k, m in self.manifests().items() if self.visible(m, principal)}
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            raise NotInCatalog(product, near[0] if near else None)
        return known[name]
