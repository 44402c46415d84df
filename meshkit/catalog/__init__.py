"""`meshkit.catalog`: what products there are, how to find them, how to get access.

Catalog(store, own=manifests).search("orders")
catalog.desk.request("sales.orders", purpose="reporting: Q4", duration=timedelta(days=90), principal=ana)
"""

from meshkit.catalog.access import AccessDesk, AccessRequest
from meshkit.catalog.catalog import Catalog, SearchView
from meshkit.catalog.crawl import CrawlReport, crawl, record_published
from meshkit.catalog.entry import CatalogEntry, HitText, snippets
from meshkit.catalog.errors import AccessRefused, NotInCatalog, QuerySyntax
from meshkit.catalog.query import parse_query
from meshkit.catalog.search import Document, Hit, SearchIndex, SearchResult, Signals
from meshkit.catalog.settings import AccessSettings, CatalogSettings, SourceSettings
from meshkit.catalog.store import CatalogTables

__all__ = [
    "AccessDesk",
    "AccessRefused",
    "AccessRequest",
    "AccessSettings",
    "Catalog",
    "CatalogEntry",
    "CatalogSettings",
    "CatalogTables",
    "CrawlReport",
    "Document",
    "Hit",
    "HitText",
    "NotInCatalog",
    "QuerySyntax",
    "SearchIndex",
    "SearchResult",
    "SearchView",
    "Signals",
    "SourceSettings",
    "crawl",
    "parse_query",
    "record_published",
    "snippets",
]
